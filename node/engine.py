"""The engine: one task with one inbox that feeds the hub and performs what it asks for.

Everything that happens to this node's links comes through the inbox, in order: frames, commits, answers,
the timer. The hub answers each with effects, which are performed in order: what is quick (a frame into a
link's queue) at once, what waits for a disk in a task of its own that brings its answer back to the
inbox. Nothing here awaits inside the loop, so no peer and no disk can make another peer wait.

The inbox is bounded by its sources: each link has at most `HEARD_MAX` frames in it and one `TakeIn`
under way, every `Load` waits for one answer, commits are as many as writers wait for, and there is one
timer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, assert_never

from node.errors import HedgerowError, StorageUnavailable
from node.transport.channel import Channel, LinkFailure
from node.transport.dialer import Reach
from node.transport.link import Link
from protocol.ids import TownId
from protocol.limits import HALF_OPEN_MAX, HANDSHAKE_S_MAX, LINKS_MAX
from sync import events
from sync.events import (
    Committed,
    Drop,
    Effect,
    Heard,
    IdsLoaded,
    Incident,
    Input,
    JoinAsk,
    Joined,
    Joining,
    JoinRefused,
    Late,
    LinkDown,
    LinkId,
    LinkUp,
    Load,
    Loaded,
    LoadEvidence,
    LoadIds,
    Send,
    Synced,
    TakeIn,
    TakenIn,
    Tick,
    WakeAt,
    Welcomed,
)

if TYPE_CHECKING:
    from node.clock import NodeClock
    from node.intake import Intake
    from node.joining import Joinings
    from node.peers import Peers
    from node.recovery import Recovery
    from node.store import Store
    from node.transport.auth import Identity
    from sync.hub import Hub

LOG: Final = logging.getLogger("hedgerow.engine")

INCIDENTS_KEPT: Final = 100
TURN_INPUTS: Final = 64
"""Inputs handled before the loop gives everybody else a turn."""

STRANGERS_MAX: Final = HALF_OPEN_MAX
"""Links to towns that nobody has approved; each has half a minute to show an invitation."""

LINKS_OF_TOWN_MAX: Final = 8
"""Links to the devices of one town: half of the devices that it may have."""

OWN_CALL_S: Final = 10.0
"""How long a town that invited us is not let call us, so that our call, with the invitation, comes
first.
"""

TAKE_INS_WAITING_MAX: Final = 4
"""Batches of one link that wait for the door; the wire allows two, so more is a fault."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that an operator should know of."""

    at_ms: int
    town: TownId | None
    code: str
    says: str


class Engine:
    """The shell around the hub.

    Args:
        reached: Called when what there is between us and a town has changed.

    Attributes:
        links: The live links.
        incidents: What an operator should know of, the newest last.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        store: Store,
        intake: Intake,
        peers: Peers,
        joinings: Joinings,
        recovery: Recovery,
        clock: NodeClock,
        own_town: TownId,
        reached: Callable[[TownId, Reach], None] = lambda town, reach: None,
    ) -> None:
        self.hub = hub
        self.links: dict[LinkId, Link] = {}
        self.incidents: deque[Seen] = deque(maxlen=INCIDENTS_KEPT)
        self.reached = reached
        self._store = store
        self._intake = intake
        self._peers = peers
        self._joinings = joinings
        self._recovery = recovery
        self._clock = clock
        self._own_town = own_town
        self._asks: dict[LinkId, JoinAsk] = {}
        self._inbox: deque[Input] = deque()
        self._stirred = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._take_ins: dict[LinkId, deque[TakeIn]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: asyncio.Task[None] | None = None
        self._count = 0
        self._own_call_until = 0.0
        # The hub's time never jumps, whatever becomes of node time: else a corrected clock would end
        # every link.
        self._offset_ms = clock.now_ms() - _steady_ms()

    def start(self) -> None:
        """Begin to work through the inbox."""
        self._runner = asyncio.create_task(self._run())
        self._give(Tick())

    async def stop(self) -> None:
        """End all links and what is under way."""
        for link in self.links.values():
            link.end("stopping", "this node is stopping")
        await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._tasks, *([self._runner] if self._runner is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def now_ms(self) -> int:
        """Return the hub's time: node time at the start, and steady since."""
        return _steady_ms() + self._offset_ms

    def announce(self, committed: Committed) -> None:
        """Take note of a commit; called by the intake on the loop, in the order of commits."""
        self._give(committed)
        if committed.authority is not None and self._recovery.is_active:
            for link in self.links.values():
                self._recognise(link)

    def reach(self, town: TownId) -> Reach:
        """Return what there is between us and a town."""
        links = [link for link in self.links.values() if link.identity.town == town and not link.end_code]
        if not links:
            return Reach.DOWN
        return Reach.LATE if all(link.late for link in links) else Reach.UP

    async def carry(self, channel: Channel, identity: Identity) -> None:
        """Run a link on a channel whose other end is known, until it ends.

        Raises:
            LinkFailure: `links_many`: it was never begun.
        """
        link = self._admit(channel, identity)
        try:
            await link.run(self._hear)
        finally:
            self._end(link)

    def carry_on(self, channel: Channel, identity: Identity, ask: JoinAsk | None) -> None:
        """As `carry`, for a channel that we dialled, in a task of the engine's own; returns at once.

        Args:
            ask: An invitation to show on it, as our AUTH has announced.

        Raises:
            LinkFailure: As `carry`.
        """
        link = self._admit(channel, identity, ask)

        async def run() -> None:
            try:
                await link.run(self._hear)
            finally:
                self._end(link)

        self._spawn(run())

    def check_approvals(self) -> None:
        """End the links whose town has been approved, or is not any more, since they began."""
        for link in list(self.links.values()):
            approved = self._is_approved(link.identity.town)
            if approved and not link.approved and link.id not in self._asks:
                self._drop(link, "approved_now", "approved meanwhile: the next link says so")
            elif link.approved and not approved:
                self._drop(link, "not_approved", "the operator does not approve that town any more")

    def make_way_for_joins(self) -> None:
        """Let waiting invitations be shown: they are, first of all, on a link of our own making.

        Ends the links on which they were not, and takes no calls of those towns for a moment.
        """
        asked = {self.links[link].identity.town for link in self._asks}
        waiting = {join.invitation.inviter for join in self._joinings.waiting()} - asked
        if not waiting:
            return
        self._own_call_until = time.monotonic() + OWN_CALL_S
        for link in list(self.links.values()):
            if link.identity.town in waiting:
                self._drop(link, "joining", "the next link begins with an invitation")

    def _awaits_own_call(self, town: TownId) -> bool:
        waiting = (join.invitation.inviter for join in self._joinings.waiting())
        return time.monotonic() < self._own_call_until and town in waiting

    # Links come and go.

    def _admit(self, channel: Channel, identity: Identity, ask: JoinAsk | None = None) -> Link:
        town = identity.town
        if not channel.initiator and self._awaits_own_call(town):
            raise LinkFailure("this node is about to call with an invitation", code="joining")
        approved = self._is_approved(town)
        self._make_room(town, approved=approved)
        listens = (approved or self._recovery.listens_to_all()) and not identity.joins
        self._count += 1
        now_ms = self.now_ms()
        link = Link(LinkId(self._count), channel, identity, approved=approved, now_ms=now_ms)
        self.links[link.id] = link
        if ask is not None:
            self._asks[link.id] = ask
        LOG.info("link %d to %s is up%s", link.id, town.hex()[:8], "" if approved else ", not approved yet")
        self._give(
            LinkUp(link.id, town, identity.device, channel.handshake_hash, channel.initiator, listens, ask)
        )
        self._recognise(link)
        if approved and not set(identity.urls) <= set(self._urls_of(town)):
            self._spawn(self._guarded(link, self._note_urls(town, identity.urls)))
        if not approved and ask is None:
            asyncio.get_running_loop().call_later(HANDSHAKE_S_MAX, self._expect_approval, link)
        self._note_reach(town)
        return link

    def _make_room(self, town: TownId, *, approved: bool) -> None:
        """Strangers are few, give way to neighbours, and the oldest of them to the next; no town holds
        all links.
        """
        strangers = [link for link in self.links.values() if not link.approved]
        if len(strangers) >= STRANGERS_MAX or (strangers and len(self.links) >= LINKS_MAX):
            self._drop(strangers[0], "crowded", "too many strangers call at once")
        alike = [link for link in self.links.values() if link.approved and link.identity.town == town]
        if approved and len(alike) >= LINKS_OF_TOWN_MAX:
            self._drop(alike[0], "crowded", f"{LINKS_OF_TOWN_MAX} links are all that one town may have")
        if len(self.links) >= LINKS_MAX:
            raise LinkFailure(f"{LINKS_MAX} links are all that this node keeps", code="links_many")

    def _expect_approval(self, link: Link) -> None:
        if link.id in self.links and not link.approved:
            self._drop(link, "not_approved", "the operator has not approved that town")

    def _drop(self, link: Link, code: str, says: str) -> None:
        link.end(code, says)
        self._forget(link)

    def _end(self, link: Link) -> None:
        """The link's task is over."""
        self._forget(link)

    def _forget(self, link: Link) -> None:
        if self.links.pop(link.id, None) is None:
            return
        LOG.info("link %d to %s is down: %s", link.id, link.identity.town.hex()[:8], link.end_says or "lost")
        self._asks.pop(link.id, None)
        self._take_ins.pop(link.id, None)
        self._give(LinkDown(link.id))
        self._note_reach(link.identity.town)

    def _is_approved(self, town: TownId) -> bool:
        return town == self._own_town or self._peers.get(town) is not None or self._recovery.knows(town)

    def _recognise(self, link: Link) -> None:
        """A neighbour brings back to us what we once belonged to: it is a peer again."""
        town = link.identity.town
        if town != self._own_town and self._peers.get(town) is None and self._recovery.knows(town):
            link.approved = True
            self._spawn(self._guarded(link, self._approve(link)))

    async def _approve(self, link: Link) -> None:
        await self._peers.approve(link.identity.town, urls=link.identity.urls)

    def _urls_of(self, town: TownId) -> tuple[str, ...]:
        peer = self._peers.get(town)
        return peer.urls if peer is not None else ()

    async def _note_urls(self, town: TownId, urls: tuple[str, ...]) -> None:
        """An approved peer says where else it can be called; what our operator gave stays first."""
        if self._peers.get(town) is not None:
            await self._peers.approve(town, urls=[*self._urls_of(town), *urls])

    def _note_reach(self, town: TownId) -> None:
        self.reached(town, self.reach(town))

    # The inbox.

    def _give(self, given: Input) -> None:
        self._inbox.append(given)
        self._stirred.set()

    async def _hear(self, link: Link, frame: bytes) -> None:
        await link.room.acquire()
        self._give(Heard(link.id, frame))

    async def _run(self) -> None:
        while True:
            self._stirred.clear()
            for _ in range(TURN_INPUTS):
                if not self._inbox:
                    break
                self._handle(self._inbox.popleft())
            if self._inbox:
                await asyncio.sleep(0)
            else:
                await self._stirred.wait()

    def _handle(self, given: Input) -> None:
        """Feed the hub; a fault of ours is told and ends one link at most, never the engine."""
        try:
            if isinstance(given, Heard):
                self._note_heard(given)
            for effect in self.hub.handle(given, self.now_ms()):
                self._perform(effect)
        except Exception:
            LOG.exception("a fault while handling %s", type(given).__name__)
            link = self.links.get(given.link) if isinstance(given, _OF_LINKS) else None
            if link is not None:
                self._drop(link, "fault", "a fault of this program")

    def _note_heard(self, given: Heard) -> None:
        link = self.links.get(given.link)
        if link is None:
            return
        link.room.release()
        link.heard_ms = self.now_ms()
        self._peers.note_heard(link.identity.town, self._clock.now_ms())
        if link.late:
            link.late = False
            self._note_reach(link.identity.town)

    # What the hub asks for.

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, WakeAt):
            self._wake_at(effect.at_ms)
            return
        link = self.links.get(effect.link)
        if link is None:
            return
        match effect:
            case Send():
                if not link.send(effect.frame) and not link.end_code:
                    self._drop(link, "not_reading", "the other end takes too little of what we send")
            case Drop():
                self._drop(link, effect.code, effect.says)
            case TakeIn():
                self._queue_take_in(link, effect)
            case Load() | LoadIds() | LoadEvidence():
                self._spawn(self._guarded(link, self._load(effect)))
            case Synced():
                self._peers.note_synced(effect.town, effect.change)
            case Incident():
                self._note_incident(link.identity.town, effect.code, effect.says)
            case Late():
                link.late = True
                self._note_reach(link.identity.town)
            case Joining():
                link.approved = True  # for as long as the answer takes; a refusal is followed by a Drop
                self._spawn(self._guarded(link, self._answer(link, effect)))
            case Welcomed():
                if (ask := self._asks.pop(link.id, None)) is not None:
                    self._spawn(self._guarded(link, self._enter(link, ask, effect)))
            case events.Refused():
                if (ask := self._asks.pop(link.id, None)) is not None:
                    self._spawn(self._guarded(link, self._joinings.refused(ask, effect.code, effect.says)))
            case _:
                assert_never(effect)

    def _wake_at(self, at_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0, at_ms - self.now_ms()) / 1_000
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._give, Tick())

    def _note_incident(self, town: TownId | None, code: str, says: str) -> None:
        LOG.warning("%s: %s (%s)", town.hex()[:8] if town else "here", says, code)
        self.incidents.append(Seen(self._clock.now_ms(), town, code, says))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, link: Link, work: Awaitable[None]) -> None:
        """Do what needs the disk; if it fails, end this one link: the next one begins by comparing
        anew.
        """
        try:
            await work
        except StorageUnavailable as error:
            self._note_incident(None, error.code, error.says)
            self._drop(link, error.code, "the disk of this node takes nothing just now")
        except Exception:
            LOG.exception("a fault on link %d", link.id)
            self._drop(link, "fault", "a fault of this program")

    # Taking in: one batch of a link at a time, so that no peer keeps the door to itself.

    def _queue_take_in(self, link: Link, batch: TakeIn) -> None:
        waiting = self._take_ins.get(link.id)
        if waiting is not None:
            if len(waiting) >= TAKE_INS_WAITING_MAX:
                self._drop(link, "window_exceeded", "more batches than may be under way")
                return
            waiting.append(batch)
            return
        self._take_ins[link.id] = deque([batch])
        self._spawn(self._guarded(link, self._take_in(link)))

    async def _take_in(self, link: Link) -> None:
        while waiting := self._take_ins.get(link.id):
            batch = waiting[0]
            verdicts = await self._intake.accept(batch.records, link.id)
            waiting.popleft()
            self._give(TakenIn(link.id, batch.batch, verdicts))
        self._take_ins.pop(link.id, None)

    # Reading.

    async def _load(self, effect: Load | LoadIds | LoadEvidence) -> None:
        match effect:
            case Load():
                found = await self._store.read(
                    lambda reader: reader.raws_by_prefix(effect.key, effect.prefixes, effect.bytes_max)
                )
                self._give(Loaded(effect.link, effect.token, *found))
            case LoadIds():
                ids = await self._store.read(lambda reader: reader.ids_in_buckets(effect.key, effect.buckets))
                self._give(IdsLoaded(effect.link, effect.token, tuple(ids)))
            case LoadEvidence():
                raws = await self._store.read(lambda reader: reader.evidence(effect.federation, effect.town))
                self._give(Loaded(effect.link, effect.token, tuple(raws)))
            case _:
                assert_never(effect)

    # Joining.

    async def _answer(self, link: Link, joining: Joining) -> None:
        try:
            records = await self._joinings.answer(joining, link.identity, link.channel.handshake_hash)
        except StorageUnavailable:
            raise
        except HedgerowError as refusal:
            self._note_incident(
                link.identity.town, refusal.code, f"an invitation was refused: {refusal.says}"
            )
            self._give(JoinRefused(link.id, refusal.code, refusal.says))
            return
        self._give(Joined(link.id, records))

    async def _enter(self, link: Link, ask: JoinAsk, welcomed: Welcomed) -> None:
        link.approved = True
        await self._joinings.welcomed(ask, link.identity.town, link.identity.urls, welcomed.records)


_OF_LINKS: Final = (LinkUp, LinkDown, Heard, TakenIn, Loaded, IdsLoaded, Joined, JoinRefused)
"""Inputs that belong to one link."""


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000
