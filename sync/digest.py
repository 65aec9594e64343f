"""The digest of a held set: equal digests mean equal sets, and no chosen records can make two unequal sets
agree.

LtHash (Bellare and Micciancio 1997; the 1,024 x 16 bit form of Lewi and others, "Securing Update
Propagation with Homomorphic Hashing", 2019): every id is expanded to 1,024 numbers of 16 bits, and the sum
of a set is, lane by lane, the sum of its members modulo 2^16. Sums do not depend on order, a member can be
taken out again, and two sums can be added or subtracted. A XOR of ids would fall to linear algebra and one
plain sum to Wagner's generalised birthday.

The exact bytes, which are part of the protocol:

* expansion of an id = SHAKE-128("hedgerow/lthash" || id), 2,048 bytes; lane i is bytes 2i and 2i + 1,
  little-endian;
* state = the 1,024 lane sums modulo 2^16, each little-endian, in order: 2,048 bytes, all zero for the empty
  set;
* digest = BLAKE2b with 16 bytes of output and the person "hedgerow/digest", of the state.

How it is fast without vectors: the 2,048 bytes are one Python integer, of which the even lanes are masked
out. Summing whole integers and even lanes apart needs no reduction for thousands of ids, as every even lane
then has 16 spare bits above it, and the odd lanes are what the whole sum has beyond the even one.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b, shake_128
from typing import Final

LANES: Final = 1024
"""Lanes of the sum; with 16 bits each, more than 200 bits of security (Lewi and others 2019)."""
STATE_BYTES: Final = 2 * LANES
"""Size of a state in bytes."""
DIGEST_BYTES: Final = 16
"""Size of a digest in bytes."""

# Copied for each id: a third of the cost of a new one.
_EXPANSION: Final = shake_128(b"hedgerow/lthash")
_DIGEST_PERSON: Final = b"hedgerow/digest"
_EVEN_LANES: Final = int.from_bytes(b"\xff\xff\0\0" * (LANES // 2), "little")
# Added before a reduction so that lanes which went below zero borrow nothing from their neighbours; it is a
# multiple of 2^16 in every lane, so it changes no result.
_BIAS: Final = int.from_bytes(b"\0\0\0\x80" * (LANES // 2), "little")
_PENDING_MAX: Final = 32_000
"""Ids summed before a reduction; 2^15 of them could reach the bias."""


class LtHash:
    """The sum of a set of whole 32-byte ids, to which ids are added and from which they are taken.

    It is a multiset sum and cannot know its members: adding an id twice counts it twice, and removing one
    that was
    never added is undone by adding it.
    """

    __slots__ = ("_even", "_pending", "_total")

    def __init__(self) -> None:
        self._total = 0
        self._even = 0
        self._pending = 0

    def add(self, record_id: bytes) -> None:
        """Add one id."""
        self._sum((record_id,), 1)

    def remove(self, record_id: bytes) -> None:
        """Take one id out, the exact inverse of `add`."""
        self._sum((record_id,), -1)

    def add_many(self, record_ids: Sequence[bytes]) -> None:
        """Add each of these ids."""
        self._sum(record_ids, 1)

    def remove_many(self, record_ids: Sequence[bytes]) -> None:
        """Take each of these ids out."""
        self._sum(record_ids, -1)

    def digest(self) -> bytes:
        """Give the 16 bytes that stand for this set on the wire."""
        return blake2b(self.to_bytes(), digest_size=DIGEST_BYTES, person=_DIGEST_PERSON).digest()

    @classmethod
    def of(cls, record_ids: Sequence[bytes]) -> LtHash:
        """Make the sum of these ids."""
        total = cls()
        total.add_many(record_ids)
        return total

    def copy(self) -> LtHash:
        """Give an independent sum of the same ids."""
        twin = LtHash()
        twin._total, twin._even, twin._pending = self._total, self._even, self._pending
        return twin

    def __add__(self, other: LtHash) -> LtHash:
        """Give the sum of both sets, as if all ids had been added to one."""
        self._reduce()
        other._reduce()
        both = LtHash()
        both._total, both._even = self._total + other._total, self._even + other._even
        both._reduce()
        return both

    def __sub__(self, other: LtHash) -> LtHash:
        """Give this sum with every id of the other taken out."""
        self._reduce()
        other._reduce()
        rest = LtHash()
        rest._total, rest._even = self._total - other._total, self._even - other._even
        rest._reduce()
        return rest

    def __eq__(self, other: object) -> bool:
        """Say whether both sums are the same, lane by lane."""
        if not isinstance(other, LtHash):
            return NotImplemented
        return self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # it changes, so it must not be a key of a dict

    def to_bytes(self) -> bytes:
        """Give the 2,048 bytes of the state: 1,024 lane sums, little-endian, in order."""
        self._reduce()
        return self._total.to_bytes(STATE_BYTES, "little")

    @classmethod
    def from_bytes(cls, state: bytes) -> LtHash:
        """Make the sum whose state these 2,048 bytes are.

        Raises:
            ValueError: the state has another size.
        """
        if len(state) != STATE_BYTES:
            raise ValueError(f"a digest state has {STATE_BYTES} bytes, not {len(state)}")
        restored = cls()
        restored._total = int.from_bytes(state, "little")
        restored._even = restored._total & _EVEN_LANES
        return restored

    def _sum(self, record_ids: Sequence[bytes], sign: int) -> None:
        """Add ids (sign 1), or take them out (sign -1)."""
        for start in range(0, len(record_ids), _PENDING_MAX):
            part = record_ids[start : start + _PENDING_MAX]
            if self._pending + len(part) > _PENDING_MAX:
                self._reduce()
            total = even = 0
            for record_id in part:
                expansion = _EXPANSION.copy()
                expansion.update(record_id)
                lanes = int.from_bytes(expansion.digest(STATE_BYTES), "little")
                total += lanes
                even += lanes & _EVEN_LANES
            self._total += sign * total
            self._even += sign * even
            self._pending += len(part)

    def _reduce(self) -> None:
        """Bring every lane back below 2^16; the meaning of the sum stays."""
        odd = (self._total - self._even) >> 16
        even = (self._even + _BIAS) & _EVEN_LANES
        odd = (odd + _BIAS) & _EVEN_LANES
        self._even = even
        self._total = odd << 16 | even
        self._pending = 0
