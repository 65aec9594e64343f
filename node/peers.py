"""The peers: the towns that this node's operator has agreed to talk to, and where they can be called."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from node.errors import InvalidRequest, NotFound
from node.transport.nearness import Nearness, is_address, is_url, nearness_of_url, told_url
from protocol.ids import TownId
from protocol.limits import URL_CHARS_MAX, URLS_MAX

if TYPE_CHECKING:
    from node.store import Cell, Store, Transaction

_ALL: Final = "SELECT town, name, url, approved_ms, last_heard_ms, synced_change, policy FROM peers"
_PUT: Final = """
    INSERT INTO peers (town, name, url, approved_ms, policy) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (town) DO UPDATE SET name = excluded.name, url = excluded.url, policy = excluded.policy
"""
_NOTE: Final = "UPDATE peers SET last_heard_ms = ?, synced_change = ? WHERE town = ?"
_ORDER: Final = "UPDATE peers SET url = ? WHERE town = ?"
_REMOVE: Final = "DELETE FROM peers WHERE town = ?"
_LET_GO: Final = "UPDATE invitations SET secret = NULL WHERE used_by = ?"


@dataclass(slots=True)
class Peer:
    """One approved town.

    Attributes:
        name: What it was called when it was approved; its profile may know better.
        urls: Where its nodes answer, those that the operator gave first, unless they fail and another does
            not; none: it calls us.
        last_heard_ms: Node time of the last frame that came from it; None: never.
        synced_change: It is known to hold all that we may tell it up to this change of our store.
    """

    town: TownId
    name: str
    urls: tuple[str, ...]
    approved_ms: int
    last_heard_ms: int | None = None
    synced_change: int = 0
    told: tuple[str, ...] = ()
    """Those of `urls` that the peer itself told, and no operator."""
    near: Nearness = Nearness.ANYWHERE
    """The nearest that it has been seen, or that the operator's URLs say."""

    def most(self, url: str) -> Nearness:
        """Return how near what is called at a URL may be: a peer points to nothing nearer than itself."""
        return self.near if url in self.told else Nearness.MACHINE


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
        # What is removed must not be written back by what began before.
        self._turn = asyncio.Lock()

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

    async def approve(
        self,
        town: TownId,
        *,
        name: str = "",
        urls: Sequence[str] = (),
        told: Sequence[str] = (),
        near: Nearness = Nearness.ANYWHERE,
    ) -> Peer:
        """Approve a town, or add to what is known of it; returns once it is committed.

        Args:
            name: Replaces the name, if not empty.
            urls: The operator's; they go before those that are known already.
            told: What the town says itself; passed over where it has no business to point.
            near: How near its end of a connection was.

        Raises:
            InvalidRequest: A URL of the operator's at which no node can be called.
            StorageUnavailable: Nothing was kept.
        """
        async with self._turn:
            return await self._approve(town, name, urls, told, near)

    async def note_told(self, town: TownId, told: Sequence[str], near: Nearness) -> None:
        """Note where an approved town says that it can be called; nothing, if it is approved no longer.

        Raises:
            StorageUnavailable: Nothing was kept.
        """
        async with self._turn:
            if town in self._peers:
                await self._approve(town, "", (), told, near)

    async def _approve(
        self, town: TownId, name: str, urls: Sequence[str], told: Sequence[str], near: Nearness
    ) -> Peer:
        known = self._peers.get(town)
        peer = _merged(known or Peer(town, "", (), self._now_ms()), name, urls, told, near)
        if peer == known:
            return known
        policy = json.dumps({"told": peer.told, "near": peer.near})

        def write(tx: Transaction) -> None:
            tx.run(_PUT, bytes(town), peer.name, " ".join(peer.urls), peer.approved_ms, policy)

        await self._store.write(write)
        if known is not None:
            # Noted while the disk was at it.
            peer.last_heard_ms, peer.synced_change = known.last_heard_ms, known.synced_change
        self._peers[town] = peer
        self.changed()
        return peer

    async def note_reached(self, town: TownId, url: str) -> None:
        """Note that a town answers at this one of its addresses, and did not at the one that stands first.

        Raises:
            StorageUnavailable: Nothing was kept.
        """
        async with self._turn:
            peer = self._peers.get(town)
            if peer is None or url not in peer.urls or peer.urls[0] == url:
                return
            urls = _each_once([url], peer.urls)
            await self._store.write(lambda tx: tx.run(_ORDER, " ".join(urls), bytes(town)))
            peer.urls = urls
        self.changed()

    async def remove(self, town: TownId) -> Peer:
        """Approve a town no longer; its links are dropped, and what invited it invites it no more.

        Raises:
            NotFound: It is no peer.
            StorageUnavailable: It still is one.
        """
        async with self._turn:
            peer = self._peers.get(town)
            if peer is None:
                raise NotFound("that town is no peer of this node")
            await self._store.write(lambda tx: _remove(tx, town))
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
        InvalidRequest: It is none; a bare HOST:PORT, or a HOST with a dot, is taken as http.
    """
    text = url.strip()
    if is_address(text):
        text = f"http://{text}"
    if len(text) > URL_CHARS_MAX or any(letter.isspace() for letter in text) or not is_url(text):
        raise InvalidRequest(f"{url} is no address of a node: write it like http://roanne.example:8460")
    return text


def _remove(tx: Transaction, town: TownId) -> None:
    tx.run(_REMOVE, bytes(town))
    tx.run(_LET_GO, bytes(town))


def _merged(known: Peer, name: str, urls: Sequence[str], told: Sequence[str], near: Nearness) -> Peer:
    """What is known of a peer with what is new."""
    given = _each_once(map(checked_url, urls), (url for url in known.urls if url not in known.told))
    near = max([near, known.near, *(nearness_of_url(url) or near for url in given)])
    fresh = [url for url in map(told_url, told) if url is not None and (nearness_of_url(url) or near) <= near]
    # The newest first; but what is known already keeps its order, or two devices would move it for ever.
    told = known.told if {*fresh} <= {*known.urls} else _each_once(fresh, known.told)
    merged = _each_once(given, told)[:URLS_MAX]
    return replace(
        known,
        name=name or known.name,
        urls=merged,
        told=tuple(url for url in merged if url not in given),
        near=near,
    )


def _each_once(*urls: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain(*urls)))


def _peer(row: tuple[Cell, ...]) -> Peer:
    town, name, url, approved_ms, last_heard_ms, synced_change, policy = row
    assert isinstance(town, bytes) and isinstance(approved_ms, int) and isinstance(synced_change, int)
    assert last_heard_ms is None or isinstance(last_heard_ms, int)
    kept = json.loads(str(policy))
    return Peer(
        TownId(town),
        str(name),
        tuple(str(url).split()),
        approved_ms,
        last_heard_ms,
        synced_change,
        told=tuple(kept.get("told", ())),
        near=Nearness(kept.get("near", Nearness.ANYWHERE)),
    )
