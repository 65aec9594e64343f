"""The canonical form: one encoding for each value, everything else refused."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import Value, decode, decode_list, encode, encode_list
from protocol.errors import LimitExceeded, MalformedRecord
from protocol.limits import DEPTH_MAX

SUITE: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "msgpack-test-suite.json").read_text()
)
NFC_TEXT = st.text(max_size=20).map(lambda text: unicodedata.normalize("NFC", text))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | NFC_TEXT | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NFC_TEXT, inner, max_size=4),
    max_leaves=12,
)


def _depth(value: Value) -> int:
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 0


def _allowed(case: dict[str, Any]) -> bool:
    """Tell whether a case of the suite is a value that our form has."""
    if "timestamp" in case or "ext" in case:
        return False
    if "number" in case:
        return isinstance(case["number"], int)
    return "bignum" not in case or -(2**63) <= int(case["bignum"]) < 2**64


@given(VALUES)
def test_what_is_encoded_decodes_to_the_same_value(value: Value) -> None:
    if _depth(value) <= DEPTH_MAX:
        data = encode(value)
        assert decode(data, bytes_max=len(data)) == value
        assert encode(decode(data, bytes_max=len(data))) == data


@given(st.binary(max_size=60))
def test_bytes_decode_to_what_encodes_to_the_same_bytes_or_are_refused(data: bytes) -> None:
    try:
        value = decode(data, bytes_max=100)
    except MalformedRecord:
        return
    assert encode(value) == data


@pytest.mark.parametrize("group", sorted(SUITE))
def test_of_each_value_of_the_msgpack_suite_just_one_encoding_is_accepted(group: str) -> None:
    for case in SUITE[group]:
        accepted = []
        for text in case["msgpack"]:
            data = bytes.fromhex(text.replace("-", ""))
            try:
                value = decode(data, bytes_max=1_000)
            except MalformedRecord:
                continue
            assert encode(value) == data
            accepted.append(data)
        # A whole number is listed with its float encodings too, and a float only with those.
        assert len(accepted) == (1 if _allowed(case) else len(accepted)), case
        assert all(not _is_float(data) for data in accepted)


def _is_float(data: bytes) -> bool:
    return data[:1] in (b"\xca", b"\xcb")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xcc\x05", "an integer that is not the shortest"),
        (b"\xd9\x01a", "a string header that is not the shortest"),
        (b"\xdc\x00\x01\x01", "a list header that is not the shortest"),
        (b"\xca\x00\x00\x00\x00", "a float"),
        (b"\xd4\x05\x00", "an extension"),
        (b"\xd6\xff\x00\x00\x00\x00", "a time stamp extension"),
        (b"\x82\xa1b\x01\xa1a\x02", "keys out of order"),
        (b"\x82\xa1a\x01\xa1a\x02", "a key twice"),
        (b"\x81\x01\x02", "a key that is an integer"),
        (b"\x81\xc4\x01a\x02", "a key that is bytes"),
        (b"\xa2\xc3\x28", "text that is not UTF-8"),
        (b"\xa3e\xcc\x81", "text that is not in NFC"),
        (b"\xa3\xed\xa0\x80", "a lone surrogate"),
        (b"\x01\x01", "bytes left over"),
        (b"\x92\x01", "bytes that end too early"),
        (b"", "nothing"),
        (b"\xc1", "the byte that means nothing"),
        (b"\xdd\xff\xff\xff\xff", "a list longer than the bytes"),
        (b"\x91" * DEPTH_MAX + b"\x91\x01", "nesting one too deep"),
        (b"\x91" * 60_000 + b"\x01", "nesting much too deep"),
    ],
)
def test_any_other_form_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(MalformedRecord):
        decode(data, bytes_max=100_000)
    with pytest.raises(MalformedRecord):
        # The fast way refuses the same, or leaves an item that no caller accepts.
        items = decode_list(b"\x91" + data, bytes_max=100_000)
        if type(items[0]) not in (int, bytes, type(None)):
            raise MalformedRecord(why)


def test_nesting_up_to_the_limit_is_accepted() -> None:
    data = b"\x91" * DEPTH_MAX + b"\x01"
    assert encode(decode(data, bytes_max=100)) == data


def test_more_bytes_than_allowed_are_refused_before_they_are_read() -> None:
    with pytest.raises(LimitExceeded, match="11 bytes"):
        decode(b"\xaa0123456789", bytes_max=10)
    with pytest.raises(MalformedRecord, match="list"):
        decode_list(b"\x01", bytes_max=10)


@pytest.mark.parametrize(
    "value", [1.5, {1: 2}, 2**64, -(2**63) - 1, "e\u0301", {"e\u0301": 1}, object(), {1}]
)
def test_what_has_no_canonical_form_cannot_be_encoded(value: Any) -> None:
    with pytest.raises(MalformedRecord):
        encode(value)
    with pytest.raises(MalformedRecord):
        encode([value])


def test_nesting_beyond_the_limit_cannot_be_encoded() -> None:
    value: Value = 1
    for _ in range(DEPTH_MAX):
        value = [value]
    encode(value)
    with pytest.raises(MalformedRecord):
        encode([value])
    with pytest.raises(MalformedRecord):
        encode({"a": value})


@given(st.lists(st.integers(0, 2**64 - 1) | st.binary(max_size=20) | st.none(), max_size=6))
def test_the_fast_way_gives_the_same_bytes(items: list[Value]) -> None:
    assert encode_list(items) == encode(items) == msgpack.packb(items)
    assert decode_list(encode(items), bytes_max=1_000) == items
