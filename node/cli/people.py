"""`status`, `token`, `resident add`: how the node is, and who may write at its page."""

import secrets
from collections.abc import Mapping
from typing import Any

import click

from node.cli.app import Commands, app
from node.cli.federations import join_lines, peer_line
from node.cli.terminal import Terminal, command, counted

PIN_DIGITS = 6


@command(app, "status")
@click.option("--seen", is_flag=True, help="Put away what it said you should look at.")
def status(terminal: Terminal, seen: bool) -> None:
    """Say how the node is and what it knows of each neighbour."""
    state = terminal.ask("status", seen=seen or None)
    terminal.answer(state, _sentences(state))


@command(app, "token")
@click.option("--page", is_flag=True, help="A sign-in link for the page instead: good once, for 5 minutes.")
@click.option("--name", default="operator", show_default=True, help="Whose writing the token does.")
@click.option("--revoke", is_flag=True, help="Take the tokens of that name back.")
def token(terminal: Terminal, page: bool, name: str, revoke: bool) -> None:
    """Print a token for the API, or a sign-in link."""
    made = terminal.ask("token", page=page, name=name, revoke=revoke)
    others = made.get("network_urls", [])
    lines = ["or, on another machine of this network:", *others] if others else []
    first = made.get("url") or made.get("token") or f"revoked: {made.get('revoked', 0)}"
    terminal.answer(made, "\n".join([first, *lines]))


@app.group(cls=Commands)
def resident() -> None:
    """The people who may post on this node's page."""


@command(resident, "add")
@click.argument("name")
@click.option("--pin", help="Six characters or more; made by chance otherwise.")
@click.option(
    "--new-pin", is_flag=True, help="Give an account that is there a new PIN, and end its sessions."
)
def add(terminal: Terminal, name: str, pin: str | None, new_pin: bool) -> None:
    """Make an account for the page; prints its PIN once."""
    chosen = pin or "".join(secrets.choice("0123456789") for _ in range(PIN_DIGITS))
    added = terminal.ask("resident_add", name=name, pin=chosen, new_pin=new_pin or None)
    if new_pin:
        says = f"{added['name']} has a new PIN: {chosen}; the old one no longer works"
    else:
        says = f"{added['name']} signs in with the PIN {chosen}"
    terminal.answer({**added, "pin": chosen}, says)


def _sentences(state: Mapping[str, Any]) -> str:
    clock = state["clock"]
    name = state["town"]["name"] or "This town, whose profile has not come back yet"
    lines = [
        f"{name}, Hedgerow {state['version']}" + ("" if clock["sure"] else ", whose clock is not sure"),
        f"Its id, for those who vouch for it or name it: {state['town'].get('id', '')}",
        f"{counted(state['documents'], 'document')} in {counted(state['records'], 'record')}, "
        f"{state['disk_bytes'] / 1e6:.1f} MB",
    ]
    if state.get("sealing"):
        lines.append(state["sealing"])
    if state.get("keys", {}).get("says"):
        lines.append(state["keys"]["says"])
    for federation in state["federations"]:
        lines.append(f"{federation['name']}: {counted(federation['members'], 'town')}")
        for name, lane in federation["lanes"].items():
            lines.append(f"  {name}: {counted(lane['records'], 'record')}, digest {lane['digest'][:16]}")
    lines += [peer_line(peer) for peer in state["peers"]] or ["no peers yet"]
    lines += join_lines(state)
    lines += [f"look at this: {seen['says']}" for seen in state.get("incidents", [])]
    return "\n".join(lines)
