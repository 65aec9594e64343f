"""The canonical form of every value that is signed or sent; the only module that touches MessagePack.

MessagePack with one encoding for each value: shortest integers, strings valid UTF-8 in NFC, maps with string
keys in ascending order of their UTF-8 bytes, no key twice, no floats, no extension types, nesting at most
`DEPTH_MAX`. What is decoded is encoded again and must be the same bytes: so two encodings of one value,
and with them two ids of one statement, cannot exist.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from protocol.errors import LimitExceeded, MalformedRecord
from protocol.limits import DEPTH_MAX

Value: TypeAlias = "bool | int | str | bytes | list[Value] | dict[str, Value] | None"
"""What a body or a frame may hold."""
T = TypeVar("T")

_pack: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_unpack: Final = msgspec.msgpack.Decoder().decode
_NESTING: Final = (dict, list, tuple)
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, OverflowError, RecursionError, TypeError)
"""What the library raises on bytes that are no MessagePack, or have not the shape that is asked for."""


def encode(value: Value) -> bytes:
    """Return the canonical bytes of a value; map keys are put in order here.

    Raises:
        MalformedRecord: A float, an unnormalised string, a key that is no string, an integer beyond 64 bits.
    """
    _check(value, 0)
    try:
        return _pack(value)
    except (OverflowError, ValueError, TypeError) as error:
        raise MalformedRecord(f"a value cannot be encoded: {error}") from None


def encode_list(items: list[Any]) -> bytes:
    """Return the canonical bytes of a list of bytes, integers, ASCII text, None and lists of these.

    The fast way for what is made of checked parts: it looks at nothing.
    """
    return _pack(items)


def decode(data: bytes, *, bytes_max: int) -> Value:
    """Return the value of canonical bytes.

    Raises:
        LimitExceeded: More than `bytes_max` bytes.
        MalformedRecord: Anything but the canonical form.
    """
    value: Value = _read(data, bytes_max)
    _check(value, 0)
    _same(value, data)
    return value


def decode_list(data: bytes, *, bytes_max: int) -> list[Any]:
    """Return a list whose items the caller checks one by one: the fast way for headers and records.

    The bytes are the shortest form, but floats, maps and unnormalised strings are *not* refused here: a
    caller must accept only items whose exact type it tests (bytes, int, an ASCII name, lists of these).

    Raises:
        LimitExceeded: More than `bytes_max` bytes.
        MalformedRecord: Not a list, or not the shortest form.
    """
    value = _read(data, bytes_max)
    if type(value) is not list:
        raise MalformedRecord("expected a list")
    _same(value, data)
    return value


class Shape(Generic[T]):
    """Reads lists of one shape at once, and in their shortest form only: for what every record passes.

    Args:
        shape: A tuple type, or a struct that is written as a list, with the bounds of its parts, as msgspec
            has them. With more than bytes, integers, ASCII text and tuples of these in it, the bytes may be
            another form than the canonical one.
    """

    def __init__(self, shape: Any) -> None:
        self._read: Callable[[bytes], T] = msgspec.msgpack.Decoder(shape).decode

    def read(self, data: bytes) -> T | None:
        """Return the parts; None if anything is not as it should be, and `decode_list` may tell what."""
        try:
            parts = self._read(data)
        except _UNREADABLE:
            return None
        return parts if _pack(parts) == data else None


def _read(data: bytes, bytes_max: int) -> Any:
    if len(data) > bytes_max:
        raise LimitExceeded(f"{len(data)} bytes; at most {bytes_max} are allowed")
    try:
        return _unpack(data)
    except _UNREADABLE as error:
        # The library's own errors may quote the data; only their class is safe to repeat.
        raise MalformedRecord(f"not MessagePack: {type(error).__name__}") from None


def _same(value: Any, data: bytes) -> None:
    try:
        again = _pack(value)
    except (OverflowError, ValueError, TypeError):
        raise MalformedRecord("not the canonical form") from None
    if again != data:
        raise MalformedRecord("not the canonical form")


def _check(value: Any, depth: int) -> None:
    """Refuse what re-encoding, which puts keys in order, lets pass: floats, extensions, other keys than
    strings, depth, unnormalised text.

    Called once for each list and map, not for each value in it: this is on the way of every record shown.
    """
    kind = type(value)
    if depth >= DEPTH_MAX and kind in _NESTING:
        raise MalformedRecord(f"nested deeper than {DEPTH_MAX}")
    if kind is dict:
        try:
            plain = "".join(value).isascii()
        except TypeError:
            raise MalformedRecord("the keys of a map are not strings") from None
        if not plain:
            for key in value:
                _check_text(key)
        value = value.values()
    elif kind is not list and kind is not tuple:
        value = (value,)
        depth -= 1
    for item in value:
        kind = type(item)
        if kind is str:
            if not item.isascii():
                _check_text(item)
        elif kind is dict or kind is list or kind is tuple:
            _check(item, depth + 1)
        elif kind is not int and kind is not bytes and kind is not bool and item is not None:
            raise MalformedRecord(f"a value of the type {kind.__name__} is not allowed")


def _check_text(text: str) -> None:
    if not unicodedata.is_normalized("NFC", text):
        raise MalformedRecord("a string is not in NFC")
