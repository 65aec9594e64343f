"""One conversation: what is said first, who joins, who may hear what."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from protocol import wire
from protocol.ids import FederationId, Lane, LaneKey, home_id
from protocol.wire import Frame, decode_frame, encode_frame, federation_name, join_proof
from sync.admission import State as Held
from sync.conversation import MOVES, Cause, State
from sync.drawing import draw
from sync.events import (
    Committed,
    Drop,
    Effect,
    Incident,
    JoinAsk,
    Joined,
    Joining,
    JoinRefused,
    LaneChange,
    LinkUp,
    Load,
    LoadEvidence,
    Refused,
    Send,
    Welcomed,
)
from sync.hub import Hub
from sync.naming import LANE_MOVES, LaneState
from tests.sync.cable import (
    FEDERATION,
    OTHER,
    Bench,
    Node,
    authority_of,
    device_of,
    id_and_key,
    raw_record,
    town_of,
)
from tests.sync.scripted import HASH, LINK, Scripted

# Who says what first.


def test_both_sides_greet_with_names_that_tell_a_stranger_nothing() -> None:
    peer = Scripted()
    assert peer.frames() == [wire.Hello(1, ((federation_name(FEDERATION, HASH, initiator=False), True),))]
    assert encode_frame(peer.frames()[0]).find(FEDERATION) == -1


def test_the_side_that_dialled_begins_the_first_meeting_at_once() -> None:
    peer = Scripted(initiator=True)
    peer.hello(FEDERATION)
    assert [type(frame) for frame in peer.frames()] == [wire.Digest]


def test_two_towns_without_a_common_federation_speak_of_nothing() -> None:
    peer = Scripted(initiator=True)
    peer.hello(OTHER)
    assert peer.frames() == []
    raw = raw_record(1)
    record, key = id_and_key(raw)
    assert not [
        effect
        for effect in peer.hub.handle(Committed((LaneChange(key, (record,)),), 1), peer.now_ms)
        if isinstance(effect, Send | Load)
    ]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (wire.Digest(0, 0, 0, 0, bytes(48)), "out_of_turn"),
        (wire.Records(1, 0, 0, True, b"x"), "out_of_turn"),
    ],
)
def test_anything_before_hello_ends_the_conversation(frame: Frame, code: str) -> None:
    peer = Scripted()
    peer.say(frame)
    assert peer.dropped() == code
    assert peer.hub.peers() == []


def test_an_older_wire_version_is_refused_and_a_newer_one_is_not() -> None:
    old, new = Scripted(), Scripted()
    old.say(wire.Hello(0, ()))
    new.say(wire.Hello(2, ()))
    assert (old.dropped(), new.dropped()) == ("older_version", None)


@pytest.mark.parametrize("second", [(), ((b"2" * 16, True),), ((b"1" * 16, True), (b"1" * 16, True))])
def test_a_later_hello_only_adds_names_behind_the_old_ones(second: tuple[tuple[bytes, bool], ...]) -> None:
    peer = Scripted()
    peer.say(wire.Hello(1, ((b"1" * 16, True),)))
    peer.say(wire.Hello(1, second))
    assert peer.dropped() == "malformed_frame"


def test_federations_for_which_hello_has_no_room_are_told_to_the_operator() -> None:
    many = [FederationId(bytes([number]) * 16) for number in range(wire.NAMES_MAX)]
    authority = authority_of("a", "ab", [FEDERATION])
    for each in many:
        authority.federations[each] = replace(  # type: ignore[index]
            authority.federations[FEDERATION], id=each, members=frozenset({town_of("a")})
        )
    hub = Hub(town_of("a"), device_of("a"), authority, {}, Random(1))
    effects = hub.handle(LinkUp(LINK, town_of("b"), device_of("b"), HASH, True), 0)
    names = [decode_frame(effect.frame) for effect in effects if isinstance(effect, Send)]
    # What the other town may read goes first.
    expected = [FEDERATION, *many][: wire.NAMES_MAX]
    assert names == [
        wire.Hello(
            1, tuple((federation_name(each, HASH, initiator=True), each == FEDERATION) for each in expected)
        )
    ]
    told = [effect for effect in effects if isinstance(effect, Incident)]
    assert [effect.code for effect in told] == ["federations_many"]
    moved = hub.handle(Committed((), 1, None, replace(authority)), 1)
    assert not [effect for effect in moved if isinstance(effect, Incident)]


# Joining.


def test_an_unapproved_town_is_heard_only_with_an_invitation() -> None:
    peer = Scripted(approved=False)
    assert peer.frames() == []
    peer.say(wire.Ping())
    assert peer.frames() == [wire.Pong()]
    peer.hello(FEDERATION)
    assert peer.dropped() == "not_approved"


def test_a_join_goes_to_the_engine_with_name_proof_and_records() -> None:
    peer = Scripted(approved=False)
    name = federation_name(FEDERATION, HASH, initiator=True)
    peer.say(wire.Join(name, join_proof(b"s" * 16, HASH), wire.pack_parcel([b"certificate", b"join"])))
    assert peer.effects[0] == Joining(LINK, name, join_proof(b"s" * 16, HASH), (b"certificate", b"join"))


def test_a_join_whose_parcel_is_broken_is_dropped() -> None:
    peer = Scripted(approved=False)
    peer.say(wire.Join(bytes(16), bytes(32), b"noise"))
    assert peer.dropped() == "malformed_frame"


def test_a_welcome_of_many_records_is_cut_and_followed_by_hello() -> None:
    peer = Scripted(approved=False)
    peer.say(wire.Join(bytes(16), bytes(32), wire.pack_parcel([b"join"])))
    chance = Random(3)
    records = tuple(chance.randbytes(1_000) for _ in range(60))
    peer.effects = peer.hub.handle(Joined(LINK, records), peer.now_ms)
    *welcomes, hello = peer.frames()
    assert len(welcomes) > 1 and isinstance(hello, wire.Hello)
    joiner = Scripted(initiator=True, join=JoinAsk(FEDERATION, b"s" * 16, (b"join",)))
    assert isinstance(joiner.frames()[0], wire.Join)
    joiner.say(*welcomes)
    assert Welcomed(LINK, records) in joiner.effects
    assert isinstance(joiner.frames()[-1], wire.Hello)


def test_a_refused_invitation_is_told_and_ends_the_link_at_both_sides() -> None:
    peer = Scripted(approved=False)
    peer.say(wire.Join(bytes(16), bytes(32), wire.pack_parcel([b"join"])))
    peer.effects = peer.hub.handle(JoinRefused(LINK, "used", "it was used before"), peer.now_ms)
    assert peer.frames() == [wire.Refused("used", "it was used before")]
    assert peer.dropped() == "join_refused"
    joiner = Scripted(initiator=True, join=JoinAsk(FEDERATION, b"s" * 16, (b"join",)))
    joiner.say(wire.Refused("used", "it was used before"))
    assert Refused(LINK, "used", "it was used before") in joiner.effects
    assert joiner.dropped() == "join_refused"


def test_a_peer_that_answers_join_with_anything_else_is_dropped() -> None:
    joiner = Scripted(initiator=True, join=JoinAsk(FEDERATION, b"s" * 16, (b"join",)))
    joiner.say(wire.Same(0))
    assert joiner.dropped() == "out_of_turn"


def test_a_stranger_that_goes_on_before_its_welcome_is_dropped() -> None:
    peer = Scripted(approved=False)
    join = wire.Join(bytes(16), bytes(32), wire.pack_parcel([b"join"]))
    peer.say(join, join)
    assert peer.dropped() == "out_of_turn"
    assert peer.hub.handle(Joined(LINK, (b"late",)), peer.now_ms) == []


def test_a_joined_town_reconciles_on_the_same_link() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(50)])
    b = bench.node("b", authority_of("b", "", ()))
    charter = raw_record(1_000, (FEDERATION, Lane.URGENT))

    def adopt(node: Node, effect: Effect) -> None:
        if isinstance(effect, Joining):
            bench.later(1, lambda: bench.tell(node, Joined(effect.link, (charter,))))
        if isinstance(effect, Welcomed):
            bench.later(1, lambda: bench.post(node, *effect.records))

    bench.watch = adopt
    b.on_evidence = lambda raw: authority_of("b", "ab") if raw == charter else None
    bench.post(a, charter)
    bench.join(b, a, approved=False, ask=JoinAsk(FEDERATION, b"s" * 16, (raw_record(2_000),)))
    bench.run(5_000)
    assert a.ids() == b.ids()
    assert len(b.ids()) == 50


def test_a_peer_that_is_invited_into_a_second_federation_joins_on_a_new_link() -> None:
    bench = Bench()
    a = bench.node(
        "a", authority_of("a", "ab", (FEDERATION, OTHER)), [raw_record(number) for number in range(9)]
    )
    b = bench.node("b", authority_of("b", "ab", (OTHER,)))
    bench.watch = lambda node, effect: (
        bench.later(1, lambda: bench.tell(node, Joined(effect.link, (raw_record(1_000),))))
        if isinstance(effect, Joining)
        else bench.later(1, lambda: bench.move_authority(node, authority_of("b", "ab", (FEDERATION, OTHER))))
        if isinstance(effect, Welcomed)
        else None
    )
    bench.join(b, a)
    bench.run(1_000)
    bench.join(b, a, ask=JoinAsk(FEDERATION, b"s" * 16, (raw_record(2_000),)))
    bench.run(3_000)
    assert a.ids() == b.ids() and len(b.ids()) == 9


@pytest.mark.parametrize(
    ("approved", "initiator", "code"),
    [(False, False, "not_approved"), (True, True, "stalled"), (True, False, "stalled")],
)
def test_a_peer_that_only_pings_is_sent_away(approved: bool, initiator: bool, code: str) -> None:
    peer = Scripted(approved=approved, initiator=initiator)
    codes = []
    for _ in range(7):
        peer.wait(10_000)
        codes.append(peer.dropped())
        peer.say(wire.Ping())
    assert codes == [None] * 5 + [code, None]


# Rights.


def test_a_member_that_does_not_know_its_federation_is_shown_and_gets_everything() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(40)])
    b = bench.node("b", authority_of("b", "", ()))
    charter = raw_record(1_000, (FEDERATION, Lane.URGENT))
    a.evidence[FEDERATION] = (charter,)
    b.on_evidence = lambda raw: authority_of("b", "ab") if raw == charter else None
    bench.join(b, a)
    bench.run(1_000)
    assert a.ids() == b.ids()


def test_evidence_that_does_not_help_is_shown_once() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"))
    b = bench.node("b", authority_of("b", "", ()))
    a.evidence[FEDERATION] = (raw_record(1_000, (FEDERATION, Lane.URGENT)), raw_record(1_001))
    b.judge = lambda record, raw: (Held.NOT_NOW, "unknown_federation")
    bench.join(b, a)
    bench.run(600_000)
    assert b.taken == 2
    assert not a.of(Drop) and not b.of(Drop)


def test_who_has_left_shows_its_withdrawal_to_who_is_in_that_federation_and_to_nobody_else() -> None:
    """Once, and nothing else of it goes over the link."""
    for towns, taken in (("ab", 1), ("", 0)):
        bench = Bench()
        a = bench.node("a", replace(authority_of("a", "", ()), left=frozenset({FEDERATION})))
        b = bench.node("b", authority_of("b", towns, (FEDERATION,) if towns else ()))
        a.evidence[FEDERATION] = (raw_record(1_000, (FEDERATION, Lane.URGENT)),)
        bench.join(a, b)
        bench.run(100_000)
        assert (b.taken, a.taken) == (taken, 0)


def test_evidence_that_does_not_fit_at_once_follows_in_parts() -> None:
    """The next when the one before is taken in, until the other side knows that it is a member."""
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(40)])
    b = bench.node("b", authority_of("b", "", ()))
    charter, *steps = (raw_record(1_000 + number, (FEDERATION, Lane.URGENT)) for number in range(50))
    a.evidence[FEDERATION], a.evidence_part = (charter, *steps), 4
    b.on_evidence = lambda raw: authority_of("b", "ab") if raw == steps[-10] else None
    bench.join(b, a)
    bench.run(2_000)
    asked = [each.after for each in a.of(LoadEvidence) if isinstance(each, LoadEvidence)]
    assert asked[:2] == [None, id_and_key(steps[2])[0]]
    assert 10 <= len(asked) <= 12, "and what then is left comes as every other record"
    assert a.ids() == b.ids()


def test_nothing_of_a_federation_goes_to_a_town_that_is_no_member() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "a"), [raw_record(number) for number in range(40)])
    b = bench.node("b", authority_of("b", "ab"), [raw_record(number) for number in range(40, 80)])
    link = bench.join(a, b)
    bench.post(a, raw_record(500))
    bench.run(100_000)
    assert len(a.ids()) == 41 and len(b.ids()) == 40
    assert link.carried_bytes < 1_500


@pytest.mark.parametrize("wait_ms", range(0, 60, 2))
def test_a_town_that_loses_its_membership_hears_no_more_at_any_moment(wait_ms: int) -> None:
    bench = Bench(3)
    a = bench.node(
        "a", authority_of("a", "ab"), [raw_record(number, bytes_count=900) for number in range(900)]
    )
    b = bench.node("b", authority_of("b", "ab"), [raw_record(number) for number in range(5_000, 5_300)])
    bench.join(a, b) if wait_ms % 4 else bench.join(b, a)
    bench.run(wait_ms)
    bench.move_authority(a, authority_of("a", "a"))
    told: list[Frame] = []
    bench.watch = lambda node, effect: (
        told.append(decode_frame(effect.frame)) if node is a and isinstance(effect, Send) else None
    )
    bench.post(a, *(raw_record(number) for number in range(9_000, 9_010)))
    bench.run(100_000)
    kinds = {type(frame) for frame in told}
    assert kinds <= {wire.Hello, wire.Ping, wire.Pong, wire.Ack}
    assert not a.of(Drop) and not b.of(Drop)


@pytest.mark.law
@pytest.mark.parametrize("wait_ms", range(0, 60, 6))
@pytest.mark.parametrize("home", [False, True])
def test_a_device_that_is_withdrawn_hears_no_more_at_any_moment(wait_ms: int, home: bool) -> None:
    bench = Bench(3)
    key: LaneKey = (home_id(town_of("a")) if home else FEDERATION, Lane.EVERYDAY)
    mine = [raw_record(number, key, bytes_count=900) for number in range(900)]
    a = bench.node("a1", authority_of("a", "ab"), mine)
    b = bench.node("a2" if home else "b", authority_of("a" if home else "b", "ab"))
    bench.join(a, b) if wait_ms % 4 else bench.join(b, a)
    bench.run(wait_ms)
    town = b.hub.own_town
    rights = a.authority.rights_of(town)
    left = {**a.authority.rights, town: replace(rights, devices=rights.devices - {b.hub.own_device})}
    bench.move_authority(a, replace(a.authority, rights=left))
    told: list[Frame] = []
    bench.watch = lambda node, effect: (
        told.append(decode_frame(effect.frame)) if node is a and isinstance(effect, Send) else None
    )
    bench.post(a, *(raw_record(number, key) for number in range(9_000, 9_010)))
    bench.run(100_000)
    assert {type(frame) for frame in told} <= {wire.Hello, wire.Ping, wire.Pong, wire.Ack}
    assert not any(served for hello in told if isinstance(hello, wire.Hello) for _, served in hello.names)
    assert not a.of(Drop) and not b.of(Drop)
    bench.move_authority(a, authority_of("a", "ab"))
    bench.run(10_000)
    assert a.ids(key) == b.ids(key)


def test_a_device_of_a_member_that_is_not_certified_is_shown_nothing() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(1)])
    a.evidence[FEDERATION] = (raw_record(1_000, (FEDERATION, Lane.URGENT)),)
    b = bench.node("b3", authority_of("b", "", ()))
    b.hub.own_town = town_of("b")
    bench.join(a, b)
    bench.run(100_000)
    assert b.taken == 0
    assert a.of(Send)


def test_a_town_that_becomes_a_member_again_gets_what_it_missed() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(100)])
    b = bench.node("b", authority_of("b", "ab"))
    bench.join(a, b)
    bench.run(500)
    bench.move_authority(a, authority_of("a", "a"))
    bench.post(a, *(raw_record(number) for number in range(200, 260)))
    bench.run(5_000)
    assert len(b.ids()) == 100
    bench.move_authority(a, authority_of("a", "ab"))
    bench.run(5_000)
    assert len(b.ids()) == 160


def test_only_devices_of_one_town_reconcile_its_home_set() -> None:
    home: LaneKey = (home_id(town_of("a")), Lane.EVERYDAY)
    records = [raw_record(number, home) for number in range(20)]
    bench = Bench()
    first = bench.node("a1", authority_of("a", "ab"), records)
    second = bench.node("a2", authority_of("a", "ab"))
    b = bench.node("b", authority_of("b", "ab"))
    bench.join(first, second)
    bench.join(first, b)
    bench.join(second, b)
    bench.run(2_000)
    bench.post(first, raw_record(500, home))
    bench.run(2_000)
    assert len(second.ids(home)) == 21
    assert b.ids(home) == set()


def test_the_same_inputs_give_the_same_effects() -> None:
    def trace() -> list[Effect]:
        bench = Bench(5)
        a = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(300)])
        b = bench.node("b", authority_of("b", "ab"), [raw_record(number) for number in range(250, 500)])
        bench.join(a, b)
        bench.run(10_000)
        return a.seen + b.seen

    assert trace() == trace()


def test_every_state_can_be_left_and_the_end_cannot() -> None:
    reached = {State.STRANGER, State.ASKING, State.GREETING} | set(MOVES.values())
    assert reached == set(State)
    assert {state for state, _ in MOVES} == set(State) - {State.CLOSED}
    assert {cause for _, cause in MOVES} == set(Cause)


def test_the_drawings_in_the_documents_are_those_of_the_tables() -> None:
    text = (Path(__file__).parents[2] / "docs" / "conversation.md").read_text("utf-8")
    assert draw(MOVES, (State.STRANGER, State.ASKING, State.GREETING)) in text
    assert draw(LANE_MOVES, (LaneState.COMPARING,)) in text


def test_every_code_of_a_drop_is_in_the_documents() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "conversation.md").read_text("utf-8")
    sources = "".join(path.read_text("utf-8") for path in sorted((root / "sync").glob("*.py")))
    codes = set(re.findall(r'(?:PeerFault|self\.drop|each\.drop)\(\s*"(\w+)"', sources))
    codes |= set(re.findall(r'Drop\([\w.]+, "(\w+)"', sources))
    assert len(codes) > 10
    assert not {code for code in codes if f"`{code}`" not in text}
