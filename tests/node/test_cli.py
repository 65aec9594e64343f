"""The command line without a node: usage, mistyped words, and the form of every failure."""

import io
import json
import os
import re
import socketserver
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from node import places
from node.cli.app import app, run
from node.cli.terminal import said, table
from node.exchange import LINE_CHARS_MAX
from protocol.kinds import KINDS

BREAKS_OFF = b"and here the node went away"
Answers = dict[str, tuple[int, Any]]
Node = Callable[[Answers], "tuple[Path, list[tuple[str, Any]]]"]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A stand-in at the other end of the control socket: answers as told, and keeps what it was asked."""
    servers: list[socketserver.UnixStreamServer] = []

    def start(answers: Answers) -> tuple[Path, list[tuple[str, Any]]]:
        asked: list[tuple[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                name = self.path.rsplit("/", 1)[-1]
                asked.append((name, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                status, answer = answers[name]
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                if content.endswith(BREAKS_OFF):
                    self.send_header("Transfer-Encoding", "chunked")
                    content = b"%x\r\n%b" % (len(content), content)
                else:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def address_string(self) -> str:
                return "unix"

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        server = socketserver.UnixStreamServer(str(tmp_path / "control.sock"), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return tmp_path, asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


POSTED = {"address": "K7PQ42XW9TB", "id": "ab" * 32}


def test_a_post_prints_the_address_alone(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    data, asked = node({"post": (200, POSTED)})
    arguments = ["post", "offer", "-f", "title=Ten loaves", "-f", "text=a=b", "--data", str(data)]
    assert run(arguments) == 0
    assert capsys.readouterr().out == "K7PQ-42XW-9TB\n"
    assert asked == [("post", {"kind": "offer", "form": {"title": "Ten loaves", "text": "a=b"}})]


def test_json_alone_asks_for_an_answer_in_json(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    data, _ = node({"post": (200, POSTED)})
    assert run(["post", "offer", "-f", "title=Ten loaves", "--json", "--data", str(data)]) == 0
    assert json.loads(capsys.readouterr().out) == POSTED


def test_json_with_a_file_gives_the_fields(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, asked = node({"post": (200, POSTED)})
    file = tmp_path / "offer.json"
    file.write_text('{"kind": "offer", "fields": {"title": "Ten loaves"}}')
    assert run(["post", "--data", str(data), "--json", str(file)]) == 0
    assert capsys.readouterr().out == "K7PQ-42XW-9TB\n"
    assert asked == [("post", {"kind": "offer", "fields": {"title": "Ten loaves"}})]


def test_a_refused_file_of_fields_is_one_line_of_text(
    node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = node({"post": (400, {"code": "invalid_field", "detail": "title: is missing"})})
    for typed, answer in (
        ("{", "hedgerow: standard input is not JSON"),
        ("{}", "hedgerow: title: is missing"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        assert run(["post", "offer", "--json", "-", "--data", str(data)]) == 1
        out, err = capsys.readouterr()
        assert not out
        assert err.startswith(answer)
    monkeypatch.setattr("sys.stdin", io.StringIO("{}"))
    assert run(["post", "offer", "--json", "-", "--json", "--data", str(data)]) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "invalid_field"


def test_a_refusal_is_one_line_and_status_1(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    data, _ = node(
        {"show": (404, {"code": "not_found", "title": "nothing\nthere", "detail": "nothing\nthere"})}
    )
    assert run(["show", "K7PQ42XW9TB", "--data", str(data)]) == 1
    assert capsys.readouterr() == ("", "hedgerow: nothing there\n")


def test_a_refusal_in_json_is_the_problem_document(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"code": "not_found", "title": "nothing", "detail": "nothing", "status": 404}
    data, _ = node({"show": (404, problem)})
    assert run(["show", "K7PQ42XW9TB", "--json", "--data", str(data)]) == 1
    assert json.loads(capsys.readouterr().out) == problem


def test_an_answer_that_is_no_problem_document_is_still_one_line(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    data, _ = node({"show": (500, b"<html>")})
    assert run(["show", "K7PQ42XW9TB", "--data", str(data)]) == 1
    assert capsys.readouterr().err == "hedgerow: the node answered 500\n"


def test_a_document_is_shown_in_the_words_of_its_form(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "address": "K7PQ42XW9TB",
        "kind": "practice",
        "town": "ab" * 32,
        "town_name": "Roanne",
        "fields": {"steps": [{"text": "Mix."}]},
        "form": {"title": "Bread", "steps": "Mix.\nWait."},
        "versions": [{"id": "aa", "head": True}, {"id": "bb", "head": True}, {"id": "cc", "head": False}],
    }
    data, _ = node({"show": (200, document)})
    assert run(["show", "K7PQ42XW9TB", "--data", str(data)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "K7PQ-42XW-9TB  practice of Roanne",
        "title: Bread",
        "steps:",
        "  Mix.",
        "  Wait.",
        "versions: 3",
        "two revisions stand side by side; edit one of them with --based-on:",
        "  aa",
        "  bb",
    ]


STATUS = {
    "town": {"id": "ab" * 32, "name": ""},
    "version": "0.1.0",
    "clock": {"now_ms": 0, "sure": True},
    "documents": 0,
    "records": 1,
    "disk_bytes": 0,
    "federations": [],
    "peers": [],
}


def test_a_town_that_came_back_with_its_keys_alone_has_no_name_yet(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    data, _ = node({"status": (200, STATUS)})
    assert run(["status", "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith(
        "This town, whose profile has not come back yet, Hedgerow 0.1.0\n"
    )


def test_an_invitation_that_waits_is_shown_and_given_up(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = {"says": "Roanne has not answered the invitation yet: refused", "failing_url": "http://foo:1"}
    state = STATUS | {"joins": [waits]}
    answers = {"status": state, "peer_list": [], "federations": [], "join_cancel": {"cancelled": 1}}
    data, asked = node({name: (200, answer) for name, answer in answers.items()})
    for words in (["status"], ["peer", "list"], ["federation", "list"]):
        assert run([*words, "--data", str(data)]) == 0
        out = capsys.readouterr().out
        assert out.endswith(
            "joining: Roanne has not answered the invitation yet: refused (http://foo:1)\n"
            "  hedgerow federation join --cancel gives it up\n"
        )
    assert run(["federation", "join", "--cancel", "--data", str(data)]) == 0
    assert capsys.readouterr().out == "given up: 1 invitation\n"
    assert asked[-1] == ("join_cancel", {})
    assert run(["federation", "join", "--data", str(data)]) == 2


def test_a_list_is_asked_for_in_pages_until_it_ends(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "address": "K7PQ42XW9TB",
        "kind": "offer",
        "town": "ab" * 32,
        "town_name": "Roanne",
        "fields": {"title": "Bread"},
    }
    data, asked = node({"list": (200, {"documents": [document], "cursor": None})})
    assert run(["search", "ten", "loaves", "--data", str(data)]) == 0
    assert capsys.readouterr().out == "K7PQ-42XW-9TB  offer  Roanne  Bread\n"
    assert asked == [("list", {"q": "ten loaves", "limit": 500})]


SEEN = {
    "town": "ab" * 32,
    "name": "Charlieu",
    "fingerprint": "amber bread",
    "url": "http://c",
    "approved": False,
}


def test_without_a_terminal_a_peer_is_approved_only_with_yes(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    data, asked = node({"peer_add": (200, SEEN)})
    assert run(["peer", "add", "http://c", "--data", str(data)]) == 1
    assert capsys.readouterr().err == (
        "hedgerow: Charlieu answers there. Its fingerprint: amber bread. Add --yes to approve it\n"
    )
    assert run(["peer", "add", "http://c", "--json", "--data", str(data)]) == 1
    assert json.loads(capsys.readouterr().out)["fingerprint"] == "amber bread"
    assert [arguments["approve"] for _, arguments in asked] == [False, False]
    assert run(["peer", "add", "http://c", "--yes", "--data", str(data)]) == 0
    assert asked[-1] == ("peer_add", {"url": "http://c", "approve": True})


def test_an_import_sends_csv_rows_as_forms_and_names_the_lines_that_are_refused(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = {"line": 2, "code": "invalid_field", "says": "title: is missing"}
    counts = {"held": 0, "posted": 1, "waiting": 0, "dropped": 0, "refused": 1, "lines": [refused]}
    data, asked = node({"import": (200, counts)})
    file = tmp_path / "offers.csv"
    file.write_text('title,where.name\nBread,"Quay\nof Roanne"\n,Mill\n')
    assert run(["import", str(file), "--kind", "offer", "--data", str(data)]) == 1
    out, err = capsys.readouterr()
    assert out == "1 posted\n"
    assert err.splitlines() == [
        "hedgerow: line 4: title: is missing (invalid_field)",
        "hedgerow: 1 of 2 lines were refused",
    ]
    assert [json.loads(line)["form"] for line in asked[0][1]["lines"]] == [
        {"title": "Bread", "where.name": "Quay\nof Roanne"},
        {"where.name": "Mill"},
    ]


def test_an_import_with_refused_lines_answers_programs_once_and_fails(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = {"line": 3, "code": "malformed_line", "says": "is not JSON"}
    counts: dict[str, Any] = dict.fromkeys(("held", "already", "posted", "waiting", "dropped"), 0)
    counts |= {"posted": 1, "refused": 1, "lines": [refused]}
    data, asked = node({"import": (200, counts)})
    file = tmp_path / "offers.jsonl"
    file.write_text('{"kind": "offer", "fields": {"title": "Bread"}}\n\nnot JSON\n')
    assert run(["import", str(file), "--json", "--data", str(data)]) == 1
    out, _ = capsys.readouterr()
    assert json.loads(out) == counts
    assert len(asked[0][1]["lines"]) == 3, "a blank line counts, so that numbers are those of the file"


def test_a_line_without_an_end_is_never_read_as_a_whole(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stick with one file of zeros, in both forms; of the other lines each keeps its number."""
    counts = {"held": 0, "posted": 0, "waiting": 0, "dropped": 0, "refused": 0, "already": 0, "lines": []}
    data, asked = node({"import": (200, counts)})
    for name in ("bundle.jsonl", "posts.csv"):
        with (tmp_path / name).open("wb") as out:
            out.write(b"kind,title\n")
            os.truncate(out.fileno(), 16 * 2**20)
        tracemalloc.start()
        run(["import", str(tmp_path / name), "--data", str(data)])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 12 * 2**20, name
    assert [len(line) for line in asked[0][1]["lines"]] == [11, LINE_CHARS_MAX + 1]
    assert len(asked) == 1
    (tmp_path / "long.csv").write_text("kind,title\noffer," + "x" * 140_000 + "\n", "utf-8")
    assert run(["import", str(tmp_path / "long.csv"), "--data", str(data)]) == 1
    for name, line in zip(("posts", "long"), capsys.readouterr().err.splitlines(), strict=True):
        assert f"{name}.csv: line 2 ends a row of more than" in line


def test_an_export_that_is_refused_leaves_no_file(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, _ = node({"export": (503, {"code": "storage_unavailable", "detail": "the disk is full"})})
    assert run(["export", str(tmp_path / "all.jsonl"), "--data", str(data)]) == 1
    assert not list(tmp_path.glob("all.jsonl*"))


def test_a_node_that_goes_away_during_an_export_leaves_no_file_either(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, _ = node({"export": (200, b'{"id":"a"}\n' + BREAKS_OFF)})
    assert run(["export", str(tmp_path / "all.jsonl"), "--data", str(data)]) == 3
    assert "went away" in capsys.readouterr().err
    assert not list(tmp_path.glob("all.jsonl*"))


def test_an_export_writes_every_line(node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, _ = node({"export": (200, b'{"id":"a"}\n{"id":"b"}\n')})
    assert run(["export", str(tmp_path / "all.jsonl"), "--data", str(data)]) == 0
    assert (tmp_path / "all.jsonl").read_text() == '{"id":"a"}\n{"id":"b"}\n'
    (tmp_path / "all.jsonl").write_text("what was exported last year")
    assert run(["export", str(tmp_path / "all.jsonl"), "--data", str(data)]) == 1
    assert (tmp_path / "all.jsonl").read_text() == "what was exported last year"
    assert "is there already: give another name, or add --force" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "all.jsonl"), "--force", "--data", str(data)]) == 0
    assert (tmp_path / "all.jsonl").read_text() == '{"id":"a"}\n{"id":"b"}\n'


def test_init_says_how_to_run_the_node_that_it_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "a valley"
    assert run(["init", "--name", "Roanne", "--data", str(elsewhere)]) == 0
    assert f"Start the node with: hedgerow run --data '{elsewhere}'\n" in capsys.readouterr().out
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "usual"))
    assert run(["init", "--name", "Roanne"]) == 0
    assert "Start the node with: hedgerow run\n" in capsys.readouterr().out


def test_a_town_of_the_list_is_placed_where_the_list_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "--name", "roanne", "--data", str(tmp_path / "listed")]) == 0
    assert "Its place is that of Roanne (FR): 46.0" in capsys.readouterr().out
    given = ["--lat", "1", "--lon", "2"]
    assert run(["init", "--name", "Roanne", *given, "--data", str(tmp_path / "given")]) == 0
    assert "Its place" not in capsys.readouterr().out
    assert run(["init", "--name", "Xyzzy", "--data", str(tmp_path / "unlisted")]) == 0
    out = capsys.readouterr().out
    assert "Its place" not in out and "It has no place yet" in out and "hedgerow town -f where.lat" in out


def test_init_asks_on_a_terminal_where_an_unlisted_town_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = io.StringIO("n\nnorth\n95,4\n46.04, 4.07\n")
    typed.isatty = lambda: True  # type: ignore[method-assign]  # a terminal, with somebody at it
    monkeypatch.setattr("sys.stdin", typed)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert run(["init", "--name", "Xyzzy", "--data", str(tmp_path / "new")]) == 0
    out, err = capsys.readouterr()
    assert err.count("Two numbers with a comma between") == 2
    assert "It has no place yet" not in out


def test_what_a_town_says_of_itself_is_shown_and_changed_with_the_passphrase(
    node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, asked = node({"town": (200, {"name": "Roanne", "languages": "fr\ncy", "text": ""})})
    assert run(["town", "--data", str(data)]) == 0
    assert capsys.readouterr().out == "name: Roanne\nlanguages: fr; cy\n"
    monkeypatch.setenv("HEDGEROW_PASSPHRASE", "six words")
    assert run(["town", "-f", "name=Riorges", "--data", str(data)]) == 0
    assert asked == [("town", {}), ("town", {"form": {"name": "Riorges"}, "passphrase": "six words"})]


def test_without_a_node_the_status_is_3_and_the_line_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "--data", str(tmp_path)]) == 3
    assert capsys.readouterr().err == (
        f"hedgerow: no node is running on {tmp_path}. Start it with: hedgerow run --data {tmp_path}\n"
    )


def test_a_data_directory_that_is_not_there_is_made_by_init(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    assert run(["status", "--data", str(nowhere)]) == 3
    assert capsys.readouterr().err == (
        f"hedgerow: there is no data directory {nowhere}. Make it with: hedgerow init --data {nowhere}\n"
    )
    assert run(["status", "--data", ""]) == 2
    assert "--data is empty" in capsys.readouterr().err


def test_a_saved_key_without_its_passphrase_says_where_to_put_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEDGEROW_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(["init", "--key", str(tmp_path / "town.key"), "--data", str(tmp_path / "second")]) == 2
    assert "set HEDGEROW_PASSPHRASE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pots"], "there is no command 'pots'; did you mean post"),
        (["federation", "fond"], "there is no command 'fond'; did you mean found"),
        (["post", "offer", "--feld", "a=b"], "No such option '--feld'"),
        (["post", "offer", "-f", "title"], "--field title: write NAME=VALUE."),
        (["post", "offer", "-f", "a=b", "--until", "soon"], "--until soon: write YYYY-MM-DD."),
        (["edit", "K7PQ42XW9TB"], "nothing to change"),
        (["show"], "Missing argument 'ADDRESS'"),
        (["init", "--lat", "99"], "--lat: write a number from -90 to 90"),
        (["init", "--lat", "abc"], "--lat: write a number from -90 to 90"),
        (["key", "revoke", "ab", "--since", "yesterday"], "--since: write a day like 2026-11-20, or a time"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--data", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert "--help" in err


@pytest.mark.parametrize("arguments", [[], ["federation"]])
def test_without_a_command_the_help_is_printed_as_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("Usage: hedgerow")
    assert "\n  " in err
    assert not re.search(r"[a-z]\.\.\.", err), "no sentence is cut in the middle"


def test_a_fault_of_our_own_is_one_line_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr("node.cli.client.ask", broken)
    assert run(["status", "--data", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_every_command_takes_data_and_json() -> None:
    for name, found in app.commands.items():
        for each in getattr(found, "commands", {name: found}).values():
            options = {option for parameter in each.params for option in parameter.opts}
            assert {"--data", "--json"} <= options, each.name


def test_the_socket_of_a_long_path_lies_in_the_runtime_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    long = tmp_path / ("x" * 120)
    long.mkdir()
    assert places.preferred_socket(long) is None
    outside = places.fallback_socket(long)
    assert len(str(outside)) <= places.SOCKET_PATH_BYTES_MAX
    (long / "control").write_text(f"{outside}\n")
    assert places.find_socket(long) == outside


def test_the_fields_of_every_kind_that_people_post_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text("utf-8")
    for kind in filter(lambda kind: kind.shown, KINDS.values()):
        needed = {field.name for field in kind.fields if field.required}
        names = (f"**{name}**" if name in needed else name for name in kind.columns())
        assert f"| `{kind.name}` | {', '.join(names)} |" in text, kind.name


def test_the_example_of_a_place_is_one_that_is_taken() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text("utf-8")
    example = re.search(r"`((?:-f where\.\S+ ?)+)`", text)
    assert example
    pairs = (part.partition("=") for part in example[1].split() if part != "-f")
    assert KINDS["offer"].from_text({"title": "Bread"} | {name: value for name, _, value in pairs})["where"]


def test_ages_and_tables_are_plain_words() -> None:
    assert [said(ms, 90_000_000) for ms in (0, 89_996_000, 89_000_000, 80_000_000, 1)] == [
        "never",
        "4 s ago",
        "16 min ago",
        "2 h ago",
        "1 d ago",
    ]
    assert table([{"a": "x", "b": 1}, {"a": "xyz"}], ("a", "b")) == "x    1\nxyz"
