"""A real node and the second reading: what one writes the other takes, what is damaged neither takes."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCRIPT = HERE / "verify_records.py"
PART_NAMES = ("header", "signature", "body")

if TYPE_CHECKING:
    from tests.independent.second_values import Refused, decode
else:
    sys.path.insert(0, str(HERE))
    from second_values import Refused, decode


def script(*arguments: object, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script as a stranger would: isolated, from a directory that is not the project's."""
    command = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd="/", input=said, capture_output=True, text=True, timeout=250)


@dataclass(frozen=True)
class Node:
    """A node that runs, and its command line."""

    data: Path
    town: str

    def run(self, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command."""
        command = [sys.executable, "-m", "node.cli", *arguments, "--data", str(self.data)]
        return subprocess.run(command, cwd=ROOT, input=said, capture_output=True, text=True, timeout=120)

    def ask(self, *arguments: str, said: str = "") -> Any:
        """Run a command that must succeed; its answer in JSON."""
        done = self.run(*arguments, "--json", said=said)
        assert (done.returncode, done.stderr) == (0, ""), done
        return json.loads(done.stdout)

    def post(self, kind: str, **fields: object) -> str:
        """Post a document; its address."""
        done = self.run("post", kind, "--json", "-", said=json.dumps({"kind": kind, "fields": fields}))
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    def export(self) -> list[dict[str, Any]]:
        """What `export` prints, line by line."""
        done = self.run("export", "-")
        assert done.returncode == 0, done
        return [json.loads(line) for line in done.stdout.splitlines()]

    def take(self, lines: list[str]) -> Any:
        """What `import` answers to these lines."""
        done = self.run("import", "-", "--json", said="\n".join(lines) + "\n")
        return json.loads(done.stdout.splitlines()[0])

    def make(self, *more: str) -> list[str]:
        """A put, its delete and a guide by the script, signed with this node's device key."""
        key: Any = decode((self.data / "keys" / "device.key").read_bytes())
        federation = self.ask("federation", "list")[0]["id"]
        done = script(
            *("make", "--device-seed", key["seed"].hex(), "--town", key["town"].hex()),
            *("--federation", federation, "--now", int(time.time()), *more),
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The node of a town that has founded a federation."""
    data = tmp_path_factory.mktemp("town") / "data"
    node = Node(data, "")
    town = node.ask("init", "--name", "Roanne")["town"]["id"]
    command = [sys.executable, "-m", "node.cli", "run", "--listen", "127.0.0.1:0", "--data", str(data)]
    log = data.with_name("log").open("w")
    daemon = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | {"NO_COLOR": "1"}
    )
    assert daemon.stdout
    try:
        assert daemon.stdout.readline(), data.with_name("log").read_text()
        node = Node(data, town)
        node.ask("federation", "found", "Roannais")
        yield node
    finally:
        daemon.terminate()
        daemon.wait(30)
        daemon.stdout.close()
        log.close()
    assert daemon.returncode == 0


def test_all_that_a_node_exports_is_good_and_stands(node: Node, tmp_path: Path) -> None:
    kept = node.post("offer", title="Ten loaves of bread", quantity="10 each")
    node.ask("edit", kept, "-f", "title=Nine loaves, côté four", "-f", "where.name=Moulin")
    gone = node.post("need", title="A ladder for a day", urgency="soon")
    node.ask("withdraw", gone)
    guide = node.post("practice", title="Sourdough in winter", steps=[{"text": "Wait.", "minutes": 600}])
    node.ask("edit", guide, "-f", "summary=Bread without yeast from a shop")
    lines = node.export()
    file = tmp_path / "export.jsonl"
    assert node.run("export", str(file)).returncode == 0
    assert [json.loads(line) for line in file.read_text("utf-8").splitlines()] == lines
    assert all({"id", "address", "decoded", *PART_NAMES} <= line.keys() for line in lines)
    done = script("verify", file, "--own-town", node.town, "--complete", "--now", int(time.time()))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    # Certificate, profile, the offer as edited; the end of the need; charter, guide, its revision, and the
    # first entries of two ledgers.
    assert done.stdout == "9 lines, 0 bad, 3 put, 1 delete, 5 entry, 8 documents, 1 towns\n"


def test_a_node_takes_what_the_second_reading_made(node: Node) -> None:
    put, delete, guide = node.make()
    address = json.loads(put)["address"]
    assert node.take([put, guide])["held"] == 2
    shown = node.ask("show", address)
    assert shown["fields"]["title"] == "Pommes du verger d'à côté"
    assert shown["id"] == json.loads(put)["id"]
    steps = node.ask("show", json.loads(guide)["address"])["fields"]["steps"]
    assert steps == [{"text": "Wash the jars.", "minutes": 10}, {"text": "Fill them while hot."}]
    assert address.replace("-", "") in node.run("list", "offer").stdout.replace("-", "")
    assert node.take([delete])["held"] == 1
    assert address.replace("-", "") not in node.run("list", "offer").stdout.replace("-", "")
    refused = node.run("show", address)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert node.take([put])["held"] == 0


def test_a_delete_of_the_second_reading_withdraws_what_the_node_posted(node: Node, tmp_path: Path) -> None:
    address = node.post("offer", title="Planks of oak")
    plain = address.replace("-", "")
    line = next(line for line in node.export() if line["address"] == plain)
    (tmp_path / "line.jsonl").write_text(json.dumps(line))
    made = node.make("--delete-of", str(tmp_path / "line.jsonl"))
    assert len(made) == 4
    assert node.take(made[3:])["held"] == 1
    assert plain not in node.run("list", "offer").stdout.replace("-", "")
    assert {each["decoded"]["op"] for each in node.export() if each["address"] == plain} == {"delete"}


@pytest.fixture(scope="module")
def damaged(node: Node) -> tuple[list[str], list[str]]:
    """Lines that must be refused for good, and lines that another day may take."""
    key: Any = decode((node.data / "keys" / "device.key").read_bytes())
    done = script("mutate", "-", "--device-seed", key["seed"].hex(), said="\n".join(node.make()))
    assert (done.returncode, done.stderr) == (0, "")
    refused: list[str] = []
    waiting: list[str] = []
    for told in map(json.loads, done.stdout.splitlines()):
        if told["expected"] == "good":
            continue
        try:
            parts = decode(base64.b64decode(told["raw"]))
        except Refused:
            continue
        if not isinstance(parts, list) or len(parts) != 3:
            continue
        if not isinstance(parts[0], bytes) or not isinstance(parts[1], bytes):
            continue
        if isinstance(parts[2], bytes | None):
            shown = [None if part is None else base64.b64encode(part).decode() for part in parts]
            line = json.dumps(dict(zip(PART_NAMES, shown, strict=True)))
            later = told["says"].partition(":")[0] in ("version", "body_missing")
            (waiting if later else refused).append(line)
    return refused, waiting


def test_a_node_refuses_every_damaged_record_and_nothing_else_is_harmed(
    node: Node, damaged: tuple[list[str], list[str]]
) -> None:
    refused, waiting = damaged
    assert len(refused) > 5_000 and waiting
    before = node.export()
    answer = node.take(refused)
    assert (answer["held"], answer["posted"], answer["waiting"], answer["dropped"]) == (0, 0, 0, 0)
    assert answer["refused"] == len(refused)
    # The first thousand are named one by one.
    assert [line["line"] for line in answer["lines"]] == [*range(1, 1_001)]
    assert all(line["code"] and line["says"] and "\n" not in line["says"] for line in answer["lines"])
    later = node.take(waiting)
    assert (later["held"], later["waiting"], later["refused"]) == (0, 0, len(waiting))
    assert node.export() == before
    good = node.make()
    answer = node.take([refused[0], good[0], "{", refused[-1], good[2], '{"header": 1}', "[]"])
    assert (answer["held"], answer["refused"]) == (2, 5)
    assert sorted(line["line"] for line in answer["lines"]) == [1, 3, 4, 6, 7]


def test_each_refused_line_is_told_in_one_line(
    node: Node, damaged: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    refused, _ = damaged
    (tmp_path / "bad.jsonl").write_text("\n".join([refused[40], refused[-1]]))
    done = node.run("import", str(tmp_path / "bad.jsonl"))
    assert done.returncode == 1
    told = (done.stdout + done.stderr).splitlines()
    assert [line for line in told if "line 1" in line and "signed" in line], told
    assert "Traceback" not in done.stderr
