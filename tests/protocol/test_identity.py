"""Keys and signatures, against the official hostile vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.identity import DeviceKey, TownKey, fingerprint, verify, words
from protocol.words import WORDS

WYCHEPROOF: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "wycheproof_ed25519_test.json").read_text()
)
CASES = [
    pytest.param(bytes.fromhex(group["publicKey"]["pk"]), case, id=f"{case['tcId']}")
    for group in WYCHEPROOF["testGroups"]
    for case in group["tests"]
]


def test_all_vectors_are_there() -> None:
    assert len(CASES) == WYCHEPROOF["numberOfTests"] == 151
    assert {case.values[1]["result"] for case in CASES} == {"valid", "invalid"}  # type: ignore[index]


@pytest.mark.parametrize(("public", "case"), CASES)
def test_a_signature_is_judged_as_the_official_vector_says(public: bytes, case: dict[str, Any]) -> None:
    genuine = verify(public, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
    assert genuine is (case["result"] == "valid"), case["comment"]


def test_rfc_8032_first_vector() -> None:
    key = DeviceKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=50), st.integers(0, 511))
def test_a_signature_holds_for_its_message_and_for_no_other(seed: bytes, message: bytes, bit: int) -> None:
    key = TownKey(seed)
    signature = key.sign(message)
    assert verify(key.public, message, signature)
    assert not verify(key.public, message + b"x", signature)
    altered = bytearray(signature)
    altered[bit // 8] ^= 1 << bit % 8
    assert not verify(key.public, message, bytes(altered))


def test_malformed_input_is_no_signature() -> None:
    key = TownKey(bytes(32))
    assert not verify(b"short", b"", key.sign(b""))
    assert not verify(key.public, b"", b"short")


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        DeviceKey(b"short")


def test_a_key_never_shows_its_secret() -> None:
    key = TownKey(b"s" * 32)
    assert key.seed.hex() not in repr(key) and str(key.seed) not in repr(key)


def test_words_are_2048_ascending_and_known_by_four_letters() -> None:
    assert len(WORDS) == 2048
    assert list(WORDS) == sorted(WORDS)
    assert len({word[:4] for word in WORDS}) == 2048


def test_words_stand_for_bits_in_order() -> None:
    assert words(bytes(3), 2) == ("abandon", "abandon")
    assert words(b"\xff\xff\xff", 2) == ("zoo", "zoo")
    with pytest.raises(ValueError, match="24"):
        words(bytes(3), 3)


@given(st.binary(min_size=32, max_size=32))
def test_a_fingerprint_is_six_words_and_another_key_has_another(public: bytes) -> None:
    assert len(fingerprint(public).split()) == 6
    assert fingerprint(public) != fingerprint(bytes([public[0] ^ 1]) + public[1:])
