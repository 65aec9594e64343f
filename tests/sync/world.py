"""A little world for the tests of authority and admission: towns that sign, a state in dictionaries, and
the held sets as the protocol specifies them, written with no thought of speed.

`specified` is the naive form of the rule: a function of all records ever seen and of the time. `World` is
the plainest state that `judge` can work on; it checks that every change is one that can be made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b

from protocol import limits
from protocol.encoding import Value
from protocol.identity import SigningKey, TownKey, new_paper
from protocol.ids import DeviceId, DocId, FederationId, Lane, LaneKey, Op, RecordId, TownId, home_id
from protocol.limits import AHEAD_S_MAX, DEVICES_MAX
from protocol.record import Record, fields_of, is_town_kind, make, make_body
from sync.admission import (
    AUTHORITY_KINDS,
    EXPIRED,
    QUOTA,
    SUPERSEDED,
    Changes,
    State,
    Verdict,
    expire,
    judge,
)
from sync.authority import Allotment, Authority, allotment_of, resolve
from sync.merge import Fact
from sync.sitting import horizon
from tests.sync.said import LASTING, Said

NOW_S = 1_800_000_000
FAR_S = NOW_S + 10_000_000

Held = dict[LaneKey, frozenset[RecordId]]


@lru_cache(maxsize=1_024)
def key_of(name: str) -> SigningKey:
    """Return a key that depends on the name only."""
    return SigningKey(blake2b(name.encode(), digest_size=32).digest())


@lru_cache(maxsize=1_024)
def town_key_of(name: str, generation: int) -> TownKey:
    """Return a town key that depends on the name and generation only."""
    return TownKey.next_of(new_paper(blake2b(name.encode(), digest_size=16).digest()), generation)


@dataclass(frozen=True)
class Town:
    """A town with its town key and devices named 1, 2, ..."""

    name: str

    @property
    def key(self) -> TownKey:
        """The first town key."""
        return town_key_of(self.name, 0)

    def later_key(self, generation: int) -> TownKey:
        """Return one of the town keys that follow."""
        return town_key_of(self.name, generation)

    @property
    def id(self) -> TownId:
        """The town's id."""
        return TownId(self.key.public)

    def device(self, number: int = 1) -> SigningKey:
        """Return one of the town's device keys, certified or not."""
        return key_of(f"{self.name} device {number}")

    def write(
        self,
        kind: str,
        nonce: str = "",
        *,
        op: Op = Op.PUT,
        fields: Mapping[str, Value] | None = None,
        federations: Iterable[FederationId] = (),
        lane: Lane = Lane.URGENT,
        stamp: int = 0,
        born: int = NOW_S,
        expires: int = FAR_S,
        device: int = 1,
        counter: int = 0,
        key: SigningKey | None = None,
    ) -> Record:
        """Return a record of this town; `town.*` kinds are signed by the town key, all else by a device."""
        if key is None:
            key = self.key if is_town_kind(kind) or device == 0 else self.device(device)
        return make(
            key,
            town=self.id,
            epoch=b"test",
            counter=counter,
            stamp=stamp,
            kind=kind,
            lane=lane,
            federations=sorted(set(federations)),
            born=born,
            expires=expires,
            nonce=blake2b(nonce.encode(), digest_size=8).digest(),
            op=op,
            body=None if op is Op.DELETE else make_body(bytes(16), fields or {}),
        )

    def certificate(
        self,
        device: int = 1,
        *,
        op: Op = Op.PUT,
        expires: int = FAR_S,
        stamp: int = 0,
        key: SigningKey | None = None,
    ) -> Record:
        """Return the certificate of a device, or its end."""
        fields: dict[str, Value] = {"device": self.device(device).public}
        nonce = f"device {device}"
        return self.write("town.device", nonce, op=op, fields=fields, expires=expires, stamp=stamp, key=key)

    def revoke(self, device: int = 1, *, stamp: int = 0, key: SigningKey | None = None) -> Record:
        """Return the revocation of a device."""
        fields: dict[str, Value] = {"device": self.device(device).public}
        return self.write("town.revoke", f"{device}", op=Op.ENTRY, fields=fields, stamp=stamp, key=key)

    def keep(self, *records: Record, stamp: int = 0, key: SigningKey | None = None) -> Record:
        """Return a list of records that stay valid."""
        fields: dict[str, Value] = {"records": [each.id for each in records]}
        return self.write("town.keep", "keep", op=Op.ENTRY, fields=fields, stamp=stamp, key=key)

    def rotate(self, generation: int = 1, *, stamp: int = 0) -> Record:
        """Return the record by which a later town key takes over."""
        key = self.later_key(generation)
        fields: dict[str, Value] = {"succession": list(key.succession)}
        return self.write("town.rotate", "rotate", op=Op.ENTRY, fields=fields, stamp=stamp, key=key)

    def charter(
        self,
        name: str,
        stewards: Sequence[Town],
        members: Sequence[Town] = (),
        quotas: Sequence[int] = (9, 9, 9),
    ) -> Record:
        """Return a charter; `federation_of` gives the name of what it founds."""
        fields: dict[str, Value] = {
            "name": name,
            "stewards": [town.id for town in stewards],
            "members": [town.id for town in members],
            "rules": {},
            "quotas": dict(zip(("urgent", "everyday", "library"), quotas, strict=True)),
        }
        return self.write("charter", name, op=Op.ENTRY, fields=fields)

    def admit(
        self, federation: FederationId, town: Town, *, op: Op = Op.PUT, device: int = 1, stamp: int = 0
    ) -> Record:
        """Return an admission, or its end."""
        return self.write(
            "federation.admit",
            town.name,
            op=op,
            fields={"town": town.id},
            federations=[federation],
            device=device,
            stamp=stamp,
        )

    def join(
        self,
        federation: FederationId,
        *,
        op: Op = Op.PUT,
        device: int = 1,
        stamp: int = 0,
        expires: int = FAR_S,
    ) -> Record:
        """Return this town's consent, or its end."""
        return self.write(
            "federation.join",
            "join",
            op=op,
            federations=[federation],
            device=device,
            stamp=stamp,
            expires=expires,
        )


def federation_of(charter: Record) -> FederationId:
    """Return the federation that a charter founds."""
    return FederationId(charter.id[:16])


class World:
    """A state in dictionaries, which is a `sync.admission.View`, and the door to it."""

    def __init__(self, own: TownId, *, now_s: int = NOW_S, sure: bool = True) -> None:
        self.own = own
        self.now_s = now_s
        self.sure = sure
        self.authority = Authority(own)
        self.kept = dict[RecordId, Record]()
        self.held = dict[RecordId, frozenset[LaneKey]]()
        self.waiting = dict[RecordId, str]()
        self.dropped = dict[RecordId, tuple[Verdict, TownId]]()
        self.drawn = dict[RecordId, Record]()

    # The door.

    def take(self, *records: Record) -> list[Verdict]:
        """Judge one batch and make its changes; return the verdicts."""
        changes = judge(records, self, self.authority, self.now_s * 1_000, self.sure)
        self.apply(changes, records)
        assert [verdict.id for verdict in changes.verdicts] == [record.id for record in records]
        for verdict in changes.verdicts:
            assert (verdict.state is State.HELD) == (verdict.id in self.held), verdict
            assert (verdict.state is State.PARKED) == (verdict.id in self.waiting), verdict
        return list(changes.verdicts)

    def end(self, limit: int = 1_000) -> None:
        """Let go of what has ended."""
        while self.sure and (self.expired(self.now_s, 1) or self.ahead(0, *horizon(self.now_s * 1_000), 1)):
            now_ms = self.now_s * 1_000
            self.apply(expire(self, self.authority, now_ms, self.sure, limit, doubted_after=0))

    def settle(self, records: Iterable[Record]) -> None:
        """Offer everything again and again, one by one, as peers do, until nothing more is taken in."""
        every = sorted(records, key=lambda record: record.id)
        for _ in range(20):
            before = self.state()
            for record in every:
                self.take(record)
            if self.state() == before:
                return
        raise AssertionError("offering the same records again never comes to rest")

    def apply(self, changes: Changes, batch: Sequence[Record] = ()) -> None:
        """Make changes, each of which must be possible; `batch` are the records of the verdicts.

        It knows of a record only what it has of it at this moment, as a store does.
        """
        left = set[RecordId]()
        for id, (verdict, town) in list(self.dropped.items()):
            if verdict.cause == SUPERSEDED and town in changes.reconsider:
                del self.dropped[id]
        parked = {record.id for record, _ in changes.park}
        for id, lanes, cause, because in changes.remove:
            now = self.held.get(id, frozenset())
            assert lanes <= now and (lanes or id in self.waiting), "only what is there can leave"
            self.waiting.pop(id, None)
            if now - lanes:
                self.held[id] = now - lanes
                continue
            self.held.pop(id, None)
            left.add(id)
            if cause in (SUPERSEDED, QUOTA) and self.kept[id].header.town == self.own:
                self.drawn[id] = self.kept[id]
            if cause in (SUPERSEDED, EXPIRED):
                assert id not in parked
                verdict = Verdict(id, State.DROPPED, cause, because)
                self.dropped[id] = (verdict, self.kept[id].header.town)
        for record, cause in changes.park:
            assert record.id not in self.held, "what is held does not wait"
            self.kept[record.id] = record
            self.drawn.pop(record.id, None)
            self.waiting[record.id] = cause
        for record, lanes in changes.hold:
            assert lanes and not lanes & self.held.get(record.id, frozenset()), (
                "only what is not there enters"
            )
            self.kept[record.id] = record
            self.waiting.pop(record.id, None)
            self.dropped.pop(record.id, None)
            self.drawn.pop(record.id, None)
            self.held[record.id] = self.held.get(record.id, frozenset()) | lanes
        for verdict, record in zip(changes.verdicts, batch, strict=False):
            if verdict.state is State.DROPPED:
                self.dropped[verdict.id] = (verdict, record.header.town)
            if verdict.cause in (SUPERSEDED, QUOTA) and record.header.town == self.own:
                self.drawn[record.id] = record
        for id in left - self.held.keys() - self.waiting.keys():
            del self.kept[id]
        if changes.authority is not None:
            self.authority = changes.authority
        assert self.authority == resolve(self.own, self.authority_records()), "resolved from what is known"

    def state(self) -> tuple[Held, frozenset[RecordId]]:
        """Return the held sets and what is parked."""
        lanes = defaultdict[LaneKey, set[RecordId]](set)
        for id, keys in self.held.items():
            for key in keys:
                lanes[key].add(id)
        return {key: frozenset(ids) for key, ids in lanes.items()}, frozenset(self.waiting)

    # The view.

    def authority_records(self, news: Sequence[Record] = ()) -> Sequence[Record]:
        """Return all known records of authority."""
        known = [*self.kept.values(), *self.drawn.values()]
        return [record for record in known if record.header.kind in AUTHORITY_KINDS]

    def known(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Verdict]:
        """Return what was decided before."""
        found = dict[RecordId, Verdict]()
        for id in ids:
            if id in self.held:
                found[id] = Verdict(id, State.HELD, "held")
            elif id in self.waiting:
                found[id] = Verdict(id, State.PARKED, self.waiting[id])
            elif id in self.dropped:
                found[id] = self.dropped[id][0]
        return found

    def facts(self, docs: Sequence[DocId]) -> Mapping[DocId, Sequence[Fact]]:
        """Return the held facts of documents."""
        found = defaultdict[DocId, list[Fact]](list)
        for id in self.held:
            record = self.kept[id]
            if record.doc in docs:
                found[record.doc].append(Fact(id, record.header.stamp, record.header.op))
        return found

    def lanes(self, ids: Sequence[RecordId]) -> Mapping[RecordId, frozenset[LaneKey]]:
        """Return where records are held."""
        return {id: self.held[id] for id in ids if id in self.held}

    def _documents(self, lane_key: LaneKey, town: TownId, allotment: Allotment) -> list[tuple[int, DocId]]:
        found = {
            (record.header.born, record.doc)
            for id, lanes in self.held.items()
            if lane_key in lanes
            and (record := self.kept[id]).header.town == town
            and allotment_of(record.header.kind) is allotment
        }
        return sorted(found)

    def document_count(self, lane_key: LaneKey, town: TownId, allotment: Allotment = Allotment.POSTS) -> int:
        """Return how many documents of a town a lane has."""
        return len(self._documents(lane_key, town, allotment))

    def oldest_documents(
        self, lane_key: LaneKey, town: TownId, limit: int, allotment: Allotment = Allotment.POSTS
    ) -> Sequence[tuple[int, DocId]]:
        """Return the oldest of them."""
        return self._documents(lane_key, town, allotment)[:limit]

    def records(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Record]:
        """Return the held records among these."""
        return {id: self.kept[id] for id in ids if id in self.held}

    def parked(self, towns: Iterable[TownId]) -> Sequence[Record]:
        """Return the parked records of towns."""
        named = set(towns)
        return [self.kept[id] for id in self.waiting if self.kept[id].header.town in named]

    def held_records(self, towns: Iterable[TownId]) -> Sequence[Record]:
        """Return the held records of towns."""
        named = set(towns)
        return [self.kept[id] for id in self.held if self.kept[id].header.town in named]

    def signed_records(self, town: TownId, devices: Iterable[DeviceId]) -> Sequence[Record]:
        """Return the held records that devices wrote for a town."""
        named = set(devices)
        return [record for record in self.held_records([town]) if record.header.device in named]

    def drawer(self) -> Sequence[Record]:
        """Return what the own town would take back."""
        return list(self.drawn.values())

    def expired(self, now_s: int, limit: int) -> Sequence[Record]:
        """Return what has ended."""
        ended = [record for record in self.kept.values() if record.header.expires <= now_s]
        return sorted(ended, key=lambda record: record.id)[:limit]

    def ahead(self, after: int, born_s: int, stamp: int, limit: int) -> Sequence[Record]:
        """Return what is held and lies ahead."""
        found = [self.kept[id] for id in sorted(self.held)]
        return [each for each in found if each.header.born > born_s or each.header.stamp > stamp][:limit]


def specified(own: TownId, seen: Iterable[Record], now_s: int = NOW_S) -> Held:
    """Return the held sets that follow from all these records: the rule as the protocol says it."""
    timely = {
        record.id: record
        for record in seen
        if record.header.expires > now_s
        and record.header.born <= now_s + AHEAD_S_MAX
        and record.header.stamp >> 16 <= (now_s + AHEAD_S_MAX) * 1_000
    }
    belongs = _belongs(own, list(timely.values()))
    lanes_of = {record.id: belongs(record) for record in timely.values()}
    documents = defaultdict[DocId, list[Record]](list)
    for record in timely.values():
        if lanes_of[record.id]:
            documents[record.doc].append(record)
    held = defaultdict[LaneKey, set[RecordId]](set)
    for records in documents.values():
        for record in _standing(records):
            for lane in lanes_of[record.id]:
                held[lane].add(record.id)
    return _within_quotas(held, timely, resolve(own, timely.values()), own)


def _standing(records: list[Record]) -> list[Record]:
    def rank(record: Record) -> tuple[int, bytes]:
        return (record.header.stamp, record.id)

    deletes = [record for record in records if record.header.op is Op.DELETE]
    if deletes:
        return [max(deletes, key=rank)]
    puts = [record for record in records if record.header.op is Op.PUT]
    return [record for record in records if record.header.op is Op.ENTRY] + (
        [max(puts, key=rank)] if puts else []
    )


def _documents_of(records: Iterable[Record]) -> list[list[Record]]:
    documents = defaultdict[DocId, list[Record]](list)
    for record in records:
        documents[record.doc].append(record)
    return list(documents.values())


def _belongs(own: TownId, records: list[Record]) -> Callable[[Record], frozenset[LaneKey]]:
    """Return where each record belongs, with authority worked out the long way."""
    certified = set[tuple[bytes, bytes]]()
    counts = defaultdict[bytes, list[tuple[int, DocId, bytes]]](list)
    said = Said(records)
    certificates = [
        record for record in records if record.header.kind == "town.device" and said.by_town_key(record)
    ]
    room = limits.CERTIFICATES_MAX
    for document in _documents_of(_newest(certificates, lambda record: (record.header.town, room))):
        for record in _standing(document):
            device = (fields_of(record) or {}).get("device")
            revoked = (record.header.town, device) in said.revoked
            if isinstance(device, bytes) and len(device) == 32 and not revoked:
                counts[record.header.town].append((record.header.born, record.doc, device))
    for town, found in counts.items():
        certified |= {(town, device) for _, _, device in sorted(found)[-DEVICES_MAX:]}

    def may(record: Record) -> bool:
        pair = (record.header.town, record.header.device)
        if record.header.device in said.keys[record.header.town] or pair in said.revoked:
            return said.stays(record)
        return pair in certified

    def heads(kind: str, federation: FederationId | None = None, by: Sequence[Value] = ()) -> list[Record]:
        lawful = [record for record in records if record.header.kind == kind and may(record)]
        if federation is not None:
            there = [
                each for each in lawful if federation in each.header.federations and each.header.town in by
            ]
            lawful = _newest(there, lambda each: (each.header.town, each.header.lane, limits.ADMISSIONS_MAX))
        return [
            record
            for document in _documents_of(lawful)
            for record in _standing(document)
            if record.header.op is not Op.DELETE and len(record.header.federations) == 1
        ]

    consents = {
        record.header.federations[0] for record in heads("federation.join") if record.header.town == own
    }
    members = dict[FederationId, set[bytes]]()
    for charter in records:
        fields = fields_of(charter)
        if charter.header.kind != "charter" or charter.header.op is not Op.ENTRY or not fields:
            continue
        federation = federation_of(charter)
        stewards = fields["stewards"]
        listed = fields["members"]
        assert isinstance(stewards, list) and isinstance(listed, list)
        if federation in consents or (charter.header.town == own and may(charter)):
            members[federation] = {town for town in stewards + listed if isinstance(town, bytes)}
            for record in heads("federation.admit", federation, stewards):
                admitted = (fields_of(record) or {}).get("town")
                if record.header.federations == (federation,) and record.header.town in stewards:
                    assert isinstance(admitted, bytes)
                    members[federation].add(admitted)

    def belongs(record: Record) -> frozenset[LaneKey]:
        header = record.header
        home = (home_id(own), header.lane)
        if header.kind == "charter" and header.op is not Op.ENTRY:
            return frozenset()
        lanes = set[LaneKey]()
        if header.kind == "charter" and federation_of(record) in members:
            lanes.add((federation_of(record), Lane.URGENT))
            if header.town == own:
                lanes.add(home)
        if is_town_kind(header.kind):
            lanes |= {
                (federation, Lane.URGENT) for federation, towns in members.items() if header.town in towns
            }
            if header.town == own:
                lanes.add(home)
            if header.kind in LASTING:
                return frozenset(lanes) if record.id in said.acts else frozenset()
            return frozenset(lanes) if said.by_town_key(record) else frozenset()
        if may(record):
            listed = [name for name in header.federations if name in members]
            lanes |= {(name, header.lane) for name in listed if header.town in members[name]}
            if header.town == own and (not header.federations or header.kind == "federation.join"):
                lanes.add(home)
        return frozenset(lanes)

    return belongs


def _within_quotas(
    held: Mapping[LaneKey, set[RecordId]],
    records: Mapping[RecordId, Record],
    authority: Authority,
    own: TownId,
) -> Held:
    def room(record: Record, lane: LaneKey) -> tuple[object, ...]:
        town, kind = record.header.town, record.header.kind
        if kind in LASTING or kind == "charter" or lane[0] == home_id(own):
            return (None, len(records) + 1)
        federation = authority.federations[lane[0]]
        if kind == "town.device":
            return (town, kind, limits.CERTIFICATES_MAX)
        if kind == "federation.admit" and town in federation.stewards:
            return (town, kind, limits.ADMISSIONS_MAX)
        if kind in {"federation.admit", "federation.join"}:
            return (town, kind, limits.FEW_MAX)
        return (town, "town.*", limits.FEW_MAX) if is_town_kind(kind) else (town, federation.quotas[lane[1]])

    kept = {
        lane: frozenset(each.id for each in _newest([records[id] for id in ids], partial(room, lane=lane)))
        for lane, ids in held.items()
    }
    return {lane: ids for lane, ids in kept.items() if ids}


def _newest(records: Iterable[Record], room: Callable[[Record], tuple[object, ...]]) -> list[Record]:
    """Return the records of the newest documents of each group; `room` names the group, its bound last."""
    groups = defaultdict[tuple[object, ...], list[Record]](list)
    for record in records:
        groups[room(record)].append(record)
    found = list[Record]()
    for (*_, most), members in groups.items():
        assert isinstance(most, int)
        ranked = sorted({(record.header.born, record.doc) for record in members}, reverse=True)
        newest = {doc for _, doc in ranked[:most]}
        found += [record for record in members if record.doc in newest]
    return found


def device_of(town: Town, number: int = 1) -> DeviceId:
    """Return the id of one of a town's devices."""
    return DeviceId(town.device(number).public)
