"""Places on the board: each shown document has one of its own, and the newest has the greatest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.store.documents import order_of
from node.store.records import RecordReads

STAMPS_MAX: Final = 10_000
"""Stamps that several documents share, of which it is remembered where the next free place is."""


class Places:
    """Finds free places in the state that a turn changes; forgotten, like all else, when a turn is undone."""

    def __init__(self, reads: RecordReads) -> None:
        self._reads = reads
        self._free: dict[int, int] = {}

    def choose(self, stamps: Sequence[int], *, own: int | None = None) -> list[int]:
        """Return a place of its own for each stamp: the stamp, or the next place that is free.

        Args:
            own: The place of the document that asks, if it had one: to itself that is free.
        """
        wanted = [order_of(stamp) for stamp in stamps]
        sql = "SELECT place FROM documents WHERE place IN"
        taken = {place for (place,) in self._reads.select_in(sql, wanted)} - {own}
        chosen: list[int] = []
        for place in wanted:
            if place in taken:
                place = self._free_after(place, taken, own)
            taken.add(place)
            chosen.append(place)
        return chosen

    def _free_after(self, start: int, taken: set[int], own: int | None) -> int:
        """Return the next place that is free, from where the last search from here ended."""
        # A document that was here keeps its own place, or one before it.
        place = self._free.get(start, start) if own is None else start
        sql = "SELECT place FROM documents WHERE place >= ? ORDER BY place"
        while True:
            while place in taken:
                place += 1
            began = place
            for (found,) in self._reads.connection.execute(sql, (place,)):
                if found != place or found == own:
                    break
                place += 1
            if place == began:
                break
        if len(self._free) >= STAMPS_MAX:
            self._free.clear()
        self._free[start] = place + 1
        return place
