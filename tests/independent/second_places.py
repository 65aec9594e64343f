"""Sections 4 and 7 of the protocol, read a second time: what stands, and who holds it where."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tests.independent.second_curve import generation
    from tests.independent.second_records import (
        BODY_BYTES,
        DELETE,
        ENTRY,
        PUT,
        Record,
        is_all_bytes,
        is_bytes,
    )
    from tests.independent.second_values import Refused
else:
    sys.path.insert(0, str(Path(__file__).parent))
    from second_curve import generation
    from second_records import BODY_BYTES, DELETE, ENTRY, PUT, Record, is_all_bytes, is_bytes
    from second_values import Refused

ENTRIES, DEVICES = 4096, 16
QUOTAS = {0: ("urgent", 2000), 1: ("everyday", 20000), 2: ("library", 5000)}
CERTIFICATES, ADMISSIONS, FEW, REVOCATIONS, KEEPS = 64, 1024, 64, 64, 256
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
        kept = by_op[DELETE][-1:] or by_op[PUT][-1:] + by_op[ENTRY][-ENTRIES:]
        standing.update(record.id for record in kept)
    return standing


class Authority:
    """Who may write where, resolved from records in any order."""

    def __init__(self, records: Iterable[Record], own: bytes | None = None) -> None:
        known, self.own = list(records), own
        found: dict[bytes, list[tuple[int, bytes, bytes]]] = defaultdict(list)
        self.keys, rotations = town_keys(known)
        self.acts = counting(known, self.keys)
        self.kept = {id_ for act in self.acts if act.kind == "town.keep" for id_ in listed(act)}
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
        acts = [r for r in known if r.kind == "federation.admit" and self.certified(r)]
        joins = standing_of(r for r in known if r.kind == "federation.join" and self.certified(r))
        self.members = {
            name: {*charter.fields["stewards"], *charter.fields.get("members", ())}
            | {
                town
                for act in standing_of(newest((r for r in acts if name in r.federations), ADMISSIONS, "lane"))
                if act.federations == (name,) and act.town in charter.fields["stewards"]
                if is_bytes(town := act.fields.get("town"), 32)
            }
            for name, charter in self.charters.items()
        }
        consents = {act.federations for act in joins if act.town == own}
        self.adopted = {
            name
            for name, charter in self.charters.items()
            if own is None or (own == charter.town and self.certified(charter)) or (name,) in consents
        }

    def certified(self, record: Record) -> bool:
        """Whether the record's device may have written it for its town."""
        keys = self.keys[record.town]
        if record.device in keys[:-1] or (record.town, record.device) in self.revoked:
            return record.id in self.kept
        return record.device == keys[-1] or record.device in self.devices.get(record.town, ())

    def says(self, record: Record) -> bool:
        """Whether a town key signed this and may have."""
        keys = self.keys[record.town]
        return record.device == keys[-1] or (record.device in keys and record.id in self.kept)

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
        if record.kind.startswith("town."):
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
        counted = [record for record in records if record.kind not in ("charter", *LASTING)]
        for record in counted:
            for name, lane in places[record.id] - {("home", lane) for lane in range(3)}:
                towns[name, lane, record.town, together(record)].add((record.born, record.doc))
        for (name, lane, town, like), documents in towns.items():
            most = self.room(self.charters[bytes.fromhex(name)], lane, town, like)
            kept = {doc for _, doc in sorted(documents, reverse=True)[:most]}
            for record in counted:
                if record.town == town and together(record) == like and record.doc not in kept:
                    places[record.id].discard((name, lane))
        return {record.id for record in records if not places[record.id]}

    def room(self, charter: Record, lane: int, town: bytes, like: str) -> int:
        """How many documents of a town a lane takes of what is counted together."""
        if like == "town.device":
            return CERTIFICATES
        if like == "federation.admit" and town in charter.fields["stewards"]:
            return ADMISSIONS
        if like:
            return FEW
        word, most = QUOTAS[lane]
        told = charter.fields.get("quotas")
        said = told.get(word) if isinstance(told, dict) else None
        return said if type(said) is int and said >= 0 else most


def together(record: Record) -> str:
    """With what a document is counted: nothing for what quotas count."""
    if record.kind in {"town.device", "federation.admit", "federation.join"}:
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


def counting(records: list[Record], keys: dict[bytes, list[bytes]]) -> list[Record]:
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
    fields = record.fields
    stewards, members = fields.get("stewards"), fields.get("members", [])
    return (
        (record.kind, record.op) == ("charter", ENTRY)
        and isinstance(fields.get("name"), str)
        and is_all_bytes(stewards, 32, BODY_BYTES)
        and is_all_bytes(members, 32, BODY_BYTES)
        and bool(stewards)
    )
