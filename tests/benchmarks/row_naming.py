"""Naming a difference through two real hubs: all bytes both ways but the records themselves.

Counted as a proxy on the connection sees them: each frame with the tag of the secure channel and the
header of its WebSocket message, those that are under way when the difference is known already among
them. Time is counted in trips over the cable: whatever is under way arrives together.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from random import Random

from sync.held import HeldSet
from tests.benchmarks.cable import Cable, Naming
from tests.benchmarks.corpus import Neighbours
from tests.benchmarks.figures import Bench, Figure, at_most

TRIALS = {0: 1, 1: 21, 10: 21, 100: 31, 1_000: 21, 10_000: 5}


def measure(bench: Bench) -> Iterator[Figure]:
    """Name differences of each size between sets of each size."""
    random = Random(3)
    towns = Neighbours()
    common = HeldSet()
    for size in (1_000, 10_000) if bench.quick else (10_000, 100_000, 1_000_000):
        common.add_many([random.randbytes(32) for _ in range(size - common.count)], 1)
        saved = common.to_bytes()
        for difference, trials in TRIALS.items():
            if bench.quick and difference > 1_000:
                continue
            named = [
                Cable(
                    towns,
                    _with(saved, difference // 2, random),
                    _with(saved, difference - difference // 2, random),
                    seed,
                ).name()
                for seed in range(min(trials, 3) if bench.quick else trials)
            ]
            yield from _figures(size, difference, named)


def _figures(size: int, difference: int, named: list[Naming]) -> Iterator[Figure]:
    wire_bytes = statistics.median(one.wire_bytes for one in named)
    round_trips = -(-statistics.median(one.trips for one in named) // 2)
    case = f"d = {difference:,} among {size:,}"
    if not difference:
        lane = wire_bytes / 3
        yield Figure("naming", "two equal towns", wire_bytes, "bytes", lane, "B a lane", *at_most(lane, 64))
    elif difference >= 1_000:
        each = wire_bytes / difference
        yield Figure("naming", case, wire_bytes, "bytes", each, "B x d", *at_most(each, 24))
    else:
        most = 3_200 if difference == 100 else 600
        each = wire_bytes / difference
        yield Figure("naming", case, wire_bytes, "bytes", each, "B x d", *at_most(wire_bytes, most, "B"))
    trips_max = 1 if difference <= 10 else 2
    yield Figure(
        "naming",
        case + ": round trips",
        round_trips,
        "",
        None,
        "",
        *at_most(round_trips, trips_max),
    )


def _with(saved: bytes, count: int, random: Random) -> HeldSet:
    held = HeldSet.from_bytes(saved)
    held.add_many([random.randbytes(32) for _ in range(count)], 2)
    return held
