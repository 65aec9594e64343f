"""The state inside a writer's turn, on SQLite.

A transaction is made once and goes through all turns of the writer. It remembers the numbers that it gave to
towns, audiences and lanes, the next rows and the resolved authority, and forgets all of it when work is
undone. What is cheaper in bulk (search, counts, single values) it gathers and writes when a piece of work
ends.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from node.store.applying import Application
from node.store.contract import Cell
from node.store.places import Places
from node.store.records import HELD_THERE, BoardKey, QuotaKey
from node.store.shelves import Shelves
from protocol.ids import DocId, FederationId, LaneKey, RecordId, TownId
from protocol.record import Record
from sync.admission import Changes, Verdict
from sync.authority import Allotment, Authority, allotment_of, resolve
from sync.events import LaneChange

if TYPE_CHECKING:
    from node.store.documents import Page, Query
    from sync.held import HeldSet
    from sync.merge import Fact

K = TypeVar("K")
N = TypeVar("N", RecordId, DocId)

NUMBERS_MAX: Final = 10_000
"""Numbers of towns, of audiences and of lanes that are remembered between turns."""


class SqliteTransaction(Shelves):
    """What work in the writer's turn reads and changes."""

    def __init__(self, connection: sqlite3.Connection, own_town: TownId) -> None:
        super().__init__(connection, own_town)
        self._forget()

    def _forget(self) -> None:
        """Let go of all that is remembered of the database; it is read again when it is needed."""
        self.forget_sizes()
        self._authority: Authority | None = None
        self._towns: dict[bytes, int] = {}
        self._audiences: dict[tuple[FederationId, ...], int] = {}
        self._lanes: dict[LaneKey, int] = {}
        self._next: dict[str, int] = {}
        self._ranked: set[QuotaKey] | None = None
        self._absent: set[bytes] = set()
        self._values: dict[str, Cell] = {}
        self._unsaved: set[str] = set()
        self._languages: frozenset[str] = frozenset()
        self._to_index: dict[int, str] = {}
        self._to_unindex: dict[int, str] = {}
        self._before: tuple[dict[int, str], dict[int, str]] = {}, {}
        self._shown: dict[BoardKey, int] = defaultdict(int)
        self.places = Places(self)

    # The writer's turns.

    def begin(self) -> None:
        """Begin a turn."""
        self._db.execute("BEGIN IMMEDIATE")

    def savepoint(self) -> None:
        """Begin a piece of work."""
        self._absent.clear()
        self._before = dict(self._to_unindex), dict(self._to_index)
        self._db.execute("SAVEPOINT work")

    def release(self) -> None:
        """End a piece of work that went well: write what it gathered, but for search."""
        self._save()
        self._db.execute("RELEASE work")

    def undo(self) -> None:
        """End a piece of work that raised: as if it had not been."""
        gathered = self._before
        self._forget()
        self._to_unindex, self._to_index = gathered
        self._db.execute("ROLLBACK TO work")
        self._db.execute("RELEASE work")

    def commit(self) -> None:
        """End the turn: it is on the disk when this returns."""
        self._index()
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        """End the turn as if it had not been. Never raises."""
        self._forget()
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def flush(self) -> None:
        """Write all that was gathered."""
        self._save()
        self._index()

    def _index(self) -> None:
        """Write what search has to learn: once in a turn and in ascending order, for FTS5 begins a segment at
        each savepoint that ends and at each step back."""
        if self._to_unindex:
            self._db.executemany(
                "INSERT INTO search (search, rowid, words) VALUES ('delete', ?, ?)",
                sorted(self._to_unindex.items()),
            )
            self._to_unindex.clear()
        if self._to_index:
            self._db.executemany(
                "INSERT INTO search (rowid, words) VALUES (?, ?)",
                sorted(self._to_index.items()),
            )
            self._to_index.clear()

    def _save(self) -> None:
        """Write counts and single values."""
        if self._shown:
            self._db.executemany(
                "INSERT INTO shown VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET documents = documents + excluded.documents",
                [(*key, count) for key, count in self._shown.items() if count],
            )
            self._shown.clear()
        if self._unsaved:
            self._db.executemany(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                [(name, self._values[name]) for name in self._unsaved],
            )
            self._unsaved.clear()

    # What is kept besides records.

    def meta(self, name: str) -> Cell:
        """Return a value kept under a name, or None."""
        if name not in self._values:
            self._values[name] = super().meta(name)
        return self._values[name]

    def set_meta(self, name: str, value: Cell) -> None:
        """Keep a value under a name; None is as if it were not kept."""
        self._values[name] = value
        self._unsaved.add(name)

    def run(self, sql: str, *values: Cell) -> int:
        """Run one statement on the tables of peers, invitations and the like; return how many rows it
        touched."""
        return self._db.execute(sql, values).rowcount

    def next_seq(self) -> tuple[bytes, int]:
        """Return the epoch of this store and the next counter of this device in it; never the same twice."""
        epoch, last = self.meta("epoch"), self.meta("counter")
        assert isinstance(epoch, bytes), "a store gets an epoch at each start"
        counter = (last if isinstance(last, int) else 0) + 1
        self.set_meta("counter", counter)
        return epoch, counter

    def open_epoch(self, epoch: bytes) -> None:
        """Begin a new epoch of this device's records, so that none of a copy's can be taken for its own."""
        if epoch == self.meta("epoch"):
            return
        self.set_meta("epoch", epoch)
        self.set_meta("counter", 0)
        self._db.execute("INSERT OR REPLACE INTO epochs (epoch) VALUES (?)", (epoch,))

    def save_held_sets(self, sets: Mapping[LaneKey, HeldSet]) -> None:
        """Keep snapshots of held sets, and let go of what only older ones needed."""
        for key, held in sets.items():
            lane = self.number_lane(key)
            self._db.execute(
                "INSERT INTO held_sets VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET change = excluded.change, state = excluded.state",
                (lane, held.change, held.to_bytes()),
            )
            self._db.execute("DELETE FROM removed WHERE lane = ? AND change <= ?", (lane, held.change))

    # What `judge` finds absent is remembered until its changes are made: nobody else writes in between.

    def known(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Verdict]:
        """Return what was decided before on these ids; tables that are empty are not asked, nor is twice."""
        ids = self.perhaps_held(ids)
        found = self.find_known(ids, dropped=self._any_dropped(), parked=self._bytes_in("parked") > 0)
        self._absent.update(id for id in ids if id not in found)
        return found

    def facts(self, docs: Sequence[DocId]) -> Mapping[DocId, Sequence[Fact]]:
        """Return the facts of the held records of these documents."""
        found = super().facts(docs)
        self._absent.update(doc for doc in docs if doc not in found)
        return found

    def perhaps_held(self, names: Iterable[N]) -> list[N]:
        """Return the ids under which something may be held: all but those found absent in this judgement."""
        return [name for name in names if name not in self._absent]

    def forget_absent(self) -> None:
        """Forget what was absent."""
        self._absent.clear()

    # Quotas.

    def is_ranked(self, quota: QuotaKey) -> bool:
        """Tell whether the documents that count against a quota are kept in order."""
        if self._ranked is None:
            sql = "SELECT lane, town, allotment FROM quota_counts WHERE ranked = 1"
            self._ranked = set(self._db.execute(sql))
        return quota in self._ranked

    def oldest_documents(
        self, lane_key: LaneKey, town: TownId, limit: int, allotment: Allotment = Allotment.POSTS
    ) -> Sequence[tuple[int, DocId]]:
        """Return the first `limit` of the documents that are counted, ascending by (born, document)."""
        quota = (self.lane_number(lane_key), self.town_number(town), int(allotment))
        if not self.is_ranked(quota):
            self._rank(quota)
        sql = (
            "SELECT born, doc FROM quota_documents WHERE lane = ? AND town = ? AND allotment = ?"
            " ORDER BY born, doc LIMIT ?"
        )
        return self._db.execute(sql, (*quota, limit)).fetchall()

    def _rank(self, quota: QuotaKey) -> None:
        """Put the documents of a quota in order, as they are kept from now on: one walk over a town's."""
        lane, town, allotment = quota
        sql = f"SELECT d.kind, d.born, d.doc FROM documents d WHERE d.town = ? AND {HELD_THERE}"
        rows = [
            (*quota, born, doc)
            for kind, born, doc in self._db.execute(sql, (town, lane))
            if allotment_of(kind) == allotment
        ]
        self._db.executemany("INSERT INTO quota_documents VALUES (?, ?, ?, ?, ?)", rows)
        self._db.execute(
            "UPDATE quota_counts SET ranked = 1 WHERE lane = ? AND town = ? AND allotment = ?", quota
        )
        self._ranked = None

    # Authority and changes.

    def authority(self) -> Authority:
        """Return the resolved authority of this state; kept between turns."""
        if self._authority is None:
            self._authority = resolve(self.own_town, self.authority_records())
        return self._authority

    def set_authority(self, authority: Authority) -> None:
        """Take the authority that a judgement resolved anew."""
        self._authority = authority

    def apply(
        self, changes: Changes, batch: Sequence[Record] = (), source: TownId | None = None
    ) -> list[LaneChange]:
        """Make these changes; return what they did to held sets. `batch`: the records of the verdicts, sent
        by `source`."""
        return Application(self).run(changes, batch, source)

    def set_change(self, change: int) -> None:
        """Note the number of the last change."""
        self.set_meta("change", change)

    # The board.

    def show(self, place: int, board: BoardKey, words: str) -> None:
        """Count a document that is shown at a place, and index its words."""
        self._to_index[place] = words
        self._shown[board] += 1

    def unshow(self, place: int, board: BoardKey, words: str) -> None:
        """Take back what `show` did, which was told the same."""
        if self._to_index.pop(place, None) is None:
            self._to_unindex[place] = words
        self._shown[board] -= 1

    def note_language(self, language: str) -> None:
        """Note that the index has stems of a language."""
        if language not in self._languages:
            self._languages = frozenset({*self.languages(), language})
            self.set_meta("languages", " ".join(sorted(self._languages)))

    def documents(self, query: Query, now_s: int) -> Page:
        """Return one page of shown documents, those of this very turn among them."""
        self.flush()
        return super().documents(query, now_s)

    def kind_counts(self, query: Query, now_s: int, *, kinds: Sequence[str] = ()) -> Mapping[str, int]:
        """Return how many documents of each kind the query names, or of these kinds only."""
        self.flush()
        return super().kind_counts(query, now_s, kinds=kinds)

    # Numbers of names.

    def number_town(self, town: TownId) -> int:
        """Return the number of a town, a new one if need be."""
        number = self._towns.get(town)
        if number is None:
            number = self.town_number(town)
            if not number:
                [number] = self.next_rows("towns", "number", 1)
                self._db.execute("INSERT INTO towns (number, town) VALUES (?, ?)", (number, town))
            _note(self._towns, town, number)
        return number

    def number_audience(self, federations: tuple[FederationId, ...]) -> int:
        """Return the number of an audience, a new one if need be."""
        number = self._audiences.get(federations)
        if number is None:
            joined = b"".join(federations)
            sql = "SELECT number FROM audiences WHERE federations = ?"
            row = self._db.execute(sql, (joined,)).fetchone()
            if row is None:
                row = self.next_rows("audiences", "number", 1)
                self._db.execute("INSERT INTO audiences VALUES (?, ?)", (row[0], joined))
            number = row[0]
            _note(self._audiences, federations, number)
        return number

    def number_lane(self, key: LaneKey) -> int:
        """Return the number of a held set, a new one if need be."""
        number = self._lanes.get(key)
        if number is None:
            number = self.lane_number(key)
            if not number:
                [number] = self.next_rows("lanes", "number", 1)
                self._db.execute(
                    "INSERT INTO lanes (number, federation, lane) VALUES (?, ?, ?)", (number, *key)
                )
            _note(self._lanes, key, number)
        return number

    def next_rows(self, table: str, column: str, count: int) -> Sequence[int]:
        """Return so many numbers that no row of a table has."""
        first = self._next.get(table)
        if first is None:
            sql = f"SELECT coalesce(max({column}), 0) + 1 FROM {table}"
            first = self._db.execute(sql).fetchone()[0]
        self._next[table] = first + count
        return range(first, first + count)


def _note(numbers: dict[K, int], name: K, number: int) -> None:
    """Remember a number, within bounds: anybody may invent towns and audiences."""
    if len(numbers) >= NUMBERS_MAX:
        numbers.clear()
    numbers[name] = number
