"""Reading the board of a node with many documents: its page, the API's list, and search."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from random import Random

from aiohttp import ClientSession, TCPConnector

from node.demo.corpus import corpus
from node.demo.town import TownProcess
from tests.benchmarks.figures import Bench, Figure, at_least, at_most
from tests.benchmarks.nodes import COUNT, COUNT_QUICK, cpu_s, filled

CLIENTS = 4
"""Requests under way at a time."""


def measure(bench: Bench) -> Iterator[Figure]:
    """Ask a running node for pages over HTTP; its own CPU is counted, the client's is not."""
    full = filled(COUNT_QUICK if bench.quick else COUNT)
    return iter(asyncio.run(_measure(full.node("writer"), full.count, 40 if bench.quick else 400)))


async def _measure(node: TownProcess, count: int, times: int) -> list[Figure]:
    await node.start()
    try:
        connector = TCPConnector(limit=CLIENTS)
        async with ClientSession(node.url, connector=connector) as client:
            figures = []
            board, listed = "/?kind=offer", "/api/v1/documents?kind=offer&limit=20"
            for case, paths, goal in (
                (f"the board of {count:,} documents, kept", [board] * times, 1_000),
                # What a question does not know is left out of the answer, but makes it another page.
                (f"the board of {count:,}, made anew", [f"{board}&n={n}" for n in range(times)], 1_000),
                (f"20 of {count:,} by the API", [listed] * times, 1_000),
            ):
                await _get(client, paths[0])
                used_s, _ = await _ask(node, client, paths)
                rate = times / used_s
                figures.append(
                    Figure("listing", case, rate, "/ core-second", None, "", *at_least(rate, goal))
                )
            words = _words(times)
            used_s, _ = await _ask(
                node, client, [f"/api/v1/documents?q={word}&limit=20" for word in words[:50]]
            )
            single = []
            for word in words:
                one_s, _ = await _ask(node, client, [f"/api/v1/documents?q={word}&limit=20"])
                single.append(one_s * 1e3)
            p95 = statistics.quantiles(single, n=20)[-1]
            figures.append(
                Figure(
                    "listing",
                    f"a search in {count:,}, p95 of CPU",
                    p95,
                    "ms",
                    None,
                    "",
                    *at_most(p95, 10, "ms"),
                )
            )
            return figures
    finally:
        await node.stop()


async def _ask(node: TownProcess, client: ClientSession, paths: Sequence[str]) -> tuple[float, float]:
    """Give seconds of the node's CPU, and of the wall, for these requests."""
    queue = iter(paths)

    async def work() -> None:
        for path in queue:
            await _get(client, path)

    began_cpu_s, began_s = cpu_s(node.pid), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return cpu_s(node.pid) - began_cpu_s, time.perf_counter() - began_s


async def _get(client: ClientSession, path: str) -> None:
    async with client.get(path) as answer:
        await answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")


def _words(count: int) -> list[str]:
    """Give words of the corpus, common and rare."""
    random = Random(6)
    titles = [str(entry.fields.get("title") or entry.fields.get("name")) for entry in corpus(0, size=2_000)]
    words = [word for title in titles for word in title.split() if word.isalpha()]
    return [random.choice(words) for _ in range(count)]
