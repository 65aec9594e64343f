"""What people do: post, edit, withdraw, find, read, carry out and in.

Pages, the JSON API and the commands call only this. A post is a draft that goes through the one door
(`intake`), which gives it stamp and signature and commits it; when a call here has returned, the record is on
the disk. Reading takes folded documents from the store and does no protocol work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from protocol.ids import FederationId, RecordId, TownId

if TYPE_CHECKING:
    from sync.authority import Authority

    from node.exchange import Imported
    from node.intake import Intake
    from node.store import Store
    from node.store.documents import Document, Page, Query
    from protocol.encoding import Value

NONCE_BYTES = 8
"""As in the header: what makes two posts of the same words two documents, and one sent twice one."""

Audience: TypeAlias = Literal["town", "federations"] | tuple[FederationId, ...]
"""Who may see a post: this town only, every federation of the town, or the named federations."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What a post, an edit or a withdrawal came to: the document's address and the new record's id."""

    address: str
    id: RecordId
    repeated: bool = False
    """True if the same nonce had been posted before: nothing new was written."""


@dataclass(frozen=True, slots=True)
class Post:
    """One thing to post; many of them go through the door in one turn."""

    kind: str
    fields: Mapping[str, Value]
    by: str | None = None
    audience: Audience | None = None
    nonce: bytes | None = None
    until: int | None = None


class Board:
    """The acts of the people of one town on its documents."""

    def __init__(
        self,
        *,
        own_town: TownId,
        store: Store,
        intake: Intake,
        authority: Callable[[], Authority],
        now_ms: Callable[[], int],
    ) -> None:
        """Stand over a store and its door; `authority` and `now_ms` are asked anew for each act."""

    async def post(
        self,
        kind: str,
        fields: Mapping[str, Value],
        *,
        by: str | None = None,
        audience: Audience | None = None,
        nonce: bytes | None = None,
        until: int | None = None,
    ) -> Posted:
        """Post a document of the own town and return its address once it is committed.

        Args:
            kind: A shown kind's name.
            fields: Typed values, as `Kind.from_text` and `Kind.from_json` give them.
            by: The resident's handle at this town; stands in the record.
            audience: None means the kind's default (docs/decisions/0005).
            nonce: 8 bytes; the same nonce again answers with the first post's address and writes nothing.
            until: Seconds since 1970 at which people see it end; the document lives at least as long.

        Raises:
            UnknownKind, InvalidField, NoFederation, StorageUnavailable.
        """
        raise NotImplementedError

    async def post_many(self, posts: Sequence[Post]) -> list[Posted]:
        """Post several documents in one writer's turn; all of them or, if one is wrong, none."""
        raise NotImplementedError

    async def edit(
        self,
        address: str,
        changes: Mapping[str, Value],
        *,
        based_on: RecordId | Sequence[RecordId] | None = None,
        replace: bool = False,
        by: str | None = None,
    ) -> Posted:
        """Write a new version of an own document.

        Args:
            address: As people type it, or the full document id as hexadecimal digits.
            changes: Fields to set; None takes one away. With `replace` they are the whole new body.
            based_on: The version (of a guide: the revisions) that the editor saw; None means the present one.

        Raises:
            StaleEdit: The document has moved on; says which fields changed, carries the present document.
            NotFound, NotOurs, InvalidField, StorageUnavailable.
        """
        raise NotImplementedError

    async def withdraw(self, address: str, *, based_on: RecordId | None = None) -> Posted:
        """Withdraw an own document everywhere and for good.

        Raises:
            NotFound, NotOurs, StaleEdit, StorageUnavailable.
        """
        raise NotImplementedError

    async def show(self, address: str) -> Document:
        """Return the document with this address (or full id as hexadecimal digits).

        Raises:
            InvalidAddress, NotFound, AmbiguousAddress.
        """
        raise NotImplementedError

    async def list(self, query: Query) -> Page:
        """Return one page of documents that the query names, newest first."""
        raise NotImplementedError

    def export(self) -> AsyncIterator[str]:
        """Yield every held record as a line of JSON: the exact bytes in base64 beside the decoded form."""
        raise NotImplementedError

    async def import_(self, lines: Iterable[str], *, by: str | None = None) -> Imported:
        """Take in lines of JSON: exported records as from a peer, `{"kind", "fields"}` as our own posts."""
        raise NotImplementedError
