"""The web application of a node: every route in one visible place."""

from __future__ import annotations

from aiohttp import web

from node.web import (
    api,
    asking,
    claims,
    claims_api,
    editing,
    federations,
    feedback,
    neighbours,
    pages,
    signin,
    stream,
)
from node.web.guard import guard
from node.web.render import STYLE_NAME, style_sheet
from node.web.site import SITE, Node, Site

BODY_BYTES_MAX = 131_072
"""The largest form is a guide: 60 steps of 1,000 characters, each perhaps three bytes, percent-encoded in
part.
"""


def make_app(node: Node) -> web.Application:
    """Return the application of the pages and the API. `/health` and `/sync` are added by the daemon.

    The node's parts are looked at when a request comes, so they need not exist yet.
    """
    app = web.Application(middlewares=[guard], client_max_size=BODY_BYTES_MAX)
    app[SITE] = Site(node)
    app.add_routes(
        [
            web.get("/", pages.board),
            web.get("/go", pages.find_by_number),
            web.get("/d/{address}", pages.document),
            web.get("/d/{address}/record", pages.record),
            web.get("/neighbours", neighbours.neighbours),
            web.post("/neighbours", neighbours.put_away),
            web.get("/federations", federations.federations),
            web.get("/about", pages.about),
            web.get(STYLE_NAME, _style),
            web.get("/post", editing.post),
            web.post("/post", editing.post),
            web.get("/d/{address}/edit", editing.edit),
            web.post("/d/{address}/edit", editing.edit),
            web.get("/d/{address}/withdraw", editing.withdraw),
            web.post("/d/{address}/withdraw", editing.withdraw),
            web.get("/d/{address}/ask", asking.ask),
            web.post("/d/{address}/ask", asking.ask),
            web.get("/claims", claims.requests),
            web.get("/c/{address}", claims.one),
            web.post("/c/{address}", claims.one),
            web.get("/c/{address}/feedback", feedback.tell),
            web.post("/c/{address}/feedback", feedback.tell),
            web.get("/sign-in", signin.sign_in),
            web.post("/sign-in", signin.sign_in),
            web.post("/sign-out", signin.sign_out),
            web.get("/people", signin.people),
            web.post("/people", signin.people),
            web.get("/api/v1/documents", api.documents),
            web.post("/api/v1/documents", api.post),
            web.get("/api/v1/documents/{address}", api.document),
            web.patch("/api/v1/documents/{address}", api.edit),
            web.delete("/api/v1/documents/{address}", api.withdraw),
            web.get("/api/v1/documents/{address}/claims", claims_api.ledger),
            web.post("/api/v1/documents/{address}/claims", claims_api.ask),
            web.get("/api/v1/claims/{address}", claims_api.show),
            web.delete("/api/v1/claims/{address}", claims_api.withdraw),
            web.post("/api/v1/claims/{address}/{act}", claims_api.answer),
            web.get("/api/v1/status", api.status),
            web.get("/api/v1/changes", stream.changes),
            web.get("/api/v1/openapi.json", api.openapi),
        ]
    )
    app.on_shutdown.append(stream.end)
    app[stream.STREAMS] = stream.Streams()
    return app


async def _style(request: web.Request) -> web.Response:
    return style_sheet(request)
