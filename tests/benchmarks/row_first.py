"""First sync: an empty node meets a full one over the real link; all is verified, all can be searched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from node.demo.line import relay_to, until
from node.demo.town import TownProcess
from tests.benchmarks.figures import Bench, Figure, at_least, at_most
from tests.benchmarks.nodes import COUNT, COUNT_QUICK, Filled, cpu_s, filled

WITHIN_S = 600.0


def measure(bench: Bench) -> Iterator[Figure]:
    """Join the two by a relay that counts, and wait until both show the same digests."""
    full = filled(COUNT_QUICK if bench.quick else COUNT)
    before_s = bench.verify_s()
    wall_s, used_s, wire_bytes = asyncio.run(_sync(full))
    verify_s = (before_s + bench.verify_s()) / 2
    speed = full.count * verify_s / wall_s
    share = wire_bytes / full.raw_bytes
    yield Figure(
        "first",
        f"first sync of {full.count:,}",
        full.count / wall_s,
        "/ s",
        speed,
        "V",
        *at_least(speed, 0.55),
    )
    work = full.count * verify_s / used_s
    yield Figure(
        "first", "the same by the CPU of both nodes", full.count / used_s, "/ core-second", work, "V"
    )
    yield Figure("first", "bytes on the wire", wire_bytes, "bytes", share, "R", *at_most(share, 0.6))


async def _sync(full: Filled) -> tuple[float, float, int]:
    """Give seconds of the wall, seconds of CPU of both nodes, and bytes both ways."""
    writer, reader = (
        full.node("writer", "writer of a first sync"),
        full.node("reader", "reader of a first sync"),
    )
    try:
        await asyncio.gather(writer.start(), reader.start())
        relay = await relay_to(writer)
        began_cpu_s = cpu_s(writer.pid) + cpu_s(reader.pid)
        began_s = time.perf_counter()
        await writer.ask("peer_add", url=reader.url, approve=True)
        await reader.ask("peer_add", url=relay.url, approve=True)

        async def equal() -> bool:
            digests = await asyncio.gather(_shared(writer), _shared(reader))
            return digests[0] == digests[1]

        await until("both hold the same", equal, WITHIN_S)
        wall_s = time.perf_counter() - began_s
        used_s = cpu_s(writer.pid) + cpu_s(reader.pid) - began_cpu_s
        await relay.close()
        return wall_s, used_s, relay.carried_bytes
    finally:
        await asyncio.gather(writer.stop(), reader.stop())


async def _shared(node: TownProcess) -> dict[str, str]:
    return await node.digests()
