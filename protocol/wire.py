"""The frames that two nodes send each other, and their one encoding.

A frame is a canonical list `[type, field, ...]`; every field has a type and a bound, and what differs
is `MalformedFrame`. On a link a federation is named once, in HELLO, by a keyed hash that tells nothing
to who does not know it; after that by its place in the HELLO of the side that dialled. What is longer
than one frame (a batch of records, the records of a welcome) travels as a *parcel*: a compressed list
of raw records, cut.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any, Final, TypeAlias

from protocol.encoding import decode, decode_list, encode_list
from protocol.errors import LimitExceeded, MalformedFrame, MalformedRecord
from protocol.ids import FederationId, Lane
from protocol.limits import (
    BATCH_BYTES_MAX,
    BATCH_RECORDS_MAX,
    CELL_BYTES,
    FRAME_BYTES_MAX,
    RECORD_BYTES_MAX,
    RETRY_CELLS_MAX,
    SHORT_ID_BYTES,
    WANT_PREFIX_BYTES,
)

PART_BYTES_MAX: Final = 16_384
"""One frame's share of a parcel: at 364 B/s a link still says something within the 45 s of silence."""
PARCEL_BYTES_MAX: Final = BATCH_BYTES_MAX + RECORD_BYTES_MAX
"""Raw bytes of a parcel; a batch may end with a record that passes its bound."""
PARCEL_WIRE_BYTES_MAX: Final = PARCEL_BYTES_MAX + 8_192
"""The same on the wire: zlib adds a little to what it cannot compress."""
BLOB_BYTES_MAX: Final = 60_000
"""Cells, ids and prefixes in one frame: leaves room for the fields around them."""
NAMES_MAX: Final = 64
"""Federations of one node that a HELLO can name."""
EVIDENCE: Final = NAMES_MAX
"""Stands for a federation in batches that show somebody's rights in one that the other may not know."""
SAYS_CHARS_MAX: Final = 256
"""One line for a person."""
_COUNT_MAX: Final = 2**40
_ZLIB_LEVEL: Final = 3
"""0.51 of the raw bytes at 18 us a record; level 6 gave 0.49 at 30 us, level 1 gave 0.53 at 14 us."""


@dataclass(frozen=True, slots=True)
class Hello:
    """My federations, in an order that only grows, and whether I serve you there. Also: my rights moved."""

    version: int
    names: tuple[tuple[bytes, bool], ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """Do you live?"""


@dataclass(frozen=True, slots=True)
class Pong:
    """I do."""


@dataclass(frozen=True, slots=True)
class Join:
    """I was invited: the federation's name, the proof, and a parcel of certificate, profile and join."""

    name: bytes
    proof: bytes
    parcel: bytes


@dataclass(frozen=True, slots=True)
class Welcome:
    """You are admitted: one part of the parcel that makes you a member."""

    last: bool
    part: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """You are not."""

    code: str
    says: str


@dataclass(frozen=True, slots=True)
class Digest:
    """What I hold in the three lanes of a federation: counts, and 16 bytes of hash each. Begins a meeting."""

    federation: int
    urgent_count: int
    everyday_count: int
    library_count: int
    digests: bytes


@dataclass(frozen=True, slots=True)
class Same:
    """Nothing to do in any lane of this federation; ends a meeting."""

    federation: int


@dataclass(frozen=True, slots=True)
class Sketch:
    """For each lane that differs: lane, my count, my digest, my first cells."""

    federation: int
    lanes: tuple[tuple[int, int, bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """My count of ids by first byte, mod 256: estimate our difference and send cells."""

    federation: int
    lane: int
    counts: bytes


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of my sketch, from number `first` on; `last` if a run of them ends with these."""

    federation: int
    lane: int
    first: int
    last: bool
    cells: bytes


@dataclass(frozen=True, slots=True)
class More:
    """One more run of cells."""

    federation: int
    lane: int


@dataclass(frozen=True, slots=True)
class Stop:
    """No more cells."""

    federation: int
    lane: int


@dataclass(frozen=True, slots=True)
class List:
    """We differ by too much for cells. From the side that began: list your short ids."""

    federation: int
    lane: int


@dataclass(frozen=True, slots=True)
class Ids:
    """My short ids whose first byte is at least `first` and below `end`; after the last I wait for NEXT."""

    federation: int
    lane: int
    first: int
    end: int
    last: bool
    ids: bytes


@dataclass(frozen=True, slots=True)
class Next:
    """I have dealt with your ids below `end`; 256: with all of them."""

    federation: int
    lane: int
    end: int


@dataclass(frozen=True, slots=True)
class Want:
    """Send me the records of this lane whose ids begin so, then DONE."""

    federation: int
    lane: int
    prefixes: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """Answers one WANT: all is sent, but these ids, which I held when we compared and hold no more."""

    federation: int
    lane: int
    gone: bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """The side that began the meeting ends it.

    Attributes:
        agreed: Lanes (bits) that differ lawfully: leave them so.
        failed: Lanes (bits) whose digests nothing explained.
    """

    federation: int
    agreed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Meet:
    """Begin a meeting with me soon: asked by the side that did not dial."""

    federation: int


@dataclass(frozen=True, slots=True)
class Records:
    """One part of a batch of one lane; it is acknowledged as a whole.

    Attributes:
        federation: Its place; `EVIDENCE` for what shows somebody's rights.
    """

    batch: int
    federation: int
    lane: int
    last: bool
    part: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """A batch is committed, but these (places in the batch): dropped for good, and not now."""

    batch: int
    dropped: tuple[int, ...]
    not_now: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Salt:
    """The cells did not explain our digests: hash your buckets with me."""

    federation: int
    lane: int
    salt: bytes


@dataclass(frozen=True, slots=True)
class Buckets:
    """My salt, and a hash of the sorted ids of each first byte."""

    federation: int
    lane: int
    salt: bytes
    hashes: bytes


@dataclass(frozen=True, slots=True)
class Keyed:
    """Send cells under both salts of the ids in these buckets (bits by first byte)."""

    federation: int
    lane: int
    buckets: bytes


@dataclass(frozen=True, slots=True)
class KeyedHashes:
    """Hashes of those buckets as they are now, in order; keyed cells follow."""

    federation: int
    lane: int
    hashes: bytes


@dataclass(frozen=True, slots=True)
class KeyedWant:
    """Send me the records whose keyed short ids are these, then DONE."""

    federation: int
    lane: int
    shorts: bytes


# fmt: off
Frame: TypeAlias = (
    Hello | Ping | Pong | Join | Welcome | Refused | Digest | Same | Sketch | Counts | Cells | More
    | Stop | List | Ids | Next | Want | Done | Settled | Meet | Records | Ack | Salt | Buckets
    | Keyed | KeyedHashes | KeyedWant
)
# fmt: on

Shape: TypeAlias = Callable[[Any], Any]
"""Checks one decoded field and returns it, or raises MalformedFrame."""


def _integer(most: int) -> Shape:
    def check(value: Any) -> int:
        if type(value) is not int or not 0 <= value <= most:
            raise MalformedFrame(f"expected an integer from 0 to {most}")
        return value

    return check


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise MalformedFrame("expected true or false")
    return value


def _fixed(size: int) -> Shape:
    def check(value: Any) -> bytes:
        if type(value) is not bytes or len(value) != size:
            raise MalformedFrame(f"expected {size} bytes")
        return value

    return check


def _blob(unit: int, most: int) -> Shape:
    def check(value: Any) -> bytes:
        if type(value) is not bytes or len(value) % unit or len(value) > most:
            raise MalformedFrame(f"expected at most {most} bytes in units of {unit}")
        return value

    return check


def _text(most: int) -> Shape:
    def check(value: Any) -> str:
        if type(value) is not str or len(value) > most:
            raise MalformedFrame(f"expected a text of at most {most} characters")
        return value

    return check


def _many(shape: Shape, most: int) -> Shape:
    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > most:
            raise MalformedFrame(f"expected a list of at most {most}")
        return tuple(shape(item) for item in value)

    return check


def _row(*shapes: Shape) -> Shape:
    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(shapes):
            raise MalformedFrame(f"expected a list of {len(shapes)}")
        return tuple(shape(item) for shape, item in zip(shapes, value, strict=True))

    return check


_FEDERATION: Final = _integer(NAMES_MAX - 1)
_LANE: Final = _integer(len(Lane) - 1)
_COUNT: Final = _integer(_COUNT_MAX)
_BATCH: Final = _integer(_COUNT_MAX)
_BUCKET: Final = _integer(256)
_PLACES: Final = _many(_integer(BATCH_RECORDS_MAX - 1), BATCH_RECORDS_MAX)
_CELLS: Final = _blob(CELL_BYTES, BLOB_BYTES_MAX)
_PART: Final = _blob(1, BLOB_BYTES_MAX)
_IDS: Final = _blob(SHORT_ID_BYTES, BLOB_BYTES_MAX)

_SHAPES: Final[tuple[tuple[Callable[..., Frame], tuple[Shape, ...]], ...]] = (
    (Hello, (_integer(255), _many(_row(_fixed(16), _flag), NAMES_MAX))),
    (Ping, ()),
    (Pong, ()),
    (Join, (_fixed(16), _fixed(32), _PART)),
    (Welcome, (_flag, _PART)),
    (Refused, (_text(32), _text(SAYS_CHARS_MAX))),
    (Digest, (_FEDERATION, _COUNT, _COUNT, _COUNT, _fixed(48))),
    (Same, (_FEDERATION,)),
    (Sketch, (_FEDERATION, _many(_row(_LANE, _COUNT, _fixed(16), _CELLS), len(Lane)))),
    (Counts, (_FEDERATION, _LANE, _fixed(256))),
    (Cells, (_FEDERATION, _LANE, _integer(2 * RETRY_CELLS_MAX), _flag, _CELLS)),
    (More, (_FEDERATION, _LANE)),
    (Stop, (_FEDERATION, _LANE)),
    (List, (_FEDERATION, _LANE)),
    (Ids, (_FEDERATION, _LANE, _BUCKET, _BUCKET, _flag, _IDS)),
    (Next, (_FEDERATION, _LANE, _BUCKET)),
    (Want, (_FEDERATION, _LANE, _blob(WANT_PREFIX_BYTES, BLOB_BYTES_MAX))),
    (Done, (_FEDERATION, _LANE, _blob(32, BLOB_BYTES_MAX))),
    (Settled, (_FEDERATION, _integer(7), _integer(7))),
    (Meet, (_FEDERATION,)),
    (Records, (_BATCH, _integer(EVIDENCE), _LANE, _flag, _PART)),
    (Ack, (_BATCH, _PLACES, _PLACES)),
    (Salt, (_FEDERATION, _LANE, _fixed(16))),
    (Buckets, (_FEDERATION, _LANE, _fixed(16), _fixed(4_096))),
    (Keyed, (_FEDERATION, _LANE, _fixed(32))),
    (KeyedHashes, (_FEDERATION, _LANE, _blob(16, 4_096))),
    (KeyedWant, (_FEDERATION, _LANE, _IDS)),
)
_TYPE_OF: Final[dict[object, int]] = {maker: number for number, (maker, _) in enumerate(_SHAPES)}


def encode_frame(frame: Frame) -> bytes:
    """Return the bytes of a frame of ours, at most `FRAME_BYTES_MAX`."""
    values = [getattr(frame, field.name) for field in fields(frame)]
    data = encode_list([_TYPE_OF[type(frame)], *values])
    assert len(data) <= FRAME_BYTES_MAX, type(frame).__name__
    return data


def decode_frame(data: bytes) -> Frame:
    """Return the frame of these bytes, each field of its type and within its bound.

    Raises:
        MalformedFrame: Anything else.
    """
    try:
        value = decode(data, bytes_max=FRAME_BYTES_MAX)
    except (MalformedRecord, LimitExceeded) as error:
        raise MalformedFrame(str(error)) from None
    if type(value) is not list or not value or type(value[0]) is not int:
        raise MalformedFrame("a frame is a list that begins with its type")
    if not 0 <= value[0] < len(_SHAPES):
        raise MalformedFrame(f"frames of type {value[0]} are not known here")
    maker, shapes = _SHAPES[value[0]]
    if len(value) != len(shapes) + 1:
        raise MalformedFrame(f"a frame of type {value[0]} has {len(shapes)} fields, not {len(value) - 1}")
    return maker(*(shape(item) for shape, item in zip(shapes, value[1:], strict=True)))


def federation_name(federation: FederationId, handshake_hash: bytes, *, initiator: bool) -> bytes:
    """Return the 16 bytes by which one side of one link names a federation.

    Args:
        initiator: Whether the side that names it dialled; so neither can hand back what it heard.
    """
    role = b"\x01" if initiator else b"\x02"
    return blake2b(federation, digest_size=16, key=handshake_hash[:63] + role).digest()


def join_proof(secret: bytes, handshake_hash: bytes) -> bytes:
    """Return the 32 bytes that show knowledge of an invitation's secret on this link and on no other."""
    return blake2b(handshake_hash, digest_size=32, key=secret[:64], person=b"hedgerow/join").digest()


def pack_parcel(records: Sequence[bytes]) -> bytes:
    """Return raw records as one compressed parcel; at most `PARCEL_BYTES_MAX` of them."""
    return zlib.compress(encode_list(list(records)), _ZLIB_LEVEL)


def cut_parcel(parcel: bytes) -> list[bytes]:
    """Return the parts of a parcel, at least one, each of at most `PART_BYTES_MAX` bytes."""
    return [parcel[start : start + PART_BYTES_MAX] for start in range(0, len(parcel), PART_BYTES_MAX)]


def open_parcel(parcel: bytes) -> tuple[bytes, ...]:
    """Return the raw records of a parcel; nothing is known of them but their sizes.

    Raises:
        MalformedFrame: Not a parcel, or one that would unfold beyond `PARCEL_BYTES_MAX`.
    """
    unfolding = zlib.decompressobj()
    try:
        data = unfolding.decompress(parcel, PARCEL_BYTES_MAX + 8_192)
    except zlib.error:
        raise MalformedFrame("a parcel is not zlib") from None
    if not unfolding.eof or unfolding.unused_data:
        raise MalformedFrame("a parcel is cut short, too long, or has something behind it")
    try:
        records = decode_list(data, bytes_max=PARCEL_BYTES_MAX + 8_192)
    except (MalformedRecord, LimitExceeded) as error:
        raise MalformedFrame(str(error)) from None
    if not 0 < len(records) <= BATCH_RECORDS_MAX:
        raise MalformedFrame(f"a parcel holds 1 to {BATCH_RECORDS_MAX} records, not {len(records)}")
    for raw in records:
        if type(raw) is not bytes or len(raw) > RECORD_BYTES_MAX:
            raise MalformedFrame(f"a record in a parcel is at most {RECORD_BYTES_MAX} bytes")
    return tuple(records)
