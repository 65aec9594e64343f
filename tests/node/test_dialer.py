"""Who is called when: the plan of one peer by an imagined clock, and the shell that carries plans out."""

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.transport.channel import LinkFailure
from node.transport.dialer import (
    ATTEMPT_MS_MAX,
    ATTEMPTS_MAX,
    INTERVAL_MS,
    LIVED_MS,
    SLOW_AFTER_MS,
    SLOW_INTERVAL_MS,
    Dialer,
    Plan,
    Reach,
)
from protocol.ids import TownId

WAIT_S = 20.0
TOWN = TownId(b"t" * 32)
OTHER = TownId(b"o" * 32)


def starts_until(plan: Plan, from_ms: int, to_ms: int, *, refused: bool = False) -> list[int]:
    """When calls are started between two times, each looked at exactly when the plan says."""
    starts: list[int] = []
    now_ms = from_ms
    while now_ms <= to_ms:
        _, started = plan.due(now_ms)
        assert len(plan.attempts) <= ATTEMPTS_MAX
        if started is not None:
            starts.append(now_ms)
            if refused:
                plan.ended(started)
        look_ms = plan.next_look_ms()
        if look_ms is None:
            break
        now_ms = max(look_ms, now_ms + 1)
    return starts


def gaps(times: list[int]) -> list[int]:
    """The times between calls."""
    return [later - sooner for sooner, later in itertools.pairwise(times)]


@pytest.fixture
def plan() -> Plan:
    """The plan of a peer at the start of a node."""
    return Plan(random.Random(1))


def test_a_peer_is_called_at_once_when_a_node_starts(plan: Plan) -> None:
    assert plan.due(0) == ([], 1)


@pytest.mark.parametrize("refused", [True, False], ids=["refusing", "silent"])
def test_a_fresh_call_starts_within_five_seconds_whatever_the_old_ones_wait_for(
    plan: Plan, refused: bool
) -> None:
    starts = starts_until(plan, 0, 10 * 60_000, refused=refused)
    assert max(gaps(starts)) <= INTERVAL_MS
    assert min(gaps(starts)) >= INTERVAL_MS * 0.8


def test_calls_do_not_keep_step(plan: Plan) -> None:
    assert len(set(gaps(starts_until(plan, 0, 10 * 60_000)))) > 10


def test_a_call_lives_at_most_fifteen_seconds_and_at_most_three_live_at_once(plan: Plan) -> None:
    began: dict[int, int] = {}
    for now_ms in range(0, 120_000, 50):
        given_up, started = plan.due(now_ms)
        for attempt in given_up:
            assert now_ms - began.pop(attempt) <= ATTEMPT_MS_MAX + 50
        if started is not None:
            began[started] = now_ms
        assert began.keys() == plan.attempts.keys()
        assert len(began) <= ATTEMPTS_MAX


def test_after_half_an_hour_in_vain_it_is_called_every_minute(plan: Plan) -> None:
    starts = starts_until(plan, 0, SLOW_AFTER_MS + 10 * 60_000, refused=True)
    late = [start for start in starts if start > SLOW_AFTER_MS + INTERVAL_MS]
    assert min(gaps(late)) >= SLOW_INTERVAL_MS * 0.8
    assert max(gaps(late)) <= SLOW_INTERVAL_MS


def test_a_first_word_from_a_peer_begins_the_patience_anew(plan: Plan) -> None:
    starts_until(plan, 0, SLOW_AFTER_MS + 5 * 60_000, refused=True)
    now_ms = SLOW_AFTER_MS + 5 * 60_000
    plan.encourage(now_ms)
    starts = starts_until(plan, now_ms, now_ms + 60_000, refused=True)
    assert starts[0] - now_ms <= INTERVAL_MS
    assert max(gaps(starts)) <= INTERVAL_MS


def test_a_link_that_lived_is_dialled_again_at_once_and_one_that_did_not_is_not(plan: Plan) -> None:
    plan.due(0)
    plan.set_reach(Reach.UP, 100)
    plan.set_reach(Reach.DOWN, 100 + LIVED_MS)
    assert plan.due(100 + LIVED_MS)[1] is not None
    plan.set_reach(Reach.UP, 6_000)
    plan.set_reach(Reach.DOWN, 6_100)
    assert plan.due(6_100)[1] is None
    assert plan.due(6_100 + INTERVAL_MS)[1] is not None


def test_nothing_is_called_while_a_link_is_up_and_its_calls_are_given_up(plan: Plan) -> None:
    _, started = plan.due(0)
    plan.set_reach(Reach.UP, 10)
    assert plan.due(10) == ([started], None)
    assert plan.next_look_ms() is None
    assert plan.due(10**9) == ([], None)


def test_a_late_link_is_dialled_beside_until_it_speaks_again(plan: Plan) -> None:
    plan.due(0)
    plan.set_reach(Reach.UP, 100)
    plan.due(100)
    plan.set_reach(Reach.LATE, 30_000)
    starts = starts_until(plan, 30_000, 60_000)
    assert starts[0] == 30_000
    assert max(gaps(starts)) <= INTERVAL_MS
    living = list(plan.attempts)
    plan.set_reach(Reach.UP, 60_001)
    assert plan.due(60_001) == (living, None)


def test_a_machine_that_wakes_calls_at_once(plan: Plan) -> None:
    starts_until(plan, 0, 2 * SLOW_AFTER_MS, refused=True)
    plan.wake(2 * SLOW_AFTER_MS + 1)
    assert plan.due(2 * SLOW_AFTER_MS + 1)[1] is not None


@given(
    st.lists(
        st.tuples(
            st.integers(min_value=0, max_value=200_000),
            st.sampled_from(["up", "late", "down", "wake", "encourage", "ended", "pass"]),
        ),
        max_size=40,
    ),
    st.integers(),
)
def test_whatever_happens_an_unreached_peer_is_always_called_again(
    moves: list[tuple[int, str]], seed: int
) -> None:
    plan = Plan(random.Random(seed))
    now_ms = 0
    for passed, move in moves:
        now_ms += passed
        if move in ("up", "late", "down"):
            plan.set_reach(Reach(move), now_ms)
        elif move == "wake":
            plan.wake(now_ms)
        elif move == "encourage":
            plan.encourage(now_ms)
        elif move == "ended":
            for attempt in list(plan.attempts):
                plan.ended(attempt)
        plan.due(now_ms)
        assert len(plan.attempts) <= ATTEMPTS_MAX
        if plan.reach is Reach.UP:
            assert not plan.attempts
        else:
            look_ms = plan.next_look_ms()
            assert look_ms is not None
            assert look_ms <= now_ms + SLOW_INTERVAL_MS


# The shell.


async def test_a_peer_with_two_addresses_is_called_at_each_in_turn() -> None:
    called: list[str] = []
    twice = asyncio.Event()

    async def connect(town: TownId, url: str) -> None:
        called.append(url)
        if len(called) == 2:
            twice.set()
        raise LinkFailure("refused", code="unreachable")

    dialer = Dialer(connect)
    dialer.set_callees([(TOWN, ("http://a", "http://b")), (OTHER, ())])
    dialer.start()
    async with asyncio.timeout(WAIT_S):
        while not called or dialer.is_calling(TOWN):
            await asyncio.sleep(0)
        failure = dialer.failure(TOWN)
        dialer.wake()
        await twice.wait()
    assert set(called) == {"http://a", "http://b"}
    assert failure is not None and failure.code == "unreachable"
    assert failure.detail["url"] == "http://a", "it is said where nobody answered"
    assert dialer.failure(OTHER) is None
    assert dialer.next_call_in_ms(OTHER) is None
    await dialer.stop()


async def test_the_address_that_answers_is_told_where_the_first_one_fails() -> None:
    moved: list[str] = []
    told = asyncio.Event()

    async def connect(town: TownId, url: str) -> None:
        if url == "http://dead":
            raise LinkFailure("refused", code="unreachable")

    async def note(town: TownId, url: str) -> None:
        moved.append(url)
        told.set()

    dialer = Dialer(connect, moved=note)
    dialer.set_callees([(TOWN, ("http://dead", "http://good"))])
    dialer.start()
    async with asyncio.timeout(WAIT_S):
        while dialer.failure(TOWN) is None:
            await asyncio.sleep(0)
        dialer.wake()
        await told.wait()
    assert moved == ["http://good"] == [dialer.called_at(TOWN)]
    await dialer.stop()


async def test_a_call_that_hangs_is_given_up_when_a_link_stands() -> None:
    hanging = asyncio.Event()
    given_up = asyncio.Event()

    async def connect(town: TownId, url: str) -> None:
        hanging.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    dialer = Dialer(connect)
    dialer.set_callees([(TOWN, ("http://a",))])
    dialer.start()
    async with asyncio.timeout(WAIT_S):
        await hanging.wait()
        assert dialer.is_calling(TOWN)
        dialer.set_reach(TOWN, Reach.UP)
        await given_up.wait()
    assert dialer.next_call_in_ms(TOWN) is None
    await dialer.stop()


async def test_a_peer_that_is_removed_is_called_no_more() -> None:
    hanging = asyncio.Event()
    given_up = asyncio.Event()

    async def connect(town: TownId, url: str) -> None:
        hanging.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    dialer = Dialer(connect)
    dialer.set_callees([(TOWN, ("http://a",))])
    dialer.start()
    async with asyncio.timeout(WAIT_S):
        await hanging.wait()
        dialer.set_callees([])
        await given_up.wait()
    assert not dialer.is_calling(TOWN)
    await dialer.stop()


async def test_the_dialer_stops_with_its_calls_under_way() -> None:
    hanging = asyncio.Event()

    async def connect(town: TownId, url: str) -> None:
        hanging.set()
        await asyncio.Event().wait()

    dialer = Dialer(connect)
    dialer.set_callees([(TOWN, ("http://a",)), (OTHER, ("http://b",))])
    dialer.start()
    async with asyncio.timeout(WAIT_S):
        await hanging.wait()
        await dialer.stop()
    assert not dialer.is_calling(TOWN)
