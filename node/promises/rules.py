"""What may be asked of what: the same objections at the claimant's node, which tells the person at once, and
at the keeper's, which declines by their codes.

Each looks at the post as it stands, at the claim, and at the time; what is free, and for whom, is the
ledger's business and no objection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.promises.limits import days_of, end_of, terms_of
from node.promises.opening import DAY_S
from node.promises.shelf import CLAIMABLE, held_of, is_withdrawn, subject_of, target_of
from protocol.ids import DocId, Op, TownId
from protocol.structures import MILLI_MAX
from sync.keeping import BEYOND_END, Policy, against_longer
from sync.ledger import ledger_id
from sync.promises import Mode, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from node.promises.asked import Asked
    from node.store import Document, Reader
    from protocol.encoding import Value
    from sync.ledger import Ledger

HOLD_S: Final = 3 * DAY_S
"""How long goods are kept for those whose claim was accepted, so that who does not come holds up nobody."""
GATHER_S: Final = DAY_S
"""How long claims are gathered before who needs it most, or the lot, decides."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: thousandths of a unit, or seconds from `start` to `end`."""

    milli: int | None = None
    unit: str = "each"
    start: int | None = None
    end: int | None = None
    share: bool = False


def objection(target: Document, ledger: Ledger | None, wish: Wish, now_s: int) -> str:
    """Return why nobody could grant a wish, as a stable code; "" if it is a matter of what is free.

    Args:
        target: As it stands.
        ledger: As far as it is known here.
        now_s: Seconds.
    """
    kind, fields = target.kind, target.fields
    if kind not in CLAIMABLE:
        return "not_claimable"
    if end_of(target) <= now_s:
        return "ended"
    if fields.get("status") == "cancelled":
        return "cancelled"
    if kind == "item":
        return _window_objection(target, wish, now_s)
    if wish.start is not None or wish.end is not None:
        return "counts_amounts"
    return _amount_objection(fields, ledger, wish)


def _window_objection(target: Document, wish: Wish, now_s: int) -> str:
    if wish.milli is not None:
        return "counts_windows"
    if wish.share:
        return "no_share_of_a_thing"
    if wish.start is None or wish.end is None or wish.start >= wish.end:
        return "no_window"
    if wish.end <= now_s:
        return "window_over"
    if wish.end - wish.start > days_of(target) * DAY_S:
        return "too_long"
    if wish.end > end_of(target):
        return BEYOND_END
    return "" if target.fields.get("status", "available") == "available" else "not_available"


def _amount_objection(fields: Mapping[str, Value], ledger: Ledger | None, wish: Wish) -> str:
    if wish.milli is None or not 1 <= wish.milli <= MILLI_MAX:
        return "no_amount"
    if not wish.share and wish.milli < (_milli(fields, "claim_min") or 0):
        return "too_little"
    if not wish.share and wish.milli > (_milli(fields, "claim_max") or MILLI_MAX):
        return "too_much_at_once"
    if ledger is None or not ledger.is_known or ledger.promises.mode is not Mode.QUANTITY:
        return ""
    if wish.unit != ledger.promises.unit:
        return "another_unit"
    return "more_than_all" if wish.milli > ledger.promises.capacity else ""


def called_off(reader: Reader, ledger: DocId, now_s: int) -> str:
    """Return why a town gives nothing of what a ledger is of any more, as a stable code: it has withdrawn or
    cancelled that; "" if it has not."""
    subject = subject_of(reader, ledger, None)
    if subject is None or subject.header.op is Op.DELETE:
        return "" if subject is None else "target_withdrawn"
    target = reader.document(subject.doc, now_s)
    return "cancelled" if target is not None and target.fields.get("status") == "cancelled" else ""


def fault(reader: Reader, asked: Asked, ledger: Ledger, now_s: int) -> str:
    """Return why a claim as it came cannot be granted, as a stable code; "" if it is a matter of what is
    free."""
    records = [each for each in held_of(reader, asked.target) if each.header.kind in CLAIMABLE]
    if not records or ledger_id(records[0].header) != ledger.doc:
        return "not_this_ledger" if records else "ended"
    header = records[0].header
    if not set(asked.federations) <= set(header.federations):
        return "another_federation"
    if is_withdrawn(records):
        return "target_withdrawn"
    target = reader.document(asked.target, now_s)
    if target is None:
        return "ended"
    wish = Wish(asked.milli, asked.unit, asked.start, asked.end, asked.share)
    return objection(target, ledger, wish, now_s)


def repeated(claims: Iterable[Asked], ledger: Ledger) -> frozenset[DocId]:
    """Return the claims by who has asked for the same already and waits, or was promised it and has not
    got it yet. A helper asks for many, so what is typed in for others is never a repetition."""
    first, again = set[tuple[TownId, str]](), set[DocId]()
    done = (Status.DECLINED, Status.RELEASED, Status.HANDED_OVER, Status.CALLED_OFF)
    for each in sorted(claims, key=lambda each: (each.born, each.doc)):
        promise = ledger.promises.claims.get(each.doc)
        if each.by and not each.on_behalf_of and (promise is None or promise.status not in done):
            who = (each.town, each.by.casefold())
            if who in first and promise is None:
                again.add(each.doc)
            first.add(who)
    return frozenset(again)


def no_longer(reader: Reader, ledger: Ledger | None, claim: DocId, until: int, now_s: int) -> str:
    """Return why a claim cannot keep what it has until a second, as a stable code; "" if it may."""
    if until <= now_s:
        return "window_over"
    if ledger is None or not ledger.is_known:
        return "not_known_yet"
    target = target_of(reader, ledger.doc, now_s)
    if target is None:
        return "ended"
    return against_longer(ledger, claim, until, terms_of(target))


def policy_of(target: Document) -> tuple[Policy, int]:
    """Return who gets it if several ask, and the second at which gathering ends."""
    said = target.fields.get("policy")
    policy = Policy(said) if isinstance(said, str) else Policy.FIRST_COME
    return policy, min(target.born + GATHER_S, end_of(target))


def hold_of(target: Document) -> int | None:
    """Return for how many seconds it is kept for whoever gets it; None: as long as it takes."""
    return HOLD_S if target.kind == "offer" else None


def _milli(fields: Mapping[str, Value], name: str) -> int | None:
    value = fields.get(name)
    milli = value.get("milli") if isinstance(value, dict) else None
    return milli if isinstance(milli, int) else None
