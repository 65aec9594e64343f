"""Two real hubs and a cable between them, on which every byte is counted as a proxy would see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from protocol.ids import DeviceId, Lane, LaneKey, RecordId
from protocol.wire import Digest, KeyedWant, Want, decode_frame
from sync.authority import resolve
from sync.events import Drop, Effect, Heard, IdsLoaded, Incident, LinkId, LinkUp, LoadIds, Send
from sync.held import HeldSet
from sync.hub import Hub
from tests.benchmarks.corpus import Member, Neighbours

TAG_BYTES = 16
MASK_BYTES = 4
LINK = LinkId(1)
TRIPS_MAX = 2_000


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
    """Two hubs with a link between them; ids are loaded if they are given, records neither loaded nor sent.

    Args:
        ids: of both sides, for the second look; without them a meeting that needs one cannot go on.
    """

    def __init__(
        self,
        towns: Neighbours,
        mine: HeldSet,
        theirs: HeldSet,
        seed: int,
        ids: tuple[Sequence[bytes], Sequence[bytes]] = ((), ()),
    ) -> None:
        key: LaneKey = (towns.federation, Lane.EVERYDAY)
        self._hubs = [
            _hub(towns, towns.writer, key, mine, seed),
            _hub(towns, towns.reader, key, theirs, seed + 1),
        ]
        self._members = (towns.writer, towns.reader)
        self._under_way: list[list[bytes]] = [[], []]
        self._ids = ids
        self.incidents: list[str] = []

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
                    if isinstance(frame, Want | KeyedWant):
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
            elif isinstance(effect, LoadIds):
                found = (one for one in self._ids[side] if one[0] in effect.buckets)
                loaded = IdsLoaded(LINK, effect.token, tuple(RecordId(one) for one in found))
                self._note(side, self._hubs[side].handle(loaded, 1))
            elif isinstance(effect, Incident):
                self.incidents.append(effect.code)
            elif isinstance(effect, Drop):
                raise RuntimeError(f"{effect.code}: {effect.says}")


def _hub(towns: Neighbours, member: Member, key: LaneKey, held: HeldSet, seed: int) -> Hub:
    authority = resolve(member.town, towns.evidence)
    return Hub(member.town, DeviceId(member.device_key.public), authority, {key: held}, Random(seed))


def _on_the_wire(frame: bytes, *, from_dialler: bool) -> int:
    size = len(frame) + TAG_BYTES
    header = 2 if size < 126 else 4 if size < 65_536 else 10
    return size + header + (MASK_BYTES if from_dialler else 0)
