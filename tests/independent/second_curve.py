"""Section 2 of the protocol read a second time: which town key follows which, by plain integers."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import Any

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
SUCCESSORS = 7
Point = tuple[int, int]
ZERO: Point = (0, 1)


def add(one: Point, other: Point) -> Point:
    """The sum of two points."""
    (a, b), (c, d) = one, other
    e = D * a * b * c * d % P
    return (a * d + b * c) * pow(1 + e, -1, P) % P, (b * d + a * c) * pow(1 - e, -1, P) % P


def times(number: int, point: Point) -> Point:
    """A multiple of a point."""
    total = ZERO
    while number:
        if number & 1:
            total = add(total, point)
        point = add(point, point)
        number >>= 1
    return total


def decoded(data: bytes) -> Point | None:
    """The point of these 32 bytes, if they are its one encoding."""
    number = int.from_bytes(data, "little")
    y, odd = number & (1 << 255) - 1, number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT_OF_MINUS_ONE % P
    if y >= P or x * x % P != square or (not x and odd):
        return None
    return (x if x & 1 == odd else P - x, y)


def encoded(point: Point) -> bytes:
    """The 32 bytes of a point."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


BASE = decoded((4 * pow(5, -1, P) % P).to_bytes(32, "little")) or ZERO


def digest(size: int, person: str, data: bytes) -> bytes:
    """H of the protocol."""
    return blake2b(data, digest_size=size, person=person.encode()).digest()


@cache
def follows(key: bytes, inner: bytes, successor: bytes) -> bool:
    """Whether a key follows to a successor by this inner point."""
    point = decoded(inner)
    if point is None or point == ZERO or times(ORDER, point) != ZERO:
        return False
    hashed = digest(64, "hedgerow/commit", inner + digest(16, "hedgerow/next", successor))
    tweak = int.from_bytes(hashed, "little") % ORDER
    return encoded(add(point, times(tweak, BASE))) == key


def generation(town: bytes, key: bytes, proof: Any) -> int:
    """The generation of a key that a proof of succession shows; 0 if it shows none."""
    if not isinstance(proof, list) or len(proof) % 2 == 0 or len(proof) > 2 * SUCCESSORS - 1:
        return 0
    if not all(isinstance(each, bytes) and len(each) == 32 for each in proof):
        return 0
    steps = [town, *proof, key]
    held = all(follows(*steps[place : place + 3]) for place in range(0, len(proof), 2))
    return (len(proof) + 1) // 2 if held else 0
