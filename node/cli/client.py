"""How a command speaks to the running node: HTTP over its Unix socket, standard library only.

`POST /control/NAME` with a JSON object of arguments answers JSON, or a problem document (RFC 9457) with
our `code`. A stream of lines is answered as JSON Lines. The socket is readable by its owner alone: who
can open it, is the operator.
"""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from node.places import find_socket, init_command, run_command

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 120.0
"""The slowest acts are an import's batch on a small board and a join through a slow link."""
READ_BYTES = 65_536


class NodeNotRunning(Exception):
    """Nobody answers on the control socket."""


class Refused(Exception):
    """The node said no; `problem` is its problem document."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        """Keep the problem document."""
        self.problem = problem
        super().__init__(str(problem.get("detail") or problem.get("title") or "refused"))


class _Connection(http.client.HTTPConnection):
    """An HTTP connection whose other end is a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_TIMEOUT_S)
        self.path = path

    def connect(self) -> None:
        """Open the Unix socket; a call that fails leaves nothing open."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(CONNECT_TIMEOUT_S)
            self.sock.connect(str(self.path))
            self.sock.settimeout(ANSWER_TIMEOUT_S)
        except OSError:
            self.sock.close()
            raise


def ask(data: Path, name: str, arguments: Mapping[str, Any]) -> Any:
    """Have the node of `data` do one act and return its answer.

    Raises:
        NodeNotRunning: nobody answers.
        Refused: the node said no.
    """
    with _answering(data, name, arguments) as response:
        return json.loads(response.read() or b"null")


def lines(data: Path, name: str, arguments: Mapping[str, Any]) -> Iterator[str]:
    """Have the node do one act whose answer is lines of JSON, and yield them as they come.

    Raises:
        NodeNotRunning: nobody answers, or the node went away before the end.
        Refused: the node said no.
    """
    with _answering(data, name, arguments) as response:
        rest = b""
        # Not readline(): it takes an answer that breaks off for one that has ended.
        while block := response.read1(READ_BYTES):
            *whole, rest = (rest + block).split(b"\n")
            yield from (f"{line.decode()}\n" for line in whole)


@contextlib.contextmanager
def _answering(data: Path, name: str, arguments: Mapping[str, Any]) -> Iterator[http.client.HTTPResponse]:
    """The answer to one act, open for reading; a node that goes away in between is not running any more."""
    with contextlib.closing(_Connection(find_socket(data))) as connection:
        headers = {"Content-Type": "application/json", "Connection": "close"}
        try:
            connection.request("POST", f"/control/{name}", json.dumps(arguments), headers)
            response = connection.getresponse()
        except PermissionError:
            says = f"the node at {data} belongs to another user; run this as that user."
            raise Refused({"code": "not_allowed", "detail": says}) from None
        except (OSError, http.client.HTTPException):
            if not data.exists():
                says = f"there is no data directory {data}. Make it with: {init_command(data)}"
                raise NodeNotRunning(says) from None
            raise NodeNotRunning(
                f"no node is running on {data}. Start it with: {run_command(data)}"
            ) from None
        with response:
            if response.status >= 400:
                raise Refused(_problem(response))
            try:
                yield response
            except (OSError, ValueError, http.client.HTTPException):
                raise NodeNotRunning(
                    f"the node went away while it answered. Start it with: {run_command(data)}"
                ) from None


def _problem(response: http.client.HTTPResponse) -> Mapping[str, Any]:
    try:
        problem = json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException):
        problem = None
    if isinstance(problem, dict):
        return problem
    return {"code": "failed", "status": response.status, "detail": f"the node answered {response.status}"}
