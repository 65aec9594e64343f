"""What a town takes back, and what it keeps: one result in all orders, whatever the thief signs and dates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.encoding import Value
from protocol.ids import Lane, Op
from protocol.limits import KEEPS_MAX, REVOCATIONS_MAX, SUCCESSORS_MAX
from protocol.record import Record
from sync.admission import State
from sync.authority import ACT_STANDS, NO_SUCCESSOR, UNCERTIFIED, resolve
from sync.devices import Rights
from tests.sync.river import BEE, CHARTER, OWN, RIVER, SEA
from tests.sync.specified import specified
from tests.sync.world import NOW_S, Town, World, device_of

BASIS = [
    CHARTER,
    OWN.certificate(1),
    OWN.certificate(2),
    BEE.certificate(1),
    BEE.certificate(2),
    OWN.join(RIVER),
    BEE.admit(RIVER, OWN),
]
HONEST = OWN.write("offer", "x", federations=[RIVER], stamp=5)
THEFT = OWN.write("offer", "x", federations=[RIVER], stamp=9, device=2, fields={"title": "stolen"})
HARM = OWN.write("offer", "x", federations=[RIVER], stamp=7, device=2, op=Op.DELETE)
GOOD = OWN.write("need", "y", federations=[RIVER], stamp=3, device=2)
OLD = OWN.write("need", "z", federations=[RIVER], stamp=1, device=2, born=NOW_S - 900)


def world_of(town: Town, *records: Record) -> World:
    """Return a town's world with the basis and more in it."""
    world = World(town.id)
    world.take(*BASIS, *records)
    return world


def copied(world: World) -> World:
    """Return an independent copy."""
    twin = World(world.own, now_s=world.now_s, sure=world.sure)
    twin.authority = world.authority
    twin.kept, twin.held, twin.drawn = dict(world.kept), dict(world.held), dict(world.drawn)
    twin.waiting, twin.dropped = dict(world.waiting), dict(world.dropped)
    return twin


def keys_of(world: World) -> list[bytes]:
    """Return the own town's keys, the present one last."""
    return list(map(bytes, world.authority.rights_of(OWN.id).keys))


def held_ids(world: World, lane: Lane = Lane.URGENT) -> frozenset[bytes]:
    """Return what the river's lane holds."""
    return frozenset(world.state()[0].get((RIVER, lane), frozenset()))


def leaves_for_a_while(records: Sequence[Record]) -> bool:
    """Tell whether these may take back the device that wrote the own town's consent."""
    return any(each.header.kind == "town.rotate" or each.id in {OWN.revoke(1).id} for each in records)


def in_all_orders(town: Town, records: Sequence[Record], *more: Record) -> None:
    """Take the records in every order, one by one and in pairs; each way ends in the specified state.

    The own town needs nobody's help for that, unless it was out of the federation meanwhile: what came then
    is "not now", and comes again. Other towns get what they let go of from it again.
    """
    base = world_of(town, *more)
    expected = specified(town.id, [*BASIS, *more, *records])
    every = 1 if town is OWN else 5
    for number, order in enumerate(list(permutations(records))[::every]):
        world = copied(base)
        size = 1 + number % 2
        for start in range(0, len(order), size):
            world.take(*order[start : start + size])
        if town is not OWN or leaves_for_a_while(records):
            world.settle([*BASIS, *more, *records])
        assert world.state()[0] == expected, [each.header.kind for each in order]


# Revocation and keep lists.


@pytest.mark.law
@pytest.mark.parametrize("town", [OWN, BEE], ids=["at home", "at a neighbour"])
@pytest.mark.parametrize(
    "story",
    [
        [HONEST, THEFT, OWN.revoke(2)],
        [HONEST, HARM, OWN.revoke(2)],
        [HONEST, THEFT, HARM, OWN.revoke(2), OWN.keep(THEFT)],
        [HONEST, THEFT, GOOD, OWN.revoke(2), OWN.keep(GOOD)],
        [HONEST, HARM, OLD, OWN.revoke(2, stamp=4), OWN.keep(OLD, stamp=6)],
        [GOOD, OLD, OWN.revoke(2), OWN.keep(GOOD), OWN.keep(OLD, stamp=3)],
        [HONEST, THEFT, OWN.revoke(2), OWN.revoke(2, stamp=8), OWN.revoke(1)],
        [THEFT, OWN.revoke(2), OWN.revoke(1), OWN.keep(HONEST), HONEST],
        [GOOD, OWN.revoke(2), OWN.certificate(2, stamp=99), OWN.keep(OLD)],
        [GOOD, OWN.certificate(2, op=Op.DELETE), OWN.revoke(2), OWN.keep(GOOD)],
    ],
    ids=range(10),
)
def test_revocations_and_lists_come_out_the_same_in_every_order(town: Town, story: list[Record]) -> None:
    in_all_orders(town, story)


def test_of_a_revoked_device_only_what_is_kept_stays_whatever_its_stamp_or_birth() -> None:
    """Both are the thief's own words."""
    world = world_of(OWN, HONEST, GOOD, OLD, THEFT, OWN.revoke(2), OWN.keep(GOOD))
    assert {HONEST.id, GOOD.id} <= held_ids(world)
    assert not {OLD.id, THEFT.id} & held_ids(world)
    backdated = OWN.write("need", "w", federations=[RIVER], device=2, born=NOW_S - 9_000_000, stamp=0)
    late = OWN.write("need", "v", federations=[RIVER], device=2, stamp=99)
    assert [(each.state, each.cause) for each in world.take(backdated, late)] == [
        (State.PARKED, UNCERTIFIED)
    ] * 2


def test_what_was_kept_after_all_comes_back() -> None:
    world = world_of(OWN, HONEST, THEFT, OWN.revoke(2))
    assert HONEST.id in held_ids(world)
    world.take(OWN.keep(THEFT))
    assert THEFT.id in held_ids(world) and HONEST.id not in held_ids(world)


def test_what_authority_ceases_to_hold_waits_and_is_not_erased() -> None:
    world = world_of(OWN, GOOD)
    world.take(OWN.revoke(2))
    assert world.waiting.get(GOOD.id) == UNCERTIFIED
    world.take(OWN.keep(GOOD))
    assert GOOD.id in held_ids(world)


def test_what_a_thief_withdrew_overwrote_or_crowded_out_comes_back_at_home() -> None:
    """The quota of the urgent lane is two documents of a town; the thief's are newer."""
    first = OWN.write("offer", "1", federations=[RIVER])
    second = OWN.write("offer", "2", federations=[RIVER])
    crowd = [
        OWN.write("offer", f"crowd {number}", federations=[RIVER], device=2, born=NOW_S + 9)
        for number in (1, 2)
    ]
    gone = OWN.write("offer", "2", federations=[RIVER], device=2, stamp=99, op=Op.DELETE)
    world = world_of(OWN, first, second)
    world.take(gone)
    world.take(*crowd)
    assert not {first.id, second.id} & held_ids(world)
    world.take(OWN.revoke(2))
    assert {first.id, second.id} <= held_ids(world)
    assert world.state()[0] == specified(OWN.id, [*BASIS, first, second, *crowd, gone, OWN.revoke(2)])


def test_a_revocation_cannot_be_taken_back() -> None:
    """Neither by a delete nor by a put of its document, nor by a new certificate."""
    revocation = OWN.revoke(2)
    world = world_of(OWN, revocation)
    fields: dict[str, Value] = {"device": OWN.device(2).public}
    tries = [
        OWN.write("town.revoke", "2", op=Op.DELETE, stamp=99),
        OWN.write("town.revoke", "2", op=Op.PUT, fields=fields, stamp=99),
        OWN.write("town.keep", "keep", op=Op.DELETE, stamp=99),
    ]
    assert [(each.state, each.cause) for each in world.take(*tries)] == [(State.DROPPED, ACT_STANDS)] * 3
    world.take(OWN.certificate(2, stamp=99))
    assert revocation.id in held_ids(world)
    assert not world.authority.is_certified(OWN.id, device_of(OWN, 2))


def test_only_the_town_key_takes_back_and_keeps() -> None:
    """A device cannot, nor another town, nor can anybody revoke a town key."""
    fields: dict[str, Value] = {"device": OWN.device(1).public}
    by_device = OWN.write("town.revoke", "a", op=Op.ENTRY, fields=fields, key=OWN.device(2))
    by_other = OWN.write("town.revoke", "b", op=Op.ENTRY, fields=fields, key=BEE.key)
    of_key = OWN.write("town.revoke", "c", op=Op.ENTRY, fields={"device": OWN.id})
    world = world_of(OWN)
    assert [each.cause for each in world.take(by_device, by_other, of_key)] == [
        UNCERTIFIED,
        UNCERTIFIED,
        "held",
    ]
    assert world.authority.is_certified(OWN.id, device_of(OWN, 1))
    assert world.authority.rights[OWN.id].is_certified(device_of(OWN, 1))
    assert OWN.certificate(3).id in {each.id for each in world.take(OWN.certificate(3))}


def test_a_device_that_another_town_revokes_goes_on_for_its_own() -> None:
    world = world_of(OWN, BEE.write("town.revoke", "x", op=Op.ENTRY, fields={"device": OWN.device(2).public}))
    assert world.authority.is_certified(OWN.id, device_of(OWN, 2))


def test_a_list_that_cannot_be_read_keeps_nothing() -> None:
    bad: list[dict[str, Value]] = [{}, {"records": [b"short"]}, {"records": "no list"}, {"records": [7]}]
    lists = [OWN.write("town.keep", "keep", op=Op.ENTRY, fields=fields) for fields in bad]
    assert resolve(OWN.id, [*BASIS, *lists]).rights[OWN.id].kept == frozenset()


def test_so_many_revocations_and_lists_of_a_town_count_and_no_more() -> None:
    lists = [OWN.keep(stamp=number) for number in range(KEEPS_MAX + 3)]
    names = [
        OWN.write("town.revoke", "r", op=Op.ENTRY, fields={"device": bytes([number]) * 32}, stamp=number)
        for number in range(REVOCATIONS_MAX + 2)
    ]
    rights = resolve(OWN.id, [*BASIS, *lists, *names]).rights[OWN.id]
    assert rights.acts == {each.id for each in (*lists[3:], *names[2:])}
    assert rights.revoked == {bytes([number]) * 32 for number in range(2, REVOCATIONS_MAX + 2)}


# Rotation.


THIEF_CERTIFIES = OWN.certificate(3, stamp=50)
THIEF_WITHDRAWS = OWN.certificate(1, op=Op.DELETE, stamp=50)
THIEF_REVOKES = OWN.revoke(1, stamp=50)
NEW_KEY = OWN.later_key(1)


@pytest.mark.parametrize("town", [OWN, BEE], ids=["at home", "at a neighbour"])
@pytest.mark.parametrize(
    "story",
    [
        [THIEF_CERTIFIES, OWN.rotate(), OWN.keep(OWN.certificate(1), key=NEW_KEY)],
        [THIEF_WITHDRAWS, OWN.rotate(), OWN.keep(OWN.certificate(1), key=NEW_KEY), HONEST],
        [THIEF_REVOKES, OWN.rotate(), OWN.keep(OWN.certificate(1), key=NEW_KEY), HONEST],
        [OWN.revoke(2), OWN.rotate(), OWN.keep(OWN.certificate(1), OWN.revoke(2), key=NEW_KEY), THEFT],
        [OWN.rotate(1), OWN.rotate(2), OWN.certificate(1, key=OWN.later_key(2)), HONEST],
        [OWN.rotate(1), OWN.rotate(1, stamp=8), OWN.certificate(2, key=NEW_KEY), OWN.revoke(1)],
        [
            OWN.keep(GOOD),
            OWN.revoke(2),
            OWN.rotate(1),
            OWN.keep(OWN.revoke(2), OWN.keep(GOOD), key=NEW_KEY),
            GOOD,
        ],
    ],
    ids=range(7),
)
def test_rotations_come_out_the_same_in_every_order(town: Town, story: list[Record]) -> None:
    in_all_orders(town, story)


def test_after_a_rotation_the_former_key_has_no_say_but_in_what_is_kept() -> None:
    world = world_of(OWN, THIEF_CERTIFIES, THIEF_WITHDRAWS, OWN.rotate())
    rights = world.authority.rights[OWN.id]
    assert keys_of(world) == [OWN.id, NEW_KEY.public]
    assert rights.devices == frozenset()
    world.take(OWN.keep(OWN.certificate(1), key=NEW_KEY))
    assert world.authority.rights[OWN.id].devices == {device_of(OWN, 1)}
    assert world.authority.is_town_key(OWN.id, device_of(OWN, 1)) is False
    assert all(world.authority.is_town_key(OWN.id, key) for key in rights.keys)
    profile = OWN.write("town.profile", "p", fields={"name": "The thief's"})
    assert [each.cause for each in world.take(profile)] == [UNCERTIFIED]
    assert [each.state for each in world.take(OWN.write("town.profile", "p", key=NEW_KEY))] == [State.HELD]


def test_a_thief_of_the_town_key_moves_the_succession_by_nothing_that_he_signs() -> None:
    """Not by a profile that names one of his own, dated before the town was founded, nor by his own chain."""
    thief = Town("thief")
    proof: list[Value] = list(thief.later_key(1).succession)
    claims = [
        OWN.write("town.profile", "p", fields={"next_key_hash": bytes(32), "succession": proof}, born=1),
        OWN.write(
            "town.rotate", "r", op=Op.ENTRY, fields={"succession": proof}, key=thief.later_key(1), born=1,
            expires=NOW_S + 9,
        ),
        OWN.write("town.rotate", "r", op=Op.ENTRY, fields={"succession": [OWN.key.inner]}, key=thief.key),
        OWN.write("town.rotate", "r", op=Op.ENTRY, fields={"succession": []}),
        OWN.write("town.rotate", "r", op=Op.ENTRY, fields={"succession": list(NEW_KEY.succession)}),
    ]  # fmt: skip
    world = world_of(OWN)
    verdicts = world.take(*claims)
    assert [each.cause for each in verdicts[1:]] == [NO_SUCCESSOR] * 4
    assert keys_of(world) == [OWN.id]
    world.take(OWN.rotate())
    assert keys_of(world) == [OWN.id, NEW_KEY.public]


def test_a_key_that_was_left_out_is_former_and_the_greatest_generation_is_present() -> None:
    world = world_of(OWN, OWN.rotate(3))
    assert keys_of(world) == [OWN.id, OWN.later_key(3).public]
    world.take(OWN.rotate(2))
    assert keys_of(world)[-1] == OWN.later_key(3).public
    last = OWN.later_key(SUCCESSORS_MAX)
    world.take(OWN.rotate(SUCCESSORS_MAX))
    assert world.authority.is_certified(OWN.id, last.public)  # type: ignore[arg-type]
    assert not world.authority.is_certified(OWN.id, OWN.key.public)  # type: ignore[arg-type]


def test_of_many_rotations_to_one_key_one_counts_the_same_everywhere() -> None:
    shown = [OWN.rotate(1, stamp=number) for number in range(6)]
    for order in (shown, shown[::-1]):
        world = world_of(OWN, *order)
        assert {each.id for each in shown} & world.held.keys() == {min(each.id for each in shown)}


def test_a_town_without_records_may_write_with_its_town_key() -> None:
    rights = Rights(keys=(device_of(SEA),))
    assert rights.is_certified(device_of(SEA)) and not rights.is_taken_back(device_of(SEA))
    authority = resolve(OWN.id, BASIS)
    assert list(map(bytes, authority.rights_of(SEA.id).keys)) == [SEA.id]


# Everything at once.


ALPHABET = [
    HONEST, THEFT, HARM, GOOD, OLD,
    OWN.revoke(2), OWN.revoke(1), OWN.keep(GOOD), OWN.keep(THEFT, HONEST),
    OWN.certificate(2, op=Op.DELETE, stamp=4), OWN.certificate(2, stamp=8), OWN.certificate(3),
    OWN.rotate(1), OWN.rotate(2), OWN.certificate(1, key=NEW_KEY, stamp=2),
    OWN.keep(OWN.certificate(1), OWN.certificate(2), OWN.revoke(2), OWN.keep(GOOD), key=NEW_KEY),
    OWN.revoke(2, key=NEW_KEY), OWN.keep(OWN.certificate(1), HONEST, key=OWN.later_key(2)),
    OWN.write("notice", "home", stamp=2), OWN.write("notice", "home", stamp=4, device=2),
    OWN.write("town.profile", "p", stamp=2), OWN.write("town.profile", "p", stamp=6, op=Op.DELETE),
]  # fmt: skip


@pytest.mark.law
def test_sets_of_acts_come_out_the_same_in_every_order_at_home() -> None:
    """All sets of two; of three every sixteenth (all 1,540 took a minute and came out the same)."""
    base = world_of(OWN)
    for acts in [*combinations(ALPHABET, 2), *list(combinations(ALPHABET, 3))[::16]]:
        expected = specified(OWN.id, [*BASIS, *acts])
        for order in permutations(acts):
            world = copied(base)
            for record in order:
                world.take(record)
            if leaves_for_a_while(acts):
                world.settle([*BASIS, *acts])
            assert world.state()[0] == expected, [each.header.kind for each in order]


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.sampled_from(ALPHABET), max_size=14), st.lists(st.integers(1, 4), max_size=14), st.booleans()
)
def test_any_acts_in_any_batches_end_in_the_specified_state(
    acts: list[Record], sizes: list[int], home: bool
) -> None:
    town = OWN if home else BEE
    world, start = world_of(town), 0
    for size in [*sizes, len(acts)]:
        world.take(*acts[start : start + size])
        start += size
    if not home or leaves_for_a_while(acts):
        world.settle([*BASIS, *acts])
    assert world.state()[0] == specified(town.id, [*BASIS, *acts])


def test_what_ends_gives_its_right_back() -> None:
    """A revocation ends with its document, long after every record that it bars."""
    short = OWN.write(
        "town.revoke", "2", op=Op.ENTRY, fields={"device": OWN.device(2).public}, expires=NOW_S + 10
    )
    world = world_of(OWN, GOOD, short)
    world.now_s = NOW_S + 10
    world.end()
    assert GOOD.id in held_ids(world)
