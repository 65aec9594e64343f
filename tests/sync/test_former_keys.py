"""Votes of former town keys: a thief decides nothing alone, and nobody takes his vote back by a new key.

At its end whatever stewards sign, lapsed or not, against the rule as the protocol says it, and what it costs.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import combinations, permutations
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.ids import Lane, RecordId
from protocol.limits import SIGNATURES_MAX
from protocol.record import Record
from sync.steps import Signature, Step
from tests.sync.specified import specified
from tests.sync.test_steps import Fact, chain_of, charter, key, plain, sign, state, step, town
from tests.sync.world import Town, World, federation_of

pytestmark = pytest.mark.law

OWN, BEE, THIEF = Town("own"), Town("bee"), Town("thief")
CHARTER = OWN.charter("Along the river", [OWN], [BEE])
RIVER = federation_of(CHARTER)
NEW = OWN.later_key(1)
BASIS = [CHARTER, BEE.join(RIVER), *(town.certificate() for town in (OWN, BEE, THIEF))]
ROTATED = [OWN.rotate(), OWN.keep(OWN.certificate(), key=NEW), OWN.certificate(stamp=1, key=NEW)]
COUP = OWN.step(CHARTER, [THIEF], [])
"""By the thief of the only steward's former key."""


def current(*records: Record) -> tuple[World, RecordId]:
    """Return a neighbour's world after these, one by one, and the step that stands there."""
    world = World(BEE.id)
    for each in (*BASIS, *records):
        world.take(each)
    return world, world.authority.federations[RIVER].chain.current.id


def test_a_former_key_decides_nothing_alone() -> None:
    """Not in a federation with one steward, and nobody holds what it wrote."""
    for order in permutations([*ROTATED[:2], COUP]):
        world, step_id = current(*order)
        assert step_id == CHARTER.id and COUP.id not in world.held
        assert world.state()[0] == specified(BEE.id, [*BASIS, *order])
        assert world.authority.federations[RIVER].stewards == {OWN.id}
        assert OWN.rotate().id in world.held


def test_a_former_key_rewrites_nothing_that_the_present_one_decided() -> None:
    """However small an id is ground: one record is the town's word, the other is a thief's."""
    honest = OWN.step(CHARTER, [OWN, BEE], [], key=NEW)
    coups = (OWN.step(CHARTER, [THIEF], [], name=f"x{number}") for number in range(200))
    coup = next(each for each in coups if each.id < honest.id)
    for order in permutations([ROTATED[0], honest, coup]):
        assert current(*order)[1] == honest.id


def test_what_the_town_decided_before_its_key_was_stolen_stands_if_the_town_keeps_it() -> None:
    """In its own federation nobody else can stand for it; a keep list that comes late brings it back."""
    before = OWN.step(CHARTER, [OWN, BEE], [])
    listed = OWN.keep(before, OWN.certificate(), key=NEW, stamp=1)
    for order in permutations([OWN.rotate(), before, listed]):
        assert current(*order)[1] == before.id
    assert current(before, OWN.rotate())[1] == CHARTER.id
    assert current(before, OWN.rotate(), COUP, listed)[1] == before.id


def test_what_says_which_votes_lapse_is_held_wherever_the_town_could_vote() -> None:
    """Its rotation and its lists, though it was put out and never voted: else a thief of its former key could
    vote where nobody knows that it is one."""
    root = OWN.charter("Along the river", [OWN, BEE, THIEF])
    river = federation_of(root)
    out = OWN.step(root, [OWN, BEE])
    basis = [root, BEE.join(river), OWN.certificate(), BEE.certificate(), out, BEE.sign(out)]
    listed = THIEF.keep(THIEF.certificate(), key=THIEF.later_key(1))
    revoked = THIEF.revoke(key=THIEF.later_key(1))
    for order in permutations([THIEF.rotate(), listed, revoked]):
        world = World(BEE.id)
        world.take(*basis)
        for each in order:
            world.take(each)
        assert {THIEF.rotate().id, listed.id} <= world.held.keys() and revoked.id not in world.held
        assert world.held[listed.id] == {(river, Lane.URGENT)}
        assert world.state()[0] == specified(BEE.id, [*basis, *order])


# Beside hostile stewards.


def lapsed_step(
    name: str, by: str, root: Step, *, round: int = 1, split: Iterable[Step | Signature] = ()
) -> Step:
    """Return a step that makes its hostile author the only steward."""
    return step(name, by, root, state(by, name=name), round=round, split=split)


@pytest.mark.parametrize(("honest", "hostile"), [("ab", "h"), ("abc", "hg"), ("abc", "h")])
def test_what_present_keys_of_a_majority_decide_no_former_keys_and_minority_replace(
    honest: str, hostile: str
) -> None:
    """Every set of up to four acts of the hostile stewards and of thieves of all honest ones' former keys, a
    later round that these open among it."""
    root = charter(honest + hostile)
    decided = step("decided", honest[0], root, state(honest))
    signed: list[Fact] = [decided, *(sign(each, decided) for each in honest[1 : root.state.majority])]
    mine, theirs = lapsed_step("mine", "h", root), lapsed_step("theirs", honest[0], root)
    others = [lapsed_step(f"other {by}", by, root) for by in (*honest[1:], *hostile[1:])]
    late = lapsed_step("late", "h", root, round=2, split=[mine, theirs, *others, *signed])  # type: ignore[list-item]
    former: list[Fact] = [theirs, *others[: len(honest) - 1]]
    former += [sign(by, what) for by in honest for what in (mine, late)]
    acts: list[Fact] = [*former, mine, *others[len(honest) - 1 :], late, sign("h", theirs)]
    acts += [sign(by, what) for by in hostile[1:] for what in (mine, late, theirs)]
    taken = 0
    for size in range(5):
        for some in combinations(acts, size):
            chain = chain_of(root, [*signed, *some], former)
            assert chain.steps[1] is decided, [each.id.hex()[:4] for each in some]
            taken += 1
    everything = chain_of(root, [*signed, *acts], former)
    assert everything.steps[1] is decided and taken > 200


@pytest.mark.parametrize(("honest", "hostile"), [("a", "h"), ("ab", "h"), ("abc", "hg"), ("abcd", "hgf")])
def test_no_minority_takes_its_votes_back_by_taking_new_keys(honest: str, hostile: str) -> None:
    """It keeps nothing of what one honest steward decided with it, and signs what it likes with both."""
    root = charter(honest + hostile)
    decided = step("decided", "a", root, state(honest + hostile))
    helped = [sign(by, decided) for by in hostile]
    signed: list[Fact] = [
        decided,
        *helped,
        *(sign(by, decided) for by in honest[1 : root.state.majority - len(hostile)]),
    ]
    old, new = lapsed_step("old", "h", root), lapsed_step("new", hostile[-1], root)
    late = lapsed_step("late", "h", root, round=2, split=[old, new, *helped])
    again = [Signature(RecordId(key(f"{by} again")), town(by), decided.id) for by in hostile]
    acts: list[Fact] = [
        old,
        new,
        late,
        *again,
        *(sign(by, what) for by in hostile for what in (old, new, late)),
    ]
    for some in (each for size in range(4) for each in combinations(acts, size)):
        chain = chain_of(root, [*signed, *some], [*helped, old])
        assert chain.steps[1] is decided


def test_neither_former_nor_present_votes_push_the_others_out() -> None:
    """However many of either kind a steward, or its thief, writes."""
    root = charter("abcgh")
    decided = step("decided", "a", root, state("abc"))
    signed: list[Fact] = [decided, sign("b", decided), sign("h", decided)]
    by_h = [lapsed_step(f"h {number}", "h", root) for number in range(3 * SIGNATURES_MAX)]
    by_g = [lapsed_step(f"g {number}", "g", root) for number in range(3 * SIGNATURES_MAX)]
    help_g = [sign("h", each) for each in by_g]
    sets: list[list[Fact]] = [[signed[2]], [*by_h, *help_g], [signed[2], *by_h, *help_g]]
    for lapsed in sets:
        chain = chain_of(root, [*signed, *by_h, *by_g, *help_g], lapsed)
        assert chain.steps[1] is decided
        of_h = [each for each in chain.kept.values() if each == town("h")]
        assert len(of_h) <= 2 * SIGNATURES_MAX
    # A thief of a's former key signs what the hostile h writes, with smaller ids than what a and b decided.
    root = charter("abh")
    decided = step("decided", "b", root, state("ab"))
    by_h = [lapsed_step(f"h {number}", "h", root) for number in range(1_000)]
    by_h = [each for each in by_h if each.id < decided.id][: 3 * SIGNATURES_MAX]
    stolen: list[Fact] = [sign("a", each) for each in by_h]
    chain = chain_of(root, [decided, sign("a", decided), *by_h, *stolen], stolen)
    assert len(by_h) > 2 * SIGNATURES_MAX and chain.steps[1] is decided
    # A thief of a's former key and the hostile b make up as many signers as what b and h decided has.
    root = charter("abh")
    decided = step("decided", "b", root, state("ab"))
    made_up = [lapsed_step(f"{number}", "a", root) for number in range(3 * SIGNATURES_MAX)]
    helped = [sign("h", each) for each in made_up]
    voted = sign("h", decided)
    chain = chain_of(root, [decided, voted, *made_up, *helped], [voted, *made_up, *helped])
    assert chain.steps[1] is decided


# Larger sets, several hostile stewards.


@st.composite
def votes(draw: st.DrawFn) -> tuple[Step, list[Fact], list[Fact]]:
    """Return a charter, what stewards of it signed, with no regard to what they should, and what of it has
    lapsed."""
    stewards = draw(st.sampled_from(["a", "ab", "abc", "abcde"]))
    root = charter(stewards)
    steps, facts = [root], list[Fact]()
    for number in range(draw(st.integers(0, 8))):
        parent = draw(st.sampled_from(steps))
        voices = [each for each in facts if isinstance(each, Step | Signature)]
        split = draw(st.lists(st.sampled_from(voices), max_size=6)) if voices else []
        by = draw(st.sampled_from(stewards))
        made = state(draw(st.sampled_from([stewards, stewards[:1], "ab"])), name=str(number))
        new = step(f"{number}", by, parent, made, round=draw(st.sampled_from([1, 1, 2, 3])), split=split)
        steps.append(new)
        signers = draw(st.sets(st.sampled_from(stewards), max_size=4))
        facts += [new, *(sign(each, new) for each in sorted(signers))]
    for number, again in enumerate(draw(st.lists(st.sampled_from(facts), max_size=4)) if facts else []):
        if isinstance(again, Signature):
            facts.append(replace(again, id=RecordId(key(f"once more {number}"))))
    return root, facts, draw(st.lists(st.sampled_from(facts), max_size=8)) if facts else []


Cast: TypeAlias = tuple[Step, list[Fact], list[Fact]]


@settings(max_examples=200, deadline=None)
@given(votes(), st.randoms(use_true_random=False))
def test_the_fold_is_what_the_protocol_says(cast: Cast, chance: random.Random) -> None:
    """In any order, with repetitions, and from what is kept."""
    root, facts, lapsed = cast
    chain = chain_of(root, facts, lapsed)
    shuffled = [*facts, *facts[::2]]
    chance.shuffle(shuffled)
    assert chain_of(root, shuffled, lapsed) == chain
    assert list(chain.steps) == plain(root, facts, lapsed)
    kept = chain_of(root, [each for each in facts if each.id in chain.kept], lapsed)
    assert (kept.steps, kept.kept) == (chain.steps, chain.kept)


@settings(max_examples=80, deadline=None)
@given(votes())
def test_an_honest_majority_always_finds_a_way_on(cast: Cast) -> None:
    """Even if all of them voted otherwise before: then each signs once more, and something counts."""
    root, facts, lapsed = cast
    chain = chain_of(root, facts, lapsed)
    stewards = sorted(chain.current.state.stewards)
    new = Step(RecordId(key("new")), stewards[0], chain.current.id, 1, frozenset(), frozenset(), state("z"))
    signed = [Signature(RecordId(key(f"{each.hex()} on")), each, new.id) for each in stewards]
    more = signed[: chain.current.state.majority]
    assert len(chain_of(root, [*facts, new, *more], lapsed).steps) > len(chain.steps)


# What it costs.


def calls(act: Callable[[], object]) -> int:
    """Return how many calls an act makes: a measure of its work that is the same on every machine."""
    made = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return made


@pytest.mark.parametrize("shown", [True, False])
def test_following_steps_costs_no_more_than_in_proportion_to_their_number(shown: bool) -> None:
    """Of a minority steward, in two rounds, whether what they name shows the split or not."""
    root = charter("abc")

    def cost(number: int) -> int:
        first = [step(f"1 {at}", "a", root, state("ab", name=str(at))) for at in range(number)]
        split: list[Step | Signature] = list(first[:8])
        if shown:
            split += [step(f"by {by}", by, root, state("ab")) for by in "bc"]
        second = [
            step(f"2 {at}", "a", root, state("ab", name=str(at)), round=2, split=split)
            for at in range(number)
        ]
        facts: list[Fact] = [*first, *split[8:], *second]
        random.Random(1).shuffle(facts)
        return calls(lambda: chain_of(root, facts))

    assert cost(400) <= 2.5 * cost(200)
