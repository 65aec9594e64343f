"""The JSON API: every answer, and every refusal with its code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from node.board import Post
from node.config import Settings, Web
from node.web.openapi import description
from tests.node.programs import Program

DOCUMENTS = "/api/v1/documents"


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
