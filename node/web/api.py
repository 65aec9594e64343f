"""The JSON API: documents to read, post, edit and withdraw, and the state of the node. See docs/api.md.

Reading what is shared needs no sign-in where the operator allows it; writing needs a bearer token or a
session. Every refusal is a problem document with a stable code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from node.board import Audience, head_ids
from node.errors import HedgerowError, InvalidRequest, NotSignedIn, StaleEdit, UnknownKind
from node.exchange import document_json, each_shown
from node.store import Document, Near, Query
from node.web import pages
from node.web.openapi import description
from node.web.site import SITE, must_be_theirs, poster_of, read_body, refuse_halves, session_of
from protocol.errors import InvalidField
from protocol.ids import FederationId, RecordId, TownId
from protocol.kinds import KINDS, kind_of
from protocol.schema import Kind

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
"""Documents of one answer; `cursor` gives the next ones."""
KEY_CHARS_MAX: Final = 200
"""Characters of an Idempotency-Key; a UUID has 36."""


async def documents(request: web.Request) -> web.Response:
    """`GET documents`: one page of documents, newest first."""
    site = request.app[SITE]
    pages.must_read(request)
    page = await site.node.board.list(_query(request))
    body: dict[str, object] = {
        "documents": each_shown(page.documents, document_json),
        "cursor": page.cursor,
    }
    if page.total is not None:
        body["total"] = page.total
    return _json(body)


async def document(request: web.Request) -> web.Response:
    """`GET documents/ADDRESS`: one document with its versions."""
    found = await pages.find(request)
    etag = _etag(head_ids(found))
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    return _json(document_json(found), etag=etag)


async def post(request: web.Request) -> web.Response:
    """`POST documents`: {kind, fields, audience?} becomes a document."""
    session = _must_write(request)
    given = await _object(request)
    _refuse_unknown(given, {"kind", "fields", "audience"})
    kind = _kind(given.get("kind"))
    fields = kind.from_json(given.get("fields"))
    posted = await request.app[SITE].node.board.post(
        kind.name,
        fields,
        by=poster_of(request),
        audience=_audience(given.get("audience")),
        nonce=_nonce(request, session),
    )
    headers = {"Location": f"/api/v1/documents/{posted.address}"}
    body: dict[str, object] = {"address": posted.address, "id": posted.id.hex()}
    return _json(body, status=201, etag=_etag((posted.id,)), headers=headers)


async def edit(request: web.Request) -> web.Response:
    """`PATCH documents/ADDRESS`: {fields}; what is null is taken away, what is not named stays (RFC 7396)."""
    _must_write(request)
    given = await _object(request)
    _refuse_unknown(given, {"fields"})
    changes = given.get("fields")
    if not isinstance(changes, dict):
        raise InvalidField("fields", "must be a JSON object")
    found = await pages.find(request)
    must_be_theirs(request, found, revise=True)
    _check_match(request, found)
    kind = _kind(found.kind)
    whole = kind.to_json(found.fields) | changes
    fields = kind.from_json(whole)
    try:
        posted = await request.app[SITE].node.board.edit(
            found.doc.hex(), fields, based_on=head_ids(found), replace=True, by=poster_of(request)
        )
    except StaleEdit as error:
        raise _stale(request, error) from None
    body: dict[str, object] = {"address": posted.address, "id": posted.id.hex()}
    return _json(body, etag=_etag((posted.id,)))


async def withdraw(request: web.Request) -> web.Response:
    """`DELETE documents/ADDRESS`: withdraw it everywhere and for good."""
    _must_write(request)
    found = await pages.find(request)
    must_be_theirs(request, found)
    _check_match(request, found)
    try:
        posted = await request.app[SITE].node.board.withdraw(found.doc.hex())
    except StaleEdit as error:
        raise _stale(request, error) from None
    return _json({"address": posted.address, "id": posted.id.hex()})


async def status(request: web.Request) -> web.Response:
    """`GET status`: the state of the node; URLs of peers, and what the operator should look at, are
    shown to those who are signed in.
    """
    pages.must_read(request)
    answer = dict(await request.app[SITE].node.status())
    if session_of(request) is None:
        hidden = {"url", "urls", "disk_bytes", "data", "incidents", "keys", "failing_url"}
        answer = {name: value for name, value in answer.items() if name not in hidden}
        answer["peers"] = [
            {name: value for name, value in peer.items() if name not in hidden}
            for peer in answer.get("peers", [])
        ]
        answer["joins"] = [
            {name: value for name, value in each.items() if name not in hidden}
            for each in answer.get("joins", [])
        ]
    return _json(answer)


async def openapi(request: web.Request) -> web.Response:
    """`GET openapi.json`: this API, described for programs."""
    return _json(description(), headers={"Cache-Control": "public, max-age=3600"})


def _query(request: web.Request) -> Query:
    given = request.query
    known = {"kind", "town", "federation", "q", "near", "limit", "cursor", "total"}
    _refuse_unknown(given, known)
    kinds = tuple(name for each in given.getall("kind", []) for name in each.split(",") if name)
    for name in kinds:
        _kind(name)
    return Query(
        kinds=kinds,
        town=TownId(town) if (town := _hex(given, "town", 32)) else None,
        federation=FederationId(federation) if (federation := _hex(given, "federation", 16)) else None,
        text=given.get("q", "").strip()[: pages.WORDS_CHARS_MAX],
        near=_near(given.get("near", "")),
        home=session_of(request) is not None,
        limit=_limit(given.get("limit", "")),
        cursor=given.get("cursor") or None,
        count=_flag(given, "total"),
    )


def _near(text: str) -> Near | None:
    if not text:
        return None
    try:
        lat, lon, km = (float(part) for part in text.split(","))
    except ValueError:
        raise InvalidRequest("near is lat,lon,km in degrees and kilometres, like 46.03,4.07,20") from None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180 and 0 < km <= 20_040):
        raise InvalidRequest("near is lat,lon,km: -90 to 90, -180 to 180, more than 0 to 20,040")
    return Near(lat, lon, km)


def _limit(text: str) -> int:
    if not text:
        return LIMIT_DEFAULT
    found = re.fullmatch("[1-9][0-9]{0,2}", text)
    if found is None or int(text) > LIMIT_MAX:
        raise InvalidRequest(f"limit is a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def _flag(given: Mapping[str, str], name: str) -> bool:
    text = given.get(name, "")
    if text not in ("", "0", "1", "false", "true", "no", "yes"):
        raise InvalidRequest(f"{name} is 1 or 0")
    return text in ("1", "true", "yes")


def _hex(given: Mapping[str, str], name: str, size: int) -> bytes | None:
    text = given.get(name, "")
    if not text:
        return None
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size:
        raise InvalidRequest(f"{name} is {2 * size} hexadecimal digits")
    return value


def _must_write(request: web.Request) -> str:
    """Return the name of who writes.

    Raises:
        NotSignedIn: Neither a token nor a session.
    """
    session = session_of(request)
    if session is None:
        raise NotSignedIn("writing needs a bearer token (`hedgerow token` prints one) or a session")
    return session.name


async def _object(request: web.Request) -> dict[str, Any]:
    if request.content_type not in ("application/json", "application/merge-patch+json"):
        raise InvalidRequest(
            "send JSON with the header Content-Type: application/json", code="not_json", status=415
        )
    body = await read_body(request.read(), "the body is not packed as its headers say")
    try:
        given = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not JSON", code="not_json") from None
    if not isinstance(given, dict):
        raise InvalidRequest("the body must be a JSON object", code="not_json")
    refuse_halves(given, "the body holds half of a surrogate pair, which is no character")
    return given


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _refuse_unknown(given: Mapping[str, object], known: set[str]) -> None:
    for name in given:
        if name not in known:
            raise InvalidRequest(
                f"there is no {name[:40]}; known are {', '.join(sorted(known))}", code="unknown_name"
            )


def _kind(name: object) -> Kind:
    kind = kind_of(name) if isinstance(name, str) else None
    if kind is None or not kind.shown:
        known = ", ".join(kind.name for kind in KINDS.values() if kind.shown)
        raise UnknownKind(f"there is no such kind that people post; there are {known}")
    return kind


def _audience(value: object) -> Audience | None:
    if value is None or value == "town" or value == "federations":
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        try:
            return tuple(FederationId(bytes.fromhex(item)) for item in value)
        except ValueError:
            pass
    raise InvalidField("audience", 'must be "town", "federations" or a list of federation ids')


def _nonce(request: web.Request, writer: str) -> bytes | None:
    """Return the nonce that belongs to an Idempotency-Key of this writer: the same key, the same document."""
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        return None
    if len(key) > KEY_CHARS_MAX:
        raise InvalidRequest(f"an Idempotency-Key has at most {KEY_CHARS_MAX} characters")
    return request.app[SITE].node.board.nonce_of(writer, key)


def _etag(heads: tuple[RecordId, ...]) -> str:
    """Return the ETag of a document: its heads, since an edit is based on all of them."""
    return '"' + "-".join(sorted(head.hex() for head in heads)) + '"'


def _check_match(request: web.Request, found: Document) -> None:
    """Refuse a change that names another version than the present one (RFC 9110, section 13.1.1)."""
    wanted = request.headers.get("If-Match", "*").strip()
    if wanted != "*" and _etag(head_ids(found)) not in [part.strip() for part in wanted.split(",")]:
        heads = [head.hex() for head in head_ids(found)]
        raise StaleEdit(
            "the document has changed since you read it; read it again", status=412, detail={"heads": heads}
        )


def _stale(request: web.Request, error: StaleEdit) -> HedgerowError:
    """Answer a race as If-Match has it, if the program named a version at all."""
    status = 412 if "If-Match" in request.headers else error.status
    return StaleEdit(error.says, code=error.code, status=status, detail=error.detail)


def _json(
    body: Mapping[str, object],
    *,
    status: int = 200,
    etag: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    sent = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie", **(headers or {})}
    if etag:
        sent["ETag"] = etag
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(text=text, status=status, content_type="application/json", headers=sent)
