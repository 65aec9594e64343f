"""Reading records, held sets and verdicts from SQLite: what the hub, the door and the rules ask for.

Everything comes in bulk: a list of ids is one statement for every 256 of them, for each row asked for alone
costs more in calls than in reading.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, TypeAlias, TypeVar

from msgspec.structs import replace

from node.store.contract import Cell, Totals
from node.store.evidence import evidence_of
from node.store.governing import gather
from protocol.encoding import encode_list
from protocol.ids import DeviceId, DocId, FederationId, Lane, LaneKey, Op, RecordId, TownId
from protocol.record import CHARTER, Record, open_header, open_record
from sync.admission import KNOWN, State, Verdict
from sync.authority import AUTHORITY_KINDS, Allotment, Authority, resolve
from sync.devices import ROTATE
from sync.held import HeldSet
from sync.ledger import LEDGER
from sync.merge import Fact

T = TypeVar("T")

RIVALS_MAX: Final = 64
"""Ledgers of one town over one share that are looked at: one is right, and the smallest id counts."""
CHUNK: Final = 256
"""Values in one list of a statement."""
STAMP_OFFSET: Final = 1 << 63
"""SQLite's integers have a sign; stamps have none."""
OWN_TOWN: Final = 1
"""The number of the own town in the table of towns."""

DEVICE_AT: Final = 39
"""Where the device's 32 bytes begin in a header, from 1: before it are version, town and marks."""
ALL: Final = (1 << 63) - 1
"""No limit; also above every row and place."""

_OPS: Final = tuple(Op)
_LANES: Final = tuple(Lane)
RECORD_COLUMNS: Final = (
    "r.header, r.signature, r.body, r.id, d.doc FROM records r JOIN documents d ON d.number = r.document"
)
LEAN_COLUMNS: Final = RECORD_COLUMNS.replace(
    "r.body", f"CASE r.op WHEN {int(Op.ENTRY)} THEN NULL ELSE r.body END"
)
"""The same without the bodies of entries, of which a document may have thousands: `with_body` reads one."""
HELD_THERE: Final = (
    "EXISTS (SELECT 1 FROM records r JOIN held h ON h.record = r.row"
    " WHERE r.document = d.number AND h.lane = ?)"
)
"""Whether anything of the document `d` is held in a lane."""
BoardKey: TypeAlias = tuple[str, int, int]
"""A kind, and the numbers of a town and of an audience: under what shown documents are counted."""
QuotaKey: TypeAlias = tuple[int, int, int]
"""The numbers of a lane and of a town, and an allotment: where documents are counted together."""


class RecordReads:
    """Records, held sets and verdicts of the state that one connection sees."""

    def __init__(self, connection: sqlite3.Connection, own_town: TownId) -> None:
        self.connection = self._db = connection
        self.own_town = own_town

    def change(self) -> int:
        """Return the number of the last change."""
        found = self.meta("change")
        return found if isinstance(found, int) else 0

    def meta(self, name: str) -> Cell:
        """Return a value kept under a name, or None."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def rows(self, sql: str, *values: Cell) -> list[tuple[Cell, ...]]:
        """Return the rows of a query."""
        return self._db.execute(sql, values).fetchall()

    def records(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Record]:
        """Return the held records among these ids."""
        found = self.select_in(f"SELECT {RECORD_COLUMNS} WHERE r.id IN", ids)
        return {record.id: record for record in map(to_record, found)}

    def raws(self, ids: Sequence[RecordId]) -> Mapping[RecordId, bytes]:
        """Return the exact bytes of the held records among these ids."""
        found = self.select_in("SELECT id, header, signature, body FROM records WHERE id IN", ids)
        return {RecordId(id): encode_list([header, signature, body]) for id, header, signature, body in found}

    def raws_by_prefix(
        self, key: LaneKey, prefixes: Sequence[bytes], bytes_max: int
    ) -> tuple[tuple[bytes, ...], bool]:
        """Return the records held in a lane whose ids begin so, newest first, and whether some had no
        room."""
        rows = sorted({row for row, _ in self._begin_with(key, prefixes)}, reverse=True)
        chosen: list[bytes] = []
        size = 0
        for part in chunks(rows):
            sql = f"SELECT header, signature, body FROM records WHERE row IN ({marks(len(part))})"
            for parts in self._db.execute(f"{sql} ORDER BY row DESC", part):
                raw = encode_list(list(parts))
                if chosen and size + len(raw) > bytes_max:
                    return tuple(chosen), True
                chosen.append(raw)
                size += len(raw)
        return tuple(chosen), False

    def ids_by_prefix(self, key: LaneKey, prefixes: Sequence[bytes], limit: int) -> list[RecordId]:
        """Return the ids held in a lane that begin with one of these prefixes, newest first, at most
        `limit`."""
        found = sorted(set(self._begin_with(key, prefixes)), reverse=True)
        return [RecordId(id) for _, id in found[:limit]]

    def ids_in_buckets(self, key: LaneKey, buckets: Sequence[int]) -> list[RecordId]:
        """Return the ids held in a lane whose first byte is one of these, newest first."""
        return self.ids_by_prefix(key, [bytes([bucket]) for bucket in buckets], ALL)

    def evidence(
        self, federation: FederationId, town: TownId, after: RecordId | None = None
    ) -> tuple[tuple[bytes, ...], bool]:
        """Return the records that show this town and the own one as members, the charter first; and whether
        there are more."""
        return evidence_of(self._governing(), federation, (town, self.own_town), after)

    def records_of(self, town: TownId, kind: str) -> Sequence[Record]:
        """Return the records of one kind that this town wrote, held or parked."""
        sql = f"SELECT {RECORD_COLUMNS} WHERE d.town = ? AND d.kind = ?"
        held = [to_record(row) for row in self._db.execute(sql, (self.town_number(town), kind))]
        sql = "SELECT raw FROM parked WHERE town = ? AND kind = ?"
        return held + [open_record(raw) for (raw,) in self._db.execute(sql, (town, kind))]

    def backlog(self, change: int, federations: Sequence[FederationId]) -> int:
        """Return how many records held in these federations came after a change."""
        lanes = [number for number, (name, _) in self._lane_keys().items() if name in federations]
        sql = f"SELECT count(DISTINCT record) FROM held WHERE lane IN ({marks(len(lanes))}) AND change > ?"
        count: int = self._db.execute(sql, (*lanes, change)).fetchone()[0]
        return count

    def held_sets(self) -> dict[LaneKey, HeldSet]:
        """Return the held sets: the snapshots that were saved, brought forward to this state."""
        change = self.change()
        return {key: self._held_set(number, change) for number, key in self._lane_keys().items()}

    def totals(self) -> Totals:
        """Return how much is held."""
        sql = (
            "SELECT (SELECT count(*) FROM records), (SELECT coalesce(sum(documents), 0) FROM shown),"
            " count(*), coalesce(sum(bytes), 0), (SELECT count(*) FROM dropped) FROM parked"
        )
        return Totals(*self._db.execute(sql).fetchone())

    def export(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return (row, raw record) of held records in the order of their taking in, from above row
        `after`."""
        sql = "SELECT row, header, signature, body FROM records WHERE row > ? ORDER BY row LIMIT ?"
        return [(row, encode_list(list(parts))) for row, *parts in self._db.execute(sql, (after, limit))]

    def authority(self) -> Authority:
        """Return the authority that this state resolves to."""
        return resolve(self.own_town, self.authority_records())

    # What `sync.admission.View` asks.

    def authority_records(self, news: Sequence[Record] = ()) -> Sequence[Record]:
        """Return the known records of `AUTHORITY_KINDS`, held or parked, that can count beside these."""
        drawn = map(_opened, self._db.execute("SELECT raw FROM drawer WHERE governs = 1"))
        return gather(self.own_town, chain(self._governing(), drawn, news), _Waiting(self))

    def known(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Verdict]:
        """Return what was decided before on these ids."""
        return self.find_known(ids, dropped=True, parked=True)

    def find_known(self, ids: Sequence[RecordId], *, dropped: bool, parked: bool) -> dict[RecordId, Verdict]:
        """Return what was decided before on these ids, asking only the tables that may have something."""
        found: dict[RecordId, Verdict] = {}
        if dropped:
            for id, cause, because in self.select_in(
                "SELECT id, cause, because FROM dropped WHERE id IN", ids
            ):
                found[id] = Verdict(id, State.DROPPED, cause, because)
        if parked:
            for id, cause in self.select_in("SELECT id, cause FROM parked WHERE id IN", ids):
                found[id] = Verdict(id, State.PARKED, cause)
        for (id,) in self.select_in("SELECT id FROM records WHERE id IN", ids):
            found[id] = Verdict(id, State.HELD, KNOWN)
        return found

    def facts(self, docs: Sequence[DocId]) -> Mapping[DocId, Sequence[Fact]]:
        """Return the facts of the held records of these documents."""
        found: dict[DocId, list[Fact]] = defaultdict(list)
        sql = (
            "SELECT d.doc, r.id, r.stamp, r.op FROM documents d JOIN records r ON r.document = d.number"
            " WHERE d.doc IN"
        )
        for doc, id, stamp, op in self.select_in(sql, docs):
            found[doc].append(Fact(id, stamp + STAMP_OFFSET, _OPS[op]))
        return found

    def lanes(self, ids: Sequence[RecordId]) -> Mapping[RecordId, frozenset[LaneKey]]:
        """Return in which held sets these records are."""
        keys = self._lane_keys()
        found: dict[RecordId, set[LaneKey]] = defaultdict(set)
        sql = "SELECT r.id, h.lane FROM records r JOIN held h ON h.record = r.row WHERE r.id IN"
        for id, lane in self.select_in(sql, ids):
            found[id].add(keys[lane])
        return {id: frozenset(found.get(id, ())) for id in ids}

    def document_count(self, lane_key: LaneKey, town: TownId, allotment: Allotment = Allotment.POSTS) -> int:
        """Return how many documents of a town, of those counted together, a held set has."""
        sql = "SELECT documents FROM quota_counts WHERE lane = ? AND town = ? AND allotment = ?"
        place = (self.lane_number(lane_key), self.town_number(town), int(allotment))
        row = self._db.execute(sql, place).fetchone()
        return row[0] if row else 0

    def document_records(self, doc: DocId) -> Sequence[RecordId]:
        """Return the held records of a document."""
        sql = "SELECT r.id FROM documents d JOIN records r ON r.document = d.number WHERE d.doc = ?"
        return [id for (id,) in self._db.execute(sql, (doc,))]

    def held_since(self, kind: str, after: int) -> list[tuple[int, Record]]:
        """Return (change, record) of the records of one kind that are held since a change, in order of
        change; 0: all of them."""
        found: dict[RecordId, tuple[int, Record]] = {}
        joined = f"{RECORD_COLUMNS} JOIN held h ON h.record = r.row"
        if after:
            # Along what came since then, whatever it is.
            asked = [(f"h.lane = {lane} AND h.change > {after} AND d.kind = ?") for lane in self._lane_keys()]
        else:
            asked = [f"d.town = {number} AND d.kind = ?" for number in self._town_numbers()]
        for condition in asked:
            for change, *row in self._db.execute(f"SELECT h.change, {joined} WHERE {condition}", (kind,)):
                record = to_record(row)
                found[record.id] = (max(change, found.get(record.id, (0,))[0]), record)
        return sorted(found.values(), key=lambda each: (each[0], each[1].id))

    def own_since(self, kinds: Sequence[str], after: int) -> list[Record]:
        """Return the records of the own town's documents of these kinds that are held since a change."""
        condition = f"h.lane = ? AND h.change > ? AND d.town = {OWN_TOWN} AND d.kind IN ({marks(len(kinds))})"
        sql = f"SELECT {RECORD_COLUMNS} JOIN held h ON h.record = r.row WHERE {condition}"
        rows = (row for lane in self._lane_keys() for row in self._db.execute(sql, (lane, after, *kinds)))
        found = {record.id: record for record in map(to_record, rows)}
        return list(found.values())

    def shares_of(self, parent: DocId, claim: DocId, town: TownId) -> list[DocId]:
        """Return the ledgers of a town that open as the share of `parent` that was accepted by a claim,
        ascending."""
        sql = (
            "SELECT DISTINCT ledger FROM shares WHERE parent = ? AND parent_claim = ? AND town = ?"
            " ORDER BY ledger LIMIT ?"
        )
        rows = self._db.execute(sql, (parent, claim, self.town_number(town), RIVALS_MAX))
        return [DocId(ledger) for (ledger,) in rows]

    def shares(self) -> list[tuple[DocId, DocId]]:
        """Return each ledger that opens as a share, with the ledger of which it is one, ascending."""
        rows = self._db.execute("SELECT DISTINCT ledger, parent FROM shares ORDER BY ledger, parent")
        return [(DocId(ledger), DocId(parent)) for ledger, parent in rows]

    def ledgers_in_use(self) -> list[DocId]:
        """Return the documents of the own town that are ledgers of more than one entry, ascending."""
        sql = (
            "SELECT d.doc FROM documents d JOIN records r ON r.document = d.number"
            " WHERE d.town = ? AND d.kind = ? GROUP BY d.number HAVING count(*) > 1 ORDER BY d.doc"
        )
        return [DocId(doc) for (doc,) in self._db.execute(sql, (OWN_TOWN, LEDGER))]

    def parked(self, towns: Iterable[TownId]) -> Sequence[Record]:
        """Return the parked records that these towns wrote."""
        return [
            open_record(raw) for (raw,) in self.select_in("SELECT raw FROM parked WHERE town IN", list(towns))
        ]

    def held_records(self, towns: Iterable[TownId]) -> Sequence[Record]:
        """Return the held records that these towns wrote, of every kind and lane."""
        found: list[Record] = []
        for town in towns:
            rows = self._db.execute(f"SELECT {RECORD_COLUMNS} WHERE d.town = ?", (self.town_number(town),))
            found += map(to_record, rows)
        return found

    def signed_records(self, town: TownId, devices: Iterable[DeviceId]) -> Sequence[Record]:
        """Return the held records that these devices wrote for a town."""
        # In every header the device stands at the same place, so that only its own records are opened.
        sql = (
            f"SELECT {RECORD_COLUMNS} WHERE d.town = {self.town_number(town)}"
            f" AND substr(r.header, {DEVICE_AT}, 32) IN"
        )
        return list(map(to_record, self.select_in(sql, list(devices))))

    def drawer(self) -> Sequence[Record]:
        """Return the records of the own town that stand no more and are still kept."""
        return list(map(_opened, self._db.execute("SELECT raw FROM drawer ORDER BY number")))

    def expired(self, now_s: int, limit: int) -> Sequence[Record]:
        """Return held and parked records whose `expires` is not after `now_s`, at most `limit`."""
        rows = self._db.execute(f"SELECT {RECORD_COLUMNS} WHERE d.expires <= ? LIMIT ?", (now_s, limit))
        found = list(map(to_record, rows))
        parked = self._db.execute(
            "SELECT raw FROM parked WHERE expires <= ? LIMIT ?", (now_s, limit - len(found))
        )
        return found + [open_record(raw) for (raw,) in parked]

    def ahead(self, after: int, born_s: int, stamp: int, limit: int) -> Sequence[Record]:
        """Return records held since a change that are born, or stamped, after these; at most `limit`."""
        sql = (
            f"SELECT {RECORD_COLUMNS} WHERE r.row IN (SELECT h.record FROM lanes l JOIN held h"
            " ON h.lane = l.number AND h.change > ?) AND (d.born > ? OR r.stamp > ?) LIMIT ?"
        )
        return list(map(to_record, self._db.execute(sql, (after, born_s, stamp - STAMP_OFFSET, limit))))

    def known_nonce(self, kind: str, nonce: bytes) -> Record | None:
        """Return the newest held record of the own town's document of this kind and nonce."""
        sql = (
            f"SELECT {RECORD_COLUMNS} WHERE d.nonce = ? AND d.kind = ? AND d.town = ?"
            " ORDER BY r.stamp DESC LIMIT 1"
        )
        row = self._db.execute(sql, (nonce, kind, OWN_TOWN)).fetchone()
        return to_record(row) if row else None

    # Below here: how.

    def with_body(self, record: Record) -> Record:
        """Return a held record with its body."""
        row = self._db.execute("SELECT body FROM records WHERE id = ?", (record.id,)).fetchone()
        return replace(record, body=row[0])

    def select_in(self, sql: str, values: Sequence[Any]) -> Iterator[Any]:
        """Yield the rows of a statement that ends in IN, for all these values."""
        for part in chunks(values):
            yield from self._db.execute(f"{sql} ({marks(len(part))})", part)

    def _begin_with(self, key: LaneKey, prefixes: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield (row, id) of what is held in a lane and begins with one of these prefixes."""
        lane = self.lane_number(key)
        sql = (
            "SELECT r.row, r.id FROM records r CROSS JOIN held h ON h.record = r.row AND h.lane = ?"
            " WHERE r.id BETWEEN ? AND ?"
        )
        for prefix in prefixes:
            yield from self._db.execute(sql, (lane, prefix, prefix + b"\xff" * (32 - len(prefix))))

    def _governing(self) -> list[Record]:
        """Return the held records of the kinds that authority is made of."""
        kinds = sorted(AUTHORITY_KINDS)
        sql = f"SELECT {RECORD_COLUMNS} WHERE d.governs = 1 AND d.kind IN ({marks(len(kinds))})"
        return list(map(to_record, self._db.execute(sql, kinds)))

    def _held_set(self, lane: int, change: int) -> HeldSet:
        """Return one held set: its snapshot and what came and went since, or made anew from all ids."""
        count: int = self._db.execute("SELECT records FROM lanes WHERE number = ?", (lane,)).fetchone()[0]
        row = self._db.execute("SELECT change, state FROM held_sets WHERE lane = ?", (lane,)).fetchone()
        if row is not None and row[0] <= change:
            try:
                held = HeldSet.from_bytes(row[1])
            except ValueError:
                pass
            else:
                gone = "SELECT id FROM removed WHERE lane = ? AND change > ? AND added <= ?"
                held.remove_many([id for (id,) in self._db.execute(gone, (lane, row[0], row[0]))], change)
                held.add_many(self._lane_ids(lane, row[0]), change)
                if held.count == count:
                    return held
        return HeldSet.of(self._lane_ids(lane, 0), change)

    def _lane_ids(self, lane: int, after_change: int) -> list[RecordId]:
        sql = "SELECT r.id FROM held h JOIN records r ON r.row = h.record WHERE h.lane = ? AND h.change > ?"
        return [id for (id,) in self._db.execute(sql, (lane, after_change))]

    def _lane_keys(self) -> Mapping[int, LaneKey]:
        """Return the held sets by their numbers."""
        rows = self._db.execute("SELECT number, federation, lane FROM lanes")
        return {number: (FederationId(federation), _LANES[lane]) for number, federation, lane in rows}

    def lane_number(self, key: LaneKey) -> int:
        """Return the number of a held set; 0, which none has, if it was never used."""
        row = self._db.execute("SELECT number FROM lanes WHERE federation = ? AND lane = ?", key).fetchone()
        return row[0] if row else 0

    def _town_numbers(self) -> list[int]:
        return [number for (number,) in self._db.execute("SELECT number FROM towns")]

    def town_number(self, town: TownId) -> int:
        """Return the number of a town; 0, which none has, if nothing of it was ever held."""
        row = self._db.execute("SELECT number FROM towns WHERE town = ?", (town,)).fetchone()
        return row[0] if row else 0


class _Waiting:
    """Parked records of the kinds that authority is made of."""

    def __init__(self, reads: RecordReads) -> None:
        self._reads = reads

    def signed(self, kind: str, keys: Iterable[bytes]) -> Iterator[Record]:
        """Yield those of a kind that these keys signed."""
        sql = "SELECT kind, raw FROM parked WHERE governs = 1 AND device IN"
        for named, raw in self._reads.select_in(sql, list(keys)):
            if named == kind:
                yield open_record(raw)

    def rotations(self, towns: Iterable[TownId]) -> Iterator[Record]:
        """Yield those by which keys of these towns take over."""
        sql = f"SELECT raw FROM parked WHERE kind = '{ROTATE}' AND town IN"
        yield from map(_opened, self._reads.select_in(sql, list(towns)))

    def charters(self, federations: Iterable[FederationId]) -> Iterator[Record]:
        """Yield the charters of these federations."""
        sql = "SELECT raw FROM parked WHERE kind = ? AND id BETWEEN ? AND ?"
        for name in federations:
            for (raw,) in self._reads.connection.execute(sql, (CHARTER, name, name + b"\xff" * 16)):
                yield open_record(raw)


def _opened(row: Sequence[Any]) -> Record:
    return open_record(row[0])


def to_record(row: Sequence[Any]) -> Record:
    """Return a record as it was opened when it was taken in."""
    header_bytes, signature, body, id, doc = row
    return Record(open_header(header_bytes), header_bytes, signature, body, RecordId(id), DocId(doc))


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """Yield the values in lists that one statement takes."""
    left = iter(values)
    while part := list(islice(left, CHUNK)):
        yield part


def marks(count: int) -> str:
    """Return so many question marks."""
    return ("?," * count)[:-1]
