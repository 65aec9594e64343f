"""Merge is a join: order, repetition and grouping never matter, and a deletion is final."""

from __future__ import annotations

from itertools import chain, combinations, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.ids import Op, RecordId
from protocol.limits import STAMP_MAX
from sync.merge import Fact, Pruned, prune

STAMPS = (0, 1, 1 << 16, STAMP_MAX)
CAP = 2


def fact(number: int, stamp: int, op: Op) -> Fact:
    """Return a fact with an id that ascends with its number."""
    return Fact(RecordId(number.to_bytes(32, "big")), stamp, op)


def held(facts: list[Fact] | tuple[Fact, ...] | set[Fact]) -> set[Fact]:
    """Return what stands, with a cap small enough to matter."""
    return set(prune(facts, entries_max=CAP).held)


def specified(facts: set[Fact]) -> set[Fact]:
    """Say what stands, as the protocol says it and with no thought of speed."""

    def rank(each: Fact) -> tuple[int, bytes]:
        return (each.stamp, each.id)

    deletes = {each for each in facts if each.op is Op.DELETE}
    if deletes:
        return {max(deletes, key=rank)}
    puts = {each for each in facts if each.op is Op.PUT}
    entries = {each for each in facts if each.op is Op.ENTRY}
    greater = {each: sum(rank(other) > rank(each) for other in entries) for each in entries}
    standing = {each for each in entries if greater[each] < CAP}
    return standing | ({max(puts, key=rank)} if puts else set())


FACTS = st.lists(
    st.builds(fact, st.integers(0, 9), st.sampled_from(STAMPS), st.sampled_from(Op)), max_size=9
).map(lambda facts: list({each.id: each for each in facts}.values()))


@pytest.mark.law
def test_every_order_of_up_to_five_concurrent_records_of_each_mix_gives_what_is_specified() -> None:
    """All mixes of operations and of equal and extreme stamps, in all orders."""
    tried = 0
    for count in range(6):
        for ops in product(Op, repeat=count):
            for stamps in (
                [(stamp,) * count for stamp in STAMPS[::3]]
                + [STAMPS[:count], STAMPS[:count][::-1]]
                + [(0, 0, STAMP_MAX, STAMP_MAX, 0)[:count]]
            ):
                facts = [fact(i, stamp, op) for i, (op, stamp) in enumerate(zip(ops, stamps, strict=False))]
                expected = specified(set(facts))
                for order in permutations(facts):
                    tried += 1
                    assert held(order) == expected
    assert tried > 100_000


def test_every_way_to_cut_four_records_in_two_gives_the_same() -> None:
    """Exhaustive over subsets: prune(A | B) is prune(prune(A) | prune(B)), overlaps included."""
    for ops in product(Op, repeat=4):
        facts = [fact(i, STAMPS[i % 2], op) for i, op in enumerate(ops)]
        whole = held(facts)
        subsets = list(chain.from_iterable(combinations(facts, size) for size in range(5)))
        for left in subsets:
            for right in subsets:
                if set(left) | set(right) == set(facts):
                    assert held(held(left) | held(right)) == whole


@given(FACTS, FACTS, FACTS)
def test_merge_is_commutative_associative_and_idempotent(a: list[Fact], b: list[Fact], c: list[Fact]) -> None:
    """The three laws of a join, and that it is the join of the specification."""
    by_id = {each.id: each for each in a + b + c}
    a, b, c = ([by_id[each.id] for each in some] for some in (a, b, c))
    assert held(a + b) == held(b + a) == held([*held(a), *held(b)])
    assert held([*held(a + b), *c]) == held([*a, *held(b + c)]) == specified(set(a + b + c))
    assert held(held(a)) == held(a) == held(a + a)


@given(FACTS)
def test_what_does_not_stand_names_what_stands_instead(facts: list[Fact]) -> None:
    """Each fact either stands or fell because of one that does."""
    result = prune(facts, entries_max=CAP)
    standing = {each.id for each in result.held}
    assert standing | {id for id, _ in result.superseded} == {each.id for each in facts}
    assert not standing & {id for id, _ in result.superseded}
    assert all(because in standing for _, because in result.superseded)
    assert list(result.held) == sorted(result.held, key=lambda each: (each.stamp, each.id))


def test_nothing_stands_of_nothing() -> None:
    """The empty document is lawful."""
    assert prune([]) == Pruned((), ())


def test_of_equal_stamps_the_greater_id_stands() -> None:
    """The tie-break is the id, whichever comes first."""
    low, high = fact(1, 5, Op.PUT), fact(2, 5, Op.PUT)
    assert prune([high, low]) == prune([low, high]) == Pruned((high,), ((low.id, high.id),))


@pytest.mark.parametrize("op", [Op.PUT, Op.ENTRY, Op.DELETE])
def test_a_delete_is_final_even_with_the_least_stamp(op: Op) -> None:
    """Nothing written later, by any clock, brings a document back."""
    delete, late = fact(1, 0, Op.DELETE), fact(2, STAMP_MAX, op)
    expected = late if op is Op.DELETE else delete
    assert prune([delete, late]).held == prune([late, delete]).held == (expected,)


def test_only_the_greatest_entries_stand_when_there_are_too_many() -> None:
    """The cap ranks by (stamp, id), so it merges."""
    entries = [fact(i, i, Op.ENTRY) for i in range(5)]
    assert held(entries) == set(entries[-CAP:])
    assert prune(entries).held == tuple(entries)
