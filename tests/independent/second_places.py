"""Sections 4 and 7 of the protocol, read a second time: what stands, and who holds it where."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.independent.second_records import DELETE, ENTRY, PUT, Record, is_all_bytes
    from tests.independent.second_values import Refused
else:
    sys.path.insert(0, str(Path(__file__).parent))
    from second_records import DELETE, ENTRY, PUT, Record, is_all_bytes
    from second_values import Refused

ENTRIES, DEVICES = 4096, 16
QUOTAS = {0: ("urgent", 2000), 1: ("everyday", 20000), 2: ("library", 5000)}
OUTSIDE_QUOTAS = {"charter", "federation.admit", "federation.join"}


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
        standing = stands(r for r in known if r.kind.startswith("town."))
        found: dict[bytes, list[Record]] = defaultdict(list)
        for record in known:
            if (record.kind, record.op, record.lane) == ("town.device", PUT, 0) and record.id in standing:
                found[record.town].append(record)
        self.devices = {
            town: {r.fields.get("device") for r in sorted(all_, key=lambda r: (r.born, r.doc))[-DEVICES:]}
            for town, all_ in found.items()
        }
        self.charters = {r.id[:16]: r for r in known if r.kind == "charter" and is_charter(r)}
        rest = [r for r in known if r.kind in ("federation.admit", "federation.join") and self.certified(r)]
        standing = stands(rest)
        acts = [
            r for r in rest if r.op == PUT and not r.lane and len(r.federations) == 1 and r.id in standing
        ]
        self.members = {
            name: {*r.fields["stewards"], *r.fields["members"]}
            | {
                act.fields.get("town")
                for act in acts
                if act.kind == "federation.admit"
                and act.federations == (name,)
                and act.town in r.fields["stewards"]
            }
            for name, r in self.charters.items()
        }
        joined = {act.federations[0] for act in acts if act.kind == "federation.join" and act.town == own}
        self.adopted = {n for n, r in self.charters.items() if own in (None, r.town) or n in joined}

    def certified(self, record: Record) -> bool:
        """Whether the record's device may sign for its town."""
        return record.device == record.town or record.device in self.devices.get(record.town, ())

    def places(self, record: Record) -> set[tuple[str, int]]:
        """The held sets to which a record belongs; what it waits for is raised."""
        mine = [n for n in self.adopted if record.town in self.members[n]]
        at_home = {("home", record.lane)} if self.own in (None, record.town) else set()
        if record.kind == "charter":
            name = record.id[:16]
            if name not in self.adopted:
                raise Refused("unknown_federation", now_only=True)
            return {(name.hex(), 0)}
        if record.kind.startswith("town."):
            found = {(n.hex(), 0) for n in mine} | at_home
        elif not self.certified(record):
            raise Refused("uncertified", now_only=True)
        elif not record.federations:
            found = at_home
            if not found:
                raise Refused("not_ours")
        else:
            listed = self.adopted & set(record.federations)
            found = {(n.hex(), record.lane) for n in mine if n in listed}
            found |= at_home if record.kind == "federation.join" and self.own == record.town else set()
            if not found and not listed:
                raise Refused("unknown_federation", now_only=True)
        if not found:
            raise Refused("not_member", now_only=True)
        return found

    def outside_quotas(self, places: dict[bytes, set[tuple[str, int]]], records: list[Record]) -> set[bytes]:
        """Take from the sets what is over the quotas; the ids that now stand nowhere."""
        towns: dict[tuple[str, int, bytes], set[tuple[int, bytes]]] = defaultdict(set)
        counted = [r for r in records if r.kind not in OUTSIDE_QUOTAS and not r.kind.startswith("town.")]
        for record in counted:
            for name, lane in places[record.id]:
                towns[name, lane, record.town].add((record.born, record.doc))
        for (name, lane, town), documents in towns.items():
            word, most = QUOTAS[lane]
            charter = self.charters.get(bytes.fromhex(name)) if name != "home" else None
            told = charter.fields.get("quotas") if charter else {word: len(documents)}
            most = told.get(word, most) if isinstance(told, dict) else most
            kept = {doc for _, doc in sorted(documents)[-most:]}
            for record in counted:
                if record.town == town and record.doc not in kept:
                    places[record.id].discard((name, lane))
        return {record.id for record in records if not places[record.id]}


def is_charter(record: Record) -> bool:
    """Whether a federation is born by this record."""
    fields = record.fields
    lists = [fields.get("stewards"), fields.get("members")]
    return (
        record.op == ENTRY
        and record.lane == 0
        and isinstance(fields.get("name"), str)
        and all(is_all_bytes(each, 32, 1 << 16) for each in lists)
        and bool(lists[0])
    )
