"""Where pages are served: who never says what he wants is let go, and nobody else notices."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from node.transport.listener import Listener, ListenFailed

WAIT_S = 20.0

Open = Callable[..., Awaitable[tuple[str, int]]]


async def page(request: web.Request) -> web.Response:
    """A page that echoes."""
    return web.Response(text=await request.text() or "here")


@pytest.fixture
async def listen() -> AsyncIterator[Open]:
    """Serve a small page with short deadlines."""
    opened: list[Listener] = []

    async def serve(
        *, request_s_max: float = WAIT_S, idle_s_max: float = WAIT_S, connections_max: int = 100
    ) -> tuple[str, int]:
        app = web.Application()
        app.router.add_route("*", "/", page)
        app.router.add_get("/stream", stream)
        listener = Listener(
            app,
            request_s_max=request_s_max,
            idle_s_max=idle_s_max,
            connections_max=connections_max,
            sweep_s=0.01,
        )
        opened.append(listener)
        return await listener.start("127.0.0.1", 0)

    yield serve
    for listener in opened:
        await listener.stop()


async def stream(request: web.Request) -> web.StreamResponse:
    """A page that goes on for as long as somebody listens."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(50):
        await response.write(b"more\n")
        await asyncio.sleep(0.005)
    return response


async def is_let_go(address: tuple[str, int], said: bytes) -> bool:
    """Tell whether a connection that says this, and no more, is ended by the other side."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(said)
    try:
        async with asyncio.timeout(WAIT_S):
            while await reader.read(1_000):
                pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    finally:
        writer.close()
    return True


async def is_served(address: tuple[str, int]) -> bool:
    """Tell whether an honest visitor gets the page."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address[0]}:{address[1]}/") as response,
    ):
        return response.status == 200


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nten bytes.",
    ],
    ids=["silent", "half a head", "half a body"],
)
async def test_a_visitor_who_never_finishes_asking_is_let_go(listen: Open, said: bytes) -> None:
    address = await listen(request_s_max=0.1)
    assert await is_let_go(address, said)
    assert await is_served(address)


async def test_an_idle_connection_is_let_go_after_its_answer(listen: Open) -> None:
    address = await listen(idle_s_max=0.1)
    assert await is_let_go(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


async def test_a_long_answer_is_not_cut_short(listen: Open) -> None:
    address = await listen(request_s_max=0.05, idle_s_max=0.05)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address[0]}:{address[1]}/stream") as response,
    ):
        assert len((await response.read()).split()) == 50


async def test_a_crowd_of_silent_connections_gives_way_to_visitors(listen: Open) -> None:
    address = await listen(connections_max=10)
    silent = [await asyncio.open_connection(*address) for _ in range(40)]
    ended = 0
    async with asyncio.timeout(WAIT_S):
        while ended < 30:
            await asyncio.sleep(0.01)
            ended = sum(reader.at_eof() or reader.exception() is not None for reader, _ in silent)
    assert await is_served(address)
    for _, writer in silent:
        writer.close()


async def test_an_address_in_use_is_told_in_one_line(listen: Open) -> None:
    host, port = await listen()
    with pytest.raises(ListenFailed) as told:
        await Listener(web.Application()).start(host, port)
    assert str(port) in told.value.says
    assert "\n" not in told.value.says
