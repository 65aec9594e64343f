"""The operator's app: the control socket, over which every command speaks to the running node.

`POST /control/NAME` with a JSON object of arguments answers JSON, or a problem document (RFC 9457) with
our `code`; `export` answers JSON Lines. Whoever can open the socket, which only its owner can, is the
operator: there are no tokens here, and nothing of this is ever served on the page's port.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from node import claim_acts, governing_acts, key_acts
from node.acts import ACTS
from node.errors import HedgerowError, InvalidRequest, StorageUnavailable
from node.places import POINTER_FILE, fallback_socket, preferred_socket
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from node.daemon import Daemon

log = logging.getLogger(__name__)

del claim_acts, governing_acts, key_acts  # They have declared their acts.

REQUEST_BYTES_MAX: Final = 32 * 1_048_576
"""A batch of an import: 200 lines, each of which may be a record with its body in base64."""
SHUTDOWN_S: Final = 1.0
"""How long a command that is being answered may still take when the node stops."""
EXPORT_CHUNK_BYTES: Final = 65_536


class ControlServer:
    """Serves the control socket of one node."""

    def __init__(self, daemon: Daemon) -> None:
        """Prepare for a daemon; opens nothing yet."""
        self._daemon = daemon
        self._runner: web.AppRunner | None = None
        self.path: Path | None = None

    async def start(self) -> Path:
        """Open the socket, readable by its owner alone, and return where it lies.

        The data directory is locked by now, so a socket that lies there is left over from a node that is
        gone.

        Raises:
            HedgerowError: There is no place where a socket can be.
        """
        self._runner = web.AppRunner(_app(self._daemon), access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        data = self._daemon.data
        pointer = data / POINTER_FILE
        inside = preferred_socket(data)
        if inside is not None and await self._listen(inside):
            pointer.unlink(missing_ok=True)
            return inside
        try:
            outside = fallback_socket(data)
        except OSError as error:
            raise HedgerowError(
                f"no place for the control socket: {error.filename} {error.strerror}",
                code="no_control_socket",
            ) from None
        if not await self._listen(outside):
            raise HedgerowError(f"no control socket can be made at {outside}", code="no_control_socket")
        pointer.write_text(f"{outside}\n", "utf-8")
        return outside

    async def stop(self) -> None:
        """Close the socket and take it away."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    async def _listen(self, path: Path) -> bool:
        assert self._runner is not None
        try:
            path.unlink(missing_ok=True)
            await web.UnixSite(self._runner, path).start()
            path.chmod(0o600)
        except OSError as error:
            log.debug("no socket at %s: %s", path, error)
            return False
        self.path = path
        return True


def _app(daemon: Daemon) -> web.Application:
    async def answer(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        try:
            if name == "export":
                return await _export(daemon, request)
            return web.json_response(await _perform(daemon, name, request))
        except HedgerowError as error:
            return problem(error.code, error.says, error.status, error.detail)
        except ProtocolError as error:
            return problem(error.code, str(error), 400)

    app = web.Application(client_max_size=REQUEST_BYTES_MAX)
    app.router.add_post("/control/{name}", answer)
    return app


async def _perform(daemon: Daemon, name: str, request: web.Request) -> object:
    chosen = ACTS.get(name)
    if chosen is None:
        raise InvalidRequest(f"this node knows no act “{name[:40]}”: it may be older than the command")
    try:
        arguments = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise InvalidRequest("the arguments are not JSON") from None
    if not isinstance(arguments, dict):
        raise InvalidRequest("the arguments must be a JSON object")
    try:
        return await chosen(daemon, arguments)
    except OSError as error:
        raise StorageUnavailable(f"the disk refuses: {error.strerror or error}") from error


async def _export(daemon: Daemon, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
    await response.prepare(request)
    waiting: list[bytes] = []
    size = 0
    async for line in daemon.board.export():
        waiting.append(line.encode() + b"\n")
        size += len(waiting[-1])
        if size >= EXPORT_CHUNK_BYTES:
            await response.write(b"".join(waiting))
            waiting, size = [], 0
    await response.write(b"".join(waiting))
    await response.write_eof()
    return response


def problem(code: str, says: str, status: int, detail: Mapping[str, object] | None = None) -> web.Response:
    """Return a problem document (RFC 9457)."""
    content = {"type": "about:blank", "title": says, "status": status, "detail": says, "code": code}
    return web.json_response(
        {**(detail or {}), **content}, status=status, content_type="application/problem+json"
    )
