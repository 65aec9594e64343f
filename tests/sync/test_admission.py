"""Judging comes out the same however the same records are cut, ordered and repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.clock import stamp_at
from protocol.ids import Lane, Op, home_id
from protocol.limits import STAMP_MAX
from protocol.record import Record
from sync.admission import (
    CHARTER_STANDS,
    EXPIRED,
    FUTURE,
    HELD_NOW,
    KNOWN,
    NOT_MEMBER,
    NOT_OURS,
    QUOTA,
    SUPERSEDED,
    UNCERTIFIED,
    UNKNOWN_FEDERATION,
    State,
    expire,
    judge,
)
from tests.sync.world import FAR_S, NOW_S, Town, World, federation_of, specified

DAY_S = 86_400
GREATEST_STAMP = stamp_at((NOW_S + DAY_S) * 1_000)
OWN, BEE, SEA = Town("own"), Town("bee"), Town("sea")
CHARTER = BEE.charter("Along the river", [BEE], quotas=(2, 2, 1))
RIVER = federation_of(CHARTER)
SECOND_CHARTER = OWN.charter("Over the hill", [OWN, SEA], quotas=(1, 3, 2))
HILL = federation_of(SECOND_CHARTER)
CERTIFICATES = [OWN.certificate(), BEE.certificate(), SEA.certificate()]
FOUNDATION = [*CERTIFICATES, CHARTER, OWN.join(RIVER), BEE.admit(RIVER, OWN)]


def founded(*more: Record) -> World:
    """Return the own town's world after it joined the river federation, of which the sea is no member yet."""
    world = World(OWN.id)
    world.take(*FOUNDATION, *more)
    return world


def cuts(order: Sequence[Record], sizes: Sequence[int]) -> Iterator[Sequence[Record]]:
    """Cut an order of records into batches of these sizes; the last takes what remains."""
    start = 0
    for size in sizes:
        yield order[start : start + size]
        start += size
    if start < len(order):
        yield order[start:]


def fold(world: World, batches: Iterator[Sequence[Record]]) -> World:
    """Take the batches in, one after another."""
    for batch in batches:
        world.take(*batch)
    return world


# The law, exhaustively.


@pytest.mark.parametrize("ops", list(combinations_with_replacement(Op, 5)), ids=str)
def test_all_orders_of_five_concurrent_records_end_in_the_specified_state(ops: tuple[Op, ...]) -> None:
    """Every mix of operations, equal and extreme stamps; documents of another end or audience beside."""
    stamps = [0, 7, 7, GREATEST_STAMP, 0]
    audiences = [[RIVER], [RIVER], [RIVER], [RIVER], [RIVER, HILL]]
    ends = [FAR_S, FAR_S + 1, FAR_S, FAR_S, FAR_S]
    records = [
        BEE.write("offer", "x", op=op, stamp=stamp, federations=audience, expires=end, counter=i)
        for i, (op, stamp, audience, end) in enumerate(zip(ops, stamps, audiences, ends, strict=True))
    ]
    expected = specified(OWN.id, [*FOUNDATION, *records])
    base = founded()
    for number, order in enumerate(permutations(records)):
        sizes = [(1, 1, 1, 1), (5,), (2, 3), (3, 1), (1, 4), (1, 2)][number % 6]
        world = fold(copied(base), cuts(order, sizes))
        assert world.state()[0] == expected


def test_all_orders_of_three_records_of_one_document_end_alike_for_every_way_to_cut_them() -> None:
    """Including a repeated record in the same and in another batch."""
    base = founded()
    for ops in combinations_with_replacement(Op, 3):
        for stamps in [(0, 0, 0), (1, 0, 1), (0, 1, 2), (2, 1, 0)]:
            records = [
                BEE.write("offer", "x", op=op, stamp=stamp, federations=[RIVER], counter=i)
                for i, (op, stamp) in enumerate(zip(ops, stamps, strict=True))
            ]
            expected = specified(OWN.id, [*FOUNDATION, *records])
            for order in permutations([*records, records[0]]):
                for sizes in [(), (1,), (2,), (3,), (1, 1), (1, 2), (2, 1), (1, 1, 1)]:
                    assert fold(copied(base), cuts(order, sizes)).state()[0] == expected


def test_a_certificate_and_an_admission_may_come_at_any_position() -> None:
    """What waited is held by the same batch that lifts the cause, and merges as if it had come after it."""
    base = World(OWN.id)
    base.take(OWN.certificate(), BEE.certificate(), CHARTER, OWN.join(RIVER), BEE.admit(RIVER, OWN))
    story = [
        SEA.certificate(),
        BEE.admit(RIVER, SEA),
        SEA.write("need", "x", federations=[RIVER], stamp=5),
        SEA.write("need", "x", federations=[RIVER], stamp=9),
        SEA.write("need", "y", federations=[RIVER], op=Op.DELETE),
    ]
    everything = [*base.kept.values(), *story]
    expected = specified(OWN.id, everything)
    assert len(expected[RIVER, Lane.URGENT]) == len(everything) - 1
    for order in permutations(story):
        for sizes in [(), (1, 1, 1, 1), (2, 2), (3,), (1, 3)]:
            assert fold(copied(base), cuts(order, sizes)).state() == (expected, frozenset())


def test_a_join_may_come_at_any_position() -> None:
    """Records of a federation that is not ours yet come again when it is, as peers bring them."""
    story = [
        CHARTER,
        OWN.join(RIVER),
        BEE.certificate(),
        BEE.write("offer", "x", federations=[RIVER]),
        BEE.admit(RIVER, OWN),
    ]
    base = World(OWN.id)
    base.take(OWN.certificate(), OWN.write("offer", "mine", federations=[RIVER, HILL]))
    mine = OWN.write("offer", "mine", federations=[RIVER, HILL])
    everything = [OWN.certificate(), mine, *story]
    expected = specified(OWN.id, everything)
    assert expected[RIVER, Lane.URGENT] == {record.id for record in everything}
    for order in permutations(story):
        for sizes in [(), (1, 1, 1, 1), (2, 2), (3,), (1, 3)]:
            world = fold(copied(base), cuts(order, sizes))
            world.settle(everything)
            assert world.state() == (expected, frozenset())


def test_quota_ends_alike_for_all_orders_and_counts_a_deletion_as_its_document() -> None:
    """Two documents fit: the newest by (born, document), deleted or not."""
    old = BEE.write("offer", "old", federations=[RIVER], born=NOW_S - 30)
    middle = BEE.write("offer", "middle", federations=[RIVER], born=NOW_S - 20)
    gone = BEE.write("offer", "middle", federations=[RIVER], born=NOW_S - 20, op=Op.DELETE)
    new = BEE.write("offer", "new", federations=[RIVER], born=NOW_S - 10)
    base = founded()
    for order in permutations(
        [old, middle, gone, new, BEE.write("practice", "x", op=Op.ENTRY, federations=[RIVER])]
    ):
        for sizes in [(), (1, 1, 1, 1), (2, 2), (3,), (1, 3), (4,)]:
            world = fold(copied(base), cuts(order, sizes))
            assert world.state()[0] == specified(OWN.id, [*FOUNDATION, *order])
            assert old.id not in world.held and middle.id not in world.held


# The law, at random.


def pool() -> list[Record]:
    """Return many records that interfere with each other in every way that the rules name."""
    found: list[Record] = [CHARTER, SECOND_CHARTER]
    found += [OWN.write("charter", "no entry", fields={"name": "x"}), BEE.charter("unjoined", [BEE])]
    for town in (OWN, BEE, SEA):
        found += [town.certificate(1), town.certificate(2), town.certificate(2, op=Op.DELETE)]
        found += [town.write("town.profile", "p", stamp=stamp) for stamp in (0, 1)]
        found += [town.join(RIVER), town.join(RIVER, op=Op.DELETE), town.join(HILL, device=2)]
        for steward, federation in ((BEE, RIVER), (OWN, HILL), (SEA, HILL), (SEA, RIVER)):
            found += [steward.admit(federation, town), steward.admit(federation, town, device=2, stamp=1)]
            found.append(steward.admit(federation, town, op=Op.DELETE, device=2))
        for number, audience in enumerate([[RIVER], [HILL], [RIVER, HILL], []]):
            for age in (0, 5, 9):
                name = f"{number} {age}"
                for device, op, stamp in (
                    (1, Op.PUT, 0),
                    (2, Op.PUT, 0),
                    (1, Op.PUT, STAMP_MAX),
                    (2, Op.DELETE, 3),
                    (1, Op.ENTRY, 2),
                ):
                    found.append(
                        town.write(
                            "offer",
                            name,
                            federations=audience,
                            lane=Lane.EVERYDAY,
                            born=NOW_S - age,
                            stamp=stamp,
                            device=device,
                            op=op,
                        )
                    )
        found.append(town.write("need", "ended", born=NOW_S - 50, expires=NOW_S, federations=[RIVER]))
    found.append(SEA.certificate(1, op=Op.DELETE))
    return found


POOL = pool()
BASIS = [
    *FOUNDATION,
    SECOND_CHARTER,
    BEE.admit(RIVER, SEA),
    OWN.admit(HILL, BEE),
    OWN.certificate(2),
    BEE.certificate(2),
]


@settings(max_examples=300, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(POOL), max_size=40),
    basis=st.lists(st.sampled_from(BASIS), unique=True, max_size=len(BASIS)),
    seed=st.integers(0, 2**32),
    more=st.booleans(),
)
def test_any_records_in_any_order_and_batches_settle_in_the_specified_state(
    chosen: list[Record], basis: list[Record], seed: int, more: bool
) -> None:
    """Rights come and go at any moment; what is not here is offered again, as peers do."""
    chance = random.Random(seed)
    seen = [*chosen, *(BASIS if more else basis)]
    chance.shuffle(seen)
    world = World(OWN.id)
    start = 0
    while start < len(seen):
        size = chance.choice([1, 1, 2, 3, 8, 40])
        world.take(*seen[start : start + size])
        start += size
    world.settle(seen)
    assert world.state()[0] == specified(OWN.id, seen)
    before = world.state()
    world.take(*seen)
    assert world.state() == before, "taking everything in again changes nothing"


@settings(max_examples=200, deadline=None)
@given(chosen=st.lists(st.sampled_from(POOL), max_size=60), seed=st.integers(0, 2**32))
def test_while_no_right_is_lost_every_cut_ends_alike_at_once(chosen: list[Record], seed: int) -> None:
    """With the authority in place, nothing needs to be offered twice."""
    data = [record for record in chosen if record.header.kind in {"offer", "need"}]
    chance = random.Random(seed)
    worlds = []
    for _ in range(2):
        chance.shuffle(data)
        world = World(OWN.id)
        world.take(*BASIS)
        start = 0
        while start < len(data):
            size = chance.choice([1, 2, 5, 60])
            world.take(*data[start : start + size])
            start += size
        worlds.append(world.state())
    assert worlds[0] == worlds[1]
    assert worlds[0][0] == specified(OWN.id, [*BASIS, *data])


@settings(max_examples=100, deadline=None)
@given(
    left=st.lists(st.sampled_from(POOL), max_size=40),
    right=st.lists(st.sampled_from(POOL), max_size=40),
)
def test_two_nodes_that_hand_each_other_what_they_hold_become_one(
    left: list[Record], right: list[Record]
) -> None:
    """prune(A | B) is prune(prune(A) | prune(B)) for the whole rule: merge, quota and ends at one now."""
    here, there = World(OWN.id), World(OWN.id)
    seen = [record for record in left + right if record.header.kind in {"offer", "need"}]
    for world, records in ((here, left), (there, right)):
        world.take(*BASIS, *(record for record in records if record.header.kind in {"offer", "need"}))
    ours, theirs = ([world.kept[id] for id in world.held] for world in (here, there))
    here.take(*theirs)
    there.take(*ours)
    assert here.state()[0] == there.state()[0] == specified(OWN.id, [*BASIS, *seen])


# One rule at a time.


def test_a_record_is_held_in_every_adopted_federation_that_it_lists() -> None:
    """And in no other."""
    world = founded(SECOND_CHARTER, OWN.admit(HILL, BEE))
    both = BEE.write("offer", federations=[RIVER, HILL])
    assert [(v.state, v.cause) for v in world.take(both)] == [(State.HELD, HELD_NOW)]
    assert world.held[both.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}
    assert [(v.state, v.cause) for v in world.take(both, both)] == [(State.HELD, KNOWN)] * 2


def test_a_held_record_enters_a_federation_that_is_adopted_later() -> None:
    """In the very batch that brings the charter."""
    both = OWN.write("offer", federations=[RIVER, HILL])
    world = founded(both)
    assert world.held[both.id] == {(RIVER, Lane.URGENT)}
    world.take(SECOND_CHARTER)
    assert world.held[both.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}


def test_own_records_without_federations_stay_at_home_and_those_of_others_are_not_ours() -> None:
    """The home set never leaves the town."""
    world = founded()
    mine, theirs = OWN.write("note", lane=Lane.LIBRARY), BEE.write("note")
    verdicts = world.take(mine, theirs)
    assert [(v.state, v.cause) for v in verdicts] == [(State.HELD, HELD_NOW), (State.DROPPED, NOT_OURS)]
    assert world.held[mine.id] == {(home_id(OWN.id), Lane.LIBRARY)}
    assert world.take(theirs)[0].cause == NOT_OURS


def test_records_of_the_town_are_held_wherever_it_is_a_member() -> None:
    """Profiles and certificates list no federation, yet each that the town is in has them."""
    world = founded(SECOND_CHARTER, OWN.admit(HILL, BEE))
    profile = BEE.write("town.profile", lane=Lane.EVERYDAY)
    world.take(profile)
    assert world.held[profile.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}
    assert world.held[OWN.certificate().id] == {
        (home_id(OWN.id), Lane.URGENT), (RIVER, Lane.URGENT), (HILL, Lane.URGENT)
    }  # fmt: skip


def test_what_waits_says_for_what() -> None:
    """A device without certificate, a town that is no member, a federation that is not ours."""
    world = founded()
    verdicts = world.take(
        BEE.write("offer", federations=[RIVER], device=2),
        SEA.write("offer", federations=[RIVER]),
        SEA.write("offer", federations=[HILL]),
        SEA.write("town.profile"),
        SEA.join(HILL),
        BEE.charter("unjoined", [BEE]),
        OWN.write("note", device=3),
    )
    assert [(v.state, v.cause) for v in verdicts] == [
        (State.PARKED, UNCERTIFIED),
        (State.PARKED, NOT_MEMBER),
        (State.NOT_NOW, UNKNOWN_FEDERATION),
        (State.PARKED, NOT_MEMBER),
        (State.PARKED, UNKNOWN_FEDERATION),
        (State.PARKED, UNKNOWN_FEDERATION),
        (State.PARKED, UNCERTIFIED),
    ]


def test_a_charter_is_neither_replaced_nor_taken_back() -> None:
    """A put or a delete of a charter is refused for good; two charters of one document are two roots."""
    world = founded()
    delete = BEE.write("charter", "Along the river", op=Op.DELETE)
    verdict = world.take(delete)[0]
    assert (verdict.state, verdict.cause) == (State.DROPPED, CHARTER_STANDS)
    twin = BEE.write("charter", "Along the river", op=Op.ENTRY, fields={"name": "twin"}, stamp=9)
    assert twin.doc == CHARTER.doc
    world.take(twin)
    assert world.held[CHARTER.id] == {(RIVER, Lane.URGENT)}
    roots = [OWN.write("charter", "x", op=Op.ENTRY, stamp=stamp) for stamp in (1, 2)]
    assert {v.state for v in world.take(*roots)} == {State.HELD}


def test_what_ended_is_dropped_and_what_lies_ahead_is_not_now() -> None:
    """Both only when time is sure; an unsure node refuses nothing for its time."""
    ended = BEE.write("offer", "ended", federations=[RIVER], born=NOW_S - 9, expires=NOW_S)
    ahead = BEE.write("offer", "ahead", federations=[RIVER], born=NOW_S + DAY_S + 1)
    stamped = BEE.write("need", "ahead", federations=[RIVER], stamp=stamp_at((NOW_S + DAY_S) * 1_000) + 1)
    just = BEE.write("need", "just", federations=[RIVER], stamp=stamp_at((NOW_S + DAY_S) * 1_000))
    world = founded()
    assert [(v.state, v.cause) for v in world.take(ended, ahead, stamped, just)] == [
        (State.DROPPED, EXPIRED),
        (State.NOT_NOW, FUTURE),
        (State.NOT_NOW, FUTURE),
        (State.HELD, HELD_NOW),
    ]
    unsure = World(OWN.id, sure=False)
    unsure.take(*FOUNDATION)
    assert {v.state for v in unsure.take(ended, stamped)} == {State.HELD}


def test_authority_that_ended_or_lies_ahead_gives_no_right() -> None:
    """A certificate past its end certifies nothing, even in the batch that brings it."""
    world = World(OWN.id)
    ended = BEE.certificate(expires=NOW_S + 1)
    world.now_s += 1
    ahead = BEE.write("town.device", "a", fields={"device": BEE.device().public}, born=NOW_S + 3 * DAY_S)
    verdicts = world.take(*[each for each in FOUNDATION if each.header.town != BEE.id], CHARTER, ended, ahead)
    assert [(v.state, v.cause) for v in verdicts[-2:]] == [(State.DROPPED, EXPIRED), (State.NOT_NOW, FUTURE)]
    assert world.take(BEE.write("offer", federations=[RIVER]))[0].cause == UNCERTIFIED


def test_a_superseded_record_names_what_stands_and_is_remembered() -> None:
    """Within one batch, across batches, and when what superseded it is superseded in turn."""
    world = founded()
    puts = [BEE.write("offer", federations=[RIVER], stamp=stamp) for stamp in (1, 2, 3)]
    verdicts = world.take(puts[1], puts[0])
    assert (verdicts[1].state, verdicts[1].cause, verdicts[1].because) == (
        State.DROPPED,
        SUPERSEDED,
        puts[1].id,
    )
    world.take(puts[2])
    assert world.take(puts[0])[0].state is State.DROPPED
    assert world.take(puts[1])[0].because == puts[2].id


def test_records_that_wait_do_not_merge_until_they_may() -> None:
    """A stranger's delete, signed by no certified device, kills nothing; certified, it does."""
    world = founded()
    offer = BEE.write("offer", federations=[RIVER])
    delete = BEE.write("offer", federations=[RIVER], op=Op.DELETE, device=2)
    assert [v.state for v in world.take(delete, offer)] == [State.PARKED, State.HELD]
    world.take(BEE.certificate(2))
    assert delete.id in world.held and offer.id not in world.held


def test_what_a_device_wrote_waits_again_when_its_certificate_ends() -> None:
    """And what it had superseded is welcome again, even in the same batch."""
    first = BEE.write("offer", federations=[RIVER], stamp=1)
    second = BEE.write("offer", federations=[RIVER], stamp=2, device=2)
    world = founded(BEE.certificate(2), first, second)
    assert first.id not in world.held
    verdicts = world.take(first, BEE.certificate(2, op=Op.DELETE))
    assert [v.state for v in verdicts] == [State.HELD, State.HELD]
    assert second.id in world.waiting


def test_the_end_of_an_admission_takes_the_town_out_of_that_federation_only() -> None:
    """Its records leave those lanes, wait if they have no other, and are back when it is admitted again."""
    world = founded(BEE.admit(RIVER, SEA), SECOND_CHARTER)
    one, both = SEA.write("need", federations=[RIVER]), SEA.write("offer", federations=[RIVER, HILL])
    world.take(one, both)
    assert world.held[both.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}
    world.take(BEE.admit(RIVER, SEA, op=Op.DELETE))
    assert world.held[both.id] == {(HILL, Lane.URGENT)}
    assert world.waiting[one.id] == NOT_MEMBER
    again = BEE.write("federation.admit", "again", fields={"town": SEA.id}, federations=[RIVER])
    world.take(again)
    assert world.held[one.id] == {(RIVER, Lane.URGENT)}
    assert world.held[both.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}


def test_leaving_a_federation_is_remembered_at_home() -> None:
    """A peer that still holds the consent does not bring it back."""
    offer = BEE.write("offer", federations=[RIVER])
    world = founded(offer)
    world.take(OWN.join(RIVER, op=Op.DELETE))
    assert RIVER not in world.authority.federations
    assert offer.id in world.waiting
    assert world.take(OWN.join(RIVER))[0].cause == SUPERSEDED
    assert world.held[OWN.join(RIVER, op=Op.DELETE).id] == {(home_id(OWN.id), Lane.URGENT)}


def test_a_document_without_room_in_one_federation_keeps_its_place_in_the_other() -> None:
    """Quota ranks in each held set alone."""
    world = founded(SECOND_CHARTER, OWN.admit(HILL, BEE))
    old = BEE.write("offer", "old", federations=[RIVER, HILL], born=NOW_S - 9)
    new = BEE.write("offer", "new", federations=[HILL])
    edit = BEE.write("offer", "old", federations=[RIVER, HILL], born=NOW_S - 9, stamp=1)
    world.take(old, new)
    assert world.held[old.id] == {(RIVER, Lane.URGENT)}
    world.take(edit)
    assert world.held[edit.id] == {(RIVER, Lane.URGENT)} and old.id not in world.held


def test_a_document_returns_to_a_held_set_that_has_room_again_when_it_is_offered_again() -> None:
    """It is held elsewhere all the while; peers who have it in both bring it, and the oracle has it there."""
    world = founded(SECOND_CHARTER, OWN.admit(HILL, BEE))
    old = BEE.write("offer", "old", federations=[RIVER, HILL], born=NOW_S - 9)
    new = BEE.write("offer", "new", federations=[HILL], expires=NOW_S + 10)
    world.take(old, new)
    assert world.held[old.id] == {(RIVER, Lane.URGENT)}
    seen = [*world.kept.values(), old]
    world.now_s += 10
    world.end()
    assert [(v.state, v.cause) for v in world.take(old)] == [(State.HELD, KNOWN)]
    assert world.held[old.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}
    assert world.state()[0] == specified(OWN.id, seen, world.now_s)


def test_all_records_of_a_document_enter_where_one_of_them_finds_room() -> None:
    """A revision that comes when there is room again brings those before it along."""
    world = founded(SECOND_CHARTER, OWN.admit(HILL, BEE))
    first, second = (
        BEE.write("practice", "g", op=Op.ENTRY, federations=[RIVER, HILL], born=NOW_S - 9, stamp=stamp)
        for stamp in (1, 2)
    )
    new = BEE.write("offer", "new", federations=[HILL], expires=NOW_S + 10)
    world.take(first, new)
    assert world.held[first.id] == {(RIVER, Lane.URGENT)}
    world.now_s += 10
    world.end()
    world.take(second)
    assert world.held[first.id] == world.held[second.id] == {(RIVER, Lane.URGENT), (HILL, Lane.URGENT)}


@settings(max_examples=200, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(range(24)), max_size=40),
    seed=st.integers(0, 2**32),
)
def test_when_room_is_left_behind_every_history_settles_in_the_specified_state(
    chosen: list[int], seed: int
) -> None:
    """Documents of two federations, whose lanes have different room, while some of them end."""
    chance = random.Random(seed)
    seen = [*BASIS, *(crowd()[number] for number in chosen)]
    worlds = []
    for _ in range(2):
        chance.shuffle(seen)
        world, start = World(OWN.id), 0
        while start < len(seen):
            size = chance.choice([1, 2, 5, 60])
            world.take(*seen[start : start + size])
            start += size
            if start > len(seen) // 2:
                world.now_s = NOW_S + 10
                world.end()
        world.now_s = NOW_S + 10
        world.end()
        world.settle(seen)
        worlds.append(world.state()[0])
    assert worlds[0] == worlds[1] == specified(OWN.id, seen, NOW_S + 10)


def crowd() -> list[Record]:
    """Return revisions, edits and ends of documents of one or two federations, half of which end early."""
    return [
        BEE.write(
            "offer", f"{audience} {age}", op=op, born=NOW_S - age, stamp=int(op), device=device,
            federations=[[RIVER], [HILL], [RIVER, HILL]][audience],
            expires=NOW_S + 10 if age % 2 else FAR_S,
        )
        for audience in range(3)
        for age in range(4)
        for op, device in ((Op.PUT, 1), (Op.ENTRY, 2))
    ]  # fmt: skip


def test_a_document_pushed_out_by_its_own_batch_is_told_so() -> None:
    """Even a record that was held when the batch came."""
    old = BEE.write("offer", "old", federations=[RIVER], born=NOW_S - 9)
    world = founded(old)
    verdicts = world.take(old, *(BEE.write("offer", f"new {i}", federations=[RIVER]) for i in range(2)))
    assert [(v.state, v.cause) for v in verdicts] == [
        (State.NOT_NOW, QUOTA),
        (State.HELD, HELD_NOW),
        (State.HELD, HELD_NOW),
    ]


def test_parked_records_beyond_the_quota_are_let_go_when_they_may_stand() -> None:
    """Three waited, two fit: the newest."""
    world = founded()
    waiting = [SEA.write("need", str(i), federations=[RIVER], born=NOW_S - i) for i in range(3)]
    world.take(*waiting)
    world.take(BEE.admit(RIVER, SEA))
    assert [record.id in world.held for record in waiting] == [True, True, False]
    assert not world.waiting


def test_authority_is_outside_quotas() -> None:
    """However many posts a steward makes, none of its admissions is pushed out."""
    world = founded(BEE.admit(RIVER, SEA))
    world.take(*(BEE.write("alert", str(i), federations=[RIVER]) for i in range(5)))
    assert world.authority.is_member(RIVER, SEA.id)
    assert world.document_count((RIVER, Lane.URGENT), BEE.id) == 2


# Time.


def test_ends_come_for_whole_documents_and_take_their_rights_along() -> None:
    """A certificate that ends leaves its device's records waiting; a document ends with its deletion."""
    world = World(OWN.id)
    world.take(*(each for each in FOUNDATION if each.id != BEE.certificate().id))
    short = BEE.certificate(expires=NOW_S + 10)
    offer = BEE.write("offer", federations=[RIVER])
    gone = BEE.write("need", federations=[RIVER], op=Op.DELETE, expires=NOW_S + 10)
    parked = SEA.write("need", federations=[RIVER], expires=NOW_S + 10)
    world.take(short, offer, gone, parked)
    seen = [*world.kept.values()]
    world.end()
    assert offer.id in world.held and parked.id in world.waiting
    world.now_s = NOW_S + 10
    world.end(limit=1)
    assert offer.id in world.waiting and not {gone.id, short.id} & world.held.keys()
    assert world.state()[0] == specified(OWN.id, seen, NOW_S + 10)
    assert parked.id not in world.waiting


def test_an_unsure_node_ends_nothing() -> None:
    """It may be 1970, or 2099."""
    world = founded(BEE.write("offer", federations=[RIVER], expires=NOW_S + 1))
    changes = expire(world, world.authority, (NOW_S + 5) * 1_000, sure=False)
    assert not changes.remove


def test_what_was_taken_in_without_a_sure_clock_leaves_when_it_proves_to_lie_ahead() -> None:
    """And what it superseded is welcome again, so that boards agree with those that were always sure."""
    world = World(OWN.id, sure=False)
    now, far = (BEE.write("offer", federations=[RIVER], stamp=stamp) for stamp in (1, STAMP_MAX))
    early = BEE.write("offer", "early", federations=[RIVER], born=NOW_S + 3 * DAY_S)
    world.take(*FOUNDATION, now, far, early)
    assert far.id in world.held
    world.sure = True
    world.end(limit=1)
    assert not {now.id, far.id, early.id} & world.held.keys()
    verdicts = world.take(now, far, early)
    assert [(v.state, v.cause) for v in verdicts] == [
        (State.HELD, HELD_NOW),
        (State.NOT_NOW, FUTURE),
        (State.NOT_NOW, FUTURE),
    ]


def test_what_was_taken_in_without_a_sure_clock_leaves_as_well_when_rights_move() -> None:
    """Its town is admitted elsewhere once time is sure; what lies ahead enters nowhere."""
    world = World(OWN.id, sure=False)
    early = BEE.write("offer", "early", federations=[RIVER, HILL], born=NOW_S + 3 * DAY_S)
    world.take(*FOUNDATION, SECOND_CHARTER, early)
    world.sure = True
    world.take(OWN.admit(HILL, BEE))
    assert early.id not in world.held


def test_a_right_that_proves_to_lie_ahead_ends_with_its_record() -> None:
    """An admission from a year to come counts only while time is not sure."""
    world = World(OWN.id, sure=False)
    admit = BEE.admit(RIVER, SEA, stamp=STAMP_MAX)
    need = SEA.write("need", federations=[RIVER])
    world.take(*FOUNDATION, SEA.certificate(), admit, need)
    assert need.id in world.held
    world.sure = True
    world.end()
    assert admit.id not in world.held and world.waiting[need.id] == NOT_MEMBER


def test_rights_that_end_take_along_what_is_like_a_record_that_ended_with_them() -> None:
    """Two offers of one device, one of which ends at the same second as the device's certificate."""
    world = World(OWN.id)
    world.take(*(each for each in FOUNDATION if each.id != BEE.certificate().id))
    world.take(BEE.certificate(expires=NOW_S + 10))
    short, long = (
        BEE.write("offer", str(end), federations=[RIVER], expires=end) for end in (NOW_S + 10, FAR_S)
    )
    world.take(short, long)
    world.now_s += 10
    world.end()
    assert world.waiting[long.id] == UNCERTIFIED and short.id not in world.held


@settings(max_examples=100, deadline=None)
@given(chosen=st.lists(st.sampled_from(POOL), max_size=40), seed=st.integers(0, 2**32))
def test_a_node_whose_clock_becomes_sure_settles_in_the_specified_state(
    chosen: list[Record], seed: int
) -> None:
    """Whatever it took in before that, at whatever moment that was."""
    chance = random.Random(seed)
    seen = [*chosen, *BASIS]
    chance.shuffle(seen)
    world = World(OWN.id, sure=False)
    start, sure_from = 0, chance.randrange(len(seen))
    while start < len(seen):
        size = chance.choice([1, 2, 5, 40])
        world.take(*seen[start : start + size])
        start += size
        world.sure = start > sure_from
    world.sure = True
    world.end()
    world.settle(seen)
    assert world.state()[0] == specified(OWN.id, seen)


def test_an_empty_batch_changes_nothing() -> None:
    """It is lawful, and free."""
    changes = judge([], World(OWN.id), World(OWN.id).authority, 0, True)
    assert not changes.verdicts and not changes.hold


def copied(world: World) -> World:
    """Return an independent copy of a world."""
    twin = World(world.own, now_s=world.now_s, sure=world.sure)
    twin.authority = world.authority
    twin.kept, twin.held = dict(world.kept), dict(world.held)
    twin.waiting, twin.dropped = dict(world.waiting), dict(world.dropped)
    return twin
