"""Documents and search in memory: the same answers as `listing.py`, worked out anew at each asking."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from node.store.contract import TownFacts
from node.store.documents import (
    PROFILE,
    Document,
    Folded,
    Near,
    Page,
    Query,
    Version,
    distance_km,
    ends_of,
    fold,
    is_shown,
    order_of,
    place_of,
)
from node.store.listing import ADDRESS_CHOICES_MAX, parse_cursor
from node.store.records import RIVALS_MAX
from node.store.search import language_of, match, terms
from protocol.ids import DocId, RecordId, TownId, address, home_id
from protocol.record import Record
from sync.ledger import LEDGER, share_of


class MemoryBoard:
    """What the board reads of held records in memory."""

    def __init__(self, own_town: TownId) -> None:
        self.own_town = own_town
        self._records: dict[RecordId, Record] = {}
        self._documents: dict[DocId, dict[RecordId, Record]] = {}

    def is_on_board(self, doc: DocId) -> bool:
        """Tell whether a document is shown, as far as no time is looked at."""
        records = list(self._documents.get(doc, {}).values())
        return bool(records) and is_shown(records[0].header.kind) and fold(records) is not None

    def documents(self, query: Query, now_s: int) -> Page:
        """Return one page of shown documents, the newest first."""
        below = parse_cursor(query.cursor)
        found = [each for each in self._found(query, now_s) if not query.kinds or each[2].kind in query.kinds]
        limit = len(found) if query.limit is None else query.limit
        page = [each for each in found if each[0] < below][: limit + 1]
        cursor = format(page[limit - 1][0], "x") if len(page) > limit and limit else None
        total = len(found) if query.count else None
        return Page(tuple(document for _, _, document in page[:limit]), cursor, total)

    def document(self, doc: DocId, now_s: int) -> Document | None:
        """Return one shown document with all versions that are held, or None."""
        found = self.documents_between(doc, doc, now_s)
        return found[0] if found else None

    def documents_between(self, low: DocId, high: DocId, now_s: int) -> list[Document]:
        """Return the shown documents whose ids lie in [low, high], whole; at most 16."""
        towns = self.towns()
        found = [
            self._document(folded, towns, None)
            for folded in self._folds(whole=True)
            if low <= folded.head.record.doc <= high and folded.head.record.header.expires > now_s
        ]
        return sorted(found, key=lambda each: each.stamp, reverse=True)[:ADDRESS_CHOICES_MAX]

    def kind_counts(self, query: Query, now_s: int) -> Mapping[str, int]:
        """Return how many documents of each kind the query names when its `kinds` are left out."""
        return dict(Counter(document.kind for _, _, document in self._found(query, now_s)))

    def towns(self) -> Mapping[TownId, TownFacts]:
        """Return what is known of the towns that have a profile here."""
        newest: dict[TownId, tuple[int, RecordId, TownFacts]] = {}
        for records in self._documents.values():
            first = next(iter(records.values()))
            folded = fold(records.values()) if first.header.kind == PROFILE else None
            if folded is None:
                continue
            record, fields = folded.head
            lat, lon = place_of(fields)
            degrees = (None, None) if lat is None or lon is None else (lat / 1e5, lon / 1e5)
            facts = (record.header.stamp, record.id, TownFacts(str(fields["name"]), *degrees))
            newest[record.header.town] = max(
                facts, newest.get(record.header.town, facts), key=lambda each: each[:2]
            )
        return {town: facts for town, (_, _, facts) in newest.items()}

    def shares_of(self, parent: DocId, claim: DocId, town: TownId) -> list[DocId]:
        """Return the ledgers of a town that open as the share of `parent` that was accepted by a claim,
        ascending."""
        entries = (each for each in self._records.values() if each.header.town == town)
        return sorted({each.doc for each in entries if share_of(each) == (parent, claim)})[:RIVALS_MAX]

    def shares(self) -> list[tuple[DocId, DocId]]:
        """Return each ledger that opens as a share, with the ledger of which it is one, ascending."""
        of = ((each.doc, share_of(each)) for each in self._records.values() if each.header.kind == LEDGER)
        return sorted({(doc, share[0]) for doc, share in of if share is not None})

    def ledgers_in_use(self) -> list[DocId]:
        """Return the documents of the own town that are ledgers of more than one entry, ascending."""
        found = []
        for doc, records in self._documents.items():
            header = next(iter(records.values())).header
            if len(records) > 1 and header.kind == LEDGER and header.town == self.own_town:
                found.append(doc)
        return sorted(found)

    def _folds(self, *, whole: bool = False) -> Iterator[Folded]:
        for records in self._documents.values():
            if is_shown(next(iter(records.values())).header.kind):
                folded = fold(records.values(), whole=whole)
                if folded is not None:
                    yield folded

    def _found(self, query: Query, now_s: int) -> list[tuple[int, DocId, Document]]:
        """Return what a query names, its kinds, page and limit left aside, newest first, each with its
        place."""
        towns = self.towns()
        found: list[tuple[int, DocId, Document]] = []
        folds = list(self._folds())
        languages = {
            language for each in folds for head in each.heads if (language := language_of(head.fields))
        }
        wanted = _wanted(match(query.text, languages)) if query.text else []
        for folded in folds:
            record, fields = folded.head
            if ends_of(record.header.kind, fields, record.header.expires) <= now_s or not self._is_asked(
                record, query
            ):
                continue
            if wanted is None or not _has(folded, wanted):
                continue
            document = self._document(folded, towns, query.near)
            distance = document.distance_km
            if query.near is not None and (distance is None or distance > query.near.km):
                continue
            found.append((record.header.stamp, record.doc, document))
        # Two documents of one stamp: the place of the second is the next number, as on SQLite.
        places: list[tuple[int, DocId, Document]] = []
        last = -1
        for stamp, doc, document in sorted(found, key=lambda each: each[:2]):
            last = max(order_of(stamp), last + 1)
            places.append((last, doc, document))
        return places[::-1]

    def _is_asked(self, record: Record, query: Query) -> bool:
        header = record.header
        if query.town is not None and header.town != query.town:
            return False
        if query.own is not None and (header.town == self.own_town) is not query.own:
            return False
        if not query.home and not header.federations:
            return False
        if query.federation is None:
            return True
        if query.federation == home_id(self.own_town):
            return not header.federations
        return query.federation in header.federations

    def _document(self, folded: Folded, towns: Mapping[TownId, TownFacts], near: Near | None) -> Document:
        record, fields = folded.head
        header = record.header
        heads = {shown.record.id for shown in folded.heads}
        versions = tuple(
            Version(
                shown.record.id,
                shown.record.header.stamp,
                shown.fields,
                shown.record.header.cites,
                shown.record.id in heads,
            )
            for shown in folded.versions
        )
        facts = towns.get(header.town)
        lat, lon = place_of(fields)
        distance = None
        if near is not None and lat is not None and lon is not None:
            distance = distance_km(near.lat, near.lon, lat / 1e5, lon / 1e5)
        elif near is not None and facts is not None and facts.lat is not None and facts.lon is not None:
            distance = distance_km(near.lat, near.lon, facts.lat, facts.lon)
        return Document(
            address(record.doc), record.doc, record.id, header.kind, header.town, facts.name if facts else "",
            header.lane, header.federations, fields, header.born, header.expires, header.stamp, versions,
            header.town == self.own_town, distance, folded.more,
        )  # fmt: skip


def _wanted(expression: str | None) -> list[list[str]] | None:
    """Take an expression of `search.match` apart: a list of choices for each word; None if there is no
    word."""
    if expression is None:
        return None
    return [
        [choice.replace('"', "").replace(" *", "*") for choice in part.strip("()").split(" OR ")]
        for part in expression.split(" AND ")
    ]


def _has(folded: Folded, wanted: Sequence[Sequence[str]]) -> bool:
    """Tell whether a document has one choice of each word."""
    if not wanted:
        return True
    kind = folded.head.record.header.kind
    text = " ".join(terms(kind, fields, language_of(fields)) for _, fields in folded.heads)
    words = {*_plain(text).split()}
    return all(any(_occurs(_plain(choice), words) for choice in choices) for choices in wanted)


def _occurs(choice: str, words: set[str]) -> bool:
    if choice.endswith("*"):
        return any(word.startswith(choice[:-1]) for word in words)
    return choice in words


def _plain(text: str) -> str:
    """Return text without accents, as SQLite's tokenizer reads it."""
    return "".join(each for each in unicodedata.normalize("NFD", text) if not unicodedata.combining(each))
