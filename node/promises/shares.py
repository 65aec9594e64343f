"""A share: what one town has set aside so that another may give it away, even while the two are cut off.

The town that gets it posts an offer of its own over it, with a ledger of its own. To give some of it back, it
lowers the amount of that offer; then the town that it came from gives as much free, and cites the entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.errors import Refused
from node.promises.sentences import amount
from node.promises.shelf import held_of, ledger_at
from sync.ledger import Ledger, read
from sync.promises import Act, Promise, Word

if TYPE_CHECKING:
    from node.store import Reader
    from protocol.ids import DocId, RecordId, TownId


def share_word(
    reader: Reader, parent: DocId, claim: DocId, own_town: TownId, milli: int, unit: str, nonce: bytes | None
) -> Word:
    """Return the first entry of the ledger of an offer over a share.

    Args:
        nonce: Of the post: the one with which it was made already may be repeated.

    Raises:
        Refused: Nothing is set aside, it is less, it is counted otherwise, or it is offered already.
    """
    above = ledger_at(reader, parent)
    worth = above.promises.worth(claim, own_town) if above is not None and above.is_known else 0
    if above is None or not worth:
        raise Refused("nothing is set aside for this town by that request yet", code="no_share")
    if unit != above.promises.unit:
        raise Refused(f"the share is counted in {above.promises.unit}", code="another_unit")
    if milli > worth:
        raise Refused(f"only {amount(worth, unit)} is set aside for this town", code="more_than_all")
    there = {held_of(reader, doc)[0].header.nonce for doc in reader.shares_of(parent, claim, own_town)}
    if there - {nonce}:
        raise Refused("this share is offered already; change that offer instead", code="shared_already")
    return Word(Act.CAPACITY, milli=milli, unit=unit, parent=parent, parent_claim=claim)


def given_back(reader: Reader, ledger: Ledger, promise: Promise, milli: int | None) -> Word:
    """Return the release of what a town has given back of its share, or of `milli` of it.

    Raises:
        Refused: That town may still give it away.
    """
    assert promise.share is not None
    kept, entry = _kept(reader, ledger.doc, promise.claim, promise.share)
    free = promise.milli - kept
    wanted = free if milli is None else milli
    if wanted > free or wanted < 1:
        raise Refused(
            f"{amount(kept, ledger.promises.unit)} of the share may still be given away there; ask that town"
            " to lower the amount of its own offer first",
            code="share_in_use",
        )
    return Word(Act.RELEASE, promise.claim, wanted, reason="returned", child=entry)


def _kept(reader: Reader, parent: DocId, claim: DocId, town: TownId) -> tuple[int, RecordId | None]:
    """Return how much a town's own ledger says that it has of a share, and the entry that says so."""
    for doc in reader.shares_of(parent, claim, town):
        child = ledger_at(reader, doc)
        if child is None or child.first is None:
            continue
        entries = [entry for each in held_of(reader, child.goes_on_in) if (entry := read(each)) is not None]
        said = [each for each in entries if each.word.act is Act.CAPACITY and each.id not in child.void]
        last = max(said, key=lambda each: each.n, default=child.first)
        return child.own.capacity, last.id
    return 0, None
