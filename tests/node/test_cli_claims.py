"""Commands on claims: what they print and ask of the node."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest

from node.cli.app import run
from tests.node.test_cli import POSTED, Answers, Node, node

assert node, "a fixture"

VIEW = {
    "address": "K7PQ42XW9TB", "town_name": "Charlieu", "says": "Waits for an answer here.", "by": "bob",
    "target": {"title": "Apples"},
}  # fmt: skip


def test_a_claim_prints_its_address_and_the_code_to_show(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    data, asked = node({"claim": (200, {**POSTED, "code": "ABCD2345"})})
    words = ["claim", "K7PQ42XW9TB", "--quantity", "2 box", "--by", "bob", "--data", str(data)]
    assert run(words) == 0
    assert capsys.readouterr().out == "K7PQ-42XW-9TB  code ABCD-2345\n"
    [(name, arguments)] = asked
    assert (name, arguments["quantity"], arguments["share"]) == ("claim", "2 box", False)
    assert (
        run(["claim", "K7PQ42XW9TB", "--from", "2026-10-03", "--until", "1790000000", "--data", str(data)])
        == 0
    )
    assert (asked[1][1]["end"], type(asked[1][1]["start"])) == (1_790_000_000, int)
    assert run(["claim", "K7PQ42XW9TB", "--from", "tomorrow", "--data", str(data)]) == 2
    assert "YYYY-MM-DDTHH:MM" in capsys.readouterr().err


def test_words_of_others_do_nothing_to_the_terminal(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J\x9b31mPay\u202e here\x07 \U0001f353 \u05d0"
    view = {**VIEW, "by": evil, "target": {"title": evil}}
    problem = {"code": "x", "detail": f"somebody said\n{evil}"}
    data, _ = node({"claims": (200, {"claims": [view]}), "show": (404, problem)})
    assert run(["claims", "--data", str(data)]) == 0
    assert run(["show", "K7PQ42XW9TB", "--data", str(data)]) == 1
    told = capsys.readouterr()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", told.out + told.err)
    assert told.out.count("Pay") == 2 and "\U0001f353 \u05d0" in told.out and told.err.count("\n") == 1


def test_claims_are_listed_and_each_answer_says_how_the_claim_stands(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("accept", "decline", "release", "handover", "renew", "receive", "unclaim")
    answers: Answers = dict.fromkeys(names, (200, VIEW))
    data, asked = node({**answers, "claims": (200, {"claims": [VIEW], "says": "22 of 24 are free."})})
    assert run(["claims", "--data", str(data)]) == 0
    assert capsys.readouterr().out == "K7PQ-42XW-9TB  bob  Apples  Waits for an answer here.\n"
    assert run(["claims", "K7PQ42XW9TB", "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith("22 of 24 are free.\nK7PQ")
    for name in names:
        more = ["--until", "2026-10-03T18:30"] if name == "renew" else []
        assert run([name, "K7PQ42XW9TB", *more, "--data", str(data)]) == 0
        assert capsys.readouterr().out == "K7PQ-42XW-9TB  Waits for an answer here.\n"
    assert [name for name, _ in asked[2:]] == list(names)


def test_who_withdraws_is_told_how_many_promises_stand_before(
    node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, asked = node({"withdraw": (200, {**POSTED, "standing": 2})})
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
