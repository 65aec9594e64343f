"""A key on one page of A4, to be printed and put away: its words, numbered, and the same as a QR code."""

import os
from html import escape
from pathlib import Path

import segno

from node.errors import HedgerowError

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


def write_sheet(path: Path, title: str, town: str, fingerprint: str, words: str) -> None:
    """Write the page, readable by its owner alone; never over a file that is there.

    Args:
        title: `TOWN_KEY` or `NEXT_KEY`.
        words: As `protocol.paper` tells them.

    Raises:
        HedgerowError: It cannot be written.
    """
    code = segno.make(words, error="m").svg_inline(omitsize=True, border=2)
    items = "".join(f"<li>{escape(word)}</li>" for word in words.split())
    heading = escape(f"{title} of {town}" if town else title)
    page = (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{heading}</title>'
        f"<style>{_STYLE}</style><h1>{heading}</h1><p>{_ADVICE[title]}</p><ol>{items}</ol>{code}"
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
