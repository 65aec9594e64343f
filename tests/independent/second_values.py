"""Section 1 of the protocol, read a second time: values, their one encoding, and the hash.

It is its own reader and writer of MessagePack, so that a fault of a library cannot hide on both sides.
"""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Any

DEPTH = 8


class Refused(Exception):
    """The rule that a record breaks; `code` names it, `now_only` if it may be good another day."""

    def __init__(self, code: str, says: str = "", now_only: bool = False) -> None:
        super().__init__(f"{code}: {says}" if says else code)
        self.code, self.now_only = code, now_only


class Reader:
    """Reads one value from its one encoding; anything else is refused where it stands."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if self.at + count > len(self.data):
            raise Refused("encoding", "ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, width: int, least: int) -> int:
        """An unsigned number of `width` bytes that no shorter form could hold."""
        value = int.from_bytes(self.take(width), "big")
        if value < least:
            raise Refused("encoding", "a longer form than needed")
        return value

    def value(self, depth: int = 0) -> Any:
        """One value; `depth` counts the lists and maps around it."""
        tag = self.take(1)[0]
        if tag < 0x80:
            return tag
        if tag >= 0xE0:
            return tag - 256
        if tag in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[tag]
        if 0xCC <= tag <= 0xCF:
            width = 1 << (tag - 0xCC)
            return self.number(width, 128 if width == 1 else 1 << (4 * width))
        if 0xD0 <= tag <= 0xD3:
            return self.negative(1 << (tag - 0xD0))
        if 0xC4 <= tag <= 0xC6:
            return self.take(self.number(1 << (tag - 0xC4), (0, 1 << 8, 1 << 16)[tag - 0xC4]))
        if tag >> 5 == 0b101 or 0xD9 <= tag <= 0xDB:
            short = tag & 31 if tag < 0xC0 else None
            return self.text(
                self.number(1 << (tag - 0xD9), (32, 1 << 8, 1 << 16)[tag - 0xD9]) if short is None else short
            )
        if tag >> 4 == 9 or tag in (0xDC, 0xDD):
            return self.list(self.count(tag, 0xDC), depth + 1)
        if tag >> 4 == 8 or tag in (0xDE, 0xDF):
            return self.map(self.count(tag, 0xDE), depth + 1)
        raise Refused("encoding", f"byte {tag:02x}: a float, an extension or nothing known")

    def negative(self, width: int) -> int:
        """A number below zero; 0 and above take the unsigned forms."""
        value = int.from_bytes(self.take(width), "big", signed=True)
        if value >= (-32 if width == 1 else -(1 << (4 * width - 1))):
            raise Refused("encoding", "a longer form than needed, or signed and not negative")
        return value

    def count(self, tag: int, wide: int) -> int:
        """The number of parts of a list or map."""
        return tag & 15 if tag < wide else self.number(*((2, 16) if tag == wide else (4, 1 << 16)))

    def text(self, length: int) -> str:
        """Text in UTF-8 and normal form C."""
        try:
            text = self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("encoding", "not UTF-8") from None
        if unicodedata.normalize("NFC", text) != text:
            raise Refused("encoding", "not in normal form C")
        return text

    def list(self, count: int, depth: int) -> list[Any]:
        """A list."""
        if depth > DEPTH:
            raise Refused("encoding", "too deep")
        return [self.value(depth) for _ in range(count)]

    def map(self, count: int, depth: int) -> dict[str, Any]:
        """A map with ascending keys."""
        if depth > DEPTH:
            raise Refused("encoding", "too deep")
        found: dict[str, Any] = {}
        last = b""
        for place in range(count):
            key = self.value(depth)
            if not isinstance(key, str) or (place and key.encode() <= last):
                raise Refused("encoding", "a key that is no text, or out of order, or there twice")
            last, found[key] = key.encode(), self.value(depth)
        return found


def decode(data: bytes) -> Any:
    """The value that these bytes encode, all of them."""
    reader = Reader(data)
    value = reader.value()
    if reader.at != len(data):
        raise Refused("encoding", "bytes after the end")
    return value


def encode(value: Any) -> bytes:
    """The one encoding of a value."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        if -32 <= value < 128:
            return (value & 255).to_bytes(1, "big")
        tag, reach = (0xCC, 8) if value >= 0 else (0xD0, 7)
        index = next(i for i in range(4) if -(1 << (8 << i) - 1) <= value < 1 << (reach + (8 << i) - 8))
        return bytes([tag + index]) + value.to_bytes(1 << index, "big", signed=value < 0)
    if isinstance(value, bytes):
        return head(len(value), None, 0, (0xC4, 0xC5, 0xC6)) + value
    if isinstance(value, str):
        raw = unicodedata.normalize("NFC", value).encode()
        return head(len(raw), 0xA0, 32, (0xD9, 0xDA, 0xDB)) + raw
    if isinstance(value, list):
        return head(len(value), 0x90, 16, (None, 0xDC, 0xDD)) + b"".join(map(encode, value))
    parts = sorted((key.encode(), encode(key) + encode(each)) for key, each in value.items())
    return head(len(parts), 0x80, 16, (None, 0xDE, 0xDF)) + b"".join(part for _, part in parts)


def head(length: int, fix: int | None, below: int, tags: tuple[int | None, int, int]) -> bytes:
    """The shortest head of text, bytes, a list or a map of this length."""
    if fix is not None and length < below:
        return bytes([fix + length])
    index, tag = next((i, t) for i, t in enumerate(tags) if t is not None and length < 1 << (8 << i))
    return bytes([tag]) + length.to_bytes(1 << index, "big")


def blake(size: int, person: str, data: bytes) -> bytes:
    """H of the text."""
    return hashlib.blake2b(data, digest_size=size, person=person.encode()).digest()
