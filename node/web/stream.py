"""`GET /api/v1/changes`: what changes on the board, as server-sent events.

Each event's id is the number of a change in this node's store, so a program that was away goes on where it
was with
`Last-Event-ID` (or `?since=`). Nothing waits in memory for a slow reader: a stream remembers one number and
asks the store for what came after it; a reader that does not take its events within half a minute is let go.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from aiohttp import web

from node.errors import InvalidRequest, TooMany
from node.web.guard import HEADERS
from node.web.pages import must_read
from node.web.site import SITE, session_of
from protocol.ids import address

if TYPE_CHECKING:
    from node.store import Document, Reader
    from protocol.ids import DocId

STREAMS_MAX: Final = 64
"""Programs that listen at one time."""
EVENTS_AT_ONCE: Final = 100
"""Documents of one look at the store."""
LOOK_S: Final = 0.25
"""Between two looks when nobody tells that something changed."""
HEARTBEAT_S: Final = 15.0
"""Between two comment lines, by which both sides see that the other is there."""
SEND_S_MAX: Final = 30.0
"""A reader that takes nothing for so long is let go."""


class Streams:
    """The event streams that are open, and the end of all of them."""

    def __init__(self) -> None:
        """Begin with none."""
        self.count = 0
        self.ending = asyncio.Event()


STREAMS: Final = web.AppKey("streams", Streams)


async def changes(request: web.Request) -> web.StreamResponse:
    """Send the documents that change from now on, or from the number on that the program names."""
    must_read(request)
    streams = request.app[STREAMS]
    if streams.count >= STREAMS_MAX:
        raise TooMany(f"{STREAMS_MAX} programs listen already; try again later", status=503)
    after = await _start(request)
    streams.count += 1
    try:
        return await _send(request, streams, after)
    finally:
        streams.count -= 1


async def end(app: web.Application) -> None:
    """End all streams, so that the node can stop at once."""
    app[STREAMS].ending.set()


async def _start(request: web.Request) -> int:
    """Return the number after which to begin."""
    text = request.headers.get("Last-Event-ID") or request.query.get("since", "")
    if text and not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest("since is the number of a change, as an event's id gives it")
    latest = await request.app[SITE].node.store.read(lambda reader: reader.change())
    # A store that was made anew counts from 1 again: a number from before is beyond it, and everything is
    # news.
    after = int(text) if text else latest
    return after if after <= latest else 0


async def _send(request: web.Request, streams: Streams, after: int) -> web.StreamResponse:
    headers = {
        **HEADERS,
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
    }
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await _write(response, f"retry: 3000\nid: {after}\nevent: ready\ndata: {{}}\n\n")
    loop = asyncio.get_running_loop()
    heard = loop.time()
    while not streams.ending.is_set():
        found = await _look(request, after)
        if found:
            after = found[-1][0]
            await _write(response, "".join(_event(*each) for each in found))
            heard = loop.time()
            continue
        if loop.time() - heard >= HEARTBEAT_S:
            await _write(response, ": still here\n\n")
            heard = loop.time()
        try:
            await asyncio.wait_for(streams.ending.wait(), LOOK_S)
        except TimeoutError:
            continue
    return response


async def _look(request: web.Request, after: int) -> list[tuple[int, DocId, Document | None]]:
    """Return what changed after a number; what stays in this town only is left out for strangers."""
    node = request.app[SITE].node
    now_s = node.clock.now_ms() // 1000
    at_home = session_of(request) is not None

    def work(reader: Reader) -> list[tuple[int, DocId, Document | None]]:
        if reader.change() <= after:
            return []
        touched = reader.changed_documents(after, EVENTS_AT_ONCE)
        return [(change, doc, reader.document(doc, now_s)) for change, doc in touched]

    found = await node.store.read(work)
    if not at_home:
        found = [each for each in found if each[2] is None or each[2].federations]
    return found


def _event(change: int, doc: DocId, document: Document | None) -> str:
    told: dict[str, object] = {
        "change": change,
        "address": address(doc),
        "doc": doc.hex(),
        "gone": document is None,
    }
    if document is not None:
        told |= {"kind": document.kind, "town": document.town.hex(), "id": document.id.hex()}
    return f"id: {change}\nevent: document\ndata: {json.dumps(told, separators=(',', ':'))}\n\n"


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(SEND_S_MAX):
        await response.write(text.encode("utf-8"))
