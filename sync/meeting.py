"""One meeting: the side that dialled compares the lanes of a federation with the other side (`naming.py`)."""

from __future__ import annotations

from collections.abc import Callable

from protocol.ids import FederationId, Lane, LaneKey
from protocol.wire import Digest, Settled, Sketch
from sync.line import Line, PeerFault
from sync.naming import ENDED, LaneMeeting, LaneState, Turn
from sync.outbox import Outbox
from sync.wants import Wants


class Meeting:
    """A meeting over one federation, at the side that began it.

    Args:
        place: The federation's number on this link.
        on_end: Told whether anything moved, and which lanes nothing explained.
    """

    def __init__(
        self,
        line: Line,
        place: int,
        federation: FederationId,
        outbox: Outbox,
        wants: Wants,
        on_end: Callable[[bool, list[LaneKey]], None],
    ) -> None:
        self._line = line
        self._place = place
        self._on_end = on_end
        self._outbox = outbox
        self.lanes = [LaneMeeting(line, place, (federation, lane), outbox, wants) for lane in Lane]
        for lane in self.lanes:
            line.lawful(lane.key).age(line.now_ms)
        counts = [lane.mine.count for lane in self.lanes]
        line.progress_ms = line.now_ms
        digests = b"".join(lane.mine.digest for lane in self.lanes)
        line.send(Digest(place, counts[0], counts[1], counts[2], digests))

    @property
    def waits_for_frame(self) -> bool:
        """Tell whether the other side owes an answer that it can give without its store."""
        return any(lane.waits_for_frame for lane in self.lanes)

    def same(self) -> None:
        """End: nothing to do anywhere.

        Raises:
            PeerFault: More was said before.
        """
        for lane in self.lanes:
            if lane.state is not LaneState.COMPARING:
                raise PeerFault("out_of_turn", "SAME answers only a DIGEST")
            lane.move(Turn.SAME)
        self._on_end(False, [])

    def sketch(self, frame: Sketch) -> None:
        """Go on with the lanes that differ; the others are level.

        Raises:
            PeerFault: A lane that is not due, or twice.
        """
        for lane, count, digest, cells in frame.lanes:
            self.lanes[lane].sketch(count, digest, cells)
        for meeting in self.lanes:
            if meeting.state is LaneState.COMPARING:
                meeting.move(Turn.SAME)

    def pump(self) -> None:
        """Go on with what waited for others, and end when every lane has."""
        for lane in self.lanes:
            lane.pump()
        for index, lane in enumerate(self.lanes):
            if lane.state is LaneState.WAITING:
                before = self.lanes[:index]
                if all(
                    earlier.state in ENDED and not self._outbox.is_pushing(earlier.key) for earlier in before
                ):
                    lane.begin_listing()
                break
        if all(lane.state in ENDED for lane in self.lanes):
            self._end()

    def _end(self) -> None:
        agreed = failed = 0
        for lane in self.lanes:
            lane.remember()
            agreed |= lane.is_agreed << lane.key[1]
            failed |= (lane.state is LaneState.FAILED) << lane.key[1]
        self._line.send(Settled(self._place, agreed, failed))
        moved = any(lane.state is LaneState.MOVED for lane in self.lanes)
        self._on_end(moved, [lane.key for lane in self.lanes if lane.state is LaneState.FAILED])
