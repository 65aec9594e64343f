"""Work that goes on beside everything else: kept hold of, told of when it fails, ended at the stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from node.errors import StorageUnavailable

LOG: Final = logging.getLogger("hedgerow")


class Background:
    """The tasks of one owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin a task; its owner does not wait for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def repeat(self, every_s: float, work: Callable[[], Awaitable[object]]) -> None:
        """Do something again and again, whether it succeeds or not."""

        async def go_on() -> None:
            while True:
                await asyncio.sleep(every_s)
                await carefully(work)

        self.spawn(go_on())

    async def stop(self) -> None:
        """Cancel what is under way and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def carefully(work: Callable[[], Awaitable[object]]) -> None:
    """Do what will be done again later; if it fails now, say so and go on."""
    try:
        await work()
    except StorageUnavailable as error:
        LOG.warning("%s (%s)", error.says, error.code)
    except Exception:
        LOG.exception("a fault in the background")
