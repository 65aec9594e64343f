"""`key`, `backup`, `restore`: the town's keys in the operator's hands, and one file that holds a node."""

import os
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from node.cli.app import Commands, app
from node.cli.client import NodeNotRunning
from node.cli.secrets import passphrase_of_town, words_of_key
from node.cli.sheet import NEXT_KEY, TOWN_KEY, in_rows, which, write_sheet
from node.cli.terminal import Terminal, command, counted
from node.places import run_command

KEYS = "keys"
VOTES_SHOWN = 8
WHEN = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")


@app.group(cls=Commands)
def key() -> None:
    """The town's keys: show them, put them on paper, take a device back."""


def _keeping(act: Any) -> Any:
    """Declare what stays of a key that is taken back: one of three must be said."""
    act = click.option("--none", "none_", is_flag=True, help="Keep nothing of it.")(act)
    act = click.option("--all", "all_", is_flag=True, help="Keep all that this node holds of it.")(act)
    since = click.DateTime(WHEN)
    return click.option("--since", type=since, help="Keep what was here before that time (local).")(act)


@command(key, "show")
def show(terminal: Terminal) -> None:
    """Show the town's fingerprint, its keys and its devices."""
    shown = terminal.ask("key_show")
    lines = [f"Fingerprint: {shown['fingerprint']}", f"Town keys so far: {len(shown['town_keys'])}"]
    for each in shown["devices"]:
        mark = ", this one" if each["this"] else ""
        name = f" {each['name']}" if each["name"] else ""
        lines.append(
            f"{each['device'][:16]}{name}: {each['state']}{mark}, {counted(each['records'], 'record')}"
        )
    lines += [shown["says"]] if shown["says"] else []
    terminal.answer(shown, "\n".join(lines))


@command(key, "words")
def words(terminal: Terminal) -> None:
    """Tell the town key in 25 words, for paper, in numbered rows. Asks for its passphrase."""
    told = _told(terminal)
    terminal.answer({"words": told}, f"{which(told).capitalize()}\n{in_rows(told)}")


@command(key, "sheet")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="A new HTML file, one page of A4."
)
def sheet(terminal: Terminal, out: Path) -> None:
    """Write the town key as a page to print: its words and a QR code."""
    from node.keys import open_keys
    from protocol.identity import fingerprint

    told = _told(terminal)
    town = open_keys(terminal.data / KEYS).town
    write_sheet(out, TOWN_KEY, _name_of(terminal), fingerprint(town), told)
    terminal.answer({"file": str(out)}, f"Print {out}, then delete it.")


@command(key, "next")
@click.option("--out", type=click.Path(path_type=Path), help="Write them as a page to print once more.")
def next_(terminal: Terminal, out: Path | None) -> None:
    """Look whether the words on your paper are those of this town's next key."""
    from node.errors import HedgerowError
    from node.keys import open_keys
    from protocol.identity import fingerprint
    from protocol.limits import SUCCESSORS_MAX
    from protocol.paper import heard, told

    paper = heard(words_of_key())
    town = open_keys(terminal.data / KEYS).town
    if paper.town != town or paper.generation != SUCCESSORS_MAX:
        says = "these are good words, but not those of this town's next key: look for the right paper"
        raise HedgerowError(says, code="wrong_words")
    if out is not None:
        write_sheet(out, NEXT_KEY, _name_of(terminal), fingerprint(town), told(paper))
    written = "" if out is None else f" Print {out}, then delete it."
    terminal.answer(
        {"town": town.hex(), "file": None if out is None else str(out)},
        f"These are the words of this town's next key.{written}",
    )


@command(key, "rotate")
@_keeping
@click.option(
    "--void", multiple=True, metavar="STEP", help="Keep no vote of this town for that step: a thief's."
)
@click.option("--yes", is_flag=True, help="Do not ask once more.")
def rotate(
    terminal: Terminal, since: datetime | None, all_: bool, none_: bool, void: tuple[str, ...], yes: bool
) -> None:
    """Let the next town key take over from one that was stolen. Asks for the words on your paper.

    What this town decided as a steward stays in any case, but for what you void.
    """
    keep = _kept(since, all_, none_) | {"void": list(void) or None}
    says = _votes(terminal.ask("key_rotate", **keep))
    if says and not yes and sys.stdin.isatty():
        click.confirm("\n".join([*says, "Let the next town key take over?"]), abort=True, err=True)
    made = terminal.ask("key_rotate", words=words_of_key(), **keep)
    lines = [
        f"The next town key has taken over; of the former one {counted(made['kept'], 'record')} stay valid.",
        *says,
        *_fallen(made["falls"], done=True),
        f"Its passphrase, shown only now: {made['passphrase']}",
        "Write it on paper.",
    ]
    terminal.answer(made, "\n".join(lines))


@command(key, "revoke")
@click.argument("device")
@_keeping
@click.option(
    "--again",
    multiple=True,
    metavar="TOWN",
    help="Let this board admit that town, or suspend it, in its place.",
)
@click.option("--same-sealing-key", "keeps", is_flag=True, help="If nobody else has that board's files.")
@click.option("--words", "by_words", is_flag=True, help="Give the town key by its words.")
@click.option("--yes", is_flag=True, help="Do not ask once more.")
def revoke(
    terminal: Terminal,
    device: str,
    since: datetime | None,
    all_: bool,
    none_: bool,
    again: tuple[str, ...],
    keeps: bool,
    by_words: bool,
    yes: bool,
) -> None:
    """Take a device back for good, and say what stays of it. The town takes a new sealing key with it.

    Fetch first (hedgerow sync), then revoke: what is not kept is refused everywhere.
    """
    keep = _kept(since, all_, none_) | {"again": list(again) or None, "reseals": not keeps}
    proposed = terminal.ask("key_revoke", device=device, **keep)
    says = f"Of {counted(proposed['records'], 'record')} of that device {proposed['kept']} stay valid."
    if not yes and sys.stdin.isatty():
        warned = "\n".join([says, *_fallen(proposed["falls"], done=False)])
        click.confirm(f"{warned}\nTake it back for good?", abort=True, err=True)
    secret = words_of_key() if by_words else passphrase_of_town()
    done = terminal.ask("key_revoke", device=proposed["device"], secret=secret, **keep)
    lines = [f"The device {done['device'][:16]} is taken back. {says}", *_fallen(done["falls"], done=True)]
    if done["again"]:
        lines.append(f"This board has done again: {_acts(done['again'])}.")
    if kept := done.get("keeps", []):
        lines.append("It still keeps these posts; nobody answers requests for them until you name a board:")
        lines += [f"  hedgerow keeper {address} DEVICE --town-key" for address in kept]
    terminal.answer(done, "\n".join([*lines, *_resealed(done)]))


@command(key, "sealing")
@click.option("--new", is_flag=True, help="Take a new one: after a device of this town was stolen.")
def sealing(terminal: Terminal, new: bool) -> None:
    """Tell the key to which others seal what only this town may read.

    Puts back a file that was lost, with all keys that there were. Asks for the passphrase of the town key.
    """
    told = terminal.ask("sealing_key", passphrase=passphrase_of_town(), new=new)
    terminal.answer(told, "this town's newest sealing key is kept here and told in its profile")


@command(key, "adopt")
def adopt(terminal: Terminal) -> None:
    """Take in the town key of today, after it took over on another board. Asks for its 25 words.

    On the other board `hedgerow key words` tells them.
    """
    made = terminal.ask("key_adopt", words=words_of_key())
    terminal.answer(
        made,
        "This board has the town's keys of today.\n"
        f"The passphrase of the town key here, shown only now: {made['passphrase']}\nWrite it on paper.",
    )


@command(key, "clone")
@click.option("--this-one-lives", "lives", is_flag=True, help="On the board that keeps its key.")
@click.option("--renew", is_flag=True, help="On the other one, stopped: make it a new device key.")
def clone(terminal: Terminal, lives: bool, renew: bool) -> None:
    """Settle which of two boards with one key keeps it."""
    if lives == renew:
        raise click.UsageError("say --this-one-lives on one board, and --renew on the other.")
    if lives:
        settled = terminal.ask("key_clone")
        terminal.answer(
            settled,
            "This board keeps its key. Stop the other one, then run there: hedgerow key clone --renew",
        )
        return
    import asyncio

    from node.beginnings import renew_device

    made = asyncio.run(renew_device(terminal.data, passphrase_of_town()))
    terminal.answer(
        {"device": made.hex()},
        f"This board has a new device key; what it wrote stays. Start it: {run_command(terminal.data)}",
    )


@command(app, "backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--with-keys", is_flag=True, help="Put the identity in: whoever has the file is this board.")
def backup(terminal: Terminal, file: Path, with_keys: bool) -> None:
    """Write this node into one file, running or not."""
    target = Path(os.path.abspath(file))  # noqa: PTH100 (the node has another directory; links stay)
    try:
        made = terminal.ask("backup", file=str(target), with_keys=with_keys)
    except NodeNotRunning:
        made = _backup_of_a_stopped_node(terminal.data, target, with_keys)
    holds = "with its keys: keep it as you keep them" if made["keys"] else "without its keys"
    terminal.answer({**made, "file": str(target)}, f"{target}: {made['bytes'] / 1e6:.1f} MB, {holds}.")


@command(app, "restore")
@click.argument("file", type=click.Path(path_type=Path))
def restore(terminal: Terminal, file: Path) -> None:
    """Put a backup into an empty data directory."""
    from node.backup import restore_backup

    made = restore_backup(file, terminal.data)
    then = (
        f"Start the node with: {run_command(terminal.data)}"
        if made.has_keys
        else "It holds no keys: give it the town's with hedgerow init --key FILE, or --words."
    )
    terminal.answer(
        {"data": str(terminal.data), "town": made.town, "keys": made.has_keys, "made_ms": made.made_ms},
        f"Restored into {terminal.data}. {then}",
    )


def _backup_of_a_stopped_node(data: Path, target: Path, with_keys: bool) -> Mapping[str, Any]:
    from node.backup import write_backup
    from node.clock import wall_ms
    from node.keys import open_keys
    from node.store.database import lock_directory

    town = open_keys(data / KEYS).town
    lock = lock_directory(data)
    try:
        made = write_backup(data, target, town=town.hex(), made_ms=wall_ms(), with_keys=with_keys)
    finally:
        lock.close()
    return {"bytes": made.bytes, "keys": made.has_keys, "made_ms": made.made_ms}


def _resealed(done: Mapping[str, Any]) -> list[str]:
    """Return what to do next about the sealing key that was on a board taken back."""
    if not done["reseals"]:
        return []
    if done["not_resealed"]:
        return [
            f"No new sealing key was taken: {done['not_resealed']}. Until there is one that board can read"
            " what is sealed to this town."
        ]
    return ["This town has a new sealing key: run hedgerow key sealing on each of its other boards."]


def _fallen(falls: list[dict[str, str]], *, done: bool) -> list[str]:
    """Return a line that warns of what falls in federations with a key, if anything does."""
    if not falls:
        return []
    if done:
        do = "do it again with hedgerow federation invite, propose --add or suspend"
    else:
        do = "to have this board do it again: " + " ".join(f"--again {name}" for name in _towns(falls))
    return [f"What that key did in federations falls with it: {_acts(falls)}; {do}."]


def _votes(told: Mapping[str, Any]) -> list[str]:
    """Return a line that says on which decisions a vote of this town stays, and one on which it does not."""
    stays, ends = ([_step(each) for each in told[name]] for name in ("votes", "void"))
    lines = []
    if stays:
        more = f" and {len(stays) - VOTES_SHOWN} older ones" if len(stays) > VOTES_SHOWN else ""
        named = ", ".join(stays[:VOTES_SHOWN])
        lines.append(f"This town's votes stay for {named}{more}; what a thief signed ends with --void STEP.")
    if ends:
        falls = [_step(each) for each in told["void"] if each["falls"]]
        then = f"; with them, and all that rests on them, fall {', '.join(falls)}" if falls else ""
        lines.append(f"This town's votes end for {', '.join(ends)}{then}.")
    return lines


def _step(vote: Mapping[str, Any]) -> str:
    day = datetime.fromtimestamp(vote["born_ms"] / 1_000).astimezone()
    return f"step {vote['step'][:8]} of {vote['federation']} ({day:%Y-%m-%d})"


def _acts(acts: list[dict[str, str]]) -> str:
    said = [f"{each['what']} of {each['name'] or each['town'][:8]} ({each['federation']})" for each in acts]
    return ", ".join(said)


def _towns(acts: list[dict[str, str]]) -> list[str]:
    return sorted({shlex.quote(each["name"] or each["town"][:8]) for each in acts})


def _name_of(terminal: Terminal) -> str:
    """What the town is called; empty if its profile is not here."""
    import asyncio

    from node.beginnings import name_in

    try:
        return str(terminal.ask("status")["town"]["name"])
    except NodeNotRunning:
        return asyncio.run(name_in(terminal.data))


def _told(terminal: Terminal) -> str:
    from node.keys import open_town_key
    from protocol.paper import told

    return told(open_town_key(terminal.data / KEYS, passphrase_of_town()))


def _kept(since: datetime | None, all_: bool, none_: bool) -> dict[str, Any]:
    if [since is not None, all_, none_].count(True) != 1:
        raise click.UsageError("say what stays valid: --since WHEN, --all or --none.")
    if since is not None:
        return {"keep": "since", "since_ms": int(since.timestamp() * 1_000)}
    return {"keep": "all" if all_ else "none"}
