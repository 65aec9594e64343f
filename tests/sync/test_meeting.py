"""A meeting from either side, with a peer that says what the test tells it to."""

from __future__ import annotations

from random import Random

import pytest

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
from sync.lawful import LOOKS_MAX
from sync.naming import LANE_MOVES, LaneState, Turn
from sync.outbox import JOBS_MAX
from sync.salted import STEP_IDS, bits_to_buckets, buckets_to_bits, hash_buckets
from sync.sketch import Coding, cells_to_bytes, sketch_of
from tests.sync.cable import (
    EVERYDAY,
    FEDERATION,
    Bench,
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


# The side that dialled.


def test_ten_differences_are_named_in_one_round_trip() -> None:
    end = End(range(100), initiator=True)
    frames = end.say(sketch_frame(ids_of(*range(5, 105))))
    assert kinds(frames) == ["Want", "Records"]
    want = frames[0]
    assert isinstance(want, wire.Want)
    assert want.prefixes == b"".join(sorted(record[:5] for record in ids_of(*range(100, 105))))


def test_what_left_the_own_set_meanwhile_is_named_all_the_same() -> None:
    end = End(range(100), initiator=True)
    end.answers = False
    end.say(sketch_frame(ids_of(*range(1, 101))))
    end.lose(*ids_of(0))
    assert end.codes == []


def test_a_want_that_is_answered_by_ids_that_are_gone_is_no_lie() -> None:
    end = End(range(100), initiator=True)
    end.say(sketch_frame(ids_of(*range(102))))
    frames = end.say(wire.Done(0, LANE, b"".join(ids_of(100, 101))))
    assert frames == [wire.Settled(0, 0, 0)]
    assert end.codes == []


def test_a_want_that_is_never_fulfilled_is_looked_into_after_some_meetings() -> None:
    end = End(range(100), initiator=True)
    said: list[str] = []
    for _ in range(8):
        said += kinds(end.say(sketch_frame(ids_of(*range(102)))))
        said += kinds(end.say(wire.Done(0, LANE, b"")))
        if "Salt" in said:
            break
        end.wait(2_000)
    assert said.count("Want") == 4
    assert said[-1] == "Salt"
    assert end.codes == []


@pytest.mark.parametrize(
    "frame",
    [
        wire.Cells(0, LANE, 99, True, bytes(13)),
        wire.List(0, LANE),
        wire.Ids(0, LANE, 0, 256, True, b""),
        wire.Next(0, LANE, 256),
        sketch_frame(ids_of(1)),
        wire.Same(0),
        wire.Done(0, LANE, b""),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_answers_out_of_turn_end_the_conversation(frame: Frame) -> None:
    end = End(range(100), initiator=True)
    far = sketch_frame(ids_of(*range(50, 250)))
    assert kinds(end.say(far)) == ["Counts"]
    if isinstance(frame, wire.List):
        end.say(frame)
    end.say(frame)
    assert end.codes == ["out_of_turn"]


def test_answers_in_a_meeting_that_is_not_under_way_are_passed_over() -> None:
    end = End(range(10), initiator=True)
    end.say(wire.Same(0))
    for frame in (
        wire.Same(0),
        wire.Cells(0, LANE, 24, True, bytes(13)),
        wire.Buckets(0, LANE, bytes(16), bytes(4_096)),
    ):
        assert end.say(frame) == []
    assert end.codes == []


def test_more_cells_than_are_kept_are_flooding() -> None:
    end = End(range(100), initiator=True)
    end.say(sketch_frame(ids_of(*range(50, 250))))
    chance = Random(1)
    first = CELLS_FIRST
    while not end.codes and first < 20_000:
        end.say(wire.Cells(0, LANE, first, False, chance.randbytes(13 * 4_600)))
        first += 4_600
    assert end.codes == ["flooding"]


def test_a_peer_asks_to_meet_and_is_met_soon_but_not_at_once() -> None:
    end = End(range(10), initiator=True)
    end.say(wire.Same(0))
    assert end.say(wire.Meet(0), wire.Meet(5)) == []
    assert end.wait(1_000) == []
    assert kinds(end.wait(1_000)) == ["Digest"]


def _until_salt(end: End) -> wire.Salt:
    """Bring a meeting to its second look: the digest is not that of the cells."""
    frames = end.say(sketch_frame(list(end.raws), digest=b"d" * 16))
    assert isinstance(frames[-1], wire.Salt)
    return frames[-1]


def _all_hashes(ids: list[RecordId]) -> bytes:
    return b"".join(hash_buckets(tuple(ids), range(256)))


def test_a_second_look_at_equal_buckets_ends_without_blame() -> None:
    end = End(range(100), initiator=True)
    _until_salt(end)
    frames = end.say(wire.Buckets(0, LANE, bytes(16), _all_hashes(list(end.raws))))
    assert frames == [wire.Settled(0, 0, 0)]
    assert end.codes == []


def test_a_second_look_that_shows_nothing_is_a_lie() -> None:
    end = End(range(100), initiator=True)
    salt = _until_salt(end)
    keyed = end.say(wire.Buckets(0, LANE, b"s" * 16, bytes(4_096)))[0]
    assert isinstance(keyed, wire.Keyed)
    buckets = bits_to_buckets(keyed.buckets)
    coding = Coding(salt.salt + b"s" * 16)
    cells = cells_to_bytes(sketch_of([coding.short(record) for record in end.raws], coding, 128))
    frames = end.say(wire.KeyedHashes(0, LANE, bytes(16 * len(buckets))), wire.Cells(0, LANE, 0, True, cells))
    assert wire.Settled(0, 0, 1 << LANE) in frames
    assert end.codes == ["unexplained_difference"]
    # Within the hour there is no second look, and no second incident.
    end.wait(30_000)
    end.say(wire.Pong())
    end.wait(30_000)
    frames = end.say(sketch_frame(list(end.raws), digest=b"e" * 16))
    assert frames == [wire.Settled(0, 0, 1 << LANE)]
    assert end.codes == ["unexplained_difference"]


def test_a_second_look_waits_for_the_own_store_and_asks_by_keyed_ids() -> None:
    end = End(range(100), initiator=True)
    theirs = [*end.raws, *ids_of(200)]
    salt = _until_salt(end)
    end.answers = False
    pending: list[LoadIds] = []
    end._perform = lambda effect: (  # type: ignore[method-assign]
        pending.append(effect) if isinstance(effect, LoadIds) else End._perform(end, effect)
    )
    frames = end.say(wire.Buckets(0, LANE, b"s" * 16, _all_hashes(theirs)))
    keyed = frames[0]
    assert isinstance(keyed, wire.Keyed)
    buckets = bits_to_buckets(keyed.buckets)
    coding = Coding(salt.salt + b"s" * 16)
    inside = tuple(record for record in theirs if record[0] in buckets)
    cells = cells_to_bytes(sketch_of([coding.short(record) for record in inside], coding, 128))
    hashes = b"".join(hash_buckets(inside, buckets))
    assert end.say(wire.KeyedHashes(0, LANE, hashes), wire.Cells(0, LANE, 0, True, cells)) == []
    end.frames = []
    own = tuple(record for record in end.raws if record[0] in buckets)
    end._do(IdsLoaded(LINK, pending[0].token, own))
    assert kinds(end.frames) == ["Stop", "KeyedWant"]
    frames = end.say(
        wire.Records(1, 0, LANE, True, wire.pack_parcel([raw_record(200)])), wire.Done(0, LANE, b"")
    )
    assert wire.Settled(0, 0, 0) in frames
    assert end.codes == []


def test_a_keyed_want_that_is_not_fulfilled_ends_without_blame() -> None:
    end = End(range(100), initiator=True)
    theirs = [*end.raws, *ids_of(200)]
    salt = _until_salt(end)
    keyed = end.say(wire.Buckets(0, LANE, b"s" * 16, _all_hashes(theirs)))[0]
    assert isinstance(keyed, wire.Keyed)
    buckets = bits_to_buckets(keyed.buckets)
    coding = Coding(salt.salt + b"s" * 16)
    inside = tuple(record for record in theirs if record[0] in buckets)
    cells = cells_to_bytes(sketch_of([coding.short(record) for record in inside], coding, 128))
    hashes = b"".join(hash_buckets(inside, buckets))
    end.say(wire.KeyedHashes(0, LANE, hashes), wire.Cells(0, LANE, 0, True, cells))
    assert end.say(wire.Done(0, LANE, b"")) == [wire.Settled(0, 0, 0)]
    assert end.codes == []


@pytest.mark.parametrize(
    "frames",
    [
        [wire.KeyedHashes(0, LANE, bytes(16))],
        [wire.Buckets(0, LANE, bytes(16), bytes(4_096)), wire.Buckets(0, LANE, bytes(16), bytes(4_096))],
        [wire.Buckets(0, LANE, bytes(16), bytes(4_096)), wire.KeyedHashes(0, LANE, bytes(16))],
    ],
    ids=["hashes unasked", "buckets twice", "too few hashes"],
)
def test_a_second_look_out_of_turn_ends_the_conversation(frames: list[Frame]) -> None:
    end = End(range(100), initiator=True)
    _until_salt(end)
    end.say(*frames)
    assert end.codes == ["out_of_turn"]


def test_keyed_cells_of_ids_that_nobody_holds_are_a_lie() -> None:
    end = End(range(3), initiator=True)
    salt = _until_salt(end)
    keyed = end.say(wire.Buckets(0, LANE, b"s" * 16, bytes(4_096)))[0]
    assert isinstance(keyed, wire.Keyed)
    coding = Coding(salt.salt + b"s" * 16)
    cells = sketch_of([coding.short(record) for record in end.raws], coding, 128)
    coding.pour(cells, [b"nothing!"], -1)
    count = len(bits_to_buckets(keyed.buckets))
    end.say(wire.KeyedHashes(0, LANE, bytes(16 * count)), wire.Cells(0, LANE, 0, True, cells_to_bytes(cells)))
    assert end.codes == ["unexplained_difference"]


def test_noise_that_never_peels_is_looked_into_and_then_called_a_lie() -> None:
    end = End(range(100), initiator=True)
    chance = Random(1)
    salt = _until_salt(end)
    assert len(salt.salt) == 16
    keyed = end.say(wire.Buckets(0, LANE, b"s" * 16, bytes(4_096)))[0]
    assert isinstance(keyed, wire.Keyed)
    count = len(bits_to_buckets(keyed.buckets))
    end.say(wire.KeyedHashes(0, LANE, bytes(16 * count)))
    first = 0
    while not end.codes:
        # A run that is not due is passed over.
        assert end.say(wire.Cells(0, LANE, first + 13, True, bytes(13))) == []
        end.say(wire.Cells(0, LANE, first, False, chance.randbytes(13 * 4_600)))
        first += 4_600
    assert end.codes == ["unexplained_difference"]
    assert first < 65_536 + 4_600
    # The meeting is over: what still comes is passed over.
    assert end.say(wire.Cells(0, LANE, first, True, bytes(13))) == []
    assert end.codes == ["unexplained_difference"]


def test_records_named_from_outside_the_buckets_looked_into_are_a_lie() -> None:
    end = End(range(100), initiator=True)
    salt = _until_salt(end)
    other = next(record for record in ids_of(*range(200, 300)) if record[0] != next(iter(end.raws))[0])
    theirs = [*end.raws, other]
    honest = _all_hashes(list(end.raws))
    spoiled = bytes(16) + honest[16:] if other[0] else honest[:16] + bytes(16) + honest[32:]
    keyed = end.say(wire.Buckets(0, LANE, b"s" * 16, spoiled))[0]
    assert isinstance(keyed, wire.Keyed)
    buckets = bits_to_buckets(keyed.buckets)
    assert len(buckets) == 1
    coding = Coding(salt.salt + b"s" * 16)
    inside = [record for record in theirs if record[0] in buckets] + [other]
    cells = cells_to_bytes(sketch_of([coding.short(record) for record in inside], coding, 128))
    end.say(wire.KeyedHashes(0, LANE, bytes(16)), wire.Cells(0, LANE, 0, True, cells))
    end.say(wire.Done(0, LANE, other))
    assert end.codes == ["unexplained_difference"]


@pytest.mark.parametrize("later", [False, True])
def test_what_was_refused_is_known_to_the_second_look(later: bool) -> None:
    end = End(range(100), initiator=True)
    mine, theirs = ids_of(0)[0], ids_of(200)[0]
    acquaintance = end.hub._conversations[LINK].line.acquaintance
    lawful = acquaintance.lawful(EVERYDAY)
    lawful.refuse_mine(mine, final=later, now_ms=0)
    lawful.refuse_theirs(theirs, final=later, now_ms=0)
    held = [record for record in end.raws if record != mine] + [theirs]
    salt = _until_salt(end)
    keyed = end.say(wire.Buckets(0, LANE, b"s" * 16, _all_hashes(held)))[0]
    assert isinstance(keyed, wire.Keyed)
    buckets = bits_to_buckets(keyed.buckets)
    coding = Coding(salt.salt + b"s" * 16)
    inside = tuple(record for record in held if record[0] in buckets)
    cells = cells_to_bytes(sketch_of([coding.short(record) for record in inside], coding, 128))
    hashes = b"".join(hash_buckets(inside, buckets))
    frames = end.say(wire.KeyedHashes(0, LANE, hashes), wire.Cells(0, LANE, 0, True, cells))
    assert kinds(frames) == ["Stop", "Settled"]
    assert end.codes == []


# The other side.


def test_equal_sets_are_answered_in_a_few_bytes() -> None:
    end = End(range(100), initiator=False)
    frames = end.say(digest_frame(ids_of(*range(100))))
    assert frames == [wire.Same(0)]
    assert len(encode_frame(digest_frame(ids_of(*range(100))))) + len(encode_frame(frames[0])) + 48 <= 3 * 64


@pytest.mark.parametrize(
    "frames",
    [
        [wire.Counts(0, LANE, bytes(256)), wire.Counts(0, LANE, bytes(256))],
        [wire.Counts(0, 0, bytes(256))],
        [wire.List(0, LANE), wire.List(0, LANE)],
        [wire.List(0, LANE), wire.Ids(0, LANE, 0, 256, True, b"")],
        [wire.Next(0, LANE, 256)],
        [wire.List(0, LANE), wire.Next(0, LANE, 7)],
        [wire.Ids(0, LANE, 7, 256, True, b"")],
        [wire.Salt(0, LANE, bytes(16)), wire.Salt(0, LANE, bytes(16))],
        [wire.Keyed(0, LANE, b"\xff" * 32)],
        [wire.KeyedWant(0, LANE, bytes(8))],
        [wire.Salt(0, LANE, bytes(16)), wire.Keyed(0, LANE, bytes(32))],
        [wire.Sketch(0, ())],
        [wire.Meet(0)],
    ],
    ids=lambda frames: "-".join(kinds(frames)),
)
def test_questions_out_of_turn_end_the_conversation(frames: list[Frame]) -> None:
    end = End(range(100), initiator=False)
    assert kinds(end.say(digest_frame(ids_of(*range(50))))) == ["Sketch"]
    end.say(*frames)
    assert end.codes == ["out_of_turn"]


def test_an_id_outside_the_range_that_it_is_listed_in_is_malformed() -> None:
    end = End(range(100), initiator=False)
    end.say(digest_frame(ids_of(*range(50))))
    end.say(wire.Ids(0, LANE, 0, 1, True, b"\x05" * 8))
    assert end.codes == ["malformed_frame"]


def test_questions_before_a_digest_are_passed_over() -> None:
    end = End(range(100), initiator=False)
    assert (
        end.say(wire.More(0, LANE), wire.Settled(0, 7, 7), wire.Done(5, LANE, b""), wire.Want(5, LANE, b""))
        == []
    )
    assert end.codes == []


def test_cells_come_by_the_estimate_then_one_part_ahead_and_end_with_stop() -> None:
    end = End(range(1_000), initiator=False)
    theirs = HeldSet.of(ids_of(*range(700)))
    end.say(digest_frame(ids_of(*range(700))))
    cells = end.say(wire.Counts(0, LANE, theirs.snapshot().counts))
    assert kinds(cells) == ["Cells", "Cells"]
    assert kinds(end.say(wire.More(0, LANE))) == ["Cells", "Cells"]
    assert kinds(end.say(wire.More(0, LANE))) == ["Cells"]
    assert end.say(wire.Stop(0, LANE), wire.More(0, LANE)) == []


def test_a_second_look_at_too_many_buckets_is_flooding() -> None:
    end = End(range(100), initiator=False)
    end.hub.held[EVERYDAY].count = 10_000_000
    end.say(digest_frame(ids_of(*range(50))))
    end.say(wire.Salt(0, LANE, bytes(16)))
    end.say(wire.Keyed(0, LANE, b"\xff" * 32))
    assert end.codes == ["flooding"]


def test_more_keyed_cells_come_in_growing_runs_until_stop() -> None:
    end = End(range(100), initiator=False)
    end.say(digest_frame(ids_of(*range(50))))
    assert kinds(end.say(wire.Salt(0, LANE, bytes(16)))) == ["Buckets"]
    assert kinds(end.say(wire.Keyed(0, LANE, b"\xff" * 32))) == ["KeyedHashes", "Cells"]
    sizes = []
    for _ in range(40):
        frames = end.say(wire.More(0, LANE))
        sizes += [len(frame.cells) // 13 for frame in frames if isinstance(frame, wire.Cells)]
    assert sum(sizes) + 128 == 65_536
    assert end.say(wire.Stop(0, LANE), wire.More(0, LANE)) == []


def test_a_second_digest_before_the_meeting_is_over_is_out_of_turn() -> None:
    end = End(range(100), initiator=False)
    assert kinds(end.say(digest_frame(ids_of(*range(50))), wire.Settled(0, 0, 0))) == ["Sketch"]
    assert kinds(end.say(digest_frame(ids_of(*range(50))))) == ["Sketch"]
    end.say(digest_frame(ids_of(*range(50))))
    assert end.codes == ["out_of_turn"]


class Slow(End):
    """An end whose store and whose turns the test gives by hand."""

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, LoadIds):
            self.readings.append(effect)
        elif isinstance(effect, WakeAt):
            self.is_due = effect.at_ms <= self.now_ms
        else:
            super()._perform(effect)

    def __init__(self, numbers: range) -> None:
        self.readings: list[LoadIds] = []
        self.is_due = False
        super().__init__(numbers, initiator=False)

    def read(self) -> list[Frame]:
        """Let the oldest reading end."""
        self.frames = []
        effect = self.readings.pop(0)
        found = tuple(record for record in self.raws if record[0] in effect.buckets)
        self._do(IdsLoaded(LINK, effect.token, found))
        return self.frames

    def begin(self) -> None:
        """Let a meeting begin in which all lanes differ."""
        self.say(wire.Digest(0, 1, 50, 1, bytes(48)))


def test_second_looks_of_a_link_are_taken_one_after_the_other() -> None:
    end = Slow(range(100))
    end.begin()
    end.say(*(wire.Salt(0, lane, bytes(16)) for lane in range(3)))
    for _ in range(3):
        assert len(end.readings) == 1
        assert kinds(end.read()) == ["Buckets"]
        end.wait(0)
    assert end.readings == []


@pytest.mark.parametrize("keyed", [False, True])
def test_what_is_read_for_a_meeting_that_is_over_is_thrown_away(keyed: bool) -> None:
    end = Slow(range(100))
    end.begin()
    end.say(wire.Salt(0, 0, bytes(16)), wire.Salt(0, LANE, bytes(16)))
    if keyed:
        end.read()
        end.say(wire.Keyed(0, 0, b"\xff" * 32))
        end.wait(0)
    end.say(wire.Settled(0, 0, 0))
    assert end.read() == []
    assert end.wait(0) == []
    assert end.readings == []
    end.begin()
    end.say(wire.Salt(0, LANE, bytes(16)))
    assert kinds(end.read()) == ["Buckets"]


def test_keyed_cells_are_made_a_few_ids_at_a_time_between_other_things(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end = Slow(range(1_000))
    end.begin()
    end.say(wire.Salt(0, LANE, bytes(16)))
    end.read()
    end.say(wire.Keyed(0, LANE, b"\xff" * 32))
    keyed = [0]
    short = Coding.short

    def counted(coding: Coding, record: bytes) -> bytes:
        keyed[-1] += 1
        return short(coding, record)

    monkeypatch.setattr(Coding, "short", counted)
    said = end.read()
    while not said:
        assert end.is_due
        assert end.say(wire.Ping()) == [wire.Pong()]
        keyed.append(0)
        said = end.wait(0)
    assert sum(keyed) == 1_000 and max(keyed) == STEP_IDS
    assert kinds(said) == ["KeyedHashes", "Cells"]
    assert not end.codes


def test_more_second_looks_than_an_hour_may_have_are_refused() -> None:
    end = End(range(100), initiator=False)
    said: list[str] = []
    for _ in range(LOOKS_MAX + 1):
        end.say(digest_frame(ids_of(*range(50))))
        said += kinds(end.say(wire.Salt(0, LANE, bytes(16))))
        assert end.frames[-1:] != [wire.KeyedHashes(0, LANE, b"")] or len(said) > LOOKS_MAX
        end.say(wire.Settled(0, 0, 1 << LANE))
    assert said == ["Buckets"] * LOOKS_MAX + ["KeyedHashes"]
    for _ in range(122):
        end.wait(30_000)
        end.say(wire.Pong())
    end.say(digest_frame(ids_of(*range(50))))
    assert kinds(end.say(wire.Salt(0, LANE, bytes(16)))) == ["Buckets"]
    assert end.codes == ["unexplained_difference"]


def test_a_second_look_that_is_refused_ends_the_lane_for_an_hour() -> None:
    end = End(range(100), initiator=True)
    _until_salt(end)
    assert wire.Settled(0, 0, 1 << LANE) in end.say(wire.KeyedHashes(0, LANE, b""))
    end.wait(30_000)
    end.say(wire.Pong())
    end.wait(30_000)
    assert end.say(sketch_frame(list(end.raws), digest=b"e" * 16)) == [wire.Settled(0, 0, 1 << LANE)]
    assert end.codes == ["unexplained_difference"]


def test_a_want_is_done_even_if_nothing_is_found() -> None:
    end = End(range(10), initiator=False)
    assert end.say(wire.Want(0, LANE, b"12345")) == [wire.Done(0, LANE, b"")]


@pytest.mark.parametrize("frame", [wire.Want(0, LANE, b""), wire.KeyedWant(0, LANE, b"")])
def test_a_want_for_nothing_is_malformed(frame: Frame) -> None:
    end = End(range(100), initiator=False)
    end.say(digest_frame(ids_of(*range(50))), wire.Salt(0, LANE, bytes(16)))
    end.say(frame)
    assert end.codes == ["malformed_frame"]


def test_more_wants_than_may_be_open_are_flooding() -> None:
    end = End(range(200), initiator=False)
    end.answers = False
    for record in list(end.raws)[:JOBS_MAX]:
        assert end.say(wire.Want(0, LANE, record[:5])) == []
    assert end.codes == []
    end.say(wire.Want(0, LANE, b"12345"))
    assert end.codes == ["flooding"]


def test_a_keyed_want_for_what_nobody_holds_is_done_in_its_turn() -> None:
    end = End(range(100), initiator=False)
    end.say(digest_frame(ids_of(*range(50))), wire.Salt(0, LANE, bytes(16)))
    assert end.say(wire.KeyedWant(0, LANE, bytes(8))) == [wire.Done(0, LANE, b"")]


def test_wants_are_done_in_their_order_and_name_what_is_gone() -> None:
    end = End(range(10), initiator=False)
    gone, there = ids_of(3, 4)
    end.lose(gone)
    frames = end.say(wire.Want(0, LANE, gone[:5]), wire.Want(0, LANE, there[:5] * 2))
    assert kinds(frames) == ["Done", "Records", "Done"]
    assert frames[0] == wire.Done(0, LANE, gone)
    # It is in flight: no second copy.
    assert end.say(wire.Want(0, LANE, there[:5])) == [wire.Done(0, LANE, b"")]


def test_buckets_are_bits() -> None:
    for buckets in ([], [0], [255], [0, 7, 8, 254, 255], list(range(256))):
        assert bits_to_buckets(buckets_to_bits(buckets)) == buckets


# Live.


def test_more_new_records_than_can_wait_are_found_by_a_meeting() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"))
    b = bench.node("b", authority_of("b", "ab"))
    for dialler, other in ((a, b), (b, a)):
        bench.join(dialler, other)
        bench.run(1_000)
        a.takes_in = b.takes_in = False
        start = len(a.ids()) * 10
        bench.post(a, *(raw_record(start + number) for number in range(6_000)))
        bench.run(500)
        a.takes_in = b.takes_in = True
        for cable in bench.cables:
            bench.cut(cable)
        bench.join(dialler, other)
        bench.run(300)
        bench.post(a, *(raw_record(start + number) for number in range(6_000, 11_000)))
        bench.run(30_000)
        assert a.ids() == b.ids()


def test_an_answer_of_the_store_with_more_to_come_is_asked_for_again() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(n, bytes_count=30_000) for n in range(40)])
    b = bench.node("b", authority_of("b", "ab"))
    bench.join(a, b)
    bench.run(5_000)
    assert a.ids() == b.ids()
    assert b.taken == 40


def test_every_state_of_a_lane_is_reached_and_the_ends_are_not_left() -> None:
    assert {LaneState.COMPARING, *LANE_MOVES.values()} == set(LaneState)
    assert not {state for state, _ in LANE_MOVES} & {LaneState.LEVEL, LaneState.MOVED, LaneState.FAILED}
    assert {turn for _, turn in LANE_MOVES} == set(Turn)
