"""The names of things: typed bytes, lanes, operations, and the address that people say.

An address is the first 50 bits of a document's id as 10 characters of Crockford's base32, and a check
character that finds every single wrong character and every swap of two neighbours: the weighted sum of
the characters over GF(32) with the weights a, a^2, ..., a^10, where a is a root of x^5 + x^2 + 1.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from typing import Final, NewType, TypeAlias

from protocol.errors import InvalidAddress

TownId = NewType("TownId", bytes)
"""A town: its public Ed25519 key, 32 bytes."""
DeviceId = NewType("DeviceId", bytes)
"""A device: its public Ed25519 key, 32 bytes."""
RecordId = NewType("RecordId", bytes)
"""A record: the hash of its header, 32 bytes."""
DocId = NewType("DocId", bytes)
"""A document: the hash of what all its records share, 16 bytes."""
FederationId = NewType("FederationId", bytes)
"""A federation: the first 16 bytes of its charter's record id; or the `home_id` of a town."""


class Lane(IntEnum):
    """The urgency class of a record inside a federation, and the unit of reconciliation."""

    URGENT = 0
    EVERYDAY = 1
    LIBRARY = 2


class Op(IntEnum):
    """What a record does to its document."""

    PUT = 0
    DELETE = 1
    ENTRY = 2


LaneKey: TypeAlias = tuple[FederationId, Lane]
"""One held set: a federation (or home) and a lane of it."""

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base32: no I, L, O or U."""
ADDRESS_CHARS: Final = 11
"""Ten characters of the document's id and one that checks them."""

_VALUE: Final = {character: index for index, character in enumerate(ALPHABET)}
_FORGIVEN: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


def home_id(town: TownId) -> FederationId:
    """Return the name under which a town's home set is kept and reconciled between its own devices."""
    return FederationId(blake2b(town, digest_size=16, person=b"hedgerow/home").digest())


def address(doc: DocId) -> str:
    """Return the 11 characters of a document's address, without hyphens."""
    bits = int.from_bytes(doc[:7], "big") >> 6
    values = [bits >> shift & 31 for shift in range(45, -1, -5)]
    return "".join(ALPHABET[value] for value in values) + ALPHABET[_check_value(values)]


def show_address(text: str) -> str:
    """Return an address as it is printed: `K7PQ-42XW-9TB`."""
    return f"{text[:4]}-{text[4:8]}-{text[8:]}"


def parse_address(text: str) -> str:
    """Return the 11 plain characters of an address that a person typed.

    Small letters, spaces, hyphens, O for 0, and I or L for 1 are forgiven.

    Raises:
        InvalidAddress: Another length or letter, or a check character that does not fit.
    """
    plain = text.strip().upper().translate(_FORGIVEN)
    if len(plain) != ADDRESS_CHARS or any(character not in _VALUE for character in plain):
        raise InvalidAddress("that is not an address: it has 11 letters and digits, like K7PQ-42XW-9TB")
    values = [_VALUE[character] for character in plain]
    if _check_value(values[:-1]) != values[-1]:
        raise InvalidAddress("that address has a slip in it: its last character does not fit the others")
    return plain


def address_range(plain: str) -> tuple[DocId, DocId]:
    """Return the least and the greatest document id that have this address."""
    bits = 0
    for character in plain[:10]:
        bits = bits << 5 | _VALUE[character]
    low = bits << 78
    return DocId(low.to_bytes(16, "big")), DocId((low | (1 << 78) - 1).to_bytes(16, "big"))


def _check_value(values: list[int]) -> int:
    total = 0
    for products, value in zip(_PRODUCTS, values, strict=True):
        total ^= products[value]
    return total


def _times(left: int, right: int) -> int:
    """Multiply in GF(32) modulo x^5 + x^2 + 1."""
    product = 0
    while right:
        if right & 1:
            product ^= left
        left <<= 1
        if left & 32:
            left ^= 0b100101
        right >>= 1
    return product


def _weigh() -> tuple[tuple[int, ...], ...]:
    """Return the product of each character with the weight of each place; pages show many addresses."""
    products = []
    weight = 1
    for _ in range(ADDRESS_CHARS - 1):
        weight = _times(weight, 2)
        products.append(tuple(_times(weight, value) for value in range(32)))
    return tuple(products)


_PRODUCTS: Final = _weigh()
