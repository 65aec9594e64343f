"""The ledgers that a node holds, folded: one, with all that its worth depends on.

A ledger is read from the store anew each time; nothing of it is kept, so what is shown is what is held. With
it come those of which it is a share, their rivals over the same share, and those that go on from any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.ids import Op
from sync.books import GOES_ON_MAX, SHARES_DEEP_MAX, Book, settle
from sync.ledger import LEDGER, Ledger, ledger_id, read, target_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.store import Document, Reader
    from protocol.ids import DocId, TownId
    from protocol.record import Header, Record

CLAIMABLE: Final = ("offer", "need", "item", "event")
"""The kinds that have a ledger."""
BOOKS_MAX: Final = 512
"""Ledgers that are read for one: far more than any honest share has above it."""


def ledger_at(reader: Reader, doc: DocId) -> Ledger | None:
    """Return what the held entries of a ledger come to; None if none of its chain is held."""
    authority = reader.authority()
    books = family(reader, doc)
    # Of a former town key only those records are held that the present one keeps.
    return settle(books, lambda town: frozenset(authority.rights_of(town).keys)).get(doc)


def family(reader: Reader, doc: DocId) -> list[Book]:
    """Return the books on which a ledger's worth depends, its own among them; none twice."""
    found: dict[DocId, Book] = {}
    asked = [doc]
    for _ in range(SHARES_DEEP_MAX + 1):
        above: list[DocId] = []
        for each in asked:
            above += _take_down(reader, each, found)
        asked = [each for each in above if each not in found]
        if not asked:
            break
    return list(found.values())


def held_of(reader: Reader, doc: DocId) -> Sequence[Record]:
    """Return the held records of a document."""
    return list(reader.records(reader.document_records(doc)).values())


def header_at(reader: Reader, doc: DocId) -> Header | None:
    """Return what all records of a document share, from one of them; None if none is held."""
    records = reader.records(reader.document_records(doc)[:1])
    return next((each.header for each in records.values()), None)


def target_of(reader: Reader, ledger: DocId, now_s: int) -> Document | None:
    """Return what a ledger is of, as its own header says; None if that is not here, or is over."""
    header = header_at(reader, ledger)
    if header is None:
        return None
    for kind in CLAIMABLE:
        found = reader.document(target_id(header, kind), now_s)
        if found is not None:
            return found
    return None


def subject_of(reader: Reader, ledger: DocId, named: DocId | None) -> Record | None:
    """Return any record of what a ledger is of; None if none is held, not even that of its withdrawal.

    Args:
        named: What a claim says that it is. That counts only while the ledger itself is not here, and only if
            its header leads to that ledger: whoever writes a claim cannot have another one answer it.
    """
    for record in held_of(reader, ledger)[:1]:
        kinds = (held_of(reader, target_id(record.header, kind)) for kind in CLAIMABLE)
        return next((records[0] for records in kinds if records), None)
    for record in held_of(reader, named)[:1] if named is not None else ():
        if record.header.kind in CLAIMABLE and ledger_id(record.header) == ledger:
            return record
    return None


def keeper_of(reader: Reader, ledger: DocId, subject: Record | None) -> TownId | None:
    """Return the town whose ledger this is; None if neither of it nor of what it is of anything is held."""
    records = held_of(reader, ledger)
    if records:
        return records[0].header.town
    return subject.header.town if subject is not None else None


def is_withdrawn(records: Sequence[Record]) -> bool:
    """Tell whether somebody has withdrawn the document of these records."""
    return any(record.header.op is Op.DELETE for record in records)


def _take_down(reader: Reader, doc: DocId, found: dict[DocId, Book]) -> list[DocId]:
    """Put a ledger and all in which it goes on among `found`; return those above it and beside it."""
    above: list[DocId] = []
    wanted = [doc]
    for _ in range(GOES_ON_MAX + 1):
        book = _book(reader, wanted.pop()) if wanted and len(found) < BOOKS_MAX else None
        if book is None:
            break
        found[book.doc] = book
        for entry in book.entries:
            word = entry.word
            if word.moved_to is not None and word.moved_to not in found:
                wanted.append(word.moved_to)
            if entry.n == 1 and word.parent is not None and word.parent_claim is not None:
                above += [word.parent, *reader.shares_of(word.parent, word.parent_claim, book.town)]
    return above


def _book(reader: Reader, doc: DocId) -> Book | None:
    records = [each for each in held_of(reader, doc) if each.header.kind == LEDGER]
    entries = [entry for each in records if (entry := read(each)) is not None]
    return Book(doc, records[0].header.town, tuple(entries)) if entries else None
