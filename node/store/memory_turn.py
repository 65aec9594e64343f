"""The state inside a writer's turn, in memory: plain dictionaries.

What is read seldom (documents, search) is worked out anew at each asking. Work that raises is undone from a
journal of what each entry was before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from node.store.contract import Cell, Totals
from node.store.documents import is_shown
from node.store.evidence import evidence_of
from node.store.memory_board import MemoryBoard
from protocol.ids import DeviceId, DocId, FederationId, LaneKey, RecordId, TownId
from protocol.record import Record
from sync.admission import EXPIRED, KNOWN, QUOTA, SUPERSEDED, Changes, State, Verdict
from sync.authority import AUTHORITY_KINDS, Allotment, Authority, allotment_of, resolve
from sync.events import LaneChange
from sync.held import HeldSet
from sync.merge import Fact

_ABSENT: Final = object()


class MemoryTransaction(MemoryBoard):
    """The whole state of a store in memory, to read and to change."""

    def __init__(self, own_town: TownId, epoch: bytes) -> None:
        super().__init__(own_town)
        self._lanes: dict[RecordId, frozenset[LaneKey]] = {}
        self._held: dict[LaneKey, dict[RecordId, int]] = {}
        self._rows: dict[RecordId, int] = {}
        self._counted: dict[tuple[LaneKey, TownId, Allotment], dict[tuple[int, DocId], None]] = {}
        self._dropped: dict[RecordId, tuple[Verdict, TownId | None, int]] = {}
        self._parked: dict[RecordId, tuple[Record, str]] = {}
        self._governing: dict[RecordId, Record] = {}
        self._drawer: dict[RecordId, Record] = {}
        self._meta: dict[str, Cell] = {"epoch": epoch}
        self._authority: Authority | None = None
        self._journal: list[tuple[dict[Any, Any], Any, Any]] | None = None
        self._tables: sqlite3.Connection | None = None

    # Undoing.

    def savepoint(self) -> None:
        """Begin a piece of work: keep a journal from now on."""
        self._journal = []
        if self._tables is not None:
            self._tables.execute("SAVEPOINT work")

    def release(self) -> None:
        """End a piece of work that went well."""
        self._journal = None
        if self._tables is not None:
            self._tables.execute("RELEASE work")

    def undo(self) -> None:
        """End a piece of work that raised: put everything back as it was when it began."""
        for mapping, key, before in reversed(self._journal or ()):
            if before is _ABSENT:
                mapping.pop(key, None)
            else:
                mapping[key] = before
        self._journal = None
        self._authority = None
        if self._tables is not None:
            self._tables.execute("ROLLBACK TO work")
            self._tables.execute("RELEASE work")

    def _put(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        if self._journal is not None:
            self._journal.append((mapping, key, mapping.get(key, _ABSENT)))
        mapping[key] = value

    def _pop(self, mapping: dict[Any, Any], key: Any) -> None:
        before = mapping.pop(key, _ABSENT)
        if before is not _ABSENT and self._journal is not None:
            self._journal.append((mapping, key, before))

    # Reading.

    def change(self) -> int:
        """Return the number of the last change."""
        found = self._meta.get("change")
        return found if isinstance(found, int) else 0

    def authority(self) -> Authority:
        """Return the resolved authority of this state; kept until it changes."""
        if self._authority is None:
            self._authority = resolve(self.own_town, self.authority_records())
        return self._authority

    def records(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Record]:
        """Return the held records among these ids."""
        return {id: self._records[id] for id in ids if id in self._records}

    def raws(self, ids: Sequence[RecordId]) -> Mapping[RecordId, bytes]:
        """Return the exact bytes of the held records among these ids."""
        return {id: record.raw for id, record in self.records(ids).items()}

    def raws_by_prefix(
        self, key: LaneKey, prefixes: Sequence[bytes], bytes_max: int
    ) -> tuple[tuple[bytes, ...], bool]:
        """Return the records held in a lane whose ids begin so, newest first, and whether some had no
        room."""
        chosen: list[bytes] = []
        size = 0
        for id in self.ids_by_prefix(key, prefixes, len(self._records)):
            raw = self._records[id].raw
            size += len(raw)
            if chosen and size > bytes_max:
                return tuple(chosen), True
            chosen.append(raw)
        return tuple(chosen), False

    def ids_by_prefix(self, key: LaneKey, prefixes: Sequence[bytes], limit: int) -> list[RecordId]:
        """Return the ids held in a lane that begin with one of these prefixes, newest first, at most
        `limit`."""
        by_size: dict[int, set[bytes]] = {}
        for prefix in prefixes:
            by_size.setdefault(len(prefix), set()).add(prefix)
        held = self._held.get(key, {})
        found = {RecordId(whole) for whole in by_size.pop(32, ()) if whole in held}
        found |= {id for size, named in by_size.items() for id in held if id[:size] in named}
        return self._newest_first(found)[:limit]

    def ids_in_buckets(self, key: LaneKey, buckets: Sequence[int]) -> list[RecordId]:
        """Return the ids held in a lane whose first byte is one of these, newest first."""
        named = frozenset(buckets)
        return self._newest_first(id for id in self._held.get(key, ()) if id[0] in named)

    def evidence(
        self, federation: FederationId, town: TownId, after: RecordId | None = None
    ) -> tuple[tuple[bytes, ...], bool]:
        """Return the records that show this town and the own one as members, the charter first; and whether
        there are more."""
        held = [record for id, record in self._governing.items() if id in self._records]
        return evidence_of(held, federation, (town, self.own_town), after)

    def records_of(self, town: TownId, kind: str) -> Sequence[Record]:
        """Return the records of one kind that this town wrote, held or parked."""
        known = [*self._records.values(), *(record for record, _ in self._parked.values())]
        return [each for each in known if each.header.town == town and each.header.kind == kind]

    def backlog(self, change: int, federations: Sequence[FederationId]) -> int:
        """Return how many records held in these federations came after a change."""
        named = {*federations}
        lanes = [held for (federation, _), held in self._held.items() if federation in named]
        return len({id for held in lanes for id, since in held.items() if since > change})

    def held_sets(self) -> dict[LaneKey, HeldSet]:
        """Return the held sets, made anew from the ids."""
        return {key: HeldSet.of(held, self.change()) for key, held in self._held.items()}

    def totals(self) -> Totals:
        """Return how much is held."""
        shown = sum(1 for doc in self._documents if self.is_on_board(doc))
        size = sum(len(record.raw) for record, _ in self._parked.values())
        return Totals(len(self._records), shown, len(self._parked), size, len(self._dropped))

    def changed_documents(self, after: int, limit: int, *, home: bool = True) -> list[tuple[int, DocId]]:
        """Return (change, document) of what was written after a change, each once, by its last change, in
        order: of kinds that have a page, and those of the home set only with `home`."""
        newest: dict[DocId, int] = {}
        for held in self._held.values():
            for id, since in held.items():
                header = self._records[id].header
                if since > after and is_shown(header.kind) and (home or header.federations):
                    doc = self._records[id].doc
                    newest[doc] = max(since, newest.get(doc, 0))
        found = sorted((change, doc) for doc, change in newest.items())
        last = found[limit - 1][0] if len(found) >= limit else self.change()
        return [each for each in found if each[0] <= last]

    def export(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return (row, raw record) of held records in the order of their taking in, from above row
        `after`."""
        rows = sorted((row, id) for id, row in self._rows.items() if row > after)[:limit]
        return [(row, self._records[id].raw) for row, id in rows]

    def meta(self, name: str) -> Cell:
        """Return a value kept under a name, or None."""
        return self._meta.get(name)

    def rows(self, sql: str, *values: Cell) -> list[tuple[Cell, ...]]:
        """Return the rows of a query on the tables of peers, invitations and the like."""
        return self._side_tables().execute(sql, values).fetchall()

    # What `sync.admission.View` asks.

    def authority_records(self, news: Sequence[Record] = ()) -> Sequence[Record]:
        """Return all known records of `AUTHORITY_KINDS`, held or parked."""
        drawn = (each for each in self._drawer.values() if each.header.kind in AUTHORITY_KINDS)
        return [*self._governing.values(), *drawn]

    def known(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Verdict]:
        """Return what was decided before on these ids."""
        found: dict[RecordId, Verdict] = {}
        for id in ids:
            if id in self._records:
                found[id] = Verdict(id, State.HELD, KNOWN)
            elif id in self._parked:
                found[id] = Verdict(id, State.PARKED, self._parked[id][1])
            elif id in self._dropped:
                found[id] = self._dropped[id][0]
        return found

    def facts(self, docs: Sequence[DocId]) -> Mapping[DocId, Sequence[Fact]]:
        """Return the facts of the held records of these documents."""
        return {
            doc: [Fact(id, each.header.stamp, each.header.op) for id, each in self._documents[doc].items()]
            for doc in docs
            if doc in self._documents
        }

    def lanes(self, ids: Sequence[RecordId]) -> Mapping[RecordId, frozenset[LaneKey]]:
        """Return in which held sets these records are."""
        return {id: self._lanes.get(id, frozenset()) for id in ids}

    def document_count(self, lane_key: LaneKey, town: TownId, allotment: Allotment = Allotment.POSTS) -> int:
        """Return how many documents of a town, of those counted together, a held set has."""
        return len(self._counted.get((lane_key, town, allotment), ()))

    def oldest_documents(
        self, lane_key: LaneKey, town: TownId, limit: int, allotment: Allotment = Allotment.POSTS
    ) -> Sequence[tuple[int, DocId]]:
        """Return the first `limit` of them, ascending by (born, document)."""
        return sorted(self._counted.get((lane_key, town, allotment), ()))[:limit]

    def document_records(self, doc: DocId) -> Sequence[RecordId]:
        """Return the held records of a document."""
        return list(self._documents.get(doc, ()))

    def held_since(self, kind: str, after: int) -> list[tuple[int, Record]]:
        """Return (change, record) of the records of one kind that are held since a change, in order of
        change; 0: all of them."""
        newest: dict[RecordId, int] = {}
        for held in self._held.values():
            for id, since in held.items():
                if since > after and self._records[id].header.kind == kind:
                    newest[id] = max(since, newest.get(id, 0))
        return [(since, self._records[id]) for since, id in sorted((each, id) for id, each in newest.items())]

    def own_since(self, kinds: Sequence[str], after: int) -> list[Record]:
        """Return the records of the own town's documents of these kinds that are held since a change."""
        found = (record for kind in kinds for _, record in self.held_since(kind, after))
        return [record for record in found if record.header.town == self.own_town]

    def parked(self, towns: Iterable[TownId]) -> Sequence[Record]:
        """Return the parked records that these towns wrote."""
        named = {*towns}
        return [record for record, _ in self._parked.values() if record.header.town in named]

    def held_records(self, towns: Iterable[TownId]) -> Sequence[Record]:
        """Return the held records that these towns wrote, of every kind and lane."""
        named = {*towns}
        return [record for record in self._records.values() if record.header.town in named]

    def signed_records(self, town: TownId, devices: Iterable[DeviceId]) -> Sequence[Record]:
        """Return the held records that these devices wrote for a town."""
        named = {*devices}
        own = (record for record in self._records.values() if record.header.town == town)
        return [record for record in own if record.header.device in named]

    def drawer(self) -> Sequence[Record]:
        """Return the records of the own town that stand no more and are still kept."""
        return list(self._drawer.values())

    def expired(self, now_s: int, limit: int) -> Sequence[Record]:
        """Return held and parked records whose `expires` is not after `now_s`, at most `limit`."""
        waiting = [record for record, _ in self._parked.values()]
        found = [each for each in [*self._records.values(), *waiting] if each.header.expires <= now_s]
        return found[:limit]

    def ahead(self, after: int, born_s: int, stamp: int, limit: int) -> Sequence[Record]:
        """Return records held since a change that are born, or stamped, after these; at most `limit`."""
        recent = {id: None for held in self._held.values() for id, since in held.items() if since > after}
        found = [each for each in map(self._records.__getitem__, recent) if _is_ahead(each, born_s, stamp)]
        return found[:limit]

    def known_nonce(self, kind: str, nonce: bytes) -> Record | None:
        """Return the newest held record of the own town's document of this kind and nonce."""
        found = [
            each
            for each in self._records.values()
            if each.header.nonce == nonce and each.header.kind == kind and each.header.town == self.own_town
        ]
        return max(found, key=lambda each: each.header.stamp, default=None)

    # Changing.

    def apply(
        self, changes: Changes, batch: Sequence[Record] = (), source: TownId | None = None
    ) -> list[LaneChange]:
        """Make these changes; return what they did to held sets. `batch`: the records of the verdicts, of
        which all that waits is kept, whoever sent it."""
        change = self.change() + 1
        added: dict[LaneKey, list[RecordId]] = {}
        removed: dict[LaneKey, list[RecordId]] = {}
        if changes.reconsider:
            self._forget_superseded(changes.reconsider)
        for verdict, record in zip(changes.verdicts, batch, strict=False):
            if verdict.state is State.DROPPED:
                self._remember(verdict, record)
            self._draw_in(record, verdict.cause)
        stays = {record.id for record, _ in (*changes.park, *changes.hold)}
        held_again = {record.id for record, _ in changes.hold}
        for id, lanes, cause, because in changes.remove:
            for key in lanes & self._lanes.get(id, frozenset()):
                removed.setdefault(key, []).append(id)
            self._leave(id, lanes, cause, because, stays=id in stays, held_again=id in held_again)
        for record, cause in changes.park:
            self._put(self._parked, record.id, (record, cause))
            self._pop(self._drawer, record.id)
            self._govern(record)
        for record, lanes in changes.hold:
            self._enter(record, lanes, change)
            for key in lanes:
                added.setdefault(key, []).append(record.id)
        if changes.authority is not None:
            self._authority = changes.authority
        if added or removed:
            self.set_meta("change", change)
        return [
            LaneChange(key, tuple(added.get(key, ())), tuple(removed.get(key, ())))
            for key in sorted({*added, *removed})
        ]

    def save_held_sets(self, sets: Mapping[LaneKey, HeldSet]) -> None:
        """Do nothing: held sets in memory are made anew."""

    def tidy(self, now_s: int) -> None:
        """Do nothing: what is dropped in memory is remembered."""

    def next_seq(self) -> tuple[bytes, int]:
        """Return the epoch of this store and the next counter of this device in it; never the same twice."""
        epoch, last = self._meta["epoch"], self._meta.get("counter", 0)
        assert isinstance(epoch, bytes) and isinstance(last, int)
        self.set_meta("counter", last + 1)
        return epoch, last + 1

    def set_meta(self, name: str, value: Cell) -> None:
        """Keep a value under a name; None is as if it were not kept."""
        self._put(self._meta, name, value)

    def run(self, sql: str, *values: Cell) -> int:
        """Run one statement on the tables of peers, invitations and the like; return how many rows it
        touched."""
        return self._side_tables().execute(sql, values).rowcount

    # Below here: how.

    def _newest_first(self, ids: Iterable[RecordId]) -> list[RecordId]:
        return sorted(ids, key=self._rows.__getitem__, reverse=True)

    def _forget_superseded(self, towns: frozenset[TownId]) -> None:
        dropped = [
            id
            for id, (verdict, town, _) in self._dropped.items()
            if verdict.cause == SUPERSEDED and town in towns
        ]
        for id in dropped:
            self._pop(self._dropped, id)

    def _remember(self, verdict: Verdict, record: Record) -> None:
        town = record.header.town if verdict.cause == SUPERSEDED else None
        self._put(self._dropped, verdict.id, (verdict, town, record.header.expires))

    def _draw_in(self, record: Record, cause: str) -> None:
        """Put a record of the own town into the drawer, if it only makes way for another."""
        if cause in (SUPERSEDED, QUOTA) and record.header.town == self.own_town:
            self._put(self._drawer, record.id, record)

    def _govern(self, record: Record) -> None:
        if record.header.kind in AUTHORITY_KINDS:
            self._put(self._governing, record.id, record)

    def _leave(
        self,
        id: RecordId,
        lanes: frozenset[LaneKey],
        cause: str,
        because: RecordId | None,
        *,
        stays: bool,
        held_again: bool,
    ) -> None:
        """Take a record out of held sets, and let go of it if it is in none and has no other place."""
        record = self._records.get(id)
        if record is None:
            waiting = self._parked.get(id)
            if waiting is not None and not stays:
                if cause in (SUPERSEDED, EXPIRED):
                    self._remember(Verdict(id, State.DROPPED, cause, because), waiting[0])
                self._pop(self._parked, id)
                self._pop(self._governing, id)
                self._draw_in(waiting[0], cause)
            return
        before = self._lanes[id]
        for key in lanes & before:
            self._pop(self._held[key], id)
        self._put(self._lanes, id, before - lanes)
        if not before - lanes and not held_again:
            self._erase(record)
            if not stays:
                self._draw_in(record, cause)
            if cause in (SUPERSEDED, EXPIRED) and not stays:
                self._remember(Verdict(id, State.DROPPED, cause, because), record)
        self._leave_quotas(record, lanes)

    def _erase(self, record: Record) -> None:
        for mapping in (self._records, self._lanes, self._rows, self._governing):
            self._pop(mapping, record.id)
        self._pop(self._documents[record.doc], record.id)
        if not self._documents[record.doc]:
            self._pop(self._documents, record.doc)

    def _leave_quotas(self, record: Record, lanes: frozenset[LaneKey]) -> None:
        allotment = allotment_of(record.header.kind)
        if allotment is None:
            return
        for key in lanes:
            counted = self._counted.get((key, record.header.town, allotment))
            rest = self._documents.get(record.doc, {})
            if counted is not None and not any(key in self._lanes[id] for id in rest):
                self._pop(counted, (record.header.born, record.doc))

    def _enter(self, record: Record, lanes: frozenset[LaneKey], change: int) -> None:
        """Enter a record into held sets, and its document into the quotas."""
        self._pop(self._parked, record.id)
        self._pop(self._dropped, record.id)
        self._pop(self._drawer, record.id)
        self._govern(record)
        if record.id not in self._records:
            last = self._meta.get("row", 0)
            assert isinstance(last, int)
            self.set_meta("row", last + 1)
            self._put(self._rows, record.id, last + 1)
            self._put(self._records, record.id, record)
            if record.doc not in self._documents:
                self._put(self._documents, record.doc, {})
            self._put(self._documents[record.doc], record.id, record)
        self._put(self._lanes, record.id, self._lanes.get(record.id, frozenset()) | lanes)
        allotment = allotment_of(record.header.kind)
        for key in lanes:
            if key not in self._held:
                self._put(self._held, key, {})
            self._put(self._held[key], record.id, change)
            if allotment is not None:
                name = (key, record.header.town, allotment)
                if name not in self._counted:
                    self._put(self._counted, name, {})
                self._put(self._counted[name], (record.header.born, record.doc), None)

    def _side_tables(self) -> sqlite3.Connection:
        """Return tables for what is not records; most simulated towns never ask for them."""
        if self._tables is None:
            self._tables = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            for step in sorted((files("node.store") / "schema").iterdir(), key=lambda each: each.name):
                self._tables.executescript(step.read_text(encoding="utf-8"))
            self._tables.execute("SAVEPOINT work")
        return self._tables


def _is_ahead(record: Record, born_s: int, stamp: int) -> bool:
    return record.header.born > born_s or record.header.stamp > stamp
