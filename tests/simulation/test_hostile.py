"""Honest towns among liars lose nothing, promise nothing twice, become equal; one alone stays itself."""

from __future__ import annotations

import pytest

from tests.simulation.hostile import run_den

pytestmark = pytest.mark.law


@pytest.mark.parametrize(("seed", "honest"), [(1, 7), (2, 5), (3, 3), (4, 2), (5, 1), (6, 1)])
def test_honest_towns_among_liars_keep_what_they_promised(seed: int, honest: int) -> None:
    """Ten towns, of which all but so many lie; at last all but one."""
    den = run_den(seed, 10, honest)
    for name in ("promises", "contradictions", "cheats", "lies"):
        assert den.counts[name] > 0, name
    for ledgers in map(den.ledgers, den.honest):
        assert any(ledger.forks for ledger in ledgers.values())
