"""Two sets that differ by too much for cells: one side lists its short ids, the other compares.

The side with fewer ids lists them, 8 bytes each, in ranges of first bytes; a node that holds nothing
says so in one small frame. The other compares each range with its own ids, sends what the lister lacks
and asks for what it lacks itself. It says NEXT when a range is dealt with, so neither side ever has
more than a range in memory. Nothing here is of one moment, and nothing is proved: the meeting that
follows two seconds later compares digests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from protocol.ids import LaneKey, RecordId
from protocol.limits import SHORT_ID_BYTES
from protocol.wire import Ids, Next
from sync.line import IDS_LOADED_MAX, Line, PeerFault
from sync.outbox import Outbox
from sync.sketch import BUCKETS

FRAME_IDS_MAX: Final = 7_000
"""Short ids of one frame."""
RANGE_IDS_MAX: Final = 65_536
"""Short ids of one range that are compared; what a first byte has beyond that is left to the salted retry."""
WANTS_OPEN_MAX: Final = 16
"""While so many WANTs are open, no more ids are read: the other side answers a bounded number."""
TODO_LOW: Final = 2_048
"""When fewer records than this wait to be sent, the next ids are read."""


def span_end(first: int, count: int, ids_max: int) -> int:
    """Return up to which first byte about `ids_max` of `count` ids lie, from `first` on."""
    return min(BUCKETS, first + max(1, ids_max * BUCKETS // max(1, count)))


class Lister:
    """The side that lists its ids.

    Args:
        federation: Its place on this link.
        on_end: Called when the other side has dealt with all.
    """

    def __init__(self, line: Line, federation: int, key: LaneKey, on_end: Callable[[], None]) -> None:
        self._line = line
        self._federation = federation
        self._key = key
        self._on_end = on_end
        self._first = 0
        self._end = 0
        self._awaits_next = False
        self._load()

    def next(self, frame: Next) -> None:
        """Go on with the next range.

        Raises:
            PeerFault: It answers no range of ours.
        """
        if not self._awaits_next or frame.end != self._end:
            raise PeerFault("out_of_turn", f"NEXT {frame.end} answers nothing")
        self._awaits_next = False
        if self._end == BUCKETS:
            self._on_end()
            return
        self._first = self._end
        self._load()

    def _load(self) -> None:
        self._end = span_end(self._first, self._line.snapshot(self._key).count, IDS_LOADED_MAX)
        self._line.load_ids(self._key, tuple(range(self._first, self._end)), self._list)

    def _list(self, ids: tuple[RecordId, ...]) -> None:
        shorts = [record[:SHORT_ID_BYTES] for record in ids]
        lane = int(self._key[1])
        for start in range(0, max(1, len(shorts)), FRAME_IDS_MAX):
            last = start + FRAME_IDS_MAX >= len(shorts)
            blob = b"".join(shorts[start : start + FRAME_IDS_MAX])
            self._line.send(Ids(self._federation, lane, self._first, self._end, last, blob))
        self._awaits_next = True


class Comparer:
    """The side that compares the ids listed with its own.

    Args:
        want: Asks the other side for records by short ids, and calls back when they have come.
        on_end: Called when all ranges are dealt with.
    """

    def __init__(
        self,
        line: Line,
        federation: int,
        key: LaneKey,
        outbox: Outbox,
        want: Callable[[list[bytes], Callable[[], None]], None],
        on_end: Callable[[], None],
    ) -> None:
        self._line = line
        self._federation = federation
        self._key = key
        self._outbox = outbox
        self._want = want
        self._on_end = on_end
        self._listed: set[bytes] = set()
        self._is_whole = False
        self._is_loading = False
        self._wants_open = 0
        self._first = 0
        self._end = 0

    def ids(self, frame: Ids) -> None:
        """Take the ids of a range, or of a part of it.

        Raises:
            PeerFault: Not the range that is due.
        """
        due = self._end
        if self._is_whole or frame.first != due or frame.end <= frame.first:
            raise PeerFault("out_of_turn", f"ids from {frame.first} to {frame.end} are not due")
        size = SHORT_ID_BYTES
        for start in range(0, len(frame.ids), size):
            short = frame.ids[start : start + size]
            if not frame.first <= short[0] < frame.end:
                raise PeerFault("malformed_frame", "an id lies outside the range that it is listed in")
            if len(self._listed) < RANGE_IDS_MAX:
                self._listed.add(short)
        if frame.last:
            self._is_whole = True
            self._first, self._end = frame.first, frame.end
            self.pump()

    def pump(self) -> None:
        """Go on as far as the records that wait allow."""
        if not self._is_whole or self._is_loading:
            return
        if self._first < self._end:
            if self._outbox.todo_count(self._key) < TODO_LOW and self._wants_open < WANTS_OPEN_MAX:
                count = self._line.snapshot(self._key).count
                end = min(self._end, span_end(self._first, count, IDS_LOADED_MAX))
                buckets = tuple(range(self._first, end))
                self._first = end
                self._is_loading = True
                self._line.load_ids(self._key, buckets, lambda ids: self._compare(buckets, ids))
        elif not self._wants_open and not self._outbox.is_pushing(self._key):
            self._is_whole = False
            self._listed.clear()
            self._line.send(Next(self._federation, int(self._key[1]), self._end))
            if self._end == BUCKETS:
                self._on_end()

    def _compare(self, buckets: tuple[int, ...], ids: tuple[RecordId, ...]) -> None:
        self._is_loading = False
        listed = {short for short in self._listed if buckets[0] <= short[0] <= buckets[-1]}
        self._listed -= listed
        lawful = self._line.lawful(self._key)
        lacking = [record[:SHORT_ID_BYTES] for record in ids if record[:SHORT_ID_BYTES] not in listed]
        refused = {record[:SHORT_ID_BYTES] for record in lawful.mine}
        self._outbox.push(
            self._key,
            [short for short in lacking if short not in refused and self._outbox.find(short) is None],
        )
        own = {record[:SHORT_ID_BYTES] for record in ids} | lawful.delivered.keys()
        own |= {record[:SHORT_ID_BYTES] for record in lawful.theirs}
        wanted = [
            short for short in sorted(listed - own) if self._line.find_expected(self._key, short) is None
        ]
        if wanted:
            self._wants_open += 1
            self._want(wanted, self._wanted)
        self.pump()

    def _wanted(self) -> None:
        self._wants_open -= 1
        self.pump()
