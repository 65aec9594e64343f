"""Copied cards, old backups and stolen keys: all become one, and nothing that was acknowledged is lost."""

from __future__ import annotations

import pytest

from tests.simulation.copies import run_copies

pytestmark = pytest.mark.law


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_a_clone_a_restored_board_and_a_thief_leave_all_boards_equal_and_nothing_lost(seed: int) -> None:
    land = run_copies(seed, 12)
    for name in ("clones", "restores", "thefts", "kept", "revocations", "came back"):
        assert land.counts[name] > 0, name
