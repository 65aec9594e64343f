"""What was asked of the other side by WANT, and who waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from protocol.ids import LaneKey, RecordId
from protocol.limits import WANT_PREFIX_BYTES
from protocol.wire import BLOB_BYTES_MAX, Done, KeyedWant, Want
from sync.line import Line, PeerFault

ThenGone: TypeAlias = Callable[[tuple[RecordId, ...]], None]
"""Told, when all is delivered, which ids were gone."""

PREFIXES_MAX: int = BLOB_BYTES_MAX // WANT_PREFIX_BYTES
"""Prefixes of one WANT."""


class Wants:
    """The open WANTs of one link; they are answered in their order, lane by lane."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._open: dict[tuple[int, int], deque[tuple[int, ThenGone]]] = {}

    @property
    def open_count(self) -> int:
        """Records that were asked for and whose WANT is not done."""
        return sum(count for waiting in self._open.values() for count, _ in waiting)

    def ask(self, frame: Want | KeyedWant, count: int, then: ThenGone) -> None:
        """Send a WANT for `count` records and go on when it is done."""
        self._open.setdefault((frame.federation, frame.lane), deque()).append((count, then))
        self._line.send(frame)

    def by_short(self, place: int, key: LaneKey) -> Callable[[list[bytes], Callable[[], None]], None]:
        """Return a function that asks for records of a lane by short ids and calls back when all came."""

        def want(shorts: list[bytes], then: Callable[[], None]) -> None:
            parts = [shorts[start : start + PREFIXES_MAX] for start in range(0, len(shorts), PREFIXES_MAX)]
            for index, part in enumerate(parts):
                blob = b"".join(short[:WANT_PREFIX_BYTES] for short in part)
                is_last = index == len(parts) - 1
                self.ask(
                    Want(place, int(key[1]), blob),
                    len(part),
                    (lambda _: then()) if is_last else (lambda _: None),
                )

        return want

    def done(self, frame: Done) -> tuple[ThenGone, tuple[RecordId, ...]]:
        """Close the oldest WANT of a lane; return who waits for it and the ids that are gone.

        Raises:
            PeerFault: None is open.
        """
        waiting = self._open.get((frame.federation, frame.lane))
        if not waiting:
            raise PeerFault("out_of_turn", "DONE answers no WANT")
        _, then = waiting.popleft()
        gone = tuple(RecordId(frame.gone[start : start + 32]) for start in range(0, len(frame.gone), 32))
        return then, gone

    def forget(self, place: int) -> None:
        """Forget what was asked in a federation that is not reconciled any more."""
        for asked in [asked for asked in self._open if asked[0] == place]:
            del self._open[asked]
