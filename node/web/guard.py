"""What stands before every page and every call: who may ask, from where, and what leaves.

* **Host**: only names that mean this node, else a foreign page could reach it under its own name (DNS
rebinding). * **Origin**: a request that changes something must come from our own pages: by `Sec-Fetch-Site`,
else `Origin`, else
  `Referer`; and a form carries the token of its session. A bearer token is no cookie and needs neither.
* **Headers**: no script runs, no other site may frame a page or learn where a reader came from.
* **Errors**: one clear sentence as a page, or a problem document (RFC 9457) under `/api/`, never a traceback.

`/sync` and `/health` are not guarded: peers come under any name, and a watchdog asks cheaply.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
import unicodedata
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from node.accounts import same
from node.errors import HedgerowError, NotAllowed, NotFound, NotSignedIn
from node.web.render import html, render
from node.web.site import SESSION, SITE, Site, session_of
from protocol.errors import InvalidAddress, InvalidField, ProtocolError

COOKIE: Final = "hedgerow_session"
BROWSER_COOKIE: Final = "hedgerow_browser"
ANSWER_S_MAX: Final = 30.0
"""Reading a request's body and answering it; a slower sender is let go. Event streams are not counted."""
UNGUARDED: Final = frozenset({"/sync", "/health"})
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""`same-origin` and not `no-referrer`: with the latter browsers send `Origin: null` from our own forms."""
SAYS: Final = {
    400: "That request could not be understood.",
    404: "There is no such page here.",
    405: "That cannot be done with this address.",
    413: "That is more than this page takes in at once.",
    415: "That is in a form which is not understood here.",
}

_log: Final = logging.getLogger("hedgerow.web")


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check, answer, and turn whatever goes wrong into one clear sentence."""
    if request.path in UNGUARDED:
        return await handler(request)
    try:
        check_host(request)
        _know_session(request)
        if request.method not in ("GET", "HEAD"):
            check_origin(request)
        if request.path == "/api/v1/changes":
            return await handler(request)
        async with asyncio.timeout(ANSWER_S_MAX):
            response = await handler(request)
    except web.HTTPException as error:
        response = await _of_exception(request, error)
    except TimeoutError:
        response = await _failed(request, 408, "too_slow", "That took too long to arrive. Please try again.")
    except HedgerowError as error:
        response = await _failed(request, error.status, error.code, error.says, detail=error.detail)
    except ProtocolError as error:
        status = 404 if isinstance(error, InvalidAddress) and request.method == "GET" else 400
        detail = {"field": error.field} if isinstance(error, InvalidField) else {}
        response = await _failed(request, status, error.code, str(error), detail=detail)
    except (asyncio.CancelledError, ConnectionResetError):
        raise
    except Exception:
        _log.exception("%s %s failed", request.method, request.path)
        says = "Something went wrong in this node; it is written in its log. Nothing was lost."
        response = await _failed(request, 500, "internal", says)
    response.headers.extend({name: value for name, value in HEADERS.items() if name not in response.headers})
    return response


def check_host(request: web.Request) -> None:
    """Let a request through only under a name that means this node.

    Raises:
        NotAllowed: Another name; says how it can be allowed.
    """
    host = _host_name(request.headers.get("Host", ""))
    site = request.app[SITE]
    if host and (_is_near(host) or host in _names(site)):
        return
    raise NotAllowed(
        "This node is not known under that name. Its operator can allow it: [web] hosts in hedgerow.toml.",
        code="foreign_host",
    )


def check_origin(request: web.Request) -> None:
    """Let a change through only from our own pages, or with a bearer token.

    Raises:
        NotAllowed: It comes from elsewhere, or does not say from where.
    """
    if request.headers.get("Authorization"):
        return
    fetched = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin") or request.headers.get("Referer")
    if fetched is not None and fetched not in ("same-origin", "none"):
        raise _foreign()
    if origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("Host", "").lower():
        raise _foreign()
    if fetched is None and origin is None and not request.path.startswith("/api/"):
        raise _foreign()


def form_token_fits(request: web.Request, form: Mapping[str, str]) -> bool:
    """Tell whether a form carries the token of the session that sends it."""
    session = session_of(request)
    return (
        session is not None and bool(session.form_token) and same(form.get("_token", ""), session.form_token)
    )


def origin_of(remote: str, forwarded: str) -> str:
    """Return from where a request comes, as far as counting needs it: an address, of IPv6 its network of 64
    bits.

    Args:
        remote: The other end of the connection.
        forwarded: `X-Forwarded-For`. Only a proxy on this machine is believed, and only the last address,
            which is the one that it saw itself.
    """
    try:
        address = ipaddress.ip_address(remote)
        last = forwarded.rpartition(",")[2].strip()
        if address.is_loopback and last:
            address = ipaddress.ip_address(last)
    except ValueError:
        return remote
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


def wants_problem(request: web.Request) -> bool:
    """Tell whether errors are answered as problem documents."""
    return request.path.startswith("/api/")


def problem(status: int, code: str, says: str, detail: Mapping[str, object] | None = None) -> web.Response:
    """Return a problem document (RFC 9457) with our stable code."""
    body: dict[str, object] = {
        "type": f"urn:hedgerow:problem:{code}",
        "title": says,
        "status": status,
        "code": code,
        "detail": says,
    }
    body |= {name: value for name, value in (detail or {}).items() if name not in body}
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="hedgerow"'
    return web.Response(
        text=json.dumps(body, ensure_ascii=False),
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )


async def _failed(
    request: web.Request,
    status: int,
    code: str,
    says: str,
    headers: Mapping[str, str] | None = None,
    *,
    detail: Mapping[str, object] | None = None,
) -> web.StreamResponse:
    if wants_problem(request):
        response = problem(status, code, says, detail)
    else:
        # A document that stays in town is not there for strangers; who signs in may see it.
        hidden = code == NotFound.code and request.path.startswith("/d/") and session_of(request) is None
        helps = code == NotSignedIn.code or hidden
        values = {
            "section": "",
            "session": session_of(request),
            "requests": request.app[SITE].tallies.of(session_of(request)),
            "town_name": request.app[SITE].town_name,
            "dir": request.app[SITE].direction,
            "as_of": "",
            "status": status,
            "says": says
            if says[:1].isupper()
            else says[:1].upper() + says[1:] + ("" if says.endswith(".") else "."),
            "sign_in": f"/sign-in?next={quote(request.rel_url.raw_path_qs)}" if helps else "",
        }
        response = html(request, render("error.html", values), status=status)
    if headers and "Allow" in headers:
        response.headers["Allow"] = headers["Allow"]
    if status == 408:
        response.force_close()
    return response


async def _of_exception(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    if error.status >= 400:
        return await _failed(request, *_http(error), error.headers)
    return web.Response(status=error.status, headers={"Location": error.headers.get("Location", "/")})


def _http(error: web.HTTPException) -> tuple[int, str, str]:
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}
    return error.status, codes.get(error.status, "bad_request"), SAYS.get(error.status, SAYS[400])


def _foreign() -> NotAllowed:
    return NotAllowed(
        "That came from another site, so nothing was done. Open the page here and try again.",
        code="foreign_origin",
    )


def _know_session(request: web.Request) -> None:
    """Find out who asks. Under `/api/` a bearer token counts before a cookie; a wrong one is refused."""
    accounts = request.app[SITE].node.accounts
    authorization = request.headers.get("Authorization", "")
    if authorization and wants_problem(request):
        scheme, _, token = authorization.partition(" ")
        session = accounts.bearer(token.strip()) if scheme.lower() == "bearer" else None
        if session is None:
            raise NotSignedIn(
                "That token is not known here; `hedgerow token` makes a new one.", code="unknown_token"
            )
    else:
        session = accounts.session(request.cookies.get(COOKIE, ""))
    if session is not None:
        request[SESSION] = session


def _names(site: Site) -> set[str]:
    """Return the names of this node beside loopback and private addresses."""
    settings = site.node.settings.web
    names = {_host_name(name) for name in settings.hosts}
    names.add(_host_name(urlsplit(settings.public_url).netloc))
    names.add(f"{_slug(site.town_name)}.local")
    return names - {""}


def _host_name(text: str) -> str:
    """Return a host without its port, in small letters; nothing if it is none."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]/@\s]+)(?::\d{1,5})?", text.strip())
    return found[1].strip("[]").lower().rstrip(".") if found else ""


def _is_near(host: str) -> bool:
    """Tell whether a host is loopback or a private address written out: no other site can pass as these."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_link_local


def _slug(name: str) -> str:
    """Return a town's name as a host name: `Saint-Étienne` is `saint-etienne`."""
    plain = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
