"""Finding the addresses behind a name, without ever being held up by it.

When a line is down the name service does not answer, and the system's resolver waits for half a minute
in a thread. The shared thread pool of the event loop would soon be full of such waits, and everything
else that needs a thread (closing the store, hashing a PIN) would stand behind them. So each name has at
most one thread of its own, which nobody waits for at the end.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from node.transport.channel import LinkFailure
from node.transport.nearness import Nearness, nearness

LOOK_UPS_MAX: Final = 32
"""Names that are looked up at one time; half of all links."""


class Names(AbstractResolver):
    """A resolver for aiohttp that uses the system's, one daemon thread for each name that is asked
    for.

    Args:
        most: Addresses that are nearer are kept back.
    """

    def __init__(self, most: Nearness = Nearness.MACHINE) -> None:
        self._most = most
        self._asked: dict[tuple[str, int, socket.AddressFamily], asyncio.Future[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name; who asks while it is being looked up gets the same answer.

        Raises:
            OSError: The name is not known, or too many names are being looked up.
            LinkFailure: `too_near`: all of its addresses are.
        """
        key = (host, port, family)
        answer = self._asked.get(key)
        if answer is None:
            if len(self._asked) >= LOOK_UPS_MAX:
                raise OSError(f"{LOOK_UPS_MAX} names are being looked up already")
            answer = self._ask(key)
        # A call that is given up must not take the answer from the next one.
        found = await asyncio.shield(answer)
        kept = [each for each in found if is_within(each["host"], self._most)]
        if found and not kept:
            raise too_near(host)
        return kept

    async def close(self) -> None:
        """Wait for nothing: what is still being looked up ends with the process."""

    def _ask(self, key: tuple[str, int, socket.AddressFamily]) -> asyncio.Future[list[ResolveResult]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[ResolveResult]] = loop.create_future()
        self._asked[key] = answer

        def tell(found: list[ResolveResult] | OSError) -> None:
            del self._asked[key]
            if isinstance(found, OSError):
                answer.set_exception(found)
                answer.exception()  # nobody may be waiting any more; that is no fault
            else:
                answer.set_result(found)

        def look() -> None:
            found = _look_up(*key)
            try:
                loop.call_soon_threadsafe(tell, found)
            except RuntimeError:
                return  # the node has stopped meanwhile

        threading.Thread(target=look, name=f"name {key[0]}", daemon=True).start()
        return answer


def is_within(address: str, most: Nearness) -> bool:
    """Tell whether an address in figures is no nearer than this; a name is."""
    found = nearness(address)
    return found is None or found <= most


def too_near(host: str) -> LinkFailure:
    """Return the refusal to call where a peer points that has no business there."""
    why = f"{host}, which it told us, leads into our own network"
    return LinkFailure(why, code="too_near")


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult] | OSError:
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
    except OSError as error:
        return error
    except UnicodeError:
        return OSError("that is no name of a machine")
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=int(address[1]),
            family=found_family,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for found_family, _, proto, _, address in found
    ]
