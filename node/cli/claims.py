"""`claim claims accept wait decline release handover renew receive unclaim keeper`: who gets what."""

from collections.abc import Mapping
from typing import Any

import click

from node.cli.app import app
from node.cli.documents import _shown, claim_page, claim_wish
from node.cli.secrets import passphrase_of_town
from node.cli.terminal import Terminal, command, table

quantity_option = click.option("--quantity", metavar="AMOUNT", help="A part of it: 2, or 2.5 kg.")


@command(app, "claim")
@click.argument("address")
@click.option("--quantity", metavar="AMOUNT", help="How much: 2, or 2.5 kg; one if things are counted.")
@click.option("--from", "start", metavar="TIME", help="Of a thing to borrow: YYYY-MM-DD or YYYY-MM-DDTHH:MM.")
@click.option("--until", "end", metavar="TIME", help="Until when; a day counts to its end.")
@click.option("--reason", help="Why; only the two towns can read it.")
@click.option("--urgency", type=click.Choice(["normal", "soon", "urgent", "life"]), help="normal otherwise.")
@click.option("--contact", help="How to be reached; only the two towns can read it.")
@click.option("--by", help="The resident's handle that stands under it.")
@click.option("--share", is_flag=True, help="A share, which this town wants to give away itself.")
@click.option("--for-somebody", "on_behalf_of", is_flag=True, help="Typed in for somebody else.")
@click.option("--nonce", metavar="HEX", help="8 bytes; the same again gives back the first claim.")
def claim(terminal: Terminal, address: str, start: str | None, end: str | None, **said: Any) -> None:
    """Ask for something that is offered, needed or lent, or to come to an event.

    Prints the address of the claim, and the code to show when it is fetched.
    """
    claimed = terminal.ask(
        "claim", address=address, start=_seconds(start), end=_seconds(end, last=True), **said
    )
    digits = f", or {claimed['digits']}" if claimed.get("digits") else ""
    code = f"{claimed['code'][:4]}-{claimed['code'][4:]}{digits}"
    terminal.answer(claimed, f"{_shown(claimed['address'])}  code {code}")


@command(app, "claims")
@click.argument("address", required=False)
def claims(terminal: Terminal, address: str | None) -> None:
    """List the claims of this town and those that it answers, or what there is of one document.

    Of the address of a claim all is said that is known of it.
    """
    found = terminal.ask("claims", address=address)
    if address is not None and "ledger" not in found and len(found["claims"]) == 1:
        [view] = found["claims"]
        terminal.answer(view, claim_page(view))
        return
    head = [found["says"]] if address is not None else []
    rows = [
        {
            "address": _shown(each["address"]),
            "who": each.get("by") or each["town_name"],
            "what": each["target"]["title"],
            "asked": claim_wish(each),
            "urgency": each.get("urgency", "normal"),
            "says": each["says"],
        }
        for each in found["claims"]
    ]
    listed = table(rows, ("address", "who", "what", "asked", "urgency", "says")) if rows else "no claims"
    terminal.answer(found if address is not None else found["claims"], "\n".join([*head, listed]))


@command(app, "accept")
@click.argument("claim")
@quantity_option
@click.option("--hold-until", metavar="TIME", help="Until when it is kept; three days for goods otherwise.")
def accept(terminal: Terminal, claim: str, quantity: str | None, hold_until: str | None) -> None:
    """Promise what is claimed; of a share, that its town may give it away."""
    until = _seconds(hold_until, last=True)
    _answer(terminal, terminal.ask("accept", address=claim, quantity=quantity, hold_until=until))


@command(app, "decline")
@click.argument("claim")
@click.option("--reason", type=click.Choice(["declined", "to_others", "not_then", "gone"]), help="Why.")
def decline(terminal: Terminal, claim: str, reason: str | None) -> None:
    """Say no to a claim, or to its asking for longer."""
    _answer(terminal, terminal.ask("decline", address=claim, reason=reason))


@command(app, "wait")
@click.argument("claim")
def wait(terminal: Terminal, claim: str) -> None:
    """Put a claim on the waiting list."""
    _answer(terminal, terminal.ask("wait", address=claim))


@command(app, "release")
@click.argument("claim")
@quantity_option
@click.option("--reason", type=click.Choice(["released", "returned", "no_show"]), help="released otherwise.")
def release(terminal: Terminal, claim: str, quantity: str | None, reason: str | None) -> None:
    """Give free what was promised: it came back, nobody came, or a share was given back."""
    _answer(terminal, terminal.ask("release", address=claim, quantity=quantity, reason=reason))


@command(app, "handover")
@click.argument("claim")
@click.option("--code", help="What was shown: 8 characters, or their four digits.")
@quantity_option
def handover(terminal: Terminal, claim: str, code: str | None, quantity: str | None) -> None:
    """Note that somebody has fetched what was promised."""
    _answer(terminal, terminal.ask("handover", address=claim, code=code, quantity=quantity))


@command(app, "renew")
@click.argument("claim")
@click.option("--until", metavar="TIME", required=True, help="The new end: YYYY-MM-DD or YYYY-MM-DDTHH:MM.")
def renew(terminal: Terminal, claim: str, until: str) -> None:
    """Let somebody keep a thing for longer, or keep something for somebody for longer.

    Of a thing that this town borrowed elsewhere, asks there for longer.
    """
    _answer(terminal, terminal.ask("renew", address=claim, until=_seconds(until, last=True)))


@command(app, "receive")
@click.argument("claim")
@click.option("--ok", type=click.Choice(["yes", "partly", "no"]), help="yes otherwise.")
@quantity_option
def receive(terminal: Terminal, claim: str, ok: str | None, quantity: str | None) -> None:
    """Say that what this town claimed has been received."""
    view = terminal.ask("receive", address=claim, ok=ok, quantity=quantity)
    noted = f"Noted that it was received: {view.get('received') or ok or 'yes'}."
    terminal.answer(view, f"{_shown(view['address'])}  {noted} {view['says']}")


@command(app, "unclaim")
@click.argument("claim")
def unclaim(terminal: Terminal, claim: str) -> None:
    """Take a claim of this town back."""
    _answer(terminal, terminal.ask("unclaim", address=claim))


@command(app, "keeper")
@click.argument("address")
@click.argument("device")
@click.option("--town-key", is_flag=True, help="The device that kept it is lost or stolen.")
def keeper(terminal: Terminal, address: str, device: str, town_key: bool) -> None:
    """Let another device of this town answer the claims on a document from now on.

    DEVICE is the beginning of its key, as `hedgerow key show` prints it. With --town-key it asks for the
    passphrase of the town key, whose word goes before whatever the former keeper wrote.
    """
    secret = passphrase_of_town() if town_key else None
    answer = terminal.ask("keeper", address=address, device=device, secret=secret)
    terminal.answer(answer, f"kept by {answer['keeper'][:8]} from now on")


def _answer(terminal: Terminal, view: Mapping[str, Any]) -> None:
    terminal.answer(view, f"{_shown(view['address'])}  {view['says']}")


def _seconds(text: str | None, *, last: bool = False) -> int | None:
    """A time as people type it, of this machine's clock; a day begins at its first second, or ends at its
    last.
    """
    if text is None or text.isdigit():
        return None if text is None else int(text)
    from datetime import date, datetime, time

    try:
        if "T" in text or " " in text:
            return int(datetime.fromisoformat(text).astimezone().timestamp())
        edge = time(23, 59, 59) if last else time()
        return int(datetime.combine(date.fromisoformat(text), edge).astimezone().timestamp())
    except ValueError:
        raise click.UsageError(f"{text}: write YYYY-MM-DD, or YYYY-MM-DDTHH:MM.") from None
