"""Sign in with a name and a PIN or by a one-use link, sign out, and the operator's list of people."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from aiohttp import web

from node.accounts import SESSION_MS, SignedIn
from node.errors import HedgerowError, NotAllowed
from node.web import pages
from node.web.editing import must_sign_in, typed_form
from node.web.guard import BROWSER_COOKIE, COOKIE, form_token_fits
from node.web.render import html, render
from node.web.site import SITE, session_of

BROWSER_S: Final = 366 * 86_400
"""A browser that has not been used for a year is a stranger again."""


async def sign_in(request: web.Request) -> web.Response:
    """Ask for name and PIN, or for one press of a button where the address carries a link's token."""
    accounts = request.app[SITE].node.accounts
    if request.method != "POST":
        # A link is used up by the button and not by looking at it: mail programs and messengers look first.
        return await _form(request, link=request.query.get("token", ""))
    typed = await typed_form(request)
    try:
        if typed.get("token"):
            signed = await accounts.use_link(typed["token"])
        else:
            browser = request.cookies.get(BROWSER_COOKIE, "")
            signed = await accounts.sign_in(typed.get("name", ""), typed.get("pin", ""), browser)
    except HedgerowError as error:
        return await _form(request, name=typed.get("name", ""), says=error.says, status=error.status)
    response = web.Response(status=303, headers={"Location": _next(request), "Cache-Control": "no-store"})
    _set_cookies(request, response, signed)
    return response


async def sign_out(request: web.Request) -> web.Response:
    """End the session of this browser."""
    typed = await typed_form(request)
    response = web.Response(status=303, headers={"Location": "/", "Cache-Control": "no-store"})
    if form_token_fits(request, typed):
        await request.app[SITE].node.accounts.sign_out(request.cookies.get(COOKIE, ""))
        response.del_cookie(COOKIE, path="/")
    return response


async def people(request: web.Request) -> web.Response:
    """The operator's page: who may sign in here; let somebody in, or take an account away."""
    must_sign_in(request)
    session = session_of(request)
    if session is None or session.role != "operator":
        raise NotAllowed("Only the operator can do that: `hedgerow token --page` prints a link to sign in.")
    accounts = request.app[SITE].node.accounts
    says, status, typed = "", 200, {}
    if request.method == "POST":
        typed = await typed_form(request)
        try:
            if not form_token_fits(request, typed):
                raise NotAllowed("Nothing was done yet: please press the button once more.")
            if typed.get("remove"):
                await accounts.remove(typed["remove"])
            else:
                new_pin = typed.get("new_pin") == "yes"
                await accounts.add(typed.get("name", ""), typed.get("pin", ""), new_pin=new_pin)
            raise web.HTTPSeeOther("/people")
        except HedgerowError as error:
            says, status = error.says, error.status
    values = pages.shell(request, await request.app[SITE].around(), "people") | {
        "names": await accounts.names(),
        "name": typed.get("name", ""),
        "new_pin": "new_pin" in typed,
        "says": says[:1].upper() + says[1:],
    }
    return html(request, render("people.html", values), status=status)


async def _form(
    request: web.Request, *, link: str = "", name: str = "", says: str = "", status: int = 200
) -> web.Response:
    site = request.app[SITE]
    if link and not site.node.accounts.link_holds(link):
        says, link, status = (
            "That link was used already or is too old; ask the operator for a new one",
            "",
            410,
        )
    values = pages.shell(request, await site.around(), "sign-in") | {
        "link": link,
        "name": name,
        "says": says[:1].upper() + says[1:] + ("." if says else ""),
        "action": f"/sign-in?next={quote(_next(request))}",
    }
    return html(request, render("sign_in.html", values), status=status)


def _next(request: web.Request) -> str:
    """Return where to go after the sign-in: a page of this node, whatever the address asks for."""
    where = request.query.get("next", "/")
    local = where.startswith("/") and not where.startswith("//") and "\\" not in where and where.isprintable()
    return where if local else "/"


def _set_cookies(request: web.Request, response: web.Response, signed: SignedIn) -> None:
    # Behind a proxy the browser's own connection counts; a forged header can only harm its sender's cookie.
    secure = request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"
    response.set_cookie(
        COOKIE,
        signed.cookie,
        max_age=SESSION_MS // 1000,
        path="/",
        httponly=True,
        samesite="Lax",
        secure=secure,
    )
    if signed.browser is not None:
        response.set_cookie(
            BROWSER_COOKIE, signed.browser, max_age=BROWSER_S, path="/sign-in", httponly=True,
            samesite="Strict", secure=secure,
        )  # fmt: skip
