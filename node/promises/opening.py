"""How much there is of what is posted: the first entry of its ledger, and the entry that an edit adds.

Of an offer it is the quantity, else one; of a need the quantity, else as many hands as it names people; of an
event the seats, and any number where it names none. A thing to borrow is counted in windows of time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.clones import CLONE
from node.drafts import Draft
from node.errors import NotKeeper, Refused
from node.promises.shelf import CLAIMABLE, ledger_at
from protocol.ids import Op
from sync.ledger import LEDGER, fields_of_entry, ledger_id
from sync.promises import ONE, Act, Mode, Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from node.store import Reader
    from protocol.encoding import Value
    from protocol.ids import DeviceId
    from protocol.record import Header
    from sync.ledger import Ledger

ANY_NUMBER: Final = 1_000_000 * ONE
"""Seats of an event that names none."""
DAY_S: Final = 86_400


def opening(kind: str, fields: Mapping[str, Value]) -> Word | None:
    """Return the first entry of the ledger of a post; None if posts of its kind have none."""
    if kind not in CLAIMABLE:
        return None
    if kind == "item":
        days = fields.get("buffer_days")
        return Word(Act.CAPACITY, mode=Mode.WINDOW, buffer_s=days * DAY_S if isinstance(days, int) else 0)
    milli, unit = amount_of(kind, fields)
    return Word(Act.CAPACITY, milli=milli, unit=unit)


def amount_of(kind: str, fields: Mapping[str, Value]) -> tuple[int, str]:
    """Return how much a post says that there is, in thousandths of a unit."""
    quantity = fields.get("quantity")
    if isinstance(quantity, dict):
        milli, unit = quantity.get("milli"), quantity.get("unit")
        if isinstance(milli, int) and isinstance(unit, str):
            return milli, unit
    counted = fields.get({"need": "people", "event": "seats"}.get(kind, ""))
    if isinstance(counted, int):
        return counted * ONE, "each"
    return (ANY_NUMBER if kind == "event" else ONE), "each"


def resized(
    reader: Reader,
    header: Header,
    before: Mapping[str, Value],
    after: Mapping[str, Value],
    device: DeviceId,
) -> Draft | None:
    """Return the entry by which an edit changes how much there is; None if it does not.

    Args:
        reader: In whose state the entry has its place.
        header: Of any record of the document that is edited.
        before, after: Its fields.
        device: The one that would write.

    Raises:
        NotKeeper: As `must_keep`.
        Refused: More is promised than there would be, a share has no more, or it is counted in another unit.
    """
    kind = header.kind
    if kind not in CLAIMABLE or kind == "item" or amount_of(kind, before) == amount_of(kind, after):
        return None
    ledger = ledger_at(reader, ledger_id(header))
    if ledger is None or ledger.first is None:
        return None
    milli, unit = amount_of(kind, after)
    must_keep(reader, ledger, device)
    if unit != ledger.promises.unit:
        raise Refused(
            f"claims on it are counted in {ledger.promises.unit}, so its amount must be too;"
            " post it anew to count in another unit",
            code="unit_fixed",
        )
    if (worth := _worth(reader, ledger)) is not None and milli > worth:
        raise Refused(
            f"only {worth / ONE:g} of it are set aside for this town; ask for more there first",
            code="more_than_all",
        )
    if milli < (promised := ledger.own.promised):
        raise Refused(
            f"{promised / ONE:g} of it are promised, so it cannot be less; release some first",
            code="below_promised",
        )
    return entry_draft(ledger, Word(Act.CAPACITY, milli=milli))


def entry_draft(ledger: Ledger, word: Word) -> Draft:
    """Return the next entry of a ledger, which begins in another document than it goes on in if it moved."""
    assert ledger.head is not None, "a ledger that is known has a head"
    fields = fields_of_entry(ledger.n + 1, word)
    cites = (ledger.head, *word.settles)
    return Draft(LEDGER, Op.ENTRY, fields, doc=ledger.goes_on_in, cites=cites)


def must_keep(reader: Reader, ledger: Ledger, device: DeviceId) -> None:
    """Let nobody write but the keeper, and not even that one while its key is in two places.

    What another device writes would count nowhere, and what a clone writes could contradict us.

    Raises:
        NotKeeper: Another device keeps it, and which; or this one's key was met elsewhere.
    """
    if reader.meta(CLONE):
        raise NotKeeper(
            "this node's key was met in another place, so it promises nothing until its operator has said"
            " which of the two lives: look at hedgerow status",
            code="clone",
        )
    if ledger.keeper != device:
        raise NotKeeper(
            f"another device of this town ({(ledger.keeper or b'').hex()[:8]}) keeps this and must do it;"
            " name this one the keeper there, or with the town key if that one is lost",
            detail={"keeper": (ledger.keeper or b"").hex()},
        )


def _worth(reader: Reader, ledger: Ledger) -> int | None:
    """Return what the share is worth over which a ledger stands; None if it stands by itself."""
    parent, claim = ledger.own.parent, ledger.own.parent_claim
    if parent is None or claim is None:
        return None
    above = ledger_at(reader, parent)
    return above.promises.worth(claim, ledger.town) if above is not None else 0
