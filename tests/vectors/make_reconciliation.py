"""Writes `reconciliation.json` from section 10 of `docs/protocol.md` alone: loops, no import of ours."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from hashlib import blake2b, shake_128
from pathlib import Path

SALT = bytes(range(32))
CELLS = 16_384


def digest(record_ids: Sequence[bytes]) -> bytes:
    """Give the digest of a set."""
    lanes = [0] * 1024
    for record_id in record_ids:
        expansion = shake_128(b"hedgerow/lthash" + record_id).digest(2048)
        for lane, more in enumerate(struct.unpack("<1024H", expansion)):
            lanes[lane] = (lanes[lane] + more) % 65_536
    return blake2b(struct.pack("<1024H", *lanes), digest_size=16, person=b"hedgerow/digest").digest()


def short(record_id: bytes, salt: bytes) -> bytes:
    """Give the short id of an id, plain if there is no salt."""
    if not salt:
        return record_id[:8]
    return blake2b(record_id, digest_size=8, key=salt, person=b"hedgerow/short").digest()


def place(short_id: bytes, salt: bytes) -> tuple[int, list[int]]:
    """Give the mark of a short id, and the cells that it falls into."""
    expansion = blake2b(short_id, key=salt, person=b"hedgerow/cells").digest()
    indices = [0]
    for draw in struct.unpack("<30H", expansion[4:]):
        start = indices[-1]
        indices.append(start + math.ceil((start + 1.5) * (256.0 / math.sqrt(draw + 0.5) - 1.0)))
    return int.from_bytes(b"\x01" + short_id + expansion[:4], "big"), indices


def cells(record_ids: Sequence[bytes], salt: bytes) -> bytes:
    """Give the first cells of a set as they go on the wire."""
    sums = [0] * CELLS
    for record_id in record_ids:
        mark, indices = place(short(record_id, salt), salt)
        for index in indices:
            if index < CELLS:
                sums[index] = (sums[index] + mark) % 2**104
    return b"".join(cell.to_bytes(13, "big") for cell in sums)


def vectors() -> dict[str, object]:
    """Give everything that another implementation should reproduce."""
    record_ids = [blake2b(bytes([number]), digest_size=32).digest() for number in range(200)]
    bucket = sorted(one for one in record_ids if one[0] == record_ids[0][0])
    return {
        "ids": "BLAKE2b-256 of the one byte 0, 1, ... 199",
        "digests": {str(count): digest(record_ids[:count]).hex() for count in (0, 1, 2, 200)},
        "salt": SALT.hex(),
        "forms": {
            name: {
                "short_ids": [short(one, salt).hex() for one in record_ids[:4]],
                "indices": [place(short(one, salt), salt)[1] for one in record_ids[:4]],
                "cells": [cells(record_ids, salt)[at : at + 13].hex() for at in range(0, 13 * 12, 13)],
                "cells_blake2b_256": blake2b(cells(record_ids, salt), digest_size=32).hexdigest(),
            }
            for name, salt in (("plain", b""), ("keyed", SALT))
        },
        "bucket_hash": blake2b(b"".join(bucket), digest_size=16, person=b"hedgerow/bucket").hexdigest(),
    }


if __name__ == "__main__":
    text = json.dumps(vectors(), indent=1)
    Path(__file__).with_name("reconciliation.json").write_text(text + "\n")
