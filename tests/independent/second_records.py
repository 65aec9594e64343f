"""Section 3 of the protocol, read a second time: headers, bodies, ids, addresses and signatures."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

if TYPE_CHECKING:
    from tests.independent.second_values import Refused, blake, decode, encode
else:
    sys.path.insert(0, str(Path(__file__).parent))
    from second_values import Refused, blake, decode, encode

HEADER_BYTES, BODY_BYTES, RECORD_BYTES = 1024, 32768, 33920
CITES, FEDERATIONS = 8, 8
LIFETIME_S, SECONDS, COUNTER = 3_162_240_000, 1_099_511_627_776, 281_474_976_710_656
PUT, DELETE, ENTRY = range(3)
DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
KIND = re.compile(r"[a-z][a-z0-9._-]{0,31}")


@dataclass(frozen=True)
class Record:
    """A record that keeps the rules; its names are those of the header's table."""

    header: bytes
    signature: bytes
    body: bytes | None
    town: bytes
    device: bytes
    stamp: int
    kind: str
    lane: int
    federations: tuple[bytes, ...]
    born: int
    expires: int
    nonce: bytes
    op: int
    cites: tuple[bytes, ...]

    @property
    def id(self) -> bytes:
        """The record's id."""
        return blake(32, "hedgerow/record", self.header)

    @property
    def doc(self) -> bytes:
        """The id of its document."""
        parts = [self.town, self.kind, self.lane, [*self.federations], self.born, self.expires, self.nonce]
        return blake(16, "hedgerow/doc", encode(parts))

    @property
    def order(self) -> tuple[int, bytes]:
        """By what the records of a document are compared."""
        return self.stamp, self.id

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the body; none if it is of no known form."""
        try:
            value = decode(self.body or b"")
        except Refused:
            return {}
        good = isinstance(value, list) and len(value) == 2 and is_bytes(value[0], 16)
        return value[1] if good and isinstance(value[1], dict) else {}


def is_int(value: Any, low: int, high: int) -> bool:
    """Whether it is an integer (a boolean is none) within these bounds."""
    return type(value) is int and low <= value <= high


def is_bytes(value: Any, size: int) -> bool:
    """Whether it is a byte string of this size."""
    return isinstance(value, bytes) and len(value) == size


def is_all_bytes(value: Any, size: int, most: int) -> bool:
    """Whether it is a list of at most so many byte strings of this size."""
    return isinstance(value, list) and len(value) <= most and all(is_bytes(each, size) for each in value)


def check_header(header: bytes) -> list[Any]:
    """Check the header's table; the 15 fields."""
    if len(header) > HEADER_BYTES:
        raise Refused("size", "header")
    fields = decode(header)
    if not isinstance(fields, list) or not fields or not is_int(fields[0], 1, 2**64 - 1):
        raise Refused("header", "no list that begins with a version")
    if fields[0] > 1:
        raise Refused("version", "a newer format", now_only=True)
    if len(fields) != 15:
        raise Refused("header", "not 15 fields")
    _, town, device, seq, stamp, kind, lane, federations, born, expires, nonce, op, cites, hash_, size = (
        fields
    )
    rules = {
        "town": is_bytes(town, 32),
        "device": is_bytes(device, 32),
        "seq": isinstance(seq, list) and len(seq) == 2 and is_bytes(seq[0], 4) and is_int(seq[1], 0, COUNTER),
        "stamp": is_int(stamp, 0, 2**64 - 1),
        "kind": isinstance(kind, str) and KIND.fullmatch(kind),
        "lane": is_int(lane, 0, 2),
        "federations": is_all_bytes(federations, 16, FEDERATIONS)
        and all(a < b for a, b in pairwise(federations)),
        "born": is_int(born, 0, SECONDS),
        "expires": is_int(expires, 0, 2**64 - 1) and is_int(born, 0, SECONDS),
        "nonce": is_bytes(nonce, 8),
        "op": is_int(op, PUT, ENTRY),
        "cites": is_all_bytes(cites, 32, CITES),
        "body hash": is_bytes(hash_, 32),
        "body size": is_int(size, 0, BODY_BYTES),
    }
    for name, kept in rules.items():
        if not kept:
            raise Refused("header", name)
    if not 1 <= expires - born <= LIFETIME_S:
        raise Refused("header", "lifetime")
    if (size == 0) != (op == DELETE) or (op == DELETE and any(hash_)):
        raise Refused("header", "size and hash of the body do not suit the operation")
    if federations and (kind.startswith("town.") or kind == "charter"):
        raise Refused("header", "this kind lists no federations")
    return fields


def check(header: Any, signature: Any, body: Any) -> Record:
    """Check the three parts of a record, the signature last."""
    if not isinstance(header, bytes) or not is_bytes(signature, 64):
        raise Refused("record", "header or signature")
    if body is not None and not isinstance(body, bytes):
        raise Refused("record", "the body is neither bytes nor nil")
    if body is not None and len(body) > BODY_BYTES:
        raise Refused("size", "body")
    if len(encode([header, signature, body])) > RECORD_BYTES:
        raise Refused("size", "record")
    fields = check_header(header)
    _, town, device, _, stamp, kind, lane, federations, born, expires, nonce, op, cites, hash_, size = fields
    if body is None and op != DELETE:
        raise Refused("body_missing", now_only=True)
    if body is not None and op == DELETE:
        raise Refused("body", "a delete has none")
    if body is not None and (len(body) != size or blake(32, "hedgerow/body", body) != hash_):
        raise Refused("body", "not the one of the header")
    audience = tuple(federations)
    named = (town, device, stamp, kind, lane, audience, born, expires, nonce, op, tuple(cites))
    record = Record(header, signature, body, *named)
    try:
        crypto_sign_open(signature + b"hedgerow/record/1" + record.id, device)
    except (BadSignatureError, ValueError):
        raise Refused("signature") from None
    return record


def check_raw(raw: bytes) -> Record:
    """Check a record as it travels."""
    if len(raw) > RECORD_BYTES:
        raise Refused("size", "record")
    parts = decode(raw)
    if not isinstance(parts, list) or len(parts) != 3:
        raise Refused("record", "no list of three")
    return check(*parts)


def address(doc: bytes) -> str:
    """The ten characters and the check character by which people name a document."""
    values = [int.from_bytes(doc[:7], "big") >> 6 + 5 * (9 - place) & 31 for place in range(10)]
    total, power = 0, 1
    for value in values:
        power = doubled(power)
        product, shifted = 0, value
        for bit in range(5):
            product ^= shifted if power >> bit & 1 else 0
            shifted = doubled(shifted)
        total ^= product
    return "".join(DIGITS[value] for value in [*values, total])


def doubled(value: int) -> int:
    """Multiply by x in GF(32)."""
    return value << 1 ^ (0b100101 if value & 16 else 0)
