"""What takes longer than one turn may: cut into steps, of which one is done at a time.

A chore is a generator. It yields the buckets of its held set whose ids it wants next, and is sent them
when the store has read them; or it yields nothing, when it has done a turn's share of work (about
10 ms), and goes on in a later turn. A link has one chore under way, however many wait, so a peer that
asks for many is answered slowly and nobody else is. What a chore was for may end before it: it is then
closed, and the ids that it asked for are dropped when they come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias

from protocol.ids import FederationId, LaneKey, RecordId

Buckets: TypeAlias = tuple[int, ...]
"""First bytes of ids."""
Steps: TypeAlias = Generator[Buckets | None, tuple[RecordId, ...], None]
"""A chore: yields the buckets that it wants read, or None when it has worked for one turn."""
LoadIds: TypeAlias = Callable[[LaneKey, Buckets, Callable[[tuple[RecordId, ...]], None]], None]
"""Reads the ids of some buckets and goes on with them."""


@dataclass(slots=True, eq=False)
class _Chore:
    """One chore, and whose it is."""

    owner: object
    key: LaneKey
    steps: Steps


class Chores:
    """The chores of one link, done one after the other.

    Args:
        load_ids: Asks the store.

    Attributes:
        is_due: Whether the next step may be done at any time.
    """

    def __init__(self, load_ids: LoadIds) -> None:
        self.is_due = False
        self._load_ids = load_ids
        self._waiting: deque[_Chore] = deque()

    @property
    def count(self) -> int:
        """How many are under way or wait."""
        return len(self._waiting)

    def begin(self, owner: object, key: LaneKey, steps: Steps) -> None:
        """Do a chore as soon as all earlier ones are done.

        Args:
            owner: By which it is ended before its time.
            key: The held set whose ids it reads.
        """
        self._waiting.append(_Chore(owner, key, steps))
        if len(self._waiting) == 1:
            self._go_on(self._waiting[0], None)

    def step(self) -> None:
        """Do the next step, if one is due."""
        if self.is_due:
            self._go_on(self._waiting[0], None)

    def end(self, owner: object) -> None:
        """End the chores of an owner that needs them no more."""
        self._end(lambda chore: chore.owner is owner)

    def close(self, federation: FederationId) -> None:
        """End the chores over the held sets of a federation."""
        self._end(lambda chore: chore.key[0] == federation)

    def _end(self, is_over: Callable[[_Chore], bool]) -> None:
        first = self._waiting[0] if self._waiting else None
        self._waiting = deque(chore for chore in self._waiting if not is_over(chore))
        self._begin_next(first)

    def _begin_next(self, before: _Chore | None) -> None:
        if self._waiting and self._waiting[0] is not before:
            # Begun in a turn of its own: this one may be inside a step of the chore that ends.
            self.is_due = True
        elif not self._waiting:
            self.is_due = False

    def _go_on(self, chore: _Chore, ids: tuple[RecordId, ...] | None) -> None:
        self.is_due = False
        try:
            wanted = next(chore.steps) if ids is None else chore.steps.send(ids)
        except StopIteration:
            if self._waiting and self._waiting[0] is chore:
                self._waiting.popleft()
                self._begin_next(chore)
            return
        if not self._waiting or self._waiting[0] is not chore:
            return
        if wanted is None:
            self.is_due = True
        else:
            self._load_ids(chore.key, wanted, lambda found: self._loaded(chore, found))

    def _loaded(self, chore: _Chore, ids: tuple[RecordId, ...]) -> None:
        if self._waiting and self._waiting[0] is chore:
            self._go_on(chore, ids)
