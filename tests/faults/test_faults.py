"""Every planted fault is caught by the test that it names, so the tests are known to look."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.faults.run import AT_ONCE, Fault, NotCaught, faults, try_out

FAULTS = faults()
PLANTED_MIN = 8


@pytest.fixture(scope="module")
def trials() -> dict[str, Future[float]]:
    """All faults on trial, `AT_ONCE` side by side, in the order in which they are asked for."""
    pool = ThreadPoolExecutor(AT_ONCE)
    return {fault.name: pool.submit(try_out, fault) for fault in FAULTS}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.name))
def test_a_planted_fault_is_caught_by_an_assertion(fault: Fault, trials: dict[str, Future[float]]) -> None:
    """The program with this fault fails the test that the patch names."""
    try:
        trials[fault.name].result()
    except NotCaught as error:
        pytest.fail(str(error), pytrace=False)


def test_there_are_faults_enough() -> None:
    """A folder that was emptied would catch everything."""
    assert len(FAULTS) >= PLANTED_MIN
