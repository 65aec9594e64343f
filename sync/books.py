"""Ledgers that hang together: one that goes on where another ended, and shares of what another has.

A *share* is a claim that was accepted for another town, which may give that much away in its turn, even
while the two cannot hear each other: its node opens a ledger of its own whose first entry names the ledger
and the accepted claim of which it is a share (`parent`, `parent_claim`). Nothing that is written in the
share's ledger moves its parent, so nobody can hold up a neighbour by what he writes or keeps back. It is the
other way round: **the share is worth what its parent's chain says now**, and its ledger is read under that
ceiling. When the parent's accept is void, or something of it was released, the latest promises of the share
are cut until the rest fits. So what a tree of ledgers promises together never exceeds what its root has, on
any node, whatever of it has arrived; a share of whose acceptance nothing is known here promises nothing yet.

Who takes a share depends on who gives it: a parent that is withdrawn, ends or is taken back takes the share
with it. An honest keeper releases a share only after the share's own ledger has lowered its capacity, and
cites that entry; then nothing is cut. That it did so is not needed for the count to be right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from protocol.ids import DeviceId, DocId, TownId
from sync.ledger import Entry, Ledger, fold

SHARES_DEEP_MAX: Final = 8
"""Shares of shares: beyond that a ledger promises nothing. People share once, seldom twice."""
GOES_ON_MAX: Final = 64
"""How often one ledger goes on in another: a quarter of a million entries."""


@dataclass(frozen=True, slots=True)
class Book:
    """The entries at hand of one ledger document."""

    doc: DocId
    town: TownId
    entries: tuple[Entry, ...]


def settle(
    books: Iterable[Book], town_keys: Callable[[TownId], frozenset[DeviceId]]
) -> Mapping[DocId, Ledger]:
    """Return what all these ledgers come to, by the document in which each began.

    Args:
        books: With a ledger come those of which it is a share, those that are shares of it, and those that
            go on where it ended, as far as they are known. One that goes on is not named in the result, but
            its entries are in that of the first.
        town_keys: The keys that may name a keeper for a town.
    """
    shelf = {book.doc: book for book in books}
    found = {doc: _whole(book, shelf, town_keys(book.town)) for doc, book in sorted(shelf.items())}
    heads = {doc: ledger for doc, ledger in found.items() if ledger.first is not None}
    rivals = defaultdict[tuple[DocId, DocId, TownId], list[DocId]](list)
    for doc, ledger in heads.items():
        if (share := _share(ledger)) is not None:
            rivals[*share, ledger.town].append(doc)
    # Of several ledgers of a town over one share the smallest id counts: else it would be given away twice.
    standing = {docs[0] for docs in rivals.values()}
    settled = dict[DocId, Ledger]()
    for doc in sorted(heads, key=lambda doc: (_depth(doc, heads), doc)):
        settled[doc] = _read(heads[doc], settled, doc in standing, _depth(doc, heads))
    return settled


def _whole(book: Book, shelf: Mapping[DocId, Book], town_keys: frozenset[DeviceId]) -> Ledger:
    """Return the ledger that begins here with all in which it goes on."""
    ledger = fold(book.doc, book.town, book.entries, town_keys)
    for _ in range(GOES_ON_MAX):
        following = shelf.get(ledger.moved_to) if ledger.moved_to is not None else None
        if following is None or following.town != book.town:
            break
        after = fold(following.doc, book.town, following.entries, town_keys, before=ledger)
        if after.first is None:
            break
        ledger = replace(
            after,
            doc=book.doc,
            first=ledger.first,
            void={**ledger.void, **after.void},
            lost=ledger.lost + after.lost,
            gone=ledger.gone + after.gone,
            settled=ledger.settled | after.settled,
            forks=ledger.forks + after.forks,
            beyond=ledger.beyond + after.beyond,
        )
    return ledger


def _share(ledger: Ledger) -> tuple[DocId, DocId] | None:
    """Return the ledger and the claim there of which this is a share; None if it stands by itself."""
    parent, claim = ledger.promises.parent, ledger.promises.parent_claim
    return None if parent is None or claim is None else (parent, claim)


def _depth(doc: DocId, heads: Mapping[DocId, Ledger]) -> int:
    """Return how many known ledgers stand above this one; at most `SHARES_DEEP_MAX`, or a ring."""
    depth = 0
    while depth < SHARES_DEEP_MAX and doc in heads and (share := _share(heads[doc])) is not None:
        doc, _ = share
        depth += 1
    return depth


def _read(ledger: Ledger, settled: Mapping[DocId, Ledger], stands: bool, depth: int) -> Ledger:
    """Return a ledger under the ceiling of the one above it, which is settled already if it can be."""
    share = _share(ledger)
    if share is None:
        return ledger
    parent, claim = share
    above = settled.get(parent)
    if above is None or not above.is_known or depth >= SHARES_DEEP_MAX or claim not in above.promises.claims:
        return ledger.under(0, waits_for=parent)
    fits = stands and ledger.promises.unit == above.promises.unit
    return ledger.under(above.promises.worth(claim, ledger.town) if fits else 0)
