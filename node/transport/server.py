"""The answering end of `/sync`: who may knock, for how long, and how many at once.

A connection is *half-open* until its other end has shown a device that its town certifies. Half-open
ones are few (`HALF_OPEN_MAX`) and have `HANDSHAKE_S_MAX` in all. When a newcomer finds no room, the
oldest of the address that holds most room gives way: who hoards half-open connections loses them, and a
neighbour's call always gets its turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from node.transport.auth import Badge, Identity, TownOf, identify
from node.transport.call import keep_alive
from node.transport.channel import CLOSE_S_MAX, SOCKET_BYTES_MAX, Channel, LinkFailure, close, shake_hands
from node.transport.nearness import Nearness, nearness
from protocol.limits import HALF_OPEN_MAX, HANDSHAKE_S_MAX

LOG: Final = logging.getLogger("hedgerow.sync")

PROXY_HEADERS: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
"""With one of these it is not the caller who stands at the other end of the connection."""

Carry = Callable[[Channel, Identity], Awaitable[None]]
"""Takes a channel whose other end is known and returns when it has ended."""


@dataclass(eq=False, slots=True)
class _HalfOpen:
    remote: str
    task: asyncio.Task[tuple[Channel, Identity]]


class SyncServer:
    """Answers calls of other nodes.

    Args:
        carry: The engine's; refuses (LinkFailure) whom it has no room for.
        handshake_s: Deadline from the first byte to the proof of identity.
        half_open_max: Connections that may be in that state at once.
    """

    def __init__(
        self,
        *,
        static_key: bytes,
        badge: Callable[[], Badge],
        town_of: TownOf,
        carry: Carry,
        handshake_s: float = HANDSHAKE_S_MAX,
        half_open_max: int = HALF_OPEN_MAX,
    ) -> None:
        self._static_key = static_key
        self._badge = badge
        self._town_of = town_of
        self._carry = carry
        self._handshake_s = handshake_s
        self._half_open_max = half_open_max
        self._half_open: list[_HalfOpen] = []
        self._sockets: set[web.WebSocketResponse] = set()

    @property
    def half_open_count(self) -> int:
        """How many connections have not shown who they are."""
        return len(self._half_open)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call until its link ends."""
        socket = web.WebSocketResponse(timeout=CLOSE_S_MAX, max_msg_size=SOCKET_BYTES_MAX, compress=False)
        if not socket.can_prepare(request):
            return web.Response(status=426, text="This is where other nodes call, not people.\n")
        await socket.prepare(request)
        self._sockets.add(socket)
        code = ""
        try:
            channel, identity = await self._admit(socket, request.remote or "")
            identity = replace(identity, near=_nearness(request))
            if request.transport is not None:
                keep_alive(request.transport.get_extra_info("socket"))
            await self._carry(channel, identity)
        except LinkFailure as failure:
            code = failure.code
            LOG.debug("call from %s ended: %s (%s)", request.remote, failure.says, failure.code)
        finally:
            await close(socket, code)
            self._sockets.discard(socket)
            if request.transport is not None:
                # A silent peer would keep the connection lingering; its frames are worth nothing now.
                request.transport.abort()
        return socket

    async def close(self) -> None:
        """End all calls."""
        for waiting in self._half_open:
            waiting.task.cancel()
        await asyncio.gather(*(close(socket, "stopping") for socket in list(self._sockets)))

    async def _admit(self, socket: web.WebSocketResponse, remote: str) -> tuple[Channel, Identity]:
        if len(self._half_open) >= self._half_open_max:
            self._make_room()
        waiting = _HalfOpen(remote, asyncio.create_task(self._prove(socket)))
        self._half_open.append(waiting)
        try:
            await asyncio.wait([waiting.task])
            if waiting.task.cancelled():
                raise LinkFailure("too many calls at once", code="crowded")
            return waiting.task.result()
        finally:
            waiting.task.cancel()
            if waiting in self._half_open:
                self._half_open.remove(waiting)

    async def _prove(self, socket: web.WebSocketResponse) -> tuple[Channel, Identity]:
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._handshake_s
        channel = await shake_hands(
            socket, initiator=False, static_key=self._static_key, deadline_s=self._handshake_s
        )
        left_s = max(0.0, ends - loop.time())
        return channel, await identify(channel, self._badge(), self._town_of, deadline_s=left_s)

    def _make_room(self) -> None:
        counts = Counter(waiting.remote for waiting in self._half_open)
        most = max(counts.values())
        oldest = next(waiting for waiting in self._half_open if counts[waiting.remote] == most)
        oldest.task.cancel()
        self._half_open.remove(oldest)


def _nearness(request: web.Request) -> Nearness:
    if any(name in request.headers for name in PROXY_HEADERS):
        return Nearness.ANYWHERE
    return nearness(request.remote or "") or Nearness.ANYWHERE
