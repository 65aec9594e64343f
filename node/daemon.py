"""The composition: everything that a running node has is built here, in the order of need."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from node import keys as key_files
from node import redating
from node.accounts import Accounts
from node.background import Background, carefully
from node.board import Board
from node.certificates import Certificates
from node.clock import LAST_SURE, NodeClock, wall_ms
from node.clones import Clones
from node.config import Settings
from node.control import ControlServer
from node.custody import SAYS_OF_KEYS, Custody, taken_back
from node.engine import Engine
from node.errors import HedgerowError
from node.federations import Federations
from node.incidents import Incidents, town_words
from node.intake import Intake
from node.invitations import Invitations
from node.joining import Joinings
from node.keys import Keys
from node.links import Links
from node.neighbours import Neighbours
from node.peers import Peers
from node.promises.claims import Claims
from node.promises.keeper import Keeper
from node.recovery import Recovery
from node.renewal import Renewal
from node.resealing import tell_sealing_key
from node.seals import Seals
from node.status import gather
from node.stewardship import Stewardship
from node.store import Store, Transaction
from node.store.sqlite import open_store
from node.transport.auth import Badge
from node.transport.call import Caller
from node.transport.channel import LinkFailure, new_static_key
from node.transport.dialer import Dialer
from node.transport.listener import Listener
from node.transport.nearness import SYNC_PATH, Nearness, is_url
from node.transport.server import SyncServer
from node.web.app import make_app
from protocol.identity import TownKey
from protocol.ids import DeviceId, LaneKey, TownId
from protocol.limits import URLS_MAX
from protocol.record import open_record
from sync.events import Committed
from sync.held import HeldSet
from sync.hub import Hub

if TYPE_CHECKING:
    from sync.authority import Authority

LOG: Final = logging.getLogger("hedgerow.daemon")

KEYS_FOLDER: Final = "keys"
ACCOUNTS_FILE: Final = "accounts.db"

JOIN_AGAIN_S: Final = 60.0
"""Between two looks for invitations that wait beside a link of the inviter's making."""

NAMES_S: Final = 1.0
"""New names of towns are read at most so often."""

SAVE_S: Final = 60.0
"""Between two writings of the last sure time, of who was heard, and of what has ended."""

SNAPSHOT_S: Final = 600.0
"""Between two snapshots of the held sets: a start walks over what is newer."""

STOP_S_MAX: Final = 4.0
"""How long the parts may take to stop, all together; SIGTERM promises 5 s."""


class Daemon:
    """One running node.

    Its parts stand under these names for the page, the API and the control socket; all but `data` and
    `settings` exist once `start` has returned.

    Attributes:
        address: Host and port where pages, API and /sync are served.
        control_path: The Unix socket of the operator.
    """

    keys: Keys
    custody: Custody
    clones: Clones
    clock: NodeClock
    store: Store
    seals: Seals
    intake: Intake
    board: Board
    accounts: Accounts
    links: Links
    engine: Engine
    peers: Peers
    invitations: Invitations
    joinings: Joinings
    federations: Federations
    incidents: Incidents
    stewardship: Stewardship
    renewal: Renewal
    claims: Claims
    keeper: Keeper
    recovery: Recovery
    caller: Caller
    dialer: Dialer
    neighbours: Neighbours
    address: tuple[str, int]
    control_path: Path

    def __init__(self, data: Path, settings: Settings) -> None:
        """Prepare a node over a data directory that `init` made; opens nothing yet."""
        self.data = data
        self.settings = settings
        self._authority: Authority | None = None
        self._background = Background()
        self._static_key = new_static_key()
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._names_stale = asyncio.Event()
        self._snapshots: dict[LaneKey, int] = {}

    @property
    def town(self) -> TownId:
        """The own town."""
        return self.keys.town

    def authority(self) -> Authority:
        """Return the present resolved authority."""
        assert self._authority is not None, "asked before the start"
        return self._authority

    @property
    def urls(self) -> tuple[str, ...]:
        """Where this node says that it can be called."""
        said = self.settings.links.urls or [self.settings.web.public_url]
        return tuple(url for url in said if url and is_url(url))[:URLS_MAX]

    async def tell_sealing_key(self, passphrase: str, *, new: bool) -> int:
        """Keep the town's sealing keys here and tell the newest, or one more; return its index."""
        return await tell_sealing_key(
            self.data / KEYS_FOLDER,
            await self.custody.open_town_key(passphrase),
            seals=self.seals,
            store=self.store,
            intake=self.intake,
            new=new,
        )

    # The life of a node.

    async def start(self) -> None:
        """Open the keys and the store, serve, dial the peers; returns once pages can be had.

        Raises:
            HedgerowError: Keys or store cannot be opened, or the address is taken; nothing stays open.
        """
        try:
            await self._open()
            await self._serve()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop within 5 s: let nothing new in, end links, commit what was accepted, close the store."""
        await self._background.stop()
        ends = asyncio.get_running_loop().time() + STOP_S_MAX
        while self._closers:
            try:
                async with asyncio.timeout_at(ends):
                    await self._closers.pop()()
            except TimeoutError:
                LOG.warning("a part did not stop in time")
            except (HedgerowError, OSError) as error:
                LOG.warning("while stopping: %s", error)

    async def _open(self) -> None:
        """Build the parts, each after those that it needs."""
        self.keys = key_files.open_keys(self.data / KEYS_FOLDER)
        self.store = open_store(self.data, self.keys.town, chance=secrets.token_bytes)
        self._closers.append(self.store.close)
        self.clock = NodeClock(await self._last_sure_ms())
        self.seals = Seals.of(self.data / KEYS_FOLDER, self.town, chance=secrets.token_bytes)
        if self.seals.trouble:
            LOG.warning("%s", self.seals.trouble)
        self.intake = Intake(
            self.store, self.keys.device, self.clock.read, chance=secrets.token_bytes, seals=self.seals
        )
        self.intake.home_documents_max = self.settings.limits.home_documents
        self._authority = await self.store.write(lambda tx: tx.authority())
        self.incidents = Incidents(self.clock.now_ms)
        self.clones = Clones(self.store, DeviceId(self.keys.device.public), self.clock.read, self.incidents)
        await self.clones.begin()
        self.intake.watch = self.clones.watch
        self.intake.told_again = partial(redating.tell, self.incidents)
        self.custody = Custody(
            self.data / KEYS_FOLDER, self.keys, self.store, self.intake, self.clock, self.seals
        )
        self.accounts = Accounts(self.data / ACCOUNTS_FILE, self.clock.now_ms)
        await self.accounts.open()
        self._closers.append(self.accounts.close)
        self.board = Board(
            own_town=self.town,
            store=self.store,
            intake=self.intake,
            authority=self.authority,
            now_ms=self.clock.now_ms,
        )
        self.peers = Peers(self.store, now_ms=self.clock.now_ms)
        self.claims = Claims(
            own_town=self.town,
            store=self.store,
            intake=self.intake,
            board=self.board,
            seals=self.seals,
            authority=self.authority,
            now_ms=self.clock.now_ms,
            chance=secrets.token_bytes,
            heard=self._last_heard_ms,
            synced=self._synced_change,
        )
        self.keeper = Keeper(self.claims, self.store, self.incidents, self.clock.read)
        self.invitations = Invitations(
            self.store, urls=lambda: self.urls, authority=self.authority, now_ms=self.clock.now_ms
        )
        self.recovery = Recovery(self.store, authority=self.authority)
        await self.recovery.begin()
        self.federations = Federations(
            self.store, self.intake, authority=self.authority, acted=self.recovery.end
        )
        self.stewardship = Stewardship(
            self.store,
            self.intake,
            self.federations,
            authority=self.authority,
            open_key=self._open_town_key,
        )
        self.renewal = Renewal(
            self.store, self.intake, self.federations, self.incidents, authority=self.authority
        )
        self.joinings = Joinings(
            self.store,
            self.intake,
            self.invitations,
            self.peers,
            self.clock,
            keys=lambda: self.custody.keys,
            authority=self.authority,
        )
        held = await self.store.read(lambda reader: reader.held_sets())
        device = DeviceId(self.keys.device.public)
        hub = Hub(self.town, device, self.authority(), held, Random(secrets.randbits(128)))
        self.caller = Caller(static_key=self._static_key, badge=self._badge, town_of=self._town_of)
        self.dialer = Dialer(self._connect, moved=self.peers.note_reached)
        self.joinings.called_at = self.dialer.called_at
        now_ms = self.clock.steady()
        certificates = Certificates(self.store, self.intake, self.clock, authority=self.authority)
        self.links = Links(
            own_town=self.town,
            peers=self.peers,
            joinings=self.joinings,
            recovery=self.recovery,
            certificates=certificates,
            now_ms=now_ms,
            reached=self.dialer.set_reach,
            sent_away=lambda town, why: self.dialer.note_failure(town, LinkFailure(why, code="link_closed")),
        )
        self.engine = Engine(
            hub,
            self.links,
            store=self.store,
            intake=self.intake,
            peers=self.peers,
            joinings=self.joinings,
            clock=self.clock,
            now_ms=now_ms,
        )
        self.neighbours = Neighbours(
            caller=self.caller,
            dialer=self.dialer,
            links=self.links,
            certificates=certificates,
            peers=self.peers,
            joinings=self.joinings,
            federations=self.federations,
            recovery=self.recovery,
            authority=self.authority,
        )
        self.intake.announce = self._announce
        # A board that came back with its keys alone certifies itself before it hears anybody.
        await self.intake.accept([each for each in (self.keys.rotation, self.keys.certificate) if each])
        await self.peers.load()
        await self.joinings.load()
        await self.federations.read_names()
        self._background.spawn(carefully(self.renewal.authority_moved))
        self.peers.changed = self.joinings.changed = self._review_callees

    async def _serve(self) -> None:
        """Open the doors, then go out and call."""
        await self.caller.open()
        self._closers.append(self.caller.close)
        self.engine.start()
        self._closers += [self._save_held_sets, self._save, self.engine.stop]
        sync = SyncServer(
            static_key=self._static_key, badge=self._badge, town_of=self._town_of, carry=self.engine.carry
        )
        app = make_app(self)
        app.router.add_get(SYNC_PATH, sync.handle)
        app.router.add_get("/health", _health)
        listener = Listener(app)
        host, port = _host_and_port(self.settings.web.listen)
        self.address = await listener.start(host, port)
        self._closers.append(listener.stop)
        self._closers.append(sync.close)
        control = ControlServer(self)
        self.control_path = await control.start()
        self._closers.append(control.stop)
        if self.settings.links.dial:
            self.dialer.start()
            self._closers.append(self.dialer.stop)
        self._review_callees()
        self._background.spawn(self._keep_names())
        self._background.spawn(self.keeper.run())
        self._background.repeat(JOIN_AGAIN_S, self._ask_again)
        self._background.repeat(SAVE_S, self._save)
        self._background.repeat(SAVE_S, self.intake.reconsider)
        self._background.repeat(SNAPSHOT_S, self._save_held_sets)

    # What operators ask for.

    async def status(self) -> dict[str, Any]:
        """Return what `status --json` prints."""
        return await gather(self)

    async def put_away(self) -> None:
        """Forget what the operator has seen of incidents."""
        self.engine.incidents.clear()
        await self.store.write(self.incidents.put_away)

    async def join(self, code: str) -> dict[str, Any]:
        """Take an invitation; see `Neighbours.join`."""
        return await self.neighbours.join(code)

    async def add_peer(self, url: str, *, approve: bool) -> dict[str, Any]:
        """Call a URL and say who answers; see `Neighbours.add`."""
        return await self.neighbours.add(url, approve=approve)

    async def sync(self, town: TownId | None = None) -> dict[str, Any]:
        """Call the peers that are not reached, and return `{"peers": [...]}` as in `status` when they are."""
        await self.neighbours.reach(town)
        rows = (await self.status())["peers"]
        return {"peers": [row for row in rows if town is None or row["town"] == town.hex()]}

    # How the parts hear of one another.

    def _announce(self, committed: Committed) -> None:
        """Pass a commit on; called on the loop, in the order of the commits."""
        if committed.authority is not None:
            before, self._authority = self.authority(), committed.authority
            self.links.authority_moved()
            self._background.spawn(carefully(partial(self.joinings.authority_moved, before, self._authority)))
            if before.federations != committed.authority.federations:
                self._background.spawn(carefully(self.renewal.authority_moved))
            self._background.spawn(carefully(partial(self._tell_of_keys, before, self._authority)))
        self.engine.announce(committed)
        self.board.note(committed)
        self.keeper.note(committed)
        self._names_stale.set()
        self.neighbours.stirred.set()

    async def _tell_of_keys(self, before: Authority, after: Authority) -> None:
        """Tell people which keys were taken back since."""
        found = [
            (code, town, device)
            for town in after.rights
            for code, device in taken_back(before.rights_of(town), after.rights_of(town))
        ]
        if not found:
            return

        def work(tx: Transaction) -> None:
            names = tx.towns()
            for code, town, device in found:
                facts = names.get(town)
                name = town_words(town, facts.name if facts else None)
                kept = len(after.rights_of(town).kept)
                says = SAYS_OF_KEYS[code].format(name, device.hex()[:8], kept)
                self.incidents.add(tx, code, says, device, source=town)

        await self.store.write(work)

    def _review_callees(self) -> None:
        """Who is approved, or who invited us, has changed."""
        self.links.check_approvals()
        callees = {peer.town: list(peer.urls) for peer in self.peers.all()}
        for join in self.joinings.waiting():
            known = callees.setdefault(join.invitation.inviter, [])
            known[:0] = [url for url in join.invitation.urls if url not in known]
        self.dialer.set_callees((town, tuple(dict.fromkeys(urls))) for town, urls in callees.items())
        for town in callees:
            self.dialer.set_reach(town, self.links.reach(town))
        self.neighbours.stirred.set()

    async def _connect(self, town: TownId, url: str) -> None:
        ask = self.joinings.ask_of(town)
        peer = self.peers.get(town)
        invited = any(url in join.invitation.urls for join in self.joinings.waiting())
        most = Nearness.MACHINE if peer is None or invited else peer.most(url)
        channel, identity = await self.caller.call(url, expected=town, joins=ask is not None, most=most)
        try:
            await self.engine.carry_on(channel, identity, ask)
        except BaseException as error:
            await channel.close(error.code if isinstance(error, LinkFailure) else "")
            raise
        self.neighbours.stirred.set()

    def _badge(self) -> Badge:
        keys = self.custody.keys
        return Badge(keys.device, keys.certificate, self.urls, keys.rotation)

    async def _open_town_key(self, passphrase: str) -> TownKey:
        """Open the town key; off the loop, for it takes a while."""
        return await asyncio.to_thread(key_files.open_town_key, self.data / KEYS_FOLDER, passphrase)

    def _synced_change(self, town: TownId) -> int:
        peer = self.peers.get(town)
        return peer.synced_change if peer is not None else 0

    def _last_heard_ms(self, town: TownId) -> int | None:
        peer = self.peers.get(town)
        return peer.last_heard_ms if peer is not None else None

    def _town_of(self, device: DeviceId) -> TownId | None:
        return self.authority().town_of(device)

    # What goes on in the background.

    async def _keep_names(self) -> None:
        while True:
            await self._names_stale.wait()
            self._names_stale.clear()
            await carefully(self.federations.read_names)
            await asyncio.sleep(NAMES_S)

    async def _save(self) -> None:
        await self.peers.save()
        if self.clock.sure:
            last_sure_ms = self.clock.last_sure_ms
            await self.store.write(lambda tx: tx.set_meta(LAST_SURE, last_sure_ms))

    async def _ask_again(self) -> None:
        self.links.make_way_for_joins()

    async def _save_held_sets(self) -> None:
        # Frozen on the loop, which is the only one to change them; written in the writer's turn.
        frozen: dict[LaneKey, HeldSet] = {
            key: HeldSet.from_bytes(held.to_bytes())
            for key, held in self.engine.hub.held.items()
            if held.change > self._snapshots.get(key, 0)
        }
        if frozen:
            await self.store.write(lambda tx: tx.save_held_sets(frozen))
            self._snapshots.update((key, held.change) for key, held in frozen.items())

    async def _last_sure_ms(self) -> int:
        """Return the last sure time; where none is kept, because the disk is new and nobody ran `init` on
        it, the wall clock's.
        """
        kept = await self.store.read(lambda reader: reader.meta(LAST_SURE))
        if isinstance(kept, int):
            return kept
        born_ms = open_record(self.keys.certificate).header.born * 1_000
        return max(born_ms, wall_ms())


async def _health(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _host_and_port(listen: str) -> tuple[str, int]:
    """Split HOST:PORT; an IPv6 host stands in brackets."""
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or int(port) > 65_535:
        raise HedgerowError(f"web.listen is {listen}: write it as HOST:PORT", code="listen_failed")
    return host.strip("[]"), int(port)
