"""Documents in words: what a card says in three lines, and what a page lists as facts.

The words follow from the declaration of the kind; where a question of the form ("How much?") makes a poor
label for an answer, `LABELS` has a better one. Nothing here is HTML: the templates escape everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from node.promises import sentences
from node.store import Document, Version
from protocol.encoding import Value
from protocol.fields import Choice, FieldType, Flag
from protocol.ids import DocId, address, show_address
from protocol.kinds import KINDS, kind_of
from protocol.kinds.repeats import Repeats
from protocol.notations import Bytes, Lang, LocalTime, Seconds, Url
from protocol.schema import Kind
from protocol.structures import ListOf, Measure, Tags, Where

DAY_S: Final = 86_400
ONE: Final = {
    "offer": "Offer",
    "need": "Need",
    "item": "To borrow",
    "skill": "Skill",
    "event": "Event",
    "practice": "Guide",
    "feedback": "Feedback",
}
"""What a card calls one document of a kind; other kinds are called by their label."""
LABELS: Final = {
    "about": "About",
    "accept": "Requests are accepted",
    "allergens": "Contains",
    "approval": "Requests are accepted",
    "availability": "When",
    "available_from": "From",
    "bring": "Please bring",
    "by": "Posted by",
    "claim_max": "At most for one household",
    "claim_min": "At least for one household",
    "contact": "Answer",
    "context": "Where and when it works",
    "crisis": "In an emergency",
    "delivery": "Delivery",
    "end": "Ends",
    "item_type": "What it is",
    "join": "Who may come",
    "languages": "Speaks",
    "level": "How well",
    "loan_days": "For",
    "mode": "Shared",
    "number": "Number",
    "ok": "Went well",
    "on_behalf_of": "Posted",
    "people": "For",
    "policy": "If several ask",
    "quantity": "How much",
    "relation": "This version is",
    "renewals": "Renewed",
    "roles": "Needed",
    "rrule": "Repeats",
    "seats": "Room for",
    "side": "Said by who",
    "start": "Begins",
    "status": "Status",
    "teaches": "Teaches",
    "terms": "Terms",
    "tz": "Time of",
    "travel_km": "Comes as far as",
    "until": "Until",
    "urgency": "Urgency",
    "welfare_check": "Please",
    "where": "Where",
}
FLAGS: Final = {
    "crisis": "may be called",
    "on_behalf_of": "by a helper, for somebody else",
    "welfare_check": "look whether somebody is safe",
}
OUTCOMES: Final = {"yes": "It went well", "partly": "It went well in part", "no": "It did not go well"}
"""What stands for feedback that says no more."""
SAID_ELSEWHERE: Final = frozenset(
    {"title", "name", "text", "summary", "steps", "tags", "lang", "tools", "supplies"}
)
"""Fields that a page shows in a place of their own, not among the facts."""
LANGUAGES: Final = {
    "cy": "Welsh", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian",
    "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ar": "Arabic", "uk": "Ukrainian", "tr": "Turkish",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Card:
    """One document in a list."""

    href: str
    address: str
    css: str
    kind: str
    title: str
    lang: str
    line: str
    place: str
    age: str
    day: str
    only: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a list of facts."""

    label: str
    text: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a guide."""

    text: str
    minutes: str
    warning: str


@dataclass(frozen=True, slots=True)
class Guide:
    """One revision of a guide."""

    id: str
    title: str
    summary: str
    steps: tuple[Step, ...]
    tools: tuple[str, ...]
    supplies: tuple[str, ...]
    facts: tuple[Fact, ...]
    lang: str
    by: str
    written: str
    day: str


def card(document: Document, now_s: int, km: float | None = None) -> Card:
    """Return what a list shows of a document; `km` is how far away it is, if that is known."""
    fields = document.fields
    kind = kind_of(document.kind)
    word = ONE.get(document.kind) or (kind.label if kind else document.kind)
    return Card(
        href=f"/d/{document.address}",
        address=show_address(document.address),
        css=_css(document.kind, fields),
        kind=_joined([word, _qualifier(document.kind, fields)]),
        title=title(document),
        lang=text_of(fields, "lang"),
        line=_joined(_line(document.kind, fields)),
        place=place(document, km),
        age=age(document.stamp >> 16, now_s * 1000),
        day=day_of(document.stamp),
        only="" if document.federations else f"only {document.town_name or 'this town'}",
    )


def title(document: Document) -> str:
    """Return what stands for a document, also when its body has no title that we know."""
    kind = kind_of(document.kind)
    said = kind.title_of(document.fields) if kind else ""
    return said or OUTCOMES.get(text_of(document.fields, "ok")) or show_address(document.address)


def place(document: Document, km: float | None) -> str:
    """Return the town, and how far away the document is where that is known and not next door."""
    name = document.town_name or "a town without a name"
    return f"{name}, {km:.0f} km" if km is not None and km >= 1 else name


def facts(
    kind: Kind, fields: Mapping[str, Value], leave_out: frozenset[str] = SAID_ELSEWHERE
) -> tuple[Fact, ...]:
    """Return the known fields of a body as label and text, in the order of the declaration."""
    found = []
    for each in kind.fields:
        value = fields.get(each.name)
        if value is None or each.name in leave_out or (isinstance(each.type, Flag) and not value):
            continue
        label = LABELS.get(each.name, each.label)
        href = _href(each.type, value)
        found.append(Fact(label, FLAGS.get(each.name) or words(each.type, value, each.name), href))
    return tuple(found)


def guide(version: Version, kind: Kind, now_s: int) -> Guide:
    """Return one revision of a guide as its page shows it."""
    fields = version.fields
    shown = SAID_ELSEWHERE | {"by", "minutes"}
    extra = [Fact("Time", minutes_text(whole))] if isinstance(whole := fields.get("minutes"), int) else []
    return Guide(
        id=version.id.hex(),
        title=kind.title_of(fields),
        summary=text_of(fields, "summary"),
        steps=tuple(_step(step) for step in _list(fields, "steps") if isinstance(step, dict)),
        tools=tuple(str(item) for item in _list(fields, "tools")),
        supplies=tuple(str(item) for item in _list(fields, "supplies")),
        facts=(*extra, *facts(kind, fields, shown)),
        lang=text_of(fields, "lang"),
        by=text_of(fields, "by"),
        written=age(version.stamp >> 16, now_s * 1000),
        day=day_of(version.stamp),
    )


def changed(version: Version, versions: tuple[Version, ...], kind: Kind) -> str:
    """Return which fields of a revision are in none of those that it follows."""
    before = [each for each in versions if each.id in version.cites]
    if not before:
        return "the first that is held here"
    names = [
        LABELS.get(each.name, each.label).lower() if each.name != kind.title_field else "title"
        for each in kind.fields
        if each.name not in ("by", "relation")
        and all(version.fields.get(each.name) != old.fields.get(each.name) for old in before)
    ]
    return ", ".join(names) or ("brings two together" if len(before) > 1 else "nothing")


def words(field: FieldType, value: Value, name: str = "") -> str:
    """Return a checked value as people read it."""
    match field:
        case Choice():
            return field.labels.get(str(value), str(value))
        case Seconds() if isinstance(value, int):
            return date_text(value, whole_day=value % DAY_S in (0, DAY_S - 1))
        case Measure() if isinstance(value, dict):
            return amount_text(value)
        case Lang():
            return language(str(value))
        case ListOf(item=item) if isinstance(value, list):
            return ", ".join(words(item, part) for part in value)
        case Tags() if isinstance(value, list):
            return ", ".join(map(str, value))
        case Where() if isinstance(value, dict):
            return field.write(value)
        case LocalTime():
            return local_text(str(value))
        case Bytes(size=16) if isinstance(value, bytes):
            return show_address(address(DocId(value)))
        case Bytes() if isinstance(value, bytes):
            return value.hex()
    text = field.write(value)
    return (
        {
            "buffer_days": days_text(value),
            "loan_days": f"{days_text(value)} at most",
            "minutes": minutes_text(value),
            "people": f"{text} people",
            "renewals": "no" if value == 0 else "once" if value == 1 else f"{text} times",
            "seats": f"{text} people",
            "travel_km": f"{text} km",
        }.get(name, text)
        if isinstance(value, int)
        else text
    )


def amount_text(value: Mapping[str, Value]) -> str:
    """Return an amount with its unit, also where things are only counted."""
    milli, unit = value.get("milli"), value.get("unit")
    if isinstance(milli, int) and isinstance(unit, str) and unit != "each":
        return sentences.amount(milli, unit)
    text = Measure().write(dict(value))
    return "1 piece" if text == "1" else f"{text} pieces"


def age(then_ms: int, now_ms: int) -> str:
    """Return how long ago something was, as people say it."""
    seconds = (now_ms - then_ms) // 1000
    if seconds < 60:
        return "just now"
    if seconds < 3_600:
        return f"{seconds // 60} min ago"
    if seconds < DAY_S:
        return f"{seconds // 3_600} h ago"
    if seconds < 2 * DAY_S:
        return "yesterday"
    if seconds < 14 * DAY_S:
        return f"{seconds // DAY_S} days ago"
    return date_text(then_ms // 1000, whole_day=False, clock=False)


def day_of(stamp: int) -> str:
    """Return the day of a stamp, as it stands on paper, where "yesterday" means nothing."""
    return date_text((stamp >> 16) // 1000, whole_day=False, clock=False)


def date_text(seconds: int, *, whole_day: bool, clock: bool = True) -> str:
    """Return a moment as a date: a whole day as it was typed, in UTC; else in the node's own time zone."""
    if not 0 <= seconds < 253_402_300_800:
        return "a day beyond our calendar"
    moment = datetime.fromtimestamp(seconds, UTC)
    if not whole_day:
        moment = _here(moment)
    day = f"{moment.day} {moment:%b %Y}"
    return day if whole_day or not clock else f"{day}, {moment:%H:%M}"


def local_text(text: str) -> str:
    """Return a local time of an event as people read it; what is none, as it stands."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment:%a} {moment.day} {moment:%b %Y}, {moment:%H:%M}"


def days_text(days: int) -> str:
    """Return a number of days."""
    return "1 day" if days == 1 else f"{days} days"


def _href(field: FieldType, value: Value) -> str:
    """Return where a value leads: an address in the web, or the document that an id names."""
    if isinstance(field, Url):
        return str(value)
    return f"/d/{value.hex()}" if isinstance(field, Bytes) and isinstance(value, bytes) else ""


def _here(moment: datetime) -> datetime:
    """Return a moment in the node's own time zone; in UTC where that lies beyond the calendar."""
    try:
        return moment.astimezone()
    except (OverflowError, ValueError, OSError):
        return moment


def minutes_text(minutes: Value) -> str:
    """Return a duration in the largest units that say it."""
    if not isinstance(minutes, int):
        return ""
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 2 * 1_440:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{minutes / 1_440:.0f} days"


def language(tag: str) -> str:
    """Return the English name of a language, or its tag."""
    return LANGUAGES.get(tag.split("-")[0], tag)


def text_of(fields: Mapping[str, Value], name: str) -> str:
    """Return a field if it is text, else nothing."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _css(kind: str, fields: Mapping[str, Value]) -> str:
    urgent = kind == "need" and fields.get("urgency") in ("urgent", "life")
    return f"{kind.replace('.', '-')} pressing" if urgent else kind.replace(".", "-")


def _qualifier(kind: str, fields: Mapping[str, Value]) -> str:
    """Return the word beside the kind that people look for first."""
    match kind:
        case "offer":
            return _choice(kind, fields, "terms").lower()
        case "need" if fields.get("urgency") in ("soon", "urgent", "life"):
            return _choice(kind, fields, "urgency").lower()
        case "skill":
            said = {"learning": "learning", "can_do": "", "can_teach": "can teach", "certified": "certified"}
            return said.get(text_of(fields, "level"), "")
        case "item" if fields.get("status") in ("repair", "lost"):
            return _choice(kind, fields, "status").lower()
        case "event":
            return "cancelled" if fields.get("status") == "cancelled" else text_of(fields, "category")
        case "practice":
            return text_of(fields, "category")
    return ""


def _line(kind: str, fields: Mapping[str, Value]) -> list[str]:
    """Return the few things that tell whether it is worth a look."""
    match kind:
        case "offer":
            return [_amount(fields), _until(fields, "until"), _where(fields), _beginning(fields, "text")]
        case "need":
            people = fields.get("people")
            crowd = f"for {people} people" if isinstance(people, int) else ""
            return [
                _amount(fields),
                _until(fields, "needed_by", "by"),
                crowd,
                _where(fields),
                _beginning(fields, "text"),
            ]
        case "skill":
            spoken = ", ".join(language(str(tag)) for tag in _list(fields, "languages"))
            travels = fields.get("travel_km")
            reach = f"travels {travels} km" if isinstance(travels, int) and travels else ""
            return [text_of(fields, "availability"), spoken, reach, _beginning(fields, "text")]
        case "item":
            days, number = fields.get("loan_days"), text_of(fields, "number")
            return [
                f"number {number}" if number else "",
                f"for {days_text(days)}" if isinstance(days, int) else "",
                text_of(fields, "condition"),
                _where(fields),
                _beginning(fields, "text"),
            ]
        case "event":
            return [
                local_text(text_of(fields, "start")),
                Repeats().write(rule) if isinstance(rule := fields.get("rrule"), str) else "",
                _where(fields),
                _beginning(fields, "text"),
            ]
        case "feedback":
            about = fields.get("about")
            said = f"about {show_address(address(DocId(about)))}" if isinstance(about, bytes) else ""
            return [OUTCOMES.get(text_of(fields, "ok"), "").lower(), said, _beginning(fields, "text")]
        case "practice":
            count = len(_list(fields, "steps"))
            steps = f"{count} steps" if count > 1 else "1 step" if count else ""
            return [steps, minutes_text(fields.get("minutes")), _beginning(fields, "summary")]
    return [_beginning(fields, "text")]


def _joined(parts: list[str]) -> str:
    return " · ".join(part for part in parts if part)


def _choice(kind: str, fields: Mapping[str, Value], name: str) -> str:
    value = fields.get(name)
    labels = _CHOICES.get((kind, name), {})
    return labels.get(value, value) if isinstance(value, str) else ""


_CHOICES: Final = {
    (kind.name, each.name): each.type.labels
    for kind in KINDS.values()
    for each in kind.fields
    if isinstance(each.type, Choice)
}


def _amount(fields: Mapping[str, Value]) -> str:
    value = fields.get("quantity")
    return amount_text(value) if isinstance(value, dict) else ""


def _until(fields: Mapping[str, Value], name: str, word: str = "until") -> str:
    value = fields.get(name)
    if not isinstance(value, int):
        return ""
    return f"{word} {date_text(value, whole_day=value % DAY_S in (0, DAY_S - 1))}"


def _where(fields: Mapping[str, Value]) -> str:
    value = fields.get("where")
    return text_of(value, "name") if isinstance(value, dict) else ""


def _beginning(fields: Mapping[str, Value], name: str) -> str:
    """Return the first line of a text, cut at a word."""
    text = text_of(fields, name).split("\n", 1)[0]
    if len(text) <= 110:
        return text
    return text[:110].rsplit(" ", 1)[0].rstrip(" ,;:.") + " …"


def _list(fields: Mapping[str, Value], name: str) -> list[Value]:
    value = fields.get(name)
    return value if isinstance(value, list) else []


def _step(step: Mapping[str, Value]) -> Step:
    return Step(text_of(step, "text"), minutes_text(step.get("minutes")), text_of(step, "warning"))
