"""Looks for words that must not be somewhere: in bytes, in every file of a folder, in every disguise.

A *canary* is a text that stands nowhere else in the world. It is looked for as UTF-8 and UTF-16, in any
letter case, as hexadecimal digits, in base64 at each of its three places, as JSON escapes it, and inside
every zlib and gzip stream that begins anywhere, one within another. A test that finds nothing must also show
that it would have found something: let one canary of the same sort be where it may be, and look for that too.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

STREAM_BEGINS: Final = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
"""The bytes with which a zlib stream begins, at each of its levels, and a gzip stream."""
UNFOLDED_BYTES_MAX: Final = 4 * 1_048_576
"""More than any parcel of ours unfolds to."""
DEPTH_MAX: Final = 3
"""Streams within streams within streams."""


def traces(data: bytes, canaries: Iterable[str], *, depth: int = 0) -> set[str]:
    """Return those canaries of which there is a trace in these bytes."""
    small = data.lower()
    found = {
        canary
        for canary in canaries
        if any(shape in small for shape in _small_shapes(canary))
        or any(shape in data for shape in _base64_shapes(canary))
    }
    if depth < DEPTH_MAX:
        for unfolded in _streams(data):
            found |= traces(unfolded, set(canaries) - found, depth=depth + 1)
    return found


def traces_in(folder: Path, canaries: Sequence[str]) -> dict[str, set[str]]:
    """Return the canaries found in each file below a folder, by its path; files without are left out."""
    found = {
        str(file.relative_to(folder)): traces(file.read_bytes(), canaries)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    return {name: each for name, each in found.items() if each}


def _small_shapes(canary: str) -> Iterator[bytes]:
    """Yield what a canary looks like in bytes whose ASCII letters are small."""
    for text in {canary, canary.upper(), json.dumps(canary)[1:-1]}:
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            data = text.encode(encoding)
            yield data.lower()
            yield data.hex().encode()


def _base64_shapes(canary: str) -> Iterator[bytes]:
    """Yield the part that is sure of a canary in base64, whatever stands before and behind it."""
    for before in range(3):
        data = bytes(before) + canary.encode()
        text = base64.b64encode(data[: len(data) // 3 * 3])[4 if before else 0 :]
        yield text
        yield text.replace(b"+", b"-").replace(b"/", b"_")


def _streams(data: bytes) -> Iterator[bytes]:
    """Yield what each zlib and gzip stream in these bytes unfolds to, as far as it is whole."""
    for begin in STREAM_BEGINS.finditer(data):
        unfold = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: whichever of the two it is
        out = b""
        try:
            out = unfold.decompress(data[begin.start() :], UNFOLDED_BYTES_MAX)
        except zlib.error:
            continue
        if out:
            yield out
