"""One town of the demo: a node in a process of its own, and how to speak to it as its operator would.

The process is the real thing: `hedgerow init`, then `hedgerow run`, asked over its control socket. It is
ended with its parent, however the parent ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from node.cli import client
from node.errors import HedgerowError

START_S: Final = 60.0
"""How long a node may take to serve its first page; the slowest board needs a few seconds."""
STOP_S: Final = 10.0
LOG_FILE: Final = "node.log"
PR_SET_PDEATHSIG: Final = 1
PAGE_DOCUMENTS: Final = 500
PACKAGES: Final = Path(__file__).resolve().parents[2]
"""Where the packages lie that this process runs from; its children run from the same."""


class TownFailed(HedgerowError):
    """A command or the node of a town ended with an error; says which, and its last line."""

    code = "town_failed"
    status = 500


@dataclass(slots=True)
class TownProcess:
    """A town with its data directory, its node's process and the address of its page.

    Attributes:
        name: What the town is called. data: Its data directory. environment: Variables of the process
        beside the inherited ones; settings of the outside are taken away. url: Its page, once it runs.
        After a restart it is the same, so that relays find it again.
    """

    name: str
    data: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    _process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the page."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    @property
    def pid(self) -> int:
        """The node's process."""
        assert self._process is not None
        return self._process.pid

    async def init(self, *options: str) -> dict[str, Any]:
        """Make the data directory with `hedgerow init`; return what it answers."""
        answer: dict[str, Any] = json.loads(
            await self.command("init", "--name", self.name, *options, "--json")
        )
        return answer

    async def command(self, *arguments: str) -> str:
        """Run one `hedgerow` command on this town's data; return what it printed.

        Raises:
            TownFailed: Its exit code was not 0.
        """
        process = await self._spawn(*arguments, stderr=asyncio.subprocess.PIPE)
        out, error = await process.communicate()
        if process.returncode:
            raise TownFailed(f"{self.name}: {error.decode().strip() or f'ended with {process.returncode}'}")
        return out.decode()

    async def start(self) -> None:
        """Run the node; returns once its page can be had.

        Raises:
            TownFailed: It ended, or said nothing in time.
        """
        listen = f"{self.address[0]}:{self.address[1]}" if self.url else "127.0.0.1:0"
        with (self.data / LOG_FILE).open("ab") as log:
            self._process = await self._spawn("run", "--listen", listen, "--json", stderr=log)
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            await self.kill()
            raise TownFailed(f"{self.name}: its node served no page within {START_S:.0f} s") from None
        answer = json.loads(line or b"{}")
        if "url" not in answer:
            await self._process.wait()
            raise TownFailed(f"{self.name}: {self.last_log_line() or 'its node ended without a word'}")
        self.url = answer["url"]

    async def stop(self) -> int:
        """End the node in order; return its exit code."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End the node as a power cut would."""
        await self._end(signal.SIGKILL)

    async def ask(self, act: str, **arguments: Any) -> Any:
        """Have the node do one act over its control socket.

        Raises:
            NodeNotRunning, Refused: As `node.cli.client` has them.
        """
        return await asyncio.to_thread(client.ask, self.data, act, arguments)

    async def documents(self) -> dict[str, dict[str, Any]]:
        """Read every document from the node, by its full id."""
        found: dict[str, dict[str, Any]] = {}
        cursor: str | None = None
        while True:
            page = await self.ask("list", limit=PAGE_DOCUMENTS, cursor=cursor)
            found |= {document["doc"]: document for document in page["documents"]}
            cursor = page["cursor"]
            if not cursor:
                return found

    async def digests(self) -> dict[str, str]:
        """Read the digest of every lane of every federation, by `federation/lane`."""
        status = await self.ask("status")
        return {
            f"{federation['id']}/{name}": lane["digest"]
            for federation in status["federations"]
            for name, lane in federation["lanes"].items()
        }

    def last_log_line(self) -> str:
        """Return the last line that the node wrote to its log."""
        with contextlib.suppress(OSError):
            lines = (self.data / LOG_FILE).read_text("utf-8", "replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    async def _spawn(self, *arguments: str, stderr: Any) -> asyncio.subprocess.Process:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEDGEROW_")}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # wherever somebody stands, these packages are meant
            "-m",
            "node.cli",
            *arguments,
            "--data",
            str(self.data),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**kept, "PYTHONPATH": str(PACKAGES), **self.environment},
            preexec_fn=_end_with_parent,
        )

    async def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        self._process = None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_S):
                await process.communicate()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
        return process.returncode or 0


def _end_with_parent() -> None:
    """In the child: have the kernel end it when the parent is gone; only Linux knows how."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
