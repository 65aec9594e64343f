"""Judging comes out the same however the same records are cut, ordered and repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import combinations_with_replacement, permutations
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import limits
from protocol.clock import stamp_at
from protocol.encoding import Value
from protocol.ids import Lane, Op
from protocol.limits import STAMP_MAX
from protocol.record import Record
from tests.sync.river import BEE, CHARTER, FOUNDATION, HILL, OWN, RIVER, SEA, SECOND_CHARTER, founded
from tests.sync.specified import specified
from tests.sync.world import FAR_S, NOW_S, Town, World

pytestmark = pytest.mark.law

DAY_S = 86_400
GREATEST_STAMP = stamp_at((NOW_S + DAY_S) * 1_000)


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


def copied(world: World) -> World:
    """Return an independent copy of a world."""
    twin = World(world.own, now_s=world.now_s, sure=world.sure)
    twin.authority = world.authority
    twin.kept, twin.held = dict(world.kept), dict(world.held)
    twin.waiting, twin.dropped = dict(world.waiting), dict(world.dropped)
    return twin


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


def acts() -> list[Record]:
    """Return more certificates, admissions, consents and facts of towns than have room, some withdrawn."""
    found: list[Record] = []
    for age in range(6):
        for op, stamp in ((Op.PUT, 0), (Op.DELETE, 1)) if age % 2 else ((Op.PUT, 0),):
            more: dict[str, Any] = {
                "op": op,
                "stamp": stamp,
                "born": NOW_S - age,
                "expires": NOW_S + 10 if age == 1 else FAR_S,
            }
            for town in (BEE, SEA):
                device: dict[str, Value] = {"device": town.device(1 + age % 3).public}
                found.append(town.write("town.device", f"more {age}", fields=device, **more))
                found.append(town.write("town.profile", f"more {age}", **more))
                found.append(town.write("town.unheard-of", f"more {age}", **more))
                found.append(town.write("federation.join", f"more {age}", federations=[RIVER], **more))
                admitted: dict[str, Value] = {"town": [OWN, SEA, Town("elm")][age % 3].id}
                for audience in ([RIVER], [RIVER, HILL]):
                    found.append(
                        town.write(
                            "federation.admit", f"{age}", fields=admitted, federations=audience, **more
                        )
                    )
    return [*found, Town("elm").certificate(), Town("elm").write("need", federations=[RIVER])]


ACTS = acts()


@settings(max_examples=200, deadline=None)
@given(
    chosen=st.lists(st.sampled_from([*ACTS, *ACTS, *POOL]), max_size=60),
    room=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    seed=st.integers(0, 2**32),
)
def test_with_little_room_for_acts_every_history_settles_in_the_specified_state(
    chosen: list[Record], room: tuple[int, int, int], seed: int
) -> None:
    """What says who may act is bounded as well, and everyone resolves the same from what has room."""
    names = ("CERTIFICATES_MAX", "ACTS_MAX", "FEW_MAX")
    with ExitStack() as stack:
        for name, most in zip(names, room, strict=True):
            stack.enter_context(mock.patch.object(limits, name, most))
        chance = random.Random(seed)
        seen = [*chosen, *BASIS]
        worlds = []
        for _ in range(2):
            chance.shuffle(seen)
            world, start = World(OWN.id), 0
            while start < len(seen):
                size = chance.choice([1, 1, 2, 5, 60])
                world.take(*seen[start : start + size])
                start += size
            world.settle(seen)
            assert world.state()[0] == specified(OWN.id, seen)
            world.now_s += 10
            world.end()
            world.settle(seen)
            worlds.append(world.state()[0])
        assert worlds[0] == worlds[1] == specified(OWN.id, seen, NOW_S + 10)
