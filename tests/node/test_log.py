"""The log and what goes on beside: one line each, and nothing that fails ends anything else."""

import asyncio
import logging
import sys

import pytest

from node.background import Background, carefully
from node.errors import StorageUnavailable
from node.log import OneLine, set_up

WAIT_S = 20.0


def line_of(message: str, *, tracebacks: bool = False, error: Exception | None = None) -> str:
    """What is written of one event."""
    info = None if error is None else (type(error), error, None)
    record = logging.LogRecord("hedgerow.test", logging.ERROR, "", 0, message, None, info)
    return OneLine(tracebacks=tracebacks).format(record)


def test_what_a_stranger_sent_cannot_begin_a_line_of_its_own() -> None:
    line = line_of("a name: Roanne\n2026-01-01 INFO hedgerow: all is well\x1b[2J")
    assert "\n" not in line
    assert "\x1b" not in line
    assert "Roanne | 2026" in line


def test_a_fault_is_one_line_and_its_traceback_is_for_those_who_ask() -> None:
    error = ValueError("planted")
    assert line_of("it failed", error=error).endswith("it failed (ValueError: planted)")
    assert "\n" in line_of("it failed", tracebacks=True, error=error)


def test_libraries_are_quiet_unless_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    root, library = logging.getLogger(), logging.getLogger("aiohttp.server")
    before = (list(root.handlers), root.level, library.level)
    try:
        set_up("info")
        assert (root.level, library.level) == (logging.INFO, logging.CRITICAL)
        handler = root.handlers[0]
        assert isinstance(handler, logging.StreamHandler)
        assert handler.stream is sys.stderr
        set_up("debug")
        assert library.level == logging.DEBUG
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        library.setLevel(before[2])


async def test_what_fails_in_the_background_is_done_again(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []
    enough = asyncio.Event()

    async def work() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise StorageUnavailable("the disk is full")
        if len(tries) == 2:
            raise RuntimeError("planted")
        enough.set()

    background = Background()
    background.repeat(0.001, work)
    async with asyncio.timeout(WAIT_S):
        await enough.wait()
    await background.stop()
    assert "the disk is full" in caplog.text
    assert "planted" in caplog.text


async def test_what_is_done_with_care_lets_a_stop_through() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(carefully(forever))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
