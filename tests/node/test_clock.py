"""Node time: believed when it can be, steady when it cannot, never backwards."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from node.clock import BELIEF_SPAN_MS, DAY_MS, NodeClock, kernel_synchronised, monotonic_ms, wall_ms

SURE_MS = 1_790_000_000_000


@dataclass
class Clocks:
    """The three clocks of a machine, set by hand."""

    wall: int = SURE_MS
    steady: int = 5_000
    synchronised: bool = False

    def node(self, last_sure_ms: int = SURE_MS) -> NodeClock:
        """A node that starts on this machine."""
        return NodeClock(
            last_sure_ms,
            wall=lambda: self.wall,
            monotonic=lambda: self.steady,
            synchronised=lambda: self.synchronised,
        )

    def pass_ms(self, ms: int) -> None:
        """Time passes on both clocks."""
        self.wall += ms
        self.steady += ms


def test_a_wall_clock_shortly_after_the_last_sure_time_is_believed() -> None:
    clocks = Clocks(wall=SURE_MS + 3 * DAY_MS)
    node = clocks.node()
    assert node.now_ms() == SURE_MS + 3 * DAY_MS
    assert node.sure


def test_a_board_that_boots_in_1970_counts_on_from_its_last_sure_time() -> None:
    clocks = Clocks(wall=12_000)
    node = clocks.node()
    assert (node.now_ms(), node.sure) == (SURE_MS, False)
    clocks.pass_ms(60_000)
    assert (node.now_ms(), node.sure) == (SURE_MS + 60_000, False)


def test_a_wall_clock_of_2099_is_ignored() -> None:
    clocks = Clocks(wall=SURE_MS + BELIEF_SPAN_MS + DAY_MS)
    node = clocks.node()
    assert (node.now_ms(), node.sure) == (SURE_MS, False)


def test_a_wall_clock_that_a_time_server_disciplines_is_believed_whatever_it_says() -> None:
    clocks = Clocks(wall=SURE_MS + 400 * DAY_MS, synchronised=True)
    node = clocks.node()
    assert (node.now_ms(), node.sure) == (SURE_MS + 400 * DAY_MS, True)


def test_a_clock_becomes_sure_when_the_time_server_is_reached_and_stays_so_without_it() -> None:
    clocks = Clocks(wall=1_000)
    node = clocks.node()
    assert node.read().sure is False
    clocks.pass_ms(2_000)
    clocks.wall, clocks.synchronised = SURE_MS + DAY_MS, True
    assert node.sure
    clocks.synchronised = False
    clocks.pass_ms(60_000)
    assert (node.now_ms(), node.sure) == (SURE_MS + DAY_MS + 60_000, True)
    assert node.last_sure_ms == SURE_MS + DAY_MS + 60_000


def test_a_person_who_says_what_time_it_is_makes_it_sure() -> None:
    clocks = Clocks(wall=SURE_MS + 100)
    node = clocks.node(last_sure_ms=0)
    assert node.read().sure is False
    node.confirm(SURE_MS)
    assert node.sure
    assert node.now_ms() >= SURE_MS


def test_a_small_step_back_holds_the_time_and_a_large_one_is_not_believed() -> None:
    clocks = Clocks()
    node = clocks.node()
    clocks.pass_ms(120_000)
    before = node.now_ms()
    clocks.wall -= 60_000
    assert (node.now_ms(), node.sure) == (before, True)
    clocks.wall -= 3_600_000
    clocks.steady += 5_000
    assert (node.now_ms(), node.sure) == (before + 5_000, False)


def test_a_laptop_that_slept_for_a_week_is_still_sure() -> None:
    clocks = Clocks()
    node = clocks.node()
    assert node.sure
    clocks.wall += 7 * DAY_MS
    assert (node.now_ms(), node.sure) == (SURE_MS + 7 * DAY_MS, True)


@given(
    st.lists(
        st.tuples(
            st.integers(min_value=-400 * DAY_MS, max_value=400 * DAY_MS),
            st.integers(min_value=0, max_value=DAY_MS),
            st.booleans(),
        ),
        max_size=20,
    ),
    st.integers(min_value=0, max_value=2 * SURE_MS),
)
def test_node_time_never_goes_backwards_within_a_run(
    moves: list[tuple[int, int, bool]], last_sure_ms: int
) -> None:
    clocks = Clocks()
    node = clocks.node(last_sure_ms)
    latest = node.now_ms()
    for step, passed, synchronised in moves:
        clocks.wall = max(0, clocks.wall + step)
        clocks.steady += passed
        clocks.synchronised = synchronised
        now = node.now_ms()
        assert now >= latest
        latest = now


def test_the_clocks_of_this_machine_can_be_read() -> None:
    assert wall_ms() > 1_600_000_000_000
    assert monotonic_ms() <= monotonic_ms()
    assert kernel_synchronised() in (True, False)
