"""Documents as the board shows them: how held records fold into one, what a page asks for and what it gets.

The fold looks at what is held of one document and at nothing else, so equal held sets show equal documents. A
document of which a delete is held is gone; of puts there is one; of entries (revisions of a guide) all stand,
and the *heads*, which no other entry cites, are shown side by side, the greatest `(stamp, id)` first. What
this program cannot read, or what its kind does not allow, is held and forwarded, and here passed over: what
it follows is a head in its place. A document may have thousands of large entries, so the heads are found by
headers, and only as many bodies are read as are shown.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import asin, cos, radians, sin, sqrt
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from msgspec import Struct

from protocol.errors import InvalidField
from protocol.ids import Op
from protocol.kinds import KINDS
from protocol.record import fields_of

if TYPE_CHECKING:
    from protocol.encoding import Value
    from protocol.ids import DocId, FederationId, Lane, RecordId, TownId
    from protocol.record import Header, Record
    from protocol.schema import Kind

PAGE_DOCUMENTS: Final = 20
"""Documents of a page, unless the query says otherwise."""
EARTH_KM: Final = 6_371.0
"""Mean radius of the earth."""
HEADS_MAX: Final = 8
"""Heads that are shown side by side: as many as one merge can cite."""
VERSIONS_MAX: Final = 64
"""Versions that the page of a document names, the newest and the first; so many are read to find heads."""
PLACES_OWN: Final = 1 << 62
"""Stamps below this are their own place on the board."""
Columns: TypeAlias = "tuple[int | None, int | None, int, int | None, int | None]"
"""What the row of a document says of how it is shown, as `columns_of` gives it."""
PROFILE: Final = "town.profile"
"""The kind from which a town has its name and place."""


@dataclass(frozen=True, slots=True)
class Near:
    """Within `km` kilometres of a point, in degrees."""

    lat: float
    lon: float
    km: float


@dataclass(frozen=True, slots=True)
class Query:
    """Which documents, and how many of them.

    Attributes:
        kinds: Only these; empty means all that have a page.
        town: Only of this town.
        federation: Only of this audience; `home_id` of the own town means the town's own.
        text: Words that must all occur; the last one may be the beginning of a word.
        near: Only so near; a document without a place of its own lies where its town does.
        own: True: only the own town's; False: only others'.
        home: Whether documents that never leave the own town are among them.
        limit: At most so many; None means all.
        cursor: Where the page before ended, from `Page.cursor`.
        count: Whether to count all that the query names.
    """

    kinds: tuple[str, ...] = ()
    town: TownId | None = None
    federation: FederationId | None = None
    text: str = ""
    near: Near | None = None
    own: bool | None = None
    home: bool = True
    limit: int | None = PAGE_DOCUMENTS
    cursor: str | None = None
    count: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """One held put or entry of a document; `fields` is empty in lists for all but the heads."""

    id: RecordId
    stamp: int
    fields: dict[str, Value]
    cites: tuple[RecordId, ...]
    is_head: bool


@dataclass(frozen=True, slots=True)
class Document:
    """One document as the page shows it.

    Times in seconds since 1970, `stamp` of the version shown. `id` and `fields` are of the version shown: the
    held put, or of a guide the greatest head. `versions` has the newest first and ends with
    the very first; in lists it has only the heads, at most `HEADS_MAX`. `more_heads` others are not shown.
    """

    address: str
    doc: DocId
    id: RecordId
    kind: str
    town: TownId
    town_name: str
    lane: Lane
    federations: tuple[FederationId, ...]
    fields: dict[str, Value]
    born: int
    expires: int
    stamp: int
    versions: tuple[Version, ...]
    own: bool
    distance_km: float | None = None
    more_heads: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Documents, newest first; `cursor` is None at the end; `total` where the query asked for it."""

    documents: tuple[Document, ...] = field(default=())
    cursor: str | None = None
    total: int | None = None


class Shown(NamedTuple):
    """One readable version: its record and its checked fields."""

    record: Record
    fields: dict[str, Value]


class Folded(Struct, frozen=True):
    """What a document's held records come to.

    Attributes:
        versions: The heads, or with `whole` the newest readable ones and the first as well; the greatest
            `(stamp, id)` first.
        heads: Those that no other follows, in the same order; never empty, at most `HEADS_MAX`.
        more: How many others may be heads; they have not been read.
    """

    versions: tuple[Shown, ...]
    heads: tuple[Shown, ...]
    more: int = 0

    @property
    def head(self) -> Shown:
        """The version that stands for the document."""
        return self.heads[0]


def fold(
    records: Iterable[Record], *, whole: bool = False, read: Callable[[Record], Record] | None = None
) -> Folded | None:
    """Return what the held records of one document show, or None if that is nothing.

    Args:
        records: All that are held, in any order.
        whole: Whether versions that others follow are asked for as well.
        read: Gives a record of an entry with its body; None: they have them.
    """
    records = list(records)
    if len(records) == 1 and read is None:
        # As of nearly all documents.
        fields = readable(records[0])
        only = (Shown(records[0], fields),) if fields is not None else ()
        return Folded(only, only) if only else None
    all_of_it = {record.id: record for record in records}
    if any(record.header.op is Op.DELETE for record in all_of_it.values()):
        return None
    held = {id: record for id, record in all_of_it.items() if _declared(record.header) is not None}

    def fields_in(record: Record) -> dict[str, Value] | None:
        return readable(read(record) if read is not None and record.header.op is Op.ENTRY else record)

    heads, more = _heads(held, fields_in)
    if not heads:
        return None
    found = {shown.record.id: shown for shown in heads}
    if whole:
        first, *others = sorted(held.values(), key=_order)
        unread = (each for each in (first, *others[1 - VERSIONS_MAX :]) if each.id not in found)
        found |= {each.id: Shown(each, fields) for each in unread if (fields := fields_in(each)) is not None}
    return Folded(tuple(sorted(found.values(), key=_rank, reverse=True)), tuple(heads), more)


def _heads(
    held: Mapping[RecordId, Record], fields_in: Callable[[Record], dict[str, Value] | None]
) -> tuple[list[Shown], int]:
    """Return the heads that are shown, the greatest first, and how many more there may be."""
    followers = Counter(
        cited
        for record in held.values()
        for cited in {*record.header.cites}
        if cited in held and cited != record.id
    )
    # No record can cite one that cites it, for ids are hashes; so there is always a head.
    open_ones = [record for id, record in held.items() if not followers[id]]
    open_ones.sort(key=_order)
    heads: list[Shown] = []
    read = 0
    while open_ones and len(heads) < HEADS_MAX and read < VERSIONS_MAX:
        record = open_ones.pop()
        fields = fields_in(record)
        read += 1
        if fields is not None:
            heads.append(Shown(record, fields))
            continue
        for cited in {*record.header.cites} & held.keys() - {record.id}:
            followers[cited] -= 1
            if not followers[cited]:
                insort(open_ones, held[cited], key=_order)
    heads.sort(key=_rank, reverse=True)
    return heads, len(open_ones)


def readable(record: Record) -> dict[str, Value] | None:
    """Return the fields of a record as its kind declares them; None if this program cannot show it."""
    kind = _declared(record.header)
    # A sealed body is held and forwarded, and opened by `node/seals.py` alone. An open one of a kind that is
    # sealed is somebody's slip, which no page may show.
    if kind is None or kind.sealed:
        return None
    fields = fields_of(record)
    if fields is None:
        return None
    try:
        kind.check(fields)
    except InvalidField:
        return None
    return fields


def _declared(header: Header) -> Kind | None:
    """Return the kind of a header that is as its kind declares; None for every other."""
    kind = KINDS.get(header.kind)
    if (
        kind is None
        or header.lane is not kind.lane
        or header.op is not kind.op
        or header.expires - header.born > kind.lifetime_max_s
    ):
        return None
    return kind


def is_shown(kind: str) -> bool:
    """Tell whether documents of this kind have a page on the board."""
    declared = KINDS.get(kind)
    return declared is not None and declared.shown


def order_of(stamp: int) -> int:
    """Return the place that a stamp asks for on the board: 63 bits, and greater for a greater stamp.

    Stamps until the year 4,200 are their own place; later ones, which only a wrong clock makes, share them.
    """
    return stamp if stamp < PLACES_OWN else PLACES_OWN + (stamp >> 3)


def place_of(fields: Mapping[str, Value]) -> tuple[int | None, int | None]:
    """Return latitude and longitude of checked fields in 1e-5 degrees, or None and None."""
    where = fields.get("where")
    if type(where) is dict:
        lat, lon = where.get("lat"), where.get("lon")
        if type(lat) is int and type(lon) is int:
            return lat, lon
    return None, None


def ends_of(kind: str, fields: Mapping[str, Value], expires: int) -> int:
    """Return the second at which people see a document end: as its kind says, never later than it expires."""
    declared = KINDS.get(kind)
    ends = declared.ends(fields) if declared is not None else None
    return expires if ends is None else min(ends, expires)


def columns_of(folded: Folded, row: int) -> Columns:
    """Return what the row of a document says of how it is shown: when people see it end, row of the record
    shown, count of heads, latitude and longitude."""
    shown = folded.heads[0]
    header = shown.record.header
    ends = ends_of(header.kind, shown.fields, header.expires)
    return (ends, row, len(folded.heads) + folded.more, *place_of(shown.fields))


def distance_km(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Return the distance of two points in degrees along the ground."""
    north = radians(other_lat - lat) / 2
    east = radians(other_lon - lon) / 2
    chord = sin(north) ** 2 + cos(radians(lat)) * cos(radians(other_lat)) * sin(east) ** 2
    return 2 * EARTH_KM * asin(sqrt(min(1.0, chord)))


def _order(record: Record) -> tuple[int, bytes]:
    return (record.header.stamp, record.id)


def _rank(shown: Shown) -> tuple[int, bytes]:
    return _order(shown.record)
