"""The bounds that a post sets to what is asked of it, and what who breaks one is told: it names the bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.promises.opening import DAY_S
from node.promises.sentences import amount, because, of_end
from node.store.documents import ends_of
from protocol.kinds.bounds import LOAN_DAYS_MAX
from sync.keeping import BEYOND_END, Terms
from sync.ledger import OUTLIVES_S
from sync.promises import Mode

if TYPE_CHECKING:
    from node.store import Document
    from sync.ledger import Ledger

AT_ONCE_DAYS: Final = 28
"""For so long a node lends a thing by itself whose post says no number of days; its owner may say up to
`LOAN_DAYS_MAX`."""


def decides_alone(target: Document) -> bool:
    """Tell whether its poster lets the node answer requests."""
    match target.kind:
        case "offer":
            return target.fields.get("accept") == "auto"
        case "item":
            return target.fields.get("approval") == "auto"
        case "event":
            return target.fields.get("join", "open") == "open"
    return False


def days_of(target: Document) -> int:
    """Return for how many days at once a thing is lent."""
    days = target.fields.get("loan_days")
    if isinstance(days, int):
        return days
    return AT_ONCE_DAYS if decides_alone(target) else LOAN_DAYS_MAX


def end_of(target: Document) -> int:
    """Return the second at which people see a post end; nothing is lent beyond it."""
    return ends_of(target.kind, target.fields, target.expires)


def kept_until(target: Document) -> int:
    """Return until which second what is promised may be kept for somebody: while its ledger lives."""
    return target.expires + OUTLIVES_S


def terms_of(target: Document) -> Terms:
    """Return on which terms a thing is lent for longer."""
    times = target.fields.get("renewals")
    return Terms(times if isinstance(times, int) else None, days_of(target) * DAY_S, end_of(target))


def because_of(code: str, ledger: Ledger | None, target: Document | None, now_s: int) -> str:
    """Return what a code means of this post and its ledger, with the amount or the day that it is about."""
    says = because(code)
    bound = _bound(code, target, now_s) if target is not None else ""
    if bound:
        return f"{says}: {bound}"
    if ledger is None or not ledger.is_known or ledger.promises.mode is not Mode.QUANTITY:
        return says
    promises = ledger.promises
    if code == "more_than_all":
        return f"{says}: {amount(promises.capacity, promises.unit)} in all"
    if code == "too_much" and promises.free:
        return f"only {amount(promises.free, promises.unit)} of it is free: accept less, or let it wait"
    if code == "too_much":
        return "nothing of it is free: let it wait"
    if code == "another_unit":
        return f"it is counted in {promises.unit}, so ask in {promises.unit}"
    return says


def _bound(code: str, target: Document, now_s: int) -> str:
    match code:
        case "too_long" if target.kind == "item":
            days = days_of(target)
            return f"{days} day{'' if days == 1 else 's'} at most"
        case "too_little":
            return _measure(target, "claim_min", "at least")
        case "too_much_at_once":
            return _measure(target, "claim_max", "at most")
        case _ if code == BEYOND_END:
            return f"until {of_end(end_of(target), now_s)} at most"
    return ""


def _measure(target: Document, name: str, edge: str) -> str:
    value = target.fields.get(name)
    milli, unit = (value.get("milli"), value.get("unit")) if isinstance(value, dict) else (None, None)
    return f"{amount(milli, unit)} {edge}" if isinstance(milli, int) and isinstance(unit, str) else ""
