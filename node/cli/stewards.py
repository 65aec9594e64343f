"""`federation ...` for stewards and members: who belongs, what is being decided, and acting on it."""

import sys
from typing import Any

import click

from node.cli.federations import federation
from node.cli.secrets import passphrase_of_town
from node.cli.terminal import Terminal, command, table

LEAVING = (
    "What this town posted for that federation alone goes off its own board too; others keep what they hold"
    " of it until it ends."
)
_FEDERATION = click.option(
    "--federation", help="Which one, where this town is in several: its name or the beginning of its id."
)


@command(federation, "found")
@click.argument("name")
@click.option(
    "--steward", "stewards", multiple=True, metavar="TOWN", help="A town that decides too; three are best."
)
@click.option("--vouches", type=click.IntRange(1), help="So many members together may let a town in.")
def found(terminal: Terminal, name: str, stewards: tuple[str, ...], vouches: int | None) -> None:
    """Found a federation; this town is its first steward and member."""
    made = terminal.ask("found", name=name, stewards=list(stewards) or None, vouches=vouches)
    terminal.answer(made, f"founded {name}; invite a neighbour with: hedgerow federation invite")


@command(federation, "members")
@click.argument("federation", required=False)
def members(terminal: Terminal, federation: str | None) -> None:
    """List the towns of a federation, and why each belongs."""
    found = terminal.ask("members", federation=federation)
    rows = [
        {
            **row,
            "town": row["town"][:8],
            "role": "steward" if row.get("steward") else "",
        }
        for row in found
    ]
    terminal.answer(found, table(rows, ("name", "town", "role", "why")))


@command(federation, "propose")
@_FEDERATION
@click.option("--add", multiple=True, metavar="TOWN", help="A member from then on.")
@click.option("--remove", multiple=True, metavar="TOWN", help="A member, or steward, no more.")
@click.option("--steward", multiple=True, metavar="TOWN", help="A steward from then on.")
@click.option("--no-steward", multiple=True, metavar="TOWN", help="A steward no more, but a member.")
@click.option("--vouches", type=click.IntRange(0), help="So many members may let a town in; 0: none may.")
@click.option("--quota", multiple=True, metavar="LANE=N", help="Documents that a town may have in a lane.")
@click.option("--name", help="Another name of the federation.")
@click.option("--beside", is_flag=True, help="Also where another steward proposes something already.")
def propose(terminal: Terminal, quota: tuple[str, ...], beside: bool, **change: Any) -> None:
    """Propose a step; it counts when more than half of the stewards have signed it.

    The proposal is this town's signature too. Needs the passphrase of the town key.
    """
    lists = {name: list(value) or None for name, value in change.items() if isinstance(value, tuple)}
    told = terminal.ask(
        "propose",
        **(change | lists),
        quotas=dict(map(_quota, quota)) or None,
        beside=beside or None,
        passphrase=passphrase_of_town(),
    )
    terminal.answer(told, _standing(told))


@command(federation, "sign")
@click.argument("step")
@click.option("--instead", is_flag=True, help="Also where this town has signed another of the same round.")
def sign(terminal: Terminal, step: str, instead: bool) -> None:
    """Sign a step that another steward proposes; STEP is the beginning of its id.

    Needs the passphrase of the town key.
    """
    told = terminal.ask("sign", step=step, instead=instead or None, passphrase=passphrase_of_town())
    terminal.answer(told, _standing(told))


@command(federation, "pending")
def pending(terminal: Terminal) -> None:
    """Say what is being decided, who has signed, and whom it waits for."""
    rows = terminal.ask("pending")
    terminal.answer(rows, "\n".join(map(_proposal, rows)) or "nothing is being decided")


@command(federation, "suspend")
@click.argument("town")
@_FEDERATION
@click.option("--lift", is_flag=True, help="Withdraw the suspension that this town gave.")
def suspend(terminal: Terminal, town: str, federation: str | None, lift: bool) -> None:
    """Suspend a member at once, until a step decides; for stewards."""
    done = terminal.ask("suspend", town=town, federation=federation, lift=lift or None)
    name = done["name"] or done["town"][:8]
    terminal.answer(done, f"{name} is suspended no more by this town" if lift else f"suspended {name}")


@command(federation, "vouch")
@click.argument("town")
@_FEDERATION
def vouch(terminal: Terminal, town: str, federation: str | None) -> None:
    """Vouch for a town, where the rules let members do so."""
    done = terminal.ask("vouch", town=town, federation=federation)
    name = done["name"] or done["town"][:8]
    rest = f"{done['missing']} more must vouch" if done["missing"] else "it is a member now"
    terminal.answer(done, f"vouched for {name}: {rest}")


@command(federation, "leave")
@_FEDERATION
@click.option("--yes", is_flag=True, help="Leave without asking.")
def leave(terminal: Terminal, federation: str | None, yes: bool) -> None:
    """Leave a federation; ask a steward there to take this town out of it too.

    What this town posted there alone goes off its own board as well.
    """
    if not yes and sys.stdin.isatty() and sys.stdout.isatty() and not terminal.as_json:
        click.confirm(f"{LEAVING} Leave?", abort=True)
    done = terminal.ask("leave", federation=federation)
    terminal.answer(done, f"this town has left {done['name']}. {LEAVING}")


def _quota(text: str) -> tuple[str, int]:
    lane, _, count = text.partition("=")
    if not count.isdecimal():
        raise click.UsageError(f"--quota {text}: write LANE=N, such as everyday=20000.")
    return lane, int(count)


def _standing(told: Any) -> str:
    if told["counts"]:
        return f"step {told['step'][:8]} counts: it holds from now on"
    waits = ", ".join(told["waits_for"])
    return f"step {told['step'][:8]} is signed; it needs {told['needs']} more of {waits}"


def _proposal(row: Any) -> str:
    lines = [f"{row['name']}, step {row['step'][:8]}, proposed by {row['by']}:"]
    lines += [f"  {says}" for says in row["changes"]]
    lines.append(f"  signed by {', '.join(row['signed'])}; it needs {row['needs']} more of")
    lines[-1] += f" {', '.join(row['waits_for']) or 'nobody'}"
    if row["own"]:
        lines.append(f"  to agree: hedgerow federation sign {row['step'][:8]}")
    return "\n".join(lines)
