"""The pages of claims: ask, answer, hand over, receive; who sees what, and that nothing typed is lost."""

from __future__ import annotations

import gzip
import re
from hashlib import blake2b
from typing import Any

import pytest

from node.promises.codes import short_code
from node.promises.views import Stage, Taken
from node.web.promised import next_free, stretch
from tests.node.requests import DAY_S, START_S, TODAY_S, fill_with_requests, meet, neighbour_of
from tests.node.valley import Side, boxes


async def sign_in_as(node: Any, browser: Any, name: str) -> None:
    """Sign in as a resident."""
    await node.accounts.add(name, "123456", new_pin=name in await node.accounts.names())
    status, _, _ = await browser.post("/sign-in", {"name": name, "pin": "123456"})
    assert status == 303


async def offered(node: Any, **fields: Any) -> str:
    """Post an offer of 24 boxes by Alice."""
    given = {"title": "Boxes of apples", "quantity": boxes(24), **fields}
    return str((await node.board.post("offer", given, by="alice")).address)


async def asked(node: Any, browser: Any, path: str, **typed: str) -> str:
    """Ask by the form of a document; return the path of the claim's page."""
    _, page = await browser.get(f"{path}/ask")
    status, text, where = await browser.post(f"{path}/ask", browser.form(page) | typed)
    assert status == 303, text
    return str(where.split("?")[0])


async def acted(browser: Any, path: str, act: str, **typed: str) -> tuple[int, str]:
    """Press a button on the page of a claim; return the status and the page to which it leads."""
    token = browser.form((await browser.get(path))[1])["_token"]
    status, text, where = await browser.post(path, {"_token": token, "_act": act} | typed)
    if status != 303:
        return status, text
    return 303, (await browser.get(where))[1]


def told(page: str) -> str:
    """Return the text of a page without its marks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.split("<main", 1)[1]))


async def test_the_page_of_an_offer_says_what_is_free_and_offers_one_button(node: Any, browser: Any) -> None:
    address = await offered(node)
    _, page = await browser.get(f"/d/{address}")
    assert "24 boxes are free." in page
    assert page.count(f'href="/d/{address}/ask"') == 1
    first = await node.claims.ask(address, quantity=boxes(8), by="bob")
    await node.claims.accept(first.address)
    waiting = await node.claims.ask(address, quantity=boxes(20), by="carol")
    await node.claims.put_on_list(waiting.address)
    _, page = await browser.get(f"/d/{address}")
    assert "16 of 24 boxes are free; 1 request waits." in page
    assert "bob" not in page and first.address not in page


@pytest.mark.parametrize(
    ("kind", "fields", "button", "says"),
    [
        ("need", {"title": "Sandbags", "people": 6}, "Offer help", "6 of 6 are still needed."),
        ("need", {"title": "Blankets", "quantity": boxes(3)}, "Offer help", "3 of 3 boxes are still needed."),
        ("item", {"title": "Ladder"}, "Borrow", "Free from today on."),
        (
            "event",
            {"title": "Pruning", "start": "2026-11-07T14:00", "seats": 12},
            "Take part",
            "12 of 12 seats are free.",
        ),
        (
            "event",
            {"title": "Market", "start": "2026-11-07T14:00"},
            "Take part",
            "0 have said that they come, and there is room.",
        ),
    ],
)
async def test_each_kind_says_in_its_own_words_what_there_is(
    node: Any, browser: Any, kind: str, fields: Any, button: str, says: str
) -> None:
    posted = await node.board.post(kind, fields)
    _, page = await browser.get(f"/d/{posted.address}")
    assert says in page
    assert f'href="/d/{posted.address}/ask">{button}</a>' in page


async def test_what_is_over_or_no_such_thing_has_no_button(node: Any, browser: Any) -> None:
    skill = await node.board.post("skill", {"name": "Mend bicycles"})
    away = await node.board.post(
        "event", {"title": "Market", "start": "2026-11-07T14:00", "status": "cancelled"}
    )
    await browser.sign_in(node)
    for address in (skill.address, away.address):
        _, page = await browser.get(f"/d/{address}")
        assert "/ask" not in page
    assert (await browser.get(f"/d/{skill.address}/ask"))[0] == 404


async def test_of_a_ledger_that_has_not_come_nothing_is_claimed_to_be_known(node: Any, browser: Any) -> None:
    record = await node.hear_offer("Ladders of Charlieu")
    _, page = await browser.get(f"/d/{record.doc.hex()}")
    assert "Not known yet" in page
    assert "Charlieu&#39;s node answers; last heard" in page


async def test_the_whole_way_from_asking_to_how_it_went(node: Any, browser: Any) -> None:
    address = await offered(node)
    await sign_in_as(node, browser, "Bob")
    claim = await asked(
        node, browser, f"/d/{address}", quantity="2", reason="For jam", contact="06 12", urgency="soon"
    )
    _, page = await browser.get(f"{claim}?asked=1")
    view = await node.claims.show(claim.removeprefix("/c/"))
    assert (view.by, view.reason, view.contact, view.urgency, view.asked_milli) == (
        "Bob", "For jam", "06 12", 1, 2_000,
    )  # fmt: skip
    code = f"{view.receipt_code[:4]}-{view.receipt_code[4:]}"
    assert code in page and short_code(view.receipt_code) in page
    assert "Asked. You will see the answer here." in page and "Waits for an answer here." in page

    await sign_in_as(node, browser, "Alice")
    _, page = await browser.get("/")
    assert '<b class="count">1' in page
    _, page = await browser.get("/claims")
    assert "For jam" in page and "06 12" in page and "Asked · soon" in page
    assert code not in page
    _, page = await acted(browser, claim, "accept", _back="requests")
    assert "Accepted." in page and "2 boxes are kept for Bob" in page
    _, page = await browser.get("/")
    assert "Requests" in page and 'class="count"' not in page
    assert code not in (await browser.get(claim))[1]

    status, page = await acted(browser, claim, "handover", code="0000")
    assert status == 409
    assert "That is not the code of this claim" in page and 'value="0000"' in page
    _, page = await acted(browser, claim, "handover", code=short_code(view.receipt_code))
    assert "Handed over: 2 boxes." in page
    # Nothing is to be shown any more.
    await browser.sign_in(node)
    assert code not in (await browser.get(claim))[1]

    await sign_in_as(node, browser, "Bob")
    _, page = await acted(browser, claim, "receive", ok="partly")
    assert "<dt>Received</dt><dd>In part</dd>" in page
    _, page = await browser.get(f"{claim}/feedback")
    form = browser.form(page)
    status, page, _ = await browser.post(f"{claim}/feedback", form | {"text": "Sweet ones"})
    assert status == 400 and "This is needed." in page and "Sweet ones" in page
    status, _, where = await browser.post(f"{claim}/feedback", form | {"ok": "yes", "text": "Sweet ones"})
    assert status == 303
    assert "what you said is on the board" in (await browser.get(where))[1]
    [said] = await node.all(kinds=("feedback",))
    assert said.fields == {
        "about": view.target, "side": "receiver", "ok": "yes", "text": "Sweet ones", "by": "Bob",
    }  # fmt: skip
    _, page = await browser.get(claim)
    happened = [
        told(page).index(word) for word in ("asked by Bob of Roanne", "accepted by", "handed over by")
    ]
    assert happened == sorted(happened)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"quantity": ""}, "This is needed."),
        ({"quantity": "many"}, "Must be an amount"),
        ({"quantity": "2 kg"}, "Is counted in boxes here."),
        ({"quantity": "0"}, "Must be more than 0"),
        ({"quantity": "25"}, "That is more than there is: 24 boxes in all."),
        ({"quantity": "7"}, "That is more than one household may have: 6 boxes at most."),
        ({"urgency": "now"}, "Must be normal, soon, urgent or life"),
        ({"contact": "x" * 161}, "Must have 1 to 160 characters"),
    ],
)
async def test_a_slip_is_said_at_its_field_and_nothing_typed_is_lost(
    node: Any, browser: Any, typed: dict[str, str], says: str
) -> None:
    fields = {} if typed.get("quantity") == "25" else {"claim_max": boxes(6)}
    address = await offered(node, **fields)
    await browser.sign_in(node)
    path = f"/d/{address}/ask"
    form = browser.form((await browser.get(path))[1])
    given = {"quantity": "1", "reason": "For <jam>", "contact": "06 12"} | typed
    status, page, _ = await browser.post(path, form | given)
    assert status in (400, 409)
    assert page.count('class="error"') == 1 and "Not asked yet." in page
    assert says in page.replace("&#39;", "'")
    assert "For &lt;jam&gt;" in page and all(
        f'value="{text}"' in page for name, text in given.items() if name in ("quantity", "contact")
    )
    assert await node.claims.all() == []


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        ("", "2026-10-02", "This is needed."),
        ("2026-10-02", "2026-10-01", "Lies before the first day."),
        ("soon", "2026-10-01", "Must be a date"),
        ("2026-10-01", "2026-10-05", "That is longer than it is lent at once: 4 days at most."),
        ("2026-09-01", "2026-09-02", "That time is over."),
    ],
)
async def test_days_that_make_no_sense_are_said_at_their_field(
    node: Any, browser: Any, first: str, last: str, says: str
) -> None:
    item = await node.board.post("item", {"title": "Ladder", "loan_days": 4})
    await browser.sign_in(node)
    path = f"/d/{item.address}/ask"
    form = browser.form((await browser.get(path))[1]) | {"from": first, "until": last}
    status, page, _ = await browser.post(path, form)
    assert status in (400, 409) and says in page and f'value="{last}"' in page


async def test_a_thing_is_borrowed_for_whole_days_and_its_page_names_them(node: Any, browser: Any) -> None:
    item = await node.board.post(
        "item", {"title": "Cargo bicycle", "loan_days": 4, "buffer_days": 1}, by="alice"
    )
    await browser.sign_in(node)
    claim = await asked(node, browser, f"/d/{item.address}", **{"from": "2026-09-24", "until": "2026-09-26"})
    _, page = await acted(browser, claim, "accept")
    assert "from Thursday 24 September to Saturday 26 September" in page
    _, page = await browser.get(f"/d/{item.address}")
    assert "Free today to Tue 22 Sep; from Mon 28 Sep on." in page
    assert "24 Sep 2026 to 26 Sep 2026" in page
    await acted(browser, claim, "handover", _without="1")
    status, page = await acted(browser, claim, "renew", until="")
    assert status == 400 and "This is needed." in page
    _, page = await acted(browser, claim, "renew", until="2026-09-27")
    assert "to Sunday 27 September" in page and "prolonged until 27 Sep 2026" in page
    _, page = await acted(browser, claim, "release", why="returned")
    assert "it was given back" in page
    assert "Free from today on." in (await browser.get(f"/d/{item.address}"))[1]


async def test_a_second_press_of_the_button_asks_once(node: Any, browser: Any) -> None:
    address = await offered(node)
    await sign_in_as(node, browser, "Bob")
    path = f"/d/{address}/ask"
    form = browser.form((await browser.get(path))[1]) | {"quantity": "1"}
    ways = [(await browser.post(path, form))[2] for _ in range(2)]
    assert ways[0] == ways[1] and len(await node.claims.all()) == 1
    other = browser.form((await browser.get(path))[1]) | {"quantity": "1", "reason": "More jam"}
    status, page, _ = await browser.post(path, other)
    assert status == 409 and "Bob has asked for this already" in page and "More jam" in page


async def test_a_claim_is_seen_by_those_whom_it_concerns_and_nobody_else(node: Any, browser: Any) -> None:
    address = await offered(node)
    claimed = await node.claims.ask(address, quantity=boxes(1), by="Bob", reason="Secret reason")
    path = f"/c/{claimed.address}"
    status, _ = await browser.get(path)
    assert status == 303
    await sign_in_as(node, browser, "Carol")
    for where in (path, f"{path}/feedback"):
        status, page = await browser.get(where)
        assert status == 403 and "Secret" not in page and "Boxes" not in page
    for where in ("/claims", f"/d/{address}", "/"):
        assert "Secret" not in (await browser.get(where))[1]
    assert "/claims" not in (await browser.get("/"))[1]
    await sign_in_as(node, browser, "Alice")
    assert "Secret reason" in (await browser.get(path))[1]
    # Each side does what is its own, whatever a form says.
    status, page = await acted(browser, path, "withdraw")
    assert status == 403 and "Only who asked for it can do that." in page
    await sign_in_as(node, browser, "Bob")
    for act in ("accept", "decline", "release", "handover", "renew", "wait"):
        status, page = await acted(browser, path, act, code="1234")
        assert status == 403
    status, page = await acted(browser, path, "nonsense")
    assert status == 403
    assert (await node.claims.show(claimed.address)).stage is Stage.ASKED


@pytest.mark.parametrize("path", ["/d/{}/ask", "/c/{}", "/c/{}/feedback"])
async def test_a_form_without_the_token_of_its_session_writes_nothing(
    node: Any, browser: Any, path: str
) -> None:
    address = await offered(node)
    claimed = await node.claims.ask(address, quantity=boxes(1), by="Bob")
    where = path.format(address if "/d/" in path else claimed.address)
    typed = {"_act": "accept", "quantity": "1", "ok": "yes", "text": "Kept text", "reason": "Kept text"}
    await browser.sign_in(node)
    for token in ("", "wrong"):
        status, page, _ = await browser.post(where, typed | {"_token": token})
        assert status == 403 and "press the button once more" in page
    status, _, _ = await browser.post(where, typed, Origin="https://evil.example")
    assert status == 403
    assert [each.stage for each in await node.claims.all()] == [Stage.ASKED]
    assert await node.all(kinds=("feedback",)) == []


async def test_who_is_not_signed_in_any_more_is_told_nothing_of_a_claim(node: Any, browser: Any) -> None:
    address = await offered(node, title="Hidden title")
    claimed = await node.claims.ask(address, quantity=boxes(1), by="Bob", reason="Secret reason")
    path = f"/c/{claimed.address}"
    for where, typed in ((path, {"_act": "accept"}), (f"{path}/feedback", {"ok": "no", "text": "Kept text"})):
        status, page, _ = await browser.post(where, typed)
        assert status in (401, 403)
        assert "Secret" not in page and "Hidden" not in page and claimed.code not in page
        assert "Kept text" in page or "text" not in typed
    assert (await node.claims.show(claimed.address)).stage is Stage.ASKED


async def test_a_part_of_what_is_asked_for_can_be_accepted(node: Any, browser: Any) -> None:
    address = await offered(node)
    claimed = await node.claims.ask(address, quantity=boxes(4), by="Bob")
    await browser.sign_in(node)
    path = f"/c/{claimed.address}"
    for quantity, says in (("5", "No more than 4 boxes is asked for."), ("much", "Must be an amount")):
        status, page = await acted(browser, path, "accept", quantity=quantity)
        assert status in (400, 409) and says in page and f'value="{quantity}"' in page
    _, page = await acted(browser, path, "accept", quantity="3")
    assert "3 boxes are kept for Bob" in page and "accepted: 3 boxes by Roanne" in page


async def test_wrong_codes_are_counted_and_after_five_nobody_may_try(node: Any, browser: Any) -> None:
    address = await offered(node)
    claimed = await node.claims.ask(address, quantity=boxes(1), by="Bob")
    await node.claims.accept(claimed.address)
    await browser.sign_in(node)
    path = f"/c/{claimed.address}"
    wrong = "1111" if short_code(claimed.code) != "1111" else "2222"
    assert "This is needed." in (await acted(browser, path, "handover", code=" "))[1]
    for _ in range(5):
        status, page = await acted(browser, path, "handover", code=wrong)
        assert status == 409
    status, page = await acted(browser, path, "handover", code=claimed.code)
    assert status == 429 and "Too many wrong codes" in page and 'aria-invalid="true"' in page


async def test_a_claim_is_declined_with_a_reason_released_and_withdrawn(node: Any, browser: Any) -> None:
    address = await offered(node)
    await browser.sign_in(node)
    claims = [
        (await node.claims.ask(address, quantity=boxes(1), by=name)).address for name in ("a", "b", "c")
    ]
    _, page = await acted(browser, f"/c/{claims[0]}", "decline", why="gone")
    assert "Declined: it is not there any more." in page
    await acted(browser, f"/c/{claims[1]}", "accept")
    _, page = await acted(browser, f"/c/{claims[1]}", "release", why="no_show")
    assert "nobody came for it" in page
    status, page = await acted(browser, f"/c/{claims[2]}", "decline", why="Because I do not like them")
    assert status == 400 and "The reason is one of" in page
    _, page = await acted(browser, f"/c/{claims[2]}", "wait")
    assert "On the waiting list, place 1" in page
    _, page = await acted(browser, f"/c/{claims[2]}", "withdraw")
    assert "Withdrawn." in page


async def test_the_most_urgent_and_then_the_oldest_are_answered_first(node: Any, browser: Any) -> None:
    address = await offered(node)
    for name, urgency in (("early", "normal"), ("late", "normal"), ("needy", "life"), ("hurried", "urgent")):
        await node.claims.ask(address, quantity=boxes(1), by=name, urgency=urgency)
        node.clock.at_ms += 1_000
    await browser.sign_in(node)
    _, page = await browser.get("/claims")
    places = [page.index(f"{name}, Roanne") for name in ("needy", "hurried", "early", "late")]
    assert places == sorted(places)
    assert "a life is at stake" in page


async def test_a_long_list_shows_the_first_counts_the_rest_and_stays_small(node: Any, browser: Any) -> None:
    address = await offered(node, quantity=boxes(99))
    for number in range(60):
        reason = f"{number} " + " ".join(blake2b(bytes([number, each])).hexdigest()[:9] for each in range(90))
        claimed = await node.claims.ask(address, quantity=boxes(1), by=f"Person {number:02}", reason=reason)
        if number % 2:
            await node.claims.accept(claimed.address)
    await browser.sign_in(node)
    _, page = await browser.get("/claims")
    assert page.count("15 more wait behind these.") == 2
    assert '<b class="count">30' in page
    assert len(gzip.compress(page.encode())) < 9_000


async def test_a_strangers_look_opens_nobodys_claim(
    node: Any, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await offered(node)
    await node.claims.ask(address, quantity=boxes(1), by="Bob", reason="Secret")
    await browser.get(f"/d/{address}")
    opened = []
    really_open = node.seals.open

    def watched(record: Any) -> Any:
        opened.append(record)
        return really_open(record)

    monkeypatch.setattr(node.seals, "open", watched)
    assert "24 boxes are free" in (await browser.get(f"/d/{address}"))[1]
    assert opened == []
    await browser.sign_in(node)
    await browser.get(f"/d/{address}")
    assert opened != []


async def test_a_claim_on_a_neighbours_offer_says_whom_it_waits_for_and_when_they_were_heard(
    node: Any, browser: Any
) -> None:
    side = await neighbour_of(node)
    away = await side.board.post("offer", {"title": "Ladders", "quantity": boxes(3)}, by="zoe")
    await meet(node, side)
    await sign_in_as(node, browser, "Bob")
    _, page = await browser.get(f"/d/{away.address}/ask")
    assert "only Charlieu and this town can read it" in page
    claim = await asked(node, browser, f"/d/{away.address}", quantity="2", reason="The roof leaks")
    _, page = await browser.get(claim)
    assert re.search(r"Waits for Charlieu&#39;s node, last heard [0-9:]+\.", page)
    assert "Only this town and Charlieu can read who asks and why." in told(page)
    await meet(node, side)
    await side.claims.accept(claim.removeprefix("/c/"))
    await meet(node, side)
    _, page = await browser.get(claim)
    assert "2 boxes are kept for you" in page and "accepted by Charlieu" in page
    _, page = await browser.get(f"/d/{away.address}")
    assert "1 of 3 boxes is free." in page and "What you asked for" in page


async def test_a_node_that_cannot_seal_says_so_above_the_form(node: Any, browser: Any) -> None:
    address = await offered(node)
    node.seals._newest = None
    await browser.sign_in(node)
    path = f"/d/{address}/ask"
    form = browser.form((await browser.get(path))[1]) | {"quantity": "1", "reason": "Kept"}
    status, page, _ = await browser.post(path, form)
    assert status == 409 and "has no sealing key" in page and "Kept" in page


async def test_every_state_has_its_page(node: Any, browser: Any) -> None:
    filled = await fill_with_requests(node)
    await browser.sign_in(node)
    for name, address in filled.claims.items():
        status, page = await browser.get(f"/c/{address}")
        view = await node.claims.show(address)
        assert status == 200, name
        assert view.says.replace("'", "&#39;") in page
    status, page = await browser.get("/claims")
    assert status == 200 and "Marguerite, Charlieu" in page


def test_free_days_leave_time_to_get_a_thing_ready() -> None:
    day = TODAY_S // DAY_S
    taken = [
        Taken((day + first) * DAY_S, (day + beyond) * DAY_S, False)
        for first, beyond in ((0, 2), (5, 6), (9, 12))
    ]
    assert next_free(taken, 0, START_S) == (
        "Wed 23 Sep to Fri 25 Sep",
        "Sun 27 Sep to Tue 29 Sep",
        "from Sat 3 Oct on",
    )
    assert next_free(taken, DAY_S, START_S)[0] == "Thu 24 Sep"
    assert next_free([], DAY_S, START_S) == ("from today on",)
    # What came back yesterday is got ready today.
    back = [Taken((day - 2) * DAY_S, day * DAY_S, True)]
    assert next_free(back, DAY_S, START_S) == ("from Tue 22 Sep on",)


def test_a_window_of_hours_is_said_with_its_hours() -> None:
    assert stretch(TODAY_S, TODAY_S + DAY_S) == "21 Sep 2026"
    assert ":" in stretch(TODAY_S + 3_600, TODAY_S + 7_200)


async def test_what_a_copied_key_promised_is_shown_void_and_why(node: Any, browser: Any) -> None:
    address = await offered(node)
    copy = Side(node.own, node.clock)
    await copy.hear([node.own.certificate.raw, node.own.profile.raw])
    claims = [
        (await node.claims.ask(address, quantity=boxes(1), by=name)).address for name in ("Bob", "Carol")
    ]
    await meet(node, copy)
    await node.claims.accept(claims[0])
    await copy.claims.accept(claims[1])
    await meet(node, copy)
    stages = {(await node.claims.show(each)).stage: each for each in claims}
    assert set(stages) == {Stage.ACCEPTED, Stage.VOID}
    _, page = await browser.get(f"/d/{address}")
    assert "was in two places at once" in page
    await browser.sign_in(node)
    _, page = await browser.get(f"/c/{stages[Stage.VOID]}")
    assert 'class="know alarm"><b>Void:' in page and "; void" in page
    _, page = await browser.get("/claims")
    assert re.search('class="error"><b>Void:', page)
