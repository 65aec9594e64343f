"""Hubs on cables: whatever two copies differ by, they become one, with no new post."""

from __future__ import annotations

import pytest

from sync.events import Drop, Incident, Synced
from tests.sync.cable import EVERYDAY, Bench, Node, authority_of, raw_record


def pair(bench: Bench, shared: int, only_a: int, only_b: int) -> tuple[Node, Node]:
    """Return two nodes that hold some records both and some alone."""
    records = [raw_record(number) for number in range(shared + only_a + only_b)]
    both = authority_of("a", "ab"), authority_of("b", "ab")
    a = bench.node("a", both[0], records[: shared + only_a])
    b = bench.node("b", both[1], records[:shared] + records[shared + only_a :])
    return a, b


@pytest.mark.parametrize(
    ("shared", "only_a", "only_b"),
    [
        (0, 0, 0), (5, 0, 0), (0, 1, 0), (0, 0, 1), (100, 1, 0), (100, 0, 1), (300, 5, 5), (500, 40, 60),
        (1_000, 700, 300), (0, 300, 0), (0, 0, 300), (2_000, 0, 900),
    ],
)  # fmt: skip
def test_two_copies_become_one_after_link_up(shared: int, only_a: int, only_b: int) -> None:
    bench = Bench()
    a, b = pair(bench, shared, only_a, only_b)
    bench.join(a, b)
    bench.run(10_000)
    assert a.ids() == b.ids()
    assert len(a.ids()) == shared + only_a + only_b
    assert a.hub.held.get(EVERYDAY) is None or a.hub.held[EVERYDAY].digest() == b.hub.held[EVERYDAY].digest()
    assert not a.of(Drop) and not b.of(Drop) and not a.of(Incident)
    assert a.of(Synced) and b.of(Synced)
    assert all(peer.is_idle for node in (a, b) for peer in node.hub.peers())


@pytest.mark.parametrize(("empty_dials", "size"), [(True, 20_000), (False, 12_500)])
def test_an_empty_node_gets_many_thousand_records(empty_dials: bool, size: int) -> None:
    bench = Bench()
    a, b = pair(bench, 0, size, 0)
    cable = bench.join(b, a) if empty_dials else bench.join(a, b)
    bench.run(20_000)
    assert a.ids() == b.ids()
    assert not a.of(Drop) and not b.of(Drop)
    assert b.taken == size
    assert a.hub.held[EVERYDAY].digest() == b.hub.held[EVERYDAY].digest()
    assert cable.lives == [True, True]


@pytest.mark.law
@pytest.mark.parametrize("size", [6_587, 6_588, 9_874])
def test_a_run_of_cells_that_fills_its_frames_ends_like_any(size: int) -> None:
    bench = Bench()
    a, b = pair(bench, 0, size, 0)
    bench.join(b, a)
    bench.run(20_000)
    assert a.ids() == b.ids()
    assert not a.of(Drop) and not b.of(Drop)
    assert b.taken == size


@pytest.mark.parametrize("less_dials", [True, False])
def test_sets_too_far_apart_for_cells_are_listed(less_dials: bool) -> None:
    bench = Bench()
    a, b = pair(bench, 500, 7_800, 5_000)
    bench.join(b, a) if less_dials else bench.join(a, b)
    bench.run(30_000)
    assert len(a.ids()) == 13_300
    assert a.ids() == b.ids()
    assert (a.taken, b.taken) == (5_000, 7_800)


def test_a_post_goes_down_a_line_of_three_at_once() -> None:
    bench = Bench()
    names = "abc"
    a, b, c = (bench.node(name, authority_of(name, names)) for name in names)
    bench.join(a, b)
    bench.join(c, b)
    bench.run(1_000)
    for number in range(20):
        bench.post(a, raw_record(number))
        bench.run(20)
    bench.run(40)
    assert len(c.ids()) == 20
    assert (b.taken, c.taken, a.taken) == (20, 20, 0)


def test_a_line_is_healed_after_a_cut_without_a_new_post() -> None:
    bench = Bench()
    a, b, c = (bench.node(name, authority_of(name, "abc")) for name in "abc")
    bench.join(a, b)
    cable = bench.join(b, c)
    bench.run(1_000)
    bench.cut(cable)
    bench.post(a, *(raw_record(number) for number in range(30)))
    bench.post(c, *(raw_record(number) for number in range(100, 120)))
    bench.run(180_000)
    assert len(a.ids()) == 30 and len(c.ids()) == 20
    bench.join(c, b)
    bench.run(1_000)
    assert a.ids() == b.ids() == c.ids()
    assert len(a.ids()) == 50
