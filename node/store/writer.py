"""The writer: one thread that owns the one connection that writes, and commits what waits together.

A commit costs a sync to the disk, so work that waits while one is going on shares the next: the writer takes
what is in the queue, runs each piece inside a savepoint of one transaction, commits, and only then tells
anybody. A piece that raises is undone alone. When the disk fails, all pieces of the turn are undone and told
so, and the next turn tries afresh: there is no state in which the writer stops.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from node.errors import HedgerowError, StorageUnavailable
from node.store.database import is_storage_failure, unavailable

TURN_JOBS_MAX: Final = 64
"""Pieces of work that share one commit."""
TURN_S_MAX: Final = 0.25
"""A turn takes nothing more in after this time, so that who waits for its commit waits no longer than two.
Two batches of a first sync find room in one, and share the pages that both touch: a fortieth of the work."""


class Turns(Protocol):
    """What the writer turns: the transaction that all pieces of work are run on."""

    def begin(self) -> None:
        """A turn begins."""

    def savepoint(self) -> None:
        """A piece of work begins."""

    def release(self) -> None:
        """A piece of work is done."""

    def undo(self) -> None:
        """A piece of work has raised: as if it had not been."""

    def commit(self) -> None:
        """The turn ends and is on the disk."""

    def rollback(self) -> None:
        """The turn ends as if it had not been. Never raises."""


@dataclass(slots=True)
class Job:
    """One piece of work and who waits for it."""

    work: Callable[[Any], Any]
    then: Callable[[Any], None] | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = field(default=None)


class Writer:
    """The thread and its queue.

    Args:
        turns: Made in this thread's behalf by whoever opened the store; nobody else touches it.
        failed: Called in the event loop's thread with what a `then` raised: a fault of ours, never of the
            data.
    """

    def __init__(self, turns: Turns, failed: Callable[[BaseException], None]) -> None:
        self._turns = turns
        self._failed = failed
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="hedgerow-writer", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[Any], Any], then: Callable[[Any], None] | None) -> Any:
        """Queue a piece of work and wait for its commit."""
        if self._closed:
            raise StorageUnavailable("this node is stopping; try again when it runs")
        loop = asyncio.get_running_loop()
        job = Job(work, then, loop, loop.create_future())
        self._jobs.put(job)
        return await job.future

    async def close(self) -> None:
        """Finish what waits, then end the thread."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None or not self._turn(job):
                return

    def _turn(self, first: Job) -> bool:
        """Run one transaction; return whether there may be another."""
        jobs: list[Job] = []
        go_on = True
        try:
            self._turns.begin()
            until = time.monotonic() + TURN_S_MAX
            job: Job | None = first
            while job is not None:
                jobs.append(job)
                self._perform(job)
                if len(jobs) >= TURN_JOBS_MAX or time.monotonic() > until:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                go_on = job is not None
            self._turns.commit()
        except BaseException as error:
            self._turns.rollback()
            told = _told(error)
            for job in jobs or [first]:
                job.error = job.error if isinstance(job.error, HedgerowError) else told
            jobs = jobs or [first]
        _deliver(jobs, self._failed)
        return go_on

    def _perform(self, job: Job) -> None:
        """Run one piece of work; raise only what spoils the whole turn."""
        self._turns.savepoint()
        try:
            job.result = job.work(self._turns)
            self._turns.release()
        except BaseException as error:
            if is_storage_failure(error):
                raise
            job.error = RuntimeError(str(error)) if isinstance(error, StopIteration) else error
            self._turns.undo()


def _told(error: BaseException) -> BaseException:
    """Return what may be raised where somebody waits."""
    if isinstance(error, sqlite3.Error):
        return unavailable(error)
    # A future refuses this one, for the language gives it another meaning.
    return RuntimeError(str(error)) if isinstance(error, StopIteration) else error


def _deliver(jobs: list[Job], failed: Callable[[BaseException], None]) -> None:
    """Tell everybody, in the order of the work, in the thread where they wait."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, told in by_loop.items():
        with suppress(RuntimeError):  # The loop is gone, and with it everybody who waited there.
            loop.call_soon_threadsafe(_tell, told, failed)


def _tell(jobs: list[Job], failed: Callable[[BaseException], None]) -> None:
    for job in jobs:
        if job.error is None and job.then is not None:
            try:
                job.then(job.result)
            except Exception as error:
                failed(error)
        if job.future.done():  # Its caller was cancelled; what it wrote stands all the same.
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)
