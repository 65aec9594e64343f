"""A key on paper: in rows that are copied by hand, and on one page of A4 to be printed and put away."""

import os
from datetime import date
from html import escape
from pathlib import Path

import segno

from node.errors import HedgerowError
from protocol.limits import SUCCESSORS_MAX
from protocol.paper import heard, words_of

WORDS_OF_A_ROW = 5
TOWN_KEY = "Town key"
NEXT_KEY = "Next town key"
_ADVICE = {
    TOWN_KEY: "Whoever has these words speaks for the town. They make another device of it, on any machine:"
    " hedgerow init --words",
    NEXT_KEY: "These words take the town back if its key is stolen, and nothing else does. They are kept on"
    " no machine. Put this page where no thief of the machine comes: hedgerow key rotate",
}
_STYLE = """
@page { size: A4; margin: 20mm }
body { font: 12pt/1.4 sans-serif; max-width: 170mm; margin: 0 auto }
ol { columns: 3; padding-left: 8mm; font: 13pt/1.7 monospace }
svg { width: 60mm; height: 60mm; display: block; margin: 6mm auto }
"""


def in_rows(words: str) -> str:
    """Return the words of a key in rows, each with the number of its first word."""
    all_ = words_of(words)
    width = max(map(len, all_))
    rows = [all_[start : start + WORDS_OF_A_ROW] for start in range(0, len(all_), WORDS_OF_A_ROW)]
    lines = [
        f"{number * WORDS_OF_A_ROW + 1:4}  {'  '.join(word.ljust(width) for word in row)}".rstrip()
        for number, row in enumerate(rows)
    ]
    return "\n".join(lines)


def which(words: str) -> str:
    """Return which of the town's keys these words are, one after the other: `key 2 of 7`."""
    key = heard(words)
    if key.generation == SUCCESSORS_MAX:
        return f"keys 2 to {SUCCESSORS_MAX} of {SUCCESSORS_MAX}, all on this paper"
    return f"key {key.generation + 1} of {SUCCESSORS_MAX}"


def write_sheet(path: Path, title: str, town: str, fingerprint: str, words: str) -> None:
    """Write the page, readable by its owner alone; never over a file that is there.

    Args:
        title: `TOWN_KEY` or `NEXT_KEY`.
        town: Its name; empty if it is not known here.
        words: As `protocol.paper` tells them.

    Raises:
        HedgerowError: It cannot be written.
    """
    code = segno.make(words, error="m").svg_inline(omitsize=True, border=2)
    items = "".join(f"<li>{escape(word)}</li>" for word in words.split())
    heading = escape(f"{title} of {town}" if town else title)
    page = (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{heading}</title>'
        f"<style>{_STYLE}</style><h1>{heading}</h1>"
        f"<p><strong>{which(words)}</strong>, written {date.today().isoformat()}</p>"
        f"<p>{_ADVICE[title]}</p><ol>{items}</ol>{code}"
        f"<p>Fingerprint of the town: {escape(fingerprint)}</p></html>\n"
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(page)
    except OSError as error:
        raise HedgerowError(
            f"{path} cannot be written: {error.strerror}. Give another name.", code="system"
        ) from None
