"""The held set: brought forward, given as a snapshot, saved and restored."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.limits import CELLS_KEPT
from sync.digest import LtHash
from sync.held import HELD_BYTES, HeldSet
from sync.sketch import PLAIN, cells_to_bytes, sketch_of

IDS = st.lists(st.binary(min_size=32, max_size=32), max_size=12, unique=True)


def state(held: HeldSet) -> bytes:
    """Give everything that a set holds but the number of its last change."""
    saved = held.to_bytes()
    return saved[:9] + saved[17:]


@settings(deadline=None)
@given(IDS)
def test_a_set_knows_its_count_digest_counts_and_cells(record_ids: list[bytes]) -> None:
    held = HeldSet.of(record_ids, change=7).snapshot()
    assert (held.count, held.change) == (len(record_ids), 7)
    assert held.digest == LtHash.of(record_ids).digest()
    assert held.lthash == LtHash.of(record_ids)
    assert list(held.counts) == [sum(one[0] == first for one in record_ids) for first in range(256)]
    assert list(held.cells) == sketch_of([one[:8] for one in record_ids], PLAIN, CELLS_KEPT)


@settings(deadline=None)
@given(IDS, IDS)
def test_what_is_added_and_removed_leaves_no_trace(stays: list[bytes], goes: list[bytes]) -> None:
    held = HeldSet.of(stays)
    held.add_many(goes, 1)
    for record_id in goes:
        held.remove(record_id, 2)
    assert held.change == (2 if goes else 1)
    assert state(held) == state(HeldSet.of(stays))


@settings(deadline=None)
@given(IDS)
def test_one_by_one_is_the_same_as_many_in_any_order(record_ids: list[bytes]) -> None:
    held = HeldSet()
    for record_id in reversed(record_ids):
        held.add(record_id, 1)
    assert state(held) == state(HeldSet.of(record_ids))


@settings(deadline=None)
@given(IDS, IDS)
def test_a_restored_set_is_brought_forward_like_the_saved_one(first: list[bytes], then: list[bytes]) -> None:
    held = HeldSet.of(first, change=3)
    restored = HeldSet.from_bytes(held.to_bytes())
    assert restored.to_bytes() == held.to_bytes()
    for one in (held, restored):
        one.remove_many(first, 4)
        one.add_many(then, 5)
    assert restored.to_bytes() == held.to_bytes()
    assert (restored.count, restored.change) == (len(then), 5)


def test_a_snapshot_stays_as_it_was() -> None:
    held = HeldSet.of([b"a" * 32], change=1)
    before = held.snapshot()
    cells = cells_to_bytes(before.cells)
    held.add(b"b" * 32, 2)
    after = held.snapshot()
    held.remove(b"a" * 32, 3)
    assert (before.count, before.change, before.digest) == (1, 1, LtHash.of([b"a" * 32]).digest())
    assert cells_to_bytes(before.cells) == cells
    assert before.counts[ord("a")] == 1
    assert before.lthash == LtHash.of([b"a" * 32])
    assert (after.count, after.counts[ord("b")]) == (2, 1)


def test_snapshots_without_a_change_between_are_one() -> None:
    held = HeldSet()
    assert held.snapshot() is held.snapshot()
    assert held.digest() is held.digest()


def test_a_digest_of_a_changed_set_is_new() -> None:
    held = HeldSet()
    empty = held.digest()
    held.add(b"a" * 32, 1)
    assert held.digest() != empty
    held.remove(b"a" * 32, 2)
    assert held.digest() == empty


def test_counts_go_round_at_256() -> None:
    held = HeldSet.of(bytes([9]) + n.to_bytes(31, "big") for n in range(257))
    assert held.snapshot().counts[9] == 1
    held.remove_many([bytes([9]) + n.to_bytes(31, "big") for n in range(2)], 2)
    assert held.snapshot().counts[9] == 255


@pytest.mark.parametrize(
    "spoil", [lambda saved: saved[1:], lambda saved: b"\x09" + saved[1:], lambda saved: b""]
)
def test_bytes_that_are_no_saved_set_are_refused(spoil: object) -> None:
    saved = HeldSet().to_bytes()
    assert len(saved) == HELD_BYTES
    with pytest.raises(ValueError, match="not a saved held set"):
        HeldSet.from_bytes(spoil(saved))  # type: ignore[operator]  # a lambda of the table above
