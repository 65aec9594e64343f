"""When a link is late, silent or replaced; and what differs lawfully."""

from __future__ import annotations

from random import Random

import pytest

from protocol import wire
from protocol.limits import LINKS_MAX, PING_LATE_MS, PING_MS, SILENCE_MS
from sync.admission import State as Held
from sync.admission import Verdict
from sync.events import (
    Committed,
    Drop,
    Heard,
    IdsLoaded,
    Incident,
    Joined,
    JoinRefused,
    Late,
    LinkDown,
    LinkId,
    LinkUp,
    Loaded,
    Send,
    TakenIn,
    Tick,
)
from sync.hub import Hub
from tests.sync.cable import (
    FEDERATION,
    Bench,
    authority_of,
    device_of,
    id_and_key,
    raw_record,
    town_of,
)
from tests.sync.scripted import HASH, LINK, Scripted


def test_an_idle_link_is_pinged_called_late_and_dropped_in_their_time() -> None:
    peer = Scripted()
    peer.hello()
    seen: dict[str, int] = {}
    start_ms = peer.now_ms
    for _ in range(SILENCE_MS // 500 + 1):
        peer.wait(500)
        for effect in peer.effects:
            if isinstance(effect, Send):
                seen.setdefault("ping", peer.now_ms - start_ms)
            if isinstance(effect, Late):
                assert "late" not in seen
                seen["late"] = peer.now_ms - start_ms
            if isinstance(effect, Drop):
                seen[effect.code] = peer.now_ms - start_ms
    assert seen == {"ping": PING_MS, "late": PING_MS + PING_LATE_MS, "silent": SILENCE_MS}


def test_the_alarm_is_always_set_for_what_is_due_next() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"))
    b = bench.node("b", authority_of("b", "ab"))
    link = bench.join(a, b)
    bench.run(1_000)
    link.passes = lambda: False
    bench.run(60_000)
    assert [type(effect) for effect in a.seen if isinstance(effect, Late | Drop)] == [Late, Drop]
    assert [drop.code for drop in b.of(Drop) if isinstance(drop, Drop)] == ["silent"]
    assert a.hub.peers() == [] == b.hub.peers()


def test_a_sign_of_life_ends_the_lateness() -> None:
    peer = Scripted()
    peer.hello()
    peer.wait(PING_MS)
    peer.wait(PING_LATE_MS)
    assert peer.hub.peers()[0].is_late
    peer.say(wire.Pong())
    assert not peer.hub.peers()[0].is_late
    peer.wait(PING_MS)
    assert peer.frames() == [wire.Ping()]


def test_an_idle_link_costs_less_than_two_kilobytes_a_minute() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(1)])
    b = bench.node("b", authority_of("b", "ab"), [raw_record(1)])
    link = bench.join(a, b)
    bench.run(10_000)
    before = link.carried_bytes
    bench.run(600_000)
    assert link.carried_bytes - before < 20_000


def test_a_newer_link_to_a_device_replaces_the_older() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"))
    b = bench.node("b", authority_of("b", "ab"))
    first = bench.join(a, b)
    bench.run(30_000)
    second = bench.join(b, a)
    bench.run(1_000)
    assert first.lives == [False, False]
    assert second.lives == [True, True]
    assert {drop.code for node in (a, b) for drop in node.of(Drop) if isinstance(drop, Drop)} == {"replaced"}


@pytest.mark.parametrize("gap_ms", [0, 1, 5, 500])
def test_of_two_links_that_crossed_both_ends_keep_the_same(gap_ms: int) -> None:
    for names in ("ab", "ba"):
        bench = Bench()
        first, second = (bench.node(name, authority_of(name, "ab")) for name in names)
        bench.join(first, second)
        bench.run(gap_ms)
        bench.join(second, first)
        bench.run(2_000)
        assert sorted(cable.lives == [True, True] for cable in bench.cables) == [False, True]
        assert len(first.hub.peers()) == len(second.hub.peers()) == 1


def test_a_link_to_the_own_device_and_links_beyond_the_bound_are_refused() -> None:
    hub = Hub(town_of("a"), device_of("a"), authority_of("a", "ab"), {}, Random(1))
    own = hub.handle(LinkUp(LINK, town_of("a"), device_of("a"), HASH, True), 0)
    assert [effect.code for effect in own if isinstance(effect, Drop)] == ["own_device"]
    for number in range(LINKS_MAX + 1):
        effects = hub.handle(LinkUp(LinkId(number + 2), town_of("b"), device_of(str(number)), HASH, True), 0)
    assert [effect.code for effect in effects if isinstance(effect, Drop)] == ["links_many"]
    assert len(hub.peers()) == LINKS_MAX


def test_answers_for_a_link_that_is_gone_are_passed_over() -> None:
    peer = Scripted()
    peer.hub.handle(LinkDown(LINK), 2_000)
    for told in (
        Heard(LINK, b""),
        TakenIn(LINK, 1, ()),
        Loaded(LINK, 1, ()),
        IdsLoaded(LINK, 1, ()),
        Joined(LINK, ()),
        JoinRefused(LINK, "", ""),
        LinkDown(LINK),
        Tick(),
    ):
        assert peer.hub.handle(told, 2_000) == []


# Lawful inequality.


def test_what_one_side_refuses_for_good_is_said_once_and_never_again() -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(60)])
    b = bench.node("b", authority_of("b", "ab"), [raw_record(number) for number in range(100, 160)])
    refused = {id_and_key(raw_record(number))[0] for number in range(7)}
    b.judge = lambda record, raw: (Held.DROPPED, "expired") if record in refused else (Held.HELD, "held")
    link = bench.join(a, b)
    bench.run(30_000)
    assert len(b.ids()) == 113 and len(a.ids()) == 120
    assert b.taken == 60
    before = link.carried_bytes
    bench.run(600_000)
    assert b.taken == 60
    assert link.carried_bytes - before < 20_000
    bench.post(a, raw_record(500))
    bench.run(100_000)
    assert b.taken == 61
    assert not a.of(Incident) and not b.of(Incident)
    assert all(peer.is_idle for node in (a, b) for peer in node.hub.peers())


@pytest.mark.parametrize("refuser_dials", [True, False])
def test_what_was_not_now_comes_again_when_rights_have_moved(refuser_dials: bool) -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(10)])
    b = bench.node("b", authority_of("b", "ab"))
    b.judge = lambda record, raw: (Held.NOT_NOW, "unknown_federation")
    bench.join(b, a) if refuser_dials else bench.join(a, b)
    bench.run(120_000)
    assert b.taken == 10 and not b.ids()
    b.judge = lambda record, raw: (Held.HELD, "held")
    bench.move_authority(b, authority_of("b", "abc"))
    bench.run(10_000)
    assert a.ids() == b.ids()


@pytest.mark.parametrize("refuser_dials", [True, False])
def test_what_was_not_now_for_a_clock_comes_again_by_itself(refuser_dials: bool) -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(10)])
    b = bench.node("b", authority_of("b", "ab"))
    b.judge = lambda record, raw: (Held.NOT_NOW, "future")
    bench.join(b, a) if refuser_dials else bench.join(a, b)
    bench.run(300_000)
    assert b.taken == 10
    b.judge = lambda record, raw: (Held.HELD, "held")
    bench.run(1_300_000)
    assert a.ids() == b.ids()


def test_records_that_the_other_holds_elsewhere_do_not_go_round_for_ever() -> None:
    """It says HELD, but never in this lane: as when the record is held in another federation only."""
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(30)])
    b = bench.node("b", authority_of("b", "ab"))
    lost = {id_and_key(raw_record(number))[0] for number in range(5)}
    b.loses = lost
    bench.join(b, a)
    bench.run(600_000)
    assert len(b.ids()) == 25
    assert b.taken <= 2 * 30
    assert not a.of(Incident) and not b.of(Incident)


@pytest.mark.parametrize("loser_dials", [True, False])
def test_pushing_for_nothing_becomes_rare(loser_dials: bool) -> None:
    bench = Bench()
    a = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(30)])
    b = bench.node("b", authority_of("b", "ab"))
    b.loses = {id_and_key(raw_record(number))[0] for number in range(30)}
    bench.join(b, a) if loser_dials else bench.join(a, b)
    bench.run(3_600_000)
    assert b.taken <= 30 * 16


def test_a_superseded_record_is_refused_only_until_rights_move() -> None:
    peer = Scripted()
    peer.hello(FEDERATION)
    raws = [raw_record(number) for number in range(2)]
    peer.say(wire.Records(1, 0, 1, True, wire.pack_parcel(raws)))
    causes = ("superseded", "expired")
    verdicts = tuple(
        Verdict(id_and_key(raw)[0], Held.DROPPED, cause) for raw, cause in zip(raws, causes, strict=True)
    )
    peer.effects = peer.hub.handle(TakenIn(LINK, 1, verdicts), peer.now_ms)
    assert peer.frames() == [wire.Ack(1, (1,), (0,))]
    moved = authority_of("a", "abc")
    peer.effects = peer.hub.handle(Committed((), 1, None, moved), peer.now_ms)
    assert [type(frame) for frame in peer.frames()] == [wire.Hello]
    assert peer.hub.handle(Committed((), 2, None, authority_of("a", "abc")), peer.now_ms) == []


def test_what_was_judged_before_rights_moved_is_asked_for_again_after() -> None:
    """A batch of another link may bring them in the same commit: that is told before either is answered."""
    peer = Scripted()
    peer.hello(FEDERATION)
    raws = [raw_record(number) for number in range(2)]
    refused = [(Verdict(id_and_key(raw)[0], Held.DROPPED, "superseded"),) for raw in raws]
    peer.say(wire.Records(1, 0, 1, True, wire.pack_parcel(raws[:1])))
    peer.effects = peer.hub.handle(Committed((), 1, None, authority_of("a", "abc")), peer.now_ms)
    assert peer.frames() == [], "nothing was refused yet"
    peer.effects = peer.hub.handle(TakenIn(LINK, 1, refused[0]), peer.now_ms)
    assert [type(frame) for frame in peer.frames()] == [wire.Ack, wire.Hello]
    peer.say(wire.Records(2, 0, 1, True, wire.pack_parcel(raws[1:])))
    peer.effects = peer.hub.handle(TakenIn(LINK, 2, refused[1]), peer.now_ms)
    assert [type(frame) for frame in peer.frames()] == [wire.Ack], "rights have not moved since it came"
