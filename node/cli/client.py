"""How a command speaks to the running node: HTTP over its Unix socket, standard library only.

`POST /control/NAME` with a JSON object of arguments answers JSON, or a problem document (RFC 9457) with
our `code`. A stream of lines is answered as JSON Lines. The socket is readable by its owner alone: who
can open it, is the operator.
"""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from node import control_socket

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 120.0
"""The slowest acts are an import's batch on a small board and a join through a slow link."""


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
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT_S)
        self.sock.connect(str(self.path))
        self.sock.settimeout(ANSWER_TIMEOUT_S)


def ask(data: Path, name: str, arguments: Mapping[str, Any]) -> Any:
    """Have the node of `data` do one act and return its answer.

    Raises:
        NodeNotRunning: nobody answers.
        Refused: the node said no.
    """
    response = _request(data, name, arguments)
    try:
        return json.loads(response.read() or b"null")
    except (OSError, ValueError, http.client.HTTPException):
        raise NodeNotRunning("the node went away while it answered") from None


def lines(data: Path, name: str, arguments: Mapping[str, Any]) -> Iterator[str]:
    """Have the node do one act whose answer is lines of JSON, and yield them as they come.

    Raises:
        NodeNotRunning: nobody answers, or the node went away before the end.
        Refused: the node said no.
    """
    response = _request(data, name, arguments)
    try:
        while line := response.readline():
            yield line.decode()
    except (OSError, http.client.HTTPException):
        raise NodeNotRunning("the node went away while it answered") from None


def _request(data: Path, name: str, arguments: Mapping[str, Any]) -> http.client.HTTPResponse:
    connection = _Connection(control_socket.find(data))
    try:
        connection.request(
            "POST", f"/control/{name}", json.dumps(arguments), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
    except PermissionError:
        raise Refused(
            {
                "code": "not_allowed",
                "detail": f"the node at {data} belongs to another user; run this as that user.",
            }
        ) from None
    except (OSError, http.client.HTTPException):
        raise NodeNotRunning(f"no node is running on {data}") from None
    if response.status >= 400:
        raise Refused(_problem(response))
    return response


def _problem(response: http.client.HTTPResponse) -> Mapping[str, Any]:
    try:
        problem = json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException):
        problem = None
    if isinstance(problem, dict):
        return problem
    return {"code": "failed", "status": response.status, "detail": f"the node answered {response.status}"}
