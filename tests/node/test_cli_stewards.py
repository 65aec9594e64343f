"""What stewards type, what is asked of the node for it, and what they read."""

from __future__ import annotations

import io
from typing import Any

import pytest

from node.cli.app import run
from tests.node.test_cli import node as stand_in

__all__ = ["stand_in"]

STEP = "3fa9c2e1" + "ab" * 28
WAITS = {"step": STEP, "counts": False, "waits_for": ["Charlieu", "Renaison"], "needs": 1}
COUNTS = {"step": STEP, "counts": True, "waits_for": [], "needs": 0}
WORDS = "six words of the town key"


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passphrase comes from the environment."""
    monkeypatch.setenv("HEDGEROW_PASSPHRASE", WORDS)


@pytest.mark.parametrize(
    ("typed", "act", "asked", "answer", "read"),
    [
        (
            ["found", "Loire", "--steward", "Charlieu", "--vouches", "2"],
            "found",
            {"name": "Loire", "stewards": ["Charlieu"], "vouches": 2},
            {"id": "ab" * 16, "name": "Loire"},
            "founded Loire; invite a neighbour",
        ),
        (
            [
                "propose",
                "--add",
                "Roanne",
                "--add",
                "Ambierle",
                "--no-steward",
                "Feurs",
                "--quota",
                "urgent=9",
            ],
            "propose",
            {
                "add": ["Roanne", "Ambierle"],
                "no_steward": ["Feurs"],
                "quotas": {"urgent": 9},
                "passphrase": WORDS,
            },
            WAITS,
            "step 3fa9c2e1 is signed; it needs 1 more of Charlieu, Renaison",
        ),
        (
            ["propose", "--vouches", "0", "--name", "Up", "--beside"],
            "propose",
            {"vouches": 0, "name": "Up", "beside": True, "passphrase": WORDS},
            COUNTS,
            "step 3fa9c2e1 counts: it holds from now on",
        ),
        (
            ["sign", "3fa9", "--instead"],
            "sign",
            {"step": "3fa9", "instead": True, "passphrase": WORDS},
            COUNTS,
            "step 3fa9c2e1 counts",
        ),
        (["pending"], "pending", {}, [], "nothing is being decided"),
        (
            ["suspend", "Feurs"],
            "suspend",
            {"town": "Feurs"},
            {"town": "ab" * 32, "name": "Feurs"},
            "suspended Feurs",
        ),
        (
            ["suspend", "abab", "--lift", "--federation", "Loire"],
            "suspend",
            {"town": "abab", "federation": "Loire", "lift": True},
            {"town": "ab" * 32, "name": ""},
            "abababab is suspended no more by this town",
        ),
        (
            ["vouch", "Feurs"],
            "vouch",
            {"town": "Feurs"},
            {"town": "ab" * 32, "name": "Feurs", "missing": 1},
            "vouched for Feurs: 1 more must vouch",
        ),
        (
            ["vouch", "Feurs"],
            "vouch",
            {"town": "Feurs"},
            {"town": "ab" * 32, "name": "Feurs", "missing": 0},
            "vouched for Feurs: it is a member now",
        ),
        (["leave"], "leave", {}, {"name": "Loire"}, "this town has left Loire"),
        (
            ["members"],
            "members",
            {},
            [{"town": "ab" * 32, "name": "Feurs", "steward": True, "by": "step", "why": "by the last step"}],
            "Feurs  abababab  steward  by the last step",
        ),
    ],
    ids=lambda value: (
        " ".join(value[:2]) if isinstance(value, list) and value and isinstance(value[0], str) else ""
    ),
)
def test_a_command_asks_for_one_act_and_says_what_came_of_it(
    stand_in: Any,
    capsys: pytest.CaptureFixture[str],
    typed: list[str],
    act: str,
    asked: dict[str, Any],
    answer: Any,
    read: str,
) -> None:
    """Arguments that are not given are left out."""
    data, heard = stand_in({act: (200, answer)})
    assert run(["federation", *typed, "--data", str(data)]) == 0
    assert heard == [(act, asked)]
    assert capsys.readouterr().out.startswith(read)


def test_what_is_pending_is_told_with_the_command_that_agrees(
    stand_in: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only to who may agree."""
    row = {
        "name": "Loire",
        "step": STEP,
        "by": "Roanne",
        "changes": ["Feurs: put out"],
        "signed": ["Roanne"],
        "waits_for": ["Charlieu", "Feurs"],
        "needs": 1,
    }
    data, _ = stand_in({"pending": (200, [{**row, "own": True}, {**row, "own": False}])})
    assert run(["federation", "pending", "--data", str(data)]) == 0
    out = capsys.readouterr().out
    assert "Loire, step 3fa9c2e1, proposed by Roanne:\n  Feurs: put out\n  signed by Roanne;" in out
    assert "it needs 1 more of Charlieu, Feurs" in out
    assert out.count("hedgerow federation sign 3fa9c2e1") == 1


def test_without_a_passphrase_nothing_is_asked(
    stand_in: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a quota is a lane and a number."""
    data, heard = stand_in({})
    monkeypatch.delenv("HEDGEROW_PASSPHRASE")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(["federation", "sign", "3fa9", "--data", str(data)]) == 2
    assert "set HEDGEROW_PASSPHRASE" in capsys.readouterr().err
    assert run(["federation", "propose", "--quota", "urgent", "--data", str(data)]) == 2
    assert "LANE=N" in capsys.readouterr().err
    assert not heard


def test_status_says_what_to_look_at_and_puts_it_away(
    stand_in: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """After it was shown."""
    state = {
        "town": {"name": "Roanne"},
        "version": "1",
        "clock": {"sure": True},
        "documents": 1,
        "records": 1,
        "disk_bytes": 1,
        "federations": [],
        "peers": [],
        "incidents": [{"says": "Bee signed two steps"}],
    }
    data, heard = stand_in({"status": (200, state)})
    assert run(["status", "--seen", "--data", str(data)]) == 0
    assert heard == [("status", {"seen": True})]
    assert "look at this: Bee signed two steps" in capsys.readouterr().out
