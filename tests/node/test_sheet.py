"""A town key on paper: which town's it is, which of its keys, from when, and in rows that can be copied."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from node import keys as key_files
from node.cli.app import run
from node.cli.sheet import in_rows, which
from protocol.identity import TownKey, new_paper
from protocol.limits import SUCCESSORS_MAX
from protocol.paper import heard, told

NEXT = new_paper(bytes(16))


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Commands on one data directory; each must end well, and its answer is given."""

    def did(*typed: str) -> str:
        assert run([*typed, "--data", str(tmp_path / "data")]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return did


def test_what_is_printed_says_whose_it_is_which_and_when_and_is_heard_as_it_stands(
    command: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`init`, `key words`, `key sheet` and `key next`, of a board that does not run."""
    said = command("init", "--name", "St-Éloy & Co", "--sheet", str(tmp_path / "init.html")).splitlines()
    passphrase = next(line for line in said if "Passphrase" in line).split(": ")[1]
    at = next(number for number, line in enumerate(said) if "keys 2 to 7 of 7" in line)
    rows = said[at + 1 : at + 6]
    assert [row.split()[0] for row in rows] == ["1", "6", "11", "16", "21"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*rows, "more"])))
    paper = tmp_path / "next.html"
    answer = command("key", "next", "--out", str(paper))
    assert answer == f"These are the words of this town's next key. Print {paper}, then delete it.\n"
    monkeypatch.setenv("HEDGEROW_PASSPHRASE", passphrase)
    first, *lines = command("key", "words").splitlines()
    assert first == "Key 1 of 7" and len(lines) == 5
    key = key_files.open_town_key(tmp_path / "data" / "keys", passphrase)
    assert heard("\n".join(lines)).seed == key.seed
    sheet = tmp_path / "key.html"
    command("key", "sheet", "--out", str(sheet))
    for path, number in (
        (sheet, "key 1 of 7"),
        (paper, "keys 2 to 7 of 7"),
        (tmp_path / "init.html", "7 of 7"),
    ):
        page = path.read_text("utf-8")
        assert "of St-Éloy &amp; Co</h1>" in page and number in page and date.today().isoformat() in page
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("generation", range(SUCCESSORS_MAX))
def test_each_key_of_a_town_has_its_number(generation: int) -> None:
    words = told(TownKey.next_of(NEXT, generation))
    assert which(words) == f"key {generation + 1} of 7"
    assert heard(in_rows(words)).generation == generation
