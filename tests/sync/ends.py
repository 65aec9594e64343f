"""One end of a link whose other end says what the test tells it to."""

from __future__ import annotations

from random import Random

from protocol import wire
from protocol.ids import Lane, RecordId
from protocol.limits import CELLS_FIRST
from protocol.wire import Frame, decode_frame, encode_frame, federation_name
from sync.events import (
    Committed,
    Drop,
    Effect,
    Heard,
    IdsLoaded,
    Incident,
    LaneChange,
    LinkId,
    LinkUp,
    Load,
    Loaded,
    LoadIds,
    Send,
    Tick,
    WakeAt,
)
from sync.held import HeldSet
from sync.hub import Hub
from sync.sketch import cells_to_bytes
from tests.sync.cable import (
    EVERYDAY,
    FEDERATION,
    authority_of,
    device_of,
    id_and_key,
    raw_record,
    town_of,
)

LINK = LinkId(1)
HASH = b"h" * 32
LANE = int(Lane.EVERYDAY)


def ids_of(*numbers: int) -> list[RecordId]:
    """Return ids of records."""
    return [id_and_key(raw_record(number))[0] for number in numbers]


class End:
    """One end with a store; the other end is the test."""

    def __init__(self, numbers: range, *, initiator: bool) -> None:
        self.raws = {id_and_key(raw)[0]: raw for raw in map(raw_record, numbers)}
        held = {EVERYDAY: HeldSet.of(list(self.raws))}
        self.hub = Hub(town_of("a"), device_of("a"), authority_of("a", "ab"), held, Random(1))
        self.now_ms = 0
        self.answers = True
        self.frames: list[Frame] = []
        self.codes: list[str] = []
        self._do(LinkUp(LINK, town_of("b"), device_of("b"), HASH, initiator))
        self.say(wire.Hello(1, ((federation_name(FEDERATION, HASH, initiator=not initiator), True),)))

    def say(self, *frames: Frame) -> list[Frame]:
        """Let the peer say something; return what is answered."""
        self.frames = []
        for frame in frames:
            self._do(Heard(LINK, encode_frame(frame)))
        return self.frames

    def lose(self, *ids: RecordId) -> None:
        """Commit that ids are held no more."""
        for record in ids:
            self.raws.pop(record)
        self._do(Committed((LaneChange(EVERYDAY, removed=ids),), 1))

    def wait(self, ms: int) -> list[Frame]:
        """Let time pass."""
        self.frames = []
        self.now_ms += ms
        self._do(Tick())
        return self.frames

    def _do(self, told: object) -> None:
        for effect in self.hub.handle(told, self.now_ms):  # type: ignore[arg-type]
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send():
                self.frames.append(decode_frame(effect.frame))
            case Drop() | Incident():
                self.codes.append(effect.code)
            case LoadIds() if self.answers:
                shelf = self.raws if effect.key == EVERYDAY else {}
                found = tuple(record for record in shelf if record[0] in effect.buckets)
                self._do(IdsLoaded(LINK, effect.token, found))
            case WakeAt() if effect.at_ms <= self.now_ms:
                self._do(Tick())
            case Load() if self.answers:
                wanted = set(effect.prefixes)
                found_raws = tuple(
                    raw for record, raw in self.raws.items() if wanted & {record, record[:8], record[:5]}
                )
                self._do(Loaded(LINK, effect.token, found_raws))
            case _:
                pass


def kinds(frames: list[Frame]) -> list[str]:
    """Return the names of frames."""
    return [type(frame).__name__ for frame in frames]


def sketch_frame(
    ids: list[RecordId], *, count: int | None = None, digest: bytes | None = None
) -> wire.Sketch:
    """Return what a peer that holds these ids answers to an unequal DIGEST."""
    held = HeldSet.of(ids)
    cells = cells_to_bytes(held.snapshot().cells[:CELLS_FIRST])
    size = held.count if count is None else count
    return wire.Sketch(0, ((LANE, size, digest or held.digest(), cells),))


def digest_frame(ids: list[RecordId]) -> wire.Digest:
    """Return how a peer that holds these ids begins a meeting."""
    empty = HeldSet().digest()
    return wire.Digest(0, 0, len(ids), 0, empty + HeldSet.of(ids).digest() + empty)
