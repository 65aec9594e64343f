"""Two records whose short ids are equal, made to stall the sketch: what they cost beyond honest ones."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from sync.held import HeldSet
from tests.benchmarks.cable import Cable, Naming
from tests.benchmarks.corpus import Neighbours
from tests.benchmarks.figures import Bench, Figure, at_most

SLACK_BYTES = 32_768


def measure(bench: Bench) -> Iterator[Figure]:
    """Name differences with and without such a pair, on one side and on both."""
    random = Random(4)
    towns = Neighbours()
    common = [random.randbytes(32) for _ in range(1_000 if bench.quick else 20_000)]
    for difference in (2, 100):
        mine, theirs = ([random.randbytes(32) for _ in range(difference // 2)] for _ in range(2))
        honest = _name(towns, common, mine, theirs)
        short = random.randbytes(8)
        twins = [short + random.randbytes(24) for _ in range(2)]
        for case, left, right in (
            ("on one side", [*mine[2:], *twins], theirs),
            ("one on each side", [*mine[1:], twins[0]], [*theirs[1:], twins[1]]),
        ):
            named = _name(towns, common, left, right)
            most = 2 * honest.wire_bytes + SLACK_BYTES
            yield Figure(
                "hostile",
                f"d = {difference}, two equal short ids {case}",
                named.wire_bytes,
                "bytes",
                named.wire_bytes / honest.wire_bytes,
                "x honest",
                *at_most(named.wire_bytes, most, "B"),
            )
            more = -(-named.trips // 2) - -(-honest.trips // 2)
            yield Figure("hostile", "  round trips more", more, "", None, "", *at_most(more, 1))


def _name(towns: Neighbours, common: list[bytes], mine: list[bytes], theirs: list[bytes]) -> Naming:
    left, right = [*common, *mine], [*common, *theirs]
    return Cable(towns, HeldSet.of(left), HeldSet.of(right), 5, (left, right)).name()
