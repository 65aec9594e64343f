"""The engine: one task with one inbox that feeds the hub and performs what it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sync.events import Committed


class Engine:
    """The shell around `sync.hub`: links and intake speak to it, it speaks to links, intake and store."""

    def announce(self, committed: Committed) -> None:
        """Take note of a commit; called by the intake on the loop, in the order of commits."""
