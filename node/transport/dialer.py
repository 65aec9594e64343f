"""Who is called when: every approved peer with a URL, until a link to it lives.

The rules are a `Plan` for each peer, which knows no sockets and no clock; `Dialer` is the shell that
carries plans out.

* A link that came down after it had lived is dialled again at once; else every 5 s, less up to a fifth
  by chance so that
  two nodes do not keep step. After 30 minutes in vain, every 60 s. A first word from the peer begins
  anew.
* An attempt lives at most 15 s, and at most 3 live side by side; the oldest gives way to the next. So
  after a cut that
  swallowed everything in silence, a fresh attempt starts within 5 s of its end, whatever the old ones
  wait for: a connection that was opened into the cut stays dead for a third of its length, because TCP
  doubles its patience.
* The same goes on beside a link whose sign of life is late, until anything is heard on it or another
  takes over.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final

from node.background import carefully
from node.transport.channel import LinkFailure
from protocol.ids import TownId

LOG: Final = logging.getLogger("hedgerow.dialer")

INTERVAL_MS: Final = 5_000
SLOW_INTERVAL_MS: Final = 60_000
SLOW_AFTER_MS: Final = 30 * 60_000
JITTER: Final = 0.2
"""An interval is shortened by up to this part of it."""

ATTEMPT_MS_MAX: Final = 15_000
ATTEMPTS_MAX: Final = 3
LIVED_MS: Final = 5_000
"""A link that lived so long is dialled again at once; one that did not would make two nodes knock
without pause.
"""

WATCH_MS: Final = 1_000
"""How often plans are looked at when nothing else calls for it; a wake from sleep is noticed by it."""

SLEPT_MS: Final = 5_000
"""The clock that runs on in sleep is so far ahead of the one that does not: the machine has slept."""


class Reach(Enum):
    """What there is between us and a town."""

    DOWN = "down"
    LATE = "late"
    UP = "up"


@dataclass(slots=True)
class Plan:
    """When to call one peer. All times are of one steady clock, in milliseconds."""

    chance: random.Random
    reach: Reach = Reach.DOWN
    next_ms: int | None = 0
    failing_since_ms: int | None = None
    since_ms: int = 0
    """Since when `reach` is what it is."""
    attempts: dict[int, int] = field(default_factory=dict)
    """Number of the attempt -> when it started, in order."""
    count: int = 0
    """Attempts so far."""

    def set_reach(self, reach: Reach, now_ms: int) -> None:
        """Note what there is now; decides when to call next."""
        if reach is self.reach:
            return
        lived = self.reach is not Reach.DOWN and now_ms - self.since_ms >= LIVED_MS
        before, self.reach, self.since_ms = self.reach, reach, now_ms
        if reach is Reach.UP:
            self.next_ms = self.failing_since_ms = None
        elif before is Reach.UP:
            self.failing_since_ms = now_ms
            self.next_ms = now_ms if lived else now_ms + self._interval_ms(now_ms)

    def wake(self, now_ms: int) -> None:
        """Call at once, if there is no link: the machine woke, or a person asks."""
        if self.reach is not Reach.UP:
            self.next_ms = now_ms
            self.failing_since_ms = now_ms

    def encourage(self, now_ms: int) -> None:
        """Something was heard from the peer: begin the patience anew."""
        if self.failing_since_ms is not None:
            self.failing_since_ms = now_ms
            if self.next_ms is not None:
                self.next_ms = min(self.next_ms, now_ms + INTERVAL_MS)

    def ended(self, attempt: int) -> None:
        """An attempt has ended, well or not."""
        self.attempts.pop(attempt, None)

    def due(self, now_ms: int) -> tuple[list[int], int | None]:
        """Return the attempts to give up now, and the number of the one to start, if any."""
        if self.reach is Reach.UP:
            given_up = list(self.attempts)
            self.attempts.clear()
            return given_up, None
        given_up = [attempt for attempt, at_ms in self.attempts.items() if now_ms - at_ms >= ATTEMPT_MS_MAX]
        starts = None
        if self.next_ms is not None and now_ms >= self.next_ms:
            if self.failing_since_ms is None:
                self.failing_since_ms = now_ms
            living = [attempt for attempt in self.attempts if attempt not in given_up]
            given_up += living[: max(0, len(living) - ATTEMPTS_MAX + 1)]
            self.count += 1
            starts = self.count
            self.next_ms = now_ms + self._interval_ms(now_ms)
        for attempt in given_up:
            del self.attempts[attempt]
        if starts is not None:
            self.attempts[starts] = now_ms
        return given_up, starts

    def next_look_ms(self) -> int | None:
        """When `due` will have something to say; None: not until something happens."""
        times = [at_ms + ATTEMPT_MS_MAX for at_ms in self.attempts.values()]
        if self.next_ms is not None:
            times.append(self.next_ms)
        return min(times, default=None)

    def _interval_ms(self, now_ms: int) -> int:
        failing_ms = 0 if self.failing_since_ms is None else now_ms - self.failing_since_ms
        interval_ms = SLOW_INTERVAL_MS if failing_ms >= SLOW_AFTER_MS else INTERVAL_MS
        return int(interval_ms * (1 - JITTER * self.chance.random()))


Connect = Callable[[TownId, str], Awaitable[None]]
"""Calls a town at a URL and returns once a link stands, or raises LinkFailure."""


@dataclass(slots=True)
class _Callee:
    plan: Plan
    urls: tuple[str, ...]
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    turn: int = 0
    """Which of the URLs is called next; the first one again, when a link has stood."""
    called: dict[int, str] = field(default_factory=dict)
    """Number of the attempt -> its URL."""
    answered: str = ""
    """The URL at which the town answered last."""
    failure_count: int = 0
    """Attempts that have failed so far."""
    failures: dict[str, LinkFailure] = field(default_factory=dict)
    """Why the last attempt at a URL failed, since a link stood."""

    def failed(self, url: str, failure: LinkFailure) -> None:
        """Note why an attempt failed, and where."""
        detail = {**failure.detail, "url": url}
        self.failure_count += 1
        self.failures[url] = LinkFailure(failure.says, code=failure.code, detail=detail)


class Dialer:
    """Carries out the plans of all peers in one task.

    Args:
        moved: Told the URL at which a town answers, where the one that stands first fails.
    """

    def __init__(
        self, connect: Connect, *, chance: random.Random | None = None, moved: Connect | None = None
    ) -> None:
        self._connect = connect
        self._moved = moved
        self._chance = chance or random.Random()
        self._callees: dict[TownId, _Callee] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._asleep_ms = 0

    def start(self) -> None:
        """Begin to call."""
        self._asleep_ms = _asleep_ms()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Give up all attempts."""
        tasks = [task for callee in self._callees.values() for task in callee.tasks.values()]
        if self._task is not None:
            tasks.append(self._task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def set_callees(self, callees: Iterable[tuple[TownId, Sequence[str]]]) -> None:
        """Say whom to call, and where; who is no longer named is not called any more."""
        wanted = {town: tuple(urls) for town, urls in callees if urls}
        for town in [town for town in self._callees if town not in wanted]:
            for task in self._callees.pop(town).tasks.values():
                task.cancel()
        for town, urls in wanted.items():
            if town in self._callees:
                callee = self._callees[town]
                if callee.urls != urls:
                    callee.urls, callee.turn = urls, 0
                    callee.failures = {url: why for url, why in callee.failures.items() if url in urls}
            else:
                self._callees[town] = _Callee(Plan(self._chance, next_ms=_now_ms()), urls)
        self._changed.set()

    def set_reach(self, town: TownId, reach: Reach) -> None:
        """Say what there is between us and a town now."""
        callee = self._callees.get(town)
        if callee is not None:
            callee.plan.set_reach(reach, _now_ms())
            if reach is Reach.UP:
                callee.failures.clear()
                callee.turn = 0
            self._changed.set()

    def note_failure(self, town: TownId, failure: LinkFailure) -> None:
        """Say why a link to a town has ended that had been called well."""
        callee = self._callees.get(town)
        if callee is not None and callee.plan.reach is not Reach.UP:
            callee.failed(callee.urls[0], failure)

    def encourage(self, town: TownId) -> None:
        """Say that something was heard from a town, if only a call that failed."""
        callee = self._callees.get(town)
        if callee is not None:
            callee.plan.encourage(_now_ms())
            self._changed.set()

    def wake(self, town: TownId | None = None) -> None:
        """Call now: one town, or all that are not reached."""
        for named, callee in self._callees.items():
            if town is None or named == town:
                callee.plan.wake(_now_ms())
        self._changed.set()

    def next_call_in_ms(self, town: TownId) -> int | None:
        """Return in how many milliseconds a town is called next; None: it is not, or is being called
        now.
        """
        callee = self._callees.get(town)
        if callee is None or callee.plan.next_ms is None:
            return None
        return max(0, callee.plan.next_ms - _now_ms())

    def is_calling(self, town: TownId) -> bool:
        """Tell whether an attempt at this town is under way."""
        callee = self._callees.get(town)
        return callee is not None and bool(callee.tasks)

    def failure(self, town: TownId) -> LinkFailure | None:
        """Return why a town is not reached: at the first of its URLs that failed, which is in the detail as
        `url`; None if none did since a link stood.
        """
        callee = self._callees.get(town)
        failures = {} if callee is None else callee.failures
        return next((failures[url] for url in (callee.urls if callee else ()) if url in failures), None)

    def failure_count(self, town: TownId) -> int:
        """Return how many calls of a town have failed since this node knows of it."""
        callee = self._callees.get(town)
        return callee.failure_count if callee is not None else 0

    def called_at(self, town: TownId) -> str:
        """Return the URL at which a town answered last; empty if none did."""
        callee = self._callees.get(town)
        return callee.answered if callee is not None else ""

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            now_ms = _now_ms()
            for town, callee in self._callees.items():
                self._carry_out(town, callee, now_ms)
            looks = [callee.plan.next_look_ms() for callee in self._callees.values()]
            wait_ms = min([WATCH_MS, *(max(0, look - now_ms) for look in looks if look is not None)])
            try:
                async with asyncio.timeout(wait_ms / 1_000):
                    await self._changed.wait()
            except TimeoutError:
                self._notice_sleep()

    def _carry_out(self, town: TownId, callee: _Callee, now_ms: int) -> None:
        given_up, starts = callee.plan.due(now_ms)
        for attempt in given_up:
            url = callee.called.get(attempt)
            if url is not None and callee.plan.reach is not Reach.UP:
                callee.failed(url, LinkFailure("no answer", code="unreachable"))
            task = callee.tasks.get(attempt)
            if task is not None:
                task.cancel()
        if starts is not None:
            url = callee.called[starts] = callee.urls[callee.turn % len(callee.urls)]
            callee.turn += 1
            callee.tasks[starts] = asyncio.create_task(self._attempt(town, callee, starts, url))

    async def _attempt(self, town: TownId, callee: _Callee, attempt: int, url: str) -> None:
        first_fails = callee.urls[0] != url and callee.urls[0] in callee.failures
        try:
            await self._connect(town, url)
            callee.answered = url
            if first_fails and self._moved is not None:
                await carefully(partial(self._moved, town, url))
        except LinkFailure as failure:
            callee.failed(url, failure)
            LOG.debug("calling %s: %s (%s)", url, failure.says, failure.code)
        finally:
            callee.plan.ended(attempt)
            callee.tasks.pop(attempt, None)
            callee.called.pop(attempt, None)
            self._changed.set()

    def _notice_sleep(self) -> None:
        asleep_ms = _asleep_ms()
        if asleep_ms - self._asleep_ms >= SLEPT_MS:
            LOG.info(
                "this machine slept for %d s: calling every peer", (asleep_ms - self._asleep_ms) // 1_000
            )
            self.wake()
        self._asleep_ms = asleep_ms


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _asleep_ms() -> int:
    """Return for how long this machine has slept since it booted."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return 0 if boot is None else int(time.clock_gettime(boot) * 1_000) - _now_ms()
