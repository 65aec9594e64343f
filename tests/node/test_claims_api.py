"""Claims over the JSON API: who may ask, see and answer, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.ids import DocId
from sync.ledger import ledger_id
from tests.node.programs import Program
from tests.node.requests import sealed_claim

DOCUMENTS = "/api/v1/documents"
CLAIMS = "/api/v1/claims"


@pytest.fixture
async def bob(node: Any, browser: Any) -> Program:
    """A program of somebody who asks."""
    return Program(browser.client, await node.accounts.make_token("bob"))


@pytest.fixture
async def operator(node: Any, browser: Any) -> Program:
    """A program of the operator."""
    return Program(browser.client, await node.accounts.make_token("operator"))


async def offered(program: Program, **fields: Any) -> str:
    """Post an offer of 24 boxes."""
    body = {"kind": "offer", "fields": {"title": "Apples", "quantity": "24 box", **fields}}
    status, posted, _ = await program.call("POST", DOCUMENTS, body)
    assert status == 201
    return str(posted["address"])


async def asked(program: Program, address: str, **body: Any) -> Any:
    """Ask for two boxes."""
    given = {"quantity": "2 box", "reason": "Four children", "contact": "06 12", **body}
    status, claimed, _ = await program.call("POST", f"{DOCUMENTS}/{address}/claims", given)
    assert status == 201, claimed
    return claimed


async def test_a_claim_is_asked_answered_and_received_over_the_api(program: Program, bob: Program) -> None:
    address = await offered(program)
    status, ledger, _ = await bob.call("GET", f"{DOCUMENTS}/{address}/claims")
    assert (status, ledger["known"], ledger["says"]) == (200, True, "24 of 24 boxes are free.")
    claimed = await asked(bob, address, urgency="soon")
    assert len(claimed["code"]) == 8
    path = f"{CLAIMS}/{claimed['address']}"
    _, seen, _ = await bob.call("GET", path)
    assert (seen["state"], seen["reason"], seen["code_to_show"]) == (
        "asked",
        "Four children",
        claimed["code"],
    )
    # Who answers in the same town is to be shown the code at the counter, and not by the API.
    _, seen, _ = await program.call("GET", path)
    _, listed, _ = await program.call("GET", f"{DOCUMENTS}/{address}/claims")
    assert seen["reason"] == "Four children"
    assert claimed["code"] not in str(seen) + str(listed)
    status, accepted, _ = await program.call("POST", f"{path}/accept", {"quantity": "1"})
    assert claimed["code"] not in str(accepted)
    assert (status, accepted["state"], accepted["promised"]) == (
        200,
        "accepted",
        {"amount": "1", "unit": "box"},
    )
    _, ledger, _ = await bob.call("GET", f"{DOCUMENTS}/{address}/claims")
    assert ledger["free"] == {"amount": "23", "unit": "box"}
    status, handed, _ = await program.call("POST", f"{path}/handover", {"code": claimed["code"]})
    assert (status, handed["state"]) == (200, "handed_over")
    status, problem, _ = await program.call("POST", f"{path}/handover", {})
    assert (status, problem["code"]) == (409, "said_already")
    status, received, _ = await bob.call("POST", f"{path}/receive", {"ok": "partly"})
    assert (status, received["received"]) == (200, "partly")
    status, free, _ = await program.call("POST", f"{path}/release", {"reason": "returned"})
    assert (status, free["state"]) == (200, "released")


async def test_only_who_asked_and_who_answers_see_a_claim_and_each_does_their_part(
    program: Program, bob: Program, stranger: Program, operator: Program, node: Any, browser: Any
) -> None:
    address = await offered(program)
    claimed = await asked(bob, address)
    eve = Program(browser.client, await node.accounts.make_token("eve"))
    path = f"{CLAIMS}/{claimed['address']}"
    for who, status in ((bob, 200), (program, 200), (operator, 200), (eve, 403), (stranger, 401)):
        assert (await who.call("GET", path))[0] == status
    for who, count in ((bob, 1), (program, 1), (operator, 1), (eve, 0), (stranger, 0)):
        _, ledger, _ = await who.call("GET", f"{DOCUMENTS}/{address}/claims")
        assert len(ledger["claims"]) == count
    for who, status in ((bob, 403), (eve, 403), (stranger, 401)):
        assert (await who.call("POST", f"{path}/accept", {}))[0] == status
    assert (await eve.call("POST", f"{path}/receive", {}))[0] == 403
    assert (await eve.call("DELETE", path))[0] == 403
    assert (await stranger.call("POST", f"{DOCUMENTS}/{address}/claims", {}))[0] == 401
    assert (await operator.call("POST", f"{path}/decline"))[1]["state"] == "declined"
    status, gone, _ = await bob.call("DELETE", path)
    assert (status, gone["state"]) == (200, "withdrawn")


async def test_the_same_key_asks_once(bob: Program, program: Program, node: Any) -> None:
    address = await offered(program)
    body = {"quantity": "2 box"}
    path = f"{DOCUMENTS}/{address}/claims"
    first = await bob.call("POST", path, body, Idempotency_Key="order-66")
    second = await bob.call("POST", path, body, Idempotency_Key="order-66")
    assert (first[0], first[1]) == (second[0], second[1])
    assert len(await node.claims.all()) == 1
    for headers in ({}, {"Idempotency_Key": "order-67"}):
        status, problem, _ = await bob.call("POST", path, body, **headers)
        assert (status, problem["code"]) == (409, "twice")


NONSENSE: list[tuple[dict[str, Any], int, str]] = [
    ({"quantity": "0 box"}, 409, "no_amount"),
    ({"quantity": "2 kg"}, 409, "another_unit"),
    ({"quantity": "25 box"}, 409, "more_than_all"),
    ({"quantity": "lots"}, 400, "invalid_field"),
    ({"start": "tomorrow"}, 400, "invalid_request"),
    ({"quantity": "1 box", "urgency": "very"}, 400, "invalid_field"),
    ({"quantity": "1 box", "share": True}, 403, "not_allowed"),
    ({"quantity": "1 box", "share": "yes"}, 403, "not_allowed"),
    ({"quantity": "1 box", "reason": 7}, 400, "invalid_request"),
    ({"amount": "1 box"}, 400, "unknown_name"),
]
"""Bodies of requests, each with the status and the code that answer it."""


async def test_a_claim_that_makes_no_sense_is_refused_with_its_code(bob: Program, program: Program) -> None:
    address = await offered(program)
    for body, status, code in NONSENSE:
        got, problem, _ = await bob.call("POST", f"{DOCUMENTS}/{address}/claims", body)
        assert (got, problem["code"]) == (status, code), body


async def test_there_is_no_claim_on_a_skill_and_no_such_act(program: Program, bob: Program) -> None:
    body = {"kind": "skill", "fields": {"name": "Repair bicycles"}}
    _, posted, _ = await program.call("POST", DOCUMENTS, body)
    for method in ("GET", "POST"):
        _, problem, _ = await bob.call(method, f"{DOCUMENTS}/{posted['address']}/claims", {})
        assert problem["code"] == "not_claimable"
    claimed = await asked(bob, await offered(program))
    assert (await program.call("POST", f"{CLAIMS}/{claimed['address']}/eat", {}))[0] == 404
    status, problem, _ = await program.call("POST", f"{CLAIMS}/{claimed['address']}/renew", {})
    assert (status, problem["code"]) == (400, "invalid_request")
    assert (await bob.call("GET", f"{CLAIMS}/{posted['address']}"))[0] == 404


async def test_the_operator_asks_for_a_share_and_in_other_names(program: Program, operator: Program) -> None:
    address = await offered(program)
    claimed = await asked(operator, address, share=True, by="coordinator")
    _, seen, _ = await operator.call("GET", f"{CLAIMS}/{claimed['address']}")
    assert (seen["share"], seen["by"]) == (True, "coordinator")


async def ledger_of(node: Any, address: str) -> tuple[DocId, DocId]:
    """Return the ids of a post and of its ledger."""
    document = await node.board.show(address)
    return document.doc, ledger_id((await node.board.record(document)).header)


async def test_a_claim_is_answered_by_who_posted_what_its_ledger_is_of_whatever_it_says(
    node: Any, program: Program, bob: Program
) -> None:
    target, ledger = await ledger_of(node, await offered(program))
    other, _ = await ledger_of(node, await offered(bob))
    claim = sealed_claim(node, target, ledger, 1)
    await node.hear(claim)
    path = f"{CLAIMS}/{claim.doc.hex()}"
    assert (await program.call("POST", f"{path}/accept"))[0] == 200
    for edited in (other, DocId(bytes(16))):  # Accepted, it is made to name something else, or nothing.
        await node.hear(sealed_claim(node, edited, ledger, 1))
        assert [(await bob.call("POST", f"{path}/{act}"))[0] for act in ("handover", "release")] == [403, 403]
        status, seen, _ = await program.call("GET", path)
        assert (status, seen["target"]["doc"], seen["state"]) == (200, target.hex(), "accepted")
    status, seen, _ = await program.call("POST", f"{path}/release")
    assert (status, seen["state"]) == (200, "released")


async def test_a_claim_whose_ledger_is_not_ours_is_not_shown_and_hides_nobody(
    node: Any, program: Program, operator: Program
) -> None:
    address = await offered(program)
    target, _ = await ledger_of(node, address)
    junk = [sealed_claim(node, target, DocId(b"t" * 16), number, urgency="life") for number in range(1, 16)]
    await node.hear(*junk)
    honest = await node.claims.ask(address, quantity={"milli": 1_000, "unit": "box"}, by="carol")
    assert [view.address for view in await node.claims.all()] == [honest.address]
    for act in ("accept", "decline"):
        status, seen, _ = await operator.call("POST", f"{CLAIMS}/{junk[0].doc.hex()}/{act}")
        assert (status, seen["code"]) == (404, "not_found")
