"""What stands before every page: sign-in, sessions, foreign sites, foreign names, forbidden scripts."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from node.config import Settings, Web


async def test_a_sign_in_link_is_used_by_its_button_and_not_by_looking(node: Any, browser: Any) -> None:
    link = await node.accounts.make_link()
    for _ in range(2):
        status, page = await browser.get(f"/sign-in?token={link}")
        assert status == 200
    status, _, where = await browser.post("/sign-in?next=/", browser.form(page))
    assert (status, where) == (303, "/")
    assert (await browser.get(f"/sign-in?token={link}"))[0] == 410
    status, page, _ = await browser.post("/sign-in", {"token": link})
    assert status == 401


@pytest.mark.parametrize(
    "target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\nb"]
)
async def test_a_sign_in_never_leads_to_another_site(node: Any, browser: Any, target: str) -> None:
    form = {"token": await node.accounts.make_link()}
    status, _, where = await browser.post(f"/sign-in?next={quote(target)}", form)
    assert (status, where) == (303, "/")


async def test_wrong_pins_are_said_on_the_form_and_counted(node: Any, browser: Any) -> None:
    await node.accounts.add("Alice", "123456")
    statuses = [(await browser.post("/sign-in", {"name": "Alice", "pin": "0"}))[0] for _ in range(9)]
    assert statuses == [401] * 8 + [429]


async def test_signing_in_gives_a_new_session_whatever_cookie_came_along(node: Any, browser: Any) -> None:
    browser.client.session.cookie_jar.update_cookies(
        {"hedgerow_session": "planted"}, browser.client.make_url("/")
    )
    async with browser.client.post(
        "/sign-in",
        data={"token": await node.accounts.make_link()},
        headers=browser.origin,
        allow_redirects=False,
    ) as response:
        cookie = response.cookies["hedgerow_session"]
    assert cookie.value != "planted"
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert node.accounts.session("planted") is None


async def test_signing_out_ends_the_session_at_the_node(node: Any, browser: Any) -> None:
    token = await browser.sign_in(node)
    cookies = browser.client.session.cookie_jar.filter_cookies(browser.client.make_url("/"))
    old = cookies["hedgerow_session"].value
    assert (await browser.post("/sign-out", {}))[0] == 303
    assert node.accounts.session(old) is not None, "a form without its token must do nothing"
    await browser.post("/sign-out", {"_token": token})
    assert node.accounts.session(old) is None


FORMS = ["/post?kind=offer", "/d/{address}/edit", "/d/{address}/withdraw", "/people", "/sign-out", "/sign-in"]


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Referer": "http://evil.example/page"},
        {},
    ],
    ids=["both", "origin", "null", "cross", "same-site", "referer", "none"],
)
async def test_no_form_is_taken_from_elsewhere(
    node: Any, browser: Any, path: str, headers: dict[str, str]
) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    token = await browser.sign_in(node)
    form = {"_token": token, "title": "Planted", "name": "Eve", "pin": "123456", "_seen": posted.id.hex()}
    browser.origin = {}
    status, _, _ = await browser.post(path.format(address=posted.address), form, **headers)
    assert status == 403
    assert [document.fields["title"] for document in await node.all()] == ["Bread"]
    assert await node.accounts.names() == []


@pytest.mark.parametrize("path", [path for path in FORMS if path not in ("/sign-in", "/sign-out")])
@pytest.mark.parametrize("token", ["", "0" * 32], ids=["no-token", "wrong-token"])
async def test_no_form_is_taken_without_the_sessions_token(
    node: Any, browser: Any, path: str, token: str
) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    await browser.sign_in(node)
    form = {"_token": token, "title": "Planted", "name": "Eve", "pin": "123456", "_seen": posted.id.hex()}
    status, _page, _ = await browser.post(path.format(address=posted.address), form)
    assert status == 403
    assert [document.fields["title"] for document in await node.all()] == ["Bread"]
    assert await node.accounts.names() == []


async def test_a_session_that_ended_while_somebody_wrote_loses_nothing(node: Any, browser: Any) -> None:
    await browser.sign_in(node)
    _, page = await browser.get("/post?kind=offer")
    form = browser.form(page) | {"title": "A long story"}
    await browser.post("/sign-out", {"_token": form["_token"]})
    status, page, _ = await browser.post("/post?kind=offer", form)
    assert status == 403
    assert 'value="A long story"' in page
    await browser.sign_in(node)
    status, page, _ = await browser.post("/post?kind=offer", form)
    assert status == 403
    status, _, _ = await browser.post("/post?kind=offer", browser.form(page) | {"title": "A long story"})
    assert status == 303


@pytest.mark.parametrize("path", ["/", "/post", "/sign-in", "/api/v1/documents", "/about"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8460", "", "localhost.evil.example", "8.8.8.8", "a@localhost"]
)
async def test_no_page_is_given_under_a_foreign_name(browser: Any, path: str, host: str) -> None:
    status, _ = await browser.get(path, Host=host)
    assert status == 403


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8460", "127.0.0.1:8460", "[::1]:8460", "192.168.1.7", "10.0.0.3:80", "[fd00::1]",
     "roanne.local", "hedgerow.example", "board.example:8460"],
)  # fmt: skip
async def test_a_page_is_given_under_every_name_of_the_node(node: Any, browser: Any, host: str) -> None:
    node.settings = Settings(web=Web(public_url="https://hedgerow.example", hosts=["board.example"]))
    await browser.get("/")
    status, _ = await browser.get("/", Host=host)
    assert status == 200


async def test_every_answer_forbids_scripts_frames_and_guessing(node: Any, browser: Any) -> None:
    for path in ("/", "/nothing", "/sign-in", "/api/v1/documents", "/api/v1/documents/0"):
        async with browser.client.get(path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy, path
            assert "frame-ancestors 'none'" in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "same-origin"


async def test_the_operator_lets_people_in_and_takes_them_out(node: Any, browser: Any) -> None:
    assert (await browser.get("/people"))[0] == 303
    token = await browser.sign_in(node)
    status, _, _ = await browser.post("/people", {"_token": token, "name": "Bob", "pin": "abcdef"})
    assert status == 303
    assert "Bob" in (await browser.get("/people"))[1]
    again = {"_token": token, "name": "bob", "pin": "fedcba"}
    status, page, _ = await browser.post("/people", again)
    assert (status, "Bob has an account already" in page, 'value="bob"' in page) == (409, True, True)
    assert (await node.accounts.sign_in("Bob", "abcdef")).cookie, "nobody's PIN is changed in silence"
    assert (await browser.post("/people", again | {"new_pin": "yes"}))[0] == 303
    status, _, _ = await browser.post("/people", {"_token": token, "name": "Eve", "pin": "1"})
    assert status == 400
    await browser.post("/sign-out", {"_token": token})
    await browser.post("/sign-in", {"name": "Bob", "pin": "fedcba"})
    status, _page = await browser.get("/people")
    assert status == 403
    token = await browser.sign_in(node)
    await browser.post("/people", {"_token": token, "remove": "Bob"})
    assert await node.accounts.names() == []
