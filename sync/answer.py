"""The other half of a meeting: the side that was dialled answers, lane by lane, and decides nothing.

Digest, counts and cells are of the snapshot of the moment in which DIGEST came in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.ids import FederationId, Lane, LaneKey
from protocol.limits import CELLS_FIRST, CELLS_KEPT, WANT_PREFIX_BYTES
from protocol.wire import (
    Cells,
    Counts,
    Digest,
    Ids,
    Keyed,
    KeyedWant,
    List,
    More,
    Next,
    Salt,
    Same,
    Settled,
    Sketch,
    Stop,
    Want,
)
from sync.held import Snapshot
from sync.line import Line, PeerFault
from sync.listing import Comparer, Lister
from sync.outbox import Outbox
from sync.salted import FRAME_CELLS_MAX, RetryAnswer
from sync.sketch import DIFFERENCE_MAX, cells_for, cells_to_bytes, estimate, next_part
from sync.wants import Wants

_DIGEST_BYTES: Final = 16


@dataclass(slots=True)
class _LaneAnswer:
    """What was said so far about one lane that differs."""

    key: LaneKey
    mine: Snapshot
    their_count: int
    their_digest: bytes
    sent: int = CELLS_FIRST
    is_counted: bool = False
    is_sending: bool = False
    is_ahead: bool = False
    listing: Lister | Comparer | None = None
    retry: RetryAnswer | None = None


class Answer:
    """The answers to one meeting over one federation."""

    def __init__(
        self, line: Line, federation: FederationId, outbox: Outbox, wants: Wants, frame: Digest
    ) -> None:
        self._line = line
        self._place = frame.federation
        self._outbox = outbox
        self._wants = wants
        self._lanes: dict[int, _LaneAnswer] = {}
        self.is_over = False
        counts = (frame.urgent_count, frame.everyday_count, frame.library_count)
        for lane in Lane:
            key = (federation, lane)
            mine = line.snapshot(key)
            start = _DIGEST_BYTES * lane
            digest = frame.digests[start : start + _DIGEST_BYTES]
            line.lawful(key).age(line.now_ms)
            if digest != mine.digest and (mine.digest, digest) != line.lawful(key).pair:
                self._lanes[lane] = _LaneAnswer(key, mine, counts[lane], digest)
        if self._lanes:
            line.send(Sketch(self._place, tuple(self._first_cells())))
        else:
            self.is_over = True
            line.send(Same(self._place))

    def counts(self, frame: Counts) -> None:
        """Estimate the difference and send as many cells, or say that cells will not do."""
        lane = self._lane(frame.lane)
        if lane.is_counted:
            raise PeerFault("out_of_turn", "COUNTS come once")
        lane.is_counted = True
        difference = estimate(lane.mine.counts, lane.mine.count, frame.counts, lane.their_count)
        surplus = abs(lane.mine.count - lane.their_count)
        if difference * 5 < surplus * 6:
            # Within twice the error of the estimate one side simply holds more, and that is exact.
            difference = surplus
        if difference > DIFFERENCE_MAX:
            self._line.send(List(self._place, frame.lane))
            return
        lane.is_sending = True
        self._send_cells(lane, cells_for(difference) - lane.sent)
        self._send_cells(lane, next_part(lane.sent))

    def more(self, frame: More) -> None:
        """Send one more run of cells."""
        lane = self._lane(frame.lane)
        if lane.is_sending:
            self._send_cells(lane, next_part(lane.sent))
            if not lane.is_ahead:
                # From now on one part is always on its way while another is being looked at.
                lane.is_ahead = True
                self._send_cells(lane, next_part(lane.sent))
        elif lane.retry is not None:
            lane.retry.more()

    def stop(self, frame: Stop) -> None:
        """Send no more cells."""
        lane = self._lane(frame.lane)
        lane.is_sending = False
        if lane.retry is not None:
            lane.retry.stop()

    def list_ids(self, frame: List) -> None:
        """List my ids."""
        lane = self._lane(frame.lane)
        self._expect(lane.listing is None, "LIST comes once")

        def end() -> None:
            lane.listing = None

        lane.listing = Lister(self._line, self._place, lane.key, end)

    def ids(self, frame: Ids) -> None:
        """Compare ids that the other side lists with mine."""
        lane = self._lane(frame.lane)
        if lane.listing is None:

            def end() -> None:
                lane.listing = None

            want = self._wants.by_short(self._place, lane.key)
            lane.listing = Comparer(self._line, self._place, lane.key, self._outbox, want, end)
        if not isinstance(lane.listing, Comparer):
            raise PeerFault("out_of_turn", "both sides list")
        lane.listing.ids(frame)

    def next(self, frame: Next) -> None:
        """Go on listing."""
        listing = self._lane(frame.lane).listing
        if not isinstance(listing, Lister):
            raise PeerFault("out_of_turn", "nothing is listed here")
        listing.next(frame)

    def salt(self, frame: Salt) -> None:
        """Hash my buckets for a second look."""
        lane = self._lane(frame.lane)
        self._expect(lane.retry is None, "SALT comes once")
        lane.is_sending = False
        lane.retry = RetryAnswer(self._line, self._place, lane.key, self._outbox, frame)

    def keyed(self, frame: Keyed) -> None:
        """Send keyed cells."""
        retry = self._lane(frame.lane).retry
        if retry is None:
            raise PeerFault("out_of_turn", "KEYED follows SALT")
        retry.keyed(frame)

    def keyed_want(self, frame: KeyedWant) -> None:
        """Send records by their keyed short ids."""
        retry = self._lane(frame.lane).retry
        if retry is None:
            raise PeerFault("out_of_turn", "KEYED WANT follows SALT")
        retry.want(frame)

    def settled(self, frame: Settled) -> list[LaneKey]:
        """End: note what differs lawfully; return the lanes that nothing explained."""
        self.end()
        for lane in self._lanes.values():
            if frame.agreed >> lane.key[1] & 1:
                self._line.lawful(lane.key).pair = (lane.mine.digest, lane.their_digest)
        return [lane.key for lane in self._lanes.values() if frame.failed >> lane.key[1] & 1]

    def end(self) -> None:
        """Let go of all that is still being read for it."""
        self.is_over = True
        for lane in self._lanes.values():
            if lane.retry is not None:
                lane.retry.end()

    def pump(self) -> None:
        """Go on with what waited for others."""
        for lane in self._lanes.values():
            if isinstance(lane.listing, Comparer):
                lane.listing.pump()

    def _lane(self, number: int) -> _LaneAnswer:
        lane = self._lanes.get(number)
        if lane is None or self.is_over:
            raise PeerFault("out_of_turn", "nothing is being compared in this lane")
        return lane

    def _expect(self, holds: bool, says: str) -> None:
        if not holds:
            raise PeerFault("out_of_turn", says)

    def _first_cells(self) -> list[tuple[int, int, bytes, bytes]]:
        return [
            (number, lane.mine.count, lane.mine.digest, cells_to_bytes(lane.mine.cells[:CELLS_FIRST]))
            for number, lane in self._lanes.items()
        ]

    def _send_cells(self, lane: _LaneAnswer, count: int) -> None:
        """Send one run of cells, of which the last frame says that it ends."""
        end = min(CELLS_KEPT, lane.sent + count)
        while lane.sent < end:
            stop = min(end, lane.sent + FRAME_CELLS_MAX)
            blob = cells_to_bytes(lane.mine.cells[lane.sent : stop])
            self._line.send(Cells(self._place, int(lane.key[1]), lane.sent, stop == end, blob))
            lane.sent = stop


def prefixes_of(frame: Want) -> list[bytes]:
    """Return the prefixes of a WANT."""
    size = WANT_PREFIX_BYTES
    return [frame.prefixes[start : start + size] for start in range(0, len(frame.prefixes), size)]
