"""The types of fields with a notation of their own: times, languages, addresses, keys, ids, coordinates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Final

from protocol.encoding import Value
from protocol.errors import InvalidField
from protocol.fields import FieldType
from protocol.text import decimal, held_type, shown, write_decimal

LANG_CHARS_MAX: Final = 35
"""RFC 5646 section 4.4.1: no registered language tag needs more."""
ZONE_CHARS_MAX: Final = 40
"""The longest name of a time zone has 32 characters."""
SECONDS_SHOWN_MAX: Final = 253_402_300_799
"""The last second of the year 9999: later ones cannot be shown as a date."""
DAY_S: Final = 86_400
"""Seconds of a day without leap seconds, as in POSIX time."""

_DATE: Final = re.compile("([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)Z?)?")
_DAY: Final = re.compile("(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})([ T](?P<clock>.*))?", re.DOTALL)
_MINUTE: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}")
_ZONE: Final = re.compile("[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
_LANG: Final = re.compile("[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_URL: Final = re.compile('https?://[^\\s<>"]+')


@dataclass(frozen=True, slots=True)
class Seconds(FieldType):
    """A moment in POSIX seconds; people see and type a date, in UTC.

    A bare date means its first second, or its last when `day_end`: "until 3 March" includes that day.
    """

    widget: ClassVar[str] = "date"
    day_end: bool = False

    def check(self, value: Value, name: str) -> None:
        """Accept a moment of the years 1970 to 9999."""
        if type(value) is not int:
            raise InvalidField(name, f"must be a time in seconds, is {held_type(value)}")
        if not 0 <= value <= SECONDS_SHOWN_MAX:
            raise InvalidField(name, f"must lie in the years 1970 to 9999, is {value:,} seconds")

    def parse(self, text: str, name: str) -> Value:
        """Read `2026-03-01`, or `2026-03-01T18:30` in UTC, with seconds or without."""
        found = _DATE.fullmatch(text)
        if found is None:
            raise InvalidField(name, f"must be a date like 2026-03-01, is {shown(text)}")
        day, clock = found.groups()
        try:
            moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}").replace(tzinfo=UTC)
        except ValueError:
            raise InvalidField(name, f"there is no such day or time as {shown(text)}") from None
        return int(moment.timestamp()) + (DAY_S - 1 if self.day_end and clock is None else 0)

    def write(self, value: Value) -> str:
        """Return the date when it says everything, else date and time."""
        assert isinstance(value, int)
        moment = datetime.fromtimestamp(value, UTC)
        if value % DAY_S == (DAY_S - 1 if self.day_end else 0):
            return moment.strftime("%Y-%m-%d")
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def describe(self) -> str:
        """Say what a bare date means."""
        return "a date, that day included" if self.day_end else "a date"

    def json_schema(self) -> dict[str, object]:
        """Return a date or a date with a time, as a string."""
        return {"type": "string", "pattern": f"^{_DATE.pattern}$", "description": "a date, or a time in UTC"}


@dataclass(frozen=True, slots=True)
class LocalTime(FieldType):
    """A day and a minute as clocks on the spot show them: `2026-03-01T18:30`, as browsers post it."""

    widget: ClassVar[str] = "datetime-local"

    def check(self, value: Value, name: str) -> None:
        """Accept a minute of the years 1970 to 9999."""
        if type(value) is not str or not _MINUTE.fullmatch(value) or not _is_minute(value):
            raise InvalidField(name, f"must be {self.describe()}, is {shown(value)}")

    def parse(self, text: str, name: str) -> Value:
        """Read the date and the time with a blank or a T between; a bare date begins at midnight."""
        found = _DAY.fullmatch(text)
        return text if found is None else f"{found['day']}T{found['clock'] or '00:00'}"

    def write(self, value: Value) -> str:
        """Return the text."""
        return str(value)

    def describe(self) -> str:
        """Say what is allowed."""
        return "a date with a time like 2026-03-01T18:30, as clocks there show it"

    def json_schema(self) -> dict[str, object]:
        """Return a string of that shape."""
        return {"type": "string", "pattern": f"^{_MINUTE.pattern}$", "description": "local time"}


def _is_minute(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).year >= 1970
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class TimeZone(FieldType):
    """The name of a time zone in IANA's list, by its shape only: the list grows."""

    def check(self, value: Value, name: str) -> None:
        """Accept what has the shape of a name."""
        if type(value) is not str or len(value) > ZONE_CHARS_MAX or not _ZONE.fullmatch(value):
            raise InvalidField(name, f"must be {self.describe()}, is {shown(value)}")

    def parse(self, text: str, name: str) -> Value:
        """Return the text."""
        return text

    def write(self, value: Value) -> str:
        """Return the text."""
        return str(value)

    def describe(self) -> str:
        """Say what is allowed."""
        return "the name of a time zone like Europe/Paris"

    def json_schema(self) -> dict[str, object]:
        """Return a string of that shape."""
        return {"type": "string", "pattern": f"^{_ZONE.pattern}$", "maxLength": ZONE_CHARS_MAX}


@dataclass(frozen=True, slots=True)
class Lang(FieldType):
    """A language tag of BCP 47, by its shape only."""

    def check(self, value: Value, name: str) -> None:
        """Accept what has the shape of a tag."""
        if type(value) is not str or len(value) > LANG_CHARS_MAX or not _LANG.fullmatch(value):
            raise InvalidField(name, f"must be {self.describe()}, is {shown(value)}")

    def parse(self, text: str, name: str) -> Value:
        """Return the tag in its usual letter case: `zh-Hant-TW`."""
        first, *rest = text.split("-")
        cases = {2: str.upper, 4: str.title}
        return "-".join((first.lower(), *(cases.get(len(part), str.lower)(part) for part in rest)))

    def write(self, value: Value) -> str:
        """Return the tag."""
        return str(value)

    def describe(self) -> str:
        """Say what is allowed."""
        return "a language tag like fr, cy or pt-BR"

    def json_schema(self) -> dict[str, object]:
        """Return a string of that shape."""
        return {"type": "string", "pattern": f"^{_LANG.pattern}$", "maxLength": LANG_CHARS_MAX}


@dataclass(frozen=True, slots=True)
class Url(FieldType):
    """An address in the web: http or https."""

    widget: ClassVar[str] = "url"
    chars_max: int

    def check(self, value: Value, name: str) -> None:
        """Accept what begins like one and holds no blank, quote or angle bracket."""
        if type(value) is not str or len(value) > self.chars_max or not _URL.fullmatch(value):
            raise InvalidField(name, f"must be {self.describe()}, is {shown(value)}")

    def parse(self, text: str, name: str) -> Value:
        """Return the text."""
        return text

    def write(self, value: Value) -> str:
        """Return the text."""
        return str(value)

    def describe(self) -> str:
        """Say what is allowed."""
        return f"an address that begins with http:// or https://, at most {self.chars_max} characters"

    def json_schema(self) -> dict[str, object]:
        """Return a string with the format uri."""
        return {"type": "string", "format": "uri", "maxLength": self.chars_max}


@dataclass(frozen=True, slots=True)
class Bytes(FieldType):
    """Exactly `size` bytes, shown as hex: a key, or the id of something (`of` says what)."""

    size: int
    of: str = "bytes"

    def check(self, value: Value, name: str) -> None:
        """Accept bytes of the right size."""
        if type(value) is not bytes:
            raise InvalidField(name, f"must be {self.describe()}, is {held_type(value)}")
        if len(value) != self.size:
            raise InvalidField(name, f"must be {self.describe()}, has {len(value)} bytes")

    def parse(self, text: str, name: str) -> Value:
        """Read hex digits."""
        if not re.fullmatch("([0-9A-Fa-f]{2})+", text):
            raise InvalidField(name, f"must be {self.describe()} in hex digits, is {shown(text)}")
        return bytes.fromhex(text)

    def write(self, value: Value) -> str:
        """Return hex digits."""
        assert isinstance(value, bytes)
        return value.hex()

    def describe(self) -> str:
        """Say what it names, and its size."""
        return f"{self.of}, {self.size} bytes"

    def json_schema(self) -> dict[str, object]:
        """Return a string of hex digits."""
        return {"type": "string", "pattern": f"^[0-9A-Fa-f]{{{2 * self.size}}}$"}


@dataclass(frozen=True, slots=True)
class Degrees(FieldType):
    """A coordinate in 1e-5 degrees, up to `most` degrees each way; people type decimals.

    What is typed is rounded to `step` units of 1e-5 degrees: 1,000 leave about a kilometre, which is what a
    person's place may tell.
    """

    most: int
    step: int = 1

    def check(self, value: Value, name: str) -> None:
        """Accept a coordinate on the globe, whatever its rounding."""
        if type(value) is not int:
            raise InvalidField(name, f"must be in hundred-thousandths of a degree, is {held_type(value)}")
        if abs(value) > self.most * 100_000:
            raise InvalidField(name, f"must be {self.describe()}, is {self.write(value)}")

    def parse(self, text: str, name: str) -> Value:
        """Read a decimal, with a point or a comma, and round it."""
        number = decimal(text.replace(",", "."))
        if number is None or abs(number) > 1_000:
            raise InvalidField(name, f"must be {self.describe()}, like 46.03624, is {shown(text)}")
        return int((number * 100_000 / self.step).to_integral_value()) * self.step

    def write(self, value: Value) -> str:
        """Return the decimal without needless zeros."""
        assert isinstance(value, int)
        return write_decimal(value, 5)

    def describe(self) -> str:
        """Say the bounds."""
        return f"degrees from -{self.most} to {self.most}"

    def json_schema(self) -> dict[str, object]:
        """Return a decimal as a string."""
        return {"type": "string", "pattern": "^-?[0-9]{1,3}([.][0-9]+)?$", "description": self.describe()}

    def read_json(self, value: object, name: str) -> Value:
        """Take a decimal as a string, or a JSON number by its shortest digits."""
        if type(value) in (int, float):
            value = str(value)
        return FieldType.read_json(self, value, name)
