"""How a kind of record is declared, and everything that follows from one declaration.

A kind is a tuple of fields with types. From it come the check of incoming bodies, the controls of the form,
the translation from and to text and JSON, the columns of a table, the JSON Schema of the API and the table in
the documentation: none of them is written twice.

The check is strict about the fields that it knows and lets others pass: they come from a newer program, are
kept, forwarded and not shown. What people type and what the API is sent is refused when a name is unknown:
there it is a slip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from protocol.encoding import Value
from protocol.errors import InvalidField
from protocol.fields import Input
from protocol.ids import Lane, Op
from protocol.structures import Field, Struct, fields_schema, read_json_fields, refuse_unknown

__all__ = ["Agreement", "Field", "Kind", "until"]

Agreement: TypeAlias = Callable[[Mapping[str, Value]], None]
"""A rule between several fields, each of which is good by itself; raises InvalidField."""


def until(fields: Mapping[str, Value]) -> int | None:
    """Return the second at which people see a document end, if its fields say so: the rule of most kinds."""
    said = fields.get("until")
    return said if type(said) is int else None


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of document."""

    name: str
    """Its name in headers, commands and the API."""
    label: str
    """What people call one of it."""
    plural: str
    lane: Lane
    op: Op
    """PUT: the newest whole body counts; ENTRY: every record stands."""
    fields: tuple[Field, ...]
    lifetime_default_s: int
    lifetime_max_s: int
    audience_default: str = "federations"
    """`federations`: every federation of the town; `town`: the home set only."""
    standard: str = ""
    shown: bool = True
    """Whether documents of this kind have a page on the board."""
    title_field: str = "title"
    """The field that stands for the document in lists."""
    agreements: tuple[Agreement, ...] = ()
    sealed: bool = False
    """Whether bodies are sealed to named towns; an open one is not shown."""
    ends: Callable[[Mapping[str, Value]], int | None] = until
    """When people see a document end, from its checked fields; None where they do not say."""
    linger_s: int = 0
    """How long a document lives on after that, for those who come late."""
    _checks: dict[str, Callable[[Value, str], None]] = field(init=False, repr=False, compare=False)
    _required: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Lay out what `check` needs for every record that is taken in."""
        object.__setattr__(self, "_checks", {each.name: each.type.check for each in self.fields})
        object.__setattr__(self, "_required", frozenset(each.name for each in self.fields if each.required))

    def check(self, fields: Mapping[str, Value]) -> None:
        """Accept the fields of a body; those that this kind does not know are not looked at.

        Raises:
            InvalidField: The first field that is missing or not as declared.
        """
        if not self._required <= fields.keys():
            missing = next(each.name for each in self.fields if each.required and each.name not in fields)
            raise InvalidField(missing, "is missing")
        checks = self._checks
        for name, value in fields.items():
            check = checks.get(name)
            if check is not None:
                check(value, name)
        for agreement in self.agreements:
            agreement(fields)

    def from_text(self, form: Mapping[str, str]) -> dict[str, Value]:
        """Return checked fields from what was typed; empty means absent, defaults fill the gaps.

        Names are dotted for parts (`where.lat`); names that begin with an underscore belong to the page that
        posts (nonce, token) and are skipped.

        Raises:
            InvalidField: An unknown name, or a value that is not as declared.
        """
        given = {name: text for name, text in form.items() if not name.startswith("_")}
        whole = [each.name for each in self.fields if isinstance(each.type, Struct)]
        refuse_unknown(given, [*self.columns(), *whole])
        fields: dict[str, Value] = {}
        for each in self.fields:
            value = each.type.parse_form(given, each.name)
            value = each.default if value is None else value
            if value is not None:
                fields[each.name] = value
        self.check(fields)
        return fields

    def to_text(self, fields: Mapping[str, Value]) -> dict[str, str]:
        """Return checked fields as a form shows them; `from_text` of it gives the known ones back."""
        pairs: dict[str, str] = {}
        for each in self.fields:
            if each.name in fields:
                pairs.update(each.type.write_form(fields[each.name], each.name))
        return pairs

    def from_json(self, obj: object) -> dict[str, Value]:
        """Return checked fields from a JSON object; null means absent, defaults fill the gaps.

        Raises:
            InvalidField: Not an object, an unknown name, or a value that is not as declared.
        """
        if not isinstance(obj, dict):
            raise InvalidField("fields", "must be a JSON object")
        fields = read_json_fields(self.fields, obj, "")
        self.check(fields)
        return fields

    def to_json(self, fields: Mapping[str, Value]) -> dict[str, object]:
        """Return checked fields as a JSON object: bytes as hex, decimals and dates as strings."""
        known = (each for each in self.fields if each.name in fields)
        return {each.name: each.type.write_json(fields[each.name]) for each in known}

    def unknown(self, fields: Mapping[str, Value]) -> dict[str, Value]:
        """Return the fields that this kind does not know: an edit must carry them over."""
        return {name: value for name, value in fields.items() if name not in self._checks}

    def title_of(self, fields: Mapping[str, Value]) -> str:
        """Return what stands for the document in lists; empty when the body has none."""
        title = fields.get(self.title_field)
        return title if isinstance(title, str) else ""

    def columns(self) -> tuple[str, ...]:
        """Return the columns of a table, dotted for parts, in the order of the declaration."""
        return tuple(name for each in self.fields for name in each.type.names(each.name))

    def inputs(self) -> tuple[Input, ...]:
        """Return the controls of the form, in the order of the declaration."""
        return tuple(
            control
            for each in self.fields
            for control in each.type.inputs(each.name, each.label, each.hint, each.required, each.default)
        )

    def json_schema(self) -> dict[str, object]:
        """Return what the API accepts as the fields of this kind, as a JSON Schema."""
        return {"title": self.label, **fields_schema(self.fields)}

    def as_markdown(self) -> str:
        """Return the table of the fields for the documentation."""
        rows = ["| field | meaning | what it may be | standard |", "|---|---|---|---|"]
        for each in self.fields:
            name = f"**`{each.name}`**" if each.required else f"`{each.name}`"
            cells = (name, each.label, each.type.describe(), each.standard)
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return "\n".join(rows)
