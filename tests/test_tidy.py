"""The floors and the house rules: imports run downwards, the lower floors are pure, files are small.

What is checked here would otherwise be kept by memory: that nothing below `node/` touches the world, that
each file says what it is for, and that the documents name every command, setting, kind and route.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("protocol", "sync", "node")
LINES_MAX = 500
LINES_OF_TESTS_MAX = 600
"""Tests of one file stay in one file, also where they are more than it."""

WORLD = {
    "aiohttp", "asyncio", "builtins", "concurrent", "fcntl", "glob", "http", "importlib", "io", "logging",
    "multiprocessing", "os", "pathlib", "queue", "secrets", "select", "selectors", "shutil", "signal",
    "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
"""Modules through which a file touches files, sockets, clocks, chance or its process."""
WORLD_CALLS = {"open", "print", "input", "breakpoint"}
CLOCKS = {"now", "today", "utcnow"}
"""How a datetime asks the clock; reading a date that stands in a text is arithmetic."""
MSGPACK_AT = {"protocol/encoding.py"}
SIGNING_AT = {"protocol/identity.py"}


def python_files(*folders: str) -> list[Path]:
    """Return the Python files of these folders, in order."""
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    """Return the name by which a failure is told."""
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole module"
            yield node.module or ""


PRODUCT = python_files(*FLOORS)
PURE = python_files("protocol", "sync")
ALL = PRODUCT + python_files("tests", "docs")


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_imports_run_downwards_only(path: Path) -> None:
    floor = relative(path).partition("/")[0]
    above = set(FLOORS[FLOORS.index(floor) + 1 :])
    found = {name.partition(".")[0] for name in imports(ast.parse(path.read_text("utf-8")))}
    assert not found & above
    assert "tests" not in found


@pytest.mark.parametrize("path", PURE, ids=relative)
def test_the_lower_floors_touch_no_file_socket_clock_or_chance(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    found = {name.partition(".")[0] for name in imports(tree)}
    # Chance is handed in; its type may be named, but nobody down there makes one.
    assert "random" not in found or re.search(r"^ *from random import Random$", text, re.MULTILINE)
    assert not (found - {"random"}) & WORLD
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in WORLD_CALLS | {"Random"}
        if "datetime" in found and isinstance(node, ast.Attribute):
            assert node.attr not in CLOCKS


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_msgpack_and_signing_each_have_one_door(path: Path) -> None:
    text = path.read_text("utf-8")
    found = set(imports(ast.parse(text)))
    if "msgspec.msgpack" in text or "msgpack" in {name.partition(".")[0] for name in found}:
        assert relative(path) in MSGPACK_AT
    if "crypto_sign" in text or "nacl.signing" in found:
        assert relative(path) in SIGNING_AT


@pytest.mark.parametrize("path", ALL, ids=relative)
def test_every_file_says_what_it_is_for_and_is_one_idea(path: Path) -> None:
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text)), (
        "the first line of a file is a docstring that says what it is for"
    )
    assert text.count("\n") <= (LINES_OF_TESTS_MAX if relative(path).startswith("tests/") else LINES_MAX)


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_every_public_name_is_told(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    holders: list[ast.Module | ast.ClassDef] = [tree]
    holders += [
        each for each in tree.body if isinstance(each, ast.ClassDef) and not each.name.startswith("_")
    ]
    untold = [
        node.name
        for holder in holders
        for node in holder.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not _is_told(node)
    ]
    assert not untold


def _is_told(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """An overload and a property's setter are told by the name that they belong to."""
    marks = {ast.unparse(mark) for mark in node.decorator_list}
    return (
        bool(ast.get_docstring(node))
        or "overload" in marks
        or any(mark.endswith(".setter") for mark in marks)
    )


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:work|home|root|Users)/\w")
    for path in ALL + sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")):
        assert not pattern.search(path.read_text("utf-8")), relative(path)


def documents() -> str:
    """Return the text of all documents together."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return "\n".join(file.read_text("utf-8") for file in files)


def test_every_command_is_documented() -> None:
    from click import Group

    from node.cli import begin, claims, federations, keys, people, stewards
    from node.cli import documents as documents_
    from node.cli.app import app

    assert begin and claims and documents_ and federations and keys and people and stewards
    text = (ROOT / "docs" / "operating.md").read_text("utf-8")
    for name, command in app.commands.items():
        names = [f"{name} {part}" for part in command.commands] if isinstance(command, Group) else [name]
        for each in names:
            assert f"hedgerow {each}" in text, each


def test_every_setting_is_documented_in_the_words_of_its_declaration() -> None:
    from node.config import declared

    text = " ".join((ROOT / "docs" / "operating.md").read_text("utf-8").split())
    for setting in declared():
        assert f"`{setting.section}.{setting.key}`" in text
        assert setting.description in text, setting.key


def test_every_kind_is_documented() -> None:
    from protocol.kinds import KINDS

    text = documents()
    for name in KINDS:
        assert f"`{name}`" in text, name


def test_every_route_of_the_api_is_documented() -> None:
    text = documents()
    for path in sorted({line.split('"')[1] for line in routes() if '"/api/' in line}):
        assert path.removeprefix("/api/v1/").replace("{address}", "ADDRESS") in text, path


def routes() -> list[str]:
    """Return the lines in which the page's routes are declared."""
    text = (ROOT / "node" / "web" / "app.py").read_text("utf-8")
    return re.findall(r'web\.\w+\("[^"]+"', text)


def test_the_readme_shows_the_two_commands_on_its_first_screen() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text("utf-8").splitlines()[:40])
    assert "./hedgerow demo" in first_screen
    assert "./hedgerow test" in first_screen
