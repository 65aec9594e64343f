"""The JSON API: every answer, every refusal with its code, and the stream of changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from node.board import Post
from node.config import Settings, Web
from node.web import guard, stream
from node.web.app import make_app
from node.web.openapi import description
from protocol.ids import address

DOCUMENTS = "/api/v1/documents"


class Program:
    """A client of the API with or without a bearer token."""

    def __init__(self, client: Any, token: str = "") -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        """Return status, body and headers of an answer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(method, path, json=body, headers=self.headers | sent) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None, response.headers


@pytest.fixture
async def program(node: Any, browser: Any) -> Program:
    """A program with a token."""
    return Program(browser.client, await node.accounts.make_token("test"))


@pytest.fixture
async def stranger(browser: Any) -> Program:
    """A program without one."""
    return Program(browser.client)


async def test_a_document_is_posted_read_changed_and_withdrawn(program: Program) -> None:
    body = {"kind": "offer", "fields": {"title": "Bread", "quantity": "2.5 kg", "condition": "fresh"}}
    status, posted, headers = await program.call("POST", DOCUMENTS, body)
    assert status == 201
    assert headers["Location"] == f"{DOCUMENTS}/{posted['address']}"
    status, shown, headers = await program.call("GET", f"{DOCUMENTS}/{posted['address']}")
    assert status == 200
    assert shown["fields"]["quantity"] == {"amount": "2.5", "unit": "kg"}
    assert set(shown) >= {"address", "id", "kind", "town", "fields", "born", "expires", "versions"}
    change = {"fields": {"title": "Rye bread", "condition": None}}
    path = f"{DOCUMENTS}/{posted['address']}"
    status, edited, _ = await program.call("PATCH", path, change, If_Match=headers["ETag"])
    assert status == 200
    assert edited["address"] == posted["address"]
    _, shown, _ = await program.call("GET", f"{DOCUMENTS}/{posted['address']}")
    assert shown["id"] == edited["id"]
    assert shown["fields"] == {
        "title": "Rye bread",
        "quantity": {"amount": "2.5", "unit": "kg"},
        "terms": "give",
        "by": "test",
    }
    status, gone, _ = await program.call("DELETE", f"{DOCUMENTS}/{posted['address']}")
    assert status == 200
    assert gone["address"] == posted["address"]
    status, problem, _ = await program.call("GET", f"{DOCUMENTS}/{posted['address']}")
    assert (status, problem["code"]) == (404, "not_found")


async def test_the_same_idempotency_key_gives_the_same_document(
    node: Any, program: Program, browser: Any
) -> None:
    body = {"kind": "offer", "fields": {"title": "Bread"}}
    first = await program.call("POST", DOCUMENTS, body, Idempotency_Key="order-66")
    second = await program.call("POST", DOCUMENTS, body, Idempotency_Key="order-66")
    assert first[1] == second[1]
    assert len(await node.all()) == 1
    other = Program(browser.client, await node.accounts.make_token("another"))
    await other.call("POST", DOCUMENTS, body, Idempotency_Key="order-66")
    assert len(await node.all()) == 2


async def test_a_change_based_on_what_is_no_more_is_refused(node: Any, program: Program) -> None:
    posted = await node.board.post("offer", {"title": "Bread"}, by="test")
    path = f"{DOCUMENTS}/{posted.address}"
    _, _, headers = await program.call("GET", path)
    await node.board.edit(posted.address, {"title": "Rye bread"})
    for method, body in (("PATCH", {"fields": {"title": "White bread"}}), ("DELETE", None)):
        status, problem, _ = await program.call(method, path, body, If_Match=headers["ETag"])
        assert (status, problem["code"]) == (412, "stale_edit")
        assert problem["heads"] == [(await node.board.show(posted.address)).id.hex()]


async def test_what_has_not_changed_is_not_sent_again(node: Any, program: Program) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    path = f"{DOCUMENTS}/{posted.address}"
    _, _, headers = await program.call("GET", path)
    assert (await program.call("GET", path, If_None_Match=headers["ETag"]))[0] == 304
    await node.board.edit(posted.address, {"title": "Rye bread"})
    assert (await program.call("GET", path, If_None_Match=headers["ETag"]))[0] == 200


async def test_documents_are_listed_by_kind_town_words_and_distance(node: Any, program: Program) -> None:
    await node.hear_offer("Ladders of Charlieu")
    await node.board.post_many([Post("offer", {"title": "Bread"}), Post("skill", {"name": "Bake bread"})])
    for query, count in [
        ("", 3),
        ("kind=offer", 2),
        ("kind=offer,skill", 3),
        ("kind=offer&kind=skill", 3),
        (f"town={node.neighbour.id.hex()}", 1),
        (f"federation={node.federation.hex()}", 3),
        ("q=bread", 2),
        ("q=bread&kind=skill", 1),
        ("near=46.15,4.17,5", 1),
    ]:
        status, answer, _ = await program.call("GET", f"{DOCUMENTS}?{query}&total=1")
        assert status == 200, query
        assert len(answer["documents"]) == count, query
        assert answer["total"] == count, query


async def test_a_cursor_leads_through_all_documents(node: Any, stranger: Program) -> None:
    await node.board.post_many([Post("offer", {"title": f"Thing {number}"}) for number in range(7)])
    titles: list[str] = []
    cursor: str | None = ""
    for _ in range(4):
        _, answer, _ = await stranger.call("GET", f"{DOCUMENTS}?limit=2&cursor={cursor}")
        titles += [document["fields"]["title"] for document in answer["documents"]]
        cursor = answer["cursor"]
    assert cursor is None
    assert sorted(titles) == [f"Thing {number}" for number in range(7)]


async def test_what_the_town_keeps_for_itself_is_not_shown_to_strangers(
    node: Any, program: Program, stranger: Program
) -> None:
    status, posted, _ = await program.call(
        "POST", DOCUMENTS, {"kind": "need", "fields": {"title": "Company"}, "audience": "town"}
    )
    assert status == 201
    path = f"{DOCUMENTS}/{posted['address']}"
    doc = (await node.board.show(posted["address"])).doc
    assert (await stranger.call("GET", DOCUMENTS))[1]["documents"] == []
    status, problem, _ = await stranger.call("GET", path)
    assert (status, problem["code"]) == (404, "not_found")
    for unknown in ("00000000000", "00" * 16):
        answer = await stranger.call("GET", f"{DOCUMENTS}/{unknown}")
        assert answer[:2] == (404, problem), "a stranger does not learn that it is there"
    assert (await stranger.call("GET", f"{DOCUMENTS}/{doc.hex()}"))[:2] == (404, problem)
    assert (await program.call("GET", path))[0] == 200
    assert len((await program.call("GET", DOCUMENTS))[1]["documents"]) == 1


async def test_nobody_posts_or_revises_in_another_name_but_the_operator(
    node: Any, browser: Any, program: Program
) -> None:
    async def by_of(address: str) -> Any:
        return (await program.call("GET", f"{DOCUMENTS}/{address}"))[1]["fields"].get("by")

    fields = {"title": "From the mayor", "by": "Mayor"}
    _, posted, _ = await program.call("POST", DOCUMENTS, {"kind": "need", "fields": fields})
    assert await by_of(posted["address"]) == "test"
    other = Program(browser.client, await node.accounts.make_token("another"))
    path = f"{DOCUMENTS}/{posted['address']}"
    for change in ({"by": "Mayor"}, {"by": None}, {"title": "Mended"}):
        assert (await program.call("PATCH", path, {"fields": change}))[0] == 200
        assert await by_of(posted["address"]) == "test"
    guide = {"kind": "practice", "fields": {"title": "Rice", "steps": [{"text": "Wash it"}]}}
    _, posted, _ = await program.call("POST", DOCUMENTS, guide)
    await other.call("PATCH", f"{DOCUMENTS}/{posted['address']}", {"fields": {"by": "Mayor"}})
    assert await by_of(posted["address"]) == "another", "a revision is its writer's"
    operator = Program(browser.client, await node.accounts.make_token("operator"))
    _, posted, _ = await operator.call("POST", DOCUMENTS, {"kind": "need", "fields": fields})
    assert await by_of(posted["address"]) == "Mayor"


async def test_only_its_poster_and_the_operator_change_or_withdraw_a_document(
    node: Any, browser: Any, program: Program
) -> None:
    other = Program(browser.client, await node.accounts.make_token("another"))
    operator = Program(browser.client, await node.accounts.make_token("operator"))
    _, posted, _ = await program.call("POST", DOCUMENTS, {"kind": "need", "fields": {"title": "Blankets"}})
    nobodys = await node.board.post("need", {"title": "Beds"})
    for number, says in (
        (posted["address"], "posted by test; only test and"),
        (nobodys.address, "only the op"),
    ):
        for method, body in (("PATCH", {"fields": {"title": "Planted"}}), ("DELETE", None)):
            status, problem, _ = await other.call(method, f"{DOCUMENTS}/{number}", body)
            assert (status, problem["code"]) == (403, "not_allowed")
            assert says in problem["detail"]
    path = f"{DOCUMENTS}/{posted['address']}"
    assert (await operator.call("PATCH", path, {"fields": {"title": "Warm blankets"}}))[0] == 200
    assert (await program.call("GET", path))[1]["fields"]["by"] == "test", "it stays its poster's"
    assert (await program.call("DELETE", path))[0] == 200
    guide = {"kind": "practice", "fields": {"title": "Rice", "steps": [{"text": "Wash it"}]}}
    _, posted, _ = await program.call("POST", DOCUMENTS, guide)
    path = f"{DOCUMENTS}/{posted['address']}"
    assert (await other.call("PATCH", path, {"fields": {"title": "Good rice"}}))[0] == 200
    assert (await other.call("DELETE", path))[0] == 403, "who revises a guide has not begun it"
    assert (await program.call("DELETE", path))[0] == 200


async def test_an_audience_may_name_federations(node: Any, program: Program) -> None:
    body = {"kind": "offer", "fields": {"title": "Bread"}, "audience": [node.federation.hex()]}
    assert (await program.call("POST", DOCUMENTS, body))[0] == 201
    body["audience"] = ["00" * 16]
    status, problem, _ = await program.call("POST", DOCUMENTS, body)
    assert (status, problem["code"]) == (409, "no_federation")


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ({"kind": "nothing", "fields": {}}, 400, "unknown_kind", "no such kind"),
        ({"kind": "charter", "fields": {}}, 400, "unknown_kind", "no such kind"),
        ({"kind": 7, "fields": {}}, 400, "unknown_kind", "no such kind"),
        ({"fields": {}}, 400, "unknown_kind", "no such kind"),
        ({"kind": "offer"}, 400, "invalid_field", "fields"),
        ({"kind": "offer", "fields": []}, 400, "invalid_field", "fields"),
        ({"kind": "offer", "fields": {}}, 400, "invalid_field", "title: is missing"),
        ({"kind": "offer", "fields": {"title": "Br"}}, 400, "invalid_field", "title"),
        ({"kind": "offer", "fields": {"title": "Bread", "titel": "x"}}, 400, "invalid_field", "did you mean"),
        ({"kind": "offer", "fields": {"title": "Bread", "quantity": -1}}, 400, "invalid_field", "quantity"),
        (
            {"kind": "offer", "fields": {"title": "Bread"}, "audience": "all"},
            400,
            "invalid_field",
            "audience",
        ),
        (
            {"kind": "offer", "fields": {"title": "Bread"}, "audience": ["xy"]},
            400,
            "invalid_field",
            "audience",
        ),
        ({"kind": "offer", "fields": {"title": "Bread"}, "town": "x"}, 400, "unknown_name", "known are"),
        ([], 400, "not_json", "object"),
        ("text", 400, "not_json", "object"),
    ],
)
async def test_a_bad_post_is_one_clear_problem(
    node: Any, program: Program, body: Any, status: int, code: str, says: str
) -> None:
    got, problem, headers = await program.call("POST", DOCUMENTS, body)
    assert (got, problem["code"]) == (status, code)
    assert says in problem["detail"]
    assert problem["status"] == status
    assert headers["Content-Type"].startswith("application/problem+json")
    assert await node.all() == []


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "not_json"),
        (b"\xff", "application/json", 400, "not_json"),
        (b'{"kind": NaN}', "application/json", 400, "not_json"),
        (b"[" * 50_000, "application/json", 400, "not_json"),
        (b'{"kind": "offer", "fields": {"title": "a \\ud800"}}', "application/json", 400, "invalid_request"),
        (b'{"kind": "offer", "fields": {"\\udfff": 1}}', "application/json", 400, "invalid_request"),
        (b'{"a": ' + 900 * b"[" + 900 * b"]" + b"}", "application/json", 400, "unknown_name"),
        (b"{}", "text/plain", 415, "not_json"),
        (b"kind=offer", "application/x-www-form-urlencoded", 415, "not_json"),
        (b"x" * 200_000, "application/json", 413, "too_large"),
    ],
    ids=["cut", "bytes", "nan", "deep", "half", "half-name", "less-deep", "text", "form", "large"],
)
async def test_a_body_that_is_not_json_is_one_clear_problem(
    program: Program, content: bytes, kind: str, status: int, code: str
) -> None:
    headers = program.headers | {"Content-Type": kind}
    async with program.client.post(DOCUMENTS, data=content, headers=headers) as response:
        assert response.status == status
        assert json.loads(await response.text())["code"] == code


@pytest.mark.parametrize(
    "query",
    ["near=here", "near=1,2", "near=91,0,5", "near=0,0,-1", "near=nan,0,5", "limit=0", "limit=501", "limit=x",
     "limit=0000000019999999999", "limit=00000000199999999999999999999", "limit=%D9%A3",
     "limit=-1", "limit=1e2", "limit=+5", "limit=0050", "total=x",
     "town=zz", "federation=00", "cursor=%F0%9F%98%80", "kinds=offer"],
)  # fmt: skip
async def test_a_question_that_makes_no_sense_is_one_clear_problem(stranger: Program, query: str) -> None:
    status, problem, _ = await stranger.call("GET", f"{DOCUMENTS}?{query}")
    assert status == 400
    assert problem["code"] in ("invalid_request", "unknown_name")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/documents/00000000000", 404, "not_found"),
        ("GET", "/api/v1/documents/nonsense", 404, "invalid_address"),
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("PUT", "/api/v1/documents", 405, "method_not_allowed"),
        ("GET", "/api/v1/changes?since=x", 400, "invalid_request"),
    ],
)
async def test_what_is_not_there_is_one_clear_problem(
    program: Program, method: str, path: str, status: int, code: str
) -> None:
    got, problem, _ = await program.call(method, path)
    assert (got, problem["code"]) == (status, code)


async def test_writing_needs_a_token_that_is_known(node: Any, browser: Any, stranger: Program) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    path = f"{DOCUMENTS}/{posted.address}"
    calls: list[tuple[str, str, Any]] = [
        ("POST", DOCUMENTS, {"kind": "offer", "fields": {"title": "Planted"}}),
        ("PATCH", path, {"fields": {"title": "Planted"}}),
        ("DELETE", path, None),
    ]
    for method, where, body in calls:
        status, problem, headers = await stranger.call(method, where, body)
        assert (status, problem["code"]) == (401, "not_signed_in")
        assert headers["WWW-Authenticate"].startswith("Bearer")
        status, problem, _ = await Program(browser.client, "hedge_wrong").call(method, where, body)
        assert (status, problem["code"]) == (401, "unknown_token")
    assert [document.fields["title"] for document in await node.all()] == ["Bread"]


async def test_a_session_may_write_from_our_own_pages_and_from_nowhere_else(
    node: Any, browser: Any, stranger: Program
) -> None:
    await browser.sign_in(node)
    body = {"kind": "offer", "fields": {"title": "Bread"}}
    foreign = {"Origin": "http://evil.example", "Sec_Fetch_Site": "cross-site"}
    status, problem, _ = await stranger.call("POST", DOCUMENTS, body, **foreign)
    assert (status, problem["code"]) == (403, "foreign_origin")
    async with browser.client.post(DOCUMENTS, json=body, headers=browser.origin) as response:
        assert response.status == 201


async def test_another_towns_document_cannot_be_changed(node: Any, program: Program) -> None:
    record = await node.hear_offer("Ladders")
    path = f"{DOCUMENTS}/{record.doc.hex()}"
    for method, body in (("PATCH", {"fields": {"title": "Ours"}}), ("DELETE", None)):
        status, problem, _ = await program.call(method, path, body)
        assert (status, problem["code"]) == (403, "not_ours")


async def test_a_full_disk_is_a_problem_with_its_own_code(
    node: Any, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.errors import StorageUnavailable

    async def full(*_: Any) -> None:
        raise StorageUnavailable("no space left on the disk")

    monkeypatch.setattr(node.intake, "post", full)
    status, problem, _ = await program.call(
        "POST", DOCUMENTS, {"kind": "offer", "fields": {"title": "Bread"}}
    )
    assert (status, problem["code"]) == (503, "storage_unavailable")
    assert (await program.call("GET", DOCUMENTS))[0] == 200


async def test_strangers_do_not_learn_where_peers_are_called(
    node: Any, program: Program, stranger: Program
) -> None:
    node.peers = [
        {"town": "cc" * 32, "name": "Ambierle", "state": "up", "url": "wss://secret", "says": "Ambierle: up"}
    ]
    _, known, _ = await program.call("GET", "/api/v1/status")
    _, shown, _ = await stranger.call("GET", "/api/v1/status")
    assert known["peers"][0]["url"] == "wss://secret"
    assert "secret" not in json.dumps(shown)
    assert shown["peers"][0]["says"] == "Ambierle: up"


async def test_the_description_names_every_route_and_every_kind(program: Program) -> None:
    _, described, _ = await program.call("GET", "/api/v1/openapi.json")
    routes = {
        route.resource.canonical.removeprefix("/api/v1")
        for route in program.client.app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/api/v1/")
    }
    assert routes - {"/openapi.json"} == set(described["paths"])
    assert {"fields.offer", "fields.need", "fields.skill", "fields.practice"} <= set(
        described["components"]["schemas"]
    )


# The stream of changes.


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


async def test_reading_needs_a_token_where_the_operator_wants_that(
    node: Any, program: Program, stranger: Program
) -> None:
    node.settings = Settings(web=Web(public_reading=False))
    for path in (DOCUMENTS, "/api/v1/status", "/api/v1/changes"):
        status, problem, _ = await stranger.call("GET", path)
        assert (status, problem["code"]) == (401, "not_signed_in")
    assert (await program.call("GET", DOCUMENTS))[0] == 200


def test_every_route_and_parameter_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    described: Any = description()
    for path, methods in described["paths"].items():
        assert f"/api/v1{path}".replace("{address}", "ADDRESS") in text
        for method in methods:
            if method != "parameters":
                assert f"`{method.upper()} /api/v1{path}`".replace("{address}", "ADDRESS") in text
    for parameter in described["paths"]["/documents"]["get"]["parameters"]:
        assert f"`{parameter['name']}`" in text
