"""Steps, signatures and acts at the door: what is held of them, whatever their order."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.encoding import Value
from protocol.ids import FederationId, Lane, Op
from protocol.limits import SIGNATURES_MAX, SPLIT_MAX, STAMP_MAX
from protocol.record import SIGN, STEP, Record
from sync.admission import QUOTA, STEP_STANDS, UNKNOWN_FEDERATION, UNRESOLVED, State
from sync.authority import Authority, resolve
from tests.sync.specified import specified
from tests.sync.world import Town, World, federation_of

OWN, BEE, SEA, ELM, FAR = (Town(name) for name in ("own", "bee", "sea", "elm", "far"))
CHARTER = BEE.charter("Along the river", [OWN, BEE, SEA], [ELM], vouches=2)
RIVER = federation_of(CHARTER)
OTHER = FederationId(bytes(16))
BASIS = [CHARTER, OWN.join(RIVER), *(town.certificate() for town in (OWN, BEE, SEA, ELM))]
OUT = BEE.step(CHARTER, [OWN, BEE], [ELM], vouches=2)
"""The sea is put out."""
OFFER = SEA.write("offer", federations=[RIVER])


def world_with(*records: Record) -> World:
    """Return the own town's world after these, which came together."""
    world = World(OWN.id)
    world.take(*BASIS, *records)
    return world


def test_a_step_is_held_as_soon_as_a_steward_has_written_it_and_counts_when_a_majority_has_signed() -> None:
    """What lost its right leaves in the same breath."""
    world = world_with(OFFER, OUT)
    assert world.held[OUT.id] == {(RIVER, Lane.URGENT)}
    assert OFFER.id in world.held and world.authority.is_member(RIVER, SEA.id)
    world.take(OWN.sign(OUT))
    assert OFFER.id in world.waiting and not world.authority.is_member(RIVER, SEA.id)
    assert world.authority.federations[RIVER].chain.current.id == OUT.id


def test_what_a_former_steward_signed_is_kept_though_its_town_is_no_member_any_more() -> None:
    """Else everybody who comes later would see another chain."""
    agreed = SEA.sign(OUT)
    world = world_with(OUT, agreed)
    assert not world.authority.is_member(RIVER, SEA.id)
    assert world.held.get(agreed.id) == frozenset({(RIVER, Lane.URGENT)})


def test_a_step_or_signature_to_which_nothing_leads_waits() -> None:
    """Until its parent or its step comes."""
    second = OWN.step(OUT, [OWN], [ELM])
    world = world_with()
    verdicts = world.take(second, SEA.sign(OUT), FAR.step(CHARTER, [FAR]), BEE.step(CHARTER, [BEE], device=1))
    assert [(each.state, each.cause) for each in verdicts] == [(State.PARKED, UNRESOLVED)] * 4
    world.take(OUT)
    assert world.held.keys() >= {OUT.id, SEA.sign(OUT).id, second.id}
    stranger = World(OWN.id)
    assert stranger.take(OUT)[0].cause == UNKNOWN_FEDERATION


@pytest.mark.parametrize(
    "wrong",
    [
        {"parent": b"short"},
        {"round": "1"},
        {"round": True},
        {"decides": [b"short"]},
        {"split": "all"},
        {"split": [bytes([number]) * 32 for number in range(SPLIT_MAX + 1)]},
        {"stewards": []},
        {"stewards": [7]},
        {"members": None},
        {"name": 7},
    ],
    ids=lambda wrong: str(wrong)[:40],
)
def test_a_step_that_cannot_be_read_counts_for_nothing(wrong: dict[str, Value]) -> None:
    """It waits, and is held and forwarded by nobody; so does a signature that names no step."""
    fields: dict[str, Value] = {"name": "x", "stewards": [BEE.id], "members": [], "parent": CHARTER.id}
    good = BEE.write(STEP, op=Op.ENTRY, fields=fields, federations=[RIVER], device=0)
    bad = BEE.write(STEP, op=Op.ENTRY, fields=fields | wrong, federations=[RIVER], device=0)
    nothing = BEE.write(SIGN, op=Op.ENTRY, fields={"step": b"short"}, federations=[RIVER], device=0)
    world = world_with(good, bad, nothing)
    assert good.id in world.held, "without a round it is of the first"
    assert world.waiting == {bad.id: UNRESOLVED, nothing.id: UNRESOLVED}


def test_a_step_of_two_federations_is_a_step_of_neither() -> None:
    """As an act is."""
    fields: dict[str, Value] = {"name": "x", "stewards": [BEE.id], "members": [], "parent": CHARTER.id}
    both = BEE.write(STEP, op=Op.ENTRY, fields=fields, federations=[RIVER, OTHER], device=0)
    assert world_with().take(both)[0].cause == UNRESOLVED


@pytest.mark.parametrize("op", [Op.PUT, Op.DELETE])
def test_a_put_or_a_delete_of_a_step_counts_for_nothing(op: Op) -> None:
    """It is refused for good, and what it would have replaced stands."""
    world = world_with(OUT, OWN.sign(OUT))
    odd = BEE.step(CHARTER, [OWN, BEE], [ELM], vouches=2, op=op, stamp=9)
    assert [(each.state, each.cause) for each in world.take(odd)] == [(State.DROPPED, STEP_STANDS)]
    assert OUT.id in world.held


def test_no_number_of_signatures_pushes_one_out() -> None:
    """As many as a steward likes; and of what it wrote in vain, only some is kept."""
    world = world_with(OUT, SEA.sign(OUT))
    flood = [SEA.step(CHARTER, [SEA, FAR], name=f"{number}") for number in range(3 * SIGNATURES_MAX)]
    world.take(*flood, *(SEA.sign(OUT, nonce=f"{number}") for number in range(9)))
    assert world.authority.federations[RIVER].chain.current.id == OUT.id
    theirs = [id for id in world.held if world.kept[id].header.town == SEA.id]
    assert len(theirs) == SIGNATURES_MAX


def test_a_suspended_town_is_no_member_until_the_suspension_is_withdrawn() -> None:
    """What it wrote waits, and comes back."""
    world = world_with(ELM.write("offer", federations=[RIVER]), BEE.suspend(RIVER, ELM))
    assert not world.authority.is_member(RIVER, ELM.id)
    world.take(BEE.admit(RIVER, ELM, op=Op.DELETE, kind="federation.suspend", stamp=9))
    assert world.authority.is_member(RIVER, ELM.id)
    assert ELM.write("offer", federations=[RIVER]).id in world.held


def test_a_step_that_lowers_a_quota_lets_the_oldest_documents_go() -> None:
    """In the same breath, on every node the same."""
    offers = [BEE.write("offer", f"{age}", federations=[RIVER], born=1_800_000_000 - age) for age in range(4)]
    small = BEE.step(CHARTER, [OWN, BEE, SEA], [ELM], quotas=(2, 9, 9))
    seen = [*BASIS, *offers, small, SEA.sign(small)]
    world = world_with(*offers, small)
    assert {each.id for each in offers} <= world.held.keys()
    world.take(SEA.sign(small))
    assert [each.id in world.held for each in offers] == [True, True, False, False]
    assert world.take(offers[3])[0].cause == QUOTA
    assert world.state()[0] == specified(OWN.id, seen)


# Keys that are taken back.


def test_what_a_town_key_signed_goes_on_counting_when_the_next_one_takes_over() -> None:
    """So neither a theft nor its remedy undoes what stewards decided, while one of them stands for it."""
    world = world_with(OUT, SEA.sign(OUT))
    for town in (SEA, BEE):
        kept = [BEE.keep(OUT, key=BEE.later_key(1))] if town is BEE else []
        world.take(town.rotate(), *kept)
        assert world.authority.federations[RIVER].chain.current.id == OUT.id
        assert OUT.id in world.held and SEA.sign(OUT).id in world.held


def test_a_later_town_key_signs_steps_as_the_first_one_did() -> None:
    """It waits only until its rotation is known."""
    agreed = SEA.sign(OUT, key=SEA.later_key(1))
    world = world_with(OUT, agreed)
    assert world.waiting[agreed.id] == UNRESOLVED
    world.take(SEA.rotate())
    assert world.authority.federations[RIVER].chain.current.id == OUT.id
    assert world.held[agreed.id] == {(RIVER, Lane.URGENT)}


def test_the_rotation_of_who_voted_stays_when_its_town_is_no_member_any_more() -> None:
    """Else a later key's vote could not be judged by who comes later, and the chain would unravel."""
    rotated, agreed = SEA.rotate(), SEA.sign(OUT, key=SEA.later_key(1))
    for order in permutations([rotated, agreed, OUT]):
        world = world_with()
        for record in order:
            world.take(record)
        assert not world.authority.is_member(RIVER, SEA.id)
        assert world.held.get(rotated.id) == frozenset({(RIVER, Lane.URGENT)})
        assert world.state()[0] == specified(OWN.id, [*BASIS, *order])


def test_acts_of_a_device_that_was_taken_back_count_only_if_they_are_kept() -> None:
    """An admission by a thief admits nobody."""
    admitted = SEA.admit(RIVER, FAR)
    world = world_with(admitted)
    world.take(SEA.revoke())
    assert not world.authority.is_member(RIVER, FAR.id) and admitted.id in world.waiting
    world.take(SEA.keep(admitted))
    assert world.authority.is_member(RIVER, FAR.id) and admitted.id in world.held


# In every order.

AWAY = SEA.step(CHARTER, [SEA], [ELM])
AGAIN = OWN.step(OUT, [OWN, BEE], [ELM, FAR])
SETS = [
    (OUT, OWN.sign(OUT), SEA.admit(RIVER, FAR, on=[CHARTER]), SEA.suspend(RIVER, ELM)),
    (OUT, SEA.sign(OUT), AWAY, OWN.sign(AWAY)),
    (OUT, OWN.sign(OUT), AGAIN, BEE.sign(AGAIN)),
    (OUT, OWN.sign(OUT), BEE.admit(RIVER, FAR, on=[OUT]), OWN.suspend(RIVER, FAR, on=[OUT])),
    (ELM.vouch(RIVER, FAR), SEA.vouch(RIVER, FAR), OUT, OWN.sign(OUT)),
    (OUT, AWAY, OWN.step(CHARTER, [OWN], split=[OUT, AWAY], round=2), SEA.sign(OUT)),
    (OUT, SEA.sign(OUT, key=SEA.later_key(1)), SEA.rotate(), SEA.admit(RIVER, FAR)),
    (SEA.admit(RIVER, FAR), SEA.suspend(RIVER, ELM), SEA.revoke(), SEA.keep(SEA.admit(RIVER, FAR))),
    (OUT, OWN.sign(OUT), BEE.admit(RIVER, FAR, on=[OUT]), BEE.rotate(), BEE.revoke(key=BEE.later_key(1))),
    (ELM.vouch(RIVER, FAR), SEA.vouch(RIVER, FAR), ELM.revoke(), ELM.keep(ELM.vouch(RIVER, FAR))),
    (OUT, SEA.sign(OUT), BEE.rotate(), SEA.rotate(), BEE.keep(OUT, key=BEE.later_key(1))),
    (OUT, SEA.sign(OUT), AWAY, BEE.sign(AWAY), SEA.rotate()),
]


@pytest.mark.law
@pytest.mark.parametrize("acts", SETS)
def test_every_order_of_what_stewards_sign_ends_in_one_state(acts: tuple[Record, ...]) -> None:
    """One by one, as peers bring it."""
    ends = []
    for order in permutations(acts):
        world = world_with(OFFER)
        for record in order:
            world.take(record)
        ends.append((world.authority, world.state()[0]))
    assert all(end == ends[0] for end in ends)
    assert ends[0][1] == specified(OWN.id, [*BASIS, OFFER, *acts])


@settings(max_examples=60, deadline=None)
@given(st.permutations([0, 1, 2, 2**40, 2**63, STAMP_MAX - 1, STAMP_MAX, STAMP_MAX]))
def test_no_stamp_changes_who_decides_or_belongs(stamps: list[int]) -> None:
    """Anybody writes into a record what stamp he likes."""
    first, second, third, *rest = stamps
    out = BEE.step(CHARTER, [OWN, BEE], [ELM], vouches=2, stamp=first)
    again = OWN.step(out, [OWN, BEE], [ELM, FAR], stamp=second, name="Again")
    away = SEA.step(CHARTER, [SEA], [ELM], stamp=third, name="Away")
    acts = [
        OWN.sign(out, stamp=rest[0]),
        SEA.sign(again, stamp=rest[1]),
        SEA.admit(RIVER, Town("fen"), on=[out], stamp=rest[2]),
        BEE.admit(RIVER, Town("ash"), on=[out], stamp=rest[3]),
        OWN.admit(RIVER, Town("ash"), on=[out], kind="federation.suspend", stamp=rest[4]),
    ]
    federation = resolve(OWN.id, [*BASIS, out, again, away, *acts]).federations[RIVER]
    assert federation.chain.current.id == out.id and not federation.chain.struck
    assert federation.members == {OWN.id, BEE.id, ELM.id}


def pool() -> list[Record]:
    """Return what stewards sign, honest and not, with what depends on it."""
    split = [
        town.step(CHARTER, [OWN, BEE, SEA], [ELM], name=town.name, vouches=2) for town in (OWN, BEE, SEA)
    ]
    late = OWN.step(CHARTER, [OWN, BEE, SEA], [ELM, FAR], round=2, split=split)
    decided = BEE.admit(RIVER, FAR, on=[CHARTER])
    deeper = BEE.step(OUT, [OWN, BEE], [ELM], decides=[decided], quotas=(1, 9, 9), vouches=1)
    steps = [OUT, AWAY, AGAIN, *split, late, deeper]
    found = [*steps, decided, OFFER, FAR.certificate()]
    for town in (OWN, BEE, SEA):
        found += [town.sign(step) for step in steps]
        for ground in (CHARTER, OUT, deeper):
            found += [town.admit(RIVER, FAR, on=[ground], device=n) for n in (1, 2)]
            found += [town.suspend(RIVER, ELM, on=[ground]), town.vouch(RIVER, FAR, on=[ground])]
    found += [ELM.vouch(RIVER, FAR, on=[ground]) for ground in (CHARTER, OUT)]
    found.append(OWN.admit(RIVER, FAR, on=[OUT], op=Op.DELETE, stamp=9))
    for town in (BEE, SEA):
        later = town.later_key(1)
        found += [town.rotate(), town.sign(OUT, key=later), town.sign(AGAIN, key=later, nonce="later")]
        found += [town.revoke(), town.keep(town.admit(RIVER, FAR, on=[OUT])), town.certificate(1, key=later)]
        found += [town.keep(town.sign(OUT), OUT, AWAY, key=later), town.step(CHARTER, [town], key=later)]
    for town in (ELM, FAR, BEE):
        found += [
            town.write("offer", f"{age}", federations=[RIVER], born=1_800_000_000 - age) for age in (0, 1)
        ]
    return found


POOL = pool()


@pytest.mark.law
@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(POOL), max_size=30), st.integers(0, 2**32))
def test_whatever_stewards_sign_in_whatever_order_the_held_sets_settle_as_specified(
    chosen: list[Record], seed: int
) -> None:
    """The charter among it, in batches of any size; what is not here is offered again, as peers do."""
    chance = random.Random(seed)
    seen = [*chosen, *BASIS]
    ends = list[tuple[Authority, object]]()
    for _ in range(2):
        chance.shuffle(seen)
        world, start = World(OWN.id), 0
        while start < len(seen):
            size = chance.choice([1, 1, 2, 5, 40])
            world.take(*seen[start : start + size])
            start += size
        world.settle(seen)
        assert world.state()[0] == specified(OWN.id, seen)
        ends.append((world.authority, world.state()[0]))
    assert ends[0] == ends[1]
