"""Draws a table of moves, so that the drawing in the documents cannot differ from what the program does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S", bound=Enum)
C = TypeVar("C", bound=Enum)


def draw(moves: Mapping[tuple[S, C], S], starts: Iterable[S]) -> str:
    """Return a Mermaid state diagram of a table of moves, in the order of the table.

    Args:
        moves: (state, cause) -> state.
        starts: States in which it may begin.
    """
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {state.name}" for state in starts]
    lines += [f"    {state.name} --> {after.name}: {cause.value}" for (state, cause), after in moves.items()]
    left = {state for state, _ in moves}
    ends = dict.fromkeys(after for after in moves.values() if after not in left)
    lines += [f"    {state.name} --> [*]" for state in ends]
    return "\n".join(lines)
