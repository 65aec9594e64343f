"""What a type of field is, and the plain ones: text, choices, whole numbers, yes or no.

A type knows one value in four dresses, and how to check it:

    held      what a body carries: the canonical values of `encoding.py`, never a float
    text      what people type and read in a form, a CSV cell or a command
    JSON      what the API speaks: bytes as hex, decimals as strings
    words     what the documentation says about it

`check` judges held values and is strict. `parse` and `read_json` only *translate*; the kind checks what they
give. Both tidy text first: Unicode NFC, one kind of line end, no blanks around.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from protocol.encoding import Value
from protocol.errors import InvalidField
from protocol.text import held_type, json_type, shown, tidy

# C0 and C1 controls, line and paragraph separators, and the embeddings and overrides that can turn the text
# around them; a line feed is allowed in text of several lines only.
# Isolates stay: text from right to left needs them.
_CONTROLS: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")
_CONTROLS_OR_BREAK: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")
_BLANKS: Final = re.compile("[ \t\n]+")
_YES: Final = frozenset({"yes", "on", "true", "1"})
_NO: Final = frozenset({"no", "off", "false", "0"})


@dataclass(frozen=True, slots=True)
class Input:
    """One control of a form; a field of several parts has one for each part."""

    name: str
    """What the form posts, dotted for parts: `where.lat`."""
    label: str
    hint: str
    widget: str
    """`text`, `textarea`, `select`, `checkbox`, `number`, `date`, `url`."""
    required: bool = False
    choices: tuple[tuple[str, str], ...] = ()
    """Of a `select`: value and what people read."""
    suggestions: tuple[str, ...] = ()
    """Of a `text`: what is often meant; any other text is allowed."""
    chars_max: int | None = None
    least: int | None = None
    most: int | None = None
    default: str = ""


class FieldType(ABC):
    """What one field may hold."""

    widget: ClassVar[str] = "text"

    @abstractmethod
    def check(self, value: Value, name: str) -> None:
        """Accept a held value.

        Raises:
            InvalidField: Under `name`, saying the value and the limit.
        """

    @abstractmethod
    def parse(self, text: str, name: str) -> Value:
        """Translate tidy text that is not empty; the result is still to be checked.

        Raises:
            InvalidField: The text cannot be read at all.
        """

    @abstractmethod
    def write(self, value: Value) -> str:
        """Return the text of a checked value: `parse` of it gives the value back."""

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words what is allowed, for documentation."""

    @abstractmethod
    def json_schema(self) -> dict[str, object]:
        """Return what the API accepts, as a JSON Schema."""

    def read_json(self, value: object, name: str) -> Value:
        """Translate what a JSON document holds; by default a string that is read like text.

        Raises:
            InvalidField: Another JSON type.
        """
        if not isinstance(value, str):
            raise InvalidField(name, f"must be a string, is {json_type(value)}")
        return self.parse(tidy(value), name)

    def write_json(self, value: Value) -> object:
        """Return a checked value as JSON."""
        return self.write(value)

    def inputs(self, name: str, label: str, hint: str, required: bool, default: Value) -> Iterator[Input]:
        """Yield the controls of a form for a field of this type."""
        yield Input(name, label, hint, self.widget, required, default=self.write_default(default))

    def parse_form(self, form: Mapping[str, str], name: str) -> Value:
        """Return the held value of a posted form, or None when it was left empty.

        Raises:
            InvalidField: It cannot be read.
        """
        text = tidy(form.get(name, ""))
        return self.parse(text, name) if text else None

    def write_form(self, value: Value, name: str) -> Iterator[tuple[str, str]]:
        """Yield the names and texts with which a form shows a checked value."""
        yield name, self.write(value)

    def names(self, name: str) -> Iterator[str]:
        """Yield the names of the controls, which are also the columns of a table."""
        yield name

    def write_default(self, default: Value) -> str:
        """Return the text of a default, empty when there is none."""
        return "" if default is None else self.write(default)


@dataclass(frozen=True, slots=True)
class Text(FieldType):
    """Text of `chars_min` to `chars_max` code points in NFC, in one line unless `lines`."""

    chars_min: int
    chars_max: int
    lines: bool = False
    suggestions: tuple[str, ...] = ()

    def check(self, value: Value, name: str) -> None:
        """Accept text within its bounds and without control characters."""
        if type(value) is not str:
            raise InvalidField(name, f"must be text, is {held_type(value)}")
        if not self.chars_min <= len(value) <= self.chars_max:
            raise InvalidField(name, f"must have {self.describe()}, has {len(value)}")
        if not value.isprintable():  # a cheaper test, which no control character passes
            found = (_CONTROLS if self.lines else _CONTROLS_OR_BREAK).search(value)
            if found is not None:
                raise InvalidField(name, f"must not hold the control character U+{ord(found[0]):04X}")
        if value.isspace():
            raise InvalidField(name, f"must have {self.describe()}, has only blanks")

    def parse(self, text: str, name: str) -> Value:
        """Return the text; in one line every run of blanks becomes one."""
        return text if self.lines else _BLANKS.sub(" ", text)

    def write(self, value: Value) -> str:
        """Return the text itself."""
        return str(value)

    def describe(self) -> str:
        """Say how long the text may be."""
        return f"{self.chars_min} to {self.chars_max:,} characters"

    def json_schema(self) -> dict[str, object]:
        """Return a string with its lengths."""
        return {"type": "string", "minLength": self.chars_min, "maxLength": self.chars_max}

    def inputs(self, name: str, label: str, hint: str, required: bool, default: Value) -> Iterator[Input]:
        """Yield one line, or an area for several."""
        yield Input(
            name,
            label,
            hint,
            "textarea" if self.lines else "text",
            required,
            suggestions=self.suggestions,
            chars_max=self.chars_max,
            default=self.write_default(default),
        )


@dataclass(frozen=True, slots=True)
class Choice(FieldType):
    """One of a few words; each has a text that people read."""

    labels: Mapping[str, str]

    def check(self, value: Value, name: str) -> None:
        """Accept a word of the list."""
        if type(value) is not str or value not in self.labels:
            raise InvalidField(name, f"must be {self.describe()}, is {shown(value)}")

    def parse(self, text: str, name: str) -> Value:
        """Return the word, which may also be given by its label or in other letter case."""
        folded = text.casefold()
        for word, label in self.labels.items():
            if folded in (word.casefold(), label.casefold()):
                return word
        return text

    def write(self, value: Value) -> str:
        """Return the word."""
        return str(value)

    def describe(self) -> str:
        """List the words."""
        *others, last = self.labels
        return f"{', '.join(others)} or {last}" if others else last

    def json_schema(self) -> dict[str, object]:
        """Return the list of words."""
        return {"type": "string", "enum": list(self.labels)}

    def inputs(self, name: str, label: str, hint: str, required: bool, default: Value) -> Iterator[Input]:
        """Yield a list to choose from."""
        choices = tuple(self.labels.items())
        yield Input(name, label, hint, "select", required, choices, default=self.write_default(default))


@dataclass(frozen=True, slots=True)
class Integer(FieldType):
    """A whole number from `least` to `most`."""

    least: int
    most: int

    def check(self, value: Value, name: str) -> None:
        """Accept a number within its bounds."""
        if type(value) is not int:
            raise InvalidField(name, f"must be a whole number, is {held_type(value)}")
        if not self.least <= value <= self.most:
            raise InvalidField(name, f"must be {self.describe()}, is {value:,}")

    def parse(self, text: str, name: str) -> Value:
        """Read ASCII digits."""
        if not re.fullmatch("-?[0-9]{1,18}", text):
            raise InvalidField(name, f"must be a whole number {self.describe()}, is {shown(text)}")
        return int(text)

    def write(self, value: Value) -> str:
        """Return the digits."""
        return str(value)

    def describe(self) -> str:
        """Say the bounds."""
        return f"from {self.least:,} to {self.most:,}"

    def json_schema(self) -> dict[str, object]:
        """Return an integer with its bounds."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def read_json(self, value: object, name: str) -> Value:
        """Take a JSON integer, or its digits."""
        return value if type(value) is int else FieldType.read_json(self, value, name)

    def write_json(self, value: Value) -> object:
        """Return a JSON integer."""
        return value

    def inputs(self, name: str, label: str, hint: str, required: bool, default: Value) -> Iterator[Input]:
        """Yield a number control."""
        text = self.write_default(default)
        yield Input(name, label, hint, "number", required, least=self.least, most=self.most, default=text)


@dataclass(frozen=True, slots=True)
class Flag(FieldType):
    """Yes or no; absent means no."""

    widget: ClassVar[str] = "checkbox"

    def check(self, value: Value, name: str) -> None:
        """Accept a truth value."""
        if type(value) is not bool:
            raise InvalidField(name, f"must be yes or no, is {shown(value)}")

    def parse(self, text: str, name: str) -> Value:
        """Read yes or no, and what browsers and programs say for them."""
        folded = text.casefold()
        if folded not in _YES | _NO:
            raise InvalidField(name, f"must be yes or no, is {shown(text)}")
        return folded in _YES

    def write(self, value: Value) -> str:
        """Return yes or no."""
        return "yes" if value else "no"

    def describe(self) -> str:
        """Say what is allowed."""
        return "yes or no"

    def json_schema(self) -> dict[str, object]:
        """Return a boolean."""
        return {"type": "boolean"}

    def read_json(self, value: object, name: str) -> Value:
        """Take a JSON boolean, or its word."""
        return value if type(value) is bool else FieldType.read_json(self, value, name)

    def write_json(self, value: Value) -> object:
        """Return a JSON boolean."""
        return value
