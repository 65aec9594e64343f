"""A meeting from the side that dialled, with a peer that says what the test tells it to."""

from __future__ import annotations

from random import Random

import pytest

from protocol import wire
from protocol.ids import RecordId
from protocol.limits import CELLS_FIRST
from protocol.wire import Frame
from sync.events import (
    IdsLoaded,
    LoadIds,
)
from sync.naming import LANE_MOVES, LaneState, Turn
from sync.salted import bits_to_buckets, hash_buckets
from sync.sketch import Coding, cells_to_bytes, sketch_of
from tests.sync.cable import (
    EVERYDAY,
    raw_record,
)
from tests.sync.ends import LANE, LINK, End, ids_of, kinds, sketch_frame


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


def test_every_state_of_a_lane_is_reached_and_the_ends_are_not_left() -> None:
    assert {LaneState.COMPARING, *LANE_MOVES.values()} == set(LaneState)
    assert not {state for state, _ in LANE_MOVES} & {LaneState.LEVEL, LaneState.MOVED, LaneState.FAILED}
    assert {turn for _, turn in LANE_MOVES} == set(Turn)


def test_a_second_look_that_is_refused_ends_the_lane_for_an_hour() -> None:
    end = End(range(100), initiator=True)
    _until_salt(end)
    assert wire.Settled(0, 0, 1 << LANE) in end.say(wire.KeyedHashes(0, LANE, b""))
    end.wait(30_000)
    end.say(wire.Pong())
    end.wait(30_000)
    assert end.say(sketch_frame(list(end.raws), digest=b"e" * 16)) == [wire.Settled(0, 0, 1 << LANE)]
    assert end.codes == ["unexplained_difference"]
