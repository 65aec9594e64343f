"""A little world for the tests of authority and admission: towns that sign, and a state in dictionaries.

`World` is the plainest state that `judge` can work on; it checks that every change is one that can be made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from protocol.encoding import Value
from protocol.identity import SigningKey, TownKey, new_paper
from protocol.ids import DeviceId, DocId, FederationId, Lane, LaneKey, Op, RecordId, TownId
from protocol.record import SIGN, STEP, Record, is_town_kind, make, make_body
from sync import steps
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
from sync.authority import Allotment, Authority, Federation, allotment_of, resolve
from sync.membership import ADMIT, SUSPEND, VOUCH, Membership
from sync.merge import Fact
from sync.sitting import horizon
from sync.steps import Step, follow

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
        cites: Sequence[RecordId] = (),
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
            cites=cites,
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
        vouches: int = 0,
    ) -> Record:
        """Return a charter; `federation_of` gives the name of what it founds."""
        fields = _state(name, stewards, members, quotas, vouches)
        return self.write("charter", name, op=Op.ENTRY, fields=fields)

    def step(
        self,
        parent: Record,
        stewards: Sequence[Town],
        members: Sequence[Town] = (),
        *,
        name: str = "Along the river",
        quotas: Sequence[int] = (9, 9, 9),
        vouches: int = 0,
        round: int = 1,
        decides: Sequence[Record] = (),
        split: Sequence[Record] = (),
        stamp: int = 0,
        device: int = 0,
        key: SigningKey | None = None,
        op: Op = Op.ENTRY,
    ) -> Record:
        """Return a step of the federation of its parent, the charter or another step."""
        fields: dict[str, Value] = _state(name, stewards, members, quotas, vouches) | {
            "parent": parent.id,
            "round": round,
            "decides": [act.id for act in decides],
            "split": [each.id for each in split],
        }
        named = parent.header.federations or [federation_of(parent)]
        return self.write(
            STEP, f"{fields}", op=op, fields=fields, federations=named, stamp=stamp, device=device, key=key
        )

    def sign(
        self,
        step: Record,
        *,
        stamp: int = 0,
        device: int = 0,
        nonce: str = "",
        key: SigningKey | None = None,
    ) -> Record:
        """Return this town's signature of another's step."""
        return self.write(
            SIGN,
            f"{step.id.hex()} {nonce}",
            op=Op.ENTRY,
            fields={"step": step.id},
            federations=step.header.federations,
            stamp=stamp,
            device=device,
            key=key,
        )

    def admit(
        self,
        federation: FederationId,
        town: Town,
        *,
        op: Op = Op.PUT,
        device: int = 1,
        stamp: int = 0,
        on: Sequence[Record] = (),
        kind: str = ADMIT,
    ) -> Record:
        """Return an admission, or its end; or another act about a town."""
        return self.write(
            kind,
            town.name,
            op=op,
            fields={"town": town.id},
            federations=[federation],
            device=device,
            stamp=stamp,
            cites=[step.id for step in on],
        )

    def suspend(self, federation: FederationId, town: Town, *, on: Sequence[Record] = ()) -> Record:
        """Return a suspension."""
        return self.admit(federation, town, on=on, kind=SUSPEND)

    def vouch(self, federation: FederationId, town: Town, *, on: Sequence[Record] = ()) -> Record:
        """Return a vouch."""
        return self.admit(federation, town, on=on, kind=VOUCH)

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


def _state(
    name: str, stewards: Sequence[Town], members: Sequence[Town], quotas: Sequence[int], vouches: int
) -> dict[str, Value]:
    return {
        "name": name,
        "stewards": [town.id for town in stewards],
        "members": [town.id for town in members],
        "rules": {"vouches": vouches} if vouches else {},
        "quotas": dict(zip(("urgent", "everyday", "library"), quotas, strict=True)),
    }


def federation_with(
    id: FederationId,
    name: str,
    charter: RecordId,
    founder: TownId,
    stewards: frozenset[TownId],
    members: frozenset[TownId],
    quotas: tuple[int, int, int],
) -> Federation:
    """Return a federation in which nothing was done since it was founded."""
    nobody = frozenset[TownId]()
    root = Step(
        charter, founder, None, 0, frozenset(), frozenset(), steps.State(name, stewards, members, 0, quotas)
    )
    chain, acts = follow(root, [], []), Membership(members, nobody, nobody, nobody, frozenset(), {})
    return Federation(id, name, charter, founder, stewards, members, quotas, chain, acts)


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
        self._resolved: tuple[Authority, list[RecordId]] | None = None

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
        self._check_authority()

    def _check_authority(self) -> None:
        """See that authority is what the known records give; once for the same records in the same order."""
        known = self.authority_records()
        ids = [record.id for record in known]
        if self._resolved is None or self._resolved[0] is not self.authority or self._resolved[1] != ids:
            assert self.authority == resolve(self.own, known), "resolved from what is known"
            self._resolved = self.authority, ids

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


def device_of(town: Town, number: int = 1) -> DeviceId:
    """Return the id of one of a town's devices."""
    return DeviceId(town.device(number).public)
