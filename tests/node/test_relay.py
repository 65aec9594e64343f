"""The demo's relay: it forwards, and when it is cut it behaves like a line whose packets are dropped."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from node.demo.relay import Relay


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A relay before an echoing server."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    made = Relay("127.0.0.1", server.sockets[0].getsockname()[1])
    await made.start()
    yield made
    await made.close()
    server.close()
    await server.wait_closed()


async def _discarded(relay: Relay, count: int) -> None:
    while relay.discarded_bytes < count:
        await asyncio.sleep(0)


async def test_a_whole_relay_forwards_both_ways_and_counts(relay: Relay) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"bread")
    assert await reader.readexactly(5) == b"bread"
    assert (relay.carried_bytes, relay.discarded_bytes) == (10, 0)
    writer.close()
    assert await reader.read() == b""


async def test_a_cut_discards_without_closing_and_what_it_touched_stays_silent(relay: Relay) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    relay.cut()
    writer.write(b"lost")
    await _discarded(relay, 4)
    relay.heal()
    writer.write(b"late")
    await _discarded(relay, 8)
    assert not reader.at_eof()
    assert relay.carried_bytes == 2
    writer.close()


async def test_a_connection_accepted_during_a_cut_is_never_answered_and_new_ones_work_after(
    relay: Relay,
) -> None:
    relay.cut()
    dead, dead_writer = await asyncio.open_connection("127.0.0.1", relay.port)
    dead_writer.write(b"anybody there?")
    await _discarded(relay, 14)
    relay.heal()
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"bread")
    assert await reader.readexactly(5) == b"bread"
    assert not dead.at_eof()
    dead_writer.close()
    writer.close()


async def test_nobody_behind_the_relay_ends_the_call(relay: Relay) -> None:
    closed = await asyncio.start_server(_echo, "127.0.0.1", 0)
    relay.target = ("127.0.0.1", closed.sockets[0].getsockname()[1])
    closed.close()
    await closed.wait_closed()
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    assert await reader.read() == b""
    writer.close()
