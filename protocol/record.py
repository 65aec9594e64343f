"""A record: header, signature, body; how one is made, opened and judged genuine.

The header is what everybody merges by; the body is what people read, and may be sealed, erased or of a
kind that this program does not know. So nothing here looks into a body, except `fields_of`, for the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Annotated, Any, Final, NoReturn, TypeAlias

from msgspec import Meta, Struct

from protocol.encoding import Shape, Value, check_values, decode_list, encode, encode_list
from protocol.errors import (
    BadSignature,
    BodyMissing,
    LimitExceeded,
    MalformedRecord,
    NewerVersion,
)
from protocol.identity import SigningKey, verify
from protocol.ids import DeviceId, DocId, FederationId, Lane, Op, RecordId, TownId
from protocol.limits import (
    BODY_BYTES_MAX,
    CITES_MAX,
    COUNTER_MAX,
    FEDERATIONS_MAX,
    HEADER_BYTES_MAX,
    KIND_CHARS_MAX,
    LIFETIME_S_MAX,
    NONCE_BYTES,
    RECORD_BYTES_MAX,
    RECORD_VERSION,
    SALT_BYTES,
    SECONDS_MAX,
    STAMP_MAX,
)

SIGNED_PREFIX: Final = b"hedgerow/record/1"
"""What stands before the id in the signed message: no signature of ours can be passed off as another's."""
NO_BODY_HASH: Final = bytes(32)
"""The body hash of a delete."""
CHARTER: Final = "charter"
"""The kind from whose record id a federation has its own."""
STEP: Final = "federation.step"
"""The kind by which stewards decide."""
SIGN: Final = "federation.sign"
"""The kind by which a steward agrees to what another has written."""

# Copied for each hash: half the cost of a new one.
_DOCUMENT: Final = blake2b(digest_size=16, person=b"hedgerow/doc")
_RECORD_ID: Final = blake2b(digest_size=32, person=b"hedgerow/record")
_BODY: Final = blake2b(digest_size=32, person=b"hedgerow/body")
_KIND: Final = re.compile(rf"[a-z][a-z0-9._-]{{0,{KIND_CHARS_MAX - 1}}}\Z")
_KINDS_REMEMBERED: Final = 256
"""Names of kinds of which it is remembered whether they are good ones: anybody may invent some."""


_B4: TypeAlias = Annotated[bytes, Meta(min_length=4, max_length=4)]
_16: Final = Meta(min_length=16, max_length=16)
_32: Final = Meta(min_length=32, max_length=32)


class Header(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """What is signed, in the order of its fields on the wire, each within its range.

    Times in seconds since 1970; `federations` ascending and without repeats.
    """

    version: Annotated[int, Meta(ge=RECORD_VERSION, le=RECORD_VERSION)]
    town: Annotated[TownId, _32]
    device: Annotated[DeviceId, _32]
    seq: tuple[_B4, Annotated[int, Meta(ge=0, le=COUNTER_MAX)]]
    stamp: Annotated[int, Meta(ge=0)]
    """Up to the 64 bits of the encoding itself."""
    kind: str
    lane: Lane
    federations: Annotated[tuple[Annotated[FederationId, _16], ...], Meta(max_length=FEDERATIONS_MAX)]
    born: Annotated[int, Meta(ge=0, le=SECONDS_MAX)]
    expires: Annotated[int, Meta(ge=0, le=2 * SECONDS_MAX)]
    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    op: Op
    cites: Annotated[tuple[Annotated[RecordId, _32], ...], Meta(max_length=CITES_MAX)]
    body_hash: Annotated[bytes, _32]
    body_size: Annotated[int, Meta(ge=0, le=BODY_BYTES_MAX)]

    @property
    def epoch(self) -> bytes:
        """The first part of seq: which start of which store it was."""
        return self.seq[0]

    @property
    def counter(self) -> int:
        """The second part of seq: the how-manieth record since then."""
        return self.seq[1]


class Record(Struct, frozen=True, eq=False, gc=False):
    """One signed statement, with the exact bytes that were signed; known by its id."""

    header: Header
    header_bytes: bytes
    signature: bytes
    body: bytes | None
    id: RecordId
    doc: DocId

    @property
    def raw(self) -> bytes:
        """The record as it is stored in files and sent: `[header bytes, signature, body or nil]`."""
        return encode_list([self.header_bytes, self.signature, self.body])


_RECORD: Final = Shape[tuple[bytes, bytes, bytes | None]](
    tuple[bytes, Annotated[bytes, Meta(min_length=64, max_length=64)], bytes | None]
)
"""`[header bytes, signature, body or nil]`."""
_HEADER: Final = Shape[Header](Header)
"""The name of the kind, the order of federations, and what depends on two fields are still to be checked."""
_OPEN_BODY: Final = Shape[tuple[bytes, dict[str, Value]]](
    tuple[Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)], dict[str, Any]]
)
"""`[salt, fields]`; the fields are still to be checked."""


def is_town_kind(kind: str) -> bool:
    """Tell whether this kind is signed with a town key and belongs to every federation of the town."""
    return kind.startswith("town.")


def stands_for_good(kind: str) -> bool:
    """Tell whether records of this kind are entries that nothing replaces, ends or counts out."""
    return kind in (CHARTER, STEP, SIGN)


def document_id(
    town: TownId,
    kind: str,
    lane: Lane,
    federations: Sequence[FederationId],
    born: int,
    expires: int,
    nonce: bytes,
) -> DocId:
    """Return the id of a document: it commits to all that its records must share."""
    hashed = _DOCUMENT.copy()
    hashed.update(encode_list([town, kind, lane, federations, born, expires, nonce]))
    return DocId(hashed.digest())


def record_id(header_bytes: bytes) -> RecordId:
    """Return the id of the record that has this header."""
    hashed = _RECORD_ID.copy()
    hashed.update(header_bytes)
    return RecordId(hashed.digest())


def body_hash(body: bytes) -> bytes:
    """Return the hash by which a header names its body."""
    hashed = _BODY.copy()
    hashed.update(body)
    return hashed.digest()


def make_body(salt: bytes, fields: Mapping[str, Value]) -> bytes:
    """Return the bytes of an open body.

    Raises:
        LimitExceeded: More than `BODY_BYTES_MAX` bytes.
    """
    body = encode([salt, dict(fields)])
    if len(body) > BODY_BYTES_MAX:
        raise LimitExceeded(f"the text is too long: {len(body)} bytes, at most {BODY_BYTES_MAX} are allowed")
    return body


def make(
    key: SigningKey,
    *,
    town: TownId,
    epoch: bytes,
    counter: int,
    stamp: int,
    kind: str,
    lane: Lane,
    federations: Sequence[FederationId] = (),
    born: int,
    expires: int,
    nonce: bytes,
    op: Op = Op.PUT,
    cites: Sequence[RecordId] = (),
    body: bytes | None = None,
) -> Record:
    """Return a signed record, checked by the same rules as one that arrives.

    Args:
        key: The device's key; a town key for `town.*` kinds.
        body: The bytes of `make_body`; None for a delete, and only for a delete.

    Raises:
        ProtocolError: What was asked for is no lawful record.
    """
    named = sorted(set(federations))
    fields: list[Value] = [
        RECORD_VERSION, town, key.public, [epoch, counter], stamp, kind, int(lane), list(named),
        born, expires, nonce, int(op), list(cites),
        NO_BODY_HASH if body is None else body_hash(body), len(body or b""),
    ]  # fmt: skip
    header_bytes = encode(fields)
    signature = key.sign(SIGNED_PREFIX + record_id(header_bytes))
    return open_record(encode_list([header_bytes, signature, body]))


def open_record(raw: bytes, id: RecordId | None = None) -> Record:
    """Return the record of these bytes, all checked but the signature, which costs most and comes last.

    Args:
        id: The hash of its header, where the caller knows it already.

    Raises:
        MalformedRecord: Not the canonical form, or a field out of its type or range.
        LimitExceeded: A bound is passed.
        NewerVersion: A record format that this program does not know.
        BodyMissing: A put or an entry without its body.
    """
    parts = _RECORD.read(raw) if len(raw) <= RECORD_BYTES_MAX else None
    if parts is None:
        _refuse_record(raw)
    header_bytes, signature, body = parts
    header = open_header(header_bytes)
    _check_body(header, body)
    doc = document_id(
        header.town, header.kind, header.lane, header.federations, header.born, header.expires, header.nonce
    )
    return Record(header, header_bytes, signature, body, id or record_id(header_bytes), doc)


def open_header(header_bytes: bytes) -> Header:
    """Return the header of these bytes.

    Raises:
        MalformedRecord, LimitExceeded, NewerVersion: As `open_record`.
    """
    header = _HEADER.read(header_bytes) if len(header_bytes) <= HEADER_BYTES_MAX else None
    if header is None:
        _refuse_header(header_bytes)
    if len(header.federations) > 1:
        _ascending(header.federations)
    _check_header(header)
    return header


def audience_of(header_bytes: bytes) -> tuple[str, Sequence[FederationId]]:
    """Return kind and federations of a header that was opened before, as the holder of its id knows.

    Raises:
        MalformedRecord, LimitExceeded: It never was.
    """
    fields = decode_list(header_bytes, bytes_max=HEADER_BYTES_MAX)
    if len(fields) != 15:
        raise MalformedRecord(f"a header has 15 fields, not {len(fields)}")
    return fields[5], fields[7]


def check_signature(record: Record) -> None:
    """Check that the device's key signed this record.

    Raises:
        BadSignature: It did not.
    """
    if not verify(record.header.device, SIGNED_PREFIX + record.id, record.signature):
        raise BadSignature("the signature is not that of the device that the record names")


def fields_of(record: Record) -> dict[str, Value] | None:
    """Return the fields of an open, readable body; None for a delete, a sealed body or one that is broken."""
    if record.body is None:
        return None
    return fields_of_body(record.body)


def fields_of_body(body: bytes) -> dict[str, Value] | None:
    """Return the fields of an open, readable body; None for a sealed or a broken one."""
    parts = _OPEN_BODY.read(body) if len(body) <= BODY_BYTES_MAX else None
    if parts is None:
        return None
    fields = parts[1]
    try:
        check_values(fields, 1)
    except MalformedRecord:
        return None
    return fields


def _refuse_record(raw: bytes) -> NoReturn:
    """Say what of a record has not its shape."""
    parts = decode_list(raw, bytes_max=RECORD_BYTES_MAX)
    if len(parts) != 3:
        raise MalformedRecord(f"a record has 3 parts, not {len(parts)}")
    raise MalformedRecord("a record is a header, a signature of 64 bytes and a body")


def _refuse_header(header_bytes: bytes) -> NoReturn:
    """Say which field of a header has not its type or range."""
    fields = decode_list(header_bytes, bytes_max=HEADER_BYTES_MAX)
    version = fields[0] if fields else None
    if type(version) is not int or version < 1:
        raise MalformedRecord("a header begins with its version")
    if version > RECORD_VERSION:
        raise NewerVersion(f"record format {version} is newer than this program ({RECORD_VERSION}): upgrade")
    if len(fields) != 15:
        raise MalformedRecord(f"a header has 15 fields, not {len(fields)}")
    _, town, device, seq, stamp, kind, lane, federations, born, expires = fields[:10]
    nonce, op, cites, hashed, size = fields[10:]
    if type(seq) is not list or len(seq) != 2:
        raise MalformedRecord("seq is an epoch and a counter")
    if type(kind) is not str:
        raise MalformedRecord("the name of a kind is text")
    if type(lane) is not int or not 0 <= lane < len(Lane):
        raise MalformedRecord("lane is 0, 1 or 2")
    if type(op) is not int or not 0 <= op < len(Op):
        raise MalformedRecord("op is 0, 1 or 2")
    _bytes(town, 32, "town")
    _bytes(device, 32, "device")
    _bytes(seq[0], 4, "epoch")
    _integer(seq[1], COUNTER_MAX, "counter")
    _integer(stamp, STAMP_MAX, "stamp")
    _federations(federations)
    _integer(born, SECONDS_MAX, "born")
    _integer(expires, 2 * SECONDS_MAX, "expires")
    _bytes(nonce, NONCE_BYTES, "nonce")
    _cites(cites)
    _bytes(hashed, 32, "body hash")
    _integer(size, BODY_BYTES_MAX, "body size")
    raise AssertionError("a header that is refused has a field at fault")


@lru_cache(_KINDS_REMEMBERED)
def _is_kind(name: str) -> bool:
    return _KIND.match(name) is not None


def _check_header(header: Header) -> None:
    if not _is_kind(header.kind):
        raise MalformedRecord("the name of a kind is 1 to 32 of a-z, 0-9, dot, hyphen and underscore")
    if not 0 < header.expires - header.born <= LIFETIME_S_MAX:
        raise LimitExceeded(f"a life of {header.expires - header.born} s; 1 to {LIFETIME_S_MAX} are allowed")
    if is_town_kind(header.kind):
        if header.federations:
            raise MalformedRecord(f"{header.kind} lists no federations")
    elif header.kind == CHARTER and header.federations:
        raise MalformedRecord("a charter lists no federations")
    if header.op is Op.DELETE:
        if header.body_size or header.body_hash != NO_BODY_HASH:
            raise MalformedRecord("a delete has no body")
    elif not header.body_size:
        raise MalformedRecord("a put or an entry has a body")


def _check_body(header: Header, body: Any) -> None:
    if body is None:
        if header.op is not Op.DELETE:
            raise BodyMissing("the body of this record did not come along")
        return
    if header.op is Op.DELETE or type(body) is not bytes:
        raise MalformedRecord("a body is bytes, and a delete has none")
    if len(body) != header.body_size or body_hash(body) != header.body_hash:
        raise MalformedRecord("the body is not the one that the header names")


def _bytes(value: Any, size: int, name: str) -> None:
    if type(value) is not bytes or len(value) != size:
        raise MalformedRecord(f"{name} is {size} bytes")


def _integer(value: Any, most: int, name: str) -> None:
    if type(value) is not int or not 0 <= value <= most:
        raise MalformedRecord(f"{name} is an integer from 0 to {most}")


def _federations(value: Any) -> None:
    if type(value) is not list:
        raise MalformedRecord("federations is a list")
    if len(value) > FEDERATIONS_MAX:
        raise LimitExceeded(f"{len(value)} federations; at most {FEDERATIONS_MAX} are allowed")
    for item in value:
        _bytes(item, 16, "a federation")


def _ascending(federations: Sequence[FederationId]) -> None:
    for one, next_one in pairwise(federations):
        if one >= next_one:
            raise MalformedRecord("federations ascend and none stands twice")


def _cites(value: Any) -> None:
    if type(value) is not list:
        raise MalformedRecord("cites is a list")
    if len(value) > CITES_MAX:
        raise LimitExceeded(f"{len(value)} citations; at most {CITES_MAX} are allowed")
    for item in value:
        _bytes(item, 32, "a citation")
