"""One conversation: what two nodes say over one link, from HELLO (or JOIN) to the end.

The table `MOVES` says what may follow what; everything between the two HELLOs and the end happens in
TALKING, where meetings (`meeting.py`, `answer.py`) find differences and the outbox and the inbox carry
records. Federations are offered anew whenever the own authority moves. A lane is spoken of only while
both sides serve each other in its federation; whatever comes for another is passed over in silence,
since the other side may not yet know.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from enum import Enum
from typing import Final, assert_never

from protocol.errors import MalformedFrame
from protocol.ids import Lane, LaneKey, RecordId
from protocol.limits import (
    PING_LATE_MS,
    PING_MS,
    SILENCE_MS,
)
from protocol.wire import (
    EVIDENCE,
    SAYS_CHARS_MAX,
    Ack,
    Buckets,
    Cells,
    Counts,
    Digest,
    Done,
    Frame,
    Hello,
    Ids,
    Join,
    Keyed,
    KeyedHashes,
    KeyedWant,
    List,
    Meet,
    More,
    Next,
    Ping,
    Pong,
    Records,
    Refused,
    Salt,
    Same,
    Settled,
    Sketch,
    Stop,
    Want,
    Welcome,
    cut_parcel,
    decode_frame,
    federation_name,
    join_proof,
    open_parcel,
    pack_parcel,
)
from sync import events
from sync.admission import Verdict
from sync.answer import prefixes_of
from sync.authority import Authority
from sync.events import Drop, Incident, Late, Synced
from sync.inbox import Inbox, Parcel
from sync.line import Line, PeerFault, Then
from sync.offers import Offers
from sync.outbox import Outbox
from sync.rounds import Rounds


class State(Enum):
    """How far a conversation has come."""

    STRANGER = "stranger"
    JUDGING = "judging"
    ASKING = "asking"
    GREETING = "greeting"
    TALKING = "talking"
    CLOSED = "closed"


class Cause(Enum):
    """What moves a conversation on."""

    JOIN_HEARD = "JOIN heard"
    JOINED = "joined"
    JOIN_REFUSED = "join refused"
    WELCOME_HEARD = "WELCOME heard"
    REFUSED_HEARD = "REFUSED heard"
    HELLO_HEARD = "HELLO heard"
    DROPPED = "dropped"


MOVES: Final[dict[tuple[State, Cause], State]] = {
    (State.STRANGER, Cause.JOIN_HEARD): State.JUDGING,
    (State.STRANGER, Cause.DROPPED): State.CLOSED,
    (State.JUDGING, Cause.JOINED): State.GREETING,
    (State.JUDGING, Cause.JOIN_REFUSED): State.CLOSED,
    (State.JUDGING, Cause.DROPPED): State.CLOSED,
    (State.ASKING, Cause.WELCOME_HEARD): State.GREETING,
    (State.ASKING, Cause.REFUSED_HEARD): State.CLOSED,
    (State.ASKING, Cause.DROPPED): State.CLOSED,
    (State.GREETING, Cause.JOIN_HEARD): State.JUDGING,
    (State.GREETING, Cause.HELLO_HEARD): State.TALKING,
    (State.GREETING, Cause.DROPPED): State.CLOSED,
    (State.TALKING, Cause.HELLO_HEARD): State.TALKING,
    (State.TALKING, Cause.DROPPED): State.CLOSED,
}
"""Every lawful move of a conversation; `docs/conversation.md` draws it."""

HASTY: Final = (State.STRANGER, State.ASKING, State.GREETING)
"""States in which the other side owes the next word."""
GREETING_MS: Final = 60_000
"""It says it within this: a stranger that only pings holds a place that others may need."""


class Conversation:
    """One conversation.

    Args:
        line: The link, its store and its memory.
        authority: Who is a member of what, as this node resolved it.
    """

    def __init__(self, line: Line, authority: Authority) -> None:
        self.line = line
        self.heard_ms = line.now_ms
        self.heard_bytes = 0
        self.is_late = False
        self.offers = Offers(line, authority, self._show_evidence)
        self.outbox = Outbox(line, self.offers.place_of, self._sent)
        self.inbox = Inbox(line)
        self.rounds = Rounds(line, self.offers, self.outbox, self.inbox)
        self._ping_ms: int | None = None
        self._synced_change = -1
        self._welcome = Parcel()
        self._moves = 0
        self._asked: dict[int, int] = {}
        self._since_ms = line.now_ms
        self.state = self._first_state()

    # What the hub tells.

    def heard(self, data: bytes) -> None:
        """Take one frame."""
        self.heard_ms = self.line.now_ms
        self.heard_bytes += len(data)
        self._ping_ms = None
        self.is_late = False
        try:
            self._take(decode_frame(data))
        except PeerFault as fault:
            self.drop(fault.code, fault.says)
        except MalformedFrame as error:
            self.drop(error.code, str(error))

    def taken_in(self, batch: int, verdicts: tuple[Verdict, ...]) -> None:
        """Acknowledge a batch that is committed."""
        try:
            self.inbox.taken_in(batch, verdicts)
        except PeerFault as fault:
            self.line.ask(Incident(self.line.link, fault.code, fault.says))
            self.drop(fault.code, fault.says)
        # What was judged before rights moved may be welcome by now, and HELLO was said before it was refused.
        if self._asked.pop(batch, self._moves) != self._moves and self.state is State.TALKING:
            self.offers.say()

    def joined(self, records: tuple[bytes, ...]) -> None:
        """Welcome a town that its invitation let in, and go on as with any peer."""
        if self.state is State.JUDGING:
            parts = cut_parcel(pack_parcel(records))
            for index, part in enumerate(parts):
                self.line.send(Welcome(index == len(parts) - 1, part))
            self._move(Cause.JOINED)
            self.offers.say(again=True)

    def join_refused(self, code: str, says: str) -> None:
        """Send a stranger away."""
        if self.state is State.JUDGING:
            plain = unicodedata.normalize("NFC", says)[:SAYS_CHARS_MAX]
            self.line.send(Refused(code[:32], plain))
            self._move(Cause.JOIN_REFUSED)
            self.line.ask(Drop(self.line.link, "join_refused", says))

    def authority_moved(self, authority: Authority) -> None:
        """Offer federations anew, and stop at once to speak of what the other side may not read."""
        self.offers.authority = authority
        self._moves += 1
        if self.state in (State.GREETING, State.TALKING):
            self.offers.say()
        if self.state is State.TALKING:
            self.rounds.agree()

    def may_push(self, key: LaneKey) -> bool:
        """Tell whether new records of a lane go to the other side."""
        return self.state is State.TALKING and self.offers.place_of(key[0]) is not None

    def committed(self, key: LaneKey, added: Iterable[RecordId]) -> None:
        """Send new records on, unless the other side showed them to us or refused them."""
        known, refused = self.line.acquaintance.known, self.line.lawful(key).mine
        fresh = [record for record in added if record not in known and record not in refused]
        if fresh and not self.outbox.push_live(key, fresh):
            self.rounds.must_meet(key[0])

    def drop(self, code: str, says: str) -> None:
        """End the conversation."""
        if self.state is not State.CLOSED:
            self._move(Cause.DROPPED)
            self.line.ask(Drop(self.line.link, code, says))

    def advance(self, change: int) -> None:
        """Do what is due: pings, meetings, the next batches. Called after every input that concerned it.

        Args:
            change: Number of the newest commit that was told.
        """
        if self.state is State.CLOSED:
            return
        self._keep_alive()
        if self.state is not State.TALKING:
            return
        self.rounds.advance()
        if self.rounds.is_stalled:
            self.drop("stalled", "a meeting does not move on")
            return
        self.outbox.fill()
        if change > self._synced_change and self.rounds.has_met and self.is_idle:
            self._synced_change = change
            self.line.ask(Synced(self.line.link, self.line.up.town, change))

    # What the hub asks.

    @property
    def wake_ms(self) -> int:
        """When the next thing is due if nothing is heard before; a chore is at once."""
        if self.line.chores.is_due:
            return self.line.now_ms
        due = [self.heard_ms + (PING_MS if self._ping_ms is None else SILENCE_MS)]
        if self._ping_ms is not None and not self.is_late:
            due.append(self._ping_ms + PING_LATE_MS)
        if self.state in HASTY:
            due.append(self._since_ms + GREETING_MS)
        if self.state is State.TALKING:
            due += self.rounds.wake_ms()
        return min(due)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is under way: no meeting, nothing to send, nothing on its way in."""
        return self.state is State.TALKING and self.rounds.is_resting and self.rounds.is_drained

    @property
    def waiting_in_count(self) -> int:
        """Records known to be on their way here."""
        return self.rounds.wants.open_count + self.inbox.arriving_count

    # Life.

    def _move(self, cause: Cause) -> None:
        self.state = MOVES[self.state, cause]
        self._since_ms = self.line.now_ms

    def _first_state(self) -> State:
        up = self.line.up
        if up.join is not None:
            hashed = up.handshake_hash
            name = federation_name(up.join.federation, hashed, initiator=True)
            proof = join_proof(up.join.secret, hashed)
            self.line.send(Join(name, proof, pack_parcel(up.join.records)))
            return State.ASKING
        if not up.approved:
            return State.STRANGER
        self.offers.say()
        return State.GREETING

    def _keep_alive(self) -> None:
        now_ms = self.line.now_ms
        if now_ms - self.heard_ms >= SILENCE_MS:
            self.drop("silent", f"nothing was heard for {SILENCE_MS // 1_000} s")
        elif self.state in HASTY and now_ms - self._since_ms >= GREETING_MS:
            code = "not_approved" if self.state is State.STRANGER else "stalled"
            self.drop(code, f"nothing that was due was said for {GREETING_MS // 1_000} s")
        elif self._ping_ms is None:
            if now_ms - self.heard_ms >= PING_MS:
                self._ping_ms = now_ms
                self.line.send(Ping())
        elif not self.is_late and now_ms - self._ping_ms >= PING_LATE_MS:
            self.is_late = True
            self.line.ask(Late(self.line.link))

    # Frames.

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Ping):
            self.line.send(Pong())
            return
        if isinstance(frame, Pong):
            return
        match self.state:
            case State.STRANGER:
                self._take_join(frame)
            case State.ASKING:
                self._take_welcome(frame)
            case State.GREETING:
                self._take_greeting(frame)
            case State.TALKING:
                self._talk(frame)
            case State.JUDGING:
                raise PeerFault("out_of_turn", "WELCOME comes first")
            case State.CLOSED:
                pass
            case _:
                assert_never(self.state)

    def _take_join(self, frame: Frame) -> None:
        if not isinstance(frame, Join):
            raise PeerFault("not_approved", "this town is no approved peer; only JOIN is listened to")
        records = open_parcel(frame.parcel)
        self._move(Cause.JOIN_HEARD)
        self.line.ask(events.Joining(self.line.link, frame.name, frame.proof, records))

    def _take_greeting(self, frame: Frame) -> None:
        """Take HELLO; or JOIN, from a town that is a peer already and was invited once more."""
        if isinstance(frame, Join) and not self.line.up.initiator:
            self._take_join(frame)
        elif isinstance(frame, Hello):
            self._take_hello(frame)
        else:
            raise PeerFault("out_of_turn", "HELLO comes first")

    def _take_welcome(self, frame: Frame) -> None:
        if isinstance(frame, Refused):
            self._move(Cause.REFUSED_HEARD)
            self.line.ask(events.Refused(self.line.link, frame.code, frame.says))
            self.line.ask(Drop(self.line.link, "join_refused", frame.says))
        elif isinstance(frame, Welcome):
            records = self._welcome.add(frame.part, last=frame.last)
            if records is not None:
                self._move(Cause.WELCOME_HEARD)
                self.line.ask(events.Welcomed(self.line.link, records))
                self.offers.say()
        elif not isinstance(frame, Hello):
            # A peer that knew us greeted before it heard JOIN, and will greet again.
            raise PeerFault("out_of_turn", "WELCOME or REFUSED comes first")

    def _talk(self, frame: Frame) -> None:
        match frame:
            case Hello():
                self._take_hello(frame)
            case Records():
                self._take_records(frame)
            case Ack():
                self.line.progress_ms = self.line.now_ms
                self.outbox.acknowledged(frame)
            case Done():
                self.rounds.done(frame)
            case Want():
                self._take_want(frame)
            case Meet():
                self.rounds.asked_to_meet(frame)
            case Same() | Sketch() | Cells() | Buckets() | KeyedHashes():
                self.rounds.answer(frame)
            case Digest() | Counts() | More() | Stop() | Salt() | Keyed() | KeyedWant() | Settled():
                self.rounds.question(frame)
            case List() | Ids() | Next():
                if self.line.up.initiator:
                    self.rounds.answer(frame)
                else:
                    self.rounds.question(frame)
            case Join() | Welcome() | Refused():
                raise PeerFault("out_of_turn", "the invitation was dealt with")
            case Ping() | Pong():
                pass
            case _:
                assert_never(frame)

    def _take_records(self, frame: Records) -> None:
        federation = None if frame.federation == EVIDENCE else self.offers.open.get(frame.federation)
        key = None if federation is None else (federation, Lane(frame.lane))
        self.line.progress_ms = self.line.now_ms
        for record in self.inbox.take(frame, key):
            self.rounds.name_theirs(key, record)
        if frame.last:
            self._asked[frame.batch] = self._moves

    def _take_want(self, frame: Want) -> None:
        federation = self.offers.open.get(frame.federation)
        if federation is not None:
            self.outbox.want((federation, Lane(frame.lane)), prefixes_of(frame))

    def _take_hello(self, frame: Hello) -> None:
        self.offers.hear(frame)
        self._move(Cause.HELLO_HEARD)
        self.rounds.hasten()
        self.rounds.agree()

    def _show_evidence(self, records: tuple[bytes, ...], then: Then) -> None:
        self.outbox.present(records, then)

    def _sent(self, key: LaneKey, record: RecordId) -> None:
        self.rounds.name_mine(key, record)
