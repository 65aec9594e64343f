"""The types of fields that are made of parts: measures, places, tags, lists, structures.

Built on `fields.py`. A structure spreads over several controls of a form, with dotted names (`where.lat`);
a list is one area with an item on each line; tags are one line with commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Final

from protocol.encoding import Value
from protocol.errors import InvalidField
from protocol.fields import FieldType, Input, Text
from protocol.notations import Degrees
from protocol.text import decimal, held_type, json_type, shown, tidy, write_decimal

UNITS: Final = ("each", "kg", "g", "l", "m", "m2", "hour", "portion", "box", "kWh", "night")
"""What amounts are counted in."""
_UNIT_WORDS: Final = {
    **{unit.casefold(): unit for unit in UNITS},
    **dict.fromkeys(("", "x", "pc", "pcs", "piece", "pieces"), "each"),
    **dict.fromkeys(("liter", "litre", "liters", "litres"), "l"),
    **dict.fromkeys(("kilo", "kilos", "kgs"), "kg"),
    **dict.fromkeys(("h", "hours"), "hour"),
    "m²": "m2",
    "metre": "m",
    "metres": "m",
    "portions": "portion",
    "boxes": "box",
    "nights": "night",
}
MILLI_MAX: Final = 10**12
"""A thousand million of a unit: far above what a town has, far below 64 bits when summed."""

_MEASURE: Final = re.compile("([+-]?[0-9.,]+) ?([^0-9.,]?.*)")
# A comma before exactly three digits may part thousands or mark decimals: it is never guessed.
_COMMA_DECIMAL: Final = re.compile("[+-]?[0-9]+,([0-9]{1,2}|[0-9]{4,})")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a kind: its name, its type, and what people and other programs call it."""

    name: str
    type: FieldType
    label: str
    hint: str = ""
    required: bool = False
    default: Value = None
    """What a form and our own drafts begin with; nothing is read into bodies that lack the field."""
    standard: str = ""
    """The name in ValueFlows (vf:), schema.org (schema:) or another standard."""


@dataclass(frozen=True, slots=True)
class Measure(FieldType):
    """An amount: {milli, unit}, from one thousandth of a unit upwards."""

    def check(self, value: Value, name: str) -> None:
        """Accept a whole number of thousandths and a known unit."""
        if type(value) is not dict:
            raise InvalidField(name, f"must be an amount with its unit, is {held_type(value)}")
        milli = value.get("milli")
        if type(milli) is not int or not 1 <= milli <= MILLI_MAX:
            said = write_decimal(milli, 3) if type(milli) is int else held_type(milli)
            raise InvalidField(name, f"must be more than 0 and at most {MILLI_MAX // 1000:,}, is {said}")
        if value.get("unit") not in UNITS:
            raise InvalidField(name, f"has the unit {shown(value.get('unit'))}; known are {', '.join(UNITS)}")

    def parse(self, text: str, name: str) -> Value:
        """Read `2.5 kg`, `2,5 kg` or `24`; without a unit things are counted."""
        found = _MEASURE.fullmatch(text)
        if found is None:
            raise InvalidField(name, f"must be an amount like 24 or 2.5 kg, is {shown(text)}")
        amount, unit = found.groups()
        known = _UNIT_WORDS.get(unit.strip().casefold())
        if known is None:
            raise InvalidField(name, f"has the unit {shown(unit)}; known are {', '.join(UNITS)}")
        return {"milli": _milli(amount, name), "unit": known}

    def write(self, value: Value) -> str:
        """Return the decimal and the unit."""
        assert isinstance(value, dict)
        milli, unit = value["milli"], value["unit"]
        assert isinstance(milli, int) and isinstance(unit, str)
        return write_decimal(milli, 3) if unit == "each" else f"{write_decimal(milli, 3)} {unit}"

    def describe(self) -> str:
        """List the units."""
        return f"an amount like 2.5 kg, in {', '.join(UNITS[:-1])} or {UNITS[-1]}"

    def json_schema(self) -> dict[str, object]:
        """Return the object with its decimal as a string; the text form is accepted too."""
        amount = {"type": "string", "pattern": "^[0-9]+([.][0-9]{1,3})?$"}
        parts = {"amount": amount, "unit": {"type": "string", "enum": list(UNITS)}}
        whole = {"type": "object", "properties": parts, "required": ["amount", "unit"]}
        return {"anyOf": [whole, {"type": "string"}], "description": self.describe()}

    def read_json(self, value: object, name: str) -> Value:
        """Take {amount, unit}, or the text form."""
        if not isinstance(value, dict):
            return FieldType.read_json(self, value, name)
        amount, unit = value.get("amount"), value.get("unit")
        if not isinstance(amount, str) or not isinstance(unit, str) or len(value) != 2:
            raise InvalidField(name, 'must be text like "2.5 kg", or {"amount": "2.5", "unit": "kg"}')
        return self.parse(tidy(f"{amount} {unit}"), name)

    def write_json(self, value: Value) -> object:
        """Return {amount, unit}."""
        assert isinstance(value, dict)
        milli = value["milli"]
        assert isinstance(milli, int)
        return {"amount": write_decimal(milli, 3), "unit": value["unit"]}


def _milli(amount: str, name: str) -> int:
    number = decimal(amount.replace(",", ".") if _COMMA_DECIMAL.fullmatch(amount) else amount)
    if number is None:
        raise InvalidField(name, f"must be an amount like 1000 or 2.5, is {shown(amount)}")
    milli = number * 1_000
    if milli != milli.to_integral_value():
        raise InvalidField(name, f"is counted in thousandths at most, is {shown(amount)}")
    if abs(milli) > 10 * Decimal(MILLI_MAX):
        raise InvalidField(name, f"must be at most {MILLI_MAX // 1000:,}, is {shown(amount)}")
    return int(milli)


@dataclass(frozen=True, slots=True)
class Tags(FieldType):
    """Up to `count_max` short words, none twice and none with a comma."""

    count_max: int
    word: Text

    def check(self, value: Value, name: str) -> None:
        """Accept a list of short texts."""
        if type(value) is not list:
            raise InvalidField(name, f"must be a list, is {held_type(value)}")
        if not 1 <= len(value) <= self.count_max:
            raise InvalidField(name, f"must be 1 to {self.count_max} words, are {len(value)}")
        before: set[Value] = set()
        for item in value:
            self.word.check(item, name)
            assert isinstance(item, str)
            if "," in item:
                raise InvalidField(name, f"a word holds a comma: {shown(item)}")
            if item in before:
                raise InvalidField(name, f"a word stands there twice: {shown(item)}")
            before.add(item)

    def parse(self, text: str, name: str) -> Value:
        """Read words between commas or line ends; a repeated one counts once."""
        words = (" ".join(word.split()) for word in re.split("[,\n]", text))
        return list(dict.fromkeys(word for word in words if word)) or None

    def write(self, value: Value) -> str:
        """Return the words with commas."""
        assert isinstance(value, list)
        return ", ".join(map(str, value))

    def describe(self) -> str:
        """Say the bounds."""
        return f"up to {self.count_max} words of at most {self.word.chars_max} characters, parted by commas"

    def json_schema(self) -> dict[str, object]:
        """Return a list of strings."""
        items = self.word.json_schema()
        return {"type": "array", "items": items, "maxItems": self.count_max, "uniqueItems": True}

    def read_json(self, value: object, name: str) -> Value:
        """Take a list of strings, or the text form."""
        if not isinstance(value, list):
            return FieldType.read_json(self, value, name)
        words: list[Value] = []
        for item in value:
            if not isinstance(item, str):
                raise InvalidField(name, f"must be a list of strings, holds {json_type(item)}")
            words.append(" ".join(tidy(item).split()))
        return words or None

    def write_json(self, value: Value) -> object:
        """Return the list."""
        return value


@dataclass(frozen=True, slots=True)
class ListOf(FieldType):
    """From one to `count_max` items of one type; in text one item a line, so an item must fit in one."""

    item: FieldType
    count_max: int
    widget: ClassVar[str] = "textarea"

    def check(self, value: Value, name: str) -> None:
        """Accept a list of good items."""
        if type(value) is not list:
            raise InvalidField(name, f"must be a list, is {held_type(value)}")
        if not 1 <= len(value) <= self.count_max:
            raise InvalidField(name, f"must have 1 to {self.count_max} lines, has {len(value)}")
        good = 0
        try:
            for item in value:
                self.item.check(item, "")
                good += 1
        except InvalidField as error:
            raise _inside(f"{name}.{good + 1}", error) from None

    def parse(self, text: str, name: str) -> Value:
        """Read the lines that are not empty."""
        lines = (line.strip() for line in text.split("\n"))
        return [self.item.parse(line, name) for line in lines if line]

    def write(self, value: Value) -> str:
        """Return one line for each item."""
        assert isinstance(value, list)
        return "\n".join(self.item.write(item) for item in value)

    def describe(self) -> str:
        """Say how many of what."""
        return f"up to {self.count_max} lines, each: {self.item.describe()}"

    def json_schema(self) -> dict[str, object]:
        """Return an array."""
        return {"type": "array", "items": self.item.json_schema(), "minItems": 1, "maxItems": self.count_max}

    def read_json(self, value: object, name: str) -> Value:
        """Take a list, or the text form."""
        if not isinstance(value, list):
            return FieldType.read_json(self, value, name)
        return [self.item.read_json(item, f"{name}.{index}") for index, item in enumerate(value, 1)] or None

    def write_json(self, value: Value) -> object:
        """Return a list."""
        assert isinstance(value, list)
        return [self.item.write_json(item) for item in value]


@dataclass(frozen=True, slots=True)
class Struct(FieldType):
    """A map of named fields; fields that it does not know are allowed and kept."""

    fields: tuple[Field, ...]

    def check(self, value: Value, name: str) -> None:
        """Accept a map whose known fields are good and whose required ones are there."""
        if type(value) is not dict:
            raise InvalidField(name, f"must have parts, is {held_type(value)}")
        try:
            for field in self.fields:
                if field.name in value:
                    field.type.check(value[field.name], field.name)
                elif field.required:
                    raise InvalidField(field.name, "is missing")
        except InvalidField as error:
            raise _inside(name, error) from None

    def parse(self, text: str, name: str) -> Value:
        """Refuse: a structure has parts, each with a name of its own."""
        parts = ", ".join(f"{name}.{field.name}" for field in self.fields)
        raise InvalidField(name, f"has parts: {parts}")

    def write(self, value: Value) -> str:
        """Return the parts in one line, to be read by people only."""
        assert isinstance(value, dict)
        known = (field for field in self.fields if field.name in value)
        return ", ".join(field.type.write(value[field.name]) for field in known)

    def describe(self) -> str:
        """Name the parts."""
        return "; ".join(f"{field.name}: {field.type.describe()}" for field in self.fields)

    def json_schema(self) -> dict[str, object]:
        """Return an object with its properties."""
        return fields_schema(self.fields)

    def read_json(self, value: object, name: str) -> Value:
        """Take an object; an empty one counts as absent."""
        if not isinstance(value, dict):
            raise InvalidField(name, f"must be an object, is {json_type(value)}")
        return read_json_fields(self.fields, value, f"{name}.", complete=False) or None

    def write_json(self, value: Value) -> object:
        """Return an object of the known fields."""
        assert isinstance(value, dict)
        known = (field for field in self.fields if field.name in value)
        return {field.name: field.type.write_json(value[field.name]) for field in known}

    def inputs(self, name: str, label: str, hint: str, required: bool, default: Value) -> Iterator[Input]:
        """Yield the controls of every part."""
        for field in self.fields:
            part, must = f"{name}.{field.name}", required and field.required
            yield from field.type.inputs(part, field.label, field.hint, must, field.default)

    def parse_form(self, form: Mapping[str, str], name: str) -> Value:
        """Return the parts that were filled in, or None when none was."""
        if form.get(name, "").strip():
            return self.parse(form[name], name)
        parsed = {field.name: field.type.parse_form(form, f"{name}.{field.name}") for field in self.fields}
        return {key: value for key, value in parsed.items() if value is not None} or None

    def write_form(self, value: Value, name: str) -> Iterator[tuple[str, str]]:
        """Yield the parts that are there."""
        assert isinstance(value, dict)
        for field in self.fields:
            if field.name in value:
                yield from field.type.write_form(value[field.name], f"{name}.{field.name}")

    def names(self, name: str) -> Iterator[str]:
        """Yield the dotted names of every part."""
        for field in self.fields:
            yield from field.type.names(f"{name}.{field.name}")


def _inside(name: str, error: InvalidField) -> InvalidField:
    """Return what is wrong in a part, named from the outside; names are joined only when they are needed."""
    return InvalidField(".".join(filter(None, (name, error.field))), error.says)


@dataclass(frozen=True, slots=True)
class Where(Struct):
    """A place: {name, lat, lon, note}; latitude and longitude come together or not at all."""

    def check(self, value: Value, name: str) -> None:
        """Accept a named place with both coordinates or none."""
        Struct.check(self, value, name)
        assert isinstance(value, dict)
        if ("lat" in value) != ("lon" in value):
            there, missing = ("lat", "lon") if "lat" in value else ("lon", "lat")
            raise InvalidField(f"{name}.{missing}", f"is missing; {name}.{there} is there")

    def write(self, value: Value) -> str:
        """Return the name and the note of the place."""
        assert isinstance(value, dict)
        return ", ".join(str(value[part]) for part in ("name", "note") if part in value)


def where(*, name_chars_max: int, note_chars_max: int, step: int) -> Where:
    """Return the type of a place whose typed coordinates are rounded to `step` units of 1e-5 degrees."""
    name, note = Text(1, name_chars_max), Text(1, note_chars_max)
    lat, lon = Degrees(90, step), Degrees(180, step)
    return Where(
        (
            Field("name", name, "Place", "For example the town hall", True, standard="schema:name"),
            Field("lat", lat, "Latitude", "Degrees, north is positive", standard="schema:latitude"),
            Field("lon", lon, "Longitude", "Degrees, east is positive", standard="schema:longitude"),
            Field("note", note, "How to find it", standard="schema:description"),
        )
    )


def read_json_fields(
    fields: tuple[Field, ...], obj: Mapping[str, object], prefix: str, *, complete: bool = True
) -> dict[str, Value]:
    """Translate the members of a JSON object; null means absent, and with `complete` defaults fill the gaps.

    Raises:
        InvalidField: A member that no field is called, or one that cannot be read.
    """
    refuse_unknown(obj, [field.name for field in fields], prefix)
    read: dict[str, Value] = {}
    for field in fields:
        given = obj.get(field.name)
        value = None if given is None or given == "" else field.type.read_json(given, prefix + field.name)
        value = field.default if value is None and complete else value
        if value is not None:
            read[field.name] = value
    return read


def refuse_unknown(given: Mapping[str, object], known: list[str], prefix: str = "") -> None:
    """Refuse a name that no field has, with the nearest that one has.

    Raises:
        InvalidField: Under the unknown name.
    """
    for name in given:
        if name not in known:
            raise InvalidField(f"{prefix}{name}", f"there is no such field{_nearest(str(name), known)}")


def _nearest(name: str, known: list[str]) -> str:
    from difflib import get_close_matches  # seldom needed, and slow to import

    near = get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; the fields are {', '.join(known)}"


def fields_schema(fields: tuple[Field, ...]) -> dict[str, object]:
    """Return the JSON Schema of an object with these fields."""
    return {
        "type": "object",
        "properties": {
            field.name: {"title": field.label, **field.type.json_schema()}
            | ({"description": field.hint} if field.hint else {})
            for field in fields
        },
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }
