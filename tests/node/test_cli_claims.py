"""Commands on claims: what they print and ask of the node."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import click
import pytest

from node import claim_acts
from node.acts import ACTS
from node.cli.app import run
from node.errors import NotFound
from tests.node.conftest import TestNode
from tests.node.test_cli import POSTED, Answers, Node
from tests.node.test_cli import node as stand_in
from tests.node.valley import boxes

__all__ = ["claim_acts", "stand_in"]

VIEW = {
    "address": "K7PQ42XW9TB", "town_name": "Charlieu", "says": "Waits for an answer here.", "by": "bob",
    "target": {"title": "Apples"}, "asked": {"amount": "2", "unit": "box"}, "urgency": "soon",
    "reason": "Four\nchildren", "contact": "06 12",
}  # fmt: skip


def test_a_claim_prints_its_address_and_the_code_to_show(
    stand_in: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    data, asked = stand_in({"claim": (200, {**POSTED, "code": "ABCD2345", "digits": "7758"})})
    words = ["claim", "K7PQ42XW9TB", "--quantity", "2 box", "--by", "bob", "--data", str(data)]
    assert run(words) == 0
    assert capsys.readouterr().out == "K7PQ-42XW-9TB  code ABCD-2345, or 7758\n"
    [(name, arguments)] = asked
    assert (name, arguments["quantity"], arguments["share"]) == ("claim", "2 box", False)
    assert (
        run(["claim", "K7PQ42XW9TB", "--from", "2026-10-03", "--until", "1790000000", "--data", str(data)])
        == 0
    )
    assert (asked[1][1]["end"], type(asked[1][1]["start"])) == (1_790_000_000, int)
    assert run(["claim", "K7PQ42XW9TB", "--from", "tomorrow", "--data", str(data)]) == 2
    assert "YYYY-MM-DDTHH:MM" in capsys.readouterr().err


def test_words_of_others_do_nothing_to_the_terminal(
    stand_in: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J\x9b31mPay\u202e here\x07 \U0001f353 \u05d0"
    view = {**VIEW, "by": evil, "target": {"title": evil}}
    problem = {"code": "x", "detail": f"somebody said\n{evil}"}
    data, _ = stand_in({"claims": (200, {"claims": [view]}), "show": (404, problem)})
    assert run(["claims", "--data", str(data)]) == 0
    assert run(["show", "K7PQ42XW9TB", "--data", str(data)]) == 1
    told = capsys.readouterr()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", told.out + told.err)
    assert told.out.count("Pay") == 2 and "\U0001f353 \u05d0" in told.out and told.err.count("\n") == 1


def test_claims_are_listed_and_each_answer_says_how_the_claim_stands(
    stand_in: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("accept", "wait", "decline", "release", "handover", "renew", "unclaim")
    answers: Answers = dict.fromkeys(names, (200, VIEW))
    data, asked = stand_in(
        {**answers, "claims": (200, {"claims": [VIEW], "says": "22 of 24 are free.", "ledger": "ab"})}
    )
    assert run(["claims", "--data", str(data)]) == 0
    assert capsys.readouterr().out == "K7PQ-42XW-9TB  bob  Apples  2 box  soon  Waits for an answer here.\n"
    assert run(["claims", "K7PQ42XW9TB", "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith("22 of 24 are free.\nK7PQ")
    for name in names:
        more = ["--until", "2026-10-03T18:30"] if name == "renew" else []
        assert run([name, "K7PQ42XW9TB", *more, "--data", str(data)]) == 0
        assert capsys.readouterr().out == "K7PQ-42XW-9TB  Waits for an answer here.\n"
    assert [name for name, _ in asked[2:]] == list(names)


def test_who_withdraws_is_told_how_many_promises_stand_before(
    stand_in: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, asked = stand_in({"withdraw": (200, {**POSTED, "standing": 2})})
    line = ["withdraw", "K7PQ42XW9TB", "--data", str(data)]
    assert run(line) == 0, "where nobody can be asked it is done"
    assert capsys.readouterr().out == "withdrawn: K7PQ-42XW-9TB, with 2 promises, given free\n"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter([False, True])
    monkeypatch.setattr("click.confirm", _confirmed(answers))
    assert (run(line), run(line), run([*line, "--yes"])) == (130, 0, 0)
    assert [arguments.get("look", False) for _, arguments in asked] == [False, True, True, False, False]


def _confirmed(answers: Any) -> Any:
    def confirm(says: str, **_: Any) -> None:
        assert says == "2 promises of it stand. Withdraw it all the same?"
        if not next(answers):
            raise click.Abort

    return confirm


def test_a_claim_is_shown_whole_and_what_was_received_is_noted(
    stand_in: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    lent = {**VIEW, "start": 1_790_035_200, "end": 1_790_208_000, "on_behalf_of": True, "received": "partly"}
    alone = {"says": VIEW["says"], "claims": [VIEW]}
    data, asked = stand_in({"claims": (200, alone), "show": (200, {"claim": lent}), "receive": (200, lent)})
    here = ["K7PQ42XW9TB", "--data", str(data)]
    told = "K7PQ-42XW-9TB  Apples\nWaits for an answer here.\nasked: {}\nby: bob, Charlieu{}\nurgency: soon\n"
    why = "reason: Four children\ncontact: 06 12\n"
    assert run(["claims", *here]) == 0
    assert capsys.readouterr().out == told.format("2 box", "") + why
    assert run(["show", *here]) == 0
    whole = told.format("2026-09-22 to 2026-09-23", " (for somebody)") + why + "received: partly\n"
    assert capsys.readouterr().out == whole
    assert run(["receive", *here, "--ok", "partly"]) == 0
    assert capsys.readouterr().out.startswith("K7PQ-42XW-9TB  Noted that it was received: partly.")
    assert [name for name, _ in asked] == ["claims", "show", "receive"]


async def test_the_address_of_a_claim_is_enough_to_see_it_and_a_reason_to_decline_it(node: TestNode) -> None:
    posted = await node.board.post("offer", {"title": "Apples", "quantity": boxes(3)})
    asked = await node.claims.ask(posted.address, quantity=boxes(1), by="bob")
    here: Any = SimpleNamespace(claims=node.claims, board=node.board)
    given = {"address": asked.address}
    listed: Any = await ACTS["claims"](here, given)
    shown: Any = await ACTS["show"](here, given)
    assert [listed["claims"][0]["doc"], listed["says"]] == [shown["claim"]["doc"], shown["claim"]["says"]]
    assert (await ACTS["wait"](here, given))["state"] == "waiting"  # type: ignore[index]
    declined: Any = await ACTS["decline"](here, given | {"reason": "gone"})
    assert declined["says"] == "Declined: it is not there any more."
    for act in ("claims", "show"):
        with pytest.raises(NotFound, match="nothing is known under this address"):
            await ACTS[act](here, {"address": "00" * 16})
    unclaimed: Any = await ACTS["unclaim"](here, given)
    assert (unclaimed["says"], unclaimed["target"]["title"]) == ("Withdrawn.", "Apples")
