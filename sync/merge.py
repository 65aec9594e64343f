"""Which records of one document stand, from headers alone.

Of the puts the greatest `(stamp, id)` stands; entries stand beside each other, at most `ENTRIES_MAX`, the
greatest; any delete is final and removes puts and entries, and of deletes the greatest stands. So what
stands is a join: for any two sets of records, `prune(A | B)` is `prune(prune(A) | prune(B))`, and neither
order nor repetition matters. A rule that asked for more (a delete that only kills what it has seen, an
entry that replaces a put) lost this law in the trials.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from protocol.ids import Op, RecordId
from protocol.limits import ENTRIES_MAX


class Fact(NamedTuple):
    """What merging needs to know of a record."""

    id: RecordId
    stamp: int
    op: Op


@dataclass(frozen=True, slots=True)
class Pruned:
    """What stands of a document, and what does not.

    Attributes:
        held: The facts that stand, each once, ascending by `(stamp, id)`.
        superseded: Each other id with the id of the standing record because of which it fell.
    """

    held: tuple[Fact, ...]
    superseded: tuple[tuple[RecordId, RecordId], ...]


def prune(facts: Iterable[Fact], *, entries_max: int = ENTRIES_MAX) -> Pruned:
    """Return what stands of one document's records, whatever their order, repeated or not.

    Args:
        facts: Facts of records that may write the document, all of one document.
        entries_max: How many entries a document keeps; at least 1.
    """
    ordered = sorted(set(facts), key=_rank)
    deletes = [fact for fact in ordered if fact.op is Op.DELETE]
    if deletes:
        last = deletes[-1]
        return Pruned((last,), tuple((fact.id, last.id) for fact in ordered if fact is not last))
    puts = [fact for fact in ordered if fact.op is Op.PUT]
    entries = [fact for fact in ordered if fact.op is Op.ENTRY]
    superseded = [(fact.id, puts[-1].id) for fact in puts[:-1]]
    kept = entries[-entries_max:]
    superseded += [(fact.id, kept[0].id) for fact in entries[:-entries_max]]
    return Pruned(tuple(sorted(puts[-1:] + kept, key=_rank)), tuple(superseded))


def _rank(fact: Fact) -> tuple[int, RecordId]:
    return (fact.stamp, fact.id)
