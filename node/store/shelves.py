"""What a store keeps of records that it does not hold: drops that it remembers, what waits, and the drawer.

A shelf has a bound, in records or in bytes, so that no outsider can fill the disk by it; what was put there
first is let go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from node.store.listing import DocumentReads
from node.store.records import marks
from protocol.ids import RecordId, TownId
from protocol.record import Record
from sync.admission import SUPERSEDED
from sync.authority import AUTHORITY_KINDS

if TYPE_CHECKING:
    import sqlite3

DROPPED_MAX: Final = 200_000
"""Remembered drops, about 30 MB; the oldest are forgotten first, and would be judged once more."""
DROPPED_KEPT_S: Final = 30 * 86_400
"""How long a drop is remembered after its record would have ended anyway."""
KEPT_S: Final = 30 * 86_400
"""How long is kept what authority ceased to hold, and what the own town superseded: 30 days of sure time."""
DRAWER_BYTES_MAX: Final = 64 * 1_048_576
"""All that lies in the drawer: tens of thousands of posts that were edited or withdrawn."""
PARKED_BYTES_MAX: Final = 4 * 1_048_576
"""Parked records that one town sent."""
PARKED_BYTES_TOTAL_MAX: Final = 64 * 1_048_576
"""All parked records, whoever sent them: sixteen times what one peer may have waiting."""


class Shelves(DocumentReads):
    """The part of a writer's turn that keeps what is not held; sizes are remembered between turns."""

    def __init__(self, connection: sqlite3.Connection, own_town: TownId) -> None:
        super().__init__(connection, own_town)
        self.forget_sizes()

    def forget_sizes(self) -> None:
        """Let go of how much lies on each shelf; it is counted again when it is needed."""
        self._parked_bytes: int | None = None
        self._dropped: int | None = None
        self._drawer_bytes: int | None = None

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

    def tidy(self, now_s: int) -> None:
        """Forget drops whose records have long ended, and what has waited or lain in the drawer for long."""
        self._db.execute("DELETE FROM dropped WHERE expires <= ?", (now_s - DROPPED_KEPT_S,))
        for table in ("parked", "drawer"):
            self._db.execute(f"UPDATE {table} SET since = ? WHERE since IS NULL", (now_s,))
            self._db.execute(f"DELETE FROM {table} WHERE since <= ?", (now_s - KEPT_S,))
        self._db.execute("DELETE FROM drawer WHERE expires <= ?", (now_s,))
        self.forget_sizes()
