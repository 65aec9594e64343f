"""The description of the API for programs (OpenAPI 3.1), its documents taken from the declarations of the
kinds.
"""

from __future__ import annotations

from functools import cache

from node import __version__
from node.promises.views import Stage
from protocol.kinds import KINDS


@cache
def description() -> dict[str, object]:
    """Return the whole description."""
    shown = [kind for kind in KINDS.values() if kind.shown]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Hedgerow", "version": __version__, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/api/v1"}],
        "paths": {
            "/documents": {"get": _list(), "post": _post([kind.name for kind in shown])},
            "/documents/{address}": {
                "parameters": [_parameter("address", "path", "Address, or full id in hexadecimal digits")],
                "get": _operation("Read one document", "Document"),
                "patch": _patch(),
                "delete": _operation("Withdraw it everywhere and for good", "Posted", writes=True),
            },
            "/documents/{address}/claims": {
                "parameters": [_parameter("address", "path", "Address, or full id in hexadecimal digits")],
                "get": _operation("What there is of it, and the claims that you may see", "Ledger"),
                "post": _ask(),
            },
            "/claims/{address}": {
                "parameters": [_parameter("address", "path", "Address of a claim, or its full id")],
                "get": _operation("Read one claim", "Claim", writes=True),
                "delete": _operation("Take it back", "Claim", writes=True),
            },
            "/claims/{address}/{act}": {
                "parameters": [
                    _parameter("address", "path", "Address of a claim, or its full id"),
                    _parameter("act", "path", "accept, decline, release, handover, renew or receive"),
                ],
                "post": _operation("Answer it, hand over, or receive", "Claim", writes=True),
            },
            "/status": {"get": _operation("The state of the node and of its links", None)},
            "/changes": {
                "get": {
                    "summary": "What changes on the board, as server-sent events",
                    "parameters": [
                        _parameter("since", "query", "Number of the last change that is known"),
                        _parameter("Last-Event-ID", "header", "The same, as browsers send it"),
                    ],
                    "responses": {
                        "200": {
                            "description": "Events, without end",
                            "content": {"text/event-stream": {"schema": {"type": "string"}}},
                        },
                        "default": _problem(),
                    },
                }
            },
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Problem": _PROBLEM,
                "Posted": _object({"address": _STRING, "id": _STRING}),
                "Document": _DOCUMENT,
                "Claimed": _object({"address": _STRING, "id": _STRING, "code": _STRING}),
                "Claim": _CLAIM,
                "Ledger": _LEDGER,
                **{f"fields.{kind.name}": kind.json_schema() for kind in shown},
            },
        },
    }


_STRING: dict[str, object] = {"type": "string"}
_INTEGER: dict[str, object] = {"type": "integer"}


def _object(properties: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_PROBLEM = _object(
    {"type": _STRING, "title": _STRING, "status": _INTEGER, "code": _STRING, "detail": _STRING}
)
_VERSION = _object({"id": _STRING, "stamp": _INTEGER, "head": {"type": "boolean"}})
_DOCUMENT = _object(
    {
        "address": _STRING,
        "id": {**_STRING, "description": "Id of the record that is shown"},
        "kind": _STRING,
        "town": {**_STRING, "description": "Id of the town"},
        "fields": {"type": "object"},
        "born": {**_INTEGER, "description": "Seconds since 1970"},
        "expires": {**_INTEGER, "description": "Seconds since 1970"},
        "versions": {"type": "array", "items": _VERSION},
    }
)


_CLAIM = _object(
    {
        "address": _STRING,
        "doc": _STRING,
        "state": {**_STRING, "enum": [stage.value for stage in Stage]},
        "code": {**_STRING, "description": "Why, as a stable code"},
        "says": {**_STRING, "description": "The same in one plain sentence"},
        "ours": {"type": "boolean"},
        "to_answer": {"type": "boolean"},
        "longer": {
            **_INTEGER,
            "description": "Until when it is asked to be kept, in seconds; unanswered yet",
        },
        "renewals": {**_INTEGER, "description": "How often it was prolonged"},
    }
)
_LEDGER = _object(
    {
        "target": _STRING,
        "ledger": _STRING,
        "known": {"type": "boolean"},
        "says": _STRING,
        "waiting": _INTEGER,
        "claims": {"type": "array", "items": {"$ref": "#/components/schemas/Claim"}},
    }
)


def _ask() -> dict[str, object]:
    amount = {"type": ["string", "object"], "description": "Like 2.5 kg, or {amount, unit}"}
    names = ("reason", "urgency", "contact", "by")
    properties: dict[str, object] = dict.fromkeys(names, _STRING) | {
        "quantity": amount,
        "start": {**_INTEGER, "description": "Seconds since 1970: from when a thing is borrowed"},
        "end": {**_INTEGER, "description": "Until when"},
        "share": {"type": "boolean", "description": "The town wants to give it away itself"},
        "on_behalf_of": {"type": "boolean"},
    }
    return {
        "summary": "Ask for it; only the two towns can read that",
        "security": [{"token": []}],
        "parameters": [_parameter("Idempotency-Key", "header", "The same key again gives the same claim")],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object", "properties": properties}}},
        },
        "responses": {"201": _answer("Claimed"), "default": _problem()},
    }


def _list() -> dict[str, object]:
    page = _object(
        {
            "documents": {"type": "array", "items": {"$ref": "#/components/schemas/Document"}},
            "cursor": {"type": ["string", "null"]},
        }
    )
    answer = {"description": "One page", "content": {"application/json": {"schema": page}}}
    names = {
        "kind": "Kinds, parted by commas",
        "town": "Id of a town",
        "federation": "Id of a federation",
        "q": "Words that must all occur",
        "near": "lat,lon,km",
        "limit": "1 to 500",
        "cursor": "From the answer before",
        "total": "1: count all",
    }
    return {
        "summary": "Documents, newest first",
        "parameters": [_parameter(name, "query", says) for name, says in names.items()],
        "responses": {"200": answer, "default": _problem()},
    }


def _post(kinds: list[str]) -> dict[str, object]:
    choices = [
        _object({"kind": {"const": name}, "fields": {"$ref": f"#/components/schemas/fields.{name}"}})
        for name in kinds
    ]
    return {
        "summary": "Post a document",
        "security": [{"token": []}],
        "parameters": [_parameter("Idempotency-Key", "header", "The same key again gives the same document")],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"oneOf": choices}}}},
        "responses": {"201": _answer("Posted"), "default": _problem()},
    }


def _patch() -> dict[str, object]:
    body = _object({"fields": {"type": "object", "description": "null takes a field away"}})
    return {
        "summary": "Change fields of an own document",
        "security": [{"token": []}],
        "parameters": [_parameter("If-Match", "header", "ETag of the version that the editor saw")],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": _answer("Posted"), "default": _problem()},
    }


def _operation(summary: str, schema: str | None, *, writes: bool = False) -> dict[str, object]:
    found: dict[str, object] = {
        "summary": summary,
        "responses": {"200": _answer(schema), "default": _problem()},
    }
    return found | ({"security": [{"token": []}]} if writes else {})


def _answer(schema: str | None) -> dict[str, object]:
    shape: dict[str, object] = {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}
    return {"description": "Done", "content": {"application/json": {"schema": shape}}}


def _problem() -> dict[str, object]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": "A problem (RFC 9457) with a stable code", "content": content}


def _parameter(name: str, place: str, says: str) -> dict[str, object]:
    found: dict[str, object] = {"name": name, "in": place, "description": says, "schema": _STRING}
    return found | {"required": place == "path"}
