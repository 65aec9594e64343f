"""The hybrid logical clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.clock import Clock, stamp_at, stamp_ms
from protocol.errors import LimitExceeded
from protocol.limits import STAMP_MAX, STAMP_RESET_MS

TIMES = st.integers(1, 2**47)


@given(st.lists(TIMES, min_size=2, max_size=30))
def test_unsure_time_may_jump_but_stamps_only_ascend(times: list[int]) -> None:
    clock = Clock()
    stamps = [clock.tick(now_ms, sure=False) for now_ms in times]
    assert stamps == sorted(set(stamps))


@given(TIMES, st.integers(0, STAMP_RESET_MS))
def test_a_stamp_is_never_behind_the_clock_nor_behind_what_was_seen(now_ms: int, ahead_ms: int) -> None:
    stamp = Clock(stamp_at(now_ms + ahead_ms)).tick(now_ms)
    assert stamp > stamp_at(now_ms + ahead_ms)
    assert stamp_ms(stamp) >= now_ms


@given(TIMES, st.integers(STAMP_RESET_MS + 1, 2**40))
def test_a_stamp_that_ran_ahead_falls_back_to_sure_time_only(now_ms: int, ahead_ms: int) -> None:
    assert Clock(stamp_at(now_ms + ahead_ms)).tick(now_ms, sure=True) == stamp_at(now_ms)
    assert Clock(stamp_at(now_ms + ahead_ms)).tick(now_ms, sure=False) == stamp_at(now_ms + ahead_ms) + 1


@given(TIMES, st.integers(0, STAMP_MAX - 1))
def test_a_stamp_is_greater_than_every_stamp_of_its_document(now_ms: int, after: int) -> None:
    assert Clock().tick(now_ms, after=after) > after


def test_at_the_end_of_time_there_is_no_later_stamp() -> None:
    with pytest.raises(LimitExceeded):
        Clock().tick(0, after=STAMP_MAX)
