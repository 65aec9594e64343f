"""Naming a difference through two real hubs: all bytes both ways but the records themselves.

Counted as a proxy on the connection sees them: each frame with the tag of the secure channel and the header
of its WebSocket message, those that are under way when the difference is known already among them. Time is
counted in trips over the cable: whatever is under way arrives together.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from protocol.ids import DeviceId, Lane, LaneKey
from protocol.wire import Digest, Want, decode_frame
from sync.authority import resolve
from sync.events import Drop, Effect, Heard, Incident, LinkId, LinkUp, Send
from sync.held import HeldSet
from sync.hub import Hub
from tests.benchmarks.corpus import Member, Neighbours
from tests.benchmarks.figures import Bench, Figure

TRIALS = {0: 1, 1: 21, 10: 21, 100: 15, 1_000: 9, 10_000: 3}
TAG_BYTES = 16
MASK_BYTES = 4
LINK = LinkId(1)
TRIPS_MAX = 200


@dataclass(frozen=True)
class Naming:
    """What one meeting cost.

    Attributes:
        wire_bytes: both ways.
        trips: over the cable, until the side that dialled knew the difference and asked for its half.
    """

    wire_bytes: int
    trips: int


class Cable:
    """Two hubs with a link between them; records are neither loaded nor sent."""

    def __init__(self, towns: Neighbours, mine: HeldSet, theirs: HeldSet, seed: int) -> None:
        key: LaneKey = (towns.federation, Lane.EVERYDAY)
        self._hubs = [
            _hub(towns, towns.writer, key, mine, seed),
            _hub(towns, towns.reader, key, theirs, seed + 1),
        ]
        self._members = (towns.writer, towns.reader)
        self._under_way: list[list[bytes]] = [[], []]

    def name(self) -> Naming:
        """Dial, and carry frames until nothing but records would be carried any more."""
        for side, hub in enumerate(self._hubs):
            other = self._members[1 - side]
            up = LinkUp(LINK, other.town, DeviceId(other.device_key.public), bytes(64), initiator=side == 0)
            self._note(side, hub.handle(up, 1))
        wire_bytes = trips = 0
        known_trips: int | None = None
        for _ in range(TRIPS_MAX):
            arriving, self._under_way = self._under_way, [[], []]
            if not any(arriving):
                return Naming(wire_bytes, trips if known_trips is None else known_trips)
            for side, frames in enumerate(arriving):
                for data in frames:
                    frame = decode_frame(data)
                    if isinstance(frame, Want):
                        known_trips = trips
                    if wire_bytes or isinstance(frame, Digest):
                        wire_bytes += _on_the_wire(data, from_dialler=side == 0)
                    self._note(1 - side, self._hubs[1 - side].handle(Heard(LINK, data), 1))
            trips += wire_bytes > 0
        raise RuntimeError("the meeting does not end")

    def _note(self, side: int, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._under_way[side].append(effect.frame)
            elif isinstance(effect, Drop | Incident):
                raise RuntimeError(f"{effect.code}: {effect.says}")


def measure(bench: Bench) -> Iterator[Figure]:
    """Name differences of each size between sets of each size."""
    random = Random(3)
    towns = Neighbours()
    common = HeldSet()
    for size in (1_000, 10_000) if bench.quick else (10_000, 100_000, 1_000_000):
        common.add_many([random.randbytes(32) for _ in range(size - common.count)], 1)
        saved = common.to_bytes()
        for difference, trials in TRIALS.items():
            if bench.quick and difference > 1_000:
                continue
            named = [
                Cable(
                    towns,
                    _with(saved, difference // 2, random),
                    _with(saved, difference - difference // 2, random),
                    seed,
                ).name()
                for seed in range(min(trials, 3) if bench.quick else trials)
            ]
            yield from _figures(size, difference, named)


def _figures(size: int, difference: int, named: list[Naming]) -> Iterator[Figure]:
    wire_bytes = statistics.median(one.wire_bytes for one in named)
    round_trips = -(-statistics.median(one.trips for one in named) // 2)
    case = f"d = {difference:,} among {size:,}"
    if not difference:
        lane = wire_bytes / 3
        yield Figure("naming", "two equal towns", wire_bytes, "bytes", lane, "B a lane", "<= 64", lane <= 64)
    elif difference >= 1_000:
        each = wire_bytes / difference
        yield Figure("naming", case, wire_bytes, "bytes", each, "B x d", "<= 24", each <= 24)
    else:
        most = 3_200 if difference == 100 else 600
        each = wire_bytes / difference
        yield Figure("naming", case, wire_bytes, "bytes", each, "B x d", f"<= {most:,} B", wire_bytes <= most)
    trips_max = 1 if difference <= 10 else 2
    yield Figure(
        "naming",
        case + ": round trips",
        round_trips,
        "",
        None,
        "",
        f"<= {trips_max}",
        round_trips <= trips_max,
    )


def _hub(towns: Neighbours, member: Member, key: LaneKey, held: HeldSet, seed: int) -> Hub:
    authority = resolve(member.town, towns.evidence)
    return Hub(member.town, DeviceId(member.device_key.public), authority, {key: held}, Random(seed))


def _with(saved: bytes, count: int, random: Random) -> HeldSet:
    held = HeldSet.from_bytes(saved)
    held.add_many([random.randbytes(32) for _ in range(count)], 2)
    return held


def _on_the_wire(frame: bytes, *, from_dialler: bool) -> int:
    size = len(frame) + TAG_BYTES
    header = 2 if size < 126 else 4 if size < 65_536 else 10
    return size + header + (MASK_BYTES if from_dialler else 0)
