"""What is said of claims and ledgers: one plain sentence for each state, one for each code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from node.promises.views import Stage
from node.status import at_time
from protocol.text import write_decimal
from sync.promises import ONE

if TYPE_CHECKING:
    from sync.promises import Promises

CODES: Final = {
    # Objections: by the claimant's node to the person, by the keeper to the claimant.
    "not_claimable": "this is not something that can be asked for here; write to its town instead",
    "ended": "it has ended",
    "cancelled": "it was cancelled",
    "target_withdrawn": "what was asked for was withdrawn",
    "counts_windows": "it is lent for a time: say from when and until when",
    "counts_amounts": "it is given in amounts: say how much, and no times",
    "no_share_of_a_thing": "one thing cannot be shared out by two towns",
    "no_window": "say from when and until when, the end later than the beginning",
    "window_over": "that time is over",
    "too_long": "that is longer than it is lent at once",
    "beyond_end": "nothing is lent or kept until so late",
    "not_longer": "that is not longer than it is lent already",
    "no_renewals": "it was prolonged as often as it may be, or may not be at all",
    "asked_often": "it was refused often enough; speak with who lends it",
    "others_wait": "somebody else waits for it then",
    "not_available": "it cannot be borrowed now: it is being repaired, or lost",
    "no_amount": "say how much, more than nothing",
    "too_little": "that is less than is given at once",
    "too_much_at_once": "that is more than one household may have",
    "another_unit": "it is counted in another unit",
    "more_than_all": "that is more than there is",
    "another_federation": "the request came through another federation than what it asks for",
    "not_this_ledger": "the request names another ledger than what it asks for has",
    "twice": "there is a request by the same person already",
    # What a keeper says besides.
    "to_others": "it was given to others",
    "not_then": "it is not possible at that time",
    "gone": "it is not there any more",
    "declined": "it was given to others, or cannot be",
    "claim_withdrawn": "the request was withdrawn",
    "hold_ended": "it was not fetched by the time that was said",
    "returned": "it was given back",
    "released": "the promise was taken back",
    "no_show": "nobody came for it",
    "fork": "the keeper's key was in two places, and only one of the two counts",
    "share_worth_less": "the share from which it was promised is worth less by now",
    "confirmed": "with the right code",
    "no_code": "without a code",
    # What would have no effect, by `sync.keeping.refusal`.
    "not_known_yet": "the entries of its ledger have not all come yet; wait until they have",
    "unsettled_fork": "the keeper's key was in two places; that is settled first, in a moment",
    "too_much": "more than that is promised already; accept less, or put it on the waiting list",
    "overlaps": "it is promised to somebody else in that time",
    "accepted_already": "it is accepted already",
    "said_already": "that was said already",
    "not_accepted": "it is not accepted, so there is nothing to hand over, to renew or to give free",
    "no_part_of_a_window": "a time is given free as a whole",
    "a_share": "a share is not handed over: the town that has it gives it away",
    "names_nobody": "say which device",
    "below_promised": "more than that is promised already",
}
"""What each stable code means."""
_UNITS: Final = {"box": "boxes", "portion": "portions", "hour": "hours", "night": "nights"}
_DAY_S: Final = 86_400
_WEEK_S: Final = 6 * 86_400


def because(code: str) -> str:
    """Return what a code means; of one that only a newer program knows, that. No text of others is said."""
    return CODES.get(code, "for a reason that this version of Hedgerow does not know")


def amount(milli: int, unit: str) -> str:
    """Return an amount as people say it: `2`, `1 box`, `2.5 kg`, `2 boxes`."""
    number = write_decimal(milli, 3)
    if unit == "each":
        return number
    return f"{number} {unit if milli == ONE else _UNITS.get(unit, unit)}"


def moment(seconds: int, now_s: int) -> str:
    """Return a time to come as people here say it: `18:00`, `Friday 18:00`, `2026-12-24 18:00`."""
    try:
        then, now = (datetime.fromtimestamp(each, UTC).astimezone() for each in (seconds, now_s))
    except (OverflowError, ValueError, OSError):
        return "a day beyond our calendar"
    if then.date() == now.date():
        return f"{then:%H:%M}"
    return f"{then:%A %H:%M}" if 0 <= seconds - now_s < _WEEK_S else f"{then:%Y-%m-%d %H:%M}"


def waits(town_name: str, heard_ms: int | None, now_ms: int) -> str:
    """Return whom a claim waits for, and when that town was last heard."""
    heard = "not heard yet" if heard_ms is None else f"last heard {at_time(heard_ms, now_ms)}"
    return f"Waits for {town_name}'s node, {heard}."


def of_claim(
    stage: Stage,
    code: str,
    *,
    ours: bool,
    keeper_name: str,
    town_name: str,
    waiting: str,
    what: str,
    window: str,
    until: str,
    place: int,
    share: bool,
    why: str = "",
    free: int = 0,
    wanted: int = 0,
    unit: str = "each",
    longer: str = "",
    kept: bool = False,
) -> str:
    """Return the sentence of a claim.

    Args:
        ours: Whether who looks belongs to the claimant's town.
        waiting: The sentence of whom an unanswered claim waits for.
        what: The amount.
        window: The stretch of time that is asked for instead; empty of an amount.
        until: Until when it is kept; empty if no time was said.
        why: What the code means; empty: what it means everywhere.
        free: How much is free, and
        wanted: how much is asked for, in thousandths of `unit`.
        longer: Until when it is asked to be kept beyond the window; empty if that is answered, or not asked.
        kept: Whether what was withdrawn is still promised, because the keeper has not heard of it.
    """
    why = why or because(code)
    says = _of_stage(
        stage, code, why, ours=ours, keeper_name=keeper_name, town_name=town_name, waiting=waiting, what=what,
        window=window, until=until, place=place, share=share, full=_full(window, free, wanted, unit),
    )  # fmt: skip
    if kept:
        return f"{says} It is not free for others yet. {waiting}"
    if longer:
        return f"{says} {'You ask' if ours else f'{town_name} asks'} for it until {longer}. {waiting}"
    if window and code and stage in (Stage.ACCEPTED, Stage.HANDED_OVER):
        return f"{says} Not for longer: {why}."
    return says


def _full(window: str, free: int, wanted: int, unit: str) -> str:
    """Return why somebody waits."""
    if window:
        return f"it is not free {window}"
    if not free:
        return "nothing is free now"
    said = f"{amount(free, unit)} {'is' if free == ONE else 'are'} free"
    return f"only {said} now" if free < wanted else f"{said}, and who posted it decides"


def _of_stage(
    stage: Stage,
    code: str,
    why: str,
    *,
    ours: bool,
    keeper_name: str,
    town_name: str,
    waiting: str,
    what: str,
    window: str,
    until: str,
    place: int,
    share: bool,
    full: str,
) -> str:
    """Return the sentence of where a claim stands."""
    you = "you" if ours else town_name
    match stage:
        case Stage.ASKED:
            return waiting
        case Stage.WAITING:
            return f"On the waiting list, place {place}: {full}." + (f" {waiting}" if ours else "")
        case Stage.ACCEPTED if window:
            return f"Accepted: {'it is yours' if ours else f'it goes to {town_name}'} {window}."
        case Stage.ACCEPTED if share:
            return f"Accepted: {what} may be given away by {town_name}."
        case Stage.ACCEPTED:
            kept = f"{what} {'is' if what.startswith('1 ') or what == '1' else 'are'} kept for {you}"
            return f"Accepted: {kept}{f' until {until}' if until else ''}."
        case Stage.HANDED_OVER:
            return f"Handed over: {window or what}."
        case Stage.DECLINED:
            return f"Declined: {why if code else because('declined')}."
        case Stage.RELEASED:
            return f"Given free: {why if code else because('released')}."
        case Stage.VOID if code == "fork":
            return f"Void: {keeper_name}'s key was in two places; this promise does not count."
        case Stage.VOID:
            return f"Void: {why}."
        case Stage.WITHDRAWN:
            return "Withdrawn."


def are_whole_days(start: int, end: int) -> bool:
    """Tell whether a window is of whole days, as forms ask for them: of UTC, the last one included."""
    return start % _DAY_S == 0 and end % _DAY_S in (0, _DAY_S - 1)


def of_window(start: int, end: int, now_s: int) -> str:
    """Return a window as people say it: in days if it is of whole ones."""
    if not end:
        return ""
    if are_whole_days(start, end):
        first, last = _day(start, now_s), _day(end - 1, now_s)
        return f"on {first}" if first == last else f"from {first} to {last}"
    return f"from {moment(start, now_s)} to {moment(end, now_s)}"


def of_end(end: int, now_s: int) -> str:
    """Return the end of a window as people say it: its last day, if it ends with one."""
    return _day(end - 1, now_s) if end % _DAY_S in (0, _DAY_S - 1) else moment(end, now_s)


def _day(seconds: int, now_s: int) -> str:
    try:
        then, now = (datetime.fromtimestamp(each, UTC) for each in (seconds, now_s))
    except (OverflowError, ValueError, OSError):
        return "a day beyond our calendar"
    year = "" if then.year == now.year else f" {then.year}"
    return f"{then:%A} {then.day} {then:%B}{year}"


def of_ledger(promises: Promises | None, windows: bool, town_name: str, waiting: int, kind: str) -> str:
    """Return the sentence of the ledger of a post of this kind; None: it is not known yet."""
    if promises is None:
        return f"Not known yet: the first word of {town_name}'s node on it has not come."
    queue = f" {waiting} on the waiting list." if waiting else ""
    if windows:
        count = len(promises.open_ones())
        if not count:
            return f"Lent for a time: promised to nobody yet.{queue}"
        return f"Lent for a time: {count} time{'s are' if count != 1 else ' is'} promised.{queue}"
    if promises.capacity >= 1_000_000 * ONE:
        return f"{amount(promises.promised, promises.unit)} promised, room for more.{queue}"
    free, all_ = write_decimal(promises.free, 3), amount(promises.capacity, promises.unit)
    still = "still needed" if kind == "need" else "free"
    return f"{free} of {all_} {'is' if promises.free == ONE else 'are'} {still}.{queue}"
