"""Listens on the wire between real nodes: a relay that keeps what it carries, and reads it as anybody could.

Each direction of each connection is one stream of bytes. A WebSocket's frames are masked by whoever dialled,
and may be compressed, which hides words from a search; so its payloads are laid open as far as a listener
without keys can lay them open.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from node.demo.relay import Relay
from tests.canary import traces

UPGRADE: Final = re.compile(rb"\r\nupgrade: websocket\r\n", re.IGNORECASE)
FLUSHED: Final = b"\x00\x00\xff\xff"
"""What permessage-deflate leaves out at the end of each message (RFC 7692)."""


class Tap(Relay):
    """A relay that keeps every byte that comes to it.

    Attributes:
        streams: One for each direction of each connection.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        super().__init__(target_host, target_port)
        self.streams = list[bytearray]()

    async def _pump(self, connection: Any, reader: asyncio.StreamReader, writer: Any) -> None:
        stream = bytearray()
        self.streams.append(stream)
        await super()._pump(connection, _Heard(reader, stream), writer)  # type: ignore[arg-type]

    def laid_open(self) -> Iterator[bytes]:
        """Yield each stream as it came, and what a WebSocket carries as one."""
        for stream in map(bytes, self.streams):
            yield stream
            if is_websocket(stream):
                yield b"".join(payloads(stream))


class _Heard:
    """A reader whose bytes are kept."""

    def __init__(self, reader: asyncio.StreamReader, stream: bytearray) -> None:
        self._reader = reader
        self._stream = stream

    async def read(self, most: int) -> bytes:
        """Read as the reader does."""
        data = await self._reader.read(most)
        self._stream += data
        return data


def is_websocket(stream: bytes) -> bool:
    """Tell whether a stream is one direction of a WebSocket."""
    return UPGRADE.search(stream.partition(b"\r\n\r\n")[0] + b"\r\n") is not None


def payloads(stream: bytes) -> Iterator[bytes]:
    """Yield the payload of each WebSocket frame of a stream, unmasked, and inflated if it says so."""
    data, at = stream.partition(b"\r\n\r\n")[2], 0
    inflate = zlib.decompressobj(wbits=-15)
    while at + 2 <= len(data):
        first, second = data[at], data[at + 1]
        size, at = second & 0x7F, at + 2
        wide = {126: 2, 127: 8}.get(size, 0)
        if wide:
            size, at = int.from_bytes(data[at : at + wide], "big"), at + wide
        mask = b""
        if second & 0x80:
            mask, at = data[at : at + 4], at + 4
        payload = data[at : at + size]
        at += size
        if mask:
            key = (mask * (len(payload) // 4 + 1))[: len(payload)]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(
                len(payload), "big"
            )
        yield payload
        if first & 0x40:
            yield inflate.decompress(payload + FLUSHED)


def traces_on_wire(taps: Iterable[Tap], canaries: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the canaries found on links between nodes, and those found on pages and the API.

    The links are looked through as they came, and payload by payload and all payloads in a row.
    """
    wanted, on_links, on_pages = list(canaries), set[str](), set[str]()
    for stream in (bytes(each) for tap in taps for each in tap.streams):
        if not is_websocket(stream):
            on_pages |= traces(stream, wanted)
            continue
        parts = list(payloads(stream))
        on_links |= traces(stream, wanted) | traces(b"".join(parts), wanted)
    return on_links, on_pages
