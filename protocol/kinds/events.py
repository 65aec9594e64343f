"""A meeting, a course, a work day: what takes place, when, where, and who may come.

Times are the local time of the place, as it is said and as iCalendar wants it (`DTSTART;TZID=...`): an
evening that begins at 18:30 all year does so although the clocks are changed. Without `tz` it is the time of
wherever the event takes place, which is what everybody in town means. So the second at which an event ends is
known to half a day only; it decides no more than when the event leaves the board.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from protocol.encoding import Value
from protocol.errors import InvalidField
from protocol.fields import Choice, Integer, Text
from protocol.ids import Lane, Op
from protocol.kinds.bounds import DAY_S, LINE_CHARS_MAX, SEATS_MAX, TOOLS_MAX, URL_CHARS_MAX, YEAR_S
from protocol.kinds.common import BY, LANG, ON_BEHALF_OF, TAGS, TEXT, TITLE, WHERE, category, line
from protocol.kinds.repeats import Repeats, last_after_s
from protocol.notations import Bytes, LocalTime, TimeZone, Url
from protocol.schema import Field, Kind
from protocol.structures import ListOf

ZONE_HOURS_MAX = 12
"""Where clocks are furthest behind: a local time has come everywhere so long after the same time in UTC."""


def _begins_before_it_ends(fields: Mapping[str, Value]) -> None:
    start, end = fields["start"], fields.get("end")
    if isinstance(start, str) and isinstance(end, str) and end < start:
        raise InvalidField("end", "lies before its start")


def over_at(fields: Mapping[str, Value]) -> int | None:
    """Return a second at which the last time of an event is over, wherever on earth; up to a day late."""
    said = fields.get("end", fields.get("start"))
    if not isinstance(said, str):
        return None
    last = datetime.fromisoformat(said).replace(tzinfo=UTC)
    return int(last.timestamp()) + ZONE_HOURS_MAX * 3_600 + last_after_s(fields.get("rrule"))


EVENT = Kind(
    name="event",
    label="An event",
    plural="Events",
    lane=Lane.EVERYDAY,
    op=Op.PUT,
    lifetime_default_s=30 * DAY_S,
    lifetime_max_s=3 * YEAR_S,
    linger_s=30 * DAY_S,
    ends=over_at,
    standard="schema:Event, iCalendar VEVENT",
    agreements=(_begins_before_it_ends,),
    fields=(
        TITLE,
        TEXT,
        category("workshop", "work day", "meeting", "meal", "market", "company", "music", "sport"),
        Field("start", LocalTime(), "When does it begin?", required=True, standard="ical:DTSTART"),
        Field("end", LocalTime(), "When does it end?", standard="ical:DTEND"),
        Field(
            "tz",
            TimeZone(),
            "Time zone",
            "Like Europe/Paris; only if it is not that of the place",
            standard="ical:TZID",
        ),
        Field(
            "rrule",
            Repeats(),
            "Does it repeat?",
            "For example: weekly, 10 times",
            standard="ical:RRULE",
        ),
        WHERE,
        Field(
            "url",
            Url(URL_CHARS_MAX),
            "Address in the web",
            "Where one joins, or reads more",
            standard="ical:URL",
        ),
        Field(
            "seats", Integer(1, SEATS_MAX), "How many can come?", standard="schema:maximumAttendeeCapacity"
        ),
        Field(
            "join",
            Choice({"open": "Whoever comes", "approval": "Who is accepted"}),
            "Who may come?",
            default="open",
        ),
        Field(
            "roles",
            ListOf(Text(1, LINE_CHARS_MAX), TOOLS_MAX),
            "Who is needed?",
            "One on each line: cook, driver, first aid",
        ),
        Field(
            "status",
            Choice({"confirmed": "Takes place", "cancelled": "Cancelled"}),
            "Does it take place?",
            default="confirmed",
            standard="ical:STATUS",
        ),
        line(
            "access",
            "Access",
            "For example: step-free, hearing loop, quiet room",
            "schema:accessibilityFeature",
        ),
        Field(
            "teaches",
            Bytes(16, "the id of a guide"),
            "The guide that it teaches",
            "Its number",
            standard="schema:teaches",
        ),
        line("bring", "Bring along", "For example: gloves, a jar"),
        TAGS,
        LANG,
        BY,
        ON_BEHALF_OF,
    ),
)
