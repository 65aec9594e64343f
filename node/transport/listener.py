"""Where pages, API and /sync are served: one address, with deadlines that aiohttp does not set by
itself.

aiohttp waits for ever for the end of a request's head or body. A sweep once a second ends every
connection that has not finished saying what it wants within `REQUEST_S_MAX`, or that stays idle between
requests, and keeps their number
bounded: when there is no room, those that say nothing give way first, from the address that holds most
    of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

from node.errors import HedgerowError

REQUEST_S_MAX: Final = 30.0
"""From the first byte of a request to its last; 32 KiB of text in that time is 9 kbit/s."""

IDLE_S_MAX: Final = 75.0
"""Between two requests on one connection; browsers and proxies expect about a minute."""

CONNECTIONS_MAX: Final = 512
"""Open connections in all: a library full of phones has some two hundred."""

SWEEP_S: Final = 1.0
SHUTDOWN_S: Final = 1.0
"""How long a page that is being served may still take when the node stops."""


class ListenFailed(HedgerowError):
    """The address cannot be listened at."""

    code = "listen_failed"
    status = 500


@dataclass(slots=True)
class _Watched:
    """One connection: since when it does what it does."""

    since_s: float
    request: web.Request | None = None
    """What is being answered."""
    served: bool = False
    """Whether anything was answered on it before."""

    def is_late(self, now_s: float, request_s_max: float, idle_s_max: float) -> bool:
        """Tell whether it has had its time: to say what it wants, to send its body, or to ask again."""
        waited_s = now_s - self.since_s
        if self.request is not None:
            # What is being answered may take as long as it likes: a stream of changes, a link to a peer.
            return waited_s > request_s_max and not self.request.content.is_eof()
        return waited_s > (idle_s_max if self.served else request_s_max)


class Listener:
    """Serves one application at one address.

    Args:
        app: Not frozen yet; a middleware that watches requests is put before its own.
        request_s_max: See `REQUEST_S_MAX`; tests give less.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        request_s_max: float = REQUEST_S_MAX,
        idle_s_max: float = IDLE_S_MAX,
        connections_max: int = CONNECTIONS_MAX,
        sweep_s: float = SWEEP_S,
    ) -> None:
        app.middlewares.insert(0, self._watch)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=idle_s_max,
            shutdown_timeout=SHUTDOWN_S,
        )
        self._request_s_max = request_s_max
        self._idle_s_max = idle_s_max
        self._connections_max = connections_max
        self._sweep_s = sweep_s
        self._watched: dict[RequestHandler, _Watched] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen, and return the address with the port that was taken.

        Raises:
            ListenFailed: The address is in use, or not one of this machine.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host or None, port, backlog=CONNECTIONS_MAX).start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            why = getattr(error, "strerror", None) or str(error)
            says = (
                f"cannot listen at {host}:{port}: {why}. Give another with --listen, or stop what is there."
            )
            raise ListenFailed(says) from None
        self._sweeper = asyncio.create_task(self._sweep_on())
        taken = self._runner.addresses[0]
        return str(taken[0]), int(taken[1])

    async def stop(self) -> None:
        """Close the address and every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        await self._runner.cleanup()

    @web.middleware
    async def _watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        watched = self._watched.setdefault(request.protocol, _Watched(time.monotonic()))
        watched.request = request
        watched.since_s = time.monotonic()
        try:
            return await handler(request)
        finally:
            watched.request = None
            watched.since_s = time.monotonic()
            watched.served = True

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_s)
            self._sweep(time.monotonic())

    def _sweep(self, now_s: float) -> None:
        server = self._runner.server
        assert server is not None
        waiting: list[RequestHandler] = []
        connections = server.connections
        for gone in self._watched.keys() - set(connections):
            del self._watched[gone]
        for connection in connections:
            watched = self._watched.setdefault(connection, _Watched(now_s))
            if watched.is_late(now_s, self._request_s_max, self._idle_s_max):
                _abort(connection)
            elif watched.request is None:
                waiting.append(connection)
        self._make_room(len(connections) - self._connections_max, waiting)

    def _make_room(self, too_many: int, waiting: list[RequestHandler]) -> None:
        counts = Counter(map(_address, waiting))
        waiting.sort(
            key=lambda connection: (-counts[_address(connection)], self._watched[connection].since_s)
        )
        for connection in waiting[: max(0, too_many)]:
            _abort(connection)


def _abort(connection: RequestHandler) -> None:
    if connection.transport is not None:
        connection.transport.abort()


def _address(connection: RequestHandler) -> str:
    peer = None if connection.transport is None else connection.transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""
