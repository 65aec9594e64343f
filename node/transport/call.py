"""Calling another node: from a URL to a channel whose other end has shown who it is."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from node.transport.auth import Badge, Identity, TownOf, identify
from node.transport.channel import CLOSE_S_MAX, SOCKET_BYTES_MAX, Channel, LinkFailure, close, shake_hands
from node.transport.names import Names, is_within, too_near
from node.transport.nearness import SYNC_PATH, Nearness, nearness
from protocol.ids import TownId
from protocol.limits import HANDSHAKE_S_MAX, LINKS_MAX

NAMES_KEPT_S: Final = 10
"""How long an answer of the name service is believed: dynamic addresses change when a line comes
back.
"""


class Caller:
    """Calls nodes for one daemon. `open` before the first call, `close` after the last."""

    def __init__(self, *, static_key: bytes, badge: Callable[[], Badge], town_of: TownOf) -> None:
        self._static_key = static_key
        self._badge = badge
        self._town_of = town_of
        self._sessions: dict[Nearness, aiohttp.ClientSession] = {}

    async def open(self) -> None:
        """Make ready to call."""
        # One each, because a session keeps the answers of the name service.
        self._sessions = {most: _session(most) for most in Nearness}

    async def close(self) -> None:
        """Let go of what is open; calls under way fail."""
        for session in self._sessions.values():
            await session.close()

    async def call(
        self,
        url: str,
        *,
        expected: TownId | None = None,
        joins: bool = False,
        deadline_s: float = HANDSHAKE_S_MAX,
        most: Nearness = Nearness.MACHINE,
    ) -> tuple[Channel, Identity]:
        """Return the channel to the node at a URL, and who it is.

        Args:
            url: ws, wss, http or https; without a path, `/sync` is called.
            expected: The town that must answer; None takes anyone.
            joins: We shall show an invitation.
            deadline_s: For everything from the name service to the proof of identity.
            most: Nothing that is nearer is called; the operator's own URLs may lead anywhere.

        Raises:
            LinkFailure: `unreachable`, `not_a_node`, `wrong_town`, `too_near`, or as `shake_hands` and
                `identify`.
        """
        session = self._sessions.get(most)
        if session is None:
            raise LinkFailure("this node is not ready to call", code="unreachable")
        host = urlsplit(url).hostname or ""
        if not is_within(host, most):
            raise too_near(host)
        ends = asyncio.get_running_loop().time() + deadline_s
        try:
            async with asyncio.timeout_at(ends):
                opened = await self._connect(session, sync_url(url))
        except TimeoutError:
            raise _unreachable(url, f"no answer within {deadline_s:g} s") from None
        return await self._prove(opened, expected, joins, ends)

    async def _connect(self, session: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
        try:
            return await session.ws_connect(
                url,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S_MAX),
                max_msg_size=SOCKET_BYTES_MAX,
                compress=0,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise _not_a_node(url, f"it answered {error.status}") from None
        except aiohttp.ClientConnectorDNSError:
            raise _unreachable(url, "the name in it is not known") from None
        except aiohttp.ClientConnectorError as error:
            # The system's word for it, not the event loop's, which gives the address once more.
            number = error.os_error.errno
            why = os.strerror(number) if number else "no connection"
            raise _unreachable(url, why.lower()) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unreachable(url, f"the call broke off ({type(error).__name__})") from None

    async def _prove(
        self, opened: aiohttp.ClientWebSocketResponse, expected: TownId | None, joins: bool, ends: float
    ) -> tuple[Channel, Identity]:
        loop = asyncio.get_running_loop()
        try:
            left_s = max(0.0, ends - loop.time())
            channel = await shake_hands(
                opened, initiator=True, static_key=self._static_key, deadline_s=left_s
            )
            left_s = max(0.0, ends - loop.time())
            identity = await identify(channel, self._badge(), self._town_of, deadline_s=left_s, joins=joins)
            identity = replace(identity, near=_nearness(opened))
            if expected is not None and identity.town != expected:
                raise LinkFailure("another town answers there than the one that we know", code="wrong_town")
        except LinkFailure as failure:
            await close(opened, failure.code)
            raise
        except BaseException:
            with suppress(Exception):
                await close(opened)
            raise
        keep_alive(opened.get_extra_info("socket"))
        return channel, identity


def _session(most: Nearness) -> aiohttp.ClientSession:
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=2 * LINKS_MAX, ttl_dns_cache=NAMES_KEPT_S, force_close=True, resolver=Names(most)
        ),
        timeout=aiohttp.ClientTimeout(total=None),
        trace_configs=[tracing],
        # No proxy and no cookies: a peer is called where its operator said, and nowhere else.
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _nearness(opened: aiohttp.ClientWebSocketResponse) -> Nearness:
    there = opened.get_extra_info("peername")
    return (nearness(str(there[0])) if isinstance(there, tuple) else None) or Nearness.ANYWHERE


def _unreachable(url: str, why: str) -> LinkFailure:
    return LinkFailure(f"{url} cannot be reached: {why}", code="unreachable", detail={"why": why})


def _not_a_node(url: str, why: str) -> LinkFailure:
    return LinkFailure(
        f"{url} is no node: {why}", code="not_a_node", detail={"why": f"no node is there: {why}"}
    )


def sync_url(url: str) -> str:
    """Return where to call for a URL as people write it: `/sync` unless it names a path."""
    parts = urlsplit(url)
    path = parts.path if parts.path.strip("/") else SYNC_PATH
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def keep_alive(opened: socket.socket | None) -> None:
    """Let small frames go at once; liveness is the hub's pings, not the kernel's."""
    if opened is not None:
        with suppress(OSError):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams
) -> None:
    """A redirect would let whoever answers send us to an address that no operator approved."""
    raise _not_a_node(str(params.url), "it answers with a redirect; give the URL that it leads to")
