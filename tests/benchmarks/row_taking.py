"""Taking in the demo's corpus, shuffled: from the batch that came over the wire to what a search finds.

Counted is the work of the whole node but the link: unpacking, decoding, the canonical check, verifying,
judging, merging, committing under FULL, the search index, and the held set. No two records are of one
document.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from node.beginnings import settle_memory
from node.intake import Intake
from node.store import Query, SqliteStore, open_store
from protocol.ids import LaneKey
from protocol.record import fields_of, open_record
from protocol.wire import open_parcel
from sync.events import Committed
from sync.held import HeldSet
from sync.verdict import State
from tests.benchmarks.corpus import Neighbours, now, parcels
from tests.benchmarks.figures import Bench, Figure, at_least, at_most


class Door:
    """A reader's store with its door, and the held sets that the hub would keep."""

    def __init__(self, towns: Neighbours, folder: Path) -> None:
        self.held: dict[LaneKey, HeldSet] = {}
        self.store: SqliteStore = open_store(folder, towns.reader.town, chance=os.urandom)
        self.intake = Intake(self.store, towns.reader.device_key, now, chance=os.urandom)
        self.intake.announce = self._keep

    def _keep(self, committed: Committed) -> None:
        for lane in committed.lanes:
            held = self.held.setdefault(lane.key, HeldSet())
            held.remove_many(lane.removed, committed.change)
            held.add_many(lane.added, committed.change)


def measure(bench: Bench) -> Iterator[Figure]:
    """Take in batches, then the same ones again."""
    towns = Neighbours()
    raws = list(towns.records(1_000 if bench.quick else 12_000))
    batches = parcels(raws)
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as folder:
        thresholds = gc.get_threshold()
        try:
            yield from asyncio.run(_take_in(bench, towns, batches, len(raws), Path(folder)))
        finally:
            gc.unfreeze()
            gc.set_threshold(*thresholds)


async def _take_in(
    bench: Bench, towns: Neighbours, batches: Sequence[bytes], count: int, folder: Path
) -> list[Figure]:
    door = Door(towns, folder)
    await door.intake.accept([record.raw for record in towns.evidence])
    settle_memory()
    cpu_s, wall_s, verifies_s = await _run(bench, door, batches)
    last = open_record(open_parcel(batches[-1])[-1])
    title = str((fields_of(last) or {}).get("title") or (fields_of(last) or {}).get("name"))
    page = await door.store.read(
        lambda reader: reader.documents(Query(text=title, limit=None), now().now_ms // 1000)
    )
    if last.id not in {document.id for document in page.documents}:
        raise RuntimeError(f"search does not find {title!r} when the clock stops")
    again_s, _, again_verifies_s = await _run(bench, door, batches)
    held = sum(one.count for one in door.held.values())
    assert held >= count, (held, count)
    await door.store.close()
    speed = count * verifies_s / cpu_s
    wall = count * verifies_s / wall_s
    duplicate = again_s / count / again_verifies_s
    return [
        Figure(
            "taking",
            f"take in {count:,}",
            count / cpu_s,
            "/ core-second",
            speed,
            "V",
            *at_least(speed, 0.45),
        ),
        Figure("taking", "the same by the wall", count / wall_s, "/ s", wall, "V", *at_least(wall, 0.7)),
        Figure(
            "taking",
            "drop one that is held",
            again_s / count * 1e6,
            "us",
            duplicate,
            "/ V",
            *at_most(duplicate, 0.15),
        ),
    ]


async def _run(bench: Bench, door: Door, batches: Sequence[bytes]) -> tuple[float, float, float]:
    """Give seconds of CPU (all threads) and of the wall, and one verify's seconds measured in between."""
    cpu_s = wall_s = 0.0
    verifies: list[float] = []
    # Two batches wait at the door, as on a link.
    for start in range(0, len(batches), 2):
        verifies.append(bench.verify_s())
        began_cpu_s, began_s = time.process_time(), time.perf_counter()
        taken = await asyncio.gather(
            *(door.intake.accept(open_parcel(batch)) for batch in batches[start : start + 2])
        )
        cpu_s += time.process_time() - began_cpu_s
        wall_s += time.perf_counter() - began_s
        if any(verdict.state is not State.HELD for verdicts in taken for verdict in verdicts):
            raise RuntimeError("a record was not held")
    # The mean, for what slows the machine at times slows the work that is summed up too.
    return cpu_s, wall_s, sum(verifies) / len(verifies)
