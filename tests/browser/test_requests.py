"""Asking, answering and handing over in a browser: the whole way without script, and the slip on paper."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

from node.promises.codes import short_code
from tests.browser.test_access import faults
from tests.node.valley import boxes

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def resident(served: Any, name: str) -> Page:
    """Return a page of somebody who is signed in, in a browser without script."""
    await served.node.accounts.add(name, "123456")
    context = await served.context(java_script_enabled=False)
    form = {"name": name, "pin": "123456"}
    await context.request.post("/sign-in", form=form, headers={"Origin": served.base})
    page: Page = await context.new_page()
    return page


async def text(page: Page) -> str:
    """Return what a page says."""
    return " ".join((await page.locator("main").inner_text()).split())


async def test_ask_accept_hand_over_receive_and_tell_without_script(served: Any) -> None:
    fields = {"title": "Boxes of apples", "quantity": boxes(24)}
    offer = await served.node.board.post("offer", fields, by="Alice")
    alice, bob = await resident(served, "Alice"), await resident(served, "Bob")

    await bob.goto("/")
    await bob.click("text=Boxes of apples")
    assert "24 boxes are free." in await text(bob)
    await bob.click("text=Ask for it")
    await bob.fill("[name=quantity]", "30")
    await bob.fill("[name=reason]", "Jam for the winter")
    await bob.click("main button")
    assert await bob.text_content("#f-quantity-error") == "That is more than there is: 24 boxes in all."
    assert await bob.input_value("[name=reason]") == "Jam for the winter"
    await bob.fill("[name=quantity]", "2")
    await bob.click("main button")
    assert "Waits for an answer here." in await text(bob)
    shown = (await bob.locator(".code").inner_text()).replace("-", "")

    await alice.set_viewport_size({"width": 360, "height": 740})
    await alice.goto("/")
    boxes_of_nav = [
        await each.bounding_box() for each in await alice.locator("nav li:not(:last-child)").all()
    ]
    assert len({round(box["y"]) for box in boxes_of_nav if box}) == 1, "one row also on a small telephone"
    await alice.click("nav >> text=Requests")
    assert "Jam for the winter" in await text(alice) and shown not in await alice.content()
    await alice.click("main button[value=accept]")
    assert "2 boxes are kept for Bob" in await text(alice)
    await alice.fill("[name=code]", "wrong")
    await alice.click("main button[value=handover] >> nth=0")
    assert "That is not the code" in (await alice.locator(".error").inner_text())
    await alice.fill("[name=code]", short_code(shown))
    await alice.click("main button[value=handover] >> nth=0")
    assert "Handed over: 2 boxes." in await text(alice)

    await bob.goto("/claims")
    await bob.click("main >> text=Boxes of apples")
    await bob.click("text=Say so")
    assert "Received Yes" in await text(bob)
    await bob.click("text=Say how it went")
    await bob.select_option("[name=ok]", "yes")
    await bob.click("main button")
    assert "what you said is on the board" in await text(bob)
    await bob.goto(f"/d/{offer.address}")
    assert "22 of 24 boxes are free." in await text(bob)


async def test_a_claim_prints_as_a_slip_and_its_slips_of_the_pen_can_be_heard(served: Any, axe: str) -> None:
    offer = await served.node.board.post("offer", {"title": "Boxes of apples", "quantity": boxes(24)})
    claim = await served.node.claims.ask(offer.address, quantity=boxes(2))
    await served.node.claims.accept(claim.address)
    context = await served.context(signed_in=True)
    page = await context.new_page()
    await page.goto(f"/c/{claim.address}")
    await page.fill("[name=code]", "wrong")
    await page.locator("main button[value=handover]").first.click()
    assert await faults(page, axe) == []
    await page.emulate_media(media="print")
    code = page.locator(".code")
    assert await code.is_visible()
    size = await code.evaluate("element => parseFloat(getComputedStyle(element).fontSize)")
    assert size >= 40  # pixels, of 96 an inch: to be read across a counter
    for what in ("nav", "main button", "form", "details"):
        for each in await page.locator(what).all():
            assert not await each.is_visible(), what
    await page.emulate_media(media="screen")
    await page.goto(f"/d/{offer.address}/ask")
    await page.fill("[name=quantity]", "many")
    await page.fill("[name=contact]", "x" * 200)
    await page.click("main button")
    assert await page.locator(".error").count() == 2
    assert await faults(page, axe) == []
