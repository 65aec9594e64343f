"""Whether another board runs with this board's key: a copied card, or a thief's.

Each start of a node opens an epoch, 4 random bytes that all its records bear, and the store remembers its
own. So a record of our own device key in an epoch that we never opened was written by somebody else, with
one exception: a store that was made anew, or restored from a backup, does not know what this very board
wrote before it. Such records are stamped before the store was begun; a clone's are stamped after. `begun`
is written at the first sure time of a store, and taken out of every backup that is restored; without it all
is ours.

These are the words of an honest copy of ourselves. A thief who dates his records back is not found out here,
but by the people whose records he writes, and taken back by a revocation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from protocol.clock import stamp_at

if TYPE_CHECKING:
    from node.clock import Reading
    from node.incidents import Incidents
    from node.store import Store, Transaction
    from protocol.ids import DeviceId
    from protocol.record import Record

CLONE: Final = "clone"
"""Under this name the store keeps the epoch of a clone that was met and not settled yet."""
BEGUN: Final = "begun"
"""Under this name, the sure time in milliseconds since which this store knows all that its board writes."""
RESTORED: Final = "restored"
"""Under this name a restored store keeps when its backup was made, until people were told."""
RESTORED_SAYS: Final = (
    "This board was restored from a backup of {0}: what it wrote after that comes back from those that had"
    " it by then, and what nobody had is lost."
)
UNSETTLED: Final = bytes(8)
"""The stamp up to which a clone's records are settled before anybody has said so."""
SAYS: Final = (
    "Another board writes with this board's key. Decide which one lives: on that one run `hedgerow key clone"
    " --this-one-lives`; stop the other one, then run `hedgerow key clone --renew` there. Nothing that either"
    " wrote is lost."
)


class Clones:
    """Watches for a board with the same key.

    Args:
        device: The own device.
        clock: Gives node time and whether it is sure.
        incidents: Where people are told.

    Attributes:
        is_found: Another board writes with our key, and nobody has said which of the two lives. Until then
            this one does no keeper's act.
    """

    def __init__(
        self, store: Store, device: DeviceId, clock: Callable[[], Reading], incidents: Incidents
    ) -> None:
        self._store = store
        self._device = device
        self._clock = clock
        self._incidents = incidents
        self.is_found = False

    async def begin(self) -> None:
        """Find out what is known already."""

        def look(tx: Transaction) -> bool:
            self._note_begun(tx)
            self._tell_of_restore(tx)
            return tx.meta(CLONE) is not None

        self.is_found = await self._store.write(look)

    def watch(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Look at records that came from outside, their signatures checked."""
        for record in records:
            if record.header.device == self._device and not self._is_ours(tx, record):
                self._meet(tx, record)
        self._note_begun(tx)

    async def settle(self) -> None:
        """This board lives: what the other wrote so far is no news any more; what it writes next is."""

        def work(tx: Transaction) -> None:
            now = self._clock()
            until = max(stamp_at(now.now_ms), _greatest(tx)).to_bytes(8, "big")
            tx.run("UPDATE epochs SET until = ? WHERE until IS NOT NULL", until)
            tx.set_meta(CLONE, None)

        await self._store.write(work)
        self.is_found = False

    def _is_ours(self, tx: Transaction, record: Record) -> bool:
        header = record.header
        found = tx.rows("SELECT until FROM epochs WHERE epoch = ?", header.epoch)
        if header.epoch == tx.meta("epoch"):
            last = tx.meta("counter")
            return isinstance(last, int) and header.counter <= last
        if found:
            [(until,)] = found
            return until is None or (
                isinstance(until, bytes) and header.stamp <= int.from_bytes(until, "big")
            )
        begun = tx.meta(BEGUN)
        return not isinstance(begun, int) or header.stamp < stamp_at(begun)

    def _meet(self, tx: Transaction, record: Record) -> None:
        epoch = record.header.epoch
        tx.run("INSERT OR IGNORE INTO epochs (epoch, until) VALUES (?, ?)", epoch, UNSETTLED)
        if tx.meta(CLONE) is None:
            tx.set_meta(CLONE, epoch)
            self._incidents.add(tx, CLONE, SAYS, record.id)
        self.is_found = True

    def _tell_of_restore(self, tx: Transaction) -> None:
        made_ms = tx.meta(RESTORED)
        if isinstance(made_ms, int):
            made = datetime.fromtimestamp(made_ms / 1_000).astimezone()
            epoch = tx.meta("epoch")
            assert isinstance(epoch, bytes), "a store gets an epoch at each start"
            self._incidents.add(tx, RESTORED, RESTORED_SAYS.format(f"{made:%Y-%m-%d %H:%M}"), epoch)
            tx.set_meta(RESTORED, None)

    def _note_begun(self, tx: Transaction) -> None:
        now = self._clock()
        if now.sure and tx.meta(BEGUN) is None:
            tx.set_meta(BEGUN, now.now_ms)


def _greatest(tx: Transaction) -> int:
    """Return the greatest stamp that the own town is known to have used."""
    kept = tx.meta("stamp")
    return int.from_bytes(kept, "big") if isinstance(kept, bytes) else 0
