"""What a peer does wrong, and any bytes at all: a drop with a stable code, and never an exception."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import wire
from protocol.encoding import decode_list, encode_list
from protocol.identity import TownKey
from protocol.ids import Lane, Op, RecordId, TownId
from protocol.record import make, make_body
from protocol.wire import Frame, encode_frame, federation_name
from sync.admission import State as Held
from sync.admission import Verdict
from sync.events import (
    Committed,
    Drop,
    Effect,
    Heard,
    Incident,
    LaneChange,
    LinkDown,
    LinkId,
    LinkUp,
    Load,
    Loaded,
    Send,
    TakeIn,
    TakenIn,
)
from sync.hub import Hub
from sync.line import is_whole
from tests.sync.cable import (
    FEDERATION,
    Bench,
    Node,
    authority_of,
    device_of,
    id_and_key,
    raw_record,
    town_of,
)
from tests.sync.scripted import HASH, LINK, Scripted


def _bad_frames() -> list[tuple[Frame, str]]:
    parcel = wire.pack_parcel([raw_record(1)])
    return [
        (wire.Ack(7, (), ()), "unknown_batch"),
        (wire.Done(0, 1, b""), "out_of_turn"),
        (wire.Same(0), "out_of_turn"),
        (wire.Meet(0), "out_of_turn"),
        (wire.Sketch(0, ()), "out_of_turn"),
        (wire.Welcome(True, b"x"), "out_of_turn"),
        (wire.Refused("x", "y"), "out_of_turn"),
        (wire.Join(bytes(16), bytes(32), b""), "out_of_turn"),
        (wire.Records(0, 0, 1, True, parcel), "flooding"),
        (wire.Records(1, 0, 1, True, b""), "limit_exceeded"),
        (wire.Records(1, 0, 1, True, b"noise"), "malformed_frame"),
    ]


@pytest.mark.parametrize(("frame", "code"), _bad_frames(), ids=lambda value: type(value).__name__)
def test_a_frame_out_of_turn_ends_the_conversation_with_a_stable_code(frame: Frame, code: str) -> None:
    peer = Scripted()
    peer.hello(FEDERATION)
    peer.say(frame)
    assert peer.dropped() == code


def test_the_side_that_dialled_hears_no_questions() -> None:
    peer = Scripted(initiator=True)
    peer.hello(FEDERATION)
    peer.say(wire.Digest(0, 0, 0, 0, bytes(48)))
    assert peer.dropped() == "out_of_turn"


def test_a_second_look_that_nobody_asked_for_is_passed_over() -> None:
    peer = Scripted(initiator=True)
    peer.hello(FEDERATION)
    assert isinstance(peer.frames()[-1], wire.Digest)
    peer.say(wire.Buckets(0, 1, bytes(16), bytes(4_096)))
    assert peer.dropped() is None
    assert peer.frames() == []


def test_more_batches_than_agreed_are_flooding() -> None:
    peer = Scripted()
    peer.hello(FEDERATION)
    for number in (1, 2):
        peer.say(wire.Records(number, 0, 1, True, wire.pack_parcel([raw_record(number)])))
        assert isinstance(peer.effects[0], TakeIn)
    peer.say(wire.Records(3, 0, 1, True, wire.pack_parcel([raw_record(3)])))
    assert peer.dropped() == "flooding"


def test_mixed_parts_and_endless_parcels_are_refused() -> None:
    mixed, endless = Scripted(), Scripted()
    mixed.hello(FEDERATION)
    mixed.say(wire.Records(1, 0, 1, False, b"x"), wire.Records(2, 0, 1, True, b"y"))
    assert mixed.dropped() == "malformed_frame"
    endless.hello(FEDERATION)
    for _ in range(wire.PARCEL_WIRE_BYTES_MAX // wire.BLOB_BYTES_MAX + 1):
        endless.say(wire.Records(1, 0, 1, False, bytes(wire.BLOB_BYTES_MAX)))
    assert endless.dropped() == "limit_exceeded"


def test_a_batch_is_acknowledged_only_after_the_commit() -> None:
    peer = Scripted()
    peer.hello(FEDERATION)
    raws = [raw_record(number) for number in range(4)]
    peer.say(wire.Records(1, 0, 1, True, wire.pack_parcel(raws)))
    assert peer.frames() == []
    states = (Held.HELD, Held.DROPPED, Held.PARKED, Held.NOT_NOW)
    verdicts = tuple(Verdict(id_and_key(raw)[0], state, "x") for raw, state in zip(raws, states, strict=True))
    peer.effects = peer.hub.handle(TakenIn(LINK, 1, verdicts), peer.now_ms)
    assert peer.frames() == [wire.Ack(1, (1,), (2, 3))]


def test_a_ban_is_for_the_town_whichever_device_calls() -> None:
    peer = Scripted()
    peer.hello(FEDERATION)
    beside = LinkUp(LinkId(2), town_of("b"), device_of("b1"), HASH, False)
    other = LinkUp(LinkId(3), town_of("c"), device_of("c"), HASH, False)
    for up in (beside, other):
        peer.hub.handle(up, peer.now_ms)
    peer.say(wire.Records(1, 0, 1, True, wire.pack_parcel([raw_record(number) for number in range(21)])))
    verdicts = (Verdict(RecordId(bytes(32)), Held.NOT_NOW, "bad_signature"),) * 21
    effects = peer.hub.handle(TakenIn(LINK, 1, verdicts), peer.now_ms)
    drops = [(effect.link, effect.code) for effect in effects if isinstance(effect, Drop)]
    assert drops == [(LINK, "bad_records"), (LinkId(2), "banned")]
    # Strangers that come and go in crowds do not wash it off.
    for number in range(10, 400):
        stranger = LinkUp(LinkId(number), town_of(str(number)), device_of(str(number)), HASH, False, False)
        peer.hub.handle(stranger, peer.now_ms)
        peer.hub.handle(LinkDown(LinkId(number)), peer.now_ms)
    next_device = LinkUp(LinkId(1_000), town_of("b"), device_of("b2"), HASH, False)
    effects = peer.hub.handle(next_device, peer.now_ms)
    assert [effect.code for effect in effects if isinstance(effect, Drop)] == ["banned"]
    assert len(peer.hub._conducts) < 5


def test_of_the_own_town_only_the_device_is_banned() -> None:
    peer = Scripted()
    ups = [LinkUp(LinkId(number), town_of("a"), device_of(f"a{number}"), HASH, False) for number in (2, 3)]
    for up in ups:
        peer.hub.handle(up, peer.now_ms)
    hello = wire.Hello(1, ((federation_name(FEDERATION, HASH, initiator=True), True),))
    batch = wire.Records(1, 0, 1, True, wire.pack_parcel([raw_record(number) for number in range(21)]))
    for frame in (hello, batch):
        peer.hub.handle(Heard(LinkId(2), encode_frame(frame)), peer.now_ms)
    verdicts = (Verdict(RecordId(bytes(32)), Held.NOT_NOW, "malformed"),) * 21
    effects = peer.hub.handle(TakenIn(LinkId(2), 1, verdicts), peer.now_ms)
    assert [effect.link for effect in effects if isinstance(effect, Drop)] == [2]


def test_a_peer_that_sends_forged_records_is_left_alone_for_an_hour() -> None:
    peer = Scripted()
    peer.hello(FEDERATION)
    raws = [raw_record(number) for number in range(21)]
    peer.say(wire.Records(1, 0, 1, True, wire.pack_parcel(raws)))
    verdicts = tuple(Verdict(RecordId(bytes(32)), Held.NOT_NOW, "bad_signature") for _ in raws)
    peer.effects = peer.hub.handle(TakenIn(LINK, 1, verdicts), peer.now_ms)
    assert peer.dropped() == "bad_records"
    assert any(isinstance(effect, Incident) for effect in peer.effects)
    up = LinkUp(LinkId(2), town_of("b"), device_of("b"), HASH, True)
    assert [effect.code for effect in peer.hub.handle(up, 5_000) if isinstance(effect, Drop)] == ["banned"]
    later = peer.hub.handle(replace(up, link=LinkId(3)), 5_000 + 3_700_000)
    assert not [effect for effect in later if isinstance(effect, Drop)]


class Babbler:
    """An approved peer that keeps copies of one record on their way into another's store."""

    def __init__(self, bench: Bench, copy: bytes) -> None:
        self.bench, self.copy, self.number = bench, copy, 0
        bench.hashed, bench.store_ms = HASH, 20
        self.a = bench.node("a", authority_of("a", "abx"))
        self.x = bench.node("x", authority_of("x", "abx"))
        self.x.mute = True
        cable = bench.join(self.x, self.a)
        cable.passes, self.link = lambda: False, cable.links[1]
        self._say(wire.Hello(1, ((federation_name(FEDERATION, HASH, initiator=True), True),)))
        bench.watch = self._watch
        self._send()
        self._send()

    def _say(self, frame: Frame) -> None:
        self.bench.tell(self.a, Heard(self.link, encode_frame(frame)))

    def _send(self) -> None:
        self.number += 1
        self._say(wire.Records(self.number, 0, 1, True, wire.pack_parcel([self.copy])))

    def _watch(self, node: Node, effect: Effect) -> None:
        if not isinstance(effect, Send) or (node, effect.link) != (self.a, self.link):
            return
        if isinstance(wire.decode_frame(effect.frame), wire.Ack):
            self.bench.later(1, self._send)


@pytest.mark.parametrize(
    ("is_whole", "cause"), [(False, "body_missing"), (True, "bad_signature"), (True, "future")]
)
def test_copies_that_are_always_on_their_way_do_not_keep_the_record_away(is_whole: bool, cause: str) -> None:
    raw = raw_record(1)
    header, _, body = decode_list(raw, bytes_max=40_000)
    copy = encode_list([header, bytes(64), body if is_whole else None])
    bench = Bench()
    babbler = Babbler(bench, copy)
    babbler.a.judge = lambda record, taken: (Held.NOT_NOW, cause) if taken == copy else (Held.HELD, "held")
    bench.join(babbler.a, bench.node("b", authority_of("b", "abx"), [raw]))
    bench.run(5_000)
    assert len(babbler.a.ids()) == 1
    codes = [drop.code for drop in babbler.a.of(Drop) if isinstance(drop, Drop)]
    assert codes == ([] if cause == "future" else ["bad_records"])


@pytest.mark.parametrize(("op", "whole"), [(Op.DELETE, True), (Op.PUT, False)])
def test_only_a_delete_is_whole_without_a_body(op: Op, whole: bool) -> None:
    town = TownKey(b"t" * 32)
    body = make_body(bytes(16), {}) if op is Op.PUT else None
    record = make(
        town, town=TownId(town.public), epoch=b"ab12", counter=1, stamp=1, kind="town.profile",
        lane=Lane.URGENT, born=1, expires=2, nonce=b"12345678", op=op, body=body,
    )  # fmt: skip
    bare = encode_list([record.header_bytes, record.signature, None])
    assert is_whole(record.raw) and is_whole(bare) is whole
    assert not is_whole(bare[:-1]) and not is_whole(bare[:-1] + b"\x01")


def test_a_peer_that_never_answers_a_digest_is_dropped_though_it_lives() -> None:
    peer = Scripted(initiator=True)
    peer.hello(FEDERATION)
    codes = []
    for _ in range(8):
        peer.wait(10_000)
        codes.append(peer.dropped())
        peer.say(wire.Pong())
    assert "stalled" in codes


def test_wants_beyond_what_a_meeting_can_show_are_flooding() -> None:
    chance = Random(1)
    peer = Scripted()
    peer.hello(FEDERATION)
    code = None
    for _ in range(20):
        peer.say(wire.Want(0, 1, chance.randbytes(60_000)))
        code = code or peer.dropped()
    assert code == "flooding"


def test_bad_records_of_long_ago_are_forgiven() -> None:
    peer = Scripted()
    peer.hello(FEDERATION)
    for number in range(1, 30):
        peer.say(wire.Records(number, 0, 1, True, wire.pack_parcel([raw_record(number)])))
        verdict = Verdict(RecordId(bytes(32)), Held.NOT_NOW, "bad_signature")
        peer.now_ms += 3_700_000
        peer.effects = peer.hub.handle(TakenIn(LINK, number, (verdict,)), peer.now_ms)
        peer.hub.handle(LinkDown(LINK), peer.now_ms)
        up = LinkUp(LINK, town_of("b"), device_of("b"), HASH, False)
        assert not [effect for effect in peer.hub.handle(up, peer.now_ms) if isinstance(effect, Drop)]
        peer.hello(FEDERATION)


def test_a_hub_remembers_no_more_devices_than_it_may() -> None:
    hub = Hub(town_of("a"), device_of("a"), authority_of("a", "ab"), {}, Random(1))
    for number in range(400):
        hub.handle(LinkUp(LinkId(number), town_of("b"), device_of(str(number)), HASH, True), 0)
        if number:
            hub.handle(LinkDown(LinkId(number)), 0)
    assert len(hub._acquaintances) == 256
    assert device_of("0") in hub._acquaintances


@pytest.mark.parametrize("raw", [b"", b"\x93", b"\x93\xc4", b"\x93\xc5\x00", b"\x93\xc4\x01a", b"noise!"])
def test_a_record_that_is_none_goes_to_the_door_and_is_refused_there(raw: bytes) -> None:
    peer = Scripted()
    peer.hello(FEDERATION)
    peer.say(wire.Records(1, 0, 1, True, wire.pack_parcel([raw])))
    assert peer.effects[0] == TakeIn(LINK, 1, (raw,))
    verdict = Verdict(RecordId(bytes(32)), Held.DROPPED, "malformed")
    peer.effects = peer.hub.handle(TakenIn(LINK, 1, (verdict,)), peer.now_ms)
    assert peer.frames() == [wire.Ack(1, (0,), ())]
    assert peer.hub.handle(TakenIn(LINK, 1, (verdict,)), peer.now_ms) == []


def test_too_many_greetings_are_flooding() -> None:
    peer = Scripted()
    for _ in range(1_100):
        if peer.dropped() is None:
            peer.hello(FEDERATION)
    assert peer.dropped() == "flooding"


def test_an_acknowledgement_of_a_place_that_was_not_sent_is_refused() -> None:
    peer = Scripted()
    peer.hello(FEDERATION)
    record, key = id_and_key(raw_record(1))
    effects = peer.hub.handle(Committed((LaneChange(key, (record,)),), 1), peer.now_ms)
    load = next(effect for effect in effects if isinstance(effect, Load))
    peer.hub.handle(Loaded(LINK, load.token, (raw_record(1),)), peer.now_ms)
    peer.say(wire.Ack(1, (3,), ()))
    assert peer.dropped() == "unknown_batch"


# Anything at all.

PLACES = st.sampled_from([0, 0, 0, 1])
LANE = st.integers(0, 2)
SMALL = st.binary(max_size=40)
SIZE = st.sampled_from([0, 1, 20, 30_000, 2**40])


def _cells(count: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    return count.map(lambda number: bytes(13 * number))


LANES_SKETCHED = st.lists(
    st.tuples(LANE, SIZE, st.just(b"d" * 16), _cells(st.integers(0, 30))), max_size=3
).map(tuple)

FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(wire.Hello, st.just(1), st.just(((federation_name(FEDERATION, HASH, initiator=True), True),))),
    st.builds(wire.Hello, st.just(1), st.just(((federation_name(FEDERATION, HASH, initiator=False), True),))),
    st.builds(wire.Ping),
    st.builds(wire.Pong),
    st.builds(wire.Welcome, st.booleans(), SMALL),
    st.builds(wire.Digest, PLACES, SIZE, SIZE, SIZE, st.just(bytes(48))),
    st.builds(wire.Same, PLACES),
    st.builds(
        wire.Sketch,
        PLACES,
        LANES_SKETCHED,
    ),
    st.builds(wire.Counts, PLACES, LANE, st.binary(min_size=256, max_size=256)),
    st.builds(
        wire.Cells, PLACES, LANE, st.sampled_from([0, 24, 40]), st.booleans(), _cells(st.integers(0, 40))
    ),
    st.builds(wire.More, PLACES, LANE),
    st.builds(wire.Stop, PLACES, LANE),
    st.builds(wire.List, PLACES, LANE),
    st.builds(
        wire.Ids, PLACES, LANE, st.just(0), st.sampled_from([1, 256]), st.booleans(), st.just(bytes(8))
    ),
    st.builds(wire.Next, PLACES, LANE, st.sampled_from([1, 256])),
    st.builds(wire.Want, PLACES, LANE, st.just(b"12345" * 3)),
    st.builds(wire.Done, PLACES, LANE, st.just(bytes(32))),
    st.builds(wire.Settled, PLACES, st.integers(0, 7), st.integers(0, 7)),
    st.builds(wire.Meet, PLACES),
    st.builds(
        wire.Records, st.integers(0, 5), PLACES, LANE, st.booleans(),
        st.sampled_from([b"x", wire.pack_parcel([raw_record(1)]), wire.pack_parcel([b"nonsense", b""])]),
    ),
    st.builds(wire.Ack, st.integers(0, 4), st.just((0,)), st.just((1,))),
    st.builds(wire.Salt, PLACES, LANE, st.just(bytes(16))),
    st.builds(wire.Buckets, PLACES, LANE, st.just(bytes(16)), st.just(bytes(4_096))),
    st.builds(wire.Keyed, PLACES, LANE, st.sampled_from([bytes(32), b"\xff" * 32, bytes(31) + b"\x01"])),
    st.builds(wire.KeyedHashes, PLACES, LANE, st.sampled_from([bytes(4_096), bytes(16)])),
    st.builds(wire.KeyedWant, PLACES, LANE, st.just(bytes(16))),
)  # fmt: skip


@pytest.mark.law
@settings(max_examples=400, deadline=None)
@given(
    st.booleans(),
    st.booleans(),
    st.sampled_from([True, True, True, False]),
    st.lists(st.one_of(FRAMES, st.binary(max_size=60), st.integers(1, 40_000)), max_size=30),
)
def test_whatever_is_heard_nothing_is_raised(
    initiator: bool, approved: bool, greets: bool, script: list[Frame | bytes | int]
) -> None:
    bench = Bench()
    bench.hashed = HASH
    node = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(20)])
    other = bench.node("b", authority_of("b", "ab"))
    other.mute = True
    cable = bench.join(node, other) if initiator else bench.join(other, node, approved=approved)
    link = cable.links[0 if initiator else 1]
    greeting = wire.Hello(1, ((federation_name(FEDERATION, HASH, initiator=not initiator), True),))
    for said in [greeting, *script] if greets else script:
        if isinstance(said, int):
            bench.run(said)
            continue
        data = said if isinstance(said, bytes) else encode_frame(said)
        if not node.hub.peers():
            break
        bench.tell(node, Heard(link, data))
    bench.run(1_000)


@pytest.mark.law
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.001, 0.2))
def test_a_cable_that_corrupts_frames_raises_nothing_and_heals(seed: int, share: float) -> None:
    bench = Bench(seed)
    a = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(150)])
    b = bench.node("b", authority_of("b", "ab"), [raw_record(number) for number in range(120, 260)])
    chance = Random(seed)

    def corrupt(data: bytes) -> bytes:
        if chance.random() > share:
            return data
        changed = bytearray(data)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return bytes(changed)

    bench.corrupt = corrupt
    for _ in range(6):
        bench.join(a, b)
        bench.run(3_000)
    bench.corrupt = lambda data: data
    bench.join(b, a)
    bench.run(150_000)
    assert a.ids() >= {id_and_key(raw_record(number))[0] for number in range(260)}
