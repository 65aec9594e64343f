"""Things to borrow, events and feedback: posted, shown, changed and found as people type and read them."""

from __future__ import annotations

from typing import Any

import pytest

from node.errors import HedgerowError
from node.store import Query
from node.web import present
from protocol.errors import InvalidField
from protocol.ids import show_address
from protocol.kinds import KINDS
from tests.node.conftest import START_MS

DAY_S = 86_400
SATURDAY = "2026-10-03T18:30"
"""Twelve days after `START_MS`, which is 2026-09-21T13:46Z."""


async def posted(node: Any, browser: Any, kind: str, form: dict[str, str]) -> str:
    """Fill in the form of a kind as a signed-in person and return the page that it leads to."""
    await browser.sign_in(node)
    status, page = await browser.get(f"/post?kind={kind}")
    assert status == 200
    status, page, leads = await browser.post(
        f"/post?kind={kind}", browser.form(page) | {"_audience": "federations"} | form
    )
    assert status == 303, page
    return str(leads)


async def test_a_thing_to_borrow_is_posted_found_and_changed(node: Any, browser: Any) -> None:
    form = {"title": "Hedge trimmer", "number": "117", "loan_days": "7", "renewals": "1", "status": "repair"}
    leads = await posted(node, browser, "item", form)
    _, page = await browser.get(leads)
    assert "To borrow · being repaired" in page
    for fact in ("117", "7 days at most", "once", "Being repaired"):
        assert f">{fact}<" in page
    for query in ("q=trimmer", "q=117", "kind=item"):
        _, board = await browser.get(f"/?{query}")
        assert "number 117 · for 7 days" in board, query
        assert "To borrow <span>1</span>" in board
    address = leads.split("/")[2].split("?")[0]
    _, edit = await browser.get(f"/d/{address}/edit")
    status, _, _ = await browser.post(
        f"/d/{address}/edit", browser.form(edit) | form | {"status": "available"}
    )
    assert status == 303
    _, page = await browser.get(f"/d/{address}")
    assert "being repaired" not in page and "Say how it went" in page


async def test_an_event_is_typed_in_local_time_and_leaves_the_board_when_it_is_over(
    node: Any, browser: Any
) -> None:
    _, page = await browser.get("/")
    assert "Events" not in page
    form = {"title": "Cider evening", "start": SATURDAY, "rrule": "weekly, 2 times", "seats": "30"}
    leads = await posted(node, browser, "event", form)
    _, page = await browser.get(leads)
    assert "Saturday 3 October 2026, 18:30 · weekly, 2 times" in page
    for fact in ("30 people", "Takes place"):
        assert f">{fact}<" in page
    _, board = await browser.get("/?kind=event")
    assert "Sat 3 Oct 2026, 18:30 · weekly, 2 times" in board
    [document] = await node.all()
    over_s = START_MS // 1_000 + 28 * DAY_S
    ends = KINDS["event"].ends(document.fields)
    assert ends is not None and document.expires == ends + 30 * DAY_S
    node.clock.at_ms = over_s * 1_000
    assert await node.all() == []
    # Nothing of a time zone or a rule is a word that somebody searches for.
    node.clock.at_ms = START_MS
    assert await node.all(text="weekly") == [] and len(await node.all(text="cider")) == 1


async def test_a_time_that_is_none_stays_in_the_form_as_it_was_typed(node: Any, browser: Any) -> None:
    await browser.sign_in(node)
    _, page = await browser.get("/post?kind=event")
    assert 'type="datetime-local"' in page
    form = browser.form(page) | {"title": "Cider evening", "start": "Saturday night", "_audience": "town"}
    status, page, _ = await browser.post("/post?kind=event", form)
    assert status == 400
    assert 'type="text" value="Saturday night"' in page


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"start": "2026-09-01T12:00"}, "start"),
        ({"start": "2026-09-01T12:00", "end": "2026-09-02T12:00"}, "end"),
        ({"start": "2032-09-01T12:00"}, "start"),
        ({"start": "2026-10-01T12:00", "rrule": "FREQ=YEARLY;COUNT=9"}, "rrule"),
    ],
)
async def test_an_event_is_to_come_and_within_three_years(
    node: Any, fields: dict[str, str], name: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        await node.board.post("event", {"title": "Cider evening", **fields})
    assert caught.value.field == name


async def test_an_event_that_is_over_may_be_changed_but_not_moved_into_the_past(node: Any) -> None:
    made = await node.board.post("event", {"title": "Cider evening", "start": SATURDAY})
    node.clock.at_ms = START_MS + 11 * DAY_S * 1_000
    await node.board.edit(made.address, {"status": "cancelled"})
    with pytest.raises(InvalidField, match="start: that day is over"):
        await node.board.edit(made.address, {"start": "2026-09-22T18:30"})
    with pytest.raises(InvalidField, match="start: must be 20"):
        await node.board.edit(made.address, {"start": "2027-09-22T18:30"})
    with pytest.raises(InvalidField, match="until: events have no such field"):
        await node.board.post("event", {"title": "Cider", "start": SATURDAY}, until=START_MS // 1_000 + 99)


async def test_feedback_names_what_it_is_about_by_its_number_and_leads_there(node: Any, browser: Any) -> None:
    offer = await node.hear_offer("Ladders of Charlieu")
    [document] = await node.all()
    number = show_address(document.address)
    leads = await posted(
        node, browser, "feedback", {"about": number.lower(), "ok": "partly", "side": "receiver"}
    )
    _, page = await browser.get(leads)
    assert f'<a href="/d/{offer.doc.hex()}" rel="noreferrer nofollow">{number}</a>' in page
    assert "It went well in part" in page and "I received" in page
    status, _ = await browser.get(f"/d/{offer.doc.hex()}")
    assert status == 200
    [feedback] = await node.all(kinds=("feedback",))
    assert feedback.fields["about"] == offer.doc
    _, page = await browser.get(f"/post?kind=feedback&about={offer.doc.hex()}")
    assert offer.doc.hex() in page


@pytest.mark.parametrize("typed", ["", "K7PQ-42XW-9TB", "of Charlieu", "00" * 15, "zz" * 16])
async def test_feedback_about_nothing_that_is_known_is_refused_at_its_field(
    node: Any, browser: Any, typed: str
) -> None:
    await browser.sign_in(node)
    _, page = await browser.get("/post?kind=feedback")
    form = browser.form(page) | {"about": typed, "ok": "yes", "_audience": "town"}
    status, page, _ = await browser.post("/post?kind=feedback", form)
    assert status == 400
    assert 'id="f-about-error"' in page


async def test_the_api_takes_and_gives_them_like_all_kinds(node: Any, program: Any) -> None:
    offer = await node.hear_offer("Ladders of Charlieu")
    kinds: dict[str, dict[str, object]] = {
        "item": {"title": "Hedge trimmer", "accessories": ["cable", "gloves"], "buffer_days": 1},
        "event": {
            "title": "Cider evening",
            "start": SATURDAY,
            "tz": "Europe/Paris",
            "rrule": "FREQ=DAILY;COUNT=2",
        },
        "feedback": {"about": offer.doc.hex(), "ok": "yes"},
    }
    for kind, fields in kinds.items():
        status, answer, _ = await program.call("POST", "/api/v1/documents", {"kind": kind, "fields": fields})
        assert status == 201, answer
        status, answer, _ = await program.call("GET", f"/api/v1/documents/{answer['address']}")
        assert fields.items() <= answer["fields"].items()


async def test_claims_ledgers_and_receipts_are_no_posts(node: Any) -> None:
    for kind in ("claim", "ledger", "receipt"):
        with pytest.raises(HedgerowError, match="no kind"):
            await node.board.post(kind, {})
    page = await node.board.list(Query(kinds=("claim",)))
    assert page.documents == ()


def test_words_for_a_time_and_a_number_of_days() -> None:
    assert present.local_text("2026-10-03T18:30") == "Sat 3 Oct 2026, 18:30"
    assert present.local_text("soon") == "soon"
    assert (present.days_text(1), present.days_text(14)) == ("1 day", "14 days")
