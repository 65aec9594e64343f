"""The pages of what was asked for: one claim, and all that concern whoever is signed in.

Who asked, why and how to reach them is for few eyes: the person who asked, the one who posted what is asked
for, and the operator of either town. Everybody else is told nothing but that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from node.accounts import OPERATOR
from node.errors import HedgerowError, InvalidRequest, NotAllowed, NotFound, NotSignedIn
from node.promises.claims import DECLINES
from node.promises.codes import short_code
from node.promises.history import history
from node.promises.sentences import because
from node.promises.views import ClaimView, Stage
from node.store import Document
from node.web import forms, pages, present, promised
from node.web.asking import amount_typed
from node.web.editing import must_sign_in, not_yours, says_of, status_of, typed_form
from node.web.guard import form_token_fits
from node.web.render import html, render
from node.web.site import SITE, Part, Site, part_of, poster, session_of
from protocol.errors import InvalidField
from protocol.ids import show_address
from protocol.notations import Seconds
from protocol.text import tidy

LISTED_MAX: Final = 15
"""Claims that one list shows, so that the page stays small; the most pressing come first."""
REASON_CHARS: Final = 160
"""So much of a reason stands in a list; the page of the claim has all of it."""
DONE_MAX: Final = 10
"""Claims that came to an end, the newest: to look something up, not to keep books."""
OPEN: Final = frozenset({Stage.ASKED, Stage.WAITING, Stage.ACCEPTED})
"""Stages in which somebody waits for something."""
SAID: Final = {
    "asked": "Asked. You will see the answer here.",
    "accept": "Accepted.",
    "wait": "Put on the waiting list.",
    "decline": "Declined.",
    "release": "Given free again.",
    "handover": "Handed over.",
    "renew": "Prolonged.",
    "longer": "Asked for longer. You will see the answer here.",
    "withdraw": "Withdrawn.",
    "receive": "Thank you; it is noted.",
    "told": "Thank you; what you said is on the board.",
}
"""What was just done, on the page to which a form leads."""
AT: Final = {"handover": "code", "renew": "until", "longer": "until", "accept": "quantity"}
"""The control beside which a refusal of an act is shown, if it was used; others stand above."""


async def one(request: web.Request) -> web.Response:
    """One claim: where it stands and why, whom it waits for, and what can be done now."""
    must_sign_in(request)
    claim, target, part = await concerned(request)
    if request.method != "POST":
        return await _page(request, claim, target, part)
    typed = await typed_form(request)
    if not form_token_fits(request, typed):
        return await _page(request, claim, target, part, typed=typed, says=not_yours(request), status=403)
    act = typed.get("_act", "")
    try:
        await _do(request.app[SITE], claim, part, act, typed)
    except InvalidField as error:
        errors = {error.field: forms.sentence(error.says)}
        return await _page(request, claim, target, part, typed=typed, errors=errors, status=400)
    except HedgerowError as error:
        says, status = says_of(error), status_of(error)
        if typed.get(AT.get(act, "")):
            errors = {AT[act]: says}
            return await _page(request, claim, target, part, typed=typed, errors=errors, status=status)
        return await _page(request, claim, target, part, typed=typed, says=says, status=status)
    request.app[SITE].look_again()
    if typed.get("_back") == "requests" or act == "withdraw":
        raise web.HTTPSeeOther(f"/claims?{act}=1")
    raise web.HTTPSeeOther(f"/c/{claim.address}?{act}=1")


async def requests(request: web.Request) -> web.Response:
    """What is asked of us, most urgent and oldest first; and what we asked for."""
    site = request.app[SITE]
    must_sign_in(request)
    session = session_of(request)
    assert session is not None, "who is not signed in was led to the sign-in"
    of_us, ours = [], []
    posters: dict[bytes, str] = {}
    for claim in await site.node.claims.all():
        if claim.to_answer and claim.target not in posters:
            target = await _target(site, claim)
            posters[claim.target] = poster(target) if target else ""
        part = part_of(session, claim, posters.get(claim.target, ""))
        if part.answers and not (claim.ours and part.asks and claim.stage is Stage.WITHDRAWN):
            of_us.append(claim)
        if part.asks:
            ours.append(claim)
    answer = sorted(
        (each for each in of_us if each.is_unanswered or each.stage is Stage.WAITING),
        key=lambda each: (each.stage is Stage.WAITING, -each.urgency, each.born, each.doc),
    )
    hand = sorted(
        (each for each in of_us if each not in answer and (each.stage is Stage.ACCEPTED or _is_out(each))),
        key=lambda each: (_is_out(each), each.hold_until or each.start or each.born, each.doc),
    )
    done = [each for each in of_us if each not in answer and each not in hand]
    mine = sorted(ours, key=lambda each: each.stage not in OPEN)
    shown = _Shown(site.node.clock.now_ms())
    values = pages.shell(request, await site.around(), "requests") | {
        "answer_rows": [shown.row(each) for each in answer[:LISTED_MAX]],
        "hand": [shown.row(each) for each in hand[:LISTED_MAX]],
        "done": [shown.row(each) for each in done[:DONE_MAX]],
        "ours": [shown.row(each) for each in mine[:LISTED_MAX]],
        "left": {
            "answer": max(0, len(answer) - LISTED_MAX),
            "hand": max(0, len(hand) - LISTED_MAX),
            "ours": max(0, len(mine) - LISTED_MAX),
        },
        "declines": _DECLINES,
        "said": next((SAID[act] for act in SAID if act in request.query), ""),
    }
    return html(request, render("requests.html", values))


async def concerned(request: web.Request) -> tuple[ClaimView, Document | None, Part]:
    """Return the claim of the address in the path, with what is asked for, to those whom it concerns.

    Raises:
        NotSignedIn: Nobody is signed in, or not any more.
        NotFound: It is not there.
        NotAllowed: It concerns others.
    """
    site, session = request.app[SITE], session_of(request)
    if session is None:
        raise NotSignedIn("You are not signed in any more; nothing was done.")
    claim = await site.node.claims.show(request.match_info["address"])
    target = await _target(site, claim)
    part = part_of(session, claim, poster(target) if target is not None else "")
    if not (part.asks or part.answers):
        raise NotAllowed("That is seen by who asked, by who posted what is asked for, and by the operator.")
    return claim, target, part


async def _target(site: Site, claim: ClaimView) -> Document | None:
    try:
        return await site.node.board.show(claim.target.hex())
    except NotFound:
        return None


async def _do(site: Site, claim: ClaimView, part: Part, act: str, typed: Mapping[str, str]) -> None:
    """Do what a button says.

    Raises:
        NotAllowed: It is for the other side to do.
        InvalidField: Something typed is not as it should be.
        HedgerowError: As the acts of `Claims`.
    """
    claims, doc = site.node.claims, claim.doc.hex()
    if act in ("withdraw", "receive", "longer"):
        if not part.asks:
            raise NotAllowed("Only who asked for it can do that.")
    elif not part.answers:
        raise NotAllowed("Only who posted what is asked for can do that.")
    match act:
        case "withdraw":
            await claims.withdraw(doc)
        case "receive":
            if typed.get("ok") not in promised.RECEIVED:
                raise InvalidField("ok", "choose one of them")
            await claims.receive(doc, ok=typed["ok"])
        case "accept":
            part_of_it = tidy(typed.get("quantity", ""))
            await claims.accept(doc, milli=amount_typed(part_of_it, claim.unit) if part_of_it else None)
        case "wait":
            await claims.put_on_list(doc)
        case "decline":
            await claims.decline(doc, reason=typed.get("why") or "declined")
        case "release":
            await claims.release(doc, reason=typed.get("why") or "released")
        case "handover":
            code = None if typed.get("_without") else tidy(typed.get("code", ""))
            if code == "":
                raise InvalidField("code", "is missing")
            await claims.hand_over(doc, code=code)
        case "longer":
            await claims.ask_longer(doc, until=_day_after(typed))
        case "renew":
            asked = claim.longer if typed.get("_asked") else 0
            await claims.renew(doc, until=asked or _day_after(typed))
        case _:
            raise InvalidRequest("Nothing was done: press one of the buttons.")


def _day_after(typed: Mapping[str, str]) -> int:
    """Return the end of the day that was typed, which is part of it."""
    text = tidy(typed.get("until", ""))
    if not text:
        raise InvalidField("until", "is missing")
    value = Seconds().parse(text, "until")
    Seconds().check(value, "until")
    assert isinstance(value, int)
    return value // promised.DAY_S * promised.DAY_S + promised.DAY_S


async def _page(
    request: web.Request,
    claim: ClaimView,
    target: Document | None,
    part: Part,
    *,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    says: str = "",
    status: int = 200,
) -> web.Response:
    site = request.app[SITE]
    now_ms = site.node.clock.now_ms()
    code = claim.receipt_code if part.asks and claim.stage in OPEN and not claim.share else ""
    ledger = site.node.claims.register.ledger_of(claim.doc)
    happened = await site.node.store.read(lambda reader: history(reader, ledger, claim.doc)) if ledger else ()
    values = pages.shell(request, await site.around(), "requests") | {
        "claim": _Shown(now_ms).row(claim),
        "part": part,
        "code": code,
        "short": short_code(code) if code else "",
        "steps": promised.steps(claim, happened),
        "may_be_longer": target is None or promised.renewals_left(target.fields, claim.renewals) != 0,
        "terms": promised.terms(target.fields, claim.renewals) if target is not None else "",
        "declines": _DECLINES,
        "offer_share": _offer_of_share(request, claim),
        "typed": typed or {},
        "errors": errors or {},
        "says": says,
        "done": next((SAID[act] for act in SAID if act in request.query), ""),
        "received": promised.RECEIVED,
    }
    return html(request, render("claim.html", values), status=status)


def _offer_of_share(request: web.Request, claim: ClaimView) -> str:
    """Return the path of the form by which the operator gives away a share of this town; empty: none."""
    session = session_of(request)
    operator = session is not None and session.name == OPERATOR
    if not (operator and claim.ours and claim.share and claim.stage is Stage.ACCEPTED):
        return ""
    begun = {"kind": "offer", "share": claim.address, "title": claim.target_title}
    return f"/post?{urlencode(begun | {'quantity': promised.amount(claim.milli, claim.unit)})}"


_DECLINES: Final = tuple((code, forms.sentence(because(code))) for code in DECLINES)


def _beginning(text: str) -> str:
    """Return the beginning of a reason, cut at a word."""
    if len(text) <= REASON_CHARS:
        return text
    return text[:REASON_CHARS].rsplit(" ", 1)[0].rstrip(" ,;:.") + " …"


def _is_out(claim: ClaimView) -> bool:
    """Tell whether a thing is with who borrowed it, and should come back."""
    return claim.stage is Stage.HANDED_OVER and bool(claim.end)


@dataclass(frozen=True, slots=True)
class Row:
    """A claim as pages show it."""

    view: ClaimView
    href: str
    title: str
    target: str
    stage: str
    css: str
    what: str
    who: str
    urgency: str
    reason: str
    asked: str
    day: str
    number: str
    words: promised.Words
    can_answer: bool
    can_accept_part: bool
    can_hand_over: bool
    is_out: bool
    longer: str
    renewed: str
    can_ask_longer: bool
    can_withdraw: bool
    can_receive: bool
    can_tell: bool


@dataclass(frozen=True, slots=True)
class _Shown:
    now_ms: int

    def row(self, claim: ClaimView) -> Row:
        """Return a claim in words, and what its stage allows."""
        stage, out = claim.stage, _is_out(claim)
        return Row(
            view=claim,
            href=f"/c/{claim.address}",
            title=claim.target_title or "What was asked for is not here any more",
            target=f"/d/{claim.target_address}" if claim.target_address else "",
            stage=promised.STAGES[stage],
            css={Stage.VOID: "alarm", Stage.DECLINED: "warn", Stage.RELEASED: "warn"}.get(stage, ""),
            what=promised.asked_for(claim),
            who=f"{claim.by}, {claim.town_name}" if claim.by else claim.town_name,
            urgency=promised.URGENCIES[claim.urgency] if claim.urgency < len(promised.URGENCIES) else "",
            reason=_beginning(claim.reason),
            asked=present.age(claim.born * 1000, self.now_ms),
            day=present.date_text(claim.born, whole_day=False, clock=False),
            number=show_address(claim.address),
            words=promised.WORDS.get(claim.target_kind, promised.Words()),
            can_answer=stage in (Stage.ASKED, Stage.WAITING),
            can_accept_part=stage in (Stage.ASKED, Stage.WAITING) and not claim.end,
            can_hand_over=stage is Stage.ACCEPTED and not claim.share,
            is_out=out,
            longer=promised.last_day(claim.longer) if claim.longer else "",
            renewed=promised.times(claim.renewals) if claim.renewals else "",
            can_ask_longer=bool(claim.end) and not claim.longer and (out or stage is Stage.ACCEPTED),
            can_withdraw=stage in OPEN,
            can_receive=stage in (Stage.ACCEPTED, Stage.HANDED_OVER) and not claim.share,
            can_tell=stage is Stage.HANDED_OVER or bool(claim.received),
        )
