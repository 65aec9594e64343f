"""Virtual time and a network of links, all driven by one seed.

Events happen in the order of their times and, at one time, of their making; so a seed gives one trace. A
link is what the engine gives the hub: reliable and in order while it lives, as TCP is. What can befall it:

* *delay*: every frame takes its own time, so frames of different links overtake each other;
* *break*: what was on its way is lost, and each end hears of it at a moment of its own;
* *cut*, of one direction or both: what is sent waits, as TCP sends it again and again; if the cut heals
  soon it arrives after all, if not the hub's own patience ends the link. Nobody is told of a cut;
* *death* of a node: its links are gone, and the other ends hear of it unless a cut keeps it from them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from random import Random
from typing import Final, Protocol

from protocol.ids import DeviceId, TownId
from sync.events import LinkId

LATENCY_MS: Final = (2, 400)
"""Least and greatest delay of one frame."""


class Time:
    """The one queue of everything that will happen, and the hash of everything that has."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()
        self._trace = blake2b(digest_size=16)

    def at(self, at_ms: int, act: Callable[[], None]) -> None:
        """Let something happen at a time, not before now."""
        heapq.heappush(self._queue, (max(at_ms, self.now_ms), next(self._numbers), act))

    def after(self, delay_ms: int, act: Callable[[], None]) -> None:
        """Let something happen after a while."""
        self.at(self.now_ms + delay_ms, act)

    def run_until(self, end_ms: int) -> None:
        """Let everything happen up to a time."""
        while self._queue and self._queue[0][0] <= end_ms:
            self.now_ms, _, act = heapq.heappop(self._queue)
            act()
        self.now_ms = end_ms

    def note(self, *what: bytes | int) -> None:
        """Add what happens now to the trace."""
        self._trace.update(b"%d" % self.now_ms)
        for each in what:
            self._trace.update(each if isinstance(each, bytes) else b" %d" % each)

    def trace_hash(self) -> str:
        """Return the hash of all that was noted."""
        return self._trace.hexdigest()


class End(Protocol):
    """A node, as the network sees it."""

    index: int
    town_id: TownId
    device_id: DeviceId

    def link_up(self, link: Link, side: int) -> None:
        """A link to another node stands."""

    def heard(self, link: Link, side: int, frame: bytes) -> None:
        """A frame came in on it."""

    def link_down(self, link: Link, side: int) -> None:
        """It has ended."""


@dataclass(slots=True)
class Direction:
    """One way of a link: when its last frame arrives, what a cut holds back, and whether anybody listens."""

    last_ms: int = 0
    waiting: deque[bytes | None] = field(default_factory=deque)
    is_open: bool = True


@dataclass(slots=True, eq=False)
class Link:
    """One live link between two nodes; side 0 dialled.

    Attributes:
        ways: What side 0 sends, and what side 1 sends.
    """

    id: LinkId
    ends: tuple[End, End]
    handshake_hash: bytes
    ways: tuple[Direction, Direction] = field(default_factory=lambda: (Direction(), Direction()))


class Network:
    """All links, and the cuts in them.

    Args:
        alive: Whether a node is up.
    """

    def __init__(self, time: Time, rng: Random) -> None:
        self.time = time
        self.frames_count = 0
        self._rng = rng
        self._numbers = count(1)
        self._links: dict[LinkId, Link] = {}
        self._cuts: dict[tuple[int, int], int] = {}

    # What befalls it.

    def cut(self, source: int, target: int) -> None:
        """Let nothing pass from one node to another, and tell nobody. Cuts add up."""
        self._cuts[source, target] = self._cuts.get((source, target), 0) + 1

    def heal(self, source: int, target: int) -> None:
        """Undo one cut; what waited comes through."""
        self._cuts[source, target] -= 1
        if self.is_cut(source, target):
            return
        for link in list(self._links.values()):
            for side in (0, 1):
                if (link.ends[side].index, link.ends[1 - side].index) == (source, target):
                    waiting = link.ways[side].waiting
                    while waiting:
                        self._pass(link, side, waiting.popleft())

    def is_cut(self, source: int, target: int) -> bool:
        """Tell whether nothing passes in this direction."""
        return self._cuts.get((source, target), 0) > 0

    def break_links(self, one: int, other: int) -> int:
        """Break the links between two nodes; return how many there were."""
        broken = 0
        for link in list(self._links.values()):
            if {link.ends[0].index, link.ends[1].index} == {one, other}:
                broken += 1
                self._break(link)
        return broken

    def die(self, index: int) -> None:
        """Take a dead node off the network; the other ends hear of it if they can."""
        for link in list(self._links.values()):
            for side in (0, 1):
                if link.ends[side].index == index:
                    link.ways[1 - side].is_open = False
                    self._hang_up(link, side)

    # What nodes ask of it.

    def dial(self, caller: End, called: End, is_up: Callable[[End], bool]) -> bool:
        """Try to set up a link; return whether it will stand soon."""
        there, back = (caller.index, called.index), (called.index, caller.index)
        if self.is_cut(*there) or self.is_cut(*back) or not is_up(called):
            return False
        link = Link(LinkId(next(self._numbers)), (caller, called), self._rng.randbytes(32))

        def stand() -> None:
            if self.is_cut(*there) or self.is_cut(*back) or not (is_up(caller) and is_up(called)):
                caller.link_down(link, 0)
                return
            self._links[link.id] = link
            called.link_up(link, 1)
            caller.link_up(link, 0)

        self.time.after(3 * self._latency_ms(), stand)
        return True

    def send(self, link: Link, side: int, frame: bytes) -> None:
        """Send a frame from this side of a link."""
        if link.id in self._links:
            self._send(link, side, frame)

    def close(self, link: Link, side: int) -> None:
        """Close a link from this side, after all that was sent before."""
        link.ways[1 - side].is_open = False
        self._hang_up(link, side)

    # Below.

    def _latency_ms(self) -> int:
        return self._rng.randint(*LATENCY_MS) if self._rng.random() < 0.2 else self._rng.randint(2, 40)

    def _hang_up(self, link: Link, side: int) -> None:
        if link.id in self._links:
            self._send(link, side, None)

    def _send(self, link: Link, side: int, frame: bytes | None) -> None:
        way = link.ways[side]
        if way.waiting or self.is_cut(link.ends[side].index, link.ends[1 - side].index):
            way.waiting.append(frame)
        else:
            self._pass(link, side, frame)

    def _pass(self, link: Link, side: int, frame: bytes | None) -> None:
        way = link.ways[side]
        way.last_ms = max(way.last_ms, self.time.now_ms + self._latency_ms())
        self.time.at(way.last_ms, lambda: self._arrive(link, side, frame))

    def _arrive(self, link: Link, side: int, frame: bytes | None) -> None:
        if link.id not in self._links or not link.ways[side].is_open:
            self._forget_if_over(link)
            return
        if frame is None:
            link.ways[0].is_open = link.ways[1].is_open = False
            self._forget_if_over(link)
            link.ends[1 - side].link_down(link, 1 - side)
            return
        self.frames_count += 1
        self.time.note(link.id, side, frame)
        link.ends[1 - side].heard(link, 1 - side, frame)

    def _break(self, link: Link) -> None:
        del self._links[link.id]
        for side in (0, 1):
            if link.ways[1 - side].is_open:
                # Each end hears of it in its own time, some only when they next expect an answer.
                delay_ms = self._rng.choice([0, 5, 300, 4_000])
                self.time.after(delay_ms, lambda side=side: link.ends[side].link_down(link, side))  # type: ignore[misc]

    def _forget_if_over(self, link: Link) -> None:
        if not link.ways[0].is_open and not link.ways[1].is_open:
            self._links.pop(link.id, None)
