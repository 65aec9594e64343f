"""The hybrid logical clock of a device (Kulkarni et al., "Logical Physical Clocks", 2014).

A stamp is one integer: 48 bits of milliseconds since 1970 and 16 bits of counter. It observes only the
stamps of the own town, since only these ever compete; so no neighbour's wild clock can push it.
"""

from __future__ import annotations

from typing import NewType

from protocol.errors import LimitExceeded
from protocol.limits import STAMP_MAX, STAMP_RESET_MS

Stamp = NewType("Stamp", int)
"""Milliseconds << 16 | counter."""


def stamp_at(ms: int) -> Stamp:
    """Return the least stamp of a millisecond."""
    return Stamp(ms << 16)


def stamp_ms(stamp: int) -> int:
    """Return the millisecond of a stamp."""
    return stamp >> 16


class Clock:
    """Gives stamps that never repeat and never run backwards against what this town has written.

    Args:
        last: The greatest stamp of the own town so far, of this device or another.
    """

    def __init__(self, last: int = 0) -> None:
        self.last = Stamp(last)

    def tick(self, now_ms: int, *, sure: bool = True, after: int = 0) -> Stamp:
        """Return the stamp of a new record.

        Args:
            now_ms: Node time.
            sure: Whether that time is sure; only then may a stamp that ran ahead fall back to it.
            after: The greatest stamp of the document that is being written; the new one is greater.

        Raises:
            LimitExceeded: There is no greater stamp: the document was stamped at the end of time.
        """
        last: int = self.last
        if sure and stamp_ms(last) > now_ms + STAMP_RESET_MS:
            last = (now_ms << 16) - 1
        stamp = max(last + 1, after + 1, now_ms << 16)
        if stamp > STAMP_MAX:
            raise LimitExceeded("there is no later stamp than the one that this document has")
        self.last = Stamp(stamp)
        return self.last
