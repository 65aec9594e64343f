"""Sealed bodies: who can open them, what holds them together, and what hostile bytes come to."""

from __future__ import annotations

import importlib.util
import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_box_seal,
    crypto_box_seal_open,
    crypto_scalarmult_base,
    sodium_pad,
)

from protocol.encoding import Value, decode, encode
from protocol.errors import BadSealingKey, LimitExceeded, MalformedRecord
from protocol.identity import DeviceKey
from protocol.ids import Lane, TownId
from protocol.limits import BODY_BYTES_MAX, SEALED_PAD_BYTES, SEALED_TOWNS_MAX
from protocol.record import fields_of_body, make, make_body
from protocol.sealing import SealingKey, derive, key_id, open_sealed, recipients_of, seal

ROOT = Path(__file__).parents[2]
VECTORS: dict[str, Any] = json.loads((ROOT / "tests/vectors/sealed.json").read_text(encoding="utf-8"))
SALT, CHANCE = bytes(range(16)), bytes(range(32))
TOWNS = tuple(TownId(bytes([0x40 + at]) * 32) for at in range(SEALED_TOWNS_MAX + 1))
KEYS = tuple(derive(town, 0) for town in TOWNS)
FIELDS: dict[str, Value] = {"reason": "insulin, please", "milli": 1_000}


def sealed_to(count: int, fields: dict[str, Value] = FIELDS, *, kind: str = "claim") -> bytes:
    """Return a body of the first town that the first `count` towns can open."""
    publics = [(town, key.public) for town, key in zip(TOWNS[:count], KEYS, strict=False)]
    return seal(fields, publics, town=TOWNS[0], kind=kind, salt=SALT, chance=CHANCE)


def opened(body: bytes, *keys: SealingKey, town: TownId = TOWNS[0], kind: str = "claim") -> Any:
    """Return what a holder of these keys reads."""
    return open_sealed(body, town=town, kind=kind, keys={key.id: key for key in keys})


def parts_of(body: bytes) -> list[Any]:
    """Return salt, recipients and sealed bytes."""
    parts = decode(body, bytes_max=BODY_BYTES_MAX)
    assert isinstance(parts, list)
    return parts


def test_the_vectors_are_made_again_byte_for_byte() -> None:
    spec = importlib.util.spec_from_file_location("make_sealed", ROOT / "tests/vectors/make_sealed.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.vectors() == VECTORS


@pytest.mark.parametrize("name", VECTORS)
def test_what_was_sealed_without_libsodium_is_what_we_seal_and_open(name: str) -> None:
    vector = VECTORS[name]
    town, body = TownId(bytes.fromhex(vector["town"])), bytes.fromhex(vector["body"])
    fields = {
        key: bytes.fromhex(value["bytes"]) if isinstance(value, dict) else value
        for key, value in vector["fields"].items()
    }
    keys = [derive(bytes.fromhex(each["town"]), each["index"]) for each in vector["recipients"]]
    for key, said in zip(keys, vector["recipients"], strict=True):
        assert (key.secret.hex(), key.public.hex(), key.id.hex()) == (
            said["secret"], said["public"], said["key_id"],
        )  # fmt: skip
        assert opened(body, key, town=town, kind=vector["kind"]) == fields
    publics = [
        (TownId(bytes.fromhex(said["town"])), key.public)
        for key, said in zip(keys, vector["recipients"], strict=True)
    ]
    salt, chance = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["chance"])
    assert seal(fields, publics, town=town, kind=vector["kind"], salt=salt, chance=chance) == body


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=40)
    | st.text("aé ", max_size=20),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text("ab", max_size=3), some, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    fields=st.dictionaries(st.text("abc_", max_size=9), VALUES, max_size=5),
    count=st.integers(1, SEALED_TOWNS_MAX),
    chance=st.binary(min_size=32, max_size=32),
    salt=st.binary(min_size=16, max_size=16),
)
def test_each_recipient_reads_the_same_and_nobody_else_anything(
    fields: dict[str, Value], count: int, chance: bytes, salt: bytes
) -> None:
    publics = [(town, key.public) for town, key in zip(TOWNS[:count], KEYS, strict=False)]
    body = seal(fields, publics[::-1], town=TOWNS[1], kind="claim", salt=salt, chance=chance)
    assert recipients_of(body) == tuple((town, key_id(public)) for town, public in publics)
    for key in KEYS[:count]:
        assert opened(body, key, town=TOWNS[1]) == fields
    assert opened(body, *KEYS[count:], town=TOWNS[1]) is None
    assert fields_of_body(body) is None


def test_every_bit_of_a_sealed_body_counts() -> None:
    body = sealed_to(2)
    assert opened(body, *KEYS[:2]) == FIELDS
    for at in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[at // 8] ^= 1 << at % 8
        # Somebody may still read it if the key that another gets was spoilt, but then the same words.
        assert opened(bytes(flipped), KEYS[0]) in (None, FIELDS)
        assert opened(bytes(flipped), KEYS[0]) is None or opened(bytes(flipped), KEYS[1]) is None


def test_a_flipped_bit_is_seen_by_a_single_recipient() -> None:
    body = sealed_to(1)
    for at in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[at // 8] ^= 1 << at % 8
        assert opened(bytes(flipped), KEYS[0]) is None


def test_a_body_moved_to_another_town_or_kind_opens_for_nobody() -> None:
    body = sealed_to(2)
    assert opened(body, *KEYS, town=TOWNS[1]) is None
    assert opened(body, *KEYS, kind="message") is None


def test_recipients_cannot_be_taken_away_added_or_renamed() -> None:
    salt, named, sealed = parts_of(sealed_to(2))
    fewer = encode([salt, named[:1], sealed[:112] + sealed[192:]])
    more = encode([salt, [*named, [TOWNS[2], KEYS[2].id]], sealed[:192] + bytes(80) + sealed[192:]])
    renamed = encode([salt, [named[0], [TOWNS[2], named[1][1]]], sealed])
    for body in (fewer, more, renamed):
        assert recipients_of(body) is not None
        assert opened(body, *KEYS) is None


def test_one_body_cannot_say_two_things_to_two_towns() -> None:
    # Whoever finds a ciphertext that opens under two keys must wrap another key for the second town.
    salt, named, sealed = parts_of(sealed_to(2))
    other = crypto_box_seal(b"\x07" * 32, KEYS[1].public)
    ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(
        sodium_pad(encode({"reason": "something else"}), SEALED_PAD_BYTES),
        encode([TOWNS[0], "claim", named, salt]),
        salt + bytes(8),
        b"\x07" * 32,
    )
    lie = encode([salt, named, sealed[:112] + other + ciphertext])
    assert opened(lie, KEYS[1]) is None
    honest = blake2b(b"\x07" * 32, digest_size=32, person=b"hedgerow/sealed").digest()
    assert opened(encode([salt, named, honest + sealed[32:112] + other + ciphertext]), KEYS[1]) == {
        "reason": "something else"
    }


def test_the_wrapped_key_is_a_sealed_box_of_libsodium() -> None:
    _, _, sealed = parts_of(sealed_to(2))
    one = crypto_box_seal_open(sealed[32:112], KEYS[0].public, KEYS[0].secret)
    two = crypto_box_seal_open(sealed[112:192], KEYS[1].public, KEYS[1].secret)
    assert one == two
    assert sealed[32:64] != sealed[112:144], "each box has an ephemeral key of its own"


@pytest.mark.parametrize("size", [0, 1, 100, 240])
def test_texts_of_up_to_a_block_have_one_size(size: int) -> None:
    assert len(sealed_to(1, {"a": "x" * size})) == len(sealed_to(1, {"a": ""}))
    assert len(sealed_to(1, {"a": "x" * 260})) == len(sealed_to(1, {"a": ""})) + SEALED_PAD_BYTES


def test_nothing_that_was_sealed_stands_in_the_body() -> None:
    body = sealed_to(3, {"reason": "insulin, please" * 20})
    assert b"insulin" not in body and b"reason" not in body


def test_an_old_secret_opens_what_was_sealed_to_it() -> None:
    old, new = derive(TOWNS[0], 0), derive(TOWNS[0], 1)
    assert old.id != new.id and old.public == crypto_scalarmult_base(old.secret)
    assert opened(sealed_to(1), new, old) == FIELDS
    assert opened(sealed_to(1), new) is None


def test_a_key_under_anothers_name_opens_nothing_and_harms_nothing() -> None:
    assert open_sealed(sealed_to(1), town=TOWNS[0], kind="claim", keys={KEYS[0].id: KEYS[1]}) is None


def test_what_is_sealed_must_be_a_map_in_its_one_form() -> None:
    salt, named, sealed = parts_of(sealed_to(1))
    content_key = crypto_box_seal_open(sealed[32:112], KEYS[0].public, KEYS[0].secret)

    def with_text(text: bytes) -> bytes:
        bound = encode([TOWNS[0], "claim", named, salt])
        secret = crypto_aead_xchacha20poly1305_ietf_encrypt(text, bound, salt + bytes(8), content_key)
        return encode([salt, named, sealed[:112] + secret])

    assert opened(with_text(sodium_pad(encode(FIELDS), SEALED_PAD_BYTES)), KEYS[0]) == FIELDS
    for text in (
        sodium_pad(encode([1, 2]), SEALED_PAD_BYTES),
        sodium_pad(b"\x81\xa1a\xcd\x00\x01", SEALED_PAD_BYTES),  # 1 in three bytes
        sodium_pad(b"\x81\xa1a\xcb" + bytes(8), SEALED_PAD_BYTES),  # a float
        encode(FIELDS) + bytes(SEALED_PAD_BYTES - len(encode(FIELDS))),  # no mark of the padding
        bytes(SEALED_PAD_BYTES),
    ):
        assert opened(with_text(text), KEYS[0]) is None


def test_only_the_form_of_a_sealed_body_is_one() -> None:
    body = sealed_to(2)
    salt, named, sealed = parts_of(body)
    many = [[town, key.id] for town, key in zip(TOWNS, KEYS, strict=True)]
    for value in (
        7,
        [salt, FIELDS],
        [salt, named],
        [salt, named, sealed, 1],
        [salt[:15], named, sealed],
        [7, named, sealed],
        [salt, named, "x"],
        [salt, [], sealed],
        [salt, {}, sealed],
        [salt, many, bytes(32 + 9 * 80 + 256 + 16)],
        [salt, named[::-1], sealed],
        [salt, [named[0], named[0]], sealed],
        [salt, [named[0], 7], sealed],
        [salt, [named[0], [*named[1], 1]], sealed],
        [salt, [named[0], [TOWNS[1], bytes(7)]], sealed],
        [salt, [named[0], [TOWNS[1][:31], bytes(8)]], sealed],
        [salt, [named[0], ["x" * 32, bytes(8)]], sealed],
        [salt, named, sealed[:-1]],
        [salt, named, sealed[: 32 + 160 + 16]],
        [salt, named, b""],
    ):
        assert recipients_of(encode(value)) is None
        assert opened(encode(value), *KEYS) is None
    assert recipients_of(make_body(salt, FIELDS)) is None
    assert recipients_of(b"") is None
    assert recipients_of(body + b"\0") is None


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_hostile_bytes_open_to_nothing_and_raise_nothing(data: st.DataObject) -> None:
    body = bytearray(sealed_to(2))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    result = opened(bytes(body), *KEYS)
    assert result in (None, FIELDS)
    assert opened(data.draw(st.binary(max_size=700)), *KEYS) is None


def test_a_body_is_sealed_to_one_town_at_least_and_to_eight_at_most() -> None:
    assert recipients_of(sealed_to(SEALED_TOWNS_MAX)) is not None
    for count in (0, SEALED_TOWNS_MAX + 1):
        with pytest.raises(LimitExceeded, match=f"sealed to {count} towns; 1 to 8"):
            sealed_to(count)


def test_a_town_that_is_named_twice_gets_its_newest_key_only() -> None:
    publics = [(TOWNS[0], KEYS[3].public), (TOWNS[0], KEYS[0].public)]
    body = seal(FIELDS, publics, town=TOWNS[0], kind="claim", salt=SALT, chance=CHANCE)
    assert recipients_of(body) == ((TOWNS[0], KEYS[0].id),)


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), bytes(31), b""])
def test_a_hostile_public_key_is_refused_by_name(public: bytes) -> None:
    with pytest.raises(BadSealingKey, match="no sealing key"):
        seal(FIELDS, [(TOWNS[0], public)], town=TOWNS[0], kind="claim", salt=SALT, chance=CHANCE)


def test_what_cannot_be_sealed_is_refused() -> None:
    with pytest.raises(LimitExceeded, match="too long"):
        sealed_to(1, {"text": "x" * BODY_BYTES_MAX})
    with pytest.raises(MalformedRecord):
        sealed_to(1, {"text": 0.5})  # type: ignore[dict-item]  # what no type checker saw
    for salt, chance in ((SALT[1:], CHANCE), (SALT, CHANCE[1:])):
        with pytest.raises(ValueError, match="sealing takes"):
            seal(FIELDS, [(TOWNS[0], KEYS[0].public)], town=TOWNS[0], kind="claim", salt=salt, chance=chance)
    with pytest.raises(ValueError, match="32 bytes, not 3"):
        SealingKey(b"abc")


def test_a_secret_is_never_shown() -> None:
    assert KEYS[0].secret.hex()[:8] not in repr(KEYS[0]) and KEYS[0].id.hex() in repr(KEYS[0])


def test_a_record_carries_a_sealed_body_like_any_other() -> None:
    device = DeviceKey(bytes(32))
    record = make(
        device, town=TOWNS[0], epoch=bytes(4), counter=0, stamp=0, kind="claim", lane=Lane.EVERYDAY,
        born=1, expires=2, nonce=bytes(8), body=sealed_to(2),
    )  # fmt: skip
    assert record.body is not None
    assert (
        open_sealed(record.body, town=record.header.town, kind="claim", keys={KEYS[1].id: KEYS[1]}) == FIELDS
    )
