"""The search for canaries finds them in every disguise, so that finding none means something."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from pathlib import Path

import pytest

from tests.canary import traces, traces_in
from tests.tap import is_websocket, payloads

CANARY = "Kestrel ümlaut feather 4711"
UTF8 = CANARY.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"before" + UTF8 + b"behind",
        CANARY.upper().encode(),
        CANARY.encode("utf-16-le"),
        json.dumps({"a": CANARY}).encode(),
        UTF8.hex().encode(),
        UTF8.hex().upper().encode(),
        *(base64.b64encode(b"x" * before + UTF8 + b"yz") for before in range(4)),
        base64.urlsafe_b64encode(b"??>" + UTF8),
        *(b"noise\x78\x9c" + zlib.compress(b"a" * 100 + UTF8, level) + b"behind" for level in range(10)),
        zlib.compress(zlib.compress(UTF8)),
        b"noise" + gzip.compress(b"a" * 100 + UTF8) + b"behind",
    ],
)
def test_a_canary_is_found_in_every_disguise(data: bytes) -> None:
    assert traces(data, [CANARY, "another"]) == {CANARY}


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    data = zlib.compress(b"Kestrel feather") + bytes(range(256)) * 9
    assert traces(data, [CANARY]) == set()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one").write_bytes(data)
    assert traces_in(tmp_path, [CANARY]) == {}
    (tmp_path / "deep" / "two").write_bytes(data + UTF8)
    assert traces_in(tmp_path, [CANARY]) == {"deep/two": {CANARY}}


def frame(payload: bytes, *, mask: bytes = b"", first: int = 0x82) -> bytes:
    """A WebSocket frame, masked by XOR with four bytes (RFC 6455)."""
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload)) if mask else payload
    marked = 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        head = bytes([first, marked | size])
    elif size < 65_536:
        head = bytes([first, marked | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, marked | 127]) + size.to_bytes(8, "big")
    return head + mask + masked


def test_a_websocket_is_laid_open_masked_or_compressed_whatever_its_frames_sizes() -> None:
    head = b"GET /sync HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    assert is_websocket(head) and not is_websocket(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nupgrade: websocket\r\n")
    said = [UTF8, UTF8 + b"x" * 200, b"y" * 70_000 + UTF8]
    stream = head + b"".join(frame(each, mask=b"\x01\x02\x03\x04") for each in said)
    assert traces(stream, [CANARY]) == set(), "the mask hides it"
    assert list(payloads(stream)) == said
    deflate = zlib.compressobj(wbits=-15)
    small = (deflate.compress(UTF8) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert UTF8 in list(payloads(head + frame(small, first=0xC2)))
