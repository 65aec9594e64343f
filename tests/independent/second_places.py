"""Sections 4 and 7 of the protocol, read a second time: what stands, and who holds it where."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
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
    from second_records import BODY_BYTES, DELETE, ENTRY, PUT, Record, is_all_bytes, is_bytes
    from second_values import Refused

ENTRIES, DEVICES = 4096, 16
QUOTAS = {0: ("urgent", 2000), 1: ("everyday", 20000), 2: ("library", 5000)}
CERTIFICATES, ADMISSIONS, FEW = 64, 1024, 64


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
        certificates = newest((r for r in known if r.kind == "town.device"), CERTIFICATES)
        for record in standing_of(certificates):
            device = record.fields.get("device")
            if isinstance(device, bytes) and len(device) == 32:
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
        counted = [record for record in records if record.kind != "charter"]
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
        if like not in ("", "ledger"):
            return FEW
        word, most = QUOTAS[lane]
        told = charter.fields.get("quotas")
        said = told.get(word) if isinstance(told, dict) else None
        return said if type(said) is int and said >= 0 else most


def together(record: Record) -> str:
    """With what a document is counted: nothing for what quotas count."""
    if record.kind in {"town.device", "federation.admit", "federation.join", "ledger"}:
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
    fields = record.fields
    stewards, members = fields.get("stewards"), fields.get("members", [])
    return (
        (record.kind, record.op) == ("charter", ENTRY)
        and isinstance(fields.get("name"), str)
        and is_all_bytes(stewards, 32, BODY_BYTES)
        and is_all_bytes(members, 32, BODY_BYTES)
        and bool(stewards)
    )
