"""What a node writes to its standard error: plain lines, one thing each; tracebacks only at `debug`."""

from __future__ import annotations

import logging
import sys
from typing import Final

ROOT: Final = "hedgerow"
FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

NOISY: Final = ("aiohttp.server", "aiohttp.web", "aiohttp.client", "aiohttp.websocket", "asyncio")
"""Libraries whose complaints about strangers' bytes would fill a disk; they speak at `debug` only."""


class OneLine(logging.Formatter):
    """Formats each event as one line; what a stranger sent cannot begin a line of its own."""

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__(FORMAT)
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; with tracebacks, more lines follow it."""
        if self._tracebacks or record.exc_info is None:
            text = super().format(record)
            return text if self._tracebacks else _flat(text)
        error = record.exc_info[1]
        bare = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None})
        return _flat(f"{super().format(bare)} ({type(error).__name__}: {error})")


def set_up(level: str) -> None:
    """Send the node's log to standard error at a level: error, warning, info or debug."""
    debug = level == "debug"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(tracebacks=debug))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.CRITICAL)


def _flat(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text.replace("\n", " | "))
