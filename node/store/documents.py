"""Documents as the board shows them: how held records fold into one, what a page asks for and what it gets.

The fold looks at what is held of one document and at nothing else, so equal held sets show equal documents. A
document of which a delete is held is gone; of puts there is one; of entries (revisions of a guide) all stand,
and the *heads*, which no other readable entry cites, are shown side by side, the greatest `(stamp, id)`
first. What this program cannot read, or what its kind does not allow, is held and forwarded, and here passed
over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import asin, cos, radians, sin, sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.errors import InvalidField
from protocol.ids import Op
from protocol.kinds import KINDS
from protocol.record import fields_of

if TYPE_CHECKING:
    from protocol.encoding import Value
    from protocol.ids import DocId, FederationId, Lane, RecordId, TownId
    from protocol.record import Record

PAGE_DOCUMENTS: Final = 20
"""Documents of a page, unless the query says otherwise."""
EARTH_KM: Final = 6_371.0
"""Mean radius of the earth."""
PLACES_OWN: Final = 1 << 62
"""Stamps below this are their own place on the board."""
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
    held put, or of a guide the greatest head. `versions` has the newest first; in lists it has only the
    heads.
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


@dataclass(frozen=True, slots=True)
class Folded:
    """What a document's held records come to.

    Attributes:
        versions: All readable ones, the greatest `(stamp, id)` first.
        heads: Those that no other of them follows, in the same order; never empty.
    """

    versions: tuple[Shown, ...]
    heads: tuple[Shown, ...]

    @property
    def head(self) -> Shown:
        """The version that stands for the document."""
        return self.heads[0]


def fold(records: Iterable[Record]) -> Folded | None:
    """Return what the held records of one document show, or None if that is nothing."""
    found: list[Shown] = []
    for record in records:
        if record.header.op is Op.DELETE:
            return None
        fields = readable(record)
        if fields is not None:
            found.append(Shown(record, fields))
    if not found:
        return None
    if len(found) == 1:
        only = tuple(found)
        return Folded(only, only)
    found.sort(key=_rank, reverse=True)
    followed = {cited for shown in found for cited in shown.record.header.cites if cited != shown.record.id}
    # No record can cite one that cites it, for ids are hashes; so there is always a head.
    heads = tuple(shown for shown in found if shown.record.id not in followed)
    return Folded(tuple(found), heads)


def readable(record: Record) -> dict[str, Value] | None:
    """Return the fields of a record as its kind declares them; None if this program cannot show it."""
    header = record.header
    kind = KINDS.get(header.kind)
    if kind is None or header.lane is not kind.lane or header.op is not kind.op:
        return None
    if header.expires - header.born > kind.lifetime_max_s:
        return None
    fields = fields_of(record)
    if fields is None:
        return None
    try:
        kind.check(fields)
    except InvalidField:
        return None
    return fields


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


def ends_of(fields: Mapping[str, Value], expires: int) -> int:
    """Return the second at which people see a document end: its `until`, and never later than it expires."""
    until = fields.get("until")
    return min(until, expires) if type(until) is int else expires


def distance_km(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Return the distance of two points in degrees along the ground."""
    north = radians(other_lat - lat) / 2
    east = radians(other_lon - lon) / 2
    chord = sin(north) ** 2 + cos(radians(lat)) * cos(radians(other_lat)) * sin(east) ** 2
    return 2 * EARTH_KM * asin(sqrt(min(1.0, chord)))


def _rank(shown: Shown) -> tuple[int, bytes]:
    return (shown.record.header.stamp, shown.record.id)
