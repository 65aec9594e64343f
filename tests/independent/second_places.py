"""Sections 4, 6, 7.3 and 7.4 of the protocol, read a second time: what stands, and who holds it where."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tests.independent.second_chain import Chain, follow, is_state
    from tests.independent.second_curve import generation
    from tests.independent.second_records import DELETE, ENTRY, PUT, Record, is_bytes
    from tests.independent.second_values import Refused
else:
    sys.path.insert(0, str(Path(__file__).parent))
    from second_chain import Chain, follow, is_state
    from second_curve import generation
    from second_records import DELETE, ENTRY, PUT, Record, is_bytes
    from second_values import Refused

ENTRIES, DEVICES = 4096, 16
LANES = ("urgent", "everyday", "library")
CERTIFICATES, ACTS, FEW, REVOCATIONS, KEEPS = 64, 1024, 64, 64, 256
ADMIT, SUSPEND, VOUCH = "federation.admit", "federation.suspend", "federation.vouch"
STANDING = ("charter", "federation.step", "federation.sign")
LASTING = ("town.revoke", "town.keep", "town.rotate")


def newest(records: Iterable[Record], most: int, *more: str) -> list[Record]:
    """The records of the newest documents of each town, and of each value of the fields named."""
    groups: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.town, *(getattr(record, name) for name in more)].append(record)
    found: list[Record] = []
    for members in groups.values():
        kept = sorted({(r.born, r.doc) for r in members}, reverse=True)[:most]
        found += [r for r in members if (r.born, r.doc) in kept]
    return found


def stands(records: Iterable[Record]) -> set[bytes]:
    """The ids of what stands of these records, document by document."""
    documents: dict[bytes, list[Record]] = defaultdict(list)
    for record in {record.id: record for record in records}.values():
        documents[record.doc].append(record)
    standing: set[bytes] = set()
    for members in documents.values():
        by_op = {op: sorted((r for r in members if r.op == op), key=lambda r: r.order) for op in range(3)}
        cap = None if members[0].kind in STANDING else -ENTRIES
        kept = by_op[DELETE][-1:] or by_op[PUT][-1:] + by_op[ENTRY][cap:]
        standing.update(record.id for record in kept)
    return standing


class Authority:
    """Who may write where, resolved from records in any order."""

    def __init__(self, records: Iterable[Record], own: bytes | None = None) -> None:
        known, self.own = list(records), own
        found: dict[bytes, list[tuple[int, bytes, bytes]]] = defaultdict(list)
        self.keys, rotations = town_keys(known)
        self.acts = taking_back(known, self.keys)
        self.kept = {(act.town, id_) for act in self.acts if act.kind == "town.keep" for id_ in listed(act)}
        self.revoked = {
            (act.town, device)
            for act in self.acts
            if act.kind == "town.revoke" and is_bytes(device := act.fields.get("device"), 32)
            if device not in self.keys[act.town]
        }
        self.lasting = {act.id for act in self.acts} | rotations
        said = (r for r in known if r.kind == "town.device" and self.says(r))
        for record in standing_of(newest(said, CERTIFICATES)):
            device = record.fields.get("device")
            if isinstance(device, bytes) and len(device) == 32 and (record.town, device) not in self.revoked:
                found[record.town].append((record.born, record.doc, device))
        self.devices = {
            town: {device for _, _, device in sorted(all_)[-DEVICES:]} for town, all_ in found.items()
        }
        self.charters = {r.id[:16]: r for r in known if is_charter(r)}
        by_towns = [r for r in known if r.device in self.keys[r.town]]
        lapsed = {r.id for r in by_towns if not self.certified(r)}
        self.chains = {name: follow(charter, by_towns, lapsed) for name, charter in self.charters.items()}
        lawful = [r for r in known if self.certified(r)]
        self.members = {name: members(name, chain, lawful) for name, chain in self.chains.items()}
        mine = [r for r in lawful if r.kind == "federation.join" and r.town == own]
        consents = {join.federations for join in standing_of(mine)}
        ended = {name for r in mine if r.op == DELETE for name in r.federations}
        self.adopted = {
            name
            for name, charter in self.charters.items()
            if own is None
            or (name,) in consents
            or (own == charter.town and self.certified(charter) and name not in ended)
        }

    def certified(self, record: Record) -> bool:
        """Whether the record's device may have written it for its town."""
        keys = self.keys[record.town]
        if record.device in keys[:-1] or (record.town, record.device) in self.revoked:
            return (record.town, record.id) in self.kept
        return record.device == keys[-1] or record.device in self.devices.get(record.town, ())

    def says(self, record: Record) -> bool:
        """Whether a town key signed this and may have."""
        keys = self.keys[record.town]
        kept = (record.town, record.id) in self.kept
        return record.device == keys[-1] or (record.device in keys and kept)

    def places(self, record: Record) -> set[tuple[str, int]]:
        """The held sets to which a record belongs; what it waits for, or is refused for, is raised."""
        ours = self.own in (None, record.town)
        home = {("home", record.lane)} if ours else set()
        mine = {name for name in self.adopted if record.town in self.members[name]}
        if record.kind == "charter":
            name = record.id[:16]
            if record.op != ENTRY:
                raise Refused("charter_stands")
            found = {(name.hex(), 0)} if name in self.adopted else set()
            found |= home if found or self.certified(record) else set()
            return found or waits_for("unknown_federation")
        if record.kind in LASTING and record.op != ENTRY:
            raise Refused("act_stands")
        if record.kind == "town.rotate" and not shown(record):
            raise Refused("no_successor")
        if record.kind in {"federation.step", "federation.sign"}:
            if record.op != ENTRY:
                raise Refused("step_stands")
            adopted = self.adopted & {*record.federations}
            found = {(name.hex(), 0) for name in adopted if record.id in self.chains[name].kept}
            return found or waits_for("unresolved" if adopted else "unknown_federation")
        if record.kind.startswith("town."):
            if record.kind in ("town.rotate", "town.keep"):
                mine |= {name for name in self.adopted if record.town in self.chains[name].voters}
            found = {(name.hex(), 0) for name in mine} | home or waits_for("not_member")
            counts = record.id in self.lasting if record.kind in LASTING else self.says(record)
            return found if counts else waits_for("uncertified")
        if not record.federations:
            if not ours:
                raise Refused("not_ours")
            return home if self.certified(record) else waits_for("uncertified")
        listed = self.adopted & {*record.federations}
        found = {(name.hex(), record.lane) for name in mine & listed}
        found |= home if record.kind == "federation.join" and record.town == self.own else set()
        if not found:
            waits_for("not_member" if listed else "unknown_federation")
        return found if self.certified(record) else waits_for("uncertified")

    def outside_quotas(self, places: dict[bytes, set[tuple[str, int]]], records: list[Record]) -> set[bytes]:
        """Take from the sets what is over the quotas; the ids that now stand nowhere."""
        towns: dict[tuple[str, int, bytes, str], set[tuple[int, bytes]]] = defaultdict(set)
        counted = [record for record in records if record.kind not in (*STANDING, *LASTING)]
        for record in counted:
            for name, lane in places[record.id] - {("home", lane) for lane in range(3)}:
                towns[name, lane, record.town, together(record)].add((record.born, record.doc))
        for (name, lane, town, like), documents in towns.items():
            most = self.room(self.chains[bytes.fromhex(name)], lane, town, like)
            kept = {doc for _, doc in sorted(documents, reverse=True)[:most]}
            for record in counted:
                if record.town == town and together(record) == like and record.doc not in kept:
                    places[record.id].discard((name, lane))
        return {record.id for record in records if not places[record.id]}

    def room(self, chain: Chain, lane: int, town: bytes, like: str) -> int:
        """How many documents of a town a lane takes of what is counted together."""
        if like == "town.device":
            return CERTIFICATES
        if like == "acts" and town in chain.stewards:
            return ACTS
        return FEW if like not in ("", "ledger") else chain.quota(LANES[lane])


def members(name: bytes, chain: Chain, lawful: list[Record]) -> set[bytes]:
    """The members of a federation, from its chain and the records of certified devices."""
    here = [r for r in lawful if name in r.federations]
    acts = newest((r for r in here if together(r) == "acts" and r.town in chain.stewards), ACTS, "lane")
    acts = [r for r in counting(acts, name) if chain.supports(r)]
    vouches = newest((r for r in here if r.kind == VOUCH and r.town in chain.named), FEW, "lane")
    suspended = {r.fields["town"] for r in acts if r.kind == SUSPEND} - chain.stewards
    admitted = {r.fields["town"] for r in acts if r.kind == ADMIT}
    who: dict[bytes, set[bytes]] = defaultdict(set)
    for vouch in counting(vouches, name):
        if chain.supports(vouch) and vouch.town not in suspended:
            who[vouch.fields["town"]].add(vouch.town)
    vouched = {town for town, by in who.items() if chain.vouches and len(by) >= chain.vouches}
    return (chain.named | admitted | vouched) - suspended


def counting(records: list[Record], name: bytes) -> list[Record]:
    """What stands of these acts, names a town, and lists just this federation."""
    return [
        r for r in standing_of(records) if r.federations == (name,) and is_bytes(r.fields.get("town"), 32)
    ]


def together(record: Record) -> str:
    """With what a document is counted: nothing for what quotas count."""
    if record.kind in {ADMIT, SUSPEND}:
        return "acts"
    if record.kind in {"town.device", VOUCH, "federation.join", "ledger"}:
        return record.kind
    return "town.*" if record.kind.startswith("town.") else ""


def shown(record: Record) -> int:
    """The generation of the key that a rotation shows."""
    return generation(record.town, record.device, record.fields.get("succession"))


def listed(record: Record) -> list[bytes]:
    """The ids that a keep list names."""
    ids = record.fields.get("records")
    return ids if isinstance(ids, list) and all(is_bytes(id_, 32) for id_ in ids) else []


def town_keys(records: list[Record]) -> tuple[dict[bytes, list[bytes]], set[bytes]]:
    """The keys of each town, the present one last, and the rotations that count."""
    found: dict[tuple[bytes, int, bytes], list[bytes]] = defaultdict(list)
    for record in records:
        if record.kind == "town.rotate" and record.op == ENTRY and shown(record):
            found[record.town, shown(record), record.device].append(record.id)
    keys = {record.town: [record.town] for record in records}
    for town, _, key in sorted(found):
        keys[town].append(key)
    return keys, {min(ids) for ids in found.values()}


def taking_back(records: list[Record], keys: dict[bytes, list[bytes]]) -> list[Record]:
    """The revocations and lists that count: of present keys, and of former ones those that these keep."""
    entries = [r for r in records if r.kind in ("town.revoke", "town.keep") and r.op == ENTRY]
    present = greatest(r for r in entries if r.device == keys[r.town][-1])
    kept = {(act.town, id_) for act in present if act.kind == "town.keep" for id_ in listed(act)}
    former = (r for r in entries if r.device in keys[r.town][:-1] and (r.town, r.id) in kept)
    return present + greatest(former)


def greatest(records: Iterable[Record]) -> list[Record]:
    """Of each town and kind as many as count."""
    groups: dict[tuple[bytes, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.town, record.kind].append(record)
    most = {"town.revoke": REVOCATIONS, "town.keep": KEEPS}
    return [
        record
        for (_, kind), members in groups.items()
        for record in sorted(members, key=lambda each: each.order)[-most[kind] :]
    ]


def standing_of(records: Iterable[Record]) -> list[Record]:
    """What stands of these records, deletes left out."""
    all_ = list(records)
    standing = stands(all_)
    return [record for record in all_ if record.op != DELETE and record.id in standing]


def waits_for(code: str) -> NoReturn:
    """Raise that a record waits for somebody's right."""
    raise Refused(code, now_only=True)


def is_charter(record: Record) -> bool:
    """Whether a federation is born by this record."""
    return (record.kind, record.op) == ("charter", ENTRY) and is_state(record.fields)
