"""Sections 4, 7.3 and 7.4 of the protocol, read a second time: what stands, and who holds it where."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tests.independent.second_chain import Chain, follow, is_state
    from tests.independent.second_records import DELETE, ENTRY, PUT, Record, is_bytes
    from tests.independent.second_values import Refused
else:
    sys.path.insert(0, str(Path(__file__).parent))
    from second_chain import Chain, follow, is_state
    from second_records import DELETE, ENTRY, PUT, Record, is_bytes
    from second_values import Refused

ENTRIES, DEVICES = 4096, 16
LANES = ("urgent", "everyday", "library")
CERTIFICATES, ACTS, FEW = 64, 1024, 64
ADMIT, SUSPEND, VOUCH = "federation.admit", "federation.suspend", "federation.vouch"
STANDING = ("charter", "federation.step", "federation.sign")


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
        certificates = newest((r for r in known if r.kind == "town.device"), CERTIFICATES)
        for record in standing_of(certificates):
            device = record.fields.get("device")
            if isinstance(device, bytes) and len(device) == 32:
                found[record.town].append((record.born, record.doc, device))
        self.devices = {
            town: {device for _, _, device in sorted(all_)[-DEVICES:]} for town, all_ in found.items()
        }
        self.charters = {r.id[:16]: r for r in known if is_charter(r)}
        self.chains = {name: follow(charter, known) for name, charter in self.charters.items()}
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
        """Whether the record's device may sign for its town."""
        return record.device == record.town or record.device in self.devices.get(record.town, ())

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
        if record.kind in {"federation.step", "federation.sign"}:
            if record.op != ENTRY:
                raise Refused("step_stands")
            adopted = self.adopted & {*record.federations}
            found = {(name.hex(), 0) for name in adopted if record.id in self.chains[name].kept}
            return found or waits_for("unresolved" if adopted else "unknown_federation")
        if record.kind.startswith("town."):
            return {(name.hex(), 0) for name in mine} | home or waits_for("not_member")
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
        counted = [record for record in records if record.kind not in STANDING]
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
