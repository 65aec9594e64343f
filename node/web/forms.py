"""The form of a kind, derived from its declaration: controls with what was typed and what is wrong with it.

Names that begin with an underscore belong to the page, not to the kind: the token, the nonce, the audience,
the versions that the editor saw.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from protocol.encoding import Value
from protocol.errors import InvalidField
from protocol.fields import Input
from protocol.schema import Kind

FIRST: Final = frozenset(
    {
        "title", "name", "text", "category", "terms", "quantity", "urgency", "needed_by", "until",
        "where.name", "level", "availability", "summary", "steps", "tools", "supplies", "number", "condition",
        "start", "end", "rrule", "about", "side", "ok", "reason",
    }
)  # fmt: skip
"""What the form asks at once; the rest waits under "More, if you like"."""
ASKED_BY_LINK: Final = ("about", "teaches")
"""Fields that a link to the form may fill in: the page of a document leads to what is said about it."""
OF_A_SHARE: Final = ("title", "quantity")
"""Fields that the page of a share fills in of the offer that is posted over it."""
BEGUN_CHARS: Final = 120
"""So much of a field a link may fill in."""
LEFT_TO_PAGE: Final = frozenset({"by", "duplicate_of", "in_hand_by"})
"""Fields that the form does not ask for: who posts is known from the sign-in, the others are set by
coordinators.
"""
NOT_FOR_NEW: Final = LEFT_TO_PAGE | {"relation"}
"""What the form of a new document leaves out: it follows no other."""
_MINUTE: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}\Z")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


@dataclass(frozen=True, slots=True)
class Control:
    """One control of a form as it is shown."""

    input: Input
    id: str
    value: str
    error: str
    widget: str


@dataclass(frozen=True, slots=True)
class Form:
    """A form as it is shown: the controls that come first, and the others."""

    first: tuple[Control, ...]
    more: tuple[Control, ...]
    errors: Mapping[str, str]

    @property
    def is_more_open(self) -> bool:
        """Whether something under "more" must be seen: an error, or a value that was typed."""
        return any(control.error or control.value != control.input.default for control in self.more)


def read(kind: Kind, typed: Mapping[str, str]) -> tuple[dict[str, Value], dict[str, str]]:
    """Return the fields of a posted form and everything that is wrong with it, by name of control."""
    own = {
        name: text for name, text in typed.items() if not name.startswith("_") and name not in LEFT_TO_PAGE
    }
    try:
        return kind.from_text(own), {}
    except InvalidField as error:
        errors = {error.field: error.says}
    for each in kind.fields:
        # One field after another, so that a person learns of all slips at once and not of one at each try.
        try:
            value = each.type.parse_form(own, each.name)
            if value is not None:
                each.type.check(value, each.name)
            elif each.required and each.default is None:
                errors.setdefault(each.name, "is missing")
        except InvalidField as error:
            errors.setdefault(error.field, error.says)
    return {}, {_control(kind, name): _sentence(kind, name, says) for name, says in errors.items()}


def slip(kind: Kind, error: InvalidField) -> dict[str, str]:
    """Return what the board refused, as a sentence by the name of the control at which it is shown."""
    return {_control(kind, error.field): _sentence(kind, error.field, error.says)}


def sentence(says: str) -> str:
    """Return what is wrong as a sentence of its own, as it stands beside a control."""
    if says == "is missing":
        return "This is needed."
    line = says[:1].upper() + says[1:]
    return line if line.endswith((".", "?")) else line + "."


def form(
    kind: Kind,
    values: Mapping[str, str],
    errors: Mapping[str, str],
    *,
    fresh: bool,
    leave_out: frozenset[str] = LEFT_TO_PAGE,
) -> Form:
    """Return the form of a kind filled with what was typed; a fresh one shows the defaults."""
    controls = [
        shown(each, values.get(each.name, each.default if fresh else ""), errors.get(each.name, ""))
        for each in kind.inputs()
        if each.name not in leave_out
    ]
    return Form(
        tuple(control for control in controls if control.input.name in FIRST),
        tuple(control for control in controls if control.input.name not in FIRST),
        errors,
    )


def shown(each: Input, value: str, error: str) -> Control:
    """Return a control as it is shown with what was typed into it."""
    widget = each.widget
    if widget == "date" and value and not _DATE.match(value):
        widget = "text"  # A date control would drop what it cannot read; nothing typed may be lost.
    if widget == "datetime-local" and value and not _MINUTE.match(value):
        widget = "text"
    if widget == "number":
        widget = "text"
    return Control(each, "f-" + each.name.replace(".", "-"), value, error, widget)


def _control(kind: Kind, name: str) -> str:
    """Return the control at which an error is shown: `steps.3.text` belongs to `steps`."""
    names = {each.name for each in kind.inputs()}
    while name not in names and "." in name:
        name = name.rpartition(".")[0]
    return (
        name if name in names else next((each for each in sorted(names) if each.startswith(name + ".")), name)
    )


def _sentence(kind: Kind, name: str, says: str) -> str:
    """Return an error as a sentence beside its control."""
    if says == "is missing":
        return sentence(says)
    rest = name.removeprefix(_control(kind, name)).strip(".").split(".")[0]
    return sentence(f"Line {rest}: {says}" if rest.isdigit() else says)
