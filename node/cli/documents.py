"""`post show list search edit withdraw import export`: what a town offers, needs, can do and knows."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from node.cli.app import app
from node.cli.terminal import Terminal, command, counted, plain, table

IMPORT_LINES = 200
"""Lines sent to the node at once: one writer's turn, well under the bound of a control request."""
IMPORT_CHARS = 4_194_304
"""Characters sent at once: escaped they are six times as many, and a control request may have 32 MiB."""
REFUSED_LINES_SHOWN = 20
REFUSED_LINES_KEPT = 1_000
"""Refused lines that an answer in JSON names; the others are counted."""
PAGE_DOCUMENTS = 500
"""Documents asked for at once; `list` goes on until there are no more."""

field_option = click.option(
    "--field",
    "-f",
    "fields",
    multiple=True,
    metavar="NAME=VALUE",
    help="One field, e.g. title='Ten loaves', quantity='2.5 kg', where.name=Mill.",
)
file_option = click.option(
    "--json",
    "json_values",
    is_flag=False,
    flag_value="",
    multiple=True,
    metavar="[FILE|-]",
    help="Alone: answer as JSON. With a file (- is standard input): the fields as a JSON object.",
)
filters = (
    click.option("--town", help="Of this town only: its name or the beginning of its id."),
    click.option("--federation", help="Of this federation only."),
    click.option("--near", metavar="LAT,LON,KM", help="Within so many kilometres of a place."),
    click.option("--limit", type=click.IntRange(min=1), help="At most so many; all otherwise."),
)


@command(app, "post", own_json=True)
@click.argument("kind", required=False)
@field_option
@file_option
@click.option("--audience", help="town, federations, or the name of one federation.")
@click.option("--by", help="The resident's handle that stands under it.")
@click.option("--until", help="Until when people see it: YYYY-MM-DD, or seconds since 1970.")
@click.option("--nonce", metavar="HEX", help="8 bytes; the same again gives back the first post's address.")
@click.option("--parent", metavar="CLAIM", help="The accepted claim of a share that this gives away.")
def post(
    terminal: Terminal,
    kind: str | None,
    fields: tuple[str, ...],
    json_values: tuple[str, ...],
    audience: str | None,
    by: str | None,
    until: str | None,
    nonce: str | None,
    parent: str | None,
) -> None:
    """Post a document and print its address.

    It is on the disk when the address is printed: hedgerow post offer -f title=Bread
    """
    terminal, given = _body(terminal, fields, json_values)
    kind = kind or given.pop("kind", None)
    if kind is None:
        from protocol.kinds import KINDS

        *others, last = (each.name for each in KINDS.values() if each.shown)
        raise click.UsageError(f"KIND is missing: {', '.join(others)} or {last}.")
    posted = terminal.ask(
        "post",
        kind=kind,
        audience=audience,
        by=by,
        until=_seconds(until),
        nonce=nonce,
        parent=parent,
        **_split(given),
    )
    terminal.answer({"address": posted["address"], "id": posted["id"]}, _shown(posted["address"]))


@command(app, "show")
@click.argument("address")
def show(terminal: Terminal, address: str) -> None:
    """Show one document with all its fields and versions."""
    document = terminal.ask("show", address=address, form=None if terminal.as_json else True)
    if "claim" in document:
        terminal.answer(document["claim"], claim_page(document["claim"]))
        return
    terminal.answer(document, _page(document))


@command(app, "list")
@click.argument("kind", required=False)
def list_(terminal: Terminal, kind: str | None, **chosen: Any) -> None:
    """List documents, newest first: of one kind, or of all."""
    _print_all(terminal, chosen, kind=kind)


@command(app, "search")
@click.argument("text", nargs=-1, required=True)
@click.option("--kind", help="Of this kind only.")
def search(terminal: Terminal, text: tuple[str, ...], kind: str | None, **chosen: Any) -> None:
    """Find documents by their words, newest first.

    Accents and capitals do not matter, nor do most endings of words.
    """
    _print_all(terminal, chosen, kind=kind, q=" ".join(text))


@command(app, "edit", own_json=True)
@click.argument("address")
@field_option
@file_option
@click.option("--by", help="The resident's handle that stands under it.")
@click.option("--based-on", metavar="ID", help="The version that was seen; refused if there is a newer one.")
def edit(
    terminal: Terminal,
    address: str,
    fields: tuple[str, ...],
    json_values: tuple[str, ...],
    by: str | None,
    based_on: str | None,
) -> None:
    """Change fields of an own document; an empty value takes one away."""
    terminal, given = _body(terminal, fields, json_values)
    given.pop("kind", None)
    if not any(_split(given).values()):
        raise click.UsageError("nothing to change: give --field NAME=VALUE or --json FILE.")
    posted = terminal.ask("edit", address=address, by=by, based_on=based_on, **_split(given))
    terminal.answer({"address": posted["address"], "id": posted["id"]}, _shown(posted["address"]))


@command(app, "withdraw")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask once more if promises stand.")
def withdraw(terminal: Terminal, address: str, yes: bool) -> None:
    """Withdraw an own document, everywhere and for good.

    What is promised of it is given free, and those to whom it was are told.
    """
    if not yes and sys.stdin.isatty():
        standing = terminal.ask("withdraw", address=address, look=True)["standing"]
        if standing:
            says = f"{counted(standing, 'promise')} of it {'stands' if standing == 1 else 'stand'}."
            click.confirm(f"{says} Withdraw it all the same?", abort=True, err=True)
    posted = terminal.ask("withdraw", address=address)
    standing = posted.get("standing", 0)
    freed = f", with {counted(standing, 'promise')}, given free" if standing else ""
    told = {name: value for name, value in posted.items() if name in ("address", "id", "standing")}
    terminal.answer(told, f"withdrawn: {_shown(posted['address'])}{freed}")


@command(app, "import")
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False))
@click.option("--kind", help="What a CSV file's rows are, where it has no column `kind`.")
@click.option("--by", help="The resident's handle that stands under what is posted.")
def import_(terminal: Terminal, file: str, kind: str | None, by: str | None) -> int:
    """Take in a file of JSON Lines or CSV.

    Exported records are taken in as they are, documents as posts of this town.
    """
    totals = dict.fromkeys(("held", "already", "posted", "waiting", "dropped", "refused"), 0)
    refused: list[dict[str, Any]] = []
    before = 0
    for batch in _batches(_lines(file, kind)):
        answer = terminal.ask("import", lines=[line for _, line in batch], by=by)
        for name in totals:
            totals[name] += answer.get(name, 0)
        named = [{**line, "line": batch[line["line"] - 1][0]} for line in answer["lines"]]
        refused += named[: REFUSED_LINES_KEPT - len(refused)]
        before += len(batch)
        terminal.progress(f"{before} lines")
    terminal.progress("")
    for line in refused[:REFUSED_LINES_SHOWN]:
        click.echo(plain(f"hedgerow: line {line['line']}: {line['says']} ({line['code']})"), err=True)
    terminal.answer({**totals, "lines": refused}, _import_text(totals))
    if not refused:
        return 0
    if not terminal.as_json:  # else the one answer has said it
        click.echo(f"hedgerow: {totals['refused']} of {before} lines were refused", err=True)
    return 1


@command(app, "export")
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def export(terminal: Terminal, file: Path, force: bool) -> None:
    """Write every record held, one a line.

    Each line has the exact bytes in base64 beside what they say.
    """
    if str(file) != "-" and file.exists() and not (force and file.is_file()):
        more = ", or add --force to write over it" if file.is_file() else ""
        raise click.ClickException(f"{file} is there already: give another name{more}.")
    lines = terminal.lines("export")
    if str(file) == "-":
        for line in lines:
            click.echo(line, nl=False)
        return
    beside = file.with_name(f"{file.name}.part")
    count = 0
    try:
        with beside.open("w", encoding="utf-8") as out:
            for count, line in enumerate(lines, 1):
                out.write(line)
                if count % PAGE_DOCUMENTS == 0:
                    terminal.progress(f"{count} records")
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    terminal.progress("")
    terminal.answer({"records": count, "file": str(file)}, f"{counted(count, 'record')} in {file}")


for _filter in filters:
    _filter(list_)
    _filter(search)


def _body(
    terminal: Terminal, fields: tuple[str, ...], json_values: tuple[str, ...]
) -> tuple[Terminal, dict[str, Any]]:
    """The two meanings of `--json` told apart, and the fields from both sources.

    Alone it asks for an answer in JSON; with a file it gives the fields. What was typed as NAME=VALUE is kept
    under "form", because the node reads it as a form.
    """
    sources = [value for value in json_values if value]
    if len(sources) > 1:
        raise click.UsageError("only one --json FILE can be given.")
    given: dict[str, Any] = {}
    if sources:
        given = _object(sources[0])
    if form := typed(fields):
        given["form"] = form
    return Terminal(terminal.data, "" in json_values), given


def typed(fields: tuple[str, ...]) -> dict[str, str]:
    """The fields that were typed as NAME=VALUE.

    Raises:
        UsageError: One was not.
    """
    form = {}
    for pair in fields:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--field {pair}: write NAME=VALUE.")
        form[name.strip()] = value
    return form


def _object(source: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
        value = json.loads(text)
    except OSError as error:
        raise click.ClickException(f"{_called(source)}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"{_called(source)} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.ClickException(f"{_called(source)}: a JSON object of fields is needed.")
    return value


def _split(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields from a file (bare, or under `fields` as the API takes them) and typed ones, apart."""
    form = given.get("form")
    rest = {name: value for name, value in given.items() if name != "form"}
    return {"fields": rest.get("fields", rest) or None, "form": form or None}


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    from datetime import UTC, date, datetime, time

    try:
        return int(datetime.combine(date.fromisoformat(text), time(23, 59, 59), UTC).timestamp())
    except ValueError:
        raise click.UsageError(f"--until {text}: write YYYY-MM-DD.") from None


def _print_all(terminal: Terminal, chosen: Mapping[str, Any], **query: Any) -> None:
    found: list[Any] = []
    cursor: str | None = None
    limit: int | None = chosen.get("limit")
    while True:
        size = PAGE_DOCUMENTS if limit is None else min(PAGE_DOCUMENTS, limit - len(found))
        page = terminal.ask("list", cursor=cursor, **{**chosen, **query, "limit": size})
        found += page["documents"]
        cursor = page.get("cursor")
        if not cursor or (limit is not None and len(found) >= limit):
            break
    rows = [
        {
            "address": _shown(document["address"]),
            "kind": document["kind"],
            "town": document.get("town_name") or document["town"][:8],
            "title": document["fields"].get("title") or document["fields"].get("name") or "",
        }
        for document in found
    ]
    terminal.answer(found, table(rows, ("address", "kind", "town", "title")) if rows else "nothing found")


def claim_page(view: Mapping[str, Any]) -> str:
    """A claim with all that is known of it, for people."""
    title = view["target"].get("title") or "what is not here any more"
    who = ", ".join(filter(None, [view.get("by"), view["town_name"]]))
    facts = {
        "asked": claim_wish(view),
        "by": f"{who} (for somebody)" if view.get("on_behalf_of") else who,
        "urgency": view.get("urgency") if view.get("urgency") != "normal" else "",
        "reason": " ".join(str(view.get("reason", "")).split()),
        "contact": view.get("contact"),
        "code": view.get("code_to_show"),
        "received": view.get("received"),
    }
    lines = [f"{_shown(view['address'])}  {title}", str(view["says"])]
    return "\n".join(lines + [f"{name}: {text}" for name, text in facts.items() if text])


def claim_wish(view: Mapping[str, Any]) -> str:
    """What a claim asks for: an amount, or days."""
    if view.get("end"):
        # Forms ask for whole days of UTC; the end is not part of them.
        days = [datetime.fromtimestamp(at, UTC).date() for at in (view["start"], view["end"] - 1)]
        return f"{days[0]} to {days[1]}" if days[0] != days[1] else str(days[0])
    amount = view.get("asked") or {}
    unit = f" {amount['unit']}" if amount and amount["unit"] != "each" else ""
    return f"{amount.get('amount', '')}{unit}" + (", a share" if view.get("share") else "")


def _shown(address: str) -> str:
    """An address in its three groups, as people say it."""
    return f"{address[:4]}-{address[4:8]}-{address[8:]}"


def _page(document: Mapping[str, Any]) -> str:
    town = document.get("town_name") or document["town"]
    lines = [f"{_shown(document['address'])}  {document['kind']} of {town}"]
    for name, value in document.get("form", document["fields"]).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        first, *more = text.splitlines() or [""]
        lines += [f"{name}:", *(f"  {line}" for line in (first, *more))] if more else [f"{name}: {first}"]
    versions = document.get("versions") or []
    if len(versions) > 1:
        lines.append(f"versions: {len(versions)}")
    heads = [version["id"] for version in versions if version.get("head")]
    if len(heads) > 1:
        count = {2: "two", 3: "three"}.get(len(heads), str(len(heads)))
        lines += [f"{count} revisions stand side by side; edit one of them with --based-on:"]
        lines += [f"  {head}" for head in heads]
    return "\n".join(lines)


def _lines(file: str, kind: str | None) -> Iterator[tuple[int, str]]:
    """The lines of a JSON Lines file, or the rows of a CSV file as such lines, each with the number of the
    line at which it begins. A line that is longer than any record is cut, and refused by the node.
    """
    try:
        with sys.stdin if file == "-" else Path(file).open(encoding="utf-8-sig", newline="") as source:
            if file.lower().endswith(".csv"):
                yield from _rows(_bounded(source), kind, _called(file))
            else:
                yield from _bounded(source)
    except OSError as error:
        raise click.ClickException(f"{_called(file)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.ClickException(f"{_called(file)} is not UTF-8 text.") from None


def _called(file: str) -> str:
    return "standard input" if file == "-" else file


def _bounded(source: Any) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, each at most one character longer than a line may be."""
    from node.exchange import LINE_CHARS_MAX

    number = 0
    while line := source.readline(LINE_CHARS_MAX + 1):
        number += 1
        rest = line
        while rest and not rest.endswith("\n"):
            rest = source.readline(LINE_CHARS_MAX)
        yield number, line


def _rows(lines: Iterator[tuple[int, str]], kind: str | None, called: str) -> Iterator[tuple[int, str]]:
    """The rows of a CSV file.

    Raises:
        ClickException: It is no CSV, or a row is longer than any record.
    """
    import csv

    from node.exchange import LINE_CHARS_MAX

    csv.field_size_limit(LINE_CHARS_MAX)
    chars = 0

    def counted_lines() -> Iterator[str]:
        nonlocal chars
        for number, line in lines:
            chars += len(line)
            if chars > LINE_CHARS_MAX:
                says = (
                    f"line {number} ends a row of more than {LINE_CHARS_MAX:,} characters; no post is so long"
                )
                raise click.ClickException(f"{called}: {says}.")
            yield line

    rows = csv.DictReader(counted_lines())
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise click.ClickException(f"{called}: line {rows.line_num + 1}: {error}.") from None
        if row is None:
            return
        chars = 0
        # A quoted value may run over several lines.
        begins = rows.line_num - sum(str(value).count("\n") for value in row.values())
        form = {name: value for name, value in row.items() if name and name != "kind" and value}
        of_kind = row.get("kind") or kind
        if not of_kind:
            raise click.UsageError("the CSV file has no column `kind`: give --kind.")
        yield begins, json.dumps({"kind": of_kind, "form": form}, ensure_ascii=False)


def _batches(lines: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    batch: list[tuple[int, str]] = []
    chars = 0
    for line in lines:
        batch.append(line)
        chars += len(line[1])
        if len(batch) == IMPORT_LINES or chars >= IMPORT_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _import_text(totals: Mapping[str, Any]) -> str:
    said = [
        f"{totals[name]} {word}"
        for name, word in (
            ("posted", "posted"),
            ("held", "taken in"),
            ("waiting", "waiting"),
            ("dropped", "replaced, ended or not for this town"),
        )
        if totals[name]
    ]
    known = totals["already"]
    here = f"{known} {'was' if known == 1 else 'were'} here already" if known else ""
    if said:
        return ", ".join([*said, here] if here else said)
    return f"nothing new: {here}" if here else "nothing new"
