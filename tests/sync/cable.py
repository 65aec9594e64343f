"""Two ends and a cable: hubs joined by links in memory, with shelves for stores and a clock that only we
move.

A record here has the outer shape of a real one (header, signature, body), since the hub reads no more
of it: its header says in which held set it belongs. Signatures, merge and quotas have their own tests.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from random import Random

from protocol.encoding import decode_list, encode_list
from protocol.errors import ProtocolError
from protocol.ids import DeviceId, FederationId, Lane, LaneKey, RecordId, TownId
from protocol.record import record_id
from sync.admission import State, Verdict
from sync.authority import Authority
from sync.devices import Rights
from sync.events import (
    Committed,
    Drop,
    Effect,
    Heard,
    IdsLoaded,
    Incident,
    Input,
    JoinAsk,
    Joining,
    LaneChange,
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
from sync.held import HeldSet
from sync.hub import Hub
from tests.sync.world import federation_with

FEDERATION = FederationId(b"F" * 16)
OTHER = FederationId(b"G" * 16)
EVERYDAY: LaneKey = (FEDERATION, Lane.EVERYDAY)

Judge = Callable[[RecordId, bytes], tuple[State, str]]


def town_of(name: str) -> TownId:
    """Return the id of a town that is only a name."""
    return TownId(blake2b(name.encode(), digest_size=32, person=b"town").digest())


def device_of(name: str) -> DeviceId:
    """Return the id of a device that is only a name."""
    return DeviceId(blake2b(name.encode(), digest_size=32, person=b"device").digest())


def raw_record(
    number: int, key: LaneKey = EVERYDAY, *, bytes_count: int = 60, kills: bytes | None = None
) -> bytes:
    """Return the bytes of a record that belongs in a held set, and may supersede another one there."""
    chance = Random(number * 4 + key[1])
    header = encode_list([key[0], int(key[1]), number, chance.randbytes(90), kills])
    return encode_list([header, chance.randbytes(64), chance.randbytes(bytes_count)])


def id_and_key(raw: bytes) -> tuple[RecordId, LaneKey]:
    """Return the id of a record and the held set in which it belongs."""
    header_bytes = decode_list(raw, bytes_max=40_000)[0]
    header = decode_list(header_bytes, bytes_max=1_024)
    return record_id(header_bytes), (FederationId(header[0]), Lane(header[1]))


def victim_of(raw: bytes) -> RecordId | None:
    """Return the id that a record supersedes."""
    victim = decode_list(decode_list(raw, bytes_max=40_000)[0], bytes_max=1_024)[4]
    return None if victim is None else RecordId(victim)


def authority_of(
    name: str, members: Iterable[str], federations: Iterable[FederationId] = (FEDERATION,)
) -> Authority:
    """Return an authority in which these towns are members of these federations."""
    members = list(members)
    towns = frozenset(town_of(member) for member in members)
    rights = {
        town_of(member): Rights(
            frozenset(device_of(f"{member}{number}") for number in ("", 1, 2)),
            (DeviceId(town_of(member)),),
        )
        for member in members
    }
    return Authority(
        town_of(name),
        {
            each: federation_with(each, "F", RecordId(each * 2), town_of(name), towns, towns, (9, 9, 9))
            for each in federations
        },
        rights,
    )


@dataclass
class Node:
    """A hub with a shelf for a store."""

    name: str
    hub: Hub
    authority: Authority
    shelves: dict[LaneKey, dict[RecordId, bytes]] = field(default_factory=dict)
    change: int = 0
    judge: Judge = lambda record, raw: (State.HELD, "held")
    evidence: dict[FederationId, tuple[bytes, ...]] = field(default_factory=dict)
    evidence_part: int = 64
    on_evidence: Callable[[bytes], Authority | None] = lambda raw: None
    takes_in: bool = True
    wake_ms: int | None = None
    seen: list[Effect] = field(default_factory=list)
    taken: int = 0
    dead: set[RecordId] = field(default_factory=set)
    loses: set[RecordId] = field(default_factory=set)
    """Ids that are judged HELD and never enter the held set."""
    mute: bool = False
    """What the hub of this node says is thrown away."""

    def ids(self, key: LaneKey = EVERYDAY) -> set[RecordId]:
        """Return what is held."""
        return set(self.shelves.get(key, {}))

    def of(self, kind: type[Effect]) -> list[Effect]:
        """Return the effects of one kind that the hub gave so far."""
        return [effect for effect in self.seen if isinstance(effect, kind)]


@dataclass
class Cable:
    """One link; `passes` may drop frames without a word."""

    ends: tuple[Node, Node]
    links: tuple[LinkId, LinkId]
    lives: list[bool]
    carried_bytes: int = 0
    frames: int = 0
    passes: Callable[[], bool] = lambda: True


class Bench:
    """Nodes, cables and a clock."""

    def __init__(self, seed: int = 1) -> None:
        self.now_ms = 1_000_000
        self.hashed: bytes | None = None
        """The handshake hash of every link, if a test wants to know it."""
        self.rng = Random(seed)
        self.nodes: dict[str, Node] = {}
        self.cables: list[Cable] = []
        self.frame_ms = 5
        self.store_ms = 1
        self.watch: Callable[[Node, Effect], None] = lambda node, effect: None
        self.corrupt: Callable[[bytes], bytes] = lambda frame: frame
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._links = count(1)

    def node(self, name: str, authority: Authority, records: Iterable[bytes] = ()) -> Node:
        """Add a node that holds these records."""
        shelves: dict[LaneKey, dict[RecordId, bytes]] = {}
        for raw in records:
            record, key = id_and_key(raw)
            shelves.setdefault(key, {})[record] = raw
        held = {key: HeldSet.of(list(shelf)) for key, shelf in shelves.items()}
        hub = Hub(town_of(name.rstrip("12")), device_of(name), authority, held, Random(f"{name}"))
        self.nodes[name] = Node(name, hub, authority, shelves)
        return self.nodes[name]

    def join(self, first: Node, second: Node, *, approved: bool = True, ask: JoinAsk | None = None) -> Cable:
        """Link two nodes; the first dialled."""
        links = (LinkId(next(self._links)), LinkId(next(self._links)))
        cable = Cable((first, second), links, [True, True])
        self.cables.append(cable)
        hashed = self.hashed or self.rng.randbytes(32)
        for end, initiator in ((0, True), (1, False)):
            other = cable.ends[1 - end]
            up = LinkUp(
                links[end],
                other.hub.own_town,
                other.hub.own_device,
                hashed,
                initiator,
                approved if not initiator else True,
                ask if initiator else None,
            )
            self.tell(cable.ends[end], up)
        return cable

    def cut(self, cable: Cable) -> None:
        """End a link at both ends."""
        for end in (0, 1):
            if cable.lives[end]:
                cable.lives[end] = False
                self.tell(cable.ends[end], LinkDown(cable.links[end]))

    def tell(self, node: Node, told: Input) -> None:
        """Give one input to a hub and perform the effects."""
        for effect in node.hub.handle(told, self.now_ms):
            node.seen.append(effect)
            self.watch(node, effect)
            self._perform(node, effect)

    def post(self, node: Node, *raws: bytes) -> None:
        """Commit records of a node's own."""
        self._commit(node, raws, None)

    def remove(self, node: Node, *raws: bytes) -> None:
        """Commit that records are held no more."""
        node.change += 1
        lanes: dict[LaneKey, list[RecordId]] = {}
        for raw in raws:
            record, key = id_and_key(raw)
            del node.shelves[key][record]
            lanes.setdefault(key, []).append(record)
        changes = tuple(LaneChange(key, removed=tuple(ids)) for key, ids in lanes.items())
        self.tell(node, Committed(changes, node.change))

    def move_authority(self, node: Node, authority: Authority) -> None:
        """Give a node another authority."""
        node.authority = authority
        node.change += 1
        self.tell(node, Committed((), node.change, None, authority))

    def run(self, ms: int) -> None:
        """Let so much time pass."""
        end_ms = self.now_ms + ms
        while self._events and self._events[0][0] <= end_ms:
            self.now_ms, _, act = heapq.heappop(self._events)
            act()
        self.now_ms = end_ms

    def later(self, ms: int, act: Callable[[], None]) -> None:
        """Do something after so much time."""
        heapq.heappush(self._events, (self.now_ms + ms, next(self._order), act))

    def _perform(self, node: Node, effect: Effect) -> None:
        match effect:
            case Send():
                self._send(node, effect)
            case Drop():
                cable, end = self._cable(node, effect.link)
                cable.lives[end] = False
                self.later(self.frame_ms, lambda: self.cut(cable))
            case TakeIn():
                if node.takes_in:
                    self.later(self.store_ms, lambda: self._take_in(node, effect))
            case Load():
                self.later(self.store_ms, lambda: self.tell(node, self._load(node, effect)))
            case LoadIds():
                self.later(self.store_ms, lambda: self.tell(node, self._load_ids(node, effect)))
            case LoadEvidence():
                every = node.evidence.get(effect.federation, ())
                places = {id_and_key(raw)[0]: place for place, raw in enumerate(every, 1)}
                start = 0 if effect.after is None else places.get(effect.after, len(every))
                end = start + node.evidence_part
                found = Loaded(effect.link, effect.token, every[start:end], end < len(every))
                self.later(self.store_ms, lambda: self.tell(node, found))
            case WakeAt():
                node.wake_ms = effect.at_ms
                self.later(max(0, effect.at_ms - self.now_ms), lambda: self._tick(node, effect.at_ms))
            case Synced() | Incident() | Late() | Joining() | Welcomed() | Refused():
                pass

    def _tick(self, node: Node, at_ms: int) -> None:
        if node.wake_ms == at_ms:
            node.wake_ms = None
            self.tell(node, Tick())

    def _cable(self, node: Node, link: LinkId) -> tuple[Cable, int]:
        for cable in self.cables:
            for end in (0, 1):
                if cable.links[end] == link and cable.ends[end] is node:
                    return cable, end
        raise AssertionError(f"no link {link}")

    def _send(self, node: Node, effect: Send) -> None:
        cable, end = self._cable(node, effect.link)
        assert len(effect.frame) <= 65_519
        cable.carried_bytes += len(effect.frame) + 24
        cable.frames += 1
        if node.mute or not cable.passes():
            return
        frame = self.corrupt(effect.frame)

        def arrive() -> None:
            if cable.lives[1 - end]:
                self.tell(cable.ends[1 - end], Heard(cable.links[1 - end], frame))

        self.later(self.frame_ms, arrive)

    def _take_in(self, node: Node, effect: TakeIn) -> None:
        node.taken += len(effect.records)
        verdicts = self._commit(node, effect.records, effect.link)
        self.tell(node, TakenIn(effect.link, effect.batch, verdicts))

    def _commit(self, node: Node, raws: Iterable[bytes], source: LinkId | None) -> tuple[Verdict, ...]:
        verdicts: list[Verdict] = []
        added: dict[LaneKey, dict[RecordId, None]] = {}
        removed: dict[LaneKey, dict[RecordId, None]] = {}
        authority: Authority | None = None
        for raw in raws:
            try:
                record, key = id_and_key(raw)
            except (ProtocolError, IndexError, TypeError):
                verdicts.append(Verdict(RecordId(bytes(32)), State.DROPPED, "malformed"))
                continue
            state, cause = node.judge(record, raw)
            if record in node.dead:
                state, cause = State.DROPPED, "superseded"
            verdicts.append(Verdict(record, state, cause))
            authority = node.on_evidence(raw) or authority
            shelf = node.shelves.setdefault(key, {})
            if state is not State.HELD or record in shelf or record in node.loses:
                continue
            shelf[record] = raw
            added.setdefault(key, {})[record] = None
            victim = victim_of(raw)
            if victim is not None:
                node.dead.add(victim)
                if shelf.pop(victim, None) is not None and added[key].pop(victim, 0) == 0:
                    removed.setdefault(key, {})[victim] = None
        if added or removed or authority is not None:
            node.change += 1
            node.authority = authority or node.authority
            lanes = tuple(
                LaneChange(key, tuple(added.get(key, ())), tuple(removed.get(key, ())))
                for key in sorted(added.keys() | removed.keys())
            )
            self.tell(node, Committed(lanes, node.change, source, authority))
        return tuple(verdicts)

    def _load(self, node: Node, effect: Load) -> Loaded:
        shelf = node.shelves.get(effect.key, {})
        wanted = set(effect.prefixes)
        found: list[bytes] = []
        size = 0
        for record in reversed(shelf):
            if wanted & {record, record[:8], record[:5]}:
                if found and size + len(shelf[record]) > effect.bytes_max:
                    return Loaded(effect.link, effect.token, tuple(found), True)
                found.append(shelf[record])
                size += len(shelf[record])
        return Loaded(effect.link, effect.token, tuple(found))

    def _load_ids(self, node: Node, effect: LoadIds) -> IdsLoaded:
        buckets = set(effect.buckets)
        shelf = node.shelves.get(effect.key, {})
        ids = tuple(record for record in reversed(shelf) if record[0] in buckets)
        return IdsLoaded(effect.link, effect.token, ids)
