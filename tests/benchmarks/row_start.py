"""From a command line to the first page, and the memory of an idle node, with few records and many."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator

from aiohttp import ClientSession

from node.demo.town import TownProcess
from tests.benchmarks.figures import NO_GOAL, Bench, Figure, at_most
from tests.benchmarks.nodes import COUNT, COUNT_QUICK, Filled, filled, resident_mb

IDLE_S = 5.0
"""After a start, before memory is looked at."""
MEMORY_MB_MAX = {COUNT: 75.0}


def measure(bench: Bench) -> Iterator[Figure]:
    """Start a node again and again."""
    full = filled(COUNT_QUICK if bench.quick else COUNT)
    for name, count in (("reader", 0), ("writer", full.count)):
        starts_s, empties_s, memory_mb = asyncio.run(_start(bench, full, name, 2 if bench.quick else 7))
        yield Figure("start", "an empty aiohttp app (E)", statistics.median(empties_s) * 1e3, "ms")
        # Each start is set against the empty app just before it: other work on the machine slows both.
        ratio = statistics.median(start / empty for start, empty in zip(starts_s, empties_s, strict=True))
        yield Figure(
            "start",
            f"start with {count:,} records",
            statistics.median(starts_s) * 1e3,
            "ms",
            ratio,
            "E",
            *at_most(ratio, 1.5),
        )
        most = MEMORY_MB_MAX.get(count)
        yield Figure(
            "start",
            f"memory, idle, {count:,} records",
            memory_mb,
            "MB",
            None,
            "",
            *(at_most(memory_mb, most, "MB") if most else NO_GOAL),
        )


async def _start(bench: Bench, full: Filled, name: str, times: int) -> tuple[list[float], list[float], float]:
    """Give seconds of starts, of empty apps just before each, and megabytes of the last one, idle."""
    node = full.node(name, f"{name} that starts")
    starts_s: list[float] = []
    empties_s: list[float] = []
    await node.start()
    try:
        for _ in range(times):
            await node.stop()
            empties_s.append(await asyncio.to_thread(bench.empty_app_s))
            starts_s.append(await _started(node))
        await asyncio.sleep(IDLE_S)
        return starts_s, empties_s, resident_mb(node.pid)
    finally:
        await node.stop()


async def _started(node: TownProcess) -> float:
    began_s = time.perf_counter()
    await node.start()
    async with ClientSession(node.url) as client, client.get("/") as page:
        await page.read()
    return time.perf_counter() - began_s
