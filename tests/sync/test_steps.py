"""The chain of steps is a function of what is signed, and no minority bends it.

The exhaustive tests play every set of up to four acts of one hostile steward, in federations of 1, 2, 3 and 5
stewards, against what the honest ones have signed. `plain` is the rule as the protocol says it, written with
no thought of how many records there may be.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import combinations
from typing import TypeAlias

import pytest

from protocol.ids import RecordId, TownId
from protocol.limits import ROUNDS_MAX, SIGNATURES_MAX, STEPS_MAX
from sync.membership import ADMIT, SUSPEND, VOUCH, Act, Membership, membership
from sync.steps import Chain, Signature, State, Step, follow, split_of

Fact: TypeAlias = Step | Signature | Act


def key(name: str) -> bytes:
    """Return 32 bytes that depend on the name only."""
    return blake2b(name.encode(), digest_size=32).digest()


def town(name: str) -> TownId:
    """Return the town of a name."""
    return TownId(key(f"town {name}"))


def towns(names: str) -> frozenset[TownId]:
    """Return the towns of one letter each."""
    return frozenset(map(town, names))


def state(stewards: str, members: str = "m", *, vouches: int = 0, name: str = "") -> State:
    """Return a state of towns of one letter each."""
    return State(name, towns(stewards), towns(members), vouches, (9, 9, 9))


def charter(stewards: str, members: str = "m", *, vouches: int = 0) -> Step:
    """Return step 0."""
    made = state(stewards, members, vouches=vouches)
    return Step(RecordId(key("charter")), town(stewards[0]), None, 0, frozenset(), frozenset(), made)


def step(
    name: str,
    by: str,
    parent: Step,
    made: State,
    *,
    round: int = 1,
    split: Iterable[Step | Signature] = (),
    decides: Iterable[Act] = (),
) -> Step:
    """Return a step."""
    return Step(
        RecordId(key(name)),
        town(by),
        parent.id,
        round,
        frozenset(act.id for act in decides),
        frozenset(each.id for each in split),
        made,
    )


def sign(by: str, what: Step) -> Signature:
    """Return a signature."""
    return Signature(RecordId(key(f"{by} signs {what.id.hex()}")), town(by), what.id)


def act(kind: str, by: str, about: str, *on: Step) -> Act:
    """Return an act of a device."""
    name = f"{kind} {by} {about} {[each.id.hex() for each in on]}"
    return Act(RecordId(key(name)), kind, town(by), tuple(each.id for each in on), town(about))


def chain_of(root: Step, facts: Iterable[Fact], lapsed: Iterable[Fact] = ()) -> Chain:
    """Return what the fold makes of these."""
    every: list[Fact] = list(facts)
    steps = [each for each in every if isinstance(each, Step)]
    signatures = [each for each in every if isinstance(each, Signature)]
    return follow(root, steps, signatures, {each.id for each in lapsed})


def resolved(root: Step, facts: Iterable[Fact]) -> tuple[Chain, Membership]:
    """Return what the fold makes of these, and who belongs."""
    every: list[Fact] = list(facts)
    chain = chain_of(root, every)
    acts = [each for each in every if isinstance(each, Act)]
    now = chain.current.state
    return chain, membership(
        chain,
        [each for each in acts if each.kind != VOUCH and each.by in now.stewards],
        [each for each in acts if each.kind == VOUCH and each.by in now.stewards | now.members],
    )


# One vote.

ROOT = charter("abc")
WITHOUT_C = step("without c", "a", ROOT, state("ab"))
WITHOUT_A = step("without a", "b", ROOT, state("bc"))
WITHOUT_B = step("without b", "c", ROOT, state("ac"))


def test_a_step_counts_when_more_than_half_of_its_parents_stewards_have_signed() -> None:
    """The author's own step is its author's signature; those whom only the new state names do not count."""
    new = step("new", "a", ROOT, state("axyz"))
    assert chain_of(ROOT, [new]).current is ROOT
    assert chain_of(ROOT, [new, sign("x", new), sign("y", new), sign("z", new)]).current is ROOT
    assert chain_of(ROOT, [new, sign("a", new)]).current is ROOT, "one steward has one voice"
    assert chain_of(ROOT, [new, sign("b", new)]).steps == (ROOT, new)
    four = charter("abcd")
    half = step("half", "a", four, state("ab"))
    assert chain_of(four, [half, sign("b", half)]).current is four, "half is not more than half"


def test_a_founder_decides_alone_and_two_stewards_only_together() -> None:
    """With two, neither can remove the other."""
    alone, two = charter("a"), charter("ab")
    assert chain_of(alone, [step("s", "a", alone, state("b"))]).current.state == state("b")
    out = step("out", "a", two, state("a"))
    assert chain_of(two, [out]).current is two
    assert chain_of(two, [out, sign("b", out)]).current is out


def test_who_may_decide_next_is_said_by_the_step_before() -> None:
    """A former steward signs nothing any more, a new one does."""
    root = charter("abc")
    first = step("first", "a", root, state("abx"))
    second = step("second", "b", first, state("ab"))
    known: list[Fact] = [first, sign("b", first), second]
    assert chain_of(root, [*known, sign("c", second)]).current is first
    chain = chain_of(root, [*known, sign("x", second)])
    assert chain.steps == (root, first, second)
    by_c = step("by c", "c", first, state("c"))
    assert chain_of(root, [*known, by_c, sign("x", by_c)]).current is first, "nor does it write a step"


def test_a_step_waits_for_its_parent() -> None:
    """And counts as soon as that does."""
    first = step("first", "a", ROOT, state("abc"))
    second = step("second", "a", first, state("ab"))
    known: list[Fact] = [second, sign("b", second)]
    assert chain_of(ROOT, known).current is ROOT
    assert chain_of(ROOT, [*known, first, sign("c", first)]).current is second


@pytest.mark.parametrize("round", [0, -1, ROUNDS_MAX + 1, 2])
def test_a_step_of_a_round_that_is_not_open_counts_for_nothing(round: int) -> None:
    """However many sign it."""
    odd = step("odd", "a", ROOT, state("ab"), round=round)
    assert chain_of(ROOT, [odd, sign("b", odd), sign("c", odd)]).current is ROOT


def test_a_split_vote_opens_the_next_round_for_who_shows_it() -> None:
    """The signatures that a step names must be known, and leave no step of the round a majority."""
    split = [WITHOUT_C, WITHOUT_A, WITHOUT_B]
    again = step("again", "a", ROOT, state("abc", "mn"), round=2, split=split)
    assert chain_of(ROOT, [*split, again, sign("b", again)]).current is again
    assert chain_of(ROOT, [*split[:2], again, sign("b", again)]).current is ROOT, "one is not known"
    early = step("early", "a", ROOT, state("abc", "mn"), round=2, split=split[:2])
    assert chain_of(ROOT, [*split, early, sign("b", early)]).current is ROOT, "two of three still may win"
    ballot = chain_of(ROOT, split).open
    assert split_of(ballot, 1, 2, 3) == frozenset(each.id for each in split)
    assert split_of(chain_of(ROOT, split[:2]).open, 1, 2, 3) is None
    assert split_of(ballot, 2, 2, 3) is None


def test_signatures_of_another_round_show_nothing_of_this_one() -> None:
    """Round 3 rests on round 2."""
    split = [WITHOUT_C, WITHOUT_A, WITHOUT_B]
    third = step("third", "a", ROOT, state("abc", "mn"), round=3, split=split)
    assert chain_of(ROOT, [*split, third, sign("b", third)]).current is ROOT


def test_double_signers_are_struck_and_the_step_with_more_left_stands() -> None:
    """Three of five who voted otherwise help an old proposal of a round that was over: it stays over."""
    root = charter("abcde")
    one, two, three = (step(by, by, root, state("abcde", by)) for by in "abc")
    split: list[Fact] = [one, two, sign("d", two), three, sign("e", three)]
    late = step(
        "late", "a", root, state("abc"), round=2, split=[each for each in split if not isinstance(each, Act)]
    )
    known: list[Fact] = [*split, late, sign("b", late), sign("c", late)]
    assert chain_of(root, known).current is late
    known += [sign("b", one), sign("d", one), sign("e", one)]
    chain = chain_of(root, known)
    assert chain.current is late
    assert chain.struck == {(root.id, town(name)) for name in "bde"}


def test_with_as_many_left_the_later_round_stands_then_the_smaller_id() -> None:
    """So it is one everywhere."""
    tie: list[Fact] = [WITHOUT_C, sign("c", WITHOUT_C), WITHOUT_A, sign("c", WITHOUT_A)]
    chain = chain_of(ROOT, tie)
    assert chain.current is min(WITHOUT_C, WITHOUT_A, key=lambda each: each.id)
    split = [WITHOUT_C, WITHOUT_A, WITHOUT_B]
    late = step("late", "a", ROOT, state("abc", "mn"), round=2, split=split)
    known: list[Fact] = [*split, late, sign("c", late), sign("c", WITHOUT_C)]
    chain = chain_of(ROOT, known)
    assert chain.current is late and chain.struck == {(ROOT.id, town("c"))}


def test_who_signs_twice_takes_no_signature_back() -> None:
    """A step that counts alone stands, whatever else its signers sign."""
    known: list[Fact] = [WITHOUT_C, sign("c", WITHOUT_C)]
    for number in range(3 * SIGNATURES_MAX):
        other = step(f"other {number}", "c", ROOT, state("abc", name=str(number)))
        known += [other]
        chain = chain_of(ROOT, known)
        assert chain.steps == (ROOT, WITHOUT_C) and not chain.struck


def test_what_a_steward_signs_without_end_is_not_kept_without_end() -> None:
    """And what is kept gives the same."""
    flood = [step(f"{number}", "c", ROOT, state("abc", name=str(number))) for number in range(50)]
    known: list[Fact] = [WITHOUT_C, sign("c", WITHOUT_C), *flood]
    chain = chain_of(ROOT, known)
    assert len([each for each in chain.kept.values() if each == town("c")]) == SIGNATURES_MAX
    kept = chain_of(ROOT, [each for each in known if each.id in chain.kept])
    assert (kept.steps, kept.kept) == (chain.steps, chain.kept)


def test_what_shows_a_split_stays_known_however_much_is_signed_after() -> None:
    """Else who signs without end could close a round again."""
    split = [WITHOUT_C, WITHOUT_A, WITHOUT_B]
    again = step("again", "a", ROOT, state("abc", "mn"), round=2, split=split)
    flood = [step(f"{number}", "c", ROOT, state("abc", name=str(number))) for number in range(50)]
    known: list[Fact] = [*split, again, sign("b", again), *flood]
    chain = chain_of(ROOT, known)
    assert chain.current is again and {each.id for each in split} <= chain.kept.keys()
    assert chain_of(ROOT, [each for each in known if each.id in chain.kept]).current is again


def test_who_signs_once_more_what_he_signed_closes_no_round_again() -> None:
    """Any of his signatures of the step shows that he voted, not only that with the smallest id."""
    root = charter("abcde")
    one, two, three = (step(by, by, root, state("abcde", by)) for by in "abd")
    split: list[Step | Signature] = [one, sign("e", one), two, sign("c", two), three]
    late = step("late", "a", root, state("abcd"), round=2, split=split)
    known: list[Fact] = [*split, late, sign("b", late), sign("c", late)]
    assert chain_of(root, known).current is late
    for number in range(3):
        known.append(Signature(RecordId(bytes([2 - number]) * 32), town("e"), one.id))
        chain = chain_of(root, known)
        assert chain.current is late and {each.id for each in split} <= chain.kept.keys()
        assert chain_of(root, [each for each in known if each.id in chain.kept]).current is late


def test_a_step_names_one_vote_of_each_steward_to_show_that_a_round_is_over() -> None:
    """However often somebody has signed in it."""
    flood = [step(f"{number}", "c", ROOT, state("abc", name=str(number))) for number in range(50)]
    chain = chain_of(ROOT, [WITHOUT_C, WITHOUT_A, *flood])
    turn, split = chain.turn
    assert (turn, len(split)) == (2, 3) and {WITHOUT_C.id, WITHOUT_A.id} < split
    again = step("again", "a", ROOT, state("abc", "mn"), round=2)
    again = replace(again, split=split)
    known: list[Fact] = [WITHOUT_C, WITHOUT_A, *flood, again]
    assert chain_of(ROOT, known).turn == (2, split), "who proposes beside it names the same"
    assert chain_of(ROOT, [*known, sign("b", again)]).current == again


def test_the_last_round_stays_open() -> None:
    """No step of a later one would count."""
    known: list[Fact] = []
    for number in range(1, ROUNDS_MAX + 1):
        turn, split = chain_of(ROOT, known).turn
        assert turn == number
        known += [
            replace(step(f"{by} {number}", by, ROOT, state("abc"), round=turn), split=split) for by in "abc"
        ]
    assert chain_of(ROOT, known).turn[0] == ROUNDS_MAX


def test_of_several_records_by_which_a_steward_signs_one_step_one_is_kept() -> None:
    """That with the smallest id; the step itself for its author."""
    again = Signature(RecordId(bytes(32)), town("b"), WITHOUT_C.id)
    known: list[Fact] = [WITHOUT_C, sign("b", WITHOUT_C), again, sign("a", WITHOUT_C)]
    for facts in (known, known[::-1]):
        assert chain_of(ROOT, facts).kept == {WITHOUT_C.id: town("a"), again.id: town("b")}


def test_a_chain_has_an_end() -> None:
    """A founder cannot fill every disk with steps."""
    root = charter("a")
    steps = [root]
    for number in range(STEPS_MAX + 3):
        steps.append(step(f"{number}", "a", steps[-1], state("a")))
    assert len(chain_of(root, steps[1:]).steps) == STEPS_MAX


# Acts beside.


def test_an_act_rests_on_the_current_step_or_on_the_one_before_unless_that_is_decided() -> None:
    """So neither side of a cut loses its admissions, and nobody reaches further back."""
    here, gone = act(ADMIT, "a", "x", ROOT), act(ADMIT, "a", "y", ROOT)
    first = step("first", "a", ROOT, state("abc"), decides=[gone])
    second = step("second", "a", first, state("abc"))
    facts: list[Fact] = [here, gone]
    assert resolved(ROOT, facts)[1].members == towns("abcmxy")
    facts += [first, sign("b", first)]
    assert resolved(ROOT, facts)[1].members == towns("abcmx")
    assert resolved(ROOT, [*facts, act(ADMIT, "b", "y", first)])[1].admitted == towns("xy")
    facts += [second, sign("b", second)]
    assert resolved(ROOT, facts)[1].members == towns("abcm")


def test_an_act_that_cites_nothing_rests_on_the_charter() -> None:
    """As the first ones of a federation do."""
    assert resolved(ROOT, [act(ADMIT, "a", "x")])[1].admitted == towns("x")
    first = step("first", "a", ROOT, state("abc"))
    second = step("second", "a", first, state("abc"))
    facts: list[Fact] = [act(ADMIT, "a", "x"), first, sign("b", first), second, sign("b", second)]
    assert not resolved(ROOT, facts)[1].admitted


def test_suspension_beats_admission_and_touches_no_steward() -> None:
    """Whoever came first."""
    facts: list[Fact] = [
        act(SUSPEND, "a", "m"),
        act(ADMIT, "b", "m"),
        act(SUSPEND, "a", "b"),
        act(SUSPEND, "c", "x"),
    ]
    for order in (facts, facts[::-1]):
        found = resolved(ROOT, [*order, act(ADMIT, "b", "x")])[1]
        assert (found.members, found.suspended) == (towns("abc"), towns("mx"))


def test_members_vouch_where_the_rules_let_them() -> None:
    """So many different ones whom the step names, none of them suspended."""
    root = charter("a", "mn", vouches=2)
    one, two = act(VOUCH, "m", "x"), act(VOUCH, "n", "x")
    assert resolved(root, [one, act(VOUCH, "m", "x", root)])[1].members == towns("amn")
    assert resolved(root, [one, two])[1].vouched == towns("x")
    assert not resolved(root, [one, two, act(SUSPEND, "a", "n")])[1].vouched
    assert resolved(root, [one, act(VOUCH, "a", "x")])[1].vouched == towns("x")
    assert not resolved(root, [one, act(ADMIT, "a", "z"), act(VOUCH, "z", "x")])[1].vouched
    assert not resolved(charter("a", "mn"), [one, two])[1].vouched, "the rules say nothing of vouches"


# The rule as the protocol says it.


def plain(root: Step, facts: Sequence[Fact], lapsed: Iterable[Fact] = ()) -> list[Step]:
    """Return the chain, worked out from the words of the protocol."""
    former = {each.id for each in lapsed}
    chain = [root]
    while True:
        parent = chain[-1]
        n = len(parent.state.stewards)
        steps = [each for each in facts if isinstance(each, Step) and each.parent == parent.id]
        steps = [
            each for each in {each.id: each for each in steps}.values() if each.town in parent.state.stewards
        ]
        voices = {
            (by, each)
            for each in steps
            for by in parent.state.stewards
            if by == each.town
            or any(isinstance(f, Signature) and (f.town, f.step) == (by, each.id) for f in facts)
        }

        standing = {
            (by, each)
            for by, each in voices
            if any(
                f.id not in former
                and (
                    f == each
                    if by == each.town
                    else isinstance(f, Signature) and (f.town, f.step) == (by, each.id)
                )
                for f in facts
            )
        }

        def named(each: Step, by: TownId, other: Step, facts: Sequence[Fact] = facts) -> bool:
            records = {f.id for f in facts if isinstance(f, Signature) and (f.town, f.step) == (by, other.id)}
            return bool(({other.id} if by == other.town else records) & each.split)

        def is_open(
            each: Step, steps: list[Step] = steps, n: int = n, voices: set[tuple[TownId, Step]] = voices
        ) -> bool:
            if each.round == 1:
                return True
            before = [other for other in steps if other.round == each.round - 1]
            shown = [
                {by for by, what in voices if what == other and named(each, by, other)} for other in before
            ]
            heard = set[TownId]().union(*shown)
            return all(2 * (len(who) + n - len(heard)) <= n for who in [*shown, set()])

        alive = [each for each in steps if each.round >= 1 and is_open(each)]
        alive = [each for each in alive if any(what == each for _, what in standing)]
        counting = [each for each in alive if 2 * sum(what == each for _, what in voices) > n]
        if not counting:
            return chain
        fair = {(by, what) for by, what in voices if what in alive}
        present = {by for by, what in standing if what in alive}
        fair = {(by, what) for by, what in fair if (by, what) in standing or by not in present}
        twice = {
            by
            for by, what in fair
            for also, other in fair
            if by == also and what != other and what.round == other.round
        }
        if len(counting) == 1:
            fair, twice = voices, set()
        left = {each: sum(what == each and by not in twice for by, what in fair) for each in counting}
        most = [each for each in counting if left[each] == max(left.values())]
        last = [each for each in most if each.round == max(other.round for other in most)]
        chain.append(min(last, key=lambda each: each.id))


# Every set of up to four acts of one hostile steward, h.


@dataclass(frozen=True)
class Case:
    """What honest stewards have signed, and what the hostile one may sign beside.

    Attributes:
        honest: The names of the honest stewards.
        removal: The step by which they removed the hostile one; None if they did not.
    """

    root: Step
    honest: str
    signed: tuple[Fact, ...]
    removal: Step | None
    hostile: tuple[Fact, ...]


def cases(count: int) -> Iterator[Case]:
    """Yield the cases of a federation of so many stewards."""
    honest = "abcd"[: count - 1]
    root = charter(honest + "h", "mn", vouches=2)
    # With nothing signed, with one honest proposal under way, and with the hostile steward removed.
    yield Case(root, honest, (), None, tuple(_acts_of_h(root, None, None, honest)))
    if not honest:
        return
    wish = step("wish", "a", root, state(honest + "h", "mnw", vouches=2))
    yield Case(root, honest, (wish,), None, tuple(_acts_of_h(root, wish, None, honest)))
    if len(honest) > 1:
        out = step("out", "a", root, state(honest, "mn", vouches=2))
        signed: tuple[Fact, ...] = (out, *(sign(each, out) for each in honest[1:]))
        yield Case(root, honest, signed, out, tuple(_acts_of_h(root, out, out, honest)))
        kept_back: tuple[Fact, ...] = (
            out,
            *(sign(each, out) for each in honest[1 : count // 2]),
            act(ADMIT, "a", "w", root),
        )
        yield Case(root, honest, kept_back, None, tuple(_acts_of_h(root, out, None, honest)))


def _acts_of_h(root: Step, wish: Step | None, out: Step | None, honest: str) -> Iterator[Fact]:
    mine, other = (step(name, "h", root, state("h", name, vouches=2)) for name in ("1", "2"))
    yield from (mine, other, step("3", "h", root, state("h"), round=2, split=[mine, other]))
    yield from (act(ADMIT, "h", "e", root), act(SUSPEND, "h", "m", root), act(VOUCH, "h", "e", root))
    yield act(SUSPEND, "h", honest[0] if honest else "n", root)
    yield sign("h", mine)
    if wish is not None:
        yield from (sign("h", wish), step("4", "h", wish, state("h", "e")), act(ADMIT, "h", "e", wish))
        yield act(SUSPEND, "h", "n", wish)
    if out is not None:
        yield act(VOUCH, "h", "f", out)


EVERY = [
    (case, acts)
    for count in (1, 2, 3, 5)
    for case in cases(count)
    for size in range(5)
    for acts in combinations(case.hostile, size)
]


@pytest.mark.law
def test_every_set_of_acts_gives_one_result_in_any_order() -> None:
    """The one that the protocol says, also from what a node keeps of it."""
    chance = random.Random(1)
    assert len(EVERY) > 5_000
    for case, acts in EVERY:
        facts: list[Fact] = [*case.signed, *acts]
        chain, found = resolved(case.root, facts)
        chance.shuffle(facts)
        again = resolved(case.root, facts + facts[::2])
        assert again == (chain, found)
        assert list(chain.steps) == plain(case.root, facts)
        held = [each for each in facts if isinstance(each, Act) or each.id in chain.kept]
        kept = resolved(case.root, held)
        assert (kept[0].steps, kept[0].kept, kept[1]) == (chain.steps, chain.kept, found)


@pytest.mark.law
def test_a_hostile_steward_has_never_more_power_than_some_order_of_acts_gives() -> None:
    """Each step of the chain was signed by a majority of those who could decide, so one after another they
    could have come about just so; and acts give what a steward of that step may, nothing if it is none."""
    for case, acts in EVERY:
        facts: list[Fact] = [*case.signed, *acts]
        chain, found = resolved(case.root, facts)
        for parent, each in zip(chain.steps, chain.steps[1:], strict=False):
            signers = {each.town} | {f.town for f in facts if isinstance(f, Signature) and f.step == each.id}
            assert 2 * len(signers & parent.state.stewards) > len(parent.state.stewards)
        if town("h") not in chain.current.state.stewards:
            # Whatever a former steward did by itself is as if it had never been.
            others = [each for each in facts if not (isinstance(each, Act) and each.by == town("h"))]
            assert resolved(case.root, others)[1] == found
        assert chain.current.state.stewards <= found.members
        now = chain.current.state
        assert found.members - now.stewards - now.members <= {f.town for f in facts if isinstance(f, Act)}


def test_a_removed_steward_changes_nothing_any_more() -> None:
    """Not by old acts, not by signatures, not by steps of its own."""
    removed = [(case, acts) for case, acts in EVERY if case.removal is not None]
    assert len(removed) > 1_000
    for case, acts in removed:
        before, after = resolved(case.root, case.signed), resolved(case.root, [*case.signed, *acts])
        assert after[0].steps == before[0].steps == (case.root, case.removal)
        assert after[1].members == before[1].members


@pytest.mark.law
def test_no_federation_is_left_without_a_way_on() -> None:
    """Whatever one hostile steward of three or five has signed, the honest ones can take the next step."""
    for case, acts in EVERY:
        facts: list[Fact] = [*case.signed, *acts]
        current = chain_of(case.root, facts).current
        honest = [each for each in case.honest if town(each) in current.state.stewards]
        if 2 * len(honest) <= len(current.state.stewards):
            continue
        on = step("on", honest[0], current, state("".join(honest), "mn"))
        facts += [on, *(sign(each, on) for each in honest[1:])]
        assert on in chain_of(case.root, facts).steps


def test_acts_that_do_not_agree_with_a_majority_of_stewards_make_no_step() -> None:
    """A minority alone never moves the chain."""
    for case, acts in EVERY:
        if len(case.honest) > 1 and not case.signed:
            assert chain_of(case.root, acts).steps == (case.root,)
