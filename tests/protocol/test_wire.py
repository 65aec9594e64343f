"""The frames between two nodes: one encoding, every field typed and bounded."""

from __future__ import annotations

import zlib
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import wire
from protocol.encoding import decode, encode, encode_list
from protocol.errors import MalformedFrame
from protocol.ids import FederationId
from protocol.limits import BATCH_BYTES_MAX, BATCH_RECORDS_MAX, FRAME_BYTES_MAX, RECORD_BYTES_MAX
from protocol.wire import Frame, decode_frame, encode_frame

FULL = wire.BLOB_BYTES_MAX

LARGEST: list[Frame] = [
    wire.Hello(255, tuple((bytes([number]) * 16, True) for number in range(wire.NAMES_MAX))),
    wire.Ping(),
    wire.Pong(),
    wire.Join(bytes(16), bytes(32), bytes(FULL)),
    wire.Welcome(True, bytes(FULL)),
    wire.Refused("c" * 32, "é" * wire.SAYS_CHARS_MAX),
    wire.Digest(63, 2**40, 2**40, 2**40, bytes(48)),
    wire.Same(63),
    wire.Sketch(63, tuple((lane, 2**40, bytes(16), bytes(13 * 1_500)) for lane in range(3))),
    wire.Counts(63, 2, bytes(256)),
    wire.Cells(63, 2, 131_072, True, bytes(FULL // 13 * 13)),
    wire.More(63, 2),
    wire.Stop(63, 2),
    wire.List(63, 2),
    wire.Ids(63, 2, 255, 256, True, bytes(FULL)),
    wire.Next(63, 2, 256),
    wire.Want(63, 2, bytes(FULL)),
    wire.Done(63, 2, bytes(FULL // 32 * 32)),
    wire.Settled(63, 7, 7),
    wire.Meet(63),
    wire.Records(2**40, wire.EVIDENCE, 2, True, bytes(FULL)),
    wire.Ack(2**40, tuple(range(BATCH_RECORDS_MAX)), tuple(range(BATCH_RECORDS_MAX))),
    wire.Salt(63, 2, bytes(16)),
    wire.Buckets(63, 2, bytes(16), bytes(4_096)),
    wire.Keyed(63, 2, bytes(32)),
    wire.KeyedHashes(63, 2, bytes(4_096)),
    wire.KeyedWant(63, 2, bytes(FULL)),
]


def name_of(frame: Frame) -> str:
    """Return what a frame is called in a test's name."""
    return type(frame).__name__


@pytest.mark.parametrize("frame", LARGEST, ids=name_of)
def test_the_largest_frame_of_each_type_fits_and_comes_back(frame: Frame) -> None:
    data = encode_frame(frame)
    assert len(data) <= FRAME_BYTES_MAX
    assert decode_frame(data) == frame


def test_every_type_of_frame_is_tried_here() -> None:
    assert {type(frame) for frame in LARGEST} == set(wire.Frame.__args__)


def _values(frame: Frame) -> list[Any]:
    value = decode(encode_frame(frame), bytes_max=FRAME_BYTES_MAX)
    assert isinstance(value, list)
    return value


@pytest.mark.parametrize("frame", LARGEST, ids=name_of)
def test_a_field_more_or_less_or_of_another_type_is_refused(frame: Frame) -> None:
    values = _values(frame)
    wrong: list[list[Any]] = [[*values, 0], [*values, None]]
    if len(values) > 1:
        wrong.append(values[:-1])
    for index in range(1, len(values)):
        others: tuple[Any, ...] = (
            None,
            -1,
            2**63,
            "x" * 300,
            b"\x01" * 65_000,
            {},
            [[0]],
            [None] * 2_000,
            1 << 41,
        )
        for other in others:
            if type(other) is not type(values[index]) or other != values[index]:
                wrong.append([*values[:index], other, *values[index + 1 :]])
    for changed in wrong:
        with pytest.raises(MalformedFrame):
            decode_frame(encode(changed))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x90", b"\x00", b"\xc0", encode(["x"]), encode([-1]), encode([255]), encode([True]),
        encode({}),
        b"\x91\xcc\x01", b"\x91\x01\x00", bytes(FRAME_BYTES_MAX + 1), b"\x91\xcb" + bytes(8),
    ],
)  # fmt: skip
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedFrame):
        decode_frame(data)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_frame_that_encodes_to_them_or_malformed_frame(data: bytes) -> None:
    try:
        frame = decode_frame(data)
    except MalformedFrame:
        return
    assert encode_frame(frame) == data


@given(st.sampled_from(LARGEST), st.data())
def test_a_flipped_bit_never_gives_two_encodings_of_one_frame(frame: Frame, data: st.DataObject) -> None:
    whole = encode_frame(frame)
    place = data.draw(st.integers(0, min(len(whole), 200) * 8 - 1))
    flipped = bytearray(whole)
    flipped[place // 8] ^= 1 << place % 8
    try:
        other = decode_frame(bytes(flipped))
    except MalformedFrame:
        return
    assert other != frame
    assert encode_frame(other) == bytes(flipped)


def test_a_federation_has_another_name_on_every_link_and_from_each_side() -> None:
    federation = FederationId(b"f" * 16)
    names = {
        wire.federation_name(federation, hashed, initiator=side)
        for hashed in (b"h" * 32, b"i" * 32)
        for side in (True, False)
    }
    assert len(names) == 4
    assert all(len(name) == 16 for name in names)


def test_a_join_proof_depends_on_the_secret_and_on_the_link() -> None:
    proofs = {
        wire.join_proof(secret, hashed)
        for secret in (b"s" * 16, b"t" * 16)
        for hashed in (b"h" * 32, b"i" * 32)
    }
    assert len(proofs) == 4


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=50))
def test_a_parcel_comes_back_from_its_parts(records: list[bytes]) -> None:
    parts = wire.cut_parcel(wire.pack_parcel(records))
    assert all(0 < len(part) <= wire.PART_BYTES_MAX for part in parts)
    assert wire.open_parcel(b"".join(parts)) == tuple(records)


def test_the_greatest_parcel_stays_within_its_bound_on_the_wire() -> None:
    chance = Random(1)
    records = [chance.randbytes(RECORD_BYTES_MAX) for _ in range(BATCH_BYTES_MAX // RECORD_BYTES_MAX + 1)]
    parcel = wire.pack_parcel(records)
    assert len(parcel) <= wire.PARCEL_WIRE_BYTES_MAX
    assert wire.open_parcel(parcel) == tuple(records)


@pytest.mark.parametrize(
    "parcel",
    [
        b"", b"no zlib", zlib.compress(b"\x01"), zlib.compress(encode_list([])),
        zlib.compress(encode_list([1])),
        zlib.compress(encode_list([b""] * (BATCH_RECORDS_MAX + 1))),
        zlib.compress(encode_list([bytes(RECORD_BYTES_MAX + 1)])),
        zlib.compress(encode_list([b"a"]))[:-1], zlib.compress(encode_list([b"a"])) + b"x",
        zlib.compress(bytes(50_000_000)),
    ],
    ids=[
        "empty", "noise", "number", "no records", "no bytes", "too many", "too long", "cut", "trailing",
        "bomb",
    ],
)  # fmt: skip
def test_a_parcel_that_is_none_is_refused(parcel: bytes) -> None:
    with pytest.raises(MalformedFrame):
        wire.open_parcel(parcel)
