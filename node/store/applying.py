"""One application of changes: verdicts become rows, held sets move, documents fold anew, search follows.

The order is that of `sync.admission.Changes`: forget, remember, remove, park, hold. A document whose first
record arrives (nearly all that is ever taken in) is folded before its row is written, so it costs one row and
no reading; any other document that was touched is folded afterwards from all that is held of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from node.store.documents import PROFILE, Columns, Folded, columns_of, fold, is_shown, place_of
from node.store.records import (
    HELD_THERE,
    LEAN_COLUMNS,
    OWN_TOWN,
    RECORD_COLUMNS,
    STAMP_OFFSET,
    BoardKey,
    QuotaKey,
    marks,
    to_record,
)
from node.store.search import language_of, terms
from protocol.ids import DocId, FederationId, Lane, LaneKey, RecordId, TownId
from protocol.record import Header, Record, open_record
from sync.admission import EXPIRED, QUOTA, SUPERSEDED, Changes, State
from sync.authority import allotment_of, outside_quotas
from sync.events import LaneChange
from sync.ledger import LEDGER, share_of

if TYPE_CHECKING:
    from node.store.transaction import SqliteTransaction

_UNSHOWN: Final[Columns] = (None, None, 0, None, None)
_REMEMBERED: Final = frozenset({SUPERSEDED, EXPIRED})
_stamp_of: Final = attrgetter("header.stamp")
_DRAWN: Final = frozenset({SUPERSEDED, QUOTA})


class Application:
    """One `apply` on its way. Used once."""

    def __init__(self, tx: SqliteTransaction) -> None:
        self._tx = tx
        self._db = tx.connection
        self._change = tx.change() + 1
        self._added: dict[LaneKey, list[RecordId]] = defaultdict(list)
        self._removed: dict[LaneKey, list[RecordId]] = defaultdict(list)
        self._begun: set[int] = set()
        self._touched: set[int] = set()
        self._vacated: set[tuple[int, int]] = set()
        self._profiles: set[int] = set()

    def run(
        self, changes: Changes, batch: Sequence[Record], source: TownId | None = None
    ) -> list[LaneChange]:
        """Make these changes; `batch` are the records of the verdicts, in their order, sent by `source`."""
        tx = self._tx
        try:
            return self._run(changes, batch, source)
        finally:
            tx.forget_absent()

    def _run(self, changes: Changes, batch: Sequence[Record], source: TownId | None) -> list[LaneChange]:
        tx = self._tx
        if changes.reconsider:
            tx.forget_superseded(changes.reconsider)
        self._remember(changes, batch)
        if changes.remove:
            self._remove(changes)
        if changes.park:
            self._park(changes, batch, source)
        if changes.hold:
            self._hold(changes.hold)
        if self._touched:
            self._fold_again()
        if self._vacated:
            self._leave_quotas()
        if self._profiles:
            self._name_towns()
        if changes.authority is not None:
            tx.set_authority(changes.authority)
        return self._lane_changes()

    def _lane_changes(self) -> list[LaneChange]:
        keys = sorted({*self._added, *self._removed})
        if not keys:
            return []
        found = [
            LaneChange(key, tuple(self._added.get(key, ())), tuple(self._removed.get(key, ())))
            for key in keys
        ]
        self._db.executemany(
            "UPDATE lanes SET records = records + ? WHERE number = ?",
            [(len(each.added) - len(each.removed), self._tx.lane_number(each.key)) for each in found],
        )
        self._tx.set_change(self._change)
        return found

    def _park(self, changes: Changes, batch: Sequence[Record], source: TownId | None) -> None:
        """Let records wait; what only lost its right was not sent by who sent this batch."""
        sent = {record.id for record in batch}
        came = [each for each in changes.park if each[0].id in sent]
        stayed = [each for each in changes.park if each[0].id not in sent]
        self._tx.draw_out([record.id for record, _ in changes.park])
        if came:
            self._tx.park(came, source)
        if stayed:
            self._tx.park(stayed)

    # Verdicts.

    def _remember(self, changes: Changes, batch: Sequence[Record]) -> None:
        dropped = [
            (verdict.id, record.header, verdict.cause, verdict.because)
            for verdict, record in zip(changes.verdicts, batch, strict=False)
            if verdict.state is State.DROPPED
        ]
        own = self._tx.own_town
        self._tx.draw_in(
            record
            for verdict, record in zip(changes.verdicts, batch, strict=False)
            if verdict.cause in _DRAWN and record.header.town == own
        )
        if dropped:
            self._tx.remember(
                (id, self._town_if_superseded(header, cause), cause, because, header.expires)
                for id, header, cause, because in dropped
            )

    def _town_if_superseded(self, header: Header, cause: str) -> int | None:
        # What superseded it may lose its right before anything else of the town is held.
        return self._tx.number_town(header.town) if cause == SUPERSEDED else None

    # Leaving.

    def _remove(self, changes: Changes) -> None:
        tx = self._tx
        ids = [id for id, _, _, _ in changes.remove]
        found = {
            id: (row, document, town, expires)
            for id, row, document, town, expires in tx.select_in(
                "SELECT r.id, r.row, r.document, d.town, d.expires"
                " FROM records r JOIN documents d ON d.number = r.document WHERE r.id IN",
                ids,
            )
        }
        held: dict[int, dict[int, int]] = defaultdict(dict)
        rows = [row for row, _, _, _ in found.values()]
        for row, lane, since in tx.select_in("SELECT record, lane, change FROM held WHERE record IN", rows):
            held[row][lane] = since
        stays = {record.id for record, _ in changes.park} | {record.id for record, _ in changes.hold}
        held_again = {record.id for record, _ in changes.hold}
        leaving: list[tuple[int, int]] = []
        log: list[tuple[int, int, int, RecordId]] = []
        erased: list[tuple[int]] = []
        remembered: list[tuple[RecordId, int | None, str, RecordId | None, int]] = []
        unparked: dict[RecordId, tuple[str, RecordId | None]] = {}
        drawn: list[RecordId] = []
        for id, lanes, cause, because in changes.remove:
            if id not in found:
                if id not in stays:
                    unparked[id] = cause, because
                continue
            row, document, town, expires = found[id]
            where = held[row]
            for key in lanes:
                lane = tx.lane_number(key)
                since = where.pop(lane, None)
                if since is not None:
                    leaving.append((row, lane))
                    log.append((lane, self._change, since, id))
                    self._removed[key].append(id)
                    self._vacated.add((document, lane))
            self._touched.add(document)
            if not where and id not in held_again:
                erased.append((row,))
                if cause in _DRAWN and town == OWN_TOWN and id not in stays:
                    drawn.append(id)
                if cause in _REMEMBERED and id not in stays:
                    remembered.append((id, town if cause == SUPERSEDED else None, cause, because, expires))
        db = self._db
        if drawn:
            tx.draw_in(tx.records(drawn).values())
        db.executemany("DELETE FROM held WHERE record = ? AND lane = ?", leaving)
        db.executemany("INSERT INTO removed (lane, change, added, id) VALUES (?, ?, ?, ?)", log)
        db.executemany("DELETE FROM shares WHERE record = ?", erased)
        db.executemany("DELETE FROM records WHERE row = ?", erased)
        sql = "SELECT id, town, expires, raw FROM parked WHERE id IN"
        for id, town_id, expires, raw in list(tx.select_in(sql, list(unparked))):
            cause, because = unparked[id]
            if cause in _DRAWN and town_id == tx.own_town:
                tx.draw_in([open_record(raw)])
            if cause in _REMEMBERED:
                town = tx.number_town(town_id) if cause == SUPERSEDED else None
                remembered.append((id, town, cause, because, expires))
        tx.remember(remembered)
        tx.unpark(list(unparked))

    # Entering.

    def _hold(self, hold: Sequence[tuple[Record, frozenset[LaneKey]]]) -> None:
        tx = self._tx
        ids = tx.perhaps_held([record.id for record, _ in hold])
        here = {
            id: (row, document)
            for id, row, document in tx.select_in("SELECT id, row, document FROM records WHERE id IN", ids)
        }
        # In the order of the board, so that each row finds its place beside the one before.
        new = sorted([record for record, _ in hold if record.id not in here], key=_stamp_of)
        if new:
            entering = [record.id for record in new]
            tx.unpark(entering)
            tx.unremember(entering)
            tx.draw_out(entering)
            self._insert(new, here)
        self._enter(hold, here)

    def _insert(self, new: Sequence[Record], here: dict[RecordId, tuple[int, int]]) -> None:
        """Insert new records, and the documents that they begin; note the rows in `here`."""
        tx = self._tx
        by_doc: dict[DocId, list[Record]] = defaultdict(list)
        for record in new:
            by_doc[record.doc].append(record)
        docs = tx.perhaps_held(by_doc)
        numbers: dict[DocId, int] = dict(tx.select_in("SELECT doc, number FROM documents WHERE doc IN", docs))
        self._touched.update(numbers.values())
        rows = tx.next_rows("records", "row", len(new))
        fresh = [records for doc, records in by_doc.items() if doc not in numbers]
        begun = tx.next_rows("documents", "number", len(fresh))
        numbers.update(zip([records[0].doc for records in fresh], begun, strict=True))
        self._begun.update(begun)
        here.update((record.id, (row, numbers[record.doc])) for record, row in zip(new, rows, strict=True))
        if fresh:
            self._begin_documents(fresh, here)
        self._db.executemany(
            "INSERT INTO records (row, id, document, op, stamp, header, signature, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    row, record.id, numbers[record.doc], int(record.header.op),
                    record.header.stamp - STAMP_OFFSET, record.header_bytes, record.signature, record.body,
                )
                for record, row in zip(new, rows, strict=True)
            ],
        )  # fmt: skip
        self._note_shares([record for record in new if record.header.kind == LEDGER], here)

    def _note_shares(self, entries: Sequence[Record], here: dict[RecordId, tuple[int, int]]) -> None:
        """Note which ledgers say that they are a share of another; the notes go with their records."""
        rows = [
            (here[record.id][0], *share, self._tx.number_town(record.header.town), record.doc)
            for record in entries
            if (share := share_of(record)) is not None
        ]
        if rows:
            self._db.executemany("INSERT INTO shares VALUES (?, ?, ?, ?, ?)", rows)

    def _begin_documents(self, fresh: Sequence[list[Record]], here: dict[RecordId, tuple[int, int]]) -> None:
        """Insert documents of which nothing was held, folded."""
        tx = self._tx
        shown: list[tuple[Columns, str] | None] = []
        stamps: list[int] = []
        for records in fresh:
            folded = fold(records) if is_shown(records[0].header.kind) else None
            if folded is None:
                shown.append(None)
                continue
            head = folded.head.record
            shown.append((columns_of(folded, here[head.id][0]), self._words(folded)))
            stamps.append(head.header.stamp)
        places = iter(tx.places.choose(stamps))
        # Most documents of a batch are alike in all that has a number of its own.
        common: dict[tuple[TownId, str, Lane, tuple[FederationId, ...]], _Common] = {}
        values: list[tuple[Any, ...]] = []
        for records, each in zip(fresh, shown, strict=True):
            first = records[0]
            header = first.header
            alike = (header.town, header.kind, header.lane, header.federations)
            shared = common.get(alike)
            if shared is None:
                shared = common[alike] = self._common(header)
            place, columns, words = None, _UNSHOWN, ""
            if each is not None:
                place = next(places)
                columns, words = each
                tx.show(place, shared.board, words)
            values.append(
                (
                    here[first.id][1], first.doc, shared.town, shared.kind, shared.lane, shared.audience,
                    header.born, header.expires, header.nonce if shared.town == OWN_TOWN else None,
                    shared.governs, place, *columns, words,
                )
            )  # fmt: skip
        self._db.executemany(f"INSERT INTO documents VALUES ({marks(17)})", values)

    def _common(self, header: Header) -> _Common:
        """Return what the rows of all documents have in common that are alike."""
        town = self._tx.number_town(header.town)
        kind = header.kind
        if kind == PROFILE:
            self._profiles.add(town)
        audience = self._tx.number_audience(header.federations)
        governs = int(outside_quotas(kind))
        return _Common(town, kind, int(header.lane), audience, governs, (kind, town, audience))

    def _enter(
        self, hold: Sequence[tuple[Record, frozenset[LaneKey]]], here: dict[RecordId, tuple[int, int]]
    ) -> None:
        """Enter records into held sets, and their documents into the quotas."""
        held: list[tuple[int, int, int]] = []
        change = self._change
        counted: dict[QuotaKey | None, dict[int, tuple[int, DocId]]] = defaultdict(dict)
        # Most records of a batch are of one town and kind, and belong in the same lanes.
        where: dict[
            tuple[frozenset[LaneKey], TownId, str],
            list[tuple[int, list[RecordId], dict[int, tuple[int, DocId]]]],
        ] = {}
        for record, lanes in hold:
            row, document = here[record.id]
            header = record.header
            alike = (lanes, header.town, header.kind)
            places = where.get(alike)
            if places is None:
                quotas = [(key, *self._number(key, header)) for key in lanes]
                places = where[alike] = [
                    (lane, self._added[key], counted[quota]) for key, lane, quota in quotas
                ]
            for lane, added, documents in places:
                held.append((row, lane, change))
                added.append(record.id)
                documents[document] = (header.born, record.doc)
        for quota, documents in counted.items():
            if quota is not None:
                self._count_in(quota, documents)
        self._db.executemany("INSERT INTO held (record, lane, change) VALUES (?, ?, ?)", held)

    def _number(self, key: LaneKey, header: Header) -> tuple[int, QuotaKey | None]:
        """Return the number of a lane, and the quota of it against which a document counts, if any."""
        lane = self._tx.number_lane(key)
        allotment = allotment_of(header.kind)
        if allotment is None:
            return lane, None
        return lane, (lane, self._tx.number_town(header.town), int(allotment))

    def _count_in(self, quota: QuotaKey, documents: Mapping[int, tuple[int, DocId]]) -> None:
        """Let documents that enter count in a lane, for a town and with their like, each once."""
        entering = [number for number in documents if number in self._begun or self._enters(number, quota[0])]
        if self._tx.is_ranked(quota):
            # In the order of the table, so that each finds its place beside the one before.
            rows = sorted((*quota, *documents[number]) for number in entering)
            self._db.executemany("INSERT INTO quota_documents VALUES (?, ?, ?, ?, ?)", rows)
        self._db.execute(
            "INSERT INTO quota_counts (lane, town, allotment, documents) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET documents = documents + excluded.documents",
            (*quota, len(entering)),
        )

    def _enters(self, document: int, lane: int) -> bool:
        """Tell whether nothing of a document has been in a lane so far, before this change."""
        sql = f"SELECT 1 FROM documents d WHERE d.number = ? AND {HELD_THERE}"
        return (document, lane) not in self._vacated and (
            self._db.execute(sql, (document, lane)).fetchone() is None
        )

    # Documents that were here before.

    def _fold_again(self) -> None:
        """Fold every touched document from all that is held of it now; one of which nothing is held goes. Of
        a kind that no page shows none is opened, however many there are."""
        tx = self._tx
        sql = (
            "SELECT d.number, d.kind, d.town, d.audience, d.place, d.words,"
            " EXISTS (SELECT 1 FROM records r WHERE r.document = d.number)"
            " FROM documents d WHERE d.number IN"
        )
        documents = list(tx.select_in(sql, list(self._touched)))
        shown = [number for number, kind, *_ in documents if is_shown(kind)]
        records: dict[int, list[tuple[int, Record]]] = defaultdict(list)
        sql = f"SELECT d.number, r.row, {LEAN_COLUMNS} WHERE d.number IN"
        for number, row, *parts in tx.select_in(sql, shown):
            records[number].append((row, to_record(parts)))
        gone: list[tuple[int]] = []
        for number, kind, town, audience, place, words, held in documents:
            if kind == PROFILE:
                self._profiles.add(town)
            board = (kind, town, audience)
            if place is not None:
                tx.unshow(place, board, words)
            if not held:
                gone.append((number,))
                continue
            found = records[number]
            folded = fold([each for _, each in found], read=tx.with_body) if found else None
            columns, words, new_place = _UNSHOWN, "", None
            if folded is not None:
                head = folded.head.record
                columns = columns_of(folded, next(row for row, record in found if record is head))
                words = self._words(folded)
                # Its own place is free now unless it stays; asking for it again gives the same one.
                [new_place] = tx.places.choose([head.header.stamp], own=place)
                tx.show(new_place, board, words)
            self._db.execute(
                "UPDATE documents SET ends = ?, head = ?, heads = ?, lat = ?, lon = ?, words = ?, place = ?"
                " WHERE number = ?",
                (*columns, words, new_place, number),
            )
        self._leave_quotas()
        self._db.executemany("DELETE FROM documents WHERE number = ?", gone)

    def _leave_quotas(self) -> None:
        """Take documents out of the quotas of held sets in which nothing of them is left."""
        gone = (
            f"SELECT d.town, d.kind, d.born, d.doc FROM documents d WHERE d.number = ? AND NOT {HELD_THERE}"
        )
        for document, lane in self._vacated:
            for town, kind, born, doc in self._db.execute(gone, (document, lane)).fetchall():
                allotment = allotment_of(kind)
                if allotment is None:
                    continue
                quota = (lane, town, int(allotment))
                if self._tx.is_ranked(quota):
                    self._db.execute(
                        "DELETE FROM quota_documents"
                        " WHERE lane = ? AND town = ? AND allotment = ? AND born = ? AND doc = ?",
                        (*quota, born, doc),
                    )
                self._db.execute(
                    "UPDATE quota_counts SET documents = documents - 1"
                    " WHERE lane = ? AND town = ? AND allotment = ?",
                    quota,
                )
        self._vacated.clear()

    def _name_towns(self) -> None:
        """Take the names and places of towns from their newest profiles."""
        for town in self._profiles:
            sql = f"SELECT {RECORD_COLUMNS} WHERE d.governs = 1 AND d.kind = ? AND d.town = ?"
            by_doc: dict[DocId, list[Record]] = defaultdict(list)
            for record in map(to_record, self._db.execute(sql, (PROFILE, town))):
                by_doc[record.doc].append(record)
            heads = [folded.head for folded in map(fold, by_doc.values()) if folded is not None]
            newest = max(heads, key=lambda head: (head.record.header.stamp, head.record.id), default=None)
            fields = newest.fields if newest is not None else {}
            self._db.execute(
                "UPDATE towns SET name = ?, lat = ?, lon = ? WHERE number = ?",
                (fields.get("name"), *place_of(fields), town),
            )

    # The board.

    def _words(self, folded: Folded) -> str:
        """Return what of a document is searched: the words of all its heads."""
        said: list[str] = []
        for record, fields in folded.heads:
            language = language_of(fields)
            if language is not None:
                self._tx.note_language(language)
            said.append(terms(record.header.kind, fields, language))
        return " ".join(said)


class _Common(NamedTuple):
    """What the rows of documents have in common that are of one town and kind, for one audience.

    Attributes:
        board: Under what they are counted when they are shown: kind, town and audience.
    """

    town: int
    kind: str
    lane: int
    audience: int
    governs: int
    board: BoardKey
