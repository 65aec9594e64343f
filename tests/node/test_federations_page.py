"""The page of the federations says who belongs, why, and what is being decided, to whoever may read."""

from __future__ import annotations

from typing import Any

from node.drafts import Draft
from protocol.ids import Op
from protocol.record import STEP
from sync.authority import Authority


async def test_the_page_says_who_belongs_and_that_nothing_is_being_decided(browser: Any) -> None:
    """The founder is a steward; one steward decides alone."""
    status, page = await browser.get("/federations")
    assert status == 200
    assert "“Cote roannaise”" in page and "Nothing is being decided." in page
    assert '<b>Roanne</b> <span class="meta">steward</span></td><td>by the charter' in page
    assert "<b>Charlieu</b></td><td>by the charter" in page
    assert "One steward decides alone. The charter holds." in page
    _, neighbours = await browser.get("/neighbours")
    assert 'href="/federations"' in neighbours


async def test_the_page_says_what_is_proposed_who_signed_and_whom_it_waits_for(
    node: Any, browser: Any
) -> None:
    """In a federation of two stewards, both of whom must sign."""
    towns = [bytes(node.town), bytes(node.neighbour.id)]

    async def take(parent: bytes, **more: Any) -> bytes:
        fields: dict[str, Any] = {
            "name": "Cote",
            "parent": parent,
            "round": 1,
            "stewards": towns,
            "members": towns,
        } | more
        draft = Draft(STEP, Op.ENTRY, fields, (node.federation,), key=node.own.key)
        return bytes((await node.intake.post([draft]))[0].id)

    charter = (await node.intake.authority()).federations[node.federation].charter
    first = await take(charter)
    second = await take(first, members=[*towns, b"e" * 32], rules={"vouches": 2}, name="Up <there>")
    node._authority = await node.intake.authority()
    _, page = await browser.get("/federations")
    assert "Roanne proposes:" in page
    assert "<li>65656565: member for good</li>" in page
    assert "<li>the name becomes Up &lt;there&gt;</li>" in page
    assert "<li>2 vouches of members let a town in</li>" in page
    assert "Signed by Roanne. It holds as soon as 1 more of Charlieu has signed." in page
    assert f"hedgerow federation sign {second.hex()[:8]}" in page
    assert "2 of 2 stewards decide. Step 1 holds." in page


async def test_a_town_without_a_federation_is_told_how_to_begin(node: Any, browser: Any) -> None:
    """By the commands that there are."""
    node._authority = Authority(node.town)
    assert "In no federation yet." in (await browser.get("/federations"))[1]
