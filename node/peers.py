"""The peers: the towns that this node's operator has agreed to talk to, and where their nodes can be called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.ids import TownId

if TYPE_CHECKING:
    from node.store import Store


@dataclass(slots=True)
class Peer:
    """One approved town."""

    town: TownId
    name: str
    """What the operator or the town's profile calls it; empty if not known yet."""
    urls: tuple[str, ...]
    """Where its nodes answer; none: it calls us."""
    approved_ms: int
    last_heard_ms: int = 0
    """Node time of the last frame that came from it; 0: never."""


class Peers:
    """The approved peers; kept in memory, written through to the store."""

    def __init__(self, store: Store) -> None:
        """Stand over a store; `load` fills it."""

    async def load(self) -> None:
        """Read the table from the store."""

    def all(self) -> list[Peer]:
        """Return the approved peers by name."""
        raise NotImplementedError

    def get(self, town: TownId) -> Peer | None:
        """Return the peer of this town, if it is approved."""
        raise NotImplementedError

    async def approve(self, town: TownId, *, name: str = "", urls: Sequence[str] = ()) -> Peer:
        """Approve a town, or add to what is known of it; returns once it is committed."""
        raise NotImplementedError

    async def remove(self, town: TownId) -> None:
        """Approve a town no longer; its links are dropped.

        Raises:
            NotFound: It is no peer.
        """
