"""One live link: a channel whose other end has shown who it is, with a queue for what is to be sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from node.transport.auth import Identity
from node.transport.channel import Channel, LinkFailure
from sync.events import LinkId

QUEUE_BYTES_MAX: Final = 4 * 1_048_576
"""Frames that wait to be sent. The hub keeps two batches in flight (some 600 kB); more means a fault of
ours.
"""

HEARD_MAX: Final = 16
"""Frames of one link that wait in the engine's inbox; beyond, its socket is not read, and nobody else
waits.
"""

FLUSH_S: Final = 2.0
"""How long a link that is being dropped may go on sending what waits: enough for a last word."""

Hear = Callable[["Link", bytes], Awaitable[None]]
"""Takes one frame; returns when the link may read the next."""


class Link:
    """One live link. `run` carries it until either side ends it.

    Attributes:
        approved: Whether the operator agreed to talk to this town; if not, only JOIN is listened to.
        certified: Whether a certificate of this device has stood among what we hold.
        late: A sign of life is overdue; the dialer tries beside it.
        heard_ms: Engine time of the last frame that came.
        opened_ms: Engine time at which it came up.
        end_told: The code with which the other side closed it; empty if we did, or it gave none.
    """

    def __init__(
        self, link: LinkId, channel: Channel, identity: Identity, *, approved: bool, now_ms: int
    ) -> None:
        self.id = link
        self.channel = channel
        self.identity = identity
        self.approved = approved
        self.certified = False
        self.late = False
        self.opened_ms = self.heard_ms = now_ms
        self.end_code = ""
        self.end_says = ""
        self.end_told = ""
        self.room = asyncio.Semaphore(HEARD_MAX)
        self._frames: deque[bytes] = deque()
        self._frames_bytes = 0
        self._wake_writer = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def initiator(self) -> bool:
        """Whether we dialled."""
        return self.channel.initiator

    def send(self, frame: bytes) -> bool:
        """Queue a frame; False if the queue is full or the link is ending."""
        if self.end_code or self._frames_bytes + len(frame) > QUEUE_BYTES_MAX:
            return False
        self._frames.append(frame)
        self._frames_bytes += len(frame)
        self._wake_writer.set()
        return True

    def end(self, code: str, says: str) -> None:
        """Send what waits, within `FLUSH_S`, and close; the first reason given stands."""
        if self.end_code:
            return
        self.end_code, self.end_says = code, says
        self._wake_writer.set()
        asyncio.get_running_loop().call_later(FLUSH_S, self._over.set)

    async def run(self, hear: Hear) -> None:
        """Read and write until the link ends; `end_code` and `end_says` then tell why. Never raises a
        fault.
        """
        tasks = [
            asyncio.create_task(self._read(hear)),
            asyncio.create_task(self._write()),
            asyncio.create_task(self._over.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._note(results)
            with contextlib.suppress(LinkFailure):
                await self.channel.close(self.end_code)

    async def _read(self, hear: Hear) -> None:
        while True:
            await hear(self, await self.channel.receive())

    async def _write(self) -> None:
        while True:
            while self._frames:
                frame = self._frames.popleft()
                await self.channel.send(frame)
                self._frames_bytes -= len(frame)
            if self.end_code:
                return
            self._wake_writer.clear()
            await self._wake_writer.wait()

    def _note(self, results: Sequence[object]) -> None:
        if self.end_code:
            return
        for result in results:
            if isinstance(result, LinkFailure):
                self.end_code, self.end_says = result.code, result.says
                self.end_told = str(result.detail.get("why", ""))
                return
            if isinstance(result, Exception):
                self.end_code, self.end_says = "fault", f"a fault of this program: {result!r}"
                return
        self.end_code, self.end_says = "stopping", "this node is stopping"
