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
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, assert_never

from node.background import Background
from node.errors import HedgerowError, StorageUnavailable
from node.incidents import Noticed, Seen
from node.transport.channel import Channel
from node.transport.link import Link
from protocol.ids import TownId
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
    from node.links import Links
    from node.peers import Peers
    from node.store import Store
    from node.transport.auth import Identity
    from sync.hub import Hub

LOG: Final = logging.getLogger("hedgerow.engine")

TURN_INPUTS: Final = 64
"""Inputs handled before the loop gives everybody else a turn."""

TAKE_INS_WAITING_MAX: Final = 4
"""Batches of one link that wait for the door; the wire allows two, so more is a fault."""


class Engine:
    """The shell around the hub.

    Args:
        links: Tells the hub of links through this engine from now on.

    Attributes:
        incidents: What an operator should know of, the newest last.
    """

    def __init__(
        self,
        hub: Hub,
        links: Links,
        *,
        store: Store,
        intake: Intake,
        peers: Peers,
        joinings: Joinings,
        clock: NodeClock,
        now_ms: Callable[[], int],
    ) -> None:
        self.hub = hub
        self.incidents = Noticed()
        self._links = links
        self._store = store
        self._intake = intake
        self._peers = peers
        self._joinings = joinings
        self._clock = clock
        self._now_ms = now_ms
        self._inbox: deque[Input] = deque()
        self._stirred = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._take_ins: dict[LinkId, deque[TakeIn]] = {}
        self._background = Background()
        links.give = self._give

    def start(self) -> None:
        """Begin to work through the inbox."""
        self._background.spawn(self._run())
        self._give(Tick())

    async def stop(self) -> None:
        """End all links and what is under way."""
        await self._links.stop()
        await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()
        await self._background.stop()

    def announce(self, committed: Committed) -> None:
        """Take note of a commit; called by the intake on the loop, in the order of commits."""
        self._give(committed)

    async def carry(self, channel: Channel, identity: Identity) -> None:
        """Run a link on a channel whose other end is known, until it ends.

        Raises:
            LinkFailure: As `Links.admit`: it was never begun.
        """
        await self._run_link(await self._links.admit(channel, identity))

    async def carry_on(self, channel: Channel, identity: Identity, ask: JoinAsk | None) -> None:
        """As `carry`, for a channel that we dialled, in a task of the engine's own.

        Args:
            ask: An invitation to show on it, as our AUTH has announced.

        Raises:
            LinkFailure: As `carry`.
        """
        self._background.spawn(self._run_link(await self._links.admit(channel, identity, ask)))

    async def _run_link(self, link: Link) -> None:
        try:
            await link.run(self._hear)
        finally:
            self._links.forget(link)

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
            elif isinstance(given, LinkDown):
                self._take_ins.pop(given.link, None)
            for effect in self.hub.handle(given, self._now_ms()):
                self._perform(effect)
        except Exception:
            LOG.exception("a fault while handling %s", type(given).__name__)
            link = self._links.live.get(given.link) if isinstance(given, _OF_LINKS) else None
            if link is not None:
                self._links.drop(link, "fault", "a fault of this program")

    def _note_heard(self, given: Heard) -> None:
        link = self._links.live.get(given.link)
        if link is None:
            return
        link.room.release()
        link.heard_ms = self._now_ms()
        self._peers.note_heard(link.identity.town, self._clock.now_ms())
        if link.late:
            link.late = False
            self._links.note_reach(link.identity.town)

    # What the hub asks for.

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, WakeAt):
            self._wake_at(effect.at_ms)
            return
        link = self._links.live.get(effect.link)
        if link is None:
            return
        match effect:
            case Send():
                if not link.send(effect.frame) and not link.end_code:
                    self._links.drop(link, "not_reading", "the other end takes too little of what we send")
            case Drop():
                self._links.drop(link, effect.code, effect.says)
            case TakeIn():
                self._queue_take_in(link, effect)
            case Load() | LoadIds() | LoadEvidence():
                self._background.spawn(self._guarded(link, partial(self._load, effect)))
            case Synced():
                self._peers.note_synced(effect.town, effect.change)
            case Incident():
                self._note_incident(link.identity.town, effect.code, effect.says)
            case Late():
                link.late = True
                self._links.note_reach(link.identity.town)
            case Joining():
                link.approved = True  # for as long as the answer takes; a refusal is followed by a Drop
                self._background.spawn(self._guarded(link, partial(self._answer, link, effect)))
            case Welcomed():
                if (ask := self._links.take_ask(link)) is not None:
                    self._background.spawn(self._guarded(link, partial(self._enter, link, ask, effect)))
            case events.Refused():
                if (ask := self._links.take_ask(link)) is not None:
                    self._background.spawn(
                        self._guarded(link, partial(self._joinings.refused, ask, effect.code, effect.says))
                    )
            case _:
                assert_never(effect)

    def _wake_at(self, at_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0, at_ms - self._now_ms()) / 1_000
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._give, Tick())

    def _note_incident(self, town: TownId | None, code: str, says: str) -> None:
        LOG.warning("%s: %s (%s)", town.hex()[:8] if town else "here", says, code)
        # Whoever is no neighbour can have as many names as it likes: all strangers are one source.
        source = town if town is not None and self._peers.get(town) is not None else b""
        self.incidents.add(Seen(self._clock.now_ms(), town, code, says), source=source)

    async def _guarded(self, link: Link, work: Callable[[], Awaitable[None]]) -> None:
        """Do what needs the disk; if it fails, end this one link: the next one begins by comparing anew."""
        try:
            await work()
        except StorageUnavailable as error:
            self._note_incident(None, error.code, error.says)
            self._links.drop(link, error.code, "the disk of this node takes nothing just now")
        except Exception:
            LOG.exception("a fault on link %d", link.id)
            self._links.drop(link, "fault", "a fault of this program")

    # Taking in: one batch of a link at a time, so that no peer keeps the door to itself.

    def _queue_take_in(self, link: Link, batch: TakeIn) -> None:
        waiting = self._take_ins.get(link.id)
        if waiting is not None:
            if len(waiting) >= TAKE_INS_WAITING_MAX:
                self._links.drop(link, "flooding", "more batches than may be under way")
                return
            waiting.append(batch)
            return
        self._take_ins[link.id] = deque([batch])
        self._background.spawn(self._guarded(link, partial(self._take_in, link)))

    async def _take_in(self, link: Link) -> None:
        while waiting := self._take_ins.get(link.id):
            batch = waiting[0]
            verdicts = await self._intake.accept(batch.records, link.id, sender=link.identity.town)
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
                raws, more = await self._store.read(
                    lambda reader: reader.evidence(effect.federation, effect.town, effect.after)
                )
                self._give(Loaded(effect.link, effect.token, raws, more))
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
        await self._joinings.welcomed(ask, link.identity, welcomed.records)


_OF_LINKS: Final = (LinkUp, LinkDown, Heard, TakenIn, Loaded, IdsLoaded, Joined, JoinRefused)
"""Inputs that belong to one link."""
