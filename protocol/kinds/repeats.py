"""How often an event takes place: the part of iCalendar's RRULE (RFC 5545, 3.3.10) that a town needs.

Held is the rule itself, so a calendar takes it as it is; its parts stand in one order, and `COUNT` is always
there, so every event ends. People type and read words for the plain ones: `weekly, 10 times`,
`every 2 weeks, 5 times`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from protocol.encoding import Value
from protocol.errors import InvalidField
from protocol.fields import FieldType
from protocol.kinds.bounds import DAY_S, REPEATS_MAX
from protocol.text import shown

_DAY: Final = "(?:-1|[1-5])?(?:MO|TU|WE|TH|FR|SA|SU)"
_RULE: Final = re.compile(
    "FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY)(?:;INTERVAL=([2-9]|[1-9][0-9]))?;COUNT=([1-9][0-9]{0,2})"
    f"(;BYDAY={_DAY}(?:,{_DAY}){{0,6}})?"
)
_WORDS: Final = re.compile(
    "(?:(daily|weekly|monthly|yearly)|every (?:([1-9][0-9]?) )?(day|week|month|year)s?)"
    ",? ([1-9][0-9]{0,2}) times?"
)
_UNITS: Final = {"DAILY": "day", "WEEKLY": "week", "MONTHLY": "month", "YEARLY": "year"}
_FREQUENCIES: Final = {unit: frequency for frequency, unit in _UNITS.items()}
_LONGEST_DAYS: Final = {"DAILY": 1, "WEEKLY": 7, "MONTHLY": 31, "YEARLY": 366}


@dataclass(frozen=True, slots=True)
class Repeats(FieldType):
    """A rule by which an event takes place more than once, `REPEATS_MAX` times at most."""

    def check(self, value: Value, name: str) -> None:
        """Accept a rule whose parts stand in our order."""
        found = _RULE.fullmatch(value) if type(value) is str else None
        if found is None or not 1 <= int(found[3]) <= REPEATS_MAX:
            raise InvalidField(name, f"must be {self.describe()}, is {shown(value)}")

    def parse(self, text: str, name: str) -> Value:
        """Read words like `weekly, 10 times`; anything else is taken for a rule."""
        found = _WORDS.fullmatch(text.casefold())
        if found is None:
            return text.upper()
        word, interval, unit, count = found.groups()
        frequency = word.upper() if word else _FREQUENCIES[unit]
        every = f";INTERVAL={interval}" if interval not in (None, "1") else ""
        return f"FREQ={frequency}{every};COUNT={count}"

    def write(self, value: Value) -> str:
        """Return the words where they say everything, else the rule."""
        found = _RULE.fullmatch(str(value))
        if found is None or found[4]:
            return str(value)
        frequency, interval, count, _ = found.groups()
        often = f"every {interval} {_UNITS[frequency]}s" if interval else frequency.lower()
        return f"{often}, {count} time" + ("" if count == "1" else "s")

    def write_json(self, value: Value) -> object:
        """Return the rule, for programs."""
        return value

    def describe(self) -> str:
        """Say what is allowed."""
        return (
            "words like “weekly, 10 times” or “every 2 months, 6 times”, or a rule like"
            f" FREQ=MONTHLY;COUNT=6;BYDAY=1SA; at most {REPEATS_MAX} times"
        )

    def json_schema(self) -> dict[str, object]:
        """Return a string."""
        return {"type": "string", "maxLength": 80, "description": self.describe()}


def last_after_s(rule: Value) -> int:
    """Return how many seconds after the first time the last one is, at most; 0 without a good rule."""
    found = _RULE.fullmatch(rule) if type(rule) is str else None
    if found is None:
        return 0
    frequency, interval, count, _ = found.groups()
    return int(count) * int(interval or 1) * _LONGEST_DAYS[frequency] * DAY_S
