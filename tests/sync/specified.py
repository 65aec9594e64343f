"""The held sets as the protocol specifies them, written with no thought of speed.

`specified` is the naive form of the rule: a function of all records ever seen and of the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from protocol import limits
from protocol.ids import DocId, FederationId, Lane, LaneKey, Op, RecordId, TownId, home_id
from protocol.limits import AHEAD_S_MAX, DEVICES_MAX
from protocol.record import SIGN, STEP, Record, fields_of, is_town_kind, stands_for_good
from sync.authority import Authority, resolve
from sync.ledger import LEDGER
from sync.membership import ADMIT, SUSPEND, VOUCH
from sync.steps import Chain
from tests.sync.said import LASTING, Said
from tests.sync.world import NOW_S, Held, federation_of


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

    def heads(
        kinds: Sequence[str], federation: FederationId | None = None, by: Collection[TownId] = ()
    ) -> list[Record]:
        lawful = [record for record in records if record.header.kind in kinds and may(record)]
        if federation is not None:
            there = [
                each for each in lawful if federation in each.header.federations and each.header.town in by
            ]
            most = limits.FEW_MAX if kinds == (VOUCH,) else limits.ACTS_MAX
            lawful = _newest(there, lambda each: (each.header.town, each.header.lane, most))
        return [
            record
            for document in _documents_of(lawful)
            for record in _standing(document)
            if record.header.op is not Op.DELETE and len(record.header.federations) == 1
        ]

    consents = {
        record.header.federations[0] for record in heads(("federation.join",)) if record.header.town == own
    }
    withdrawn = {
        name
        for record in records
        if record.header.kind == "federation.join" and record.header.town == own and may(record)
        if record.header.op is Op.DELETE
        for name in record.header.federations
    }
    members = dict[FederationId, set[bytes]]()
    kept, voters = set[RecordId](), dict[FederationId, set[TownId]]()
    # How steps are followed has a specification of its own, beside the tests of `steps`.
    adopted = resolve(own, records).federations
    for charter in records:
        fields = fields_of(charter)
        if charter.header.kind != "charter" or charter.header.op is not Op.ENTRY or not fields:
            continue
        federation = federation_of(charter)
        wrote = charter.header.town == own and may(charter) and federation not in withdrawn
        if federation in consents or wrote:
            chain = adopted[federation].chain
            stewards, listed = chain.current.state.stewards, chain.current.state.members
            kept |= chain.kept.keys()
            voters[federation] = {town for step in chain.steps for town in step.state.stewards}
            members[federation] = {*stewards, *listed}
            acts = heads((ADMIT, SUSPEND), federation, stewards)
            acts = [act for act in acts if _rests(act, chain)]
            members[federation] |= {_about(act) for act in acts if act.header.kind == ADMIT}
            suspended = {_about(act) for act in acts if act.header.kind == SUSPEND} - stewards
            vouches = heads((VOUCH,), federation, stewards | listed)
            by = defaultdict[bytes, set[bytes]](set)
            for vouch in vouches:
                if _rests(vouch, chain) and vouch.header.town not in suspended:
                    by[_about(vouch)].add(vouch.header.town)
            enough = chain.current.state.vouches
            members[federation] |= {town for town, who in by.items() if enough and len(who) >= enough}
            members[federation] -= suspended

    def belongs(record: Record) -> frozenset[LaneKey]:
        header = record.header
        home = (home_id(own), header.lane)
        if stands_for_good(header.kind) and header.op is not Op.ENTRY:
            return frozenset()
        if header.kind in (STEP, SIGN):
            named = [name for name in header.federations if name in members and record.id in kept]
            return frozenset((name, Lane.URGENT) for name in named)
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
            if header.kind in ("town.rotate", "town.keep"):
                lanes |= {(name, Lane.URGENT) for name, towns in voters.items() if header.town in towns}
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


def _about(act: Record) -> TownId:
    town = (fields_of(act) or {})["town"]
    assert isinstance(town, bytes)
    return TownId(town)


def _rests(act: Record, chain: Chain) -> bool:
    cites = act.header.cites or (chain.steps[0].id,)
    if chain.steps[-1].id in cites:
        return True
    return len(chain.steps) > 1 and chain.steps[-2].id in cites and act.id not in chain.steps[-1].decides


def _within_quotas(
    held: Mapping[LaneKey, set[RecordId]],
    records: Mapping[RecordId, Record],
    authority: Authority,
    own: TownId,
) -> Held:
    def room(record: Record, lane: LaneKey) -> tuple[object, ...]:
        town, kind = record.header.town, record.header.kind
        if stands_for_good(kind) or kind in LASTING or lane[0] == home_id(own):
            return (None, len(records) + 1)
        federation = authority.federations[lane[0]]
        if kind == "town.device":
            return (town, kind, limits.CERTIFICATES_MAX)
        if kind in {ADMIT, SUSPEND}:
            return (town, "acts", limits.ACTS_MAX if town in federation.stewards else limits.FEW_MAX)
        if kind in {VOUCH, "federation.join"}:
            return (town, kind, limits.FEW_MAX)
        if is_town_kind(kind):
            return (town, "town.*", limits.FEW_MAX)
        return (town, "ledger" if kind == LEDGER else "posts", federation.quotas[lane[1]])

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
