"""The digest of a held set: its laws, its exact bytes, and what it must not fall for."""

from __future__ import annotations

from hashlib import blake2b, shake_128
from struct import unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.digest import LtHash

IDS = st.lists(st.binary(min_size=32, max_size=32), max_size=12)


def sum_by_hand(record_ids: list[bytes]) -> list[int]:
    """Sum lanes one by one, as the documentation says it."""
    lanes = [0] * 1024
    for record_id in record_ids:
        expansion = shake_128(b"hedgerow/lthash" + record_id).digest(2048)
        lanes = [(lane + more) % 65536 for lane, more in zip(lanes, unpack("<1024H", expansion), strict=True)]
    return lanes


@given(IDS)
def test_the_state_is_the_sum_of_the_lanes_one_by_one(record_ids: list[bytes]) -> None:
    state = LtHash.of(record_ids).to_bytes()
    assert list(unpack("<1024H", state)) == sum_by_hand(record_ids)


def test_the_digest_is_the_blake2b_of_the_state() -> None:
    total = LtHash.of([bytes(32)])
    hashed = blake2b(total.to_bytes(), digest_size=16, person=b"hedgerow/digest")
    assert total.digest() == hashed.digest()


@given(IDS, st.randoms(use_true_random=False))
def test_order_does_not_matter(record_ids: list[bytes], random: object) -> None:
    shuffled = list(record_ids)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives no narrower type
    assert LtHash.of(shuffled) == LtHash.of(record_ids)


@given(IDS, IDS)
def test_removing_undoes_adding_also_when_it_comes_first(stays: list[bytes], goes: list[bytes]) -> None:
    after = LtHash.of(stays)
    after.remove_many(goes)
    after.add_many(goes)
    assert after == LtHash.of(stays)
    assert after.digest() == LtHash.of(stays).digest()


@given(IDS, IDS)
def test_sums_add_and_subtract_like_sets(left: list[bytes], right: list[bytes]) -> None:
    both = LtHash.of(left) + LtHash.of(right)
    assert both == LtHash.of(left + right)
    assert both - LtHash.of(left) == LtHash.of(right)
    assert LtHash() - LtHash.of(left) + LtHash.of(left) == LtHash()


def test_adding_and_subtracting_leave_both_sides_as_they_were() -> None:
    left, right = LtHash.of([b"l" * 32]), LtHash.of([b"r" * 32])
    left + right
    left - right
    assert (left, right) == (LtHash.of([b"l" * 32]), LtHash.of([b"r" * 32]))


def test_a_copy_goes_its_own_way() -> None:
    first = LtHash.of([b"a" * 32])
    second = first.copy()
    second.add(b"b" * 32)
    assert first == LtHash.of([b"a" * 32])
    assert second == LtHash.of([b"a" * 32, b"b" * 32])


@given(IDS)
def test_a_saved_state_is_restored(record_ids: list[bytes]) -> None:
    total = LtHash.of(record_ids)
    restored = LtHash.from_bytes(total.to_bytes())
    restored.add(b"x" * 32)
    total.add(b"x" * 32)
    assert restored.to_bytes() == total.to_bytes()


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="2048 bytes, not 2047"):
        LtHash.from_bytes(bytes(2047))


def test_the_same_id_in_twice_does_not_cancel() -> None:
    twice = LtHash.of([b"a" * 32] * 2)
    assert twice != LtHash()
    assert twice != LtHash.of([b"a" * 32])


def test_no_lane_leaks_into_the_next_before_or_after_many_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.digest._PENDING_MAX", 40)
    record_ids = [n.to_bytes(32, "big") for n in range(200)]
    assert list(unpack("<1024H", LtHash.of(record_ids).to_bytes())) == sum_by_hand(record_ids)
    gone = LtHash.of(record_ids)
    gone.remove_many(record_ids)
    gone.remove_many(record_ids)
    assert gone + LtHash.of(record_ids) == LtHash()


def test_lanes_stay_apart_over_as_many_changes_as_are_summed_at_once() -> None:
    most = LtHash()
    # The worst expansion thinkable, every lane 65,535, as often as ids are summed before a reduction.
    most._total = 31_999 * int.from_bytes(b"\xff" * 2048, "little")
    most._even = 31_999 * int.from_bytes(b"\xff\xff\0\0" * 512, "little")
    least = LtHash()
    least._total, least._even = -most._total, -most._even
    assert set(unpack("<1024H", most.to_bytes())) == {-31_999 % 65536}
    assert set(unpack("<1024H", least.to_bytes())) == {31_999}


def test_a_sum_is_equal_to_no_other_thing() -> None:
    assert LtHash() != "a sum"
