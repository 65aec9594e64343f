"""The forms: a post, an edit, a withdrawal; every slip is said and nothing typed is lost."""

from __future__ import annotations

import re
from typing import Any

import pytest

from protocol.kinds import KINDS

STEPS: list[Any] = [
    {"text": "Cut the cabbage", "warning": "Mind your fingers"},
    {"text": "Salt it", "minutes": 20},
]


async def test_who_is_not_signed_in_is_led_to_the_sign_in_and_back(node: Any, browser: Any) -> None:
    async with browser.client.get("/post?kind=offer", allow_redirects=False) as response:
        assert response.status == 303
        where = response.headers["Location"]
    assert where == "/sign-in?next=/post?kind%3Doffer"
    await node.accounts.add("Alice", "123456")
    status, _, where = await browser.post(where, {"name": "alice", "pin": "123456"})
    assert (status, where) == (303, "/post?kind=offer")


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS.values() if kind.shown])
async def test_every_kind_has_a_form_that_follows_from_its_declaration(
    node: Any, browser: Any, kind: str
) -> None:
    await browser.sign_in(node)
    status, page = await browser.get(f"/post?kind={kind}")
    assert status == 200
    asked = {each.name for each in KINDS[kind].inputs()} - {"by", "duplicate_of", "in_hand_by", "relation"}
    assert page.count("(needed)") == page.count('aria-required="true"') >= 1
    assert asked == set(
        re.findall(r'<(?:input|select|textarea) (?:type="checkbox" )?id="f-[^"]*" name="([^"]*)"', page)
    )


async def test_a_post_by_the_form_is_signed_shared_and_bears_its_posters_name(
    node: Any, browser: Any
) -> None:
    await node.accounts.add("Alice", "123456")
    await browser.post("/sign-in", {"name": "alice", "pin": "123456"})
    _, page = await browser.get("/post?kind=offer")
    form = browser.form(page) | {
        "title": "Twenty loaves",
        "quantity": "20",
        "where.name": "Market hall",
        "by": "Mallory",
        "_audience": "federations",
    }
    status, _, where = await browser.post("/post?kind=offer", form)
    assert status == 303
    found = (await node.all())[0]
    assert where == f"/d/{found.address}?posted=1"
    assert found.fields == {
        "title": "Twenty loaves",
        "quantity": {"milli": 20_000, "unit": "each"},
        "terms": "give",
        "where": {"name": "Market hall"},
        "by": "Alice",
    }
    assert found.federations == (node.federation,)
    again = await browser.post("/post?kind=offer", form)
    assert again[0] == 303
    assert len(await node.all()) == 1


async def test_the_form_of_a_need_asks_who_may_see_it_and_proposes_this_town(node: Any, browser: Any) -> None:
    await browser.sign_in(node)
    _, page = await browser.get("/post?kind=need")
    assert re.search(r'value="town" checked', page)
    status, _, _ = await browser.post(
        "/post?kind=need", browser.form(page) | {"title": "Company", "_audience": "town"}
    )
    assert status == 303
    assert (await node.all())[0].federations == ()


async def test_every_slip_of_a_form_is_said_beside_its_field_and_nothing_is_lost(
    node: Any, browser: Any
) -> None:
    await browser.sign_in(node)
    _, page = await browser.get("/post?kind=offer")
    form = browser.form(page) | {
        "title": "Br",
        "text": "A <b>long</b> & careful text",
        "quantity": "many",
        "until": "tomorrow",
        "where.lat": "here",
        "terms": "steal",
        "_audience": "town",
    }
    status, page, _ = await browser.post("/post?kind=offer", form)
    assert status == 400
    for name in ("title", "quantity", "until", "where-lat", "terms"):
        assert f'id="f-{name}-error"' in page, name
    assert "A &lt;b&gt;long&lt;/b&gt; &amp; careful text" in page
    for typed in ('value="Br"', 'value="many"', 'value="tomorrow"', 'value="here"', 'value="steal" selected'):
        assert typed in page, typed
    assert re.search(r'value="town" checked', page)
    assert browser.form(page)["_nonce"] == form["_nonce"]
    assert "<details open>" in page
    assert await node.all() == []


async def test_an_error_in_a_step_names_its_line(node: Any, browser: Any) -> None:
    await browser.sign_in(node)
    _, page = await browser.get("/post?kind=practice")
    form = browser.form(page) | {"title": "Stove", "steps": "Cut\n" + "x" * 1_001}
    status, page, _ = await browser.post("/post?kind=practice", form)
    assert status == 400
    assert re.search(r'id="f-steps-error">Line 2: ', page)


async def test_an_edit_by_the_form_changes_the_document(node: Any, browser: Any) -> None:
    posted = await node.board.post(
        "offer", {"title": "Bread", "text": "Rye", "until": 1_790_200_000}, by="alice"
    )
    await browser.sign_in(node)
    _, page = await browser.get(f"/d/{posted.address}/edit")
    assert 'value="Bread"' in page
    status, _, where = await browser.post(
        f"/d/{posted.address}/edit", browser.form(page) | {"title": "Rye bread"}
    )
    assert (status, where) == (303, f"/d/{posted.address}?changed=1")
    shown = await node.board.show(posted.address)
    assert shown.fields == {"title": "Rye bread", "terms": "give", "by": "alice"}


async def test_an_edit_that_came_too_late_shows_both_and_lets_the_editor_choose(
    node: Any, browser: Any
) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    await browser.sign_in(node)
    _, page = await browser.get(f"/d/{posted.address}/edit")
    await node.board.edit(posted.address, {"title": "Rye bread"})
    status, page, _ = await browser.post(
        f"/d/{posted.address}/edit", browser.form(page) | {"title": "White bread"}
    )
    assert status == 409
    assert "What stands now" in page
    assert "Rye bread" in page
    assert 'value="White bread"' in page
    assert (await node.board.show(posted.address)).fields["title"] == "Rye bread"
    status, _, _ = await browser.post(
        f"/d/{posted.address}/edit", browser.form(page) | {"title": "White bread"}
    )
    assert status == 303
    assert (await node.board.show(posted.address)).fields["title"] == "White bread"


async def test_withdrawing_asks_first(node: Any, browser: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    await browser.sign_in(node)
    status, page = await browser.get(f"/d/{posted.address}/withdraw")
    assert status == 200
    assert (await node.board.show(posted.address)).fields["title"] == "Bread"
    status, _, _ = await browser.post(f"/d/{posted.address}/withdraw", browser.form(page))
    assert status == 303
    assert await node.all() == []


async def test_another_towns_document_cannot_be_changed_here(node: Any, browser: Any) -> None:
    record = await node.hear_offer("Ladders")
    await browser.sign_in(node)
    for act in ("edit", "withdraw"):
        status, page = await browser.get(f"/d/{record.doc.hex()}/{act}")
        assert status == 403
        assert "posted in Charlieu" in page


async def test_another_residents_document_is_not_mine_to_change(node: Any, browser: Any) -> None:
    await node.accounts.add("Alice", "123456")
    await browser.post("/sign-in", {"name": "Alice", "pin": "123456"})
    bobs = await node.board.post("offer", {"title": "Bread"}, by="Bob")
    mine = await node.board.post("offer", {"title": "Rye bread"}, by="Alice")
    guide = await node.board.post("practice", {"title": "Kraut", "steps": STEPS}, by="Bob")
    _, page = await browser.get(f"/d/{bobs.address}")
    assert "Only Bob and the operator can change or withdraw it." in page
    assert "/withdraw" not in page
    form = {"_token": browser.form_token(node), "title": "Planted", "_seen": bobs.id.hex()}
    for act in ("edit", "withdraw"):
        assert (await browser.get(f"/d/{bobs.address}/{act}"))[0] == 403
        status, page, _ = await browser.post(f"/d/{bobs.address}/{act}", form)
        assert status == 403
        assert "only Bob and the operator" in page
        assert (await browser.get(f"/d/{mine.address}/{act}"))[0] == 200
    _, page = await browser.get(f"/d/{guide.address}")
    assert f"/d/{guide.address}/edit" in page
    assert f"/d/{guide.address}/withdraw" not in page
    assert (await browser.get(f"/d/{guide.address}/edit"))[0] == 200
    assert (await browser.get(f"/d/{guide.address}/withdraw"))[0] == 403
