"""A node that lost its disk and has only its keys: how it lets its neighbours bring everything back.

Such a node knows neither its federations nor its peers. Its neighbours still do, they still call it, and
they still hold its own signed consent to each federation. So as long as nobody has told this node
otherwise, it listens to whoever calls: with no federation it has nothing to give away. A caller that
shows us a federation to which our own town has consented, and is a member there itself, is approved as a
peer; any other is sent away after half a minute. The first act of an operator about peers or federations
ends this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocol.ids import TownId

if TYPE_CHECKING:
    from node.store import Reader, Store
    from sync.authority import Authority

RECOVERING: Final = "recovering"
"""Under this name the store keeps that its node began with nothing but keys."""


class Recovery:
    """Whether this node is being brought back, and whom it therefore listens to.

    Args:
        authority: The present resolved authority.
    """

    def __init__(self, store: Store, *, authority: Callable[[], Authority]) -> None:
        self._store = store
        self._authority = authority
        self.is_active = False

    async def begin(self) -> None:
        """Find out, before our own certificate is taken in: a store without records began with keys alone."""

        def look(reader: Reader) -> tuple[bool, bool]:
            return reader.meta(RECOVERING) == 1, reader.change() == 0

        kept, is_empty = await self._store.read(look)
        self.is_active = kept or is_empty
        if is_empty:
            await self._store.write(lambda tx: tx.set_meta(RECOVERING, 1))

    async def end(self) -> None:
        """An operator has said who is a neighbour: from now on only approved ones are."""
        if self.is_active:
            self.is_active = False
            await self._store.write(lambda tx: tx.set_meta(RECOVERING, None))

    def listens_to_all(self) -> bool:
        """Tell whether anybody may show us what we once belonged to."""
        return self.is_active and not self._authority().federations

    def knows(self, town: TownId) -> bool:
        """Tell whether a town shares a federation with us, and so may be approved without asking."""
        return self.is_active and bool(self._authority().federations_of(town))
