"""Records: made, opened, and every alteration refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from protocol.encoding import Value, decode, encode
from protocol.errors import (
    BadSignature,
    BodyMissing,
    LimitExceeded,
    MalformedRecord,
    NewerVersion,
    ProtocolError,
)
from protocol.identity import DeviceKey, TownKey
from protocol.ids import FederationId, Lane, Op, RecordId, TownId
from protocol.limits import (
    BODY_BYTES_MAX,
    CITES_MAX,
    DEPTH_MAX,
    FEDERATIONS_MAX,
    HEADER_BYTES_MAX,
    LIFETIME_S_MAX,
)
from protocol.record import Record, check_signature, fields_of, make, make_body, open_record

TOWN = TownKey(b"t" * 32)
DEVICE = DeviceKey(b"d" * 32)
SALT = bytes(16)
FIELDS: dict[str, Value] = {"title": "Bread of the day", "quantity": {"milli": 24_000, "unit": "each"}}


def record(op: Op = Op.PUT, **changed: Any) -> Record:
    """Return a lawful record with some of its parts changed."""
    parts: dict[str, Any] = {
        "key": DEVICE,
        "town": TownId(TOWN.public),
        "epoch": b"epoc",
        "counter": 7,
        "stamp": 1_790_000_000_000 << 16,
        "kind": "offer",
        "lane": Lane.EVERYDAY,
        "federations": [FederationId(b"f" * 16), FederationId(b"e" * 16)],
        "born": 1_790_000_000,
        "expires": 1_792_592_000,
        "nonce": b"nonce--8",
        "op": op,
        "cites": [RecordId(b"c" * 32)],
        "body": None if op is Op.DELETE else make_body(SALT, FIELDS),
    }
    parts.update(changed)
    return make(parts.pop("key"), **parts)


def resigned(change: Callable[[list[Any]], None], op: Op = Op.PUT) -> bytes:
    """Return a record whose header was altered before it was signed, as a hostile writer would."""
    original = record(op)
    header = decode(original.header_bytes, bytes_max=HEADER_BYTES_MAX)
    assert isinstance(header, list)
    change(header)
    return encode([encode(header), original.signature, original.body])


def field(index: int, value: Any) -> Callable[[list[Any]], None]:
    """Return the alteration that puts `value` in the place of one field."""

    def change(header: list[Any]) -> None:
        header[index] = value

    return change


@pytest.mark.parametrize("op", list(Op))
def test_a_record_opens_to_what_was_made_and_its_signature_holds(op: Op) -> None:
    made = record(op)
    opened = open_record(made.raw)
    check_signature(opened)
    assert (opened.id, opened.doc, opened.header, opened.raw) == (made.id, made.doc, made.header, made.raw)
    assert opened.header.federations == (b"e" * 16, b"f" * 16)
    assert fields_of(opened) == (None if op is Op.DELETE else FIELDS)


@pytest.mark.parametrize("op", list(Op))
def test_every_flipped_bit_is_refused(op: Op) -> None:
    raw = record(op).raw
    for bit in range(len(raw) * 8):
        altered = bytearray(raw)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError):
            check_signature(open_record(bytes(altered)))


@pytest.mark.parametrize(
    "changed",
    [
        {"town": TownId(b"o" * 32)},
        {"kind": "need"},
        {"lane": Lane.URGENT},
        {"federations": []},
        {"born": 1_790_000_001},
        {"expires": 1_792_592_001},
        {"nonce": b"nonce--9"},
    ],
)
def test_a_document_commits_to_town_kind_lane_audience_birth_end_and_nonce(changed: dict[str, Any]) -> None:
    assert record(**changed).doc != record().doc


@pytest.mark.parametrize(
    "changed",
    [{"stamp": 5}, {"counter": 8}, {"epoch": b"4567"}, {"cites": []}, {"body": make_body(SALT, {})}],
)
def test_records_of_one_document_may_differ_in_all_else(changed: dict[str, Any]) -> None:
    other = record(**changed)
    assert other.doc == record().doc == record(Op.DELETE).doc
    assert other.id != record().id


@pytest.mark.parametrize(
    "change",
    [
        field(0, 0),
        field(0, "1"),
        field(1, b"short"),
        field(2, "text"),
        field(3, [b"epoc"]),
        field(3, [b"epo", 7]),
        field(3, [b"epoc", -1]),
        field(4, 2**64 - 1 - 2**65),
        field(4, True),
        field(5, "Offer"),
        field(5, ""),
        field(5, "o" * 33),
        field(5, 5),
        field(6, 3),
        field(6, True),
        field(7, [b"f" * 16, b"e" * 16]),
        field(7, [b"f" * 16, b"f" * 16]),
        field(7, [b"f" * 15]),
        field(7, None),
        field(8, -1),
        field(9, 2**42),
        field(10, b"nonce"),
        field(11, 3),
        field(11, None),
        field(12, [b"c"]),
        field(12, b"c" * 32),
        field(13, bytes(31)),
        field(14, 0),
        field(14, 1),
        lambda header: header.append(1),
        lambda header: header.pop(),
        lambda header: header.clear(),
    ],
)
def test_a_header_with_a_field_out_of_its_type_or_range_is_refused(
    change: Callable[[list[Any]], None],
) -> None:
    try:
        raw = resigned(change)
    except MalformedRecord:
        return  # The alteration has no encoding at all.
    with pytest.raises(MalformedRecord):
        open_record(raw)


@pytest.mark.parametrize(
    "change",
    [
        field(7, [bytes([n]) * 16 for n in range(FEDERATIONS_MAX + 1)]),
        field(12, [bytes(32)] * (CITES_MAX + 1)),
        field(9, 1_790_000_000),
        field(9, 1_789_999_999),
        field(9, 1_790_000_000 + LIFETIME_S_MAX + 1),
    ],
)
def test_a_header_beyond_a_limit_is_refused(change: Callable[[list[Any]], None]) -> None:
    with pytest.raises(LimitExceeded):
        open_record(resigned(change))


def test_a_newer_format_is_told_apart_from_a_broken_record() -> None:
    with pytest.raises(NewerVersion, match="upgrade"):
        open_record(resigned(field(0, 2)))
    assert not issubclass(NewerVersion, MalformedRecord)


def test_a_put_without_its_body_is_told_apart_from_a_broken_record() -> None:
    original = record()
    with pytest.raises(BodyMissing):
        open_record(encode([original.header_bytes, original.signature, None]))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        encode([]),
        encode([b"", bytes(64), None, None]),
        encode([b"", bytes(63), None]),
        encode(["", bytes(64), None]),
        encode([encode({}), bytes(64), None]),
        encode([record(Op.DELETE).header_bytes, bytes(64), b"body"]),
        encode([record().header_bytes, bytes(64), "text"]),
        encode([record().header_bytes, bytes(64), make_body(SALT, {"title": "Bread of the dax"})]),
        encode([record().header_bytes, bytes(64), b""]),
    ],
)
def test_what_is_not_a_record_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedRecord):
        open_record(raw)


def test_sizes_are_checked_before_anything_is_read() -> None:
    with pytest.raises(LimitExceeded):
        open_record(bytes(200_000))
    with pytest.raises(LimitExceeded):
        open_record(encode([bytes(HEADER_BYTES_MAX + 1), bytes(64), None]))
    with pytest.raises(LimitExceeded, match="too long"):
        make_body(SALT, {"text": "x" * BODY_BYTES_MAX})


def test_a_delete_with_a_body_and_a_put_without_are_refused() -> None:
    with pytest.raises(MalformedRecord):
        open_record(resigned(field(11, int(Op.DELETE))))
    with pytest.raises(MalformedRecord):
        open_record(resigned(field(11, int(Op.PUT)), Op.DELETE))


def test_town_kinds_list_no_federations() -> None:
    lawful: dict[str, Any] = {"kind": "town.profile", "federations": [], "key": TOWN}
    check_signature(record(**lawful))
    assert record(**lawful | {"key": DEVICE}), "whether a key is the town's is for authority to say"
    with pytest.raises(MalformedRecord, match="no federations"):
        record(**lawful | {"federations": [FederationId(bytes(16))]})
    with pytest.raises(MalformedRecord, match="no federations"):
        record(kind="charter")


def loose(fields: Any) -> bytes:
    """Return a body as an encoder of no scruples writes it."""
    body: bytes = msgpack.packb([SALT, fields])
    return body


def nested(depth: int) -> list[Any]:
    """Return so many lists, each in the one before."""
    return [nested(depth - 1)] if depth else []


def test_the_signature_of_another_key_is_refused() -> None:
    original = record()
    forged = encode([original.header_bytes, TOWN.sign(b"hedgerow/record/1" + original.id), original.body])
    with pytest.raises(BadSignature):
        check_signature(open_record(forged))


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        encode({}),
        encode([SALT]),
        encode([b"", {}]),
        encode([SALT, []]),
        encode([SALT, [[]], b"sealed"]),
        loose({"b": 1, "a": 2}),
        loose({"a": 1.5}),
        loose({"a": [{"b": 2.0}]}),
        loose({"a": msgpack.ExtType(5, b"x")}),
        loose({1: 2, "a": 3}),
        loose({"a": {1: 2, "b": 3}}),
        loose({"a": "e\u0301"}),
        loose({"a": [1, b"x", "e\u0301"]}),
        loose({"e\u0301": 1}),
        loose({"a": nested(DEPTH_MAX)}),
    ],
)
def test_a_body_that_cannot_be_read_is_held_and_forwarded_but_says_nothing(body: bytes) -> None:
    odd = record(body=body)
    check_signature(odd)
    assert fields_of(odd) is None


@given(st.binary(max_size=300))
def test_no_bytes_make_opening_fail_otherwise(data: bytes) -> None:
    for raw in (data, encode([data, bytes(64), None])):
        with pytest.raises(ProtocolError):
            open_record(raw)


@given(
    st.integers(0, 14),
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=40).filter(str.isascii)
    | st.binary(max_size=40) | st.binary(min_size=32, max_size=32)
    | st.lists(st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32), max_size=10)
    | st.tuples(st.binary(min_size=3, max_size=5), st.integers(-1, 2**49)).map(list),
)  # fmt: skip
def test_a_header_opens_with_just_what_it_says_or_it_is_said_what_is_wrong(index: int, value: Any) -> None:
    raw = resigned(field(index, value))
    try:
        opened = open_record(raw)
    except ProtocolError:
        return
    header = opened.header
    assert encode(
        [
            1, header.town, header.device, [header.epoch, header.counter], header.stamp, header.kind,
            int(header.lane), list(header.federations), header.born, header.expires, header.nonce,
            int(header.op), list(header.cites), header.body_hash, header.body_size,
        ]
    ) == opened.header_bytes  # fmt: skip
    assert all(type(part) in (int, bytes, str, tuple, Lane, Op) for part in astuple(header))
