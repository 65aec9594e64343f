"""What became of one claim, step by step: the entries of its ledger that speak of it, with their times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.promises.shelf import family, held_of, ledger_at
from sync.ledger import read

if TYPE_CHECKING:
    from node.store import Reader
    from protocol.ids import DocId
    from sync.promises import Act

HAPPENED_MAX: Final = 50
"""Steps that are told of one claim: the newest; an honest keeper writes fewer than ten."""


@dataclass(frozen=True, slots=True)
class Happened:
    """One step.

    Attributes:
        at_ms: When it was written, by its writer's clock.
        milli: How much it was about; None: all of it.
        end: The new end of a window; None: it has none.
        counts: False: it has no effect, for instance on the losing side of a fork.
    """

    at_ms: int
    act: Act
    milli: int | None
    end: int | None
    reason: str
    counts: bool


def history(reader: Reader, ledger: DocId, claim: DocId) -> tuple[Happened, ...]:
    """Return the steps of a claim in a ledger and in those in which it goes on, oldest first."""
    folded = ledger_at(reader, ledger)
    found = []
    for book in family(reader, ledger):
        for record in held_of(reader, book.doc):
            entry = read(record)
            if entry is None or entry.word.claim != claim:
                continue
            counts = folded is not None and entry.id not in folded.void
            word = entry.word
            at_ms = record.header.stamp >> 16
            order = (at_ms, entry.n, entry.id)
            found.append((order, Happened(at_ms, word.act, word.milli, word.end, word.reason, counts)))
    return tuple(step for _, step in sorted(found, key=lambda each: each[0])[-HAPPENED_MAX:])
