"""A loopback server for channels, and the badges of nodes that meet there."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from node.keys import CERTIFICATE, town_record
from node.transport.auth import Badge
from node.transport.channel import (
    SOCKET_BYTES_MAX,
    close,
)
from protocol.identity import DeviceKey, TownKey
from protocol.ids import DeviceId, TownId

NOW_MS = 1_790_000_000_000
WAIT_S = 20.0
"""Far above what anything here takes; only a test that has failed waits so long."""

Serve = Callable[[web.WebSocketResponse], Awaitable[None]]


def new_badge(urls: tuple[str, ...] = ()) -> Badge:
    """What a new town's first device shows."""
    device = DeviceKey(secrets.token_bytes(32))
    return Badge(device, certificate_of(device, TownKey(secrets.token_bytes(32))), urls)


def certificate_of(device: DeviceKey, town: TownKey) -> bytes:
    """A town's certificate for a device."""
    return town_record(town, CERTIFICATE, {"device": device.public}, NOW_MS).raw


def nobody(device: DeviceId) -> TownId | None:
    """A node that knows no devices."""
    return None


@dataclass
class Place:
    """A loopback server whose /sync does what a test says, and a session to call it."""

    session: aiohttp.ClientSession
    runners: list[web.AppRunner] = field(default_factory=list)
    sockets: list[aiohttp.ClientWebSocketResponse] = field(default_factory=list)

    async def serve(self, handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        """Serve /sync and return its URL."""
        app = web.Application()
        app.router.add_get("/sync", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        self.runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/sync"

    async def answer(self, serve: Serve) -> str:
        """Serve /sync with a WebSocket and return its URL."""

        async def handle(request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse(timeout=1.0, max_msg_size=SOCKET_BYTES_MAX, compress=False)
            await socket.prepare(request)
            try:
                await serve(socket)
            finally:
                await close(socket)
            return socket

        return await self.serve(handle)

    async def call(self, url: str) -> aiohttp.ClientWebSocketResponse:
        """A plain WebSocket to a URL."""
        socket = await self.session.ws_connect(
            url, timeout=aiohttp.ClientWSTimeout(ws_close=0.1), max_msg_size=SOCKET_BYTES_MAX
        )
        self.sockets.append(socket)
        return socket


@asynccontextmanager
async def open_place() -> AsyncIterator[Place]:
    """A place for servers, cleaned up behind."""
    async with aiohttp.ClientSession() as session:
        found = Place(session)
        yield found
        for socket in found.sockets:
            await socket.close()
        for runner in found.runners:
            await runner.cleanup()
