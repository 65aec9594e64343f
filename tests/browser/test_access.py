"""Everybody can read and use the pages: axe-core, narrow screens, dark, right-to-left, print, no script."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.node.requests import fill_with_requests

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEPS: list[Any] = [
    {"text": "Cut the cabbage", "warning": "Mind your fingers"},
    {"text": "Salt it", "minutes": 20},
]
RULES = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}"


async def fill(node: Any) -> dict[str, str]:
    """Put one of everything on the board and return the paths of all pages by name."""
    await node.hear_offer("Band saw, 9 inch, with dust port", text="Works well.", terms="lend")
    offer = await node.board.post(
        "offer",
        {
            "title": "Bread of the day, 24 loaves",
            "text": "Baked this morning.\n\nBring a bag.",
            "quantity": {"milli": 24_000, "unit": "each"},
            "tags": ["bread", "food"],
            "until": 1_790_121_599,
            "lang": "en",
        },
        by="alice",
    )
    need = await node.board.post("need", {"title": "Insulated boxes for the clinic", "urgency": "urgent"})
    skill = await node.board.post(
        "skill", {"name": "First aid", "languages": ["fr"], "code": "http://data.europa.eu/esco/skill/1"}
    )
    filled = await fill_with_requests(node)
    about = (await node.board.show(filled.posts["item"])).doc
    feedback = await node.board.post("feedback", {"about": about, "ok": "partly", "text": "Came back late."})
    guide = await node.board.post(
        "practice", {"title": "Sauerkraut", "steps": STEPS, "supplies": ["1 kg cabbage"], "summary": "Keeps."}
    )
    stove = await node.board.post("practice", {"title": "Stove", "steps": STEPS})
    first = await node.board.record(await node.board.show(stove.address))
    branch = node.own.record(
        "practice",
        {"title": "Stove with clay", "steps": STEPS},
        [node.federation],
        born=first.header.born,
        later_ms=5_000,
        follows=first,
        cites=[stove.id],
    )
    await node.board.edit(stove.address, {"title": "Stove from two tins"})
    await node.hear(branch)
    await node.accounts.add("Bob", "abcdef")
    node.peers = [
        {"town": node.neighbour.id.hex(), "name": "Charlieu", "state": "up", "says": "Charlieu: up to date"},
        {"town": "cc" * 32, "name": "Ambierle", "state": "down", "says": "Ambierle: not heard since 06:10"},
    ]
    return {
        "board": "/",
        "guides": "/?kind=practice",
        "nothing found": "/?q=zzzz&km=5",
        "offer": f"/d/{offer.address}",
        "need": f"/d/{need.address}",
        "skill": f"/d/{skill.address}",
        "item": f"/d/{filled.posts['item']}",
        "event": f"/d/{filled.posts['event']}",
        "feedback": f"/d/{feedback.address}",
        "guide": f"/d/{guide.address}",
        "two revisions": f"/d/{stove.address}",
        "record": f"/d/{offer.address}/record",
        "choose": "/post",
        "post offer": "/post?kind=offer",
        "post need": "/post?kind=need",
        "post skill": "/post?kind=skill",
        "post item": "/post?kind=item",
        "post event": "/post?kind=event",
        "post feedback": f"/post?kind=feedback&about={about.hex()}",
        "post guide": "/post?kind=practice",
        "edit": f"/d/{offer.address}/edit",
        "merge": f"/d/{stove.address}/edit?merge=1",
        "withdraw": f"/d/{offer.address}/withdraw",
        "posted": f"/d/{offer.address}?posted=1",
        "ask": f"/d/{filled.posts['offer']}/ask",
        "borrow": f"/d/{filled.posts['item']}/ask",
        "requests": "/claims",
        "asked from away": f"/c/{filled.claims['asked from away']}",
        "accepted": f"/c/{filled.claims['accepted']}",
        "lent": f"/c/{filled.claims['lent']}",
        "how it went": f"/c/{filled.claims['handed over']}/feedback",
        "neighbours": "/neighbours",
        "federations": "/federations",
        "about": "/about",
        "sign in": "/sign-in",
        "people": "/people",
        "not found": "/d/00000000000",
    }


async def faults(page: Any, axe: str, rules: str = RULES) -> list[str]:
    """Return what axe-core finds wrong with a page."""
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(axe)
    found = await page.evaluate(f"axe.run(document, {rules})")
    return [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for fault in found["violations"]
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
async def test_axe_finds_nothing_wrong_with_any_page(served: Any, axe: str, direction: str) -> None:
    paths = await fill(served.node)
    served.site.direction = direction
    context = await served.context(signed_in=True)
    page = await context.new_page()
    wrong = {}
    for name, path in paths.items():
        await page.emulate_media(color_scheme="light")
        await page.goto(path)
        assert await page.evaluate("document.documentElement.dir") == direction
        found = await faults(page, axe)
        if direction == "ltr":
            # The dark page is the same but for its colours, and these are the same in both directions.
            await page.emulate_media(color_scheme="dark")
            found += await faults(page, axe, "{runOnly: ['color-contrast']}")
        if found:
            wrong[name] = found
    assert wrong == {}


async def test_axe_finds_nothing_wrong_with_a_form_full_of_slips(served: Any, axe: str) -> None:
    context = await served.context(signed_in=True)
    page = await context.new_page()
    await page.goto("/post?kind=offer")
    await page.fill("[name=title]", "Br")
    await page.fill("[name=quantity]", "many")
    await page.click("main button")
    assert await page.locator(".error").count() == 2
    assert await faults(page, axe) == []


async def test_no_page_scrolls_sideways_on_a_narrow_telephone(served: Any) -> None:
    paths = await fill(served.node)
    context = await served.context(signed_in=True, viewport={"width": 320, "height": 568})
    page = await context.new_page()
    for name, path in paths.items():
        await page.goto(path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 320, name


async def test_every_page_weighs_little_and_asks_for_little(served: Any) -> None:
    paths = await fill(served.node)
    signed_in = await (await served.context(signed_in=True)).storage_state()
    turns = asyncio.Semaphore(4)

    async def weigh(name: str, path: str) -> None:
        async with turns:
            context = await served.context(storage_state=signed_in)
            page = await context.new_page()
            await page.goto(path, wait_until="networkidle")
            sizes = await page.evaluate(
                "['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind))"
                ".map(entry => entry.encodedBodySize)"
            )
            assert 2 <= len(sizes) <= 3, name
            assert 1_000 < sum(sizes) <= 14_000, name
            await context.close()

    # The half second in which nothing more is asked for is waited for side by side.
    await asyncio.gather(*(weigh(name, path) for name, path in paths.items()))


async def test_on_paper_there_is_what_is_read_and_nothing_to_press(served: Any) -> None:
    paths = await fill(served.node)
    context = await served.context()
    page = await context.new_page()
    await page.emulate_media(media="print")
    for path in (paths["board"], paths["guide"]):
        await page.goto(path)
        assert await page.locator("main h1").is_visible()
        for what in ("nav", "button", "form", ".chips"):
            for each in await page.locator(what).all():
                assert not await each.is_visible(), what


async def test_the_whole_journey_works_without_script(served: Any) -> None:
    context = await served.context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"/sign-in?token={await served.node.accounts.make_link()}")
    await page.click("main button")
    await page.click("text=Post something")
    await page.click("text=Something to give or lend")
    await page.fill("[name=title]", "Br")
    await page.fill("[name=text]", "Baked this morning")
    await page.click("main button")
    assert "must have 3 to 120 characters" in (await page.text_content("#f-title-error") or "").lower()
    assert await page.input_value("[name=text]") == "Baked this morning"
    await page.fill("[name=title]", "Bread of the day")
    await page.click("main button")
    assert await page.text_content("h1") == "Bread of the day"
    assert "Posted." in (await page.text_content("[role=status]") or "")

    await page.click("text=Change")
    await page.fill("[name=title]", "Rye bread of the day")
    await page.click("main button")
    assert await page.text_content("h1") == "Rye bread of the day"

    await page.click("text=Board >> nth=0")
    await page.fill("[name=q]", "breads")
    await page.click("text=Search")
    assert await page.locator(".card").count() in (0, 1)
    await page.fill("[name=q]", "rye")
    await page.click("text=Search")
    await page.click("text=Rye bread of the day")

    await page.click("text=Withdraw")
    await page.click("text=Withdraw it")
    assert "Withdrawn." in (await page.text_content("[role=status]") or "")
    assert await served.node.all() == []
    await page.click("text=Sign out")
    await page.goto("/post")
    assert await page.text_content("h1") == "Sign in"


async def test_a_keyboard_reaches_the_content_at_once(served: Any) -> None:
    await fill(served.node)
    context = await served.context()
    page = await context.new_page()
    await page.goto("/")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
    assert await page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    await page.keyboard.press("Enter")
    assert page.url.endswith("#main")
