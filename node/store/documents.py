"""Documents as the board shows them: what a page asks for and what it gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.encoding import Value
    from protocol.ids import DocId, FederationId, Lane, RecordId, TownId

PAGE_DOCUMENTS = 20
"""Documents of a page, unless the query says otherwise."""


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

    Times in seconds since 1970, `stamp` of the version shown. `id` and `fields` are of the version shown: the held put,
    or of a guide the greatest head. `versions` has the newest first; in lists it has only the heads.
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
