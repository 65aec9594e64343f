"""To keep a borrowed thing longer: asked for, granted, refused with the reason, by people and by nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

import node.claim_acts  # noqa: F401  # declares the acts
from node.acts import ACTS
from node.errors import NotOurs, Refused
from node.promises.views import Stage
from tests.node.programs import Program
from tests.node.requests import DAY_S, START_S, TODAY_S
from tests.node.test_pages_of_claims import acted, asked, sign_in_as, told
from tests.node.valley import Side, Valley, boxes, opened


@pytest.fixture
async def bob(node: Any, browser: Any) -> Program:
    """A program of somebody who asks."""
    return Program(browser.client, await node.accounts.make_token("bob"))


@pytest.fixture
async def valley() -> AsyncIterator[Valley]:
    """Roanne, Charlieu and Ambierle."""
    async for each in opened(None):
        yield each


def day(number: int) -> int:
    """The beginning of a day, counted from today."""
    return TODAY_S + number * DAY_S


async def borrowed(
    valley: Valley, first: int, last: int, by: str = "bob", *, at: str = "", **item: Any
) -> Any:
    """Lend a ladder of Roanne to Charlieu for these days; return what was posted, and the claim."""
    if not at:
        given = {"title": "Ladder", "loan_days": 4, "renewals": 1, "approval": "auto", **item}
        at = (await valley.sides[0].board.post("item", given, by="alice")).address
        await valley.meet(*valley.sides)
    valley.clock.at_ms += 1_000
    asked = await valley.sides[1].claims.ask(at, start=day(first), end=day(last), by=by)
    await valley.settle(*valley.sides)
    return at, asked.address


async def refused(trial: Any) -> str:
    """The code with which something is refused."""
    with pytest.raises(Refused) as error:
        await trial
    assert "\n" not in error.value.says
    return error.value.code


async def test_a_node_prolongs_once_where_its_owner_lets_it_and_says_why_not_twice(valley: Valley) -> None:
    roanne, charlieu, ambierle = valley.sides
    ladder, claim = await borrowed(valley, 1, 3)
    await roanne.claims.hand_over(claim)
    await valley.meet(*valley.sides)
    charlieu.heard[roanne.town.id] = valley.clock.now_ms()
    asks = charlieu.claims.ask_longer
    assert await refused(asks(claim, until=day(8))) == "too_long"
    assert await refused(asks(claim, until=day(3))) == "not_longer"
    assert await refused(asks(claim, until=day(-1))) == "window_over"
    view = await asks(claim, until=day(5))
    assert (view.longer, view.waits_for, view.stage) == (day(5), roanne.town.id, Stage.HANDED_OVER)
    before = await charlieu.store.read(lambda reader: reader.change())
    assert await asks(claim, until=day(5)) == view
    assert await charlieu.store.read(lambda reader: reader.change()) == before, "it is asked once"
    assert view.says.startswith(
        "Handed over: from Tuesday 22 September to Wednesday 23 September. You ask for it"
    )
    assert ". Waits for Roanne's node, last heard " in view.says
    await valley.settle(*valley.sides)
    view = await charlieu.claims.show(claim)
    assert (view.end, view.longer, view.renewals, view.waits_for) == (day(5), 0, 1, None)
    ledger = await ambierle.claims.ledger_of(ladder)
    assert ledger is not None
    assert [(each.start, each.end, each.renewals) for each in ledger.taken] == [(day(1), day(5), 1)]
    assert await refused(asks(claim, until=day(6))) == "no_renewals"
    assert await refused(roanne.claims.renew(claim, until=day(6))) == "no_renewals"
    entries = (await roanne.ledger(ladder)).n
    await valley.settle(*valley.sides)
    assert (await roanne.ledger(ladder)).n == entries, "nothing is written twice"
    await roanne.board.edit(ladder, {"renewals": 2})
    assert (await roanne.claims.renew(claim, until=day(6))).renewals == 2, "the owner may allow more"


async def test_who_waits_for_the_thing_comes_before_who_wants_it_for_longer(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    ladder, claim = await borrowed(valley, 1, 3)
    await borrowed(valley, 2, 5, "carol", at=ladder)
    view = await charlieu.claims.ask_longer(claim, until=day(4))
    await valley.settle(*valley.sides)
    view = await charlieu.claims.show(claim)
    assert (view.end, view.longer, view.renewals, view.code) == (day(3), 0, 0, "others_wait")
    assert view.says.endswith("Wednesday 23 September. Not for longer: somebody else waits for it then.")
    _, dora = await borrowed(valley, 6, 8, "dora", at=ladder)
    assert await refused(charlieu.claims.ask_longer(claim, until=day(7))) == "overlaps"
    await roanne.claims.renew(claim, until=day(4))
    assert (await roanne.claims.show(claim)).renewals == 1, "its owner may put one before the other"
    with pytest.raises(NotOurs):
        await roanne.claims.ask_longer(dora, until=day(9))


async def test_an_owner_who_decides_grants_it_or_says_no_and_may_be_asked_again(
    valley: Valley, monkeypatch: pytest.MonkeyPatch
) -> None:
    roanne, charlieu, _ = valley.sides
    ladder, claim = await borrowed(valley, 1, 3, approval="manual")
    assert await refused(charlieu.claims.ask_longer(claim, until=day(4))) == "not_accepted"
    await roanne.claims.accept(claim)
    await valley.meet(*valley.sides)
    await charlieu.claims.ask_longer(claim, until=day(4))
    await valley.settle(*valley.sides)
    view = await roanne.claims.show(claim)
    assert view.longer == day(4) and view.is_unanswered
    assert view.says.endswith(" bob asks for it until Thursday 24 September. Waits for an answer here.")
    view = await roanne.claims.decline(claim, reason="not_then")
    assert (view.stage, view.longer, view.code) == (Stage.ACCEPTED, 0, "not_then")
    assert await refused(roanne.claims.decline(claim)) == "accepted_already"
    with monkeypatch.context() as strict:
        strict.setattr("node.promises.asking.REFUSALS_MAX", 1)
        await valley.meet(*valley.sides)
        assert await refused(charlieu.claims.ask_longer(claim, until=day(5))) == "asked_often"
    await valley.meet(*valley.sides)
    assert (await charlieu.claims.ask_longer(claim, until=day(5))).longer == day(5)
    await valley.settle(*valley.sides)
    view = await roanne.claims.renew(claim, until=day(4))
    assert (view.end, view.longer, view.renewals) == (day(4), 0, 1), "less than was asked for is an answer"
    # What was lent meanwhile is refused by the node, whoever decides.
    await roanne.board.edit(ladder, {"renewals": 9})
    await valley.meet(*valley.sides)
    _, dora = await borrowed(valley, 6, 8, "dora", at=ladder)
    await charlieu.claims.ask_longer(claim, until=day(7))
    await roanne.claims.accept(dora)
    await valley.settle(*valley.sides)
    assert (await charlieu.claims.show(claim)).code == "overlaps"


async def test_one_command_asks_for_longer_and_prolongs_by_whose_thing_it_is(valley: Valley) -> None:
    _, claim = await borrowed(valley, 1, 3, approval="manual")
    await valley.sides[0].claims.accept(claim)
    await valley.meet(*valley.sides)

    def renew(side: Side, number: int) -> Any:
        return ACTS["renew"](SimpleNamespace(claims=side.claims), {"address": claim, "until": day(number)})  # type: ignore[arg-type]

    said = await renew(valley.sides[1], 4)
    assert (said["longer"], said["end"]) == (day(4), day(3))
    said = await renew(valley.sides[0], 4)
    assert (said["renewals"], said["end"]) == (1, day(4))


async def test_the_page_of_a_loan_asks_for_longer_and_the_owners_answers(node: Any, browser: Any) -> None:
    item = await node.board.post("item", {"title": "Bicycle", "loan_days": 4, "renewals": 2}, by="Alice")
    await sign_in_as(node, browser, "Bob")
    claim = await asked(node, browser, f"/d/{item.address}", **{"from": "2026-09-24", "until": "2026-09-25"})
    await node.claims.accept(claim.removeprefix("/c/"))
    _, page = await browser.get(claim)
    assert "That day included; twice more, by 4 days at most" in page
    status, page = await acted(browser, claim, "longer", until="2026-10-25")
    assert status == 409 and "That is longer than it is lent" in page and 'value="2026-10-25"' in page
    _, page = await acted(browser, claim, "longer", until="2026-09-26")
    assert "Asked for longer." in page and "You ask for it until" not in page, "it is kept in this very town"
    assert "bob asks for it until Saturday 26 September. Waits for an answer here." in told(page).replace(
        "Bob", "bob"
    )
    assert 'value="longer"' not in page
    await sign_in_as(node, browser, "Alice")
    assert '<b class="count">1' in (await browser.get("/"))[1]
    _, page = await browser.get("/claims")
    assert "Prolong until 26 Sep 2026" in page
    _, page = await acted(browser, claim, "decline", why="not_then")
    assert "Not for longer: it is not possible at that time." in page
    assert "not prolonged by Roanne: it is not possible at that time" in told(page)
    await node.claims.ask_longer(claim.removeprefix("/c/"), until=TODAY_S + 6 * DAY_S)
    _, page = await acted(browser, claim, "renew", _asked="1")
    assert "to Saturday 26 September" in page and "<dt>Prolonged</dt><dd>once</dd>" in page
    assert "24 Sep 2026 to 26 Sep 2026, prolonged once" in (await browser.get(f"/d/{item.address}"))[1]
    await node.board.edit(item.address, {"renewals": 1})
    await browser.post("/sign-in", {"name": "Bob", "pin": "123456"})
    assert "it was prolonged once, as often as it may be" in (await browser.get(claim))[1]
    status, page = await acted(browser, claim, "renew", until="2026-09-28")
    assert status == 403


async def test_a_program_asks_for_longer_for_its_person_only(
    node: Any, bob: Program, program: Program
) -> None:
    item = await node.board.post("item", {"title": "Bicycle", "approval": "manual"}, by="test")
    path = f"/api/v1/documents/{item.address}/claims"
    _, claimed, _ = await bob.call("POST", path, {"start": day(3), "end": day(5)})
    await node.claims.accept(claimed["address"])
    path = f"/api/v1/claims/{claimed['address']}"
    status, seen, _ = await bob.call("POST", f"{path}/renew", {"until": day(6)})
    assert (status, seen["longer"], seen["end"]) == (200, day(6), day(5))
    status, problem, _ = await bob.call("POST", f"{path}/decline")
    assert (status, problem["code"]) == (403, "not_allowed")
    _, seen, _ = await program.call("POST", f"{path}/decline", {})
    assert (seen["state"], seen["code"]) == ("accepted", "declined")
    _, seen, _ = await program.call("POST", f"{path}/renew", {"until": day(7)})
    assert (seen["end"], seen["renewals"], "longer" in seen) == (day(7), 1, False)
    _, ledger, _ = await program.call("GET", f"/api/v1/documents/{item.address}/claims")
    assert [each["renewals"] for each in ledger["taken"]] == [1]


async def test_nothing_is_lent_or_kept_for_ever_and_who_asks_too_much_reads_the_bound(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    ages = 253_402_300_799
    fields: Any = {"title": "Cargo bicycle", "approval": "auto", "renewals": 9}
    bicycle = (await roanne.board.post("item", fields)).address
    lasting = (await roanne.board.post("item", {"title": "Ladder"}, until=day(400) + 100)).address
    soon = (await roanne.board.post("item", {"title": "Drill"}, until=day(5))).address
    apples = (await roanne.board.post("offer", {"title": "Apples", "quantity": boxes(20)})).address
    await valley.meet(*valley.sides)
    for address, end, says in (
        (bicycle, ages, "that is longer than it is lent at once: 28 days at most"),
        (bicycle, day(30), "that is longer than it is lent at once: 28 days at most"),
        (lasting, day(370), "that is longer than it is lent at once: 366 days at most"),
        (soon, day(6), "nothing is lent or kept until so late: until Friday 25 September at most"),
    ):
        with pytest.raises(Refused) as error:
            await charlieu.claims.ask(address, start=day(1), end=end)
        assert error.value.says == says
    lent = (await charlieu.claims.ask(bicycle, start=day(1), end=day(3))).address
    kept = (await charlieu.claims.ask(apples, quantity=boxes(2))).address
    await valley.settle(*valley.sides)
    assert await refused(charlieu.claims.ask_longer(lent, until=ages)) == "too_long"
    for acting, code in (
        (roanne.claims.renew(lent, until=ages), "beyond_end"),
        (roanne.claims.accept(kept, hold_until=START_S - 60), "window_over"),
        (roanne.claims.accept(kept, hold_until=ages), "beyond_end"),
    ):
        assert await refused(acting) == code
    await roanne.claims.accept(kept, hold_until=day(3))
    assert await refused(roanne.claims.renew(kept, until=ages)) == "beyond_end"
    for act in (roanne.claims.hand_over, roanne.claims.release):
        with pytest.raises(Refused, match="no more than 2 boxes is promised here"):
            await act(kept, milli=5_000)
