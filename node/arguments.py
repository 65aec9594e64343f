"""Reading the arguments of an act: texts, whole numbers, and the town that a person means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from node.errors import InvalidRequest, NotFound
from protocol.ids import TownId

TOWN_PREFIX_CHARS_MIN: Final = 4
"""So many characters of a town's id stand for it where they fit one town only."""

Arguments = Mapping[str, Any]
"""What came with an act over the control socket: the members of a JSON object."""


def find_among(text: str, names: Mapping[TownId, str]) -> tuple[TownId, str]:
    """The one town that has this name or whose id begins so.

    Raises:
        NotFound: None, or more than one.
    """
    wanted = text.strip().casefold()
    fits = [
        (town, name)
        for town, name in names.items()
        if name.casefold() == wanted
        or (len(wanted) >= TOWN_PREFIX_CHARS_MIN and town.hex().startswith(wanted))
    ]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise NotFound(f"“{text[:40]}” could be {len(fits)} towns: give the beginning of the id")
    known = ", ".join(sorted(name for name in names.values() if name))
    raise NotFound(f"no town “{text[:40]}” is known here{f'; known are {known}' if known else ''}")


def text_of(arguments: Arguments, name: str) -> str:
    """The text of this name.

    Raises:
        InvalidRequest: It is missing, empty or no text.
    """
    text = text_or_none(arguments, name)
    if not text:
        raise InvalidRequest(f"{name} is missing")
    return text


def text_or_none(arguments: Arguments, name: str) -> str | None:
    """The text of this name, or None if it is missing.

    Raises:
        InvalidRequest: It is no text.
    """
    value = arguments.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidRequest(f"{name} must be a text")


def texts_of(arguments: Arguments, name: str) -> list[str]:
    """The list of texts of this name; empty if it is missing.

    Raises:
        InvalidRequest: It is anything else.
    """
    value = arguments.get(name) or []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InvalidRequest(f"{name} must be a list of texts")
    return value


def whole_or_none(arguments: Arguments, name: str) -> int | None:
    """The whole number of this name, or None if it is missing.

    Raises:
        InvalidRequest: It is no whole number.
    """
    value = arguments.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise InvalidRequest(f"{name} must be a whole number")


def hex_or_none(arguments: Arguments, name: str) -> bytes | None:
    """The bytes that the text of this name says in hexadecimal digits, or None if it is missing.

    Raises:
        InvalidRequest: It says no bytes.
    """
    text = text_or_none(arguments, name)
    try:
        return None if text is None else bytes.fromhex(text)
    except ValueError:
        raise InvalidRequest(f"{name} must be hexadecimal digits") from None
