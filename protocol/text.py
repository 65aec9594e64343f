"""Text as people type it and as messages quote it: tidied, read as decimals, shortened."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal


def tidy(text: str) -> str:
    """Return text in NFC with line feeds only, tabs as blanks, and nothing blank around it."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return unicodedata.normalize("NFC", plain).strip()


def decimal(text: str) -> Decimal | None:
    """Read a finite decimal of digits, one sign and a point; None when it is none."""
    if not re.fullmatch("[+-]?[0-9]{1,15}([.][0-9]{0,15})?|[+-]?[.][0-9]{1,15}", text):
        return None
    return Decimal(text)


def write_decimal(units: int, places: int) -> str:
    """Return `units` of 10 ** -places as a decimal without needless zeros: (2500, 3) gives 2.5."""
    sign = "-" if units < 0 else ""
    whole, rest = divmod(abs(units), 10**places)
    digits = f"{rest:0{places}}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def shown(value: object) -> str:
    """Return a value as a message quotes it: short, and with control characters escaped."""
    if isinstance(value, str):
        short = value if len(value) <= 40 else value[:39] + "…"
        return f'"{short.encode("unicode_escape").decode() if not short.isprintable() else short}"'
    return held_type(value) if not isinstance(value, int) else str(value)


def held_type(value: object) -> str:
    """Name the type of a held value for people."""
    names = {str: "text", int: "a number", bool: "yes or no", bytes: "bytes", list: "a list", dict: "a map"}
    return names.get(type(value), "nothing")


def json_type(value: object) -> str:
    """Name the type of a JSON value for people."""
    numbers = {int: "a number", float: "a number"}
    names = {str: "a string", bool: "a boolean", list: "a list", dict: "an object", **numbers}
    return names.get(type(value), "null")
