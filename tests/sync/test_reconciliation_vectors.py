"""Digest, cells and bucket hashes are those of `docs/protocol.md`, made by code that imports none of ours."""

from __future__ import annotations

import ast
import json
from hashlib import blake2b
from pathlib import Path

import pytest

from protocol.limits import CELLS_KEPT
from sync.digest import LtHash
from sync.salted import hash_buckets
from sync.sketch import BUCKETS, Coding, cells_to_bytes, sketch_of

FOLDER = Path(__file__).parent.parent / "vectors"
VECTORS = json.loads((FOLDER / "reconciliation.json").read_text())
IDS = [blake2b(bytes([number]), digest_size=32).digest() for number in range(200)]


def test_the_maker_of_the_vectors_imports_nothing_of_ours() -> None:
    tree = ast.parse((FOLDER / "make_reconciliation.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported == {"__future__", "collections.abc", "hashlib", "json", "math", "pathlib", "struct"}


def test_digests_are_those_of_the_vectors() -> None:
    for count, digest in VECTORS["digests"].items():
        assert LtHash.of(IDS[: int(count)]).digest().hex() == digest


@pytest.mark.parametrize("form", ["plain", "keyed"])
def test_cells_are_those_of_the_vectors(form: str) -> None:
    coding = Coding(bytes.fromhex(VECTORS["salt"]) if form == "keyed" else b"")
    expected = VECTORS["forms"][form]
    shorts = [coding.short(one) for one in IDS]
    assert [short.hex() for short in shorts[:4]] == expected["short_ids"]
    for short, indices in zip(shorts[:4], expected["indices"], strict=True):
        assert coding.indices(coding.expand(short), indices[-1] + 1) == indices
    wire = cells_to_bytes(sketch_of(shorts, coding, CELLS_KEPT))
    assert [wire[at : at + 13].hex() for at in range(0, 13 * 12, 13)] == expected["cells"]
    assert blake2b(wire, digest_size=32).hexdigest() == expected["cells_blake2b_256"]


def test_bucket_hashes_are_those_of_the_vectors() -> None:
    assert hash_buckets(IDS, range(BUCKETS))[IDS[0][0]].hex() == VECTORS["bucket_hash"]
