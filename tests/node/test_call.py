"""Calling other nodes: what stands in the way is told in one line, and nobody is led astray."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from node.transport.call import Caller, sync_url
from node.transport.channel import (
    LinkFailure,
    new_static_key,
)
from node.transport.nearness import Nearness
from tests.node.channels import WAIT_S, Place, new_badge, nobody, open_place


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A place for servers, cleaned up behind."""
    async with open_place() as found:
        yield found


async def failure_of(url: str, deadline_s: float = WAIT_S) -> LinkFailure:
    """Why a call fails."""
    caller = Caller(static_key=new_static_key(), badge=new_badge, town_of=nobody)
    await caller.open()
    try:
        with pytest.raises(LinkFailure) as told:
            await caller.call(url, deadline_s=deadline_s)
        return told.value
    finally:
        await caller.close()


async def test_a_call_that_nobody_answers_says_so_in_one_line() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    failure = await failure_of(f"http://127.0.0.1:{port}")
    assert failure.code == "unreachable"
    assert failure.says == f"http://127.0.0.1:{port}/sync cannot be reached: connection refused"
    assert failure.detail == {"why": "connection refused"}


async def test_a_call_into_silence_ends_at_its_deadline() -> None:
    taken: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda reader, writer: taken.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    failure = await failure_of(f"http://127.0.0.1:{port}", deadline_s=0.05)
    assert failure.code == "unreachable"
    for writer in taken:
        writer.close()
    server.close()


async def test_a_web_server_that_is_no_node_is_told_apart(place: Place) -> None:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(text="welcome")

    assert (await failure_of(await place.serve(handle))).code == "not_a_node"


async def test_a_redirect_is_not_followed_to_where_no_operator_pointed(place: Place) -> None:
    visited = False

    async def elsewhere(_: web.Request) -> web.StreamResponse:
        nonlocal visited
        visited = True
        return web.Response()

    target = await place.serve(elsewhere)

    async def handle(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(target)

    assert (await failure_of(await place.serve(handle))).code == "not_a_node"
    assert not visited


@pytest.mark.parametrize("most", [Nearness.ANYWHERE, Nearness.NETWORK])
async def test_where_a_peer_has_no_business_to_point_is_not_called_by_address_or_name(
    place: Place, monkeypatch: pytest.MonkeyPatch, most: Nearness
) -> None:
    visits: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        visits.append(request.path)
        return web.Response()

    port = urlsplit(await place.serve(handle)).port
    look_up = socket.getaddrinfo

    def mislead(host: str, *more: Any, **named: Any) -> Any:
        return look_up("127.0.0.1" if host == "roanne.example" else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", mislead)
    caller = Caller(static_key=new_static_key(), badge=new_badge, town_of=nobody)
    await caller.open()
    for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "roanne.example"):
        with pytest.raises(LinkFailure) as told:
            await caller.call(f"http://{host}:{port}", most=most)
        assert told.value.code == "too_near"
    assert visits == []
    with pytest.raises(LinkFailure) as told:
        await caller.call(f"http://roanne.example:{port}")
    assert told.value.code == "not_a_node"
    assert visits == ["/sync"]
    await caller.close()


async def test_a_name_service_that_does_not_answer_holds_nobody_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    asked: list[str] = []
    look_up = socket.getaddrinfo

    def hang(host: str, *more: Any, **named: Any) -> Any:
        if host == "roanne.example":
            asked.append(host)
            release.wait(WAIT_S)
            raise OSError("no answer")
        return look_up(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    caller = Caller(static_key=new_static_key(), badge=new_badge, town_of=nobody)
    await caller.open()
    for _ in range(20):
        with pytest.raises(LinkFailure) as told:
            await caller.call("http://roanne.example:8460", deadline_s=0.01)
        assert told.value.code == "unreachable"
    assert len(asked) == 1
    assert await asyncio.to_thread(lambda: "a thread is free") == "a thread is free"
    release.set()
    await caller.close()


async def test_a_name_that_nobody_knows_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*more: Any, **named: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    failure = await failure_of("http://roanne.example:8460")
    assert failure.code == "unreachable"
    assert "roanne.example" in failure.says


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("http://roanne.example:8460", "http://roanne.example:8460/sync"),
        ("https://roanne.example/", "https://roanne.example/sync"),
        ("wss://roanne.example/hedgerow/sync", "wss://roanne.example/hedgerow/sync"),
        ("http://[fe80::1]:8460?x=1#y", "http://[fe80::1]:8460/sync"),
    ],
)
def test_a_url_without_a_path_calls_the_sync_address(url: str, called: str) -> None:
    assert sync_url(url) == called
