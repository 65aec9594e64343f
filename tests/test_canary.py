"""The search for canaries finds them in every disguise, so that finding none means something."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import pytest

from tests.canary import traces, traces_in

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
