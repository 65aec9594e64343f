"""The pages that write: post, edit, withdraw. Whatever is wrong, nothing that was typed is lost."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from aiohttp import web

from node.accounts import OPERATOR
from node.board import Audience, head_ids
from node.errors import (
    HedgerowError,
    InvalidRequest,
    NotAllowed,
    NotFound,
    NotOurs,
    StaleEdit,
    StorageUnavailable,
)
from node.promises.views import Whose
from node.store import Document
from node.web import forms, pages, present
from node.web.guard import form_token_fits
from node.web.render import html, render
from node.web.site import SITE, must_be_theirs, poster_of, read_body, refuse_halves, session_of
from protocol.errors import InvalidField, LimitExceeded
from protocol.ids import Op, RecordId, show_address
from protocol.kinds import kind_of
from protocol.limits import CITES_MAX, NONCE_BYTES
from protocol.schema import Kind

INVITING: Final = {
    "offer": "Something to give, lend or swap: food, things, room, a ride",
    "need": "Something or somebody that is missing",
    "item": "A tool or another thing that comes back",
    "skill": "What you can do for others, or teach",
    "event": "A meeting, a workshop, a work day: when, where, for whom",
    "practice": "How something is done well, step by step",
    "feedback": "How it went, by the number of what was given, lent or held",
}
"""What the choice says under each kind."""
PRESS_AGAIN: Final = "Nothing was written yet: your sign-in was renewed. Please press the button once more."


async def post(request: web.Request) -> web.Response:
    """Choose a kind, fill in its form, post."""
    site = request.app[SITE]
    must_sign_in(request)
    around = await site.around()
    chosen = request.query.get("kind", "")
    kind = kind_of(chosen)
    if kind is None or not kind.shown:
        values = pages.shell(request, around, "post") | {
            "choices": [(each.name, each.label, INVITING.get(each.name, "")) for each in pages.SHOWN_KINDS]
        }
        return html(request, render("choose.html", values))
    if request.method != "POST":
        named = (*forms.ASKED_BY_LINK, *(forms.OF_A_SHARE if "share" in request.query else ()))
        begun = {name: request.query[name][: forms.BEGUN_CHARS] for name in named if name in request.query}
        return await _post_form(request, kind, begun | {"_audience": kind.audience_default}, fresh=True)
    typed = await site.node.board.with_ids(kind, await typed_form(request))
    if session_of(request) is None or not form_token_fits(request, typed):
        return await _post_form(request, kind, typed, says=not_yours(request), status=403)
    fields, errors = forms.read(kind, typed)
    if errors:
        return await _post_form(request, kind, typed, errors=errors, status=400)
    try:
        by, audience, nonce = poster_of(request), _audience(typed), nonce_of(typed)
        if share := request.query.get("share"):
            _must_be_operator(request)
            posted = await site.node.claims.post_share(
                share, kind.name, fields, by=by, audience=audience, nonce=nonce
            )
        else:
            posted = await site.node.board.post(kind.name, fields, by=by, audience=audience, nonce=nonce)
    except InvalidField as error:
        return await _post_form(request, kind, typed, errors=forms.slip(kind, error), status=400)
    except (HedgerowError, LimitExceeded) as error:
        return await _post_form(request, kind, typed, says=says_of(error), status=status_of(error))
    raise web.HTTPSeeOther(f"/d/{posted.address}?posted=1")


async def edit(request: web.Request) -> web.Response:
    """Change an own document; a guide gets a new revision, or one that brings two together."""
    site = request.app[SITE]
    must_sign_in(request)
    found, kind = await _own(request, revise=True)
    if request.method != "POST":
        values, seen = kind.to_text(found.fields), head_ids(found)[:1]
        if request.query.get("merge") and len(head_ids(found)) > 1:
            values, seen = values | {"relation": "merge"}, head_ids(found)
        return await _edit_form(request, found, kind, values | {"_seen": _hex(seen)})
    typed = await site.node.board.with_ids(kind, await typed_form(request))
    if session_of(request) is None or not form_token_fits(request, typed):
        return await _edit_form(request, found, kind, typed, says=not_yours(request), status=403)
    fields, errors = forms.read(kind, typed)
    if errors:
        return await _edit_form(request, found, kind, typed, errors=errors, status=400)
    kept = {name: found.fields[name] for name in forms.LEFT_TO_PAGE if name in found.fields}
    try:
        posted = await site.node.board.edit(
            found.doc.hex(), kept | fields, based_on=_seen(typed), replace=True, by=poster_of(request)
        )
    except StaleEdit as error:
        # What stands now is shown below the form; the next try is based on it, so it is a choice, not an
        # accident.
        found, kind = await _own(request, revise=True)
        typed = {**typed, "_seen": _hex(head_ids(found))}
        return await _edit_form(
            request, found, kind, typed, says=says_of(error), status=error.status, other=found
        )
    except InvalidField as error:
        return await _edit_form(request, found, kind, typed, errors=forms.slip(kind, error), status=400)
    except (HedgerowError, LimitExceeded) as error:
        return await _edit_form(request, found, kind, typed, says=says_of(error), status=status_of(error))
    raise web.HTTPSeeOther(f"/d/{posted.address}?changed=1")


async def withdraw(request: web.Request) -> web.Response:
    """Ask once more, then withdraw a document for good."""
    site = request.app[SITE]
    must_sign_in(request)
    found, kind = await _own(request)
    ledger = await site.node.claims.ledger_of(found.doc.hex(), Whose.NOBODYS)
    values = pages.shell(request, await site.around(), "board") | {
        "document": found,
        "title": present.title(found),
        "address": show_address(found.address),
        "card": present.card(found, site.node.clock.now_ms() // 1000),
        "says": "",
        "standing": ledger.standing if ledger is not None else 0,
    }
    if request.method == "POST":
        typed = await typed_form(request)
        if form_token_fits(request, typed):
            await site.node.board.withdraw(found.doc.hex())
            raise web.HTTPSeeOther(f"/?{_withdrawn(kind, found)}")
        values["says"] = not_yours(request)
    return html(request, render("withdraw.html", values), status=403 if values["says"] else 200)


def _must_be_operator(request: web.Request) -> None:
    """Let nobody else give away what was set aside for the town.

    Raises:
        NotAllowed.
    """
    session = session_of(request)
    if session is None or session.name != OPERATOR:
        raise NotAllowed("Only the operator offers what another town has set aside for this one.")


def must_sign_in(request: web.Request) -> None:
    """Let only those write who are signed in; who asks for a form is led to the sign-in first.

    Raises:
        HTTPSeeOther: To the sign-in, for a page that is only asked for.
    """
    if session_of(request) is None and request.method != "POST":
        raise web.HTTPSeeOther(f"/sign-in?next={quote(request.rel_url.raw_path_qs)}")


async def typed_form(request: web.Request) -> dict[str, str]:
    """Return what was typed into a form; files that somebody attached are passed over.

    Raises:
        InvalidRequest: It is broken, or in a charset that nobody knows.
    """
    form = await read_body(request.post(), "That form could not be read: it is not as its headers say.")
    typed = {name: value for name, value in form.items() if isinstance(value, str)}
    refuse_halves(typed, "That form holds half a character, which cannot be kept.")
    return typed


async def _post_form(
    request: web.Request,
    kind: Kind,
    typed: Mapping[str, str],
    *,
    errors: Mapping[str, str] | None = None,
    says: str = "",
    status: int = 200,
    fresh: bool = False,
) -> web.Response:
    site = request.app[SITE]
    nonce = typed.get("_nonce") or secrets.token_hex(NONCE_BYTES)
    federations = [
        site.node.authority().federations[each].name
        for each in site.node.authority().federations_of(site.node.town)
    ]
    values = pages.shell(request, await site.around(), "post") | {
        "heading": kind.label,
        "kind": kind,
        "form": forms.form(kind, typed, errors or {}, fresh=fresh, leave_out=forms.NOT_FOR_NEW),
        "hidden": {"_nonce": nonce},
        "audience": typed.get("_audience", "federations"),
        "federations": federations,
        "says": says,
        "button": "Post",
        "back": "/post",
        "other": None,
        "labels": {},
        "beside": [],
    }
    return html(request, render("form.html", values), status=status)


async def _edit_form(
    request: web.Request,
    found: Document,
    kind: Kind,
    typed: Mapping[str, str],
    *,
    errors: Mapping[str, str] | None = None,
    says: str = "",
    status: int = 200,
    other: Document | None = None,
) -> web.Response:
    site = request.app[SITE]
    now_s = site.node.clock.now_ms() // 1000
    seen = typed.get("_seen", "")
    beside = [
        present.guide(version, kind, now_s)
        for version in found.versions
        if kind.op is Op.ENTRY and version.is_head and len(seen) > 64 and version.id != found.id
    ]
    values = pages.shell(request, await site.around(), "board") | {
        "heading": "Bring two revisions together" if beside else f"Change “{present.title(found)}”",
        "kind": kind,
        "form": forms.form(kind, typed, errors or {}, fresh=False),
        "hidden": {"_seen": seen},
        "audience": "",
        "federations": [],
        "says": says,
        "button": "Save",
        "back": f"/d/{found.address}",
        "other": kind.to_text(other.fields) if other else None,
        "labels": {each.name: each.label for each in kind.inputs()},
        "beside": beside,
    }
    return html(request, render("form.html", values), status=status)


async def _own(request: web.Request, *, revise: bool = False) -> tuple[Document, Kind]:
    found = await pages.find(request)
    kind = kind_of(found.kind)
    if kind is None:
        raise NotFound("this program does not know how to show that document")
    if session_of(request) is not None:
        must_be_theirs(request, found, revise=revise)
    elif not found.own:
        raise NotOurs(f"That was posted in {found.town_name}; only that town can change it.")
    return found, kind


def _audience(typed: Mapping[str, str]) -> Audience:
    """Return who may see a post; it can never be changed, so nothing is guessed."""
    match typed.get("_audience", "federations"):
        case "town":
            return "town"
        case "federations":
            return "federations"
    raise InvalidRequest("Nothing was posted yet: choose who may see it.")


def nonce_of(typed: Mapping[str, str]) -> bytes | None:
    """Return the nonce of the form, by which a second press of the button is known; None if it is none."""
    try:
        nonce = bytes.fromhex(typed.get("_nonce", ""))
    except ValueError:
        return None
    return nonce if len(nonce) == NONCE_BYTES else None


def _seen(typed: Mapping[str, str]) -> list[RecordId]:
    """Return the versions that the editor saw; a list that makes no sense names none, and so is stale."""
    text = typed.get("_seen", "")[: 65 * CITES_MAX]
    try:
        return [RecordId(bytes.fromhex(part)) for part in text.split()]
    except ValueError:
        return []


def _hex(versions: tuple[RecordId, ...]) -> str:
    return " ".join(version.hex() for version in versions[:CITES_MAX])


def not_yours(request: web.Request) -> str:
    """Return what is said when a form does not come from the session that it shows."""
    if session_of(request) is None:
        return (
            "You are not signed in any more; nothing was written yet. "
            "Sign in on another page, come back to this one and press the button again."
        )
    return PRESS_AGAIN


def says_of(error: HedgerowError | LimitExceeded) -> str:
    """Return a refusal as a sentence for people."""
    says = error.says if isinstance(error, HedgerowError) else str(error)
    if isinstance(error, StorageUnavailable):
        says = (
            "This node cannot write at the moment: its disk is full or fails. "
            "Nothing that you typed is lost; try again later"
        )
    if isinstance(error, StaleEdit):
        says += ". What stands now is shown below; saving again replaces it"
    return says[:1].upper() + says[1:] + ("" if says.endswith(".") else ".")


def status_of(error: HedgerowError | LimitExceeded) -> int:
    """Return the HTTP status of a refusal."""
    return error.status if isinstance(error, HedgerowError) else 413


def _withdrawn(kind: Kind, found: Document) -> str:
    return f"kind={quote(kind.name)}&withdrawn={quote(found.address)}"
