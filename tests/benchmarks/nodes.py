"""Real nodes for the rows that need them: data directories filled through the door, and their processes.

Filling takes half a minute for 100,000 records, so one filled directory serves all rows of a run; a row
that changes it works on a copy.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from node import keys as key_files
from node.config import SETTINGS_FILE, commented
from node.demo.town import TownProcess
from node.intake import Intake
from node.store import open_store
from protocol.identity import TownKey
from sync.verdict import State
from tests.benchmarks.corpus import Member, Neighbours, batches, now

COUNT = 100_000
COUNT_QUICK = 2_000


@dataclass(frozen=True)
class Filled:
    """Two data directories of one federation: a full writer's and a reader's without posts.

    Attributes:
        count: records that only the writer holds.
        raw_bytes: their size.
    """

    folder: Path
    count: int
    raw_bytes: int

    def node(self, name: str, copy: str = "") -> TownProcess:
        """Give the `writer` or the `reader`, not yet running; of a copy of its directory if that is named."""
        if copy:
            shutil.copytree(self.folder / name, self.folder / copy)
        return TownProcess(name, self.folder / (copy or name))


@cache
def filled(count: int) -> Filled:
    """Fill directories, once in a run; they go when the process ends."""
    folder = Path(_root().name) / str(count)
    members = [_begin(folder / name) for name in ("writer", "reader")]
    towns = Neighbours(*(member for member, _ in members))
    shared = [record.raw for record in towns.evidence] + [certificate for _, certificate in members]
    raws = list(towns.records(count))
    asyncio.run(_take_in(folder / "reader", members[1][0], shared))
    asyncio.run(_take_in(folder / "writer", members[0][0], shared + raws))
    return Filled(folder, count, sum(map(len, raws)))


def resident_mb(pid: int) -> float:
    """Give the resident memory of a process, and of the processes that it began, in megabytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    own_kb = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own_kb * 1024 / 1e6 + sum(resident_mb(int(child)) for child in children)


def cpu_s(pid: int) -> float:
    """Give the seconds of CPU that a process has used, to the nanosecond where the kernel tells them so."""
    runtimes = (int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(runtimes) / 1e9


@cache
def _root() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="hedgerow-bench-")


def _begin(data: Path) -> tuple[Member, bytes]:
    """Make a data directory as `init` does, but keep the town key; give the town and its certificate."""
    town_key = TownKey(os.urandom(32))
    data.mkdir(mode=0o700, parents=True)
    keys = key_files.create(
        data / "keys",
        passphrase=key_files.new_passphrase(),
        device_name="",
        now_ms=time.time_ns() // 1_000_000,
        town_key=town_key,
    )
    (data / SETTINGS_FILE).write_text(commented())
    return Member(town_key, keys.device), keys.certificate


async def _take_in(data: Path, member: Member, raws: Sequence[bytes]) -> None:
    store = open_store(data, member.town, chance=os.urandom)
    intake = Intake(store, member.device_key, now, chance=os.urandom)
    for batch in batches(raws):
        verdicts = await intake.accept(batch)
        wrong = [verdict for verdict in verdicts if verdict.state is not State.HELD]
        if wrong:
            raise RuntimeError(f"a record was not held: {wrong[0].cause}")
    await store.close()
