"""Documents and records as JSON: what the API and the commands answer, and the lines of `export` and `import`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the lines of an import."""

    held: int
    known: int
    posted: int
    waiting: int
    refused: tuple[tuple[int, str, str], ...]
    """Line number (from 1), stable code, plain sentence."""
