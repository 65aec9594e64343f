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
        self._dropped: int | None = None
        self._bytes: dict[str, int] = {}

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
        before = self._bytes_in("drawer")
        self._db.executemany(
            f"INSERT OR IGNORE INTO drawer (id, kind, doc, governs, expires, bytes, raw) VALUES ({marks(7)})",
            rows,
        )
        self._bytes["drawer"] = before + sum(row[5] for row in rows)
        if self._bytes["drawer"] > DRAWER_BYTES_MAX:
            self._make_room("drawer", DRAWER_BYTES_MAX)

    def draw_out(self, ids: Sequence[RecordId]) -> None:
        """Take records out of the drawer."""
        if ids and self._bytes_in("drawer"):
            self._db.executemany("DELETE FROM drawer WHERE id = ?", [(id,) for id in ids])
            del self._bytes["drawer"]

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
        before = self._bytes_in("parked")
        self._db.executemany(
            "INSERT INTO parked (id, town, device, kind, source, cause, governs, expires, bytes, raw)"
            f" VALUES ({marks(10)}) ON CONFLICT (id) DO UPDATE SET cause = excluded.cause",
            rows,
        )
        self._bytes["parked"] = before + sum(row[8] for row in rows)
        if source is not None:
            # By the oldest that this town has sent, so that it takes no room from what others sent.
            self._make_room("parked", PARKED_BYTES_MAX, "source = ?", source)
        if self._bytes_in("parked") > PARKED_BYTES_TOTAL_MAX:
            self._make_room("parked", PARKED_BYTES_TOTAL_MAX)

    def unpark(self, ids: Sequence[RecordId]) -> None:
        """Let go of these parked records."""
        if self._bytes_in("parked"):
            self._db.executemany("DELETE FROM parked WHERE id = ?", [(id,) for id in ids])
            del self._bytes["parked"]

    def _bytes_in(self, shelf: str) -> int:
        """Return the bytes of all that lies on a shelf."""
        if shelf not in self._bytes:
            sql = f"SELECT coalesce(sum(bytes), 0) FROM {shelf}"
            self._bytes[shelf] = self._db.execute(sql).fetchone()[0]
        return self._bytes[shelf]

    def _make_room(self, shelf: str, most: int, those: str = "TRUE", *values: bytes) -> None:
        """Let go of the oldest on a shelf, of all or of those that a condition names, if they are more bytes
        than they may be; and of a twentieth more, so that the next does not come here again."""
        sql = f"SELECT coalesce(sum(bytes), 0) FROM {shelf} WHERE {those}"
        excess = self._db.execute(sql, values).fetchone()[0] - most
        if excess > 0:
            excess += most // 20
            last = 0
            sql = f"SELECT number, bytes FROM {shelf} WHERE {those} ORDER BY number"
            for number, size in self._db.execute(sql, values):
                last = number
                excess -= size
                if excess <= 0:
                    break
            self._db.execute(f"DELETE FROM {shelf} WHERE {those} AND number <= ?", (*values, last))
        self._bytes.pop(shelf, None)

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
