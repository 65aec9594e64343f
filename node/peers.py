"""The peers: the towns that this node's operator has agreed to talk to, and where they can be called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.errors import InvalidRequest, NotFound
from node.transport.auth import is_url
from protocol.ids import TownId
from protocol.limits import URL_CHARS_MAX, URLS_MAX

if TYPE_CHECKING:
    from node.store import Cell, Store, Transaction

_ALL: Final = "SELECT town, name, url, approved_ms, last_heard_ms, synced_change FROM peers"
_PUT: Final = """
    INSERT INTO peers (town, name, url, approved_ms) VALUES (?, ?, ?, ?)
    ON CONFLICT (town) DO UPDATE SET name = excluded.name, url = excluded.url
"""
_NOTE: Final = "UPDATE peers SET last_heard_ms = ?, synced_change = ? WHERE town = ?"
_REMOVE: Final = "DELETE FROM peers WHERE town = ?"
_LET_GO: Final = "UPDATE invitations SET secret = NULL WHERE used_by = ?"


@dataclass(slots=True)
class Peer:
    """One approved town.

    Attributes:
        name: What it was called when it was approved; its profile may know better.
        urls: Where its nodes answer, the one that the operator gave first; none: it calls us.
        last_heard_ms: Node time of the last frame that came from it; None: never.
        synced_change: It is known to hold all that we may tell it up to this change of our store.
    """

    town: TownId
    name: str
    urls: tuple[str, ...]
    approved_ms: int
    last_heard_ms: int | None = None
    synced_change: int = 0


class Peers:
    """The approved peers; read from memory, written through to the store.

    Args:
        store: An open store.
        now_ms: Node time.
        changed: Called after who is a peer, or where it is called, has changed.
    """

    def __init__(
        self, store: Store, *, now_ms: Callable[[], int], changed: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self.changed = changed
        self._peers: dict[TownId, Peer] = {}
        self._unsaved: set[TownId] = set()

    async def load(self) -> None:
        """Read the table from the store."""
        rows = await self._store.read(lambda reader: reader.rows(_ALL))
        self._peers = {peer.town: peer for peer in map(_peer, rows)}

    def all(self) -> list[Peer]:
        """Return the approved peers by name."""
        return sorted(self._peers.values(), key=lambda peer: (peer.name.casefold(), peer.town))

    def get(self, town: TownId) -> Peer | None:
        """Return the peer of this town, if it is approved."""
        return self._peers.get(town)

    def find(self, name_or_id: str) -> Peer:
        """Return the peer that an operator means: its name, or the beginning of its id in hex.

        Raises:
            NotFound: None, or more than one, fits.
        """
        wanted = name_or_id.strip().casefold()
        found = [peer for peer in self._peers.values() if peer.name.casefold() == wanted]
        if not found and wanted:
            found = [peer for peer in self._peers.values() if peer.town.hex().startswith(wanted)]
        if len(found) != 1:
            says = f"{len(found) or 'no'} peers are called {name_or_id}: `hedgerow peer list` shows them"
            raise NotFound(says)
        return found[0]

    async def approve(self, town: TownId, *, name: str = "", urls: Sequence[str] = ()) -> Peer:
        """Approve a town, or add to what is known of it; returns once it is committed.

        Args:
            name: Replaces the name, if not empty.
            urls: Go before those that are known already.

        Raises:
            InvalidRequest: A URL at which no node can be called.
            StorageUnavailable: Nothing was kept.
        """
        known = self._peers.get(town)
        merged = list(dict.fromkeys([*map(checked_url, urls), *(known.urls if known else ())]))[:URLS_MAX]
        approved_ms = known.approved_ms if known else self._now_ms()
        peer = Peer(town, name or (known.name if known else ""), tuple(merged), approved_ms)
        if known is not None:
            peer.last_heard_ms, peer.synced_change = known.last_heard_ms, known.synced_change
            if (known.name, known.urls) == (peer.name, peer.urls):
                return known

        def write(tx: Transaction) -> None:
            tx.run(_PUT, bytes(town), peer.name, " ".join(peer.urls), approved_ms)

        await self._store.write(write)
        self._peers[town] = peer
        self.changed()
        return peer

    async def remove(self, town: TownId) -> Peer:
        """Approve a town no longer; its links are dropped, and what invited it invites it no more.

        Raises:
            NotFound: It is no peer.
            StorageUnavailable: It still is one.
        """
        peer = self._peers.get(town)
        if peer is None:
            raise NotFound("that town is no peer of this node")

        def write(tx: Transaction) -> None:
            tx.run(_REMOVE, bytes(town))
            tx.run(_LET_GO, bytes(town))

        await self._store.write(write)
        del self._peers[town]
        self._unsaved.discard(town)
        self.changed()
        return peer

    def note_heard(self, town: TownId, now_ms: int) -> None:
        """Note that a frame came; kept in memory until `save`."""
        peer = self._peers.get(town)
        if peer is not None:
            peer.last_heard_ms = now_ms
            self._unsaved.add(town)

    def note_synced(self, town: TownId, change: int) -> None:
        """Note what the peer is known to hold; kept in memory until `save`."""
        peer = self._peers.get(town)
        if peer is not None and change > peer.synced_change:
            peer.synced_change = change
            self._unsaved.add(town)

    async def save(self) -> None:
        """Write what was noted since the last time; losing it costs a sentence of the status, no record."""
        noted = [self._peers[town] for town in self._unsaved]
        self._unsaved.clear()
        if not noted:
            return

        def write(tx: Transaction) -> None:
            for peer in noted:
                tx.run(_NOTE, peer.last_heard_ms, peer.synced_change, bytes(peer.town))

        await self._store.write(write)


def checked_url(url: str) -> str:
    """Return a URL at which a node can be called, as it is kept.

    Raises:
        InvalidRequest: It is none; a bare HOST:PORT is taken as http.
    """
    text = url.strip()
    if "://" not in text:
        text = f"http://{text}"
    if len(text) > URL_CHARS_MAX or any(letter.isspace() for letter in text) or not is_url(text):
        raise InvalidRequest(f"{url} is no address of a node: write it like http://roanne.example:8460")
    return text


def _peer(row: tuple[Cell, ...]) -> Peer:
    town, name, url, approved_ms, last_heard_ms, synced_change = row
    assert isinstance(town, bytes) and isinstance(approved_ms, int) and isinstance(synced_change, int)
    assert last_heard_ms is None or isinstance(last_heard_ms, int)
    return Peer(TownId(town), str(name), tuple(str(url).split()), approved_ms, last_heard_ms, synced_change)
