"""`GET /api/v1/changes`: what changes on the board, as server-sent events.

An event's id is the number of a change in this node's store, so a program that was away goes on where it
was with `Last-Event-ID` (or `?since=`). Several documents may share one change; only the last of them
carries the id, so none is left out when a connection breaks between two of them. Nothing waits in memory
for a slow reader: a stream remembers one number and asks the store for what came after it; a reader that
takes nothing for half a minute is let go. One task looks whether something changed, for all streams, and
only while there are any.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from node.errors import HedgerowError, InvalidRequest, TooMany
from node.web.guard import HEADERS, origin_of
from node.web.pages import must_read
from node.web.site import SITE, session_of
from protocol.ids import address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from node.store import Document, Reader, Store
    from protocol.ids import DocId

STREAMS_MAX: Final = 64
"""Programs that listen at one time."""
STREAMS_OF_ONE_MAX: Final = 8
"""Of them from one address, so that nobody takes all: the programs of a household."""
DOCUMENTS_AT_ONCE: Final = 100
"""Documents of one look at the store, unless a single change touched more."""
LOOK_S: Final = 0.25
"""Between two looks whether anything changed."""
HEARTBEAT_S: Final = 15.0
"""Between two comment lines, by which both sides see that the other is there."""
SEND_S_MAX: Final = 30.0
"""A reader that takes nothing for so long is let go."""


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """A stream that is open: who asked, from where, and the task that answers."""

    request: web.Request
    origin: str
    task: asyncio.Task[Any]


class Streams:
    """The event streams that are open, and the one task that looks for them whether something changed."""

    def __init__(self) -> None:
        """Begin with none."""
        self.is_ending = False
        self._open: list[_Line] = []
        self._news = asyncio.Event()
        self._latest = -1
        self._watch: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def one_more(self, request: web.Request) -> AsyncIterator[None]:
        """Count a stream while it is open.

        Raises:
            TooMany: There are `STREAMS_MAX` already, or `STREAMS_OF_ONE_MAX` from the same address.
        """
        task = asyncio.current_task()
        assert task is not None, "a request is answered in a task"
        origin = origin_of(request.remote or "", request.headers.get("X-Forwarded-For", ""))
        line = _Line(request, origin, task)
        self._let_go()
        if len(self._open) >= STREAMS_MAX:
            raise TooMany(f"{STREAMS_MAX} programs listen already; try again later", status=503)
        if sum(each.origin == origin for each in self._open) >= STREAMS_OF_ONE_MAX:
            raise TooMany(f"{STREAMS_OF_ONE_MAX} programs listen from your address already; close one first")
        self._open.append(line)
        if self._watch is None:
            self._watch = asyncio.create_task(self._look(request.app[SITE].node.store))
        try:
            yield
        finally:
            if line in self._open:
                self._open.remove(line)
            if not self._open and self._watch is not None:
                self._watch.cancel()
                self._watch = None

    def _let_go(self) -> None:
        """End the streams whose line is closed: they would see it only at their next heartbeat."""
        closed = [line for line in self._open if line.request.transport is None]
        for line in closed:
            self._open.remove(line)
            line.task.cancel()

    async def wait(self, after: int) -> bool:
        """Wait for a change after this number or the end; False if a heartbeat is due first."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                while self._latest <= after and not self.is_ending:
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def end(self) -> None:
        """Wake all streams for the last time."""
        self.is_ending = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _look(self, store: Store) -> None:
        while True:
            try:
                latest = await store.read(lambda reader: reader.change())
            except HedgerowError:
                latest = (
                    self._latest
                )  # The disk fails for now; what changed is told when it can be read again.
            if latest != self._latest:
                self._latest = latest
                self._tell()
            self._let_go()
            await asyncio.sleep(LOOK_S)


STREAMS: Final = web.AppKey("streams", Streams)
"""Where an application keeps its streams."""


async def changes(request: web.Request) -> web.StreamResponse:
    """Send the documents that change from now on, or from the number on that the program names."""
    must_read(request)
    streams = request.app[STREAMS]
    async with streams.one_more(request):
        after = await _start(request)
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        await _write(response, f"retry: 3000\nid: {after}\nevent: ready\ndata: {{}}\n\n")
        while not streams.is_ending:
            if not await streams.wait(after):
                await _write(response, ": still here\n\n")
                continue
            now, found = await _after(request, after)
            if found:
                await _write(response, _events(found))
            after = now
        return response


async def end(app: web.Application) -> None:
    """End all streams, so that the node can stop at once."""
    app[STREAMS].end()


_HEADERS: Final = HEADERS | {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


async def _start(request: web.Request) -> int:
    """Return the number after which to begin."""
    text = request.headers.get("Last-Event-ID") or request.query.get("since", "")
    if text and not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest("since is the number of a change, as an event's id gives it")
    latest = await request.app[SITE].node.store.read(lambda reader: reader.change())
    # A store that was made anew counts from 1 again: a number from before lies beyond it, and all is news.
    after = int(text) if text else latest
    return after if after <= latest else 0


async def _after(request: web.Request, after: int) -> tuple[int, list[tuple[int, DocId, Document | None]]]:
    """Return how far the answer reaches, and what changed; strangers are told nothing of what stays in town,
    not even that it was there.
    """
    node = request.app[SITE].node
    now_s = node.clock.now_ms() // 1000
    at_home = session_of(request) is not None

    def work(reader: Reader) -> tuple[int, list[tuple[int, DocId, Document | None]]]:
        latest = reader.change()
        touched = _whole_changes(reader, after, home=at_home)
        # What `_whole_changes` left out is below the next number; all else is told.
        reached = touched[-1][0] if touched else latest
        return reached, [(change, doc, reader.document(doc, now_s)) for change, doc in touched]

    return await node.store.read(work)


def _whole_changes(reader: Reader, after: int, *, home: bool) -> list[tuple[int, DocId]]:
    """Return the next documents, never a part of one change: its number says that all of it was told."""
    limit = DOCUMENTS_AT_ONCE
    while True:
        touched = reader.changed_documents(after, limit + 1, home=home)
        if len(touched) <= limit:
            return touched
        whole = [each for each in touched if each[0] != touched[-1][0]]
        if whole:
            return whole
        limit *= 8


def _events(found: list[tuple[int, DocId, Document | None]]) -> str:
    lines = []
    for index, (change, doc, document) in enumerate(found):
        is_last = index + 1 == len(found) or found[index + 1][0] != change
        told: dict[str, object] = {
            "change": change,
            "address": address(doc),
            "doc": doc.hex(),
            "gone": document is None,
        }
        if document is not None:
            told |= {"kind": document.kind, "town": document.town.hex(), "id": document.id.hex()}
        number = f"id: {change}\n" if is_last else ""
        lines.append(f"{number}event: document\ndata: {json.dumps(told, separators=(',', ':'))}\n\n")
    return "".join(lines)


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(SEND_S_MAX):
        await response.write(text.encode("utf-8"))
