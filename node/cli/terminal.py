"""What all commands share: `--data` and `--json`, how they ask the node, and how they answer."""

import functools
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from node.cli import client
from node.places import data_directory

_OBEYED: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")


@dataclass(frozen=True, slots=True)
class Terminal:
    """One run of a command: the node that it speaks of, and the form in which it answers."""

    data: Path
    as_json: bool

    def ask(self, act: str, /, **arguments: Any) -> Any:
        """Have the running node do one act; arguments that are None are left out."""
        return client.ask(self.data, act, _given(arguments))

    def lines(self, act: str, /, **arguments: Any) -> Iterator[str]:
        """Have the running node do one act that answers lines."""
        return client.lines(self.data, act, _given(arguments))

    def answer(self, value: object, text: str) -> None:
        """Print the answer: as JSON if that was asked for, else the text for people."""
        click.echo(json.dumps(value, ensure_ascii=False) if self.as_json else plain(text))

    def progress(self, text: str) -> None:
        """Show how far long work is, on a terminal only, on one line that the next one covers."""
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{plain(text)}", err=True, nl=False)


def command(
    group: click.Group, name: str, *, own_json: bool = False
) -> Callable[[Callable[..., int | None]], click.Command]:
    """Declare a command of `group` that takes `--data` and `--json` and gets a `Terminal` first.

    Args:
        group: Where the command stands.
        name: What people type.
        own_json: True if the command declares what `--json` means itself; its `Terminal` then answers text
            unless the command makes another.
    """

    def declare(act: Callable[..., int | None]) -> click.Command:
        @functools.wraps(act)
        def called(data: str | None, **arguments: Any) -> int | None:
            if data == "":
                raise click.UsageError("--data is empty: name the node's data directory.")
            as_json = False if own_json else bool(arguments.pop("as_json"))
            return act(Terminal(data_directory(data), as_json), **arguments)

        decorated: Any = called
        if not own_json:
            decorated = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")(decorated)
        decorated = click.option("--data", metavar="DIR", help="The node's data directory (HEDGEROW_DATA).")(
            decorated
        )
        made: click.Command = group.command(name)(decorated)
        return made

    return declare


def plain(text: str) -> str:
    """Return text without what a terminal obeys or what turns the order of letters; lines stay lines.

    Names, titles and requests are words of others, who may have put anything there.
    """
    return _OBEYED.sub("\ufffd", text)


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


def said(when_ms: int | None, now_ms: int) -> str:
    """How long ago, in the words of people."""
    if not when_ms:
        return "never"
    age_s = max(0, (now_ms - when_ms) // 1000)
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if age_s >= size_s:
            return f"{age_s // size_s} {unit} ago"
    return f"{age_s} s ago"


def counted(count: int, word: str) -> str:
    """A number with its word: `1 town`, `3 towns`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def table(rows: Sequence[Mapping[str, object]], columns: tuple[str, ...]) -> str:
    """Rows as aligned text; no lines and no heading, so that it can be cut by programs."""
    cells = [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max((len(line[index]) for line in cells), default=0) for index in range(len(columns))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    )
