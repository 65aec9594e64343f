"""Real daemons as processes, on real sockets and files, with relays between them."""

import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from node.demo.line import Line, running

Read = Callable[[str], Awaitable[str]]
LINE = ("Roanne", "Charlieu", "Ambierle")


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    """Three towns A - B - C in one federation; A and C are not linked."""
    async with running(LINE, tmp_path) as made:
        await made.federate()
        yield made


@pytest.fixture
def read() -> Read:
    """Read a page by a plain GET, as a browser without JavaScript does; an error page is a page too."""

    def get(url: str) -> str:
        with contextlib.closing(urllib.request.urlopen(url, timeout=30)) as answer:
            return str(answer.read().decode())

    async def read_page(url: str) -> str:
        try:
            return await asyncio.to_thread(get, url)
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()

    return read_page
