"""What people do: post, edit, withdraw, find, read, carry out and in.

Pages, the JSON API and the commands call only this. A post is a draft that goes through the one door
(`intake`), which gives it stamp and signature and commits it; when a call here has returned, the record is on
the disk. Reading takes folded documents from the store and does no protocol work.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from node.errors import (
    AmbiguousAddress,
    InvalidRequest,
    NoFederation,
    NotFound,
    NotOurs,
    StaleEdit,
    UnknownKind,
)
from node.intake import Draft
from node.promises.opening import opening, resized
from protocol.errors import InvalidAddress, InvalidField
from protocol.ids import (
    DocId,
    FederationId,
    Op,
    RecordId,
    TownId,
    address_range,
    parse_address,
    show_address,
)
from protocol.ids import address as address_of
from protocol.kinds import kind_of
from protocol.limits import FEDERATIONS_MAX, NONCE_BYTES
from protocol.notations import Bytes
from sync.ledger import fields_of_entry

if TYPE_CHECKING:
    from node.exchange import Imported
    from node.intake import Intake
    from node.store import Document, Page, Query, Reader, Store, TownFacts, Transaction
    from protocol.encoding import Value
    from protocol.record import Record
    from protocol.schema import Kind
    from sync.authority import Authority
    from sync.events import Committed
    from sync.promises import Word

Audience: TypeAlias = Literal["town", "federations"] | tuple[FederationId, ...]
"""Who may see a post: this town only, every federation of the town, or the named federations."""

ADDRESS_CHARS_TYPED_MAX: Final = 31
"""An address has 11 characters, with what people put between them; an id has 32."""
COUNTS_MAX: Final = 64
"""Questions whose counts by kind are remembered."""

_NOTHING: Final[Mapping[str, Value]] = MappingProxyType({})
_DOC_HEX: Final = re.compile(r"[0-9a-fA-F]{32}\Z")


@dataclass(frozen=True, slots=True)
class Posted:
    """What a post, an edit or a withdrawal came to: the document's address and the new record's id."""

    address: str
    id: RecordId


@dataclass(frozen=True, slots=True)
class Post:
    """One thing to post, with the arguments of `Board.post`; many go through the door in one turn."""

    kind: str
    fields: Mapping[str, Value]
    by: str | None = None
    audience: Audience | None = None
    nonce: bytes | None = None
    until: int | None = None
    opens: Word | None = None
    """The first entry of its ledger; None: as its fields say."""


@dataclass(frozen=True, slots=True)
class Look:
    """One page of a list and what stands above it.

    Attributes:
        kinds: How many documents of each kind the query names when its `kinds` are left out.
        change: Number of the last change; two looks with the same number and query are equal.
    """

    page: Page
    kinds: Mapping[str, int]
    change: int


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
        self.own_town = own_town
        self._store = store
        self._intake = intake
        self._authority = authority
        self._now_ms = now_ms
        self.told = 0
        """How many commits this board was told of; whoever makes it passes every one on to `note`."""
        self._counts: dict[Query, tuple[tuple[int, int], Mapping[str, int]]] = {}

    def note(self, _: Committed) -> None:
        """Take note that something was committed: whoever remembers pages begins anew."""
        self.told += 1

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
            audience: None means all federations of the town (docs/decisions/0005-needs-audience.md).
            nonce: 8 bytes; the same nonce again answers with the first post's address and writes nothing.
            until: Seconds since 1970 at which people see it end; the document lives at least as long.

        Raises:
            UnknownKind, InvalidField, NoFederation, StorageUnavailable.
        """
        return (await self.post_many([Post(kind, fields, by, audience, nonce, until)]))[0]

    async def post_many(self, posts: Sequence[Post]) -> list[Posted]:
        """Post several documents in one writer's turn; all of them or, if one is wrong, none."""
        drafts = [self._draft(post) for post in posts]
        return [_posted(record) for record in await self._intake.post(drafts)]

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
            changes: Fields to set; None takes one away. With `replace` they are the whole new body, but
                fields that this program does not know are kept.
            based_on: The version (of a guide: the revisions) that the editor saw; None means the present one.
            by: The resident's handle, as in `post`.

        Raises:
            StaleEdit: The document has moved on; says which fields changed, names them in `detail`.
            NotFound, NotOurs, InvalidField, StorageUnavailable.
        """
        document = await self._own(address)
        kind = _kind(document.kind)
        seen = _versions(based_on)
        if seen is not None:
            refuse_stale(document, kind, seen)
        elif len(heads := head_ids(document)) > 1:
            raise StaleEdit(
                f"{show_address(document.address)} has {len(heads)} revisions side by side; "
                "say which ones the new text takes in",
                code="revisions_differ",
                detail={"heads": [head.hex() for head in heads]},
            )
        cites = seen or head_ids(document)
        fields = kind.unknown(document.fields) if replace else dict(document.fields)
        fields |= changes
        fields = {name: value for name, value in fields.items() if value is not None}
        if by is not None:
            fields["by"] = by
        kind.check(fields)
        _check_ends(kind, fields, document.expires)
        _check_days(kind, fields, self._now_ms() // 1000, document.fields)
        draft = Draft(
            document.kind, kind.op, fields, doc=document.doc, cites=cites, based_on=head_ids(document)
        )

        def with_its_ledger(tx: Transaction) -> Generator[Draft, Record, None]:
            record = yield draft
            resizing = resized(tx, record.header, document.fields, fields, self._intake.device)
            if resizing is not None:
                yield resizing

        try:
            return _posted((await self._intake.post(with_its_ledger))[0])
        except StaleEdit:
            # Another edit came in between the look and the writer's turn: look again to say what it changed.
            refuse_stale(await self.show(document.doc.hex()), kind, cites)
            raise

    async def withdraw(self, address: str, *, based_on: RecordId | None = None) -> Posted:
        """Withdraw an own document everywhere and for good.

        Raises:
            NotFound, NotOurs, StaleEdit, StorageUnavailable.
        """
        document = await self._own(address)
        if based_on is not None:
            refuse_stale(document, _kind(document.kind), (based_on,))
        draft = Draft(document.kind, Op.DELETE, doc=document.doc, cites=head_ids(document))
        return _posted((await self._intake.post([draft]))[0])

    async def show(self, address: str, *, home: bool = True) -> Document:
        """Return the document with this address (or full id as hexadecimal digits).

        With `home` False one that never leaves the town is as unknown as any that is not there.

        Raises:
            InvalidAddress, NotFound, AmbiguousAddress.
        """
        now_s = self._now_ms() // 1000
        if _DOC_HEX.match(address):
            doc = DocId(bytes.fromhex(address))
            found = await self._store.read(lambda reader: reader.document(doc, now_s))
            documents = [] if found is None else [found]
        else:
            low, high = address_range(parse_address(address))
            documents = await self._store.read(lambda reader: reader.documents_between(low, high, now_s))
        documents = [each for each in documents if home or each.federations]
        if not documents:
            raise NotFound(
                "nothing is known under this address: it was withdrawn, has ended, or has not arrived yet"
            )
        if len(documents) > 1:
            choices = [document.doc.hex() for document in documents]
            raise AmbiguousAddress(
                f"{len(choices)} documents have this address; use a full id: {', '.join(choices)}",
                detail={"choices": choices},
            )
        return documents[0]

    async def with_ids(self, kind: Kind, typed: Mapping[str, str]) -> dict[str, str]:
        """Return what was typed with ids where it names documents by the addresses that people say."""
        named = dict(typed)
        for each in kind.fields:
            text = typed.get(each.name, "")
            if isinstance(each.type, Bytes) and len(text) <= ADDRESS_CHARS_TYPED_MAX:
                try:
                    named[each.name] = (await self.show(parse_address(text))).doc.hex()
                except (InvalidAddress, NotFound, AmbiguousAddress):
                    continue  # An id, or something that is none: the field itself says so.
        return named

    async def list(self, query: Query) -> Page:
        """Return one page of documents that the query names, newest first."""
        now_s = self._now_ms() // 1000
        return await self._store.read(lambda reader: reader.documents(query, now_s))

    async def look(self, query: Query) -> Look:
        """Return one page with the counts of all kinds beside it, in one look at the store."""
        now_s = self._now_ms() // 1000
        question = replace(query, kinds=(), cursor=None, limit=None, count=False)

        def work(reader: Reader) -> Look:
            # Counting walks all that the question names; the answer holds until something changes or ends.
            as_of = (reader.change(), now_s // 60)
            known = self._counts.get(question)
            counts = known[1] if known and known[0] == as_of else reader.kind_counts(question, now_s)
            self._remember(question, as_of, counts)
            return Look(reader.documents(query, now_s), counts, as_of[0])

        return await self._store.read(work)

    async def towns(self) -> Mapping[TownId, TownFacts]:
        """Return what is known of the towns that have a profile here."""
        return await self._store.read(lambda reader: reader.towns())

    async def record(self, document: Document) -> Record:
        """Return the signed record of the version that is shown.

        Raises:
            NotFound: It was superseded a moment ago.
        """
        found = await self._store.read(lambda reader: reader.records([document.id]))
        if document.id not in found:
            raise NotFound("this version has just been replaced; look again")
        return found[document.id]

    def export(self) -> AsyncIterator[str]:
        """Yield every held record as a line of JSON: the exact bytes in base64 beside the decoded form."""
        from node.exchange import export_lines

        return export_lines(self._store)

    def nonce_of(self, writer: str, key: str) -> bytes:
        """Return the nonce that belongs to a key that a program of this writer repeats.

        A nonce stands in the open header, for every town of the federation: it tells who asked to nobody who
        has not this device's key.
        """
        proof = self._intake.sign(b"hedgerow/nonce/1" + f"{writer}\0{key}".encode("utf-8", "surrogateescape"))
        return blake2b(proof, digest_size=NONCE_BYTES, person=b"hedgerow/nonce").digest()

    async def import_(self, lines: Iterable[str], *, by: str | None = None) -> Imported:
        """Take in lines of JSON: exported records as from a peer, `{"kind", "fields"}` as our own posts.

        One bad line never blocks the others: it is counted and named.

        Raises:
            StorageUnavailable: Says after which line; what came before is kept, and doing it again is
                harmless.
        """
        from node.exchange import import_lines

        return await import_lines(self, self._intake, self._store, lines, by=by)

    def _draft(self, post: Post) -> Draft:
        kind = _kind(post.kind)
        fields = {name: value for name, value in post.fields.items() if value is not None}
        if post.by is not None:
            fields["by"] = post.by
        if post.until is not None:
            if all(each.name != "until" for each in kind.fields):
                raise InvalidField("until", f"{kind.plural.lower()} have no such field")
            fields["until"] = post.until
        kind.check(fields)
        if post.nonce is not None and len(post.nonce) != NONCE_BYTES:
            raise InvalidRequest(f"a nonce has {NONCE_BYTES} bytes, not {len(post.nonce)}")
        born = self._now_ms() // 1000
        _check_ends(kind, fields, born + kind.lifetime_max_s - kind.linger_s)
        _check_days(kind, fields, born)
        expires = max(born + kind.lifetime_default_s, (kind.ends(fields) or 0) + kind.linger_s)
        opens = post.opens or opening(kind.name, fields)
        return Draft(
            kind.name,
            kind.op,
            fields,
            federations=self._audience(post.audience),
            lane=kind.lane,
            born=born,
            expires=expires,
            nonce=post.nonce,
            opens=None if opens is None else fields_of_entry(1, opens),
        )

    def _audience(self, audience: Audience | None) -> tuple[FederationId, ...]:
        """Return the federations that a post lists; none means the town's own."""
        ours = self._authority().federations_of(self.own_town)
        if audience is None:
            audience = "federations"
        if isinstance(audience, str):
            return () if audience == "town" else ours[:FEDERATIONS_MAX]
        for name in audience:
            if name not in ours:
                raise NoFederation(f"this town is in no federation {name.hex()}")
        return audience

    def _remember(self, question: Query, as_of: tuple[int, int], counts: Mapping[str, int]) -> None:
        """Keep the counts of the latest questions; anybody may ask anything, so only a few."""
        self._counts.pop(question, None)
        self._counts[question] = (as_of, counts)
        while len(self._counts) > COUNTS_MAX:
            self._counts.pop(next(iter(self._counts)), None)

    async def _own(self, address: str) -> Document:
        document = await self.show(address)
        if document.town != self.own_town:
            raise NotOurs(
                f"{show_address(document.address)} was posted in {document.town_name}; "
                "only that town can change it"
            )
        return document


def head_ids(document: Document) -> tuple[RecordId, ...]:
    """Return the versions that stand at the end: one, or of a guide the revisions side by side."""
    return tuple(version.id for version in document.versions if version.is_head)


def refuse_stale(document: Document, kind: Kind, seen: Sequence[RecordId]) -> None:
    """Refuse an edit by somebody who did not see all that stands now.

    Raises:
        StaleEdit: Says which fields differ from what the editor saw, as far as that version is still here.
    """
    if set(seen) >= set(head_ids(document)):
        return
    old = next(
        (version.fields for version in document.versions if version.id in seen and version.fields), None
    )
    changed = [
        each.label or each.name
        for each in kind.fields
        if old is not None and old.get(each.name) != document.fields.get(each.name)
    ]
    what = f" ({', '.join(changed)})" if changed else ""
    raise StaleEdit(
        f"somebody has changed {show_address(document.address)} since you opened it{what}; "
        "nothing was overwritten",
        detail={
            "address": document.address,
            "heads": [head.hex() for head in head_ids(document)],
            "changed": changed,
        },
    )


def _kind(name: str) -> Kind:
    kind = kind_of(name)
    if kind is None or not kind.shown:
        raise UnknownKind(f"there is no kind “{name[:40]}” that people post")
    return kind


def _versions(based_on: RecordId | Sequence[RecordId] | None) -> tuple[RecordId, ...] | None:
    if based_on is None:
        return None
    return (RecordId(based_on),) if isinstance(based_on, bytes) else tuple(based_on)


def _check_ends(kind: Kind, fields: Mapping[str, Value], latest: int) -> None:
    """A document cannot be shown beyond its end, which was fixed at its birth."""
    ends = kind.ends(fields)
    if ends is not None and ends > latest:
        day = datetime.fromtimestamp(latest, UTC).date()
        raise InvalidField(_end_field(fields), f"must be {day.isoformat()} or earlier")


def _check_days(
    kind: Kind, fields: Mapping[str, Value], now_s: int, before: Mapping[str, Value] = _NOTHING
) -> None:
    """A post whose day is over would be on no board, and nobody would tell its poster."""
    ends = kind.ends(fields)
    if ends is not None and ends <= now_s and ends != kind.ends(before):
        raise InvalidField(_end_field(fields), "that day is over")
    day = fields.get("needed_by")
    if isinstance(day, int) and day <= now_s and day != before.get("needed_by"):
        raise InvalidField("needed_by", "that day is over")


def _end_field(fields: Mapping[str, Value]) -> str:
    """Return the field that says when a document ends: it does say so."""
    return next(name for name in ("until", "rrule", "end", "start") if name in fields)


def _posted(record: Record) -> Posted:
    return Posted(address_of(record.doc), record.id)
