"""Documents and records as JSON: what the API and the commands answer, the lines of `export` and `import`.

A line of `export` is one record: its three parts in base64 exactly as they were signed, beside a decoded form
that is there to be read and that `import` does not look at. A line with "kind" and "fields" is a post.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from node.errors import HedgerowError
from protocol.encoding import encode
from protocol.errors import ProtocolError
from protocol.ids import RecordId, address
from protocol.kinds import kind_of
from protocol.limits import NONCE_BYTES, RECORD_BYTES_MAX
from protocol.record import Record, fields_of, open_record
from sync.admission import State

if TYPE_CHECKING:
    from node.board import Board, Post
    from node.intake import Intake
    from node.store import Document, Reader, Store
    from protocol.encoding import Value

S = TypeVar("S")

EXPORT_RECORDS: Final = 500
"""Records that one look at the store gives; between two looks others may read."""
IMPORT_BYTES: Final = 262_144
"""Raw records that go through the door in one turn, as many as in a batch of a peer."""
IMPORT_POSTS: Final = 200
"""Posts that go through the door in one turn."""
LINE_CHARS_MAX: Final = 3 * RECORD_BYTES_MAX
"""A record in base64 and its decoded form fit; a longer line is no record of ours."""
REFUSED_SHOWN_MAX: Final = 1_000
"""Refused lines that are named one by one; beyond that they are only counted."""

_log: Final = logging.getLogger("hedgerow.board")


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line of an import that was not taken: its number from 1, a stable code, a plain sentence."""

    line: int
    code: str
    says: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the lines of an import.

    Attributes:
        held: Records that are held now and were not before.
        already: Records that were held before, nothing new among them.
        posted: Posts of our own that were written.
        waiting: Records that are kept until their town is known to have the right.
        dropped: Records that others have replaced, that have ended, or that are another town's own.
        refused: Lines of which nothing is kept, the first thousand of them, in the order of the lines.
        refused_count: How many there were.
    """

    held: int
    already: int
    posted: int
    waiting: int
    dropped: int
    refused: tuple[RefusedLine, ...]
    refused_count: int

    def as_json(self) -> dict[str, object]:
        """Return what `import --json` prints."""
        return {
            "held": self.held,
            "already": self.already,
            "posted": self.posted,
            "waiting": self.waiting,
            "dropped": self.dropped,
            "refused": self.refused_count,
            "lines": [{"line": each.line, "code": each.code, "says": each.says} for each in self.refused],
        }


def each_shown(documents: Iterable[Document], show: Callable[[Document], S]) -> list[S]:
    """Return what `show` makes of each document; one at which it fails is left out, with a line in the log.

    Documents come from anybody in the federation: one that we fail to show must not take a whole list along.
    """
    shown = []
    for document in documents:
        try:
            shown.append(show(document))
        except Exception as error:
            _log.error(
                "document %s of %s is left out, for it cannot be shown: %r",
                document.doc.hex(), document.town_name or document.town.hex(), error,
            )  # fmt: skip
    return shown


def document_json(document: Document) -> dict[str, object]:
    """Return a document as the API and the commands show it: the same wherever the same records are held."""
    shown: dict[str, object] = {
        "address": document.address,
        "id": document.id.hex(),
        "doc": document.doc.hex(),
        "kind": document.kind,
        "town": document.town.hex(),
        "town_name": document.town_name,
        "lane": document.lane.name.lower(),
        "federations": [federation.hex() for federation in document.federations],
        "fields": fields_json(document.kind, document.fields),
        "born": document.born,
        "expires": document.expires,
        "stamp": document.stamp,
        "versions": [
            {
                "id": version.id.hex(),
                "stamp": version.stamp,
                "cites": [cited.hex() for cited in version.cites],
                "head": version.is_head,
                **({"fields": fields_json(document.kind, version.fields)} if version.fields else {}),
            }
            for version in document.versions
        ],
    }
    if document.more_heads:
        shown["more_heads"] = document.more_heads
    if document.distance_km is not None:
        shown["distance_km"] = round(document.distance_km, 1)
    return shown


def fields_json(kind_name: str, fields: Mapping[str, Value]) -> dict[str, object]:
    """Return fields as JSON: those that the kind declares in its way, others as plainly as JSON can."""
    kind = kind_of(kind_name)
    known = {} if kind is None else kind.to_json(fields)
    return known | {name: plain(value) for name, value in fields.items() if name not in known}


def plain(value: Value) -> object:
    """Return a held value as JSON; bytes become hexadecimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def record_json(record: Record) -> dict[str, object]:
    """Return a record as a line of `export` has it."""
    header = record.header
    fields = fields_of(record)
    return {
        "id": record.id.hex(),
        "address": address(record.doc),
        "header": _base64(record.header_bytes),
        "signature": _base64(record.signature),
        "body": None if record.body is None else _base64(record.body),
        "decoded": {
            "town": header.town.hex(),
            "device": header.device.hex(),
            "seq": [header.epoch.hex(), header.counter],
            "stamp": header.stamp,
            "kind": header.kind,
            "lane": header.lane.name.lower(),
            "federations": [federation.hex() for federation in header.federations],
            "born": header.born,
            "expires": header.expires,
            "nonce": header.nonce.hex(),
            "op": header.op.name.lower(),
            "cites": [cited.hex() for cited in header.cites],
            "fields": None if fields is None else plain(fields),
        },
    }


def raw_of_line(line: Mapping[str, object]) -> bytes:
    """Return the raw record of a line of `export`.

    Raises:
        HedgerowError: A part is missing or is not base64.
    """
    parts: list[Value] = []
    for name in ("header", "signature", "body"):
        text = line.get(name)
        if text is None and name == "body":
            parts.append(None)
            continue
        if not isinstance(text, str):
            raise HedgerowError(f"{name} must be a string in base64", code="malformed_line")
        try:
            parts.append(base64.b64decode(text, validate=True))
        except ValueError:
            raise HedgerowError(f"{name} is not base64", code="malformed_line") from None
    return encode(parts)


async def export_lines(store: Store) -> AsyncIterator[str]:
    """Yield the held records in the order of their taking in, one a line; the store is free meanwhile."""
    after = 0
    while True:
        rows = await store.read(partial(_export, after))
        for _, raw in rows:
            yield json.dumps(record_json(open_record(raw)), ensure_ascii=False, separators=(",", ":"))
        if len(rows) < EXPORT_RECORDS:
            return
        after = rows[-1][0]


async def import_lines(
    board: Board, intake: Intake, store: Store, lines: Iterable[str], *, by: str | None
) -> Imported:
    """Take lines in, in turns of a few hundred; see `Board.import_`."""
    import_ = _Import(board, intake, store, by)
    for number, line in enumerate(lines, 1):
        if line.strip():
            import_.read(number, line)
            if import_.is_full:
                await import_.flush()
    await import_.flush()
    return import_.result()


class _Import:
    """The counts of one import and what waits for the next turn."""

    def __init__(self, board: Board, intake: Intake, store: Store, by: str | None) -> None:
        self._board = board
        self._intake = intake
        self._store = store
        self._by = by
        self._raws: list[tuple[int, bytes]] = []
        self._bytes = 0
        self._posts: list[tuple[int, Post]] = []
        self._held = self._already = self._posted = self._waiting = self._dropped = self._refused_count = 0
        self._refused: list[RefusedLine] = []

    @property
    def is_full(self) -> bool:
        """Whether enough waits to be worth a turn."""
        return self._bytes >= IMPORT_BYTES or len(self._posts) >= IMPORT_POSTS

    def read(self, number: int, line: str) -> None:
        """Sort one line; what cannot be read is refused."""
        try:
            if len(line) > LINE_CHARS_MAX:
                raise HedgerowError(
                    f"has more than {LINE_CHARS_MAX:,} characters; a record fits in so many",
                    code="limit_exceeded",
                )
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise HedgerowError("is no JSON object", code="malformed_line")
            if "header" in entry:
                raw = raw_of_line(entry)
                self._raws.append((number, raw))
                self._bytes += len(raw)
            else:
                self._posts.append((number, self._post(entry)))
        except (ValueError, RecursionError):
            self._refuse(number, "malformed_line", "is not JSON")
        except HedgerowError as error:
            self._refuse(number, error.code, error.says)
        except ProtocolError as error:
            self._refuse(number, error.code, str(error))

    async def flush(self) -> None:
        """Send what waits through the door."""
        raws, self._raws, self._bytes = self._raws, [], 0
        if raws:
            await self._take_in(raws)
        posts, self._posts = self._posts, []
        if posts:
            await self._post_all(posts)

    async def _take_in(self, numbered: Sequence[tuple[int, bytes]]) -> None:
        """Count what becomes of raw records, each with the number of its line."""
        raws = [raw for _, raw in numbered]
        ids = [record_id for record_id in map(_id_of, raws) if record_id is not None]
        here = set(await self._store.read(lambda reader: reader.raws(ids)))
        verdicts = await self._intake.accept(raws)
        for (number, _), verdict in zip(numbered, verdicts, strict=True):
            match verdict.state:
                case State.HELD if verdict.id in here:
                    self._already += 1
                case State.HELD:
                    self._held += 1
                    here.add(verdict.id)
                case State.PARKED:
                    self._waiting += 1
                case State.NOT_NOW:
                    self._refuse(number, verdict.cause, NOT_NOW_SAYS.get(verdict.cause, NOT_NOW_ELSE))
                case State.DROPPED if verdict.cause in UNREADABLE:
                    self._refuse(number, verdict.cause, "is not a record that its town signed")
                case State.DROPPED:
                    self._dropped += 1

    def result(self) -> Imported:
        """Return the counts, and the refused lines in their order."""
        return Imported(
            self._held,
            self._already,
            self._posted,
            self._waiting,
            self._dropped,
            tuple(sorted(self._refused, key=lambda each: each.line)),
            self._refused_count,
        )

    def _post(self, entry: Mapping[str, object]) -> Post:
        from node.board import Post

        name, fields = entry.get("kind"), entry.get("fields")
        kind = kind_of(name) if isinstance(name, str) else None
        if kind is None or not kind.shown:
            raise HedgerowError("names no kind that people post", code="unknown_kind")
        nonce = entry.get("nonce")
        if nonce is not None and not (isinstance(nonce, str) and _is_nonce(nonce)):
            raise HedgerowError(
                f"nonce must be {NONCE_BYTES} bytes in hexadecimal digits", code="malformed_line"
            )
        audience = entry.get("audience")
        if audience not in (None, "town", "federations"):
            raise HedgerowError("audience must be “town” or “federations”", code="malformed_line")
        return Post(
            kind.name,
            kind.from_json(fields),
            by=self._by,
            audience=audience,
            nonce=bytes.fromhex(nonce) if isinstance(nonce, str) else None,
        )

    async def _post_all(self, posts: Sequence[tuple[int, Post]]) -> None:
        """Post all in one turn; if one is refused, each by itself, so that only the bad ones stay out."""
        try:
            self._posted += len(await self._board.post_many([post for _, post in posts]))
        except (HedgerowError, ProtocolError) as error:
            if isinstance(error, HedgerowError) and error.status >= 500:
                raise
            if len(posts) == 1:
                says = error.says if isinstance(error, HedgerowError) else str(error)
                self._refuse(posts[0][0], error.code, says)
                return
            for post in posts:
                await self._post_all([post])

    def _refuse(self, number: int, code: str, says: str) -> None:
        self._refused_count += 1
        if len(self._refused) < REFUSED_SHOWN_MAX:
            self._refused.append(RefusedLine(number, code, says))


UNREADABLE: Final = frozenset({"malformed", "bad_signature", "limit_exceeded"})
"""Causes of a line that never was a record: refused, not dropped."""
NOT_NOW_SAYS: Final = {
    "body_missing": "lacks its body, which was signed with it; export it again from a node that has it",
    "newer_version": "was written by a newer version of Hedgerow; update this node, then import it again",
    "future": "begins more than a day ahead; import it again then, or look at this node's clock",
    "unknown_federation": "lists a federation that this town is not in; join it, then import it again",
    "quota": "is more than its federation's quota allows its town",
}
"""Why a record cannot be taken at present, by cause; nothing of it is kept."""
NOT_NOW_ELSE: Final = "cannot be taken at present; import it again later"


def _export(after: int, reader: Reader) -> list[tuple[int, bytes]]:
    return reader.export(after, EXPORT_RECORDS)


def _id_of(raw: bytes) -> RecordId | None:
    try:
        return open_record(raw).id
    except ProtocolError:
        return None


def _is_nonce(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == NONCE_BYTES
    except ValueError:
        return False


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
