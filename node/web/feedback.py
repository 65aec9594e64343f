"""How it went: two questions after a hand-over, posted as a document of the kind `feedback`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from aiohttp import web

from node.board import Audience
from node.errors import HedgerowError, NotFound
from node.store import Document
from node.web import forms, pages, present
from node.web.claims import concerned
from node.web.editing import must_sign_in, nonce_of, not_yours, says_of, status_of, typed_form
from node.web.guard import form_token_fits
from node.web.render import html, render
from node.web.site import SITE, poster_of, session_of
from protocol.errors import InvalidField, LimitExceeded
from protocol.kinds.claims import FEEDBACK
from protocol.limits import NONCE_BYTES

ASKED: Final = ("ok", "text")
"""What the short form asks; the rest follows from the claim."""


async def tell(request: web.Request) -> web.Response:
    """Ask how an exchange went, and post what is said."""
    site = request.app[SITE]
    must_sign_in(request)
    if session_of(request) is None:
        # What somebody typed comes back to them, and nothing else: whoever sends this may be anybody.
        return await _form(request, None, await typed_form(request), says=not_yours(request), status=403)
    claim, target, part = await concerned(request)
    if target is None:
        raise NotFound("What was asked for is not here any more, so nothing can be said about it")
    if request.method != "POST":
        return await _form(request, target, {})
    typed = await typed_form(request)
    if not form_token_fits(request, typed):
        return await _form(request, target, typed, says=not_yours(request), status=403)
    side = "receiver" if part.asks == (target.kind != "need") else "giver"
    own = {name: typed.get(name, "") for name in ASKED}
    fields, errors = forms.read(FEEDBACK, own | {"about": target.doc.hex(), "side": side})
    if errors:
        return await _form(request, target, typed, errors=errors, status=400)
    audience: Audience = target.federations or "town"
    try:
        await site.node.board.post(
            FEEDBACK.name, fields, by=poster_of(request), audience=audience, nonce=nonce_of(typed)
        )
    except InvalidField as error:
        return await _form(request, target, typed, errors=forms.slip(FEEDBACK, error), status=400)
    except (HedgerowError, LimitExceeded) as error:
        return await _form(request, target, typed, says=says_of(error), status=status_of(error))
    raise web.HTTPSeeOther(f"/c/{claim.address}?told=1")


async def _form(
    request: web.Request,
    target: Document | None,
    typed: Mapping[str, str],
    *,
    errors: Mapping[str, str] | None = None,
    says: str = "",
    status: int = 200,
) -> web.Response:
    errors = errors or {}
    inputs = {each.name: each for each in FEEDBACK.inputs()}
    inputs["text"] = replace(inputs["text"], label="In your own words", hint="What others should know")
    controls = tuple(forms.shown(inputs[name], typed.get(name, ""), errors.get(name, "")) for name in ASKED)
    values = pages.shell(request, await request.app[SITE].around(), "requests") | {
        "back": f"/c/{quote(request.match_info['address'], safe='')}",
        "title": present.title(target) if target else "",
        "is_shared": bool(target and target.federations),
        "form": forms.Form(controls, (), errors),
        "hidden": {"_nonce": typed.get("_nonce") or secrets.token_hex(NONCE_BYTES)},
        "says": says,
    }
    return html(request, render("feedback.html", values), status=status)
