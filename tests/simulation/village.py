"""One simulated node: the real door, judge, store contract and hub, with an engine for virtual time.

What a crash takes is the hub, the links and every batch that was not committed; what it leaves is the store
in memory, which keeps only what was committed. A restart builds the hub from the store's held sets, as the
daemon does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final, TypeVar, assert_never

from node.clock import Reading
from node.intake import Draft, Intake, Taken, take_in
from node.store.contract import Reader, Transaction
from node.store.memory import MemoryStore
from protocol.errors import BadSignature
from protocol.identity import SigningKey
from protocol.ids import DeviceId, LaneKey, RecordId, TownId
from protocol.record import Record, check_signature
from sync.events import (
    Committed,
    Drop,
    Effect,
    Heard,
    IdsLoaded,
    Incident,
    Input,
    Joining,
    Late,
    LinkDown,
    LinkId,
    LinkUp,
    Load,
    Loaded,
    LoadEvidence,
    LoadIds,
    Refused,
    Send,
    Synced,
    TakeIn,
    TakenIn,
    Tick,
    WakeAt,
    Welcomed,
)
from sync.hub import Hub
from tests.simulation.virtual import End, Link, Network, Time

T = TypeVar("T")

START_MS: Final = 1_800_000_000_000
"""What the wall clocks say when virtual time begins."""
COMMIT_MS: Final = (1, 30)
"""How long a commit takes, and a reading."""
REDIAL_MS: Final = (300, 3_000)
"""How long a dialer waits before it tries again."""


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of work in memory, which waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("a store in memory waits for nothing")


class Signatures:
    """Checks signatures, and remembers the answers for all nodes of one seed."""

    def __init__(self) -> None:
        self.checked_count = 0
        self._answers = dict[tuple[RecordId, bytes], bool]()

    def check(self, record: Record) -> None:
        """Raise BadSignature as `check_signature` does."""
        name = (record.id, record.signature)
        sound = self._answers.get(name)
        if sound is None:
            self.checked_count += 1
            try:
                check_signature(record)
                sound = True
            except BadSignature:
                sound = False
            self._answers[name] = sound
        if not sound:
            raise BadSignature("remembered as bad")


@dataclass(eq=False)
class Node:
    """One node of a town.

    Attributes:
        index: Its number in the network.
        certificate: Its town's word that it may speak for it.
        skew_ms: How far its wall clock is off.
        is_sure: Whether it takes that for the time.
        peers: Nodes that it dials; others dial it.
        received: Batches that it has heard, for replays.
        incidents: What it would have shown its operator.
    """

    index: int
    town_id: TownId
    key: SigningKey
    certificate: Record
    time: Time
    network: Network
    rng: Random
    signatures: Signatures
    skew_ms: int
    peers: list[Node] = field(default_factory=list)
    received: list[tuple[bytes, ...]] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.device_id = DeviceId(self.key.public)
        self.hub: Hub | None = None
        self.store = MemoryStore(self.town_id, epoch=self.rng.randbytes(4))
        self.intake = Intake(self.store, self.key, self._read_clock, chance=self.rng.randbytes)
        self.intake.announce = self._announce
        self._links = dict[LinkId, tuple[Link, int]]()
        self._dialing = set[int]()
        self._life = 0
        self._wake = 0
        self.is_sure = True

    # Life and death.

    def start(self) -> None:
        """Come up, as after power returns."""
        self._life += 1
        authority = self.read(lambda reader: reader.authority())
        held = self.read(lambda reader: reader.held_sets())
        self.hub = Hub(self.town_id, self.device_id, authority, held, self.rng)
        for peer in self.peers:
            self._redial(peer)

    def crash(self) -> None:
        """Lose everything that was not committed, at once."""
        self._life += 1
        self.hub = None
        self._links.clear()
        self._dialing.clear()
        self.network.die(self.index)

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self.hub is not None

    # People and sticks.

    def post(self, drafts: Sequence[Draft]) -> list[Record]:
        """Post drafts of people here; they are committed when this returns."""
        assert self.hub is not None
        records = at_once(self.intake.post(drafts))
        self.time.note(self.index, b"post", *(record.id for record in records))
        return records

    def take_in(self, raws: Sequence[bytes], source: LinkId | None = None) -> Taken:
        """Take foreign bytes in, as the door does, with signatures remembered."""

        def work(tx: Transaction) -> Taken:
            now = self._read_clock()
            return take_in(tx, raws, now_ms=now.now_ms, sure=now.sure, check=self.signatures.check)

        taken = self.store.turn(work)
        if taken.lanes or taken.authority is not None:
            self._announce(Committed(taken.lanes, taken.change, source, taken.authority))
        return taken

    def end(self) -> int:
        """Let go of what has ended, or lies ahead after all; return how many records that were."""
        return at_once(self.intake.reconsider())

    def read(self, work: Callable[[Reader], T]) -> T:
        """Look at the committed state."""
        return self.store.turn(work)

    def lane(self, key: LaneKey) -> dict[RecordId, bytes]:
        """Return the records of one held set with their bytes."""
        state = self.store.state
        return dict(state.raws(state.ids_in_buckets(key, range(256))))

    # What the network tells it.

    def link_up(self, link: Link, side: int) -> None:
        """A link to another node stands."""
        other = link.ends[1 - side]
        self._dialing.discard(other.index)
        self._links[link.id] = (link, side)
        self._tell(LinkUp(link.id, other.town_id, other.device_id, link.handshake_hash, side == 0))
        if not self.store.state.authority().is_certified(other.town_id, other.device_id):
            # AUTH has shown it, and the engine lets it through the door: only a certified device is served.
            assert isinstance(other, Node)
            self._later(partial(self.take_in, [other.certificate.raw], link.id))

    def heard(self, link: Link, side: int, frame: bytes) -> None:
        """A frame came in on it."""
        if link.id in self._links:
            self._tell(Heard(link.id, frame))

    def link_down(self, link: Link, side: int) -> None:
        """It has ended, or did not come to stand."""
        other = link.ends[1 - side]
        if side == 0:
            self._dialing.discard(other.index)
        if self._links.pop(link.id, None) is not None:
            self._tell(LinkDown(link.id))
        self._redial(other)

    # The engine.

    def _tell(self, told: Input) -> None:
        if self.hub is None:
            return
        for effect in self.hub.handle(told, self.time.now_ms):
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send():
                if effect.link in self._links:
                    self.network.send(*self._links[effect.link], effect.frame)
            case Drop():
                self._drop(effect)
            case TakeIn():
                self.received.append(effect.records)
                self._later(lambda: self._take_in(effect))
            case Load():
                self._later(lambda: self._load(effect))
            case LoadIds():
                self._later(lambda: self._load_ids(effect))
            case LoadEvidence():
                self._later(lambda: self._load_evidence(effect))
            case WakeAt():
                self._wake_at(effect.at_ms)
            case Late():
                link, side = self._links.get(effect.link, (None, 1))
                if link is not None and side == 0:
                    self._dial(link.ends[1])
            case Incident():
                self.incidents.append(effect)
            case Synced():
                pass
            case Joining() | Welcomed() | Refused():
                raise AssertionError("every peer was approved before time began")
            case _:
                assert_never(effect)

    def _take_in(self, effect: TakeIn) -> None:
        taken = self.take_in(effect.records, effect.link)
        self.time.note(self.index, b"took", len(taken.verdicts), taken.change)
        # Commits are announced at once, each batch answered a little later: others may come in between.
        self._later(lambda: self._tell(TakenIn(effect.link, effect.batch, taken.verdicts)))

    def _load(self, effect: Load) -> None:
        raws, more = self.store.state.raws_by_prefix(effect.key, effect.prefixes, effect.bytes_max)
        self._tell(Loaded(effect.link, effect.token, raws, more))

    def _load_ids(self, effect: LoadIds) -> None:
        ids = self.read(lambda reader: reader.ids_in_buckets(effect.key, effect.buckets))
        self._tell(IdsLoaded(effect.link, effect.token, tuple(ids)))

    def _load_evidence(self, effect: LoadEvidence) -> None:
        found = self.read(lambda reader: reader.evidence(effect.federation, effect.town, effect.after))
        self._tell(Loaded(effect.link, effect.token, *found))

    def _announce(self, committed: Committed) -> None:
        self._tell(committed)

    def _drop(self, effect: Drop) -> None:
        found = self._links.pop(effect.link, None)
        if found is not None:
            self.network.close(*found)
            self._redial(found[0].ends[1 - found[1]])

    def _later(self, act: Callable[[], object]) -> None:
        """Do something when the disk is done, unless a crash comes before it."""
        life = self._life

        def alive() -> None:
            if life == self._life:
                act()

        self.time.after(self.rng.randint(*COMMIT_MS), alive)

    def _wake_at(self, at_ms: int) -> None:
        self._wake += 1
        life, wake = self._life, self._wake

        def tick() -> None:
            if (life, wake) == (self._life, self._wake):
                self._tell(Tick())

        self.time.at(at_ms, tick)

    def _read_clock(self) -> Reading:
        return Reading(START_MS + self.time.now_ms + self.skew_ms, sure=self.is_sure)

    # The dialer.

    def _redial(self, other: End) -> None:
        """Dial a peer of ours in a while, if no link to it stands by then."""
        if other not in self.peers:
            return
        life = self._life

        def dial() -> None:
            if life != self._life or not self.is_up or other.index in self._dialing:
                return
            if not any(link.ends[1] is other for link, side in self._links.values() if side == 0):
                self._dial(other)

        self.time.after(self.rng.randint(*REDIAL_MS), dial)

    def _dial(self, other: End) -> None:
        if other.index in self._dialing:
            return
        if self.network.dial(self, other, lambda end: isinstance(end, Node) and end.is_up):
            self._dialing.add(other.index)
        else:
            self._redial(other)
