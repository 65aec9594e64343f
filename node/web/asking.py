"""The short form by which somebody asks for what is posted: how much or when, why, and how to be reached.

Its controls follow from the declaration of `claim`, but for the amount and the days, which are asked as
people say them. Whatever is wrong stands beside its control, and nothing that was typed is lost.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from node.accounts import OPERATOR
from node.errors import HedgerowError, NotFound
from node.promises.shelf import CLAIMABLE
from node.promises.views import LedgerView, Whose
from node.store import Document
from node.web import forms, pages, present, promised
from node.web.editing import must_sign_in, nonce_of, not_yours, says_of, status_of, typed_form
from node.web.guard import form_token_fits
from node.web.render import html, render
from node.web.site import SITE, poster_of, session_of
from protocol.encoding import Value
from protocol.errors import InvalidField, LimitExceeded
from protocol.fields import Input
from protocol.ids import show_address
from protocol.kinds.claims import CLAIM
from protocol.limits import NONCE_BYTES
from protocol.notations import Seconds
from protocol.structures import Measure
from protocol.text import tidy

ASKED: Final = ("reason", "urgency", "contact", "on_behalf_of", "share")
"""Fields of a claim that the form asks for as they are declared; a share only of the operator."""
AT: Final = {
    "no_amount": "quantity",
    "too_little": "quantity",
    "too_much_at_once": "quantity",
    "more_than_all": "quantity",
    "another_unit": "quantity",
    "no_window": "until",
    "too_long": "until",
    "beyond_end": "until",
    "window_over": "until",
    "overlaps": "from",
}
"""The control beside which a refusal is shown, by its code; all others stand above the form."""
_HOW_MUCH: Final = {"need": "How much can you give?", "event": "How many of you come?"}
_HOW_MANY_HELP: Final = "How many can you give, or how many of you come?"
_REASON: Final = {
    "need": "What can you do, or bring?",
    "event": "A word for the host",
}
_SEALED: Final = "Sealed: only {town} and this town can read it"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody typed, checked: an amount, or a window of seconds."""

    milli: int | None
    unit: str
    start: int | None
    end: int | None


async def ask(request: web.Request) -> web.Response:
    """Show the form; take what was typed in, and lead to the page of the claim."""
    site = request.app[SITE]
    must_sign_in(request)
    found = await pages.find(request)
    if found.kind not in CLAIMABLE:
        raise NotFound(
            "Nobody keeps count of that, so there is nothing to ask for; its page says how to answer"
        )
    ledger = await site.node.claims.ledger_of(found.doc.hex(), Whose.NOBODYS)
    assert ledger is not None, "what can be claimed has a ledger"
    if request.method != "POST":
        if promised.is_off(found):
            raise web.HTTPSeeOther(f"/d/{found.address}")
        return await _form(request, found, ledger, _begun(found, ledger))
    typed = await typed_form(request)
    if session_of(request) is None or not form_token_fits(request, typed):
        return await _form(request, found, ledger, typed, says=not_yours(request), status=403)
    wish, fields, errors = read(found, ledger, typed)
    if errors:
        return await _form(request, found, ledger, typed, errors=errors, status=400)
    try:
        claimed = await site.node.claims.ask(
            found.doc.hex(),
            quantity=None if wish.milli is None else {"milli": wish.milli, "unit": wish.unit},
            start=wish.start,
            end=wish.end,
            reason=str(fields.get("reason", "")),
            urgency=str(fields.get("urgency", "normal")),
            contact=str(fields.get("contact", "")),
            on_behalf_of=fields.get("on_behalf_of") is True,
            share=_may_share(request, found) and fields.get("share") is True,
            by=poster_of(request),
            nonce=nonce_of(typed),
        )
        site.look_again()
    except InvalidField as error:
        return await _form(request, found, ledger, typed, errors=forms.slip(CLAIM, error), status=400)
    except (HedgerowError, LimitExceeded) as error:
        code = error.code if isinstance(error, HedgerowError) else ""
        if code in AT:
            return await _form(
                request, found, ledger, typed, errors={AT[code]: says_of(error)}, status=status_of(error)
            )
        return await _form(request, found, ledger, typed, says=says_of(error), status=status_of(error))
    raise web.HTTPSeeOther(f"/c/{claimed.address}?asked=1")


def read(
    found: Document, ledger: LedgerView, typed: Mapping[str, str]
) -> tuple[Wish, dict[str, Value], dict[str, str]]:
    """Return what was typed and everything that is wrong with it, by name of control."""
    errors: dict[str, str] = {}
    wish = Wish(None, "each", None, None)
    try:
        if found.kind == "item":
            wish = _window(typed)
        else:
            unit = _unit(found, ledger)
            wish = Wish(amount_typed(tidy(typed.get("quantity", "")), unit), unit, None, None)
    except InvalidField as error:
        errors[error.field] = forms.sentence(error.says)
    fields: dict[str, Value] = {}
    for each in CLAIM.fields:
        if each.name not in ASKED:
            continue
        try:
            value = each.type.parse_form(typed, each.name)
            if value is not None:
                each.type.check(value, each.name)
                fields[each.name] = value
        except InvalidField as error:
            errors[error.field] = forms.sentence(error.says)
    return wish, fields, errors


def _window(typed: Mapping[str, str]) -> Wish:
    """Return whole days; the last one is part of it."""
    start, last = (_day(typed, name) for name in ("from", "until"))
    if last < start:
        raise InvalidField("until", "lies before the first day")
    return Wish(None, "each", start, last + promised.DAY_S)


def _day(typed: Mapping[str, str], name: str) -> int:
    text = tidy(typed.get(name, ""))
    if not text:
        raise InvalidField(name, "is missing")
    value = Seconds().parse(text, name)
    Seconds().check(value, name)
    assert isinstance(value, int)
    return value // promised.DAY_S * promised.DAY_S


def amount_typed(text: str, unit: str) -> int:
    """Return an amount in thousandths; a bare number is counted as what is asked for is.

    Raises:
        InvalidField: It is none, or counted in another unit.
    """
    if not text:
        raise InvalidField("quantity", "is missing")
    has_unit = any(letter.isalpha() for letter in text)
    value = Measure().parse(text if has_unit else f"{text} {unit}", "quantity")
    Measure().check(value, "quantity")
    assert isinstance(value, dict)
    if value["unit"] != unit:
        raise InvalidField("quantity", f"is counted in {promised.units(unit)} here")
    milli = value["milli"]
    assert isinstance(milli, int)
    return milli


def _unit(found: Document, ledger: LedgerView) -> str:
    """Return in what a document is counted: as its ledger says, before that has come as it says itself."""
    quantity = found.fields.get("quantity")
    said = quantity.get("unit") if isinstance(quantity, dict) else None
    return said if not ledger.known and isinstance(said, str) else ledger.unit


def _begun(found: Document, ledger: LedgerView) -> dict[str, str]:
    """Return what the form begins with: the least amount, else one; and the declared defaults."""
    defaults = {each.name: each.default for each in CLAIM.inputs() if each.name in ASKED}
    if found.kind == "item":
        return defaults
    least = found.fields.get("claim_min")
    amount: Value = least if isinstance(least, dict) else {"milli": 1_000, "unit": _unit(found, ledger)}
    return defaults | {"quantity": Measure().write(amount)}


async def _form(
    request: web.Request,
    found: Document,
    ledger: LedgerView,
    typed: Mapping[str, str],
    *,
    errors: Mapping[str, str] | None = None,
    says: str = "",
    status: int = 200,
) -> web.Response:
    site = request.app[SITE]
    now_ms = site.node.clock.now_ms()
    errors = errors or {}
    controls = [
        forms.shown(each, typed.get(each.name, ""), errors.get(each.name, ""))
        for each in (*_what(found, ledger), *_why(found, ledger, share=_may_share(request, found)))
    ]
    values = pages.shell(request, await site.around(), "board") | {
        "heading": promised.BUTTONS[found.kind],
        "document": found,
        "title": present.title(found),
        "address": show_address(found.address),
        "card": present.card(found, now_ms // 1000),
        "free": promised.free(found, ledger, now_ms),
        "form": forms.Form(tuple(controls), (), errors),
        "hidden": {"_nonce": typed.get("_nonce") or secrets.token_hex(NONCE_BYTES)},
        "says": says,
        "back": f"/d/{found.address}",
    }
    return html(request, render("ask.html", values), status=status)


def _what(found: Document, ledger: LedgerView) -> tuple[Input, ...]:
    """Return the controls for what is asked for."""
    if found.kind == "item":
        days = found.fields.get("loan_days")
        most = f"That day included; {days} days at most" if isinstance(days, int) else "That day included"
        return (
            Input("from", "From which day?", "", "date", required=True),
            Input("until", "Until which day?", most, "date", required=True),
        )
    unit = _unit(found, ledger)
    least, most_ = (found.fields.get(name) for name in ("claim_min", "claim_max"))
    hints = [
        "" if unit == "each" else f"In {promised.units(unit)}",
        f"at least {promised.measure(least)}" if isinstance(least, dict) else "",
        f"at most {promised.measure(most_)}" if isinstance(most_, dict) else "",
    ]
    hint = ", ".join(part for part in hints if part)
    label = _HOW_MUCH.get(found.kind, "How many?" if unit == "each" else "How much?")
    if found.kind == "need" and unit == "each":
        label = _HOW_MANY_HELP
    return (Input("quantity", label, hint[:1].upper() + hint[1:], "text", required=True),)


def _may_share(request: web.Request, found: Document) -> bool:
    """Tell whether who asks may ask for a share in the name of the town."""
    session = session_of(request)
    operator = session is not None and session.name == OPERATOR
    return operator and found.kind == "offer" and not found.own


def _why(found: Document, ledger: LedgerView, *, share: bool) -> tuple[Input, ...]:
    """Return the controls of the declared fields; only two towns can read what is typed there."""
    sealed = _SEALED.format(town=ledger.town_name) if not found.own else "Sealed: only this town can read it"
    found_ = {each.name: each for each in CLAIM.inputs()}
    left_out = {"urgency"} if found.kind in ("event", "need") else set()
    left_out |= set() if share else {"share"}
    asked = [found_[name] for name in ASKED if name not in left_out]
    words = {"reason": _REASON.get(found.kind, "Why do you ask?"), "contact": "How can you be reached?"}
    return tuple(
        replace(each, label=words.get(each.name, each.label), hint=sealed) if each.name in words else each
        for each in asked
    )
