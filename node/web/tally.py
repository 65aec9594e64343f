"""How many requests wait for whose answer: what the navigation of every page says to whoever is signed in."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.accounts import OPERATOR, Session
from node.errors import NotFound
from protocol.ids import DocId

if TYPE_CHECKING:
    from node.web.site import Node

SHARE: Final = 0.02
"""Counting takes at most this part of the time: on a busy node with many claims it is done more seldom."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the navigation says to somebody.

    Attributes:
        to_answer: Requests on what they posted that nobody has answered yet.
    """

    to_answer: int


class Tallies:
    """The tallies of all residents, counted anew when something was committed."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._told = -1
        self._not_before_s = 0.0
        self._waiting: Counter[str] = Counter()
        self._concerned: frozenset[str] = frozenset()

    @property
    def mark(self) -> str:
        """Differs when any tally differs."""
        return repr((sorted(self._waiting.items()), sorted(self._concerned)))

    def of(self, session: Session | None) -> Tally | None:
        """Return the tally of somebody; None if no request concerns them."""
        if session is None or session.name.casefold() not in self._concerned:
            return None
        return Tally(self._waiting[session.name.casefold()])

    def look_again(self) -> None:
        """Count at the next look, however long the last count took: somebody here has just done something."""
        self._told = -1
        self._not_before_s = 0.0

    async def look(self) -> None:
        """Count, if something was committed since and it is time."""
        begun_s, told = time.monotonic(), self._node.board.told
        if told == self._told or begun_s < self._not_before_s:
            return
        waiting: Counter[str] = Counter()
        concerned: set[str] = set()
        posters: dict[DocId, str] = {}
        for claim in await self._node.claims.all():
            names = {OPERATOR}
            if claim.ours and claim.by:
                names.add(claim.by.casefold())
            if claim.to_answer:
                if claim.target not in posters:
                    posters[claim.target] = await self._poster(claim.target)
                answering = {OPERATOR, posters[claim.target].casefold()}
                names |= answering
                waiting.update(answering if claim.is_unanswered else ())
            concerned |= names
        self._waiting, self._concerned, self._told = waiting, frozenset(concerned - {""}), told
        ended_s = time.monotonic()
        self._not_before_s = ended_s + (ended_s - begun_s) / SHARE

    async def _poster(self, target: DocId) -> str:
        try:
            found = await self._node.board.show(target.hex())
        except NotFound:
            return ""
        by = found.versions[-1].fields.get("by")
        return by if isinstance(by, str) else ""
