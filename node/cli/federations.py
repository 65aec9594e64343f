"""`federation ...`, `peer ...` and `sync`: whom a town shares with."""

import sys
import time
from typing import Any

import click

from node.cli.app import Commands, app
from node.cli.client import Refused
from node.cli.terminal import Terminal, command, counted, plain, said, table


@app.group(cls=Commands)
def federation() -> None:
    """The towns that share records under one charter."""


@app.group(cls=Commands)
def peer() -> None:
    """The neighbour towns that this node talks to."""


@command(federation, "invite")
@click.option(
    "--federation", help="Which one, where this town is in several: its name or the beginning of its id."
)
@click.option("--url", metavar="URL", help="Where the other town reaches this node; else the public URL.")
def invite(terminal: Terminal, federation: str | None, url: str | None) -> None:
    """Make an invitation for one town, good once; send it to that town's operator."""
    made = terminal.ask("invite", federation=federation, url=url)
    until = time.strftime("%Y-%m-%d", time.gmtime(made["expires"]))
    terminal.answer(made, made["code"])
    if not terminal.as_json and sys.stdout.isatty():
        click.echo(f"good once, until {until}; there they type: hedgerow federation join CODE", err=True)


@command(federation, "join")
@click.argument("code", required=False)
@click.option("--cancel", is_flag=True, help="Give up what waits: this CODE, or without one all of them.")
def join(terminal: Terminal, code: str | None, cancel: bool) -> None:
    """Join a federation with the code of an invitation."""
    if cancel:
        done = terminal.ask("join_cancel", code=code)
        terminal.answer(done, f"given up: {counted(done['cancelled'], 'invitation')}")
        return
    if code is None:
        raise click.UsageError("give the CODE that the other town's operator sent")
    joined = terminal.ask("join", code=code)
    terminal.answer(joined, joined["says"])


@command(federation, "list")
def list_(terminal: Terminal) -> None:
    """List the federations of this town."""
    found = terminal.ask("federations")
    rows = [{**row, "id": row["id"][:8], "members": counted(row["members"], "town")} for row in found]
    shown = table(rows, ("name", "members", "id")) or "this town is in no federation yet"
    terminal.answer(found, "\n".join([shown, *_joining(terminal)]))


@command(peer, "add")
@click.argument("url")
@click.option("--yes", is_flag=True, help="Approve without asking.")
def add(terminal: Terminal, url: str, yes: bool) -> None:
    """Call a node, show the fingerprint of who answers, and approve it as a peer.

    Without a terminal to ask on, nothing is approved but with --yes.
    """
    if not yes:
        _confirm(terminal, terminal.ask("peer_add", url=url, approve=False))
    added = terminal.ask("peer_add", url=url, approve=True)
    name = added.get("name") or added["town"][:8]
    terminal.answer(added, f"approved {name}, fingerprint {added['fingerprint']}")


def _confirm(terminal: Terminal, seen: Any) -> None:
    """Have a person compare the fingerprint.

    Raises:
        Refused: Nobody can be asked, or says no.
    """
    answers = f"{seen.get('name') or 'A town'} answers there. Its fingerprint: {seen['fingerprint']}"
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or terminal.as_json:
        says = f"{answers}. Add --yes to approve it"
        raise Refused({**seen, "code": "not_approved", "title": says, "detail": says})
    click.echo(plain(answers))
    if not click.confirm("Is that what its operator reads to you? Approve it"):
        says = "not approved; nothing was changed"
        raise Refused({"code": "not_approved", "title": says, "detail": says})


@command(peer, "list")
def peers(terminal: Terminal) -> None:
    """List the peers and how each stands."""
    found = terminal.ask("peer_list")
    shown = "\n".join(peer_line(row) for row in found) or "no peers yet"
    terminal.answer(found, "\n".join([shown, *_joining(terminal)]))


@command(peer, "remove")
@click.argument("town")
def remove(terminal: Terminal, town: str) -> None:
    """Talk to a peer no longer; TOWN is its name or the beginning of its id."""
    removed = terminal.ask("peer_remove", town=town)
    terminal.answer(removed, f"removed {removed.get('name') or removed['town'][:8]}")


@command(app, "sync")
@click.argument("peer", required=False)
def sync(terminal: Terminal, peer: str | None) -> None:
    """Call the peers now and compare with them.

    PEER is a name or the beginning of an id.
    """
    done = terminal.ask("sync", peer=peer)
    terminal.answer(done, "\n".join(peer_line(row) for row in done["peers"]) or "no peers yet")


def peer_line(row: Any) -> str:
    """A neighbour, or an invitation, in one sentence, and where it was called in vain."""
    name = row.get("name") or row.get("town", "")[:8]
    says = row.get("says") or f"{name}: {row.get('state', '?')}, heard {said(row.get('last_heard_ms'), 0)}"
    return f"{says} ({row['failing_url']})" if row.get("failing_url") else says


def join_lines(state: Any) -> list[str]:
    """The invitations of a status that came to nothing yet, and how to give them up."""
    waiting = [f"joining: {peer_line(row)}" for row in state.get("joins", [])]
    return [*waiting, "  hedgerow federation join --cancel gives it up"] if waiting else []


def _joining(terminal: Terminal) -> list[str]:
    return [] if terminal.as_json else join_lines(terminal.ask("status"))
