"""What is promised of a document, in words: what is free, when it is taken, what a claim went through.

Days are whole days in UTC, as they are typed (`present.date_text`); a time with hours is shown in the node's
own time zone. Nothing here is HTML: the templates escape everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from node.promises import sentences
from node.promises.history import Happened
from node.promises.opening import ANY_NUMBER
from node.promises.views import ClaimView, LedgerView, SetAside, Stage, Taken
from node.status import at_time
from node.store import Document
from node.web import present
from protocol.encoding import Value
from protocol.kinds.repeats import Repeats
from protocol.text import write_decimal
from sync.promises import ONE, Act

DAY_S: Final = present.DAY_S
FREE_SHOWN: Final = 3
"""Stretches of free days that a page names; the last is open at its end."""
TAKEN_SHOWN: Final = 20
"""Stretches of taken days that a page lists."""
BUTTONS: Final = {"offer": "Ask for it", "need": "Offer help", "item": "Borrow", "event": "Take part"}
"""What one can do with what is posted."""
STAGES: Final = {
    Stage.ASKED: "Asked",
    Stage.WAITING: "Waits",
    Stage.ACCEPTED: "Accepted",
    Stage.HANDED_OVER: "Handed over",
    Stage.DECLINED: "Declined",
    Stage.RELEASED: "Given free",
    Stage.VOID: "Void",
    Stage.WITHDRAWN: "Withdrawn",
}
"""One word for each state, where there is room for one only."""
URGENCIES: Final = ("", "soon", "urgent", "a life is at stake")
"""How urgent, from 0 to 3, as it stands beside a claim."""
RECEIVED: Final = {"yes": "Yes", "partly": "In part", "no": "No"}
"""What a receipt says."""


@dataclass(frozen=True, slots=True)
class Words:
    """How the end of an exchange is called: what the code is for, what the keeper presses, what the claimant
    is asked and has answered."""

    code: str = "Show it when you fetch it."
    hand_over: str = "Hand over"
    question: str = "Have you received it?"
    answer: str = "Received"


WORDS: Final = {
    "need": Words("Show it when you come.", "It has come", "Have you given it?", "Given"),
    "event": Words("Show it when you come.", "They came", "Were you there?", "Was there"),
}
"""The words of kinds whose claimant does not take something away."""
_HEADINGS: Final = {"need": "What is still needed", "item": "When it is free", "event": "Seats"}
_DID: Final = {
    Act.ACCEPT: "accepted",
    Act.WAIT: "put on the waiting list",
    Act.DECLINE: "declined",
    Act.RELEASE: "given free",
    Act.RENEW: "prolonged",
    Act.HANDOVER: "handed over",
}


@dataclass(frozen=True, slots=True)
class Linked:
    """A sentence, and the post that it is about; `href` is empty if that is not here."""

    says: str
    href: str
    title: str


@dataclass(frozen=True, slots=True)
class Free:
    """What a page says of what there is.

    Attributes:
        button: What one can do; empty: nothing any more.
        says: What there is and what is free, in one sentence.
        css: How much the sentence should catch the eye.
        heard: Whose node answers, and when it was last heard.
        taken: The days on which it is taken.
        shares: What is set aside for other towns: in words, with the path of their own post and its title.
        source: The same of what this is a share of; None: it is none.
        warnings: What went wrong with its promises.
    """

    heading: str
    button: str
    says: str
    css: str
    heard: str
    taken: tuple[str, ...]
    shares: tuple[Linked, ...]
    source: Linked | None
    warnings: tuple[str, ...]


def free(document: Document, ledger: LedgerView, now_ms: int) -> Free:
    """Return what the page of a document says of what there is and what is promised."""
    now_s = now_ms // 1000
    coming = [each for each in ledger.taken if each.end > now_s]
    return Free(
        heading=_HEADINGS.get(document.kind, "What is free"),
        button="" if is_off(document) else BUTTONS.get(document.kind, ""),
        says=_says(document, ledger, now_s),
        css="" if ledger.known else "warn",
        heard=answers(ledger.town_name, ledger.heard_ms, now_ms, keeps=ledger.keeps, own=document.own),
        taken=tuple(_taken(each) for each in coming[:TAKEN_SHOWN]),
        shares=tuple(_set_aside(each, ledger.unit) for each in ledger.shares),
        source=_source(ledger),
        warnings=_warnings(ledger),
    )


def is_off(document: Document) -> bool:
    """Tell whether nothing can be asked for just now: it was cancelled, or is lost or being repaired."""
    return document.fields.get("status") in ("cancelled", "lost", "repair")


def _set_aside(each: SetAside, unit: str) -> Linked:
    says = f"{amount(each.milli, unit)} set aside for {each.town_name}, which gives it away itself"
    return Linked(says, f"/d/{each.address}" if each.address else "", each.title)


def _source(ledger: LedgerView) -> Linked | None:
    if ledger.share_of is None:
        return None
    if not ledger.from_address:
        return Linked("A share of what another town has set aside for this one", "", "")
    says = f"A share of what {ledger.from_name} has set aside for {ledger.town_name}"
    return Linked(says, f"/d/{ledger.from_address}", ledger.from_title)


def _taken(each: Taken) -> str:
    return stretch(each.start, each.end) + (f", prolonged {times(each.renewals)}" if each.renewals else "")


def _says(document: Document, ledger: LedgerView, now_s: int) -> str:
    """Return what there is in one sentence, in the words of its kind."""
    if not ledger.known:
        return ledger.says
    waits = f"; {_count(ledger.waiting, 'request waits', 'requests wait')}" if ledger.waiting else ""
    if ledger.windows:
        days = document.fields.get("buffer_days")
        buffer_s = days * DAY_S if isinstance(days, int) else 0
        return f"Free {'; '.join(next_free(ledger.taken, buffer_s, now_s))}{waits}."
    return _of_amounts(document.kind, ledger) + waits + "."


def _of_amounts(kind: str, ledger: LedgerView) -> str:
    capacity = amount(ledger.capacity, ledger.unit)
    free, are = f"{write_decimal(ledger.free, 3)} of {capacity}", "is" if ledger.free == ONE else "are"
    if kind == "event" and ledger.capacity >= ANY_NUMBER:
        return f"{_count(ledger.promised // ONE, 'has', 'have')} said that they come, and there is room"
    if kind == "event":
        return f"{free} seats {are} free" if ledger.free else f"All {capacity} seats are taken"
    if kind == "need":
        return f"{free} {are} still needed" if ledger.free else f"All of it is promised: {capacity}"
    if not ledger.free:
        return f"Nothing is free: all {capacity} {'is' if ledger.capacity == ONE else 'are'} promised"
    return f"{capacity if ledger.free == ledger.capacity else free} {are} free"


def _count(count: int, one: str, many: str) -> str:
    return f"1 {one}" if count == 1 else f"{count} {many}"


def answers(town_name: str, heard_ms: int | None, now_ms: int, *, keeps: bool, own: bool) -> str:
    """Return who answers a claim, and what is known of when."""
    if keeps:
        return "This node keeps it, so whoever posted it sees a request at once."
    if own:
        return "Another device of this town keeps it; it answers as soon as it is heard."
    heard = "not heard yet" if heard_ms is None else f"last heard {at_time(heard_ms, now_ms)}"
    return f"{town_name}'s node answers; {heard}. A request waits here until the link is back."


def _warnings(ledger: LedgerView) -> tuple[str, ...]:
    """Return what went wrong with the promises of a ledger, plainly."""
    if not ledger.forks:
        return ()
    return (
        f"{ledger.town_name}'s key was in two places at once, and each promised something. "
        "What counts is the same everywhere, and only that is shown here; "
        "who was promised what does not count sees it on the page of their request.",
    )


def next_free(taken: Sequence[Taken], buffer_s: int, now_s: int) -> tuple[str, ...]:
    """Return the next stretches of whole days in which nothing is promised, with time to get it ready."""
    found: list[str] = []
    day = now_s // DAY_S
    coming = (each for each in taken if each.end + buffer_s > now_s)
    for each in sorted(coming, key=lambda each: each.start):
        last = (each.start - buffer_s) // DAY_S - 1
        if last >= day:
            found.append(_days(day, last, now_s))
        day = max(day, -(-(each.end + buffer_s) // DAY_S))
        if len(found) == FREE_SHOWN - 1:
            break
    beyond = "today" if day == now_s // DAY_S else _day(day)
    return (*found, f"from {beyond} on")


def _days(first: int, last: int, now_s: int) -> str:
    begins = "today" if first == now_s // DAY_S else _day(first)
    return begins if first == last else f"{begins} to {_day(last)}"


def _day(number: int) -> str:
    moment = datetime.fromtimestamp(number * DAY_S, UTC)
    return f"{moment:%a} {moment.day} {moment:%b}"


def stretch(start: int, end: int) -> str:
    """Return a window: whole days as days, the last one included; else with hours."""
    if sentences.are_whole_days(start, end):
        first = present.date_text(start, whole_day=True)
        last = present.date_text(end - 1, whole_day=True)
        return first if first == last else f"{first} to {last}"
    return f"{present.date_text(start, whole_day=False)} to {present.date_text(end, whole_day=False)}"


def renewals_left(fields: Mapping[str, Value], renewals: int) -> int | None:
    """Return how often a thing may still be prolonged; None: its owner says so each time."""
    most = fields.get("renewals")
    return max(0, most - renewals) if isinstance(most, int) else None


def terms(fields: Mapping[str, Value], renewals: int) -> str:
    """Return on which terms a thing may be kept for longer, after so many times."""
    left, days = renewals_left(fields, renewals), fields.get("loan_days")
    said = [f"{times(left)} more"] if left else []
    said += [f"by {_count(days, 'day', 'days')} at most"] if isinstance(days, int) else []
    return ", ".join(said)


def last_day(end: int) -> str:
    """Return until when a window is, as people say it: its last day, or with the hour."""
    whole = sentences.are_whole_days(0, end)
    return present.date_text(end - 1 if whole else end, whole_day=whole)


def times(count: int) -> str:
    """Return how often something was done."""
    return ("once", "twice")[count - 1] if 0 < count < 3 else f"{count} times"


def when(fields: Mapping[str, Value]) -> str:
    """Return when an event takes place, in one line: day, beginning, end, time zone and how often."""
    start, end, zone = (present.text_of(fields, name) for name in ("start", "end", "tz"))
    rule = fields.get("rrule")
    try:
        begins = datetime.fromisoformat(start)
        ends = datetime.fromisoformat(end) if end else None
    except ValueError:
        return start
    line = f"{begins:%A} {begins.day} {begins:%B %Y}, {begins:%H:%M}"
    if ends is not None:
        day = "" if ends.date() == begins.date() else f"{ends:%A} {ends.day} {ends:%B}, "
        line += f" to {day}{ends:%H:%M}"
    line += f" ({zone})" if zone else ""
    return f"{line} · {Repeats().write(rule)}" if isinstance(rule, str) else line


def asked_for(claim: ClaimView) -> str:
    """Return what a claim asks for: an amount or a stretch of days."""
    if claim.end:
        return stretch(claim.start, claim.end)
    return amount(claim.asked_milli, claim.unit) if claim.asked_milli else ""


def amount(milli: int, unit: str) -> str:
    """Return an amount as people say it."""
    return sentences.amount(milli, unit)


def units(unit: str) -> str:
    """Return what is counted, of more than one."""
    return amount(2 * ONE, unit).removeprefix("2").strip() or "pieces"


def measure(value: Mapping[str, Value]) -> str:
    """Return a measure of a document as people say it."""
    milli, unit = value.get("milli"), value.get("unit")
    return amount(milli, unit) if isinstance(milli, int) and isinstance(unit, str) else ""


def steps(claim: ClaimView, happened: Sequence[Happened]) -> list[tuple[str, str]]:
    """Return when and what became of a claim, oldest first."""
    who = f"{claim.by} of {claim.town_name}" if claim.by else claim.town_name
    # Who asked for longer wrote the claim anew; for which days it was asked first is not kept.
    what = "" if claim.longer or claim.renewals else asked_for(claim)
    lines = [(claim.born * 1000, f"asked by {who}" + (f": {what}" if what else ""))]
    for each in happened:
        what = _DID.get(each.act, "")
        if not what:
            continue
        if each.act is Act.RENEW and each.reason:
            lines.append(
                (each.at_ms, f"not prolonged by {claim.keeper_name}: {sentences.because(each.reason)}")
            )
            continue
        if each.milli and each.milli != claim.asked_milli and not claim.end:
            what += f": {amount(each.milli, claim.unit)}"
        if each.end and each.act is Act.RENEW:
            what += f" until {last_day(each.end)}"
        lines.append((each.at_ms, f"{what} by {claim.keeper_name}" + ("" if each.counts else "; void")))
    return [(present.date_text(at_ms // 1000, whole_day=False), what) for at_ms, what in lines]
