"""What one town sets aside for another: asked for, offered there, and shown on the pages of both."""

from __future__ import annotations

from typing import Any

from node.promises.views import Stage
from tests.node.requests import DAY_S, TODAY_S, meet, neighbour_of
from tests.node.test_pages_of_claims import sign_in_as, told
from tests.node.valley import boxes


async def test_the_operator_asks_for_a_share_and_offers_it_and_both_pages_say_so(
    node: Any, browser: Any
) -> None:
    side = await neighbour_of(node)
    given = {"title": "Boxes of apples", "quantity": boxes(24)}
    posted = await side.board.post("offer", given, by="alice")
    await meet(node, side)
    path = f"/d/{posted.address}/ask"
    await sign_in_as(node, browser, "Bob")
    form = browser.form((await browser.get(path))[1]) | {"quantity": "8", "share": "on"}
    assert "share" not in (await browser.get(path))[1]
    status, _, where = await browser.post(path, form)
    assert status == 303
    mine = await node.claims.show(where.split("?")[0].removeprefix("/c/"))
    assert not mine.share, "only the operator asks in the name of the town"
    await browser.sign_in(node)
    assert 'name="share"' in (await browser.get(path))[1]
    form = browser.form((await browser.get(path))[1]) | {"quantity": "8", "share": "on"}
    status, _, where = await browser.post(path, form)
    claim = where.split("?")[0]
    assert (await node.claims.show(claim.removeprefix("/c/"))).share
    await meet(node, side)
    assert "Offer it here" not in (await browser.get(claim))[1]
    await side.claims.accept(claim.removeprefix("/c/"))
    await meet(node, side)
    _, page = await browser.get(claim)
    assert "Your code" not in page, "a share is never fetched"
    link = page.split('href="/post?')[1].split('"')[0].replace("&amp;", "&")
    _, page = await browser.get(f"/post?{link}")
    assert 'value="Boxes of apples"' in page and 'value="8 boxes"' in page
    typed = {"title": "Boxes of apples", "quantity": "9 boxes", "_audience": "federations"}
    form = browser.form(page) | typed
    status, page, _ = await browser.post(f"/post?{link}", form)
    assert status == 409 and "Only 8 boxes is set aside for this town" in page
    form["quantity"] = "8 boxes"
    status, page, where = await browser.post(f"/post?{link}", form)
    assert status == 303, page
    await meet(node, side)
    mine = told((await browser.get(where.split("?")[0]))[1])
    assert "A share of what Charlieu has set aside for Roanne: Boxes of apples" in mine
    theirs = told((await browser.get(f"/d/{posted.address}"))[1])
    assert "8 boxes set aside for Roanne, which gives it away itself: Boxes of apples" in theirs
    await sign_in_as(node, browser, "Carol")
    form |= browser.form((await browser.get(f"/post?{link}"))[1])
    status, page, _ = await browser.post(f"/post?{link}", form)
    assert status == 403 and "Only the operator" in page


async def test_what_was_taken_back_is_not_said_to_be_kept(node: Any, browser: Any) -> None:
    side = await neighbour_of(node)
    posted = await side.board.post("offer", {"title": "Boxes of apples", "quantity": boxes(24)}, by="alice")
    await meet(node, side)
    claimed = await node.claims.ask(posted.address, quantity=boxes(2), by="Bob")
    await meet(node, side)
    await side.claims.accept(claimed.address)
    await meet(node, side)
    view = await node.claims.withdraw(claimed.address)
    assert (view.stage, view.waits_for) == (Stage.WITHDRAWN, side.town.id)
    assert view.target_title == "Boxes of apples"
    says = "Withdrawn. It is not free for others yet. Waits for Charlieu's node, last heard"
    assert view.says.startswith(says)
    await meet(node, side)
    await side.keep()
    await meet(node, side)
    view = await node.claims.show(claimed.address)
    assert (view.says, view.waits_for) == ("Withdrawn.", None)


async def test_who_waits_is_told_for_what_for_whom_and_when_that_node_was_heard(
    node: Any, browser: Any
) -> None:
    side = await neighbour_of(node)
    offer = await side.board.post("offer", {"title": "Boxes of apples", "quantity": boxes(1)})
    item = await side.board.post("item", {"title": "Ladder"})
    await meet(node, side)
    claims = [
        (await node.claims.ask(offer.address, quantity=boxes(1), by="Bob")).address,
        (
            await node.claims.ask(item.address, start=TODAY_S + DAY_S, end=TODAY_S + 3 * DAY_S, by="Bob")
        ).address,
    ]
    await meet(node, side)
    for claim in claims:
        await side.claims.put_on_list(claim)
    await meet(node, side)
    await browser.sign_in(node)
    for claim, why in zip(claims, ("1 box is", "it is not"), strict=True):
        page = told((await browser.get(f"/c/{claim}"))[1])
        assert f"On the waiting list, place 1: {why} free" in page
        assert "Waits for Charlieu&#39;s node, last heard " in page


async def test_who_withdraws_reads_how_many_promises_stand_and_nobody_asks_for_what_is_off(
    node: Any, browser: Any
) -> None:
    event = {"title": "Sauerkraut", "start": "2027-01-02T18:30", "status": "cancelled"}
    off = (await node.board.post("event", event)).address
    posted = await node.board.post("offer", {"title": "Boxes of apples", "quantity": boxes(24)}, by="alice")
    await browser.sign_in(node)
    status, _, leads = await _get(browser, f"/d/{off}/ask")
    assert (status, leads) == (303, f"/d/{off}")
    for count, says in ((1, "1 promise stands"), (2, "2 promises stand")):
        claimed = await node.claims.ask(posted.address, quantity=boxes(2), by=f"r{count}")
        await node.claims.accept(claimed.address)
        _, page = await browser.get(f"/d/{posted.address}/withdraw")
        assert says in page


async def _get(browser: Any, path: str) -> tuple[int, str, str]:
    """Return status, text and where a page leads."""
    async with browser.client.get(path, allow_redirects=False) as response:
        return response.status, await response.text(), response.headers.get("Location", "")
