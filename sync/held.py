"""A held set: what a node keeps in memory of the ids that it holds in one (federation, lane).

It knows how many there are, their digest, their first cells and how many begin with each byte, all brought
forward with every change, and the number of the last change that it contains, so that a copy on disk can be
brought forward at start. The ids themselves are in the store alone: a set takes about a megabyte, whatever
its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from protocol.limits import CELL_BYTES, CELLS_KEPT
from sync.digest import STATE_BYTES, LtHash
from sync.sketch import BUCKETS, PLAIN, cells_from_bytes, cells_to_bytes

_FORMAT: Final = 1
_FRONT: Final = Struct(">BQQ")
"""Format, count, change."""
HELD_BYTES: Final = _FRONT.size + STATE_BYTES + BUCKETS + CELLS_KEPT * CELL_BYTES
"""Size of a saved held set in bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A held set at one moment, which no later change touches: what one meeting speaks about.

    Attributes:
        count: how many ids are held.
        change: number of the last change in it.
        counts: how many ids begin with each byte, modulo 256: 256 bytes.
        cells: the first 16,384 cells; to be read only.
        lthash: the sum of the ids; to be read only (`copy` it, or add and subtract).
        digest: its 16 bytes.
    """

    count: int
    change: int
    counts: bytes
    cells: Sequence[int]
    lthash: LtHash
    digest: bytes


class HeldSet:
    """The digest, cells and counts of the ids held in one (federation, lane).

    Whoever adds knows that the id was not held, and whoever removes, that it was: the store does.
    """

    __slots__ = ("_cells", "_counts", "_digest", "_lthash", "_snapshot", "change", "count")

    def __init__(self) -> None:
        self.count = 0
        self.change = 0
        self._lthash = LtHash()
        self._counts = bytearray(BUCKETS)
        self._cells = [0] * CELLS_KEPT
        self._digest: bytes | None = None
        self._snapshot: Snapshot | None = None

    def add(self, record_id: bytes, change: int) -> None:
        """Add one id; `change` is the number of the change that brought it."""
        self.add_many((record_id,), change)

    def remove(self, record_id: bytes, change: int) -> None:
        """Remove one id; `change` is the number of the change that removed it."""
        self.remove_many((record_id,), change)

    def add_many(self, record_ids: Sequence[bytes], change: int) -> None:
        """Add ids that were not held."""
        self._begin(change)
        self._lthash.add_many(record_ids)
        self._tally(record_ids, 1)

    def remove_many(self, record_ids: Sequence[bytes], change: int) -> None:
        """Remove ids that were held."""
        self._begin(change)
        self._lthash.remove_many(record_ids)
        self._tally(record_ids, -1)

    def digest(self) -> bytes:
        """Give the 16 bytes that stand for the set; remembered until the next change."""
        if self._digest is None:
            self._digest = self._lthash.digest()
        return self._digest

    def snapshot(self) -> Snapshot:
        """Give the set as it is now; cheap, and shared until the next change."""
        if self._snapshot is None:
            self._snapshot = Snapshot(
                count=self.count,
                change=self.change,
                counts=bytes(self._counts),
                cells=self._cells,
                lthash=self._lthash.copy(),
                digest=self.digest(),
            )
        return self._snapshot

    def to_bytes(self) -> bytes:
        """Give the set as it is saved: `HELD_BYTES` bytes."""
        front = _FRONT.pack(_FORMAT, self.count, self.change)
        return front + self._lthash.to_bytes() + bytes(self._counts) + cells_to_bytes(self._cells)

    @classmethod
    def from_bytes(cls, data: bytes) -> HeldSet:
        """Restore a saved set.

        Raises:
            ValueError: these are not the bytes of a saved set; it can be made again from the ids.
        """
        if len(data) != HELD_BYTES or data[0] != _FORMAT:
            raise ValueError("not a saved held set of this version")
        held = cls()
        _, held.count, held.change = _FRONT.unpack_from(data)
        state_end = _FRONT.size + STATE_BYTES
        held._lthash = LtHash.from_bytes(data[_FRONT.size : state_end])
        held._counts = bytearray(data[state_end : state_end + BUCKETS])
        held._cells = cells_from_bytes(data[state_end + BUCKETS :])
        return held

    @classmethod
    def of(cls, record_ids: Iterable[bytes], change: int = 0) -> HeldSet:
        """Make the set of these distinct ids."""
        held = cls()
        held.add_many(list(record_ids), change)
        return held

    def _begin(self, change: int) -> None:
        """Note a change, and leave the cells to a snapshot that shares them."""
        self.change = change
        self._digest = None
        if self._snapshot is not None:
            self._cells = self._cells.copy()
            self._snapshot = None

    def _tally(self, record_ids: Sequence[bytes], sign: int) -> None:
        self.count += sign * len(record_ids)
        counts = self._counts
        for record_id in record_ids:
            counts[record_id[0]] = (counts[record_id[0]] + sign) & 255
        PLAIN.pour(self._cells, [record_id[:8] for record_id in record_ids], sign)
