"""When meetings begin on one link, and which half of which meeting a frame is for.

The side that dialled begins them: when a federation opens, two seconds after a meeting that moved
something, at every beat, and when it is asked to. It waits until what is under way has arrived, but no
longer than a beat.
"""

from __future__ import annotations

from typing import Final, assert_never

from protocol.ids import FederationId, Lane, LaneKey, RecordId
from protocol.limits import BEAT_MS, MEETING_AGAIN_MS
from protocol.wire import (
    Buckets,
    Cells,
    Counts,
    Digest,
    Done,
    Ids,
    Keyed,
    KeyedHashes,
    KeyedWant,
    List,
    Meet,
    More,
    Next,
    Salt,
    Same,
    Settled,
    Sketch,
    Stop,
)
from sync.answer import Answer
from sync.events import Incident
from sync.inbox import Inbox
from sync.line import Line, PeerFault
from sync.meeting import Meeting
from sync.naming import LaneMeeting
from sync.offers import Offers
from sync.outbox import Outbox
from sync.wants import Wants

STALLED_MS: Final = 60_000
"""An answer that needs no store comes within this, or the conversation has lost its thread."""
STUCK_MS: Final = 600_000
"""And one that needs it within this."""
PLAIN_IDS_MAX: Final = 256
"""Urgent records that are sent unasked when nothing explained a lane."""
SHOWN_MS: Final = 3_600_000
"""An unexplained difference is shown once an hour."""

AnswerFrame = Same | Sketch | Cells | Buckets | KeyedHashes | List | Ids | Next
"""What the side that dialled hears in a meeting."""
QuestionFrame = Digest | Counts | More | Stop | Salt | Keyed | KeyedWant | Settled | List | Ids | Next
"""What the other side hears."""


class Rounds:
    """The meetings of one link, past and present."""

    def __init__(self, line: Line, offers: Offers, outbox: Outbox, inbox: Inbox) -> None:
        self.wants = Wants(line)
        self._line = line
        self._offers = offers
        self._outbox = outbox
        self._inbox = inbox
        self._meetings: dict[int, Meeting] = {}
        self._answers: dict[int, Answer] = {}
        self._due_ms: dict[int, int] = {}
        self._met: set[int] = set()

    @property
    def is_resting(self) -> bool:
        """Tell whether no meeting is under way."""
        return not self._meetings and all(answer.is_over for answer in self._answers.values())

    @property
    def is_drained(self) -> bool:
        """Tell whether nothing is on its way in either direction and no WANT is open."""
        return self._inbox.is_empty and self._outbox.is_empty and not self.wants.open_count

    @property
    def has_met(self) -> bool:
        """Tell whether every open federation has been met over on this link."""
        return self._met >= self._offers.open.keys()

    @property
    def is_stalled(self) -> bool:
        """Tell whether a meeting has not moved on for longer than it may."""
        return bool(self._meetings) and self._line.now_ms - self._line.progress_ms >= self._patience_ms

    def wake_ms(self) -> list[int]:
        """Return when something is due."""
        due = [self._line.progress_ms + self._patience_ms] if self._meetings else []
        if self._line.up.initiator:
            waiting = [at_ms for place, at_ms in self._due_ms.items() if place not in self._meetings]
            due += [min(waiting) + self._late_ms] if waiting else []
        return due

    def agree(self) -> None:
        """Work out which federations are open now; end what went on in any other."""
        opened, closed = self._offers.agree()
        for place, federation in closed:
            self._due_ms.pop(place, None)
            self._meetings.pop(place, None)
            self._answers.pop(place, None)
            self._met.discard(place)
            self.wants.forget(place)
            self._outbox.forget(federation)
            self._line.close(federation)
        for place in opened:
            self._due_ms[place] = self._line.now_ms

    def hasten(self) -> None:
        """Meet soon over everything."""
        for place in self._due_ms:
            self._hasten(place)

    def must_meet(self, federation: FederationId) -> None:
        """Meet soon over a federation, since more became new than can wait."""
        place = self._offers.place_of(federation)
        if place is not None and self._line.up.initiator:
            self._hasten(place)
        elif place is not None:
            self._line.send(Meet(place))

    def asked_to_meet(self, frame: Meet) -> None:
        """Meet soon, as the other side asks.

        Raises:
            PeerFault: It begins meetings itself.
        """
        if not self._line.up.initiator:
            raise PeerFault("out_of_turn", "only the side that dialled begins meetings")
        if frame.federation in self._due_ms:
            self._hasten(frame.federation)

    def advance(self) -> None:
        """Go on with what waited for others, and begin what is due."""
        for meeting in list(self._meetings.values()):
            meeting.pump()
        for answer in self._answers.values():
            answer.pump()
        if not self._line.up.initiator:
            return
        now_ms = self._line.now_ms
        due = [place for place, at_ms in self._due_ms.items() if at_ms <= now_ms]
        if due:
            late_ms = self._late_ms
            for place in sorted(due):
                if place not in self._meetings and self._due_ms[place] + late_ms <= now_ms:
                    self._meet(place)

    def name_mine(self, key: LaneKey, record: RecordId) -> None:
        """Note the whole id of a record that was sent."""
        for lane in self._lanes(key):
            lane.name_mine(record)

    def name_theirs(self, key: LaneKey | None, record: RecordId) -> None:
        """Note the whole id of a record that came."""
        for lane in self._lanes(key):
            lane.name_theirs(record)

    def done(self, frame: Done) -> None:
        """Go on with what waited for the end of a WANT.

        Raises:
            PeerFault: None is open.
        """
        federation = self._offers.open.get(frame.federation)
        if federation is None:
            return
        then, gone = self.wants.done(frame)
        for record in gone:
            self.name_theirs((federation, Lane(frame.lane)), record)
        then(gone)

    def answer(self, frame: AnswerFrame) -> None:
        """Hand a frame to the meeting that this side began.

        Raises:
            PeerFault: The other side dialled, or the frame is not due.
        """
        if not self._line.up.initiator:
            raise PeerFault("out_of_turn", "no meeting was begun from this side")
        meeting = self._meetings.get(frame.federation)
        if meeting is None:
            return
        self._line.progress_ms = self._line.now_ms
        match frame:
            case Same():
                meeting.same()
            case Sketch():
                meeting.sketch(frame)
            case Cells():
                meeting.lanes[frame.lane].cells(frame)
            case Buckets():
                meeting.lanes[frame.lane].buckets(frame)
            case KeyedHashes():
                meeting.lanes[frame.lane].hashes(frame)
            case List():
                meeting.lanes[frame.lane].far()
            case Ids():
                meeting.lanes[frame.lane].ids(frame)
            case Next():
                meeting.lanes[frame.lane].next(frame)
            case _:
                assert_never(frame)

    def question(self, frame: QuestionFrame) -> None:
        """Answer in a meeting that the other side began.

        Raises:
            PeerFault: This side dialled, or the frame is not due.
        """
        if self._line.up.initiator:
            raise PeerFault("out_of_turn", "only the side that dialled begins meetings")
        federation = self._offers.open.get(frame.federation)
        if federation is None:
            return
        if isinstance(frame, Digest):
            before = self._answers.get(frame.federation)
            if before is not None and not before.is_over:
                raise PeerFault("out_of_turn", "a meeting over this federation is under way")
            answer = Answer(self._line, federation, self._outbox, self.wants, frame)
            self._answers[frame.federation] = answer
            if answer.is_over:
                self._met.add(frame.federation)
            return
        answering = self._answers.get(frame.federation)
        if answering is None:
            return
        match frame:
            case Counts():
                answering.counts(frame)
            case More():
                answering.more(frame)
            case Stop():
                answering.stop(frame)
            case List():
                answering.list_ids(frame)
            case Ids():
                answering.ids(frame)
            case Next():
                answering.next(frame)
            case Salt():
                answering.salt(frame)
            case Keyed():
                answering.keyed(frame)
            case KeyedWant():
                answering.keyed_want(frame)
            case Settled():
                del self._answers[frame.federation]
                failed = answering.settled(frame)
                self._note_met(frame.federation, failed)
                self._show_plainly(failed)
            case _:
                assert_never(frame)

    @property
    def _late_ms(self) -> int:
        return 0 if self.is_drained else BEAT_MS

    @property
    def _patience_ms(self) -> int:
        # On a slow link our question may stand behind batches of our own.
        waiting = any(meeting.waits_for_frame for meeting in self._meetings.values())
        return STALLED_MS if waiting and self._outbox.is_empty else STUCK_MS

    def _hasten(self, place: int) -> None:
        self._due_ms[place] = min(self._due_ms[place], self._line.now_ms + MEETING_AGAIN_MS)

    def _lanes(self, key: LaneKey | None) -> list[LaneMeeting]:
        """Return the lane of a meeting under way, if there is one."""
        if not self._meetings:
            return []
        place = None if key is None else self._offers.place_of(key[0])
        meeting = None if place is None else self._meetings.get(place)
        return [] if meeting is None or key is None else [meeting.lanes[key[1]]]

    def _meet(self, place: int) -> None:
        def end(moved: bool, failed: list[LaneKey]) -> None:
            del self._meetings[place]
            self._note_met(place, failed)
            self._due_ms[place] = self._line.now_ms + (MEETING_AGAIN_MS if moved else BEAT_MS)
            self._show_plainly(failed)

        federation = self._offers.open[place]
        self._meetings[place] = Meeting(self._line, place, federation, self._outbox, self.wants, end)

    def _note_met(self, place: int, failed: list[LaneKey]) -> None:
        """Note that the other side holds what we may tell it, unless nothing explained what it holds."""
        if failed:
            self._met.discard(place)
        else:
            self._met.add(place)

    def _show_plainly(self, failed: list[LaneKey]) -> None:
        """Tell the operator of lanes that nothing explained, and send the newest urgent records anyway."""
        if not failed:
            return
        key = (failed[0][0], Lane.URGENT)
        lawful = self._line.lawful(key)
        if self._line.now_ms < lawful.shown_until_ms:
            return
        lawful.shown_until_ms = self._line.now_ms + SHOWN_MS
        says = "the other side's digest is explained by no ids that it names"
        self._line.ask(Incident(self._line.link, "unexplained_difference", says))

        def then(ids: tuple[RecordId, ...]) -> None:
            self._outbox.push(key, ids[:PLAIN_IDS_MAX])

        self._line.load_ids(key, tuple(range(256)), then)
