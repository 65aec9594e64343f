"""The sketch of a held set: coded symbols (cells) from which two nodes find their difference.

Rateless invertible Bloom lookup tables, after Yang, Gilad and Alizadeh, "Practical Rateless Set
Reconciliation" (SIGCOMM 2024). Every id falls into cell 0 and then into ever rarer later cells: into cell i
with a chance near 1 / (1 + i/2). A cell is the sum of what fell into it. My cells minus the peer's are the
cells of our difference alone, since what both hold cancels, so about 1.35 cells for each differing id are
enough, however large the sets are. A difference cell that holds one id shows it; taking that id out of its
other cells bares more of them, until all are empty. Whoever sends cells goes on along one endless stream,
the same for every peer, until the other has enough.

The exact numbers, which are part of the protocol:

* short id = the first 8 bytes of the id;
* expansion of a short id = BLAKE2b with 64 bytes of output and the person "hedgerow/cells", of its 8 bytes.
  The first 4 bytes are its checksum; the other 60 are its 30 draws, each 16 bits, little-endian;
* its cells: index 0, and then one more for each draw r in turn:
  ``index += ceil((index + 1.5) * (256 / sqrt(r + 0.5) - 1))``
  in IEEE 754 doubles, to nearest, each operation rounded alone (none of them can be fused);
  an id thus falls into at most 31 cells;
* mark of an id = the byte 1, the short id, the checksum: 13 bytes, read as a big-endian number. A cell is the
  sum of the marks in it modulo 2^104, and goes on the wire as 13 bytes, big-endian: a count modulo 256, a sum
  of short ids, a sum of checksums.

The *keyed* form, for records that were chosen to stall the plain one: short id = BLAKE2b of the whole id with
8 bytes of output, the salt as key and the person "hedgerow/short"; its expansion has the salt as key too.

The published form keeps XORs and a count apart; one sum modulo 2^104 carries the same, costs one addition
instead of two operations, and two ids with equal short ids do not cancel in it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from enum import Enum
from functools import cache
from hashlib import blake2b
from math import ceil, sqrt
from struct import Struct
from typing import Final

from protocol.limits import CELL_BYTES, CELLS_FIRST, CELLS_KEPT, SHORT_ID_BYTES

CELLS_PART_MIN: Final = 16
"""Fewest cells that are sent at once after the first ones."""
DIFFERENCE_MAX: Final = 11_500
"""Largest estimate for which the kept cells are enough, with a part ahead of what it asks for."""
BUCKETS: Final = 256
"""Ids are counted, and in a retry compared, by their first byte."""
CHECKSUM_BYTES: Final = 4
"""Size in bytes of what tells a cell of one id from a cell of several."""
SALT_BYTES: Final = 32
"""Size of the salt of the keyed form in bytes: 16 from each side."""

_ONE: Final = b"\x01"
"""The count that a mark carries."""
_COUNT_SHIFT: Final = 8 * (CELL_BYTES - 1)
_CELL_MASK: Final = (1 << 8 * CELL_BYTES) - 1
_PERHAPS_BARE: Final = (1, 254, 255)
"""Counts of one mark, and of its negative, from which the lower bytes borrow unless they are zero."""
_draws = Struct("<30H").unpack_from


class Outcome(Enum):
    """What a decoder knows after the cells that it has taken."""

    MORE = "more"
    DECODED = "decoded"
    LIE = "lie"


class Coding:
    """How ids become marks and fall into cells: plain, or keyed by a salt that nobody knew beforehand."""

    __slots__ = ("_expansion", "_key")

    def __init__(self, salt: bytes = b"") -> None:
        if salt and len(salt) != SALT_BYTES:
            raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
        self._key = salt
        # Copied for each short id: half the cost of keying it anew.
        self._expansion = blake2b(key=salt, person=b"hedgerow/cells")

    def short(self, record_id: bytes) -> bytes:
        """Give the 8 bytes that stand for a whole id."""
        if not self._key:
            return record_id[:SHORT_ID_BYTES]
        return blake2b(
            record_id, digest_size=SHORT_ID_BYTES, key=self._key, person=b"hedgerow/short"
        ).digest()

    def expand(self, short: bytes) -> bytes:
        """Give the 64 bytes that say how a short id is checked and where it falls."""
        expansion = self._expansion.copy()
        expansion.update(short)
        return expansion.digest()

    def indices(self, expansion: bytes, cell_count: int) -> list[int]:
        """Give the cells below `cell_count` that the short id of this expansion falls into, ascending."""
        reaches = _reaches()
        found = [0]
        index = 0
        for draw in _draws(expansion, CHECKSUM_BYTES):
            index += ceil((index + 1.5) * reaches[draw])
            if index >= cell_count:
                break
            found.append(index)
        return found

    def pour(self, cells: list[int], shorts: Iterable[bytes], sign: int) -> None:
        """Add (sign 1) or take out (sign -1) short ids in all of these cells."""
        # Run for every record of every set, so `indices` is repeated here with the sums inside its loop.
        reaches = _reaches()
        cell_count = len(cells)
        for short in shorts:
            expansion = self.expand(short)
            mark = sign * int.from_bytes(_ONE + short + expansion[:CHECKSUM_BYTES], "big")
            cells[0] += mark
            index = 0
            for draw in _draws(expansion, CHECKSUM_BYTES):
                index += ceil((index + 1.5) * reaches[draw])
                if index >= cell_count:
                    break
                cells[index] += mark


@cache
def _reaches() -> array[float]:
    """Give, for each draw, how far it leaps as a share of where it starts; made when first needed."""
    return array("d", [256.0 / sqrt(draw + 0.5) - 1.0 for draw in range(1 << 16)])


PLAIN: Final = Coding()
"""The coding of the cells that are kept: no salt."""


def sketch_of(shorts: Iterable[bytes], coding: Coding, cell_count: int) -> list[int]:
    """Make the first `cell_count` cells of these short ids of that coding."""
    cells = [0] * cell_count
    coding.pour(cells, shorts, 1)
    return cells


def cells_to_bytes(cells: Iterable[int]) -> bytes:
    """Give cells as they go on the wire, 13 bytes each."""
    return b"".join([(cell & _CELL_MASK).to_bytes(CELL_BYTES, "big") for cell in cells])


def cells_from_bytes(data: bytes) -> list[int]:
    """Read cells from the wire.

    Raises:
        ValueError: the size is no multiple of 13.
    """
    if len(data) % CELL_BYTES:
        raise ValueError(f"cells have {CELL_BYTES} bytes each: {len(data)} is no multiple of it")
    read = int.from_bytes
    return [read(data[start : start + CELL_BYTES], "big") for start in range(0, len(data), CELL_BYTES)]


class Decoder:
    """Finds the difference of two sets from my cells and the peer's, which arrive in parts.

    Args:
        mine: my cells, as many as may ever be compared; they are copied.
        coding: the coding of both sides' cells.
        remembered_mine: short ids known from an earlier meeting to be held by me alone.
        remembered_theirs: the same, held by the peer alone. A remembered difference is taken out before
            peeling; one
            that has ceased to be is found out and left out of the result.

    Whatever the peer sends, no more ids are peeled than cells were taken, each at most once, so the work is
    bounded by
    31 cell changes for each cell taken.
    """

    __slots__ = ("_coding", "_found", "_outcome", "_remembered", "_rest", "_taken")

    def __init__(
        self,
        mine: Sequence[int],
        coding: Coding = PLAIN,
        remembered_mine: Iterable[bytes] = (),
        remembered_theirs: Iterable[bytes] = (),
    ) -> None:
        # All of my cells, less every id that is already known to differ, and less the peer's cells as far
        # as they came.
        self._rest = list(mine)
        self._coding = coding
        self._taken = 0
        self._found: dict[bytes, int] = {}
        self._remembered = dict.fromkeys(remembered_mine, 1) | dict.fromkeys(remembered_theirs, -1)
        self._outcome = Outcome.MORE
        for short, sign in self._remembered.items():
            coding.pour(self._rest, (short,), -sign)

    @property
    def taken(self) -> int:
        """How many of the peer's cells have been taken."""
        return self._taken

    @property
    def only_mine(self) -> list[bytes]:
        """Short ids that I hold and the peer does not; the whole difference once decoded."""
        return self._with_sign(1)

    @property
    def only_theirs(self) -> list[bytes]:
        """Short ids that the peer holds and I do not; the whole difference once decoded."""
        return self._with_sign(-1)

    def take(self, cells: Sequence[int]) -> Outcome:
        """Take the peer's next cells and peel as far as they lead.

        Returns:
            DECODED when the difference is found whole, MORE when further cells are needed, LIE when no two
            sets have
            these cells. A LIE is final, and nothing that was found then is to be believed.

        Raises:
            ValueError: the cells go beyond mine; whoever asks for cells bounds them.
        """
        start = self._taken
        if start + len(cells) > len(self._rest):
            raise ValueError(f"cell {start + len(cells)} is beyond my {len(self._rest)}")
        if self._outcome is Outcome.LIE:
            return Outcome.LIE
        rest = self._rest
        for index, cell in enumerate(cells, start):
            rest[index] = (rest[index] - cell) & _CELL_MASK
        self._taken = start + len(cells)
        self._outcome = self._peel(list(range(start, self._taken)))
        return self._outcome

    def _peel(self, bare: list[int]) -> Outcome:
        """Take out the ids of cells that hold a single one, and of those which that bares, until none is
        left."""
        while bare:
            index = bare.pop()
            cell = self._rest[index]
            sign = 1
            if cell >> _COUNT_SHIFT != 1:
                cell = -cell & _CELL_MASK
                sign = -1
                if cell >> _COUNT_SHIFT != 1:
                    continue
            mark = cell.to_bytes(CELL_BYTES, "big")
            short = mark[1:-CHECKSUM_BYTES]
            expansion = self._coding.expand(short)
            if not expansion.startswith(mark[-CHECKSUM_BYTES:]):
                continue
            indices = self._coding.indices(expansion, len(self._rest))
            if index not in indices:
                continue
            if not self._believe(short, sign):
                return Outcome.LIE
            self._take_out(sign * cell, indices, bare)
        if self._taken and self._rest[0] == 0 and not any(self._rest[: self._taken]):
            return Outcome.DECODED
        return Outcome.MORE

    def _take_out(self, mark: int, indices: list[int], bare: list[int]) -> None:
        rest = self._rest
        taken = self._taken
        for index in indices:
            cell = rest[index] = (rest[index] - mark) & _CELL_MASK
            if index < taken and cell >> _COUNT_SHIFT in _PERHAPS_BARE:
                bare.append(index)

    def _believe(self, short: bytes, sign: int) -> bool:
        """Note a peeled id; False when no honest difference can show it."""
        if short in self._found or len(self._found) >= self._taken:
            return False
        remembered = self._remembered.pop(short, 0)
        if remembered == sign:
            return False
        # An id peeled against what was remembered of it is no difference any more.
        self._found[short] = 0 if remembered else sign
        return True

    def _with_sign(self, sign: int) -> list[bytes]:
        found = [short for short, side in self._found.items() if side == sign]
        return found + [short for short, side in self._remembered.items() if side == sign]


def estimate(my_counts: bytes, my_count: int, their_counts: bytes, their_count: int) -> int:
    """Estimate how many ids differ, from how many of each first byte (modulo 256) the two sets hold.

    Each differing id moves one of 256 counts by one, up or down, so the squared differences add up to their
    number,
    once the share that follows from unequal totals is taken off. The standard error is 9 %.
    """
    total = my_count - their_count
    middle = round(total / BUCKETS)
    squares = 0
    for mine, theirs in zip(my_counts, their_counts, strict=True):
        # Counts are modulo 256; the true difference is the one within 128 of the middle.
        apart = (mine - theirs - middle + 128) % 256 - 128 + middle
        squares += apart * apart
    guess = squares - total * total // BUCKETS
    return max(abs(total), min(guess, my_count + their_count))


def cells_for(difference: int) -> int:
    """Say how many cells to send in all when the first ones were not enough, for an estimated difference.

    With one part ahead, 1.4 of it decode in one go three times in four; 1.32 would save a fiftieth of the
    bytes and cost a round trip more.
    """
    least = CELLS_FIRST + CELLS_PART_MIN
    return max(least, min(CELLS_KEPT, -(-difference * 7 // 5)))


def next_part(sent: int) -> int:
    """Say how many cells to send next when `sent` were not enough: a twentieth, within the kept ones."""
    return min(max(CELLS_PART_MIN, sent // 20), CELLS_KEPT - sent)


def bucket_hash(record_ids: Iterable[bytes]) -> bytes:
    """Hash the whole ids of one first byte, in any order given: 16 bytes."""
    return blake2b(b"".join(sorted(record_ids)), digest_size=16, person=b"hedgerow/bucket").digest()
