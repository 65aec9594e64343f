"""Links that break, fall silent or cross, stores that lag: the copies become one all the same."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from protocol.ids import Lane, LaneKey
from sync.events import Drop, Incident
from tests.sync.cable import FEDERATION, Bench, Cable, Node, authority_of, raw_record, victim_of

LANES = [(FEDERATION, lane) for lane in Lane]


def sets_of(nodes: list[Node]) -> list[list[set[bytes]]]:
    """Return what each node holds in each lane."""
    return [[set(node.ids(key)) for key in LANES] for node in nodes]


class Shaking:
    """Nodes that post and supersede while their links come and go."""

    def __init__(self, seed: int, size: int) -> None:
        self.rng = rng = Random(seed)
        self.bench = Bench(seed)
        self.bench.frame_ms = rng.choice([0, 1, 40, 300])
        self.bench.store_ms = rng.choice([0, 1, 30, 400])
        self._number = 0
        names = "abcde"[: rng.randint(2, 4)]
        pool = [self.fresh() for _ in range(size)]
        self.nodes = [
            self.bench.node(name, authority_of(name, names), rng.sample(pool, rng.randint(0, size)))
            for name in names
        ]
        self.cables: dict[tuple[int, int], Cable] = {}

    def fresh(self, key: LaneKey | None = None, kills: bytes | None = None) -> bytes:
        """Return a record that nobody has."""
        self._number += 1
        key = key or LANES[self.rng.randrange(3)]
        return raw_record(self._number, key, bytes_count=self.rng.choice([10, 400, 9_000]), kills=kills)

    def step(self) -> None:
        """Do one thing to a link or a node."""
        rng, deed = self.rng, self.rng.random()
        pair = rng.sample(range(len(self.nodes)), 2)
        edge = (min(pair), max(pair))
        node = self.nodes[pair[0]]
        if deed < 0.25:
            self.cables[edge] = self.bench.join(node, self.nodes[pair[1]])
        elif deed < 0.45 and edge in self.cables:
            self.bench.cut(self.cables.pop(edge))
        elif deed < 0.5 and edge in self.cables:
            chance = Random(rng.random())
            self.cables.pop(edge).passes = lambda: chance.random() < 0.5
        elif deed < 0.75:
            self.bench.post(node, *(self.fresh() for _ in range(rng.choice([1, 1, 3, 50]))))
        else:
            key = LANES[rng.randrange(3)]
            shelf = node.shelves.get(key, {})
            # What supersedes is not superseded itself: merge is not tried here.
            victims = [record for record in sorted(shelf) if victim_of(shelf[record]) is None][:20]
            self.bench.post(node, *(self.fresh(key, victim) for victim in victims))
        self.bench.run(rng.choice([0, 3, 50, 700, 4_000]))


def shake(seed: int, *, size: int, steps: int) -> None:
    """Shake some nodes, then leave them in peace."""
    shaking = Shaking(seed, size)
    rng, bench, nodes = shaking.rng, shaking.bench, shaking.nodes
    for _ in range(steps):
        shaking.step()
    for cable in bench.cables:
        bench.cut(cable)
    bench.run(100)
    for first, second in pairwise(nodes):
        bench.join(*rng.sample([first, second], 2))
    bench.run(200_000)
    held = sets_of(nodes)
    assert all(each == held[0] for each in held), f"seed {seed}"
    assert not any(node.of(Incident) for node in nodes), f"seed {seed}"
    codes = {drop.code for node in nodes for drop in node.of(Drop) if isinstance(drop, Drop)}
    assert codes <= {
        "replaced",
        "silent",
        "stalled",
        "out_of_turn",
        "malformed_frame",
        "flooding",
        "unknown_batch",
    }
    assert all(peer.is_idle for node in nodes for peer in node.hub.peers()), f"seed {seed}"


@pytest.mark.parametrize("seed", range(30))
def test_copies_become_one_after_links_have_come_and_gone(seed: int) -> None:
    shake(seed, size=40, steps=40)
