"""The store in memory, which keeps every promise of `contract.py`, for thousands of simulated towns.

It passes the same tests as the one on SQLite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from node.store.memory_turn import MemoryTransaction

if TYPE_CHECKING:
    from node.store.contract import Reader, Transaction
    from protocol.ids import TownId

T = TypeVar("T")


class MemoryStore:
    """A `Store` in memory. `turn` is the way in for who has no event loop."""

    def __init__(self, own_town: TownId, *, epoch: bytes = bytes(4)) -> None:
        self.own_town = own_town
        self.state = MemoryTransaction(own_town, epoch)

    def turn(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` now and return its result; what it raises is undone and raised here."""
        self.state.savepoint()
        try:
            result = work(self.state)
        except BaseException:
            self.state.undo()
            raise
        self.state.release()
        return result

    async def write(self, work: Callable[[Transaction], T], *, then: Callable[[T], None] | None = None) -> T:
        """Run `work` in the writer's turn and return its result."""
        result = self.turn(work)
        if then is not None:
            then(result)
        return result

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run `work` on the present state and return its result."""
        return work(self.state)

    def disk_bytes(self) -> int:
        """Return 0: nothing of it is on a disk."""
        return 0

    async def close(self) -> None:
        """Do nothing; the state stays to be looked at."""
