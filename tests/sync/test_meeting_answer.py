"""A meeting from the side that was dialled, with a peer that says what the test tells it to."""

from __future__ import annotations

import pytest

from protocol import wire
from protocol.wire import Frame, encode_frame
from sync.events import (
    Effect,
    IdsLoaded,
    LoadIds,
    WakeAt,
)
from sync.held import HeldSet
from sync.lawful import LOOKS_MAX
from sync.outbox import JOBS_MAX
from sync.salted import STEP_IDS, bits_to_buckets, buckets_to_bits
from sync.sketch import Coding
from tests.sync.cable import (
    EVERYDAY,
    Bench,
    authority_of,
    raw_record,
)
from tests.sync.ends import LANE, LINK, End, digest_frame, ids_of, kinds


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
