"""The stream of changes: told whole, in order, to those who may know, and bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from node.board import Post
from node.web import guard, stream
from node.web.app import make_app
from protocol.ids import address
from tests.node.programs import Program

DOCUMENTS = "/api/v1/documents"


async def listen(
    program: Program, path: str = "/api/v1/changes", **headers: str
) -> AsyncGenerator[dict[str, str], None]:
    """Yield the events of the stream."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with program.client.get(path, headers=program.headers | sent) as response:
        assert response.status == 200
        event: dict[str, str] = {}
        async for line in response.content:
            text = line.decode().rstrip("\n")
            if not text:
                yield event
                event = {}
            else:
                name, _, value = text.partition(": ")
                event[name or "comment"] = value


async def test_a_change_is_told_as_it_happens(node: Any, stranger: Program) -> None:
    events = listen(stranger)
    ready = await anext(events)
    assert ready["event"] == "ready"
    posted = await node.board.post("offer", {"title": "Bread"})
    told = json.loads((await anext(events))["data"])
    assert (told["address"], told["kind"], told["gone"]) == (posted.address, "offer", False)
    await node.board.withdraw(posted.address)
    told = json.loads((await anext(events))["data"])
    assert (told["address"], told["gone"]) == (posted.address, True)
    await events.aclose()


async def test_who_was_away_goes_on_where_it_was(node: Any, stranger: Program) -> None:
    events = listen(stranger)
    start = (await anext(events))["id"]
    await events.aclose()
    posted = [await node.board.post("offer", {"title": f"Thing {number}"}) for number in range(3)]
    again = listen(stranger, Last_Event_ID=start)
    await anext(again)
    told = [await anext(again) for _ in range(3)]
    assert [json.loads(each["data"])["address"] for each in told] == [each.address for each in posted]
    await again.aclose()
    rest = listen(stranger, f"/api/v1/changes?since={told[1]['id']}")
    await anext(rest)
    assert json.loads((await anext(rest))["data"])["address"] == posted[2].address
    await rest.aclose()


async def test_a_change_of_many_documents_is_told_whole_before_its_number(
    node: Any, stranger: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "DOCUMENTS_AT_ONCE", 2)
    events = listen(stranger)
    await anext(events)
    posted = await node.board.post_many([Post("offer", {"title": f"Thing {number}"}) for number in range(7)])
    last = await node.board.post("offer", {"title": "The last"})
    told = [await anext(events) for _ in range(8)]
    assert {json.loads(each["data"])["address"] for each in told[:7]} == {each.address for each in posted}
    assert [("id" in each) for each in told] == [False] * 6 + [True, True]
    assert json.loads(told[7]["data"])["address"] == last.address
    await events.aclose()


async def test_strangers_are_not_told_what_stays_in_town(
    node: Any, program: Program, stranger: Program
) -> None:
    outside, inside = listen(stranger), listen(program)
    await anext(outside)
    await anext(inside)
    kept = await node.board.post("need", {"title": "Company"}, audience="town")
    shared = await node.board.post("offer", {"title": "Bread"})
    assert json.loads((await anext(outside))["data"])["address"] == shared.address
    assert json.loads((await anext(inside))["data"])["address"] == kept.address
    await outside.aclose()
    await inside.aclose()


async def test_strangers_are_not_told_that_something_in_town_was_withdrawn_nor_of_what_governs(
    node: Any, program: Program, stranger: Program
) -> None:
    kept = await node.board.post("need", {"title": "Company"}, audience="town")
    await node.board.withdraw(kept.address)
    record = await node.hear_offer("Ladders")
    for who, addresses in ((stranger, [address(record.doc)]), (program, [kept.address, address(record.doc)])):
        events = listen(who, "/api/v1/changes?since=0")
        await anext(events)
        told = [json.loads((await anext(events))["data"]) for _ in addresses]
        assert [each["address"] for each in told] == addresses
        await events.aclose()


async def test_a_store_made_anew_is_told_from_its_beginning(node: Any, stranger: Program) -> None:
    record = await node.hear_offer("Ladders")
    events = listen(stranger, "/api/v1/changes?since=999999999")
    assert (await anext(events))["id"] == "0"
    seen = json.loads((await anext(events))["data"])
    while seen["address"] != address(record.doc):
        seen = json.loads((await anext(events))["data"])
    await events.aclose()


async def test_a_quiet_stream_shows_that_it_lives(stranger: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.01)
    events = listen(stranger)
    await anext(events)
    assert (await anext(events))["comment"] == "still here"
    await events.aclose()


async def test_streams_are_bounded_and_end_with_the_node(
    browser: Any, stranger: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STREAMS_MAX", 1)
    events = listen(stranger)
    await anext(events)
    status, problem, _ = await stranger.call("GET", "/api/v1/changes")
    assert (status, problem["code"]) == (503, "too_many")
    browser.client.app[stream.STREAMS].end()
    async with asyncio.timeout(5):
        assert [event async for event in events] == []


async def test_one_address_does_not_take_all_streams(
    stranger: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STREAMS_OF_ONE_MAX", 2)
    path = "/api/v1/changes"
    opened = [listen(stranger, path, X_Forwarded_For="203.0.113.7") for _ in range(2)]
    for events in opened:
        await anext(events)
    for said in ("203.0.113.7", "198.51.100.1, 203.0.113.7"):
        status, problem, _ = await stranger.call("GET", path, X_Forwarded_For=said)
        assert (status, problem["code"]) == (429, "too_many")
    other = listen(stranger, path, X_Forwarded_For="203.0.113.8")
    await anext(other)
    await opened.pop().aclose()
    for _ in range(50):  # of a line that was closed the node hears a moment later
        again = listen(stranger, path, X_Forwarded_For="203.0.113.7")
        try:
            await anext(again)
            break
        except AssertionError:
            await asyncio.sleep(0)
    else:
        pytest.fail("a stream that was closed must make room")
    for events in (*opened, other, again):
        await events.aclose()


async def test_a_line_that_was_closed_makes_room_before_its_next_heartbeat(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STREAMS_MAX", 1)
    runner = web.AppRunner(make_app(node))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1/changes"
    try:
        async with asyncio.timeout(10):
            for _ in range(3):
                async with aiohttp.ClientSession() as session:
                    first = b""
                    while not first.startswith(b"retry"):
                        async with session.get(url) as response:
                            first = await response.content.readline()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("remote", "forwarded", "origin"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "", "203.0.113.7"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("", "", ""),
    ],
)
def test_where_a_request_comes_from(remote: str, forwarded: str, origin: str) -> None:
    assert guard.origin_of(remote, forwarded) == origin
