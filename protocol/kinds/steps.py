"""The steps of a guide, and how they are typed in one area of a form.

One step a line. `(20 min)`, `(8 h)` or `(1 h 30 min)` at its end is the time it takes. A line that begins
with `!` is the warning of the step above it:

    Fill into clean jars to four fifths and weigh down. (20 min)
    ! Nothing may stick out of the brine.

So that every list of steps can be written and read back: a text that itself begins with `!` or a backslash
gets a backslash before it, and a text without minutes that ends like a time gets `(0 min)` behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from protocol.encoding import Value
from protocol.errors import InvalidField
from protocol.fields import FieldType, Input, Integer, Text
from protocol.kinds.bounds import STEP_CHARS_MAX, STEP_MINUTES_MAX, STEPS_MAX, WARNING_CHARS_MAX
from protocol.structures import Field, ListOf, Struct

_TIME: Final = re.compile(
    r"(?P<text>.*?) ?"
    r"\((?:(?P<hours>[0-9]{1,9}) h(?: (?P<rest>[0-9]{1,9}) min)?|(?P<minutes>[0-9]{1,9}) min)\)"
)
"""A step with `(20 min)`, `(8 h)` or `(1 h 30 min)` at its end."""

_LINE: Final = Text(1, STEP_CHARS_MAX)
STEP: Final = Struct(
    (
        Field("text", _LINE, "What to do", required=True, standard="schema:text"),
        Field("minutes", Integer(1, STEP_MINUTES_MAX), "Minutes", standard="schema:performTime"),
        Field("warning", Text(1, WARNING_CHARS_MAX), "Warning", standard="schema:HowToTip"),
    )
)
"""One step of a guide."""
_LIST: Final = ListOf(STEP, STEPS_MAX)


@dataclass(frozen=True, slots=True)
class Steps(FieldType):
    """From 1 to 60 steps of {text, minutes?, warning?}."""

    widget: ClassVar[str] = "textarea"

    def check(self, value: Value, name: str) -> None:
        """Accept a list of good steps."""
        _LIST.check(value, name)

    def parse(self, text: str, name: str) -> Value:
        """Read the lines of steps and warnings."""
        steps: list[Value] = []
        last: dict[str, Value] = {}
        for line in filter(None, (line.strip() for line in text.split("\n"))):
            if not line.startswith("!"):
                last = _read_step(line)
                steps.append(last)
            elif not last:
                raise InvalidField(name, "begins with a warning (!); it must stand below its step")
            elif "warning" in last:
                raise InvalidField(name, f"step {len(steps)} has two warnings; one is allowed")
            else:
                last["warning"] = _LINE.parse(line[1:].strip(), name)
        return steps

    def write(self, value: Value) -> str:
        """Return the lines of steps and warnings."""
        assert isinstance(value, list)
        return "\n".join(line for step in value for line in _write_step(step))

    def describe(self) -> str:
        """Say the bounds."""
        return (
            f"1 to {STEPS_MAX} steps, each: text of at most {STEP_CHARS_MAX:,} characters, minutes?, "
            f"warning? of at most {WARNING_CHARS_MAX}; typed one a line, (20 min) or (8 h) at its end, "
            "! warning below"
        )

    def json_schema(self) -> dict[str, object]:
        """Return an array of objects."""
        return _LIST.json_schema()

    def read_json(self, value: object, name: str) -> Value:
        """Take a list of objects, or the text form."""
        if isinstance(value, list):
            return _LIST.read_json(value, name)
        return FieldType.read_json(self, value, name)

    def write_json(self, value: Value) -> object:
        """Return a list of objects."""
        return _LIST.write_json(value)

    def inputs(self, name: str, label: str, hint: str, required: bool, default: Value) -> Iterator[Input]:
        """Yield one area."""
        yield Input(name, label, hint, self.widget, required)


def _read_step(line: str) -> dict[str, Value]:
    found = _TIME.fullmatch(line)
    text, minutes = line, 0
    if found and found["text"]:
        text, minutes = (
            found["text"],
            60 * int(found["hours"] or 0) + int(found["rest"] or found["minutes"] or 0),
        )
    step: dict[str, Value] = {"text": _LINE.parse(text.removeprefix("\\"), "text")}
    if minutes:
        step["minutes"] = minutes
    return step


def _write_step(step: Value) -> Iterator[str]:
    assert isinstance(step, dict)
    text, minutes = str(step["text"]), step.get("minutes", 0)
    assert isinstance(minutes, int)
    line = f"\\{text}" if text.startswith(("!", "\\")) else text
    yield f"{line} ({minutes} min)" if minutes or _TIME.fullmatch(line) else line
    if "warning" in step:
        warning = str(step["warning"])
        yield f"! {warning}"
