"""What a benchmark measures and against what: figures, and the anchors of the same machine and run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair

VERIFIES_PER_SHOT: Final = 200
"""Verifies timed at once: about 15 ms, so that a shot fits between two of what is measured."""

EMPTY_APP: Final = """
import asyncio
from aiohttp import ClientSession, web

async def start():
    app = web.Application()
    async def answer(request): return web.Response(text="ready")
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with ClientSession() as client, client.get(f"http://127.0.0.1:{port}/") as page:
        assert await page.text() == "ready"
    await runner.cleanup()

asyncio.run(start())
"""
"""An aiohttp app with nothing in it, from the interpreter's start to its first answer."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        row: what is measured; the name that `--row` takes.
        case: under which circumstances.
        value: the figure, in `unit`.
        unit: of the value.
        ratio: the figure divided by its anchor.
        anchor: what the ratio is to: V, R, E, or a bound in words.
        goal: the bound of the ratio or of the figure, in words; empty if there is none.
        met: whether it is reached; None without a goal.
    """

    row: str
    case: str
    value: float
    unit: str
    ratio: float | None = None
    anchor: str = ""
    goal: str = ""
    met: bool | None = None


Goal: TypeAlias = tuple[str, bool | None]
"""The last two parts of a figure: its goal in words, and whether it is met."""
NO_GOAL: Final[Goal] = ("", None)


def at_most(measured: float, bound: float, unit: str = "") -> Goal:
    """Set an upper bound to what was measured."""
    return f"<= {bound:,} {unit}".rstrip(), measured <= bound


def at_least(measured: float, bound: float) -> Goal:
    """Set a lower bound to what was measured."""
    return f">= {bound:,}", measured >= bound


class Bench:
    """One run of benchmarks: how thorough it is, and its anchors.

    Args:
        quick: small sets and few repetitions, to see that everything works; the figures are rough.
    """

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        public, secret = crypto_sign_seed_keypair(bytes(range(32)))
        self._public = public
        self._signed = crypto_sign(b"hedgerow/record/1" + bytes(32), secret)
        self.verify_shots_s: list[float] = []

    def verify_s(self) -> float:
        """Time one bare verify now, in seconds of CPU; 1 / V."""
        started_s = time.process_time()
        for _ in range(VERIFIES_PER_SHOT):
            crypto_sign_open(self._signed, self._public)
        each_s = (time.process_time() - started_s) / VERIFIES_PER_SHOT
        self.verify_shots_s.append(each_s)
        return each_s

    def beside_verifies(self, act: Callable[[], object], count: int, rounds: int) -> tuple[float, float]:
        """Time an act that treats `count` things, in turn with verifies.

        Returns:
            Seconds of CPU for one thing (median), and the median of its ratios to one verify measured just
            before and after: what else the machine does at a moment slows both.
        """
        each_s: list[float] = []
        ratios: list[float] = []
        before_s = self.verify_s()
        for _ in range(rounds):
            started_s = time.process_time()
            act()
            one_s = (time.process_time() - started_s) / count
            after_s = self.verify_s()
            each_s.append(one_s)
            ratios.append(one_s / ((before_s + after_s) / 2))
            before_s = after_s
        return statistics.median(each_s), statistics.median(ratios)

    def empty_app_s(self) -> float:
        """Time one start of an empty aiohttp app to its first page, in seconds of wall clock; E."""
        started_s = time.perf_counter()
        subprocess.run([sys.executable, "-c", EMPTY_APP], check=True)
        return time.perf_counter() - started_s


Row: TypeAlias = Callable[[Bench], Iterator[Figure]]
"""Measures one row, figure by figure."""
