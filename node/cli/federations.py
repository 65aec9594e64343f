"""`federation ...`, `peer ...` and `sync`: whom a town shares with."""

import sys
import time
from typing import Any

import click

from node.cli.app import Commands, app
from node.cli.client import Refused
from node.cli.terminal import Terminal, command, counted, said, table


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
@click.argument("code")
def join(terminal: Terminal, code: str) -> None:
    """Join a federation with the code of an invitation."""
    joined = terminal.ask("join", code=code)
    terminal.answer(joined, joined["says"])


@command(federation, "list")
def list_(terminal: Terminal) -> None:
    """List the federations of this town."""
    found = terminal.ask("federations")
    rows = [{**row, "id": row["id"][:8], "members": counted(row["members"], "town")} for row in found]
    terminal.answer(found, table(rows, ("name", "members", "id")) or "this town is in no federation yet")


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
    click.echo(answers)
    if not click.confirm("Is that what its operator reads to you? Approve it"):
        says = "not approved; nothing was changed"
        raise Refused({"code": "not_approved", "title": says, "detail": says})


@command(peer, "list")
def peers(terminal: Terminal) -> None:
    """List the peers and how each stands."""
    found = terminal.ask("peer_list")
    terminal.answer(found, "\n".join(_peer_line(row) for row in found) or "no peers yet")


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
    terminal.answer(done, "\n".join(_peer_line(row) for row in done["peers"]) or "no peers yet")


def _peer_line(row: Any) -> str:
    name = row.get("name") or row["town"][:8]
    says = row.get("says")
    return says if says else f"{name}: {row.get('state', '?')}, heard {said(row.get('last_heard_ms'), 0)}"
