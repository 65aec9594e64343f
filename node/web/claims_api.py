"""The JSON API of claims: to ask for something, to answer, to hand over, to receive. See docs/api.md.

Whoever is signed in may ask, and see and receive what was asked for under the own name; who posted what is
asked for, and the operator, may answer. A token named `operator` is the operator.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from node.accounts import OPERATOR
from node.errors import InvalidRequest, NotAllowed, NotFound
from node.promises.telling import claim_json, ledger_json
from node.promises.views import ClaimView
from node.store import Document
from node.web import pages
from node.web.api import _json, _must_write, _nonce, _object, _refuse_unknown
from node.web.site import SITE, may_change, poster_of, session_of, whose_claims
from protocol.encoding import Value
from protocol.structures import Measure

_MEASURE: Final = Measure()


async def ledger(request: web.Request) -> web.Response:
    """`GET documents/ADDRESS/claims`: what there is of it, and the claims that who asks may see."""
    site = request.app[SITE]
    found = await pages.find(request)
    view = await site.node.claims.ledger_of(found.doc.hex(), whose_claims(request, found))
    if view is None:
        raise NotFound("nothing of that sort can be asked for, so it has no claims", code="not_claimable")
    seen = [
        _without_code(request, each)
        for each in view.claims
        if _may_answer(request, found) or _is_theirs(request, each)
    ]
    return _json(ledger_json(view, seen))


async def ask(request: web.Request) -> web.Response:
    """`POST documents/ADDRESS/claims`: ask for something; only the two towns can read it."""
    session = _must_write(request)
    given = await _object(request)
    known = {"quantity", "start", "end", "reason", "urgency", "contact", "share", "on_behalf_of", "by"}
    _refuse_unknown(given, known)
    found = await pages.find(request)
    if given.get("share") and session != OPERATOR:
        raise NotAllowed("only the operator asks for a share in the name of the town")
    claimed = await request.app[SITE].node.claims.ask(
        found.doc.hex(),
        quantity=_quantity(given),
        start=_seconds(given, "start"),
        end=_seconds(given, "end"),
        reason=_text(given, "reason"),
        urgency=_text(given, "urgency") or "normal",
        by=poster_of(request) or _text(given, "by") or None,
        contact=_text(given, "contact"),
        share=_flag(given, "share"),
        on_behalf_of=_flag(given, "on_behalf_of"),
        nonce=_nonce(request, session),
    )
    headers = {"Location": f"/api/v1/claims/{claimed.address}"}
    body: dict[str, object] = {"address": claimed.address, "id": claimed.id.hex(), "code": claimed.code}
    return _json(body, status=201, headers=headers)


async def show(request: web.Request) -> web.Response:
    """`GET claims/ADDRESS`: one claim, for who made it and for who answers it."""
    _must_write(request)
    view = await request.app[SITE].node.claims.show(request.match_info["address"])
    if not _is_theirs(request, view) and not await _answers(request, view):
        raise NotAllowed("that request was made by somebody else; only who answers it can see it too")
    return _json(claim_json(_without_code(request, view)))


async def answer(request: web.Request) -> web.Response:
    """`POST claims/ADDRESS/{accept,decline,release,handover,renew,receive}`."""
    _must_write(request)
    act = request.match_info["act"]
    given = await _object(request) if request.can_read_body else {}
    claims = request.app[SITE].node.claims
    view = await claims.show(request.match_info["address"])
    answers = await _answers(request, view)
    if act == "receive" or (act == "renew" and not answers and view.ours):
        _must_be_theirs(request, view)
    elif not answers:
        raise NotAllowed("only who posted it, and the operator, can answer a request for it")
    address = view.doc.hex()
    match act:
        case "accept":
            _refuse_unknown(given, {"quantity", "hold_until"})
            milli, hold = _milli(given), _seconds(given, "hold_until")
            view = await claims.accept(address, milli=milli, hold_until=hold)
        case "decline":
            _refuse_unknown(given, set())
            view = await claims.decline(address)
        case "release":
            _refuse_unknown(given, {"quantity", "reason"})
            reason = _text(given, "reason") or "released"
            view = await claims.release(address, milli=_milli(given), reason=reason)
        case "handover":
            _refuse_unknown(given, {"quantity", "code"})
            code = _text(given, "code") or None
            view = await claims.hand_over(address, code=code, milli=_milli(given))
        case "renew":
            _refuse_unknown(given, {"until"})
            until = _seconds(given, "until")
            if until is None:
                raise InvalidRequest("until is missing: seconds since 1970")
            view = await (claims.renew if answers else claims.ask_longer)(address, until=until)
        case "receive":
            _refuse_unknown(given, {"quantity", "ok"})
            view = await claims.receive(address, ok=_text(given, "ok") or "yes", milli=_milli(given))
        case _:
            raise NotFound(f"there is no act {act[:40]} on a claim")
    return _json(claim_json(_without_code(request, view)))


async def withdraw(request: web.Request) -> web.Response:
    """`DELETE claims/ADDRESS`: take a claim back."""
    _must_write(request)
    claims = request.app[SITE].node.claims
    view = await claims.show(request.match_info["address"])
    _must_be_theirs(request, view)
    return _json(claim_json(await claims.withdraw(view.doc.hex())))


def _is_theirs(request: web.Request, view: ClaimView) -> bool:
    """Tell whether who asks made a claim here, or is the operator of the town that did."""
    session = session_of(request)
    if session is None or not view.ours:
        return False
    return session.name == OPERATOR or view.by.casefold() == session.name.casefold()


def _without_code(request: web.Request, view: ClaimView) -> ClaimView:
    """Return a claim without its code for all but who made it; who answers is shown it at the counter."""
    return view if _is_theirs(request, view) else replace(view, receipt_code="")


def _must_be_theirs(request: web.Request, view: ClaimView) -> None:
    if not _is_theirs(request, view):
        raise NotAllowed("that request was made by somebody else; only they, and the operator, can do this")


async def _answers(request: web.Request, view: ClaimView) -> bool:
    """Tell whether who asks may answer a claim: who posted what it asks for, and the operator."""
    session = session_of(request)
    if session is None or not view.to_answer:
        return False
    if session.name == OPERATOR:
        return True
    try:
        target = await request.app[SITE].node.board.show(view.target.hex())
    except NotFound:
        return False
    return _may_answer(request, target)


def _may_answer(request: web.Request, target: Document) -> bool:
    return may_change(request, target)


def _quantity(given: dict[str, Any]) -> dict[str, Value] | None:
    said = given.get("quantity")
    if said is None:
        return None
    value = _MEASURE.read_json(said, "quantity")
    assert isinstance(value, dict), "a measure is {milli, unit}"
    return value


def _milli(given: dict[str, Any]) -> int | None:
    value = _quantity(given)
    milli = value["milli"] if value is not None else None
    return milli if isinstance(milli, int) else None


def _seconds(given: dict[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is None or (type(value) is int and 0 <= value < 2**40):
        return value
    raise InvalidRequest(f"{name} is in seconds since 1970")


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value or ""
    raise InvalidRequest(f"{name} is a text")


def _flag(given: dict[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} is true or false")
    return value
