"""The state inside a writer's turn, on SQLite.

A transaction is made once and goes through all turns of the writer. It remembers the numbers that it gave to
towns, audiences and lanes, the next rows and the resolved authority, and forgets all of it when work is
undone. What is cheaper in bulk (search, counts, single values) it gathers and writes when a piece of work
ends.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from node.store.applying import Application
from node.store.contract import Cell
from node.store.listing import DocumentReads
from node.store.records import marks
from protocol.ids import DocId, FederationId, LaneKey, RecordId, TownId
from protocol.record import Record
from sync.admission import SUPERSEDED, Changes, Verdict
from sync.authority import AUTHORITY_KINDS, Authority, resolve
from sync.events import LaneChange

if TYPE_CHECKING:
    from node.store.documents import Page, Query
    from sync.held import HeldSet
    from sync.merge import Fact

K = TypeVar("K")

DROPPED_MAX: Final = 200_000
"""Remembered drops, about 30 MB; the oldest are forgotten first, and would be judged once more."""
DROPPED_KEPT_S: Final = 30 * 86_400
"""How long a drop is remembered after its record would have ended anyway."""
NUMBERS_MAX: Final = 10_000
"""Numbers of towns, of audiences and of lanes that are remembered between turns."""
KEPT_S: Final = 30 * 86_400
"""How long is kept what authority ceased to hold, and what the own town superseded: 30 days of sure time."""
DRAWER_BYTES_MAX: Final = 64 * 1_048_576
"""All that lies in the drawer: tens of thousands of posts that were edited or withdrawn."""
PARKED_BYTES_MAX: Final = 4 * 1_048_576
"""Parked records that one town sent."""
PARKED_BYTES_TOTAL_MAX: Final = 64 * 1_048_576
"""All parked records, whoever sent them: sixteen times what one peer may have waiting."""


class SqliteTransaction(DocumentReads):
    """What work in the writer's turn reads and changes."""

    def __init__(self, connection: sqlite3.Connection, own_town: TownId) -> None:
        super().__init__(connection, own_town)
        self._forget()

    def _forget(self) -> None:
        """Let go of all that is remembered of the database; it is read again when it is needed."""
        self._authority: Authority | None = None
        self._towns: dict[bytes, int] = {}
        self._audiences: dict[tuple[FederationId, ...], int] = {}
        self._lanes: dict[LaneKey, int] = {}
        self._next: dict[str, int] = {}
        self._parked_bytes: int | None = None
        self._dropped: int | None = None
        self._drawer_bytes: int | None = None
        self._absent: set[bytes] = set()
        self._values: dict[str, Cell] = {}
        self._unsaved: set[str] = set()
        self._languages: frozenset[str] = frozenset()
        self._to_index: dict[int, str] = {}
        self._to_unindex: list[int] = []
        self._shown: Counter[tuple[str, int, int]] = Counter()
        self.free_places: dict[int, int] = {}

    # The writer's turns.

    def begin(self) -> None:
        """Begin a turn."""
        self._db.execute("BEGIN IMMEDIATE")

    def savepoint(self) -> None:
        """Begin a piece of work."""
        self._absent.clear()
        self._db.execute("SAVEPOINT work")

    def release(self) -> None:
        """End a piece of work that went well: write what it gathered."""
        self.flush()
        self._db.execute("RELEASE work")

    def undo(self) -> None:
        """End a piece of work that raised: as if it had not been."""
        self._forget()
        self._db.execute("ROLLBACK TO work")
        self._db.execute("RELEASE work")

    def commit(self) -> None:
        """End the turn: it is on the disk when this returns."""
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        """End the turn as if it had not been. Never raises."""
        self._forget()
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def flush(self) -> None:
        """Write what was gathered. Search goes in ascending order: FTS5 begins a new segment at each step
        back."""
        if self._to_unindex:
            self._to_unindex.sort()
            self._db.executemany(
                "DELETE FROM search WHERE rowid = ?", [(place,) for place in self._to_unindex]
            )
            self._to_unindex.clear()
        if self._to_index:
            self._db.executemany(
                "INSERT INTO search (rowid, terms) VALUES (?, ?)",
                sorted(self._to_index.items()),
            )
            self._to_index.clear()
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
        ids = [id for id in ids if id not in self._absent]
        found = self.find_known(ids, dropped=self._any_dropped(), parked=self._parked() > 0)
        self._absent.update(id for id in ids if id not in found)
        return found

    def facts(self, docs: Sequence[DocId]) -> Mapping[DocId, Sequence[Fact]]:
        """Return the facts of the held records of these documents."""
        found = super().facts(docs)
        self._absent.update(doc for doc in docs if doc not in found)
        return found

    def is_absent(self, name: RecordId | DocId) -> bool:
        """Tell whether nothing is held under an id, as far as was asked in this judgement."""
        return name in self._absent

    def forget_absent(self) -> None:
        """Forget what was absent."""
        self._absent.clear()

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

    def tidy(self, now_s: int) -> None:
        """Forget drops whose records have long ended, and what has waited or lain in the drawer for long."""
        self._db.execute("DELETE FROM dropped WHERE expires <= ?", (now_s - DROPPED_KEPT_S,))
        for table in ("parked", "drawer"):
            self._db.execute(f"UPDATE {table} SET since = ? WHERE since IS NULL", (now_s,))
            self._db.execute(f"DELETE FROM {table} WHERE since <= ?", (now_s - KEPT_S,))
        self._db.execute("DELETE FROM drawer WHERE expires <= ?", (now_s,))
        self._dropped = self._parked_bytes = self._drawer_bytes = None

    # Verdicts.

    def remember(self, dropped: Iterable[tuple[RecordId, int | None, str, RecordId | None, int]]) -> None:
        """Remember (id, town's number, cause, because, expires) of what was dropped for good."""
        rows = list(dropped)
        if not rows:
            return
        self._db.executemany(
            "INSERT OR REPLACE INTO dropped (id, town, cause, because, expires) VALUES (?, ?, ?, ?, ?)", rows
        )
        if self._dropped is None:
            self._dropped = self._count("dropped")
        else:
            self._dropped += len(rows)
        if self._dropped > DROPPED_MAX:
            spare = self._count("dropped") - DROPPED_MAX + DROPPED_MAX // 20
            self._db.execute(
                "DELETE FROM dropped WHERE number IN (SELECT number FROM dropped ORDER BY number LIMIT ?)",
                (max(0, spare),),
            )
            self._dropped = None

    def unremember(self, ids: Sequence[RecordId]) -> None:
        """Forget the drops of these ids."""
        if self._any_dropped():
            self._db.executemany("DELETE FROM dropped WHERE id = ?", [(id,) for id in ids])

    def forget_superseded(self, towns: Iterable[TownId]) -> None:
        """Forget that records of these towns were superseded: what superseded them may have lost its
        right."""
        self._db.executemany(
            "DELETE FROM dropped WHERE town = ? AND cause = ?",
            [(self.town_number(town), SUPERSEDED) for town in towns],
        )

    def draw_in(self, records: Iterable[Record]) -> None:
        """Put records of the own town into the drawer, within bounds: the oldest go first."""
        rows = [
            (
                record.id, record.header.kind, record.doc, record.header.kind in AUTHORITY_KINDS,
                record.header.expires, len(raw), raw,
            )
            for record in records
            for raw in (record.raw,)
        ]  # fmt: skip
        if not rows:
            return
        before = self._drawer()
        self._db.executemany(
            f"INSERT OR IGNORE INTO drawer (id, kind, doc, governs, expires, bytes, raw) VALUES ({marks(7)})",
            rows,
        )
        self._drawer_bytes = before + sum(row[5] for row in rows)
        if self._drawer_bytes > DRAWER_BYTES_MAX:
            self._let_go("drawer", self._drawer_bytes - DRAWER_BYTES_MAX + DRAWER_BYTES_MAX // 20)
            self._drawer_bytes = None

    def draw_out(self, ids: Sequence[RecordId]) -> None:
        """Take records out of the drawer."""
        if ids and self._drawer():
            self._db.executemany("DELETE FROM drawer WHERE id = ?", [(id,) for id in ids])
            self._drawer_bytes = None

    def _drawer(self) -> int:
        """Return the bytes of all that lies in the drawer."""
        if self._drawer_bytes is None:
            row = self._db.execute("SELECT coalesce(sum(bytes), 0) FROM drawer").fetchone()
            self._drawer_bytes = row[0]
        return self._drawer_bytes or 0

    def park(self, park: Sequence[tuple[Record, str]], source: TownId | None = None) -> None:
        """Keep records that wait, within bounds, also of the town that sent them: the oldest go first."""
        rows = [
            (
                record.id, record.header.town, record.header.device, record.header.kind, source, cause,
                record.header.kind in AUTHORITY_KINDS, record.header.expires, len(raw), raw,
            )
            for record, cause in park
            for raw in (record.raw,)
        ]  # fmt: skip
        before = self._parked()
        self._db.executemany(
            "INSERT INTO parked (id, town, device, kind, source, cause, governs, expires, bytes, raw)"
            f" VALUES ({marks(10)}) ON CONFLICT (id) DO UPDATE SET cause = excluded.cause",
            rows,
        )
        self._parked_bytes = before + sum(row[8] for row in rows)
        if source is not None:
            self._let_go_of_parked_from(source)
        if self._parked() > PARKED_BYTES_TOTAL_MAX:
            self._let_go_of_parked()

    def _let_go_of_parked_from(self, source: TownId) -> None:
        """Make room by the oldest that one town has sent, so that it takes none from what others sent."""
        sql = "SELECT coalesce(sum(bytes), 0) FROM parked WHERE source = ?"
        excess = self._db.execute(sql, (source,)).fetchone()[0] - PARKED_BYTES_MAX
        if excess <= 0:
            return
        excess += PARKED_BYTES_MAX // 20
        last = 0
        sql = "SELECT number, bytes FROM parked WHERE source = ? ORDER BY number"
        for number, size in self._db.execute(sql, (source,)):
            last = number
            excess -= size
            if excess <= 0:
                break
        self._db.execute("DELETE FROM parked WHERE source = ? AND number <= ?", (source, last))
        self._parked_bytes = None

    def _let_go_of_parked(self) -> None:
        """Make room by the oldest, a twentieth more than is needed, so that the next does not come here
        again."""
        self._parked_bytes = None
        excess = self._parked() - PARKED_BYTES_TOTAL_MAX
        if excess <= 0:
            return
        self._let_go("parked", excess + PARKED_BYTES_TOTAL_MAX // 20)
        self._parked_bytes = None

    def _let_go(self, table: str, excess: int) -> None:
        """Let go of the oldest of a table until so many bytes are free."""
        last = 0
        for number, size in self._db.execute(f"SELECT number, bytes FROM {table} ORDER BY number"):
            last = number
            excess -= size
            if excess <= 0:
                break
        self._db.execute(f"DELETE FROM {table} WHERE number <= ?", (last,))

    def unpark(self, ids: Sequence[RecordId]) -> None:
        """Let go of these parked records."""
        if self._parked():
            self._db.executemany("DELETE FROM parked WHERE id = ?", [(id,) for id in ids])
            self._parked_bytes = None

    def _parked(self) -> int:
        """Return the bytes of all parked records."""
        if self._parked_bytes is None:
            row = self._db.execute("SELECT coalesce(sum(bytes), 0) FROM parked").fetchone()
            self._parked_bytes = row[0]
        return self._parked_bytes or 0

    def _any_dropped(self) -> bool:
        if self._dropped is None:
            self._dropped = self._count("dropped")
        return self._dropped > 0

    def _count(self, table: str) -> int:
        count: int = self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return count

    # The board.

    def show(self, place: int, kind: str, town: int, audience: int, words: str) -> None:
        """Count a document that is shown at a place, and index its words."""
        self._to_index[place] = words
        self._shown[kind, town, audience] += 1

    def unshow(self, place: int, kind: str, town: int, audience: int) -> None:
        """Take back what `show` did."""
        if self._to_index.pop(place, None) is None:
            self._to_unindex.append(place)
        self._shown[kind, town, audience] -= 1

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
