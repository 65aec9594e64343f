"""The canonical form of every value that is signed or sent; the only module that touches MessagePack.

MessagePack with one encoding for each value: shortest integers, strings valid UTF-8 in NFC, maps with string
keys in ascending order of their UTF-8 bytes, no key twice, no floats, no extension types, nesting at most
`DEPTH_MAX`. What is decoded is encoded again and must be the same bytes: so two encodings of one value,
and with them two ids of one statement, cannot exist.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from protocol.errors import LimitExceeded, MalformedRecord
from protocol.limits import DEPTH_MAX

Value: TypeAlias = "bool | int | str | bytes | list[Value] | dict[str, Value] | None"
"""What a body or a frame may hold."""
T = TypeVar("T")

_pack: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_unpack: Final = msgspec.msgpack.Decoder().decode
_PLAIN: Final = frozenset({str, int, bytes, bool, type(None)})
"""Types of values that have no others in them."""
_NESTING: Final = frozenset({dict, list, tuple})
_is_text: Final = str.__instancecheck__
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, OverflowError, RecursionError, TypeError)
"""What the library raises on bytes that are no MessagePack, or have not the shape that is asked for."""


def encode(value: Value) -> bytes:
    """Return the canonical bytes of a value; map keys are put in order here.

    Raises:
        MalformedRecord: A float, an unnormalised string, a key that is no string, an integer beyond 64 bits.
    """
    check_values(value)
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
    check_values(value)
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
            another form than the canonical one: then `check_values` has to look at them as well.
    """

    def __init__(self, shape: Any) -> None:
        self._read: Callable[[bytes], T] = msgspec.msgpack.Decoder(shape).decode

    def read(self, data: bytes) -> T | None:
        """Return the parts; None if anything is not as it should be, and `decode_list` may tell what."""
        try:
            parts = self._read(data)
            return parts if _pack(parts) == data else None
        except _UNREADABLE:
            return None


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


def check_values(value: Any, depth: int = 0) -> None:
    """Refuse what re-encoding, which puts keys in order, lets pass: floats, extensions, other keys than
    strings, unnormalised text, and nesting beyond `DEPTH_MAX` where `depth` levels are around it.

    Called once for each list and map, and looks at its values together: this is on the way of every record
    that is shown.

    Raises:
        MalformedRecord: The first that is found.
    """
    kind = type(value)
    if kind is dict:
        try:
            plain = "".join(value).isascii()
        except TypeError:
            raise MalformedRecord("the keys of a map are not strings") from None
        if not plain:
            _check_texts(value)
        items = value.values()
    elif kind is list or kind is tuple:
        items = value
    else:
        items = (value,)
        depth -= 1
    if depth >= DEPTH_MAX:
        raise MalformedRecord(f"nested deeper than {DEPTH_MAX}")
    kinds = {*map(type, items)}
    if str in kinds and not "".join(filter(_is_text, items)).isascii():
        _check_texts(filter(_is_text, items))
    others = kinds - _PLAIN
    if not others:
        return
    for unknown in others - _NESTING:
        raise MalformedRecord(f"a value of the type {unknown.__name__} is not allowed")
    for item in items:
        if type(item) in others:
            check_values(item, depth + 1)


def _check_texts(texts: Iterable[str]) -> None:
    for text in texts:
        if not unicodedata.is_normalized("NFC", text):
            raise MalformedRecord("a string is not in NFC")
