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
