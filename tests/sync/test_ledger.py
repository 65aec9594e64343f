"""The chain of one ledger: whatever part of it is known, nothing is promised twice."""

from __future__ import annotations

import random
import tracemalloc
from contextlib import suppress
from itertools import combinations, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.encoding import Value
from protocol.ids import Op, RecordId
from protocol.limits import ENTRIES_MAX
from protocol.record import document_id
from sync.ledger import (
    FORK,
    NOT_THE_KEEPER,
    OUT_OF_PLACE,
    OUTLIVES_S,
    Entry,
    fields_of_entry,
    ledger_id,
    share_of,
    target_id,
)
from sync.ledger import (
    read as read_record,
)
from sync.promises import Act, Mode, Promises, Status, Void, Word
from tests.sync.bookkeeper import (
    DOC,
    KEEPER,
    TOWN,
    TOWN_KEY,
    accept,
    capacity,
    chain,
    claim,
    device,
    entry,
    lend,
    name,
    read,
    same,
    say,
    stands,
    windows,
)
from tests.sync.river import BEE, RIVER
from tests.sync.world import FAR_S

THIEF = device("thief")
HONEST = chain(
    capacity(10_000),
    accept("a", 6_000),
    say(Act.WAIT, "b"),
    say(Act.RELEASE, "a", 2_000),
    accept("b", 6_000),
    say(Act.HANDOVER, "a"),
    say(Act.RELEASE, "b"),
    accept("c", 5_000),
)


# A history without forks.


def test_every_subset_of_an_honest_history_shows_a_beginning_of_it() -> None:
    beginnings = [read(HONEST[:n]) for n in range(len(HONEST) + 1)]
    for size in range(len(HONEST) + 1):
        for part in combinations(HONEST, size):
            ledger = read(part)
            stands(ledger)
            known = next((n for n, each in enumerate(HONEST) if each not in part), len(HONEST))
            assert ledger.n == known
            assert ledger.beyond == size - known
            assert ledger.promises.claims == beginnings[known].promises.claims
            assert ledger.is_known == (known > 0)
            assert ledger.void == {}


def test_an_entry_without_effect_does_not_break_the_chain() -> None:
    entries = chain(capacity(1_000), accept("a", 1_001), accept("b", 1_000))
    ledger = read(entries)
    assert ledger.void == {entries[1].id: "too_much"}
    assert (ledger.n, ledger.head, ledger.promises.free) == (3, entries[2].id, 0)


def test_nobody_but_the_keeper_writes() -> None:
    first = entry(1, None, capacity(5_000))
    thief = chain(accept("t", 5_000), accept("u", 1), after=first, by=THIEF)
    honest = entry(2, first, accept("a", 5_000))
    ledger = read([*thief, honest, first])
    assert list(ledger.promises.claims) == [claim("a")]
    assert ledger.void == {thief[0].id: NOT_THE_KEEPER, thief[1].id: OUT_OF_PLACE}
    assert (ledger.forks, ledger.lost, ledger.keeper) == ((), (), KEEPER)


@pytest.mark.parametrize(
    ("n", "word"), [(3, accept("a", 1)), (1, accept("a", 1)), (1, Word(Act.CHECKPOINT)), (1, capacity(9))]
)
def test_an_entry_that_cannot_stand_where_it_says_is_void(n: int, word: Word) -> None:
    first = entry(1, None, capacity(5_000))
    stray = entry(n, first, word)
    assert read([first, stray]).void == {stray.id: OUT_OF_PLACE}


def test_a_ledger_begins_with_what_there_is() -> None:
    for word in (accept("a", 1), Word(Act.CHECKPOINT), Word(Act.KEEPER, device=THIEF)):
        ledger = read([entry(1, None, word)])
        assert not ledger.is_known
        assert ledger.promises.open_ones() == []
    assert not read([entry(1, None, Word(Act.CAPACITY))]).is_known


# Keepers.


def test_the_keeper_names_the_next_and_is_keeper_no_more() -> None:
    entries = chain(capacity(5_000), Word(Act.KEEPER, device=THIEF))
    after = entry(3, entries[1], accept("a", 5_000), by=THIEF)
    former = entry(3, entries[1], accept("b", 5_000))
    ledger = read([*entries, after, former])
    assert ledger.keeper == THIEF
    assert list(ledger.promises.claims) == [claim("a")]
    assert ledger.void == {former.id: NOT_THE_KEEPER}


def test_the_town_key_names_a_keeper_whatever_else_stands_there() -> None:
    first = entry(1, None, capacity(9_000))
    stolen = chain(accept("t", 9_000), say(Act.HANDOVER, "t", 9_000), after=first)
    heir = device("heir")
    for salt in range(8):  # the ids compare either way
        named = entry(2, first, Word(Act.KEEPER, device=heir), by=TOWN_KEY, salt=salt)
        going_on = entry(3, named, accept("a", 1_000), by=heir)
        ledger = read([first, *stolen, named, going_on])
        assert (ledger.keeper, ledger.head) == (heir, going_on.id)
        assert ledger.promises.claims[claim("t")].status is Status.CALLED_OFF
        assert [fork.by_town_key for fork in ledger.forks] == [True]
        assert [each.id for each in ledger.unsettled] == [stolen[1].id]


def test_a_keeper_entry_by_another_key_or_without_a_name_names_nobody() -> None:
    first = entry(1, None, capacity(9_000))
    by_thief = entry(2, first, Word(Act.KEEPER, device=THIEF), by=THIEF)
    assert read([first, by_thief]).void == {by_thief.id: NOT_THE_KEEPER}
    empty = entry(2, first, Word(Act.KEEPER))
    assert read([first, empty]).void == {empty.id: "out_of_place"}
    assert read([first, empty]).keeper == KEEPER


# Forks.


def test_of_two_entries_in_one_place_the_smaller_id_stands_for_everybody() -> None:
    first = entry(1, None, capacity(2_000))
    one, other = chain(accept("a", 2_000), after=first), chain(accept("b", 2_000), after=first)
    one += chain(say(Act.HANDOVER, "a", 2_000), after=one[0])
    other += chain(say(Act.HANDOVER, "b", 2_000), after=other[0])
    kept, lost = (one, other) if one[0].id < other[0].id else (other, one)
    for order in permutations([first, *one, *other]):
        ledger = read(order)
        assert (ledger.n, ledger.head) == (3, kept[1].id)
        assert ledger.void == {each.id: FORK for each in lost}
        assert ledger.lost == tuple(lost)
        assert [(fork.n, fork.kept, fork.lost) for fork in ledger.forks] == [(2, kept[0].id, (lost[0].id,))]
        assert ledger.promises.claims[lost[0].word.claim or DOC].status is Status.CALLED_OFF
        assert [(each.id, each.milli) for each in ledger.unsettled] == [(lost[1].id, 2_000)]


def test_the_branch_that_the_town_key_chose_goes_before_an_earlier_fork_of_a_thief() -> None:
    """However small an id the thief finds, at the first entry or later, and however late it comes."""
    heir = device("heir")
    honest = chain(capacity(9_000), accept("a", 1_000), accept("b", 1_000))
    named = entry(4, honest[-1], Word(Act.KEEPER, device=heir), by=TOWN_KEY)
    going_on = chain(accept("c", 1_000), say(Act.HANDOVER, "c"), after=named, by=heir)
    for salt in range(6):
        early = entry(2, honest[0], accept("t", 9_000), salt=salt)
        other_first = entry(1, None, capacity(1_000), by=THIEF, salt=salt)
        ledger = read([early, other_first, *honest, named, *going_on])
        assert (ledger.head, ledger.keeper, ledger.promises.promised) == (going_on[-1].id, heir, 3_000)
        assert [fork.by_town_key for fork in ledger.forks] == [True, True]
        assert ledger.void == {early.id: FORK, other_first.id: FORK}


def test_what_an_heir_handed_over_on_a_losing_branch_is_gone_too() -> None:
    heir = device("heir")
    first = entry(1, None, capacity(9_000))
    branch = chain(Word(Act.KEEPER, device=heir), after=first)
    branch += chain(accept("a", 5_000), say(Act.HANDOVER, "a", 3_000), after=branch[0], by=heir)
    kept = min((entry(2, first, say(Act.WAIT, "z"), salt=salt) for salt in range(64)), key=lambda one: one.id)
    assert kept.id < branch[0].id
    ledger = read([first, *branch, kept])
    assert [(each.claim, each.milli) for each in ledger.unsettled] == [(claim("a"), 3_000)]
    assert ledger.promises.claims[claim("a")].status is Status.CALLED_OFF


def test_each_of_two_lost_branches_is_followed_from_the_state_in_which_it_left() -> None:
    first = entry(1, None, capacity(5_000))
    kept = min((entry(2, first, say(Act.WAIT, "z"), salt=salt) for salt in range(64)), key=lambda one: one.id)
    lost = entry(2, first, accept("a", 2_000))
    tips = [entry(3, lost, say(Act.HANDOVER, "a"), salt=salt) for salt in range(2)]
    again = entry(4, tips[0], say(Act.HANDOVER, "a"))
    empty = entry(4, tips[1], Word(Act.KEEPER))
    ledger = read([first, kept, lost, *tips, again, empty])
    assert kept.id < lost.id
    assert {each.id for each in ledger.gone} == {each.id for each in tips}
    assert set(ledger.void) == {lost.id, again.id, empty.id, *(each.id for each in tips)}


def test_two_first_entries_are_a_fork_like_any_other() -> None:
    firsts = [entry(1, None, capacity(milli), by=by) for milli, by in ((1_000, KEEPER), (9_000, THIEF))]
    kept = min(firsts, key=lambda each: each.id)
    ledger = read(firsts)
    assert (ledger.keeper, ledger.promises.capacity) == (kept.device, kept.word.milli)
    assert len(ledger.forks) == 1


def test_what_others_hang_on_a_losing_branch_is_no_word_of_the_keeper() -> None:
    first = entry(1, None, capacity(2_000))
    branches = sorted((entry(2, first, accept(who, 2_000)) for who in "ab"), key=lambda each: each.id)
    forged = entry(3, branches[1], say(Act.HANDOVER, "z", 2_000), by=THIEF)
    skipped = entry(9, branches[1], say(Act.HANDOVER, "z", 2_000))
    ledger = read([first, *branches, forged, skipped])
    assert ledger.unsettled == ()
    assert ledger.void[forged.id] == ledger.void[skipped.id] == OUT_OF_PLACE


def test_a_lost_handover_is_settled_by_the_entry_that_names_it() -> None:
    first = entry(1, None, capacity(4_000))
    branches = [chain(accept(who, 2_000), say(Act.HANDOVER, who, 2_000), after=first) for who in "ab"]
    kept, lost = sorted(branches, key=lambda each: each[0].id)
    lowered = entry(4, kept[1], capacity(2_000, settles=(lost[1].id,)))
    ledger = read([first, *kept, *lost, lowered])
    assert ledger.unsettled == ()
    assert (ledger.promises.capacity, ledger.promises.free) == (2_000, 0)


# Laws.

PLACES = st.integers(0, 6)
BRANCHES = st.booleans()
WORDS = st.one_of(
    st.builds(capacity, st.integers(-1, 9)),
    st.builds(lambda: windows(1)),
    st.builds(accept, st.integers(0, 5), st.sampled_from([-1, 0, 2, 4, 5, 9])),
    st.builds(accept, st.integers(0, 5), st.integers(4, 6)),
    st.builds(lambda who, start, size: lend(who, start, start + size), st.integers(0, 3), PLACES, PLACES),
    st.builds(say, st.sampled_from(Act), st.integers(0, 3), st.none() | st.integers(0, 9)),
    st.builds(lambda who: Word(Act.KEEPER, device=who), st.sampled_from([KEEPER, THIEF])),
)


@st.composite
def tangles(draw: st.DrawFn) -> list[Entry]:
    """Entries by keepers and thieves, each after any earlier one or after none, numbered rightly or not."""
    entries = list[Entry]()
    begins = draw(st.sampled_from([capacity(9), windows(1), capacity(0)]))
    for index in range(draw(st.integers(1, 14))):
        before: Entry | None = None
        branches = draw(BRANCHES) and draw(BRANCHES)
        if branches and entries:
            before = draw(st.sampled_from(entries))
        before = before or (entries[-1] if entries else None)
        n = (before.n + 1 if before else 1) + draw(st.sampled_from([0] * 9 + [1]))
        word = draw(WORDS) if entries else begins
        by = draw(st.sampled_from([KEEPER] * 8 + [THIEF, TOWN_KEY]))
        entries.append(entry(n, before, word, by=by, salt=index))
    return entries


@given(tangles(), WORDS)
@settings(max_examples=100, deadline=None)
def test_what_is_taken_back_leaves_no_trace(entries: list[Entry], word: Word) -> None:
    promises = read(entries).own
    there = promises.copy()
    promises.refusal(word)
    before = promises.before(word)
    with suppress(Void):
        promises.apply(word, entries[0].id)
    promises.take_back(before)
    assert all(getattr(promises, part) == getattr(there, part) for part in Promises.__slots__)


@pytest.mark.law
@given(tangles(), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_whatever_is_written_no_subset_promises_too_much_and_order_does_not_matter(
    entries: list[Entry], chance: random.Random
) -> None:
    whole = read(entries)
    stands(whole)
    shuffled = [*entries, *entries]
    chance.shuffle(shuffled)
    assert same(read(shuffled), whole)
    assert len(whole.void) <= len(entries)
    for _ in range(8):
        stands(read(each for each in entries if chance.random() < 0.7))


def test_all_small_tangles_of_two_hands_come_out_alike_in_every_order() -> None:
    """Two branches of up to two words each after one beginning, in all orders."""
    first = entry(1, None, capacity(3))
    words = [accept("a", 2), accept("b", 2), say(Act.RELEASE, "a"), say(Act.HANDOVER, "a", 1), capacity(4)]
    for left in product(words, repeat=2):
        for right in product(words, repeat=1):
            entries = [first, *chain(*left, after=first), *chain(*right, after=first, salt=1)]
            whole = read(entries)
            for order in permutations(entries):
                assert same(read(order), whole)
            for size in range(len(entries)):
                for part in combinations(entries, size):
                    stands(read(part))


def test_a_branch_with_thousands_of_twigs_costs_the_memory_of_one_path() -> None:
    """One document of the most entries: a long chain, and a lost branch that forks into all the rest."""
    many = ENTRIES_MAX // 2
    honest = chain(capacity(10**9), *(accept(at, 1) for at in range(many)))
    two = [entry(honest[-1].n + 1, honest[-1], say(Act.WAIT, "x"), salt=salt) for salt in range(2)]
    lost = max(two, key=lambda each: each.id)
    twigs = [entry(lost.n + 1, lost, accept(f"y{at}", 1)) for at in range(ENTRIES_MAX - len(honest) - 2)]
    tracemalloc.start()
    ledger = read([*honest, *two, *twigs])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(ledger.lost) == len(twigs) + 1
    assert peak < 8 * 2**20, f"{peak / 2**20:.0f} MiB"


# Entries as records.


def written(
    fields: dict[str, Value], *, op: Op = Op.ENTRY, kind: str = "ledger", cites: int = 1
) -> Entry | None:
    """Return what is read of a record with this body."""
    earlier = [RecordId(name(f"cited {index}", 32)) for index in range(cites)]
    record = BEE.write(kind, "x", op=op, federations=[RIVER], expires=FAR_S, cites=earlier, fields=fields)
    return read_record(record)


@pytest.mark.parametrize(
    "word",
    [
        capacity(24_000, unit="kg"),
        capacity(8_000, parent=DOC, parent_claim=claim("share")),
        windows(buffer_s=86_400),
        accept("a", 2_500, hold_until=1_800_000_000),
        accept("a", 8_000, share=TOWN),
        lend("a", 1_800_000_000, 1_800_086_400),
        say(Act.RELEASE, "a", 500, reason="not_wanted", child=RecordId(name("child", 32))),
        say(Act.RENEW, "a", end=1_900_000_000),
        Word(Act.KEEPER, device=THIEF),
        Word(Act.MOVED, moved_to=DOC),
        Word(Act.CHECKPOINT),
        accept("a", 1_000, seed=bytes(64)),
    ],
)
def test_a_word_is_read_as_it_was_written(word: Word) -> None:
    n = 1 if word.act in (Act.CAPACITY, Act.CHECKPOINT) else 2
    found = written(fields_of_entry(n, word))
    assert found is not None
    assert (found.n, found.word) == (n, word)


def test_what_an_entry_settles_stands_among_its_citations() -> None:
    found = written(fields_of_entry(2, capacity(1)), cites=3)
    assert found is not None
    assert found.after == name("cited 0", 32)
    assert found.word.settles == (name("cited 1", 32), name("cited 2", 32))


@pytest.mark.parametrize(
    "fields",
    [
        {"act": "wait", "claim": bytes(16)},
        {"n": 0, "act": "wait", "claim": bytes(16)},
        {"n": True, "act": "wait", "claim": bytes(16)},
        {"n": 10**9 + 1, "act": "wait"},
        {"n": 2, "act": "promise"},
        {"n": 2, "act": 7},
        {"n": 2, "act": "wait", "claim": bytes(15)},
        {"n": 2, "act": "wait", "claim": "who"},
        {"n": 2, "act": "accept", "claim": bytes(16), "milli": -1},
        {"n": 2, "act": "accept", "claim": bytes(16), "milli": True},
        {"n": 2, "act": "accept", "claim": bytes(16), "start": 2**40 + 1},
        {"n": 1, "act": "capacity", "milli": 1, "mode": "heap"},
        {"n": 1, "act": "capacity", "milli": 1, "mode": 1},
        {"n": 1, "act": "capacity", "milli": 1, "unit": 1},
        {"n": 1, "act": "capacity", "milli": 1, "buffer_s": 400 * 86_400},
        {"n": 2, "act": "decline", "claim": bytes(16), "reason": 5},
        {"n": 2, "act": "decline", "claim": bytes(16), "reason": ""},
        {"n": 2, "act": "decline", "claim": bytes(16), "reason": "a" * 33},
        {"n": 2, "act": "decline", "claim": bytes(16), "reason": "Call 0800 666"},
        {"n": 2, "act": "decline", "claim": bytes(16), "reason": "gone\n"},
        {"n": 1, "act": "capacity", "milli": 1, "unit": "\x1b[2J"},
        {"n": 1, "act": "capacity", "milli": 1, "unit": "a" * 17},
    ],
)
def test_an_entry_that_is_not_as_declared_is_none(fields: dict[str, Value]) -> None:
    assert written(fields) is None


def test_an_entry_after_none_is_none_and_other_kinds_are_none() -> None:
    assert written(fields_of_entry(2, accept("a", 1)), cites=0) is None
    assert written(fields_of_entry(1, capacity(1)), cites=0) is not None
    assert written(fields_of_entry(1, capacity(1)), kind="offer", op=Op.PUT) is None


def test_the_ledger_of_a_document_follows_from_its_header() -> None:
    record = BEE.write("offer", "x", op=Op.PUT, federations=[RIVER], expires=FAR_S)
    header = record.header
    expected = document_id(
        header.town, "ledger", header.lane, header.federations, header.born, FAR_S + 30 * 86_400, header.nonce
    )
    assert ledger_id(header) == expected != record.doc
    opened = BEE.write("ledger", "x", op=Op.ENTRY, federations=[RIVER], expires=FAR_S + OUTLIVES_S)
    assert (opened.doc, target_id(opened.header, "offer")) == (expected, record.doc)


def test_a_put_is_no_entry_and_a_share_names_both_ledger_and_claim() -> None:
    assert written(fields_of_entry(2, accept("a", 1)), op=Op.PUT) is None
    assert written({"n": 1, "act": "capacity", "milli": 1, "parent": bytes(16)}) is None
    assert written({"n": 1, "act": "capacity", "milli": 1, "parent_claim": bytes(16)}) is None
    nils = {"mode": None, "unit": None, "reason": None, "claim": None}
    assert written({"n": 1, "act": "capacity", "milli": 1, **nils}) is not None


def test_a_mode_is_one_of_two() -> None:
    assert {mode.value for mode in Mode} == {"quantity", "window"}


def test_a_first_entry_says_of_what_it_is_a_share_and_no_other_does() -> None:
    def told(fields: dict[str, Value], cites: int = 0) -> object:
        earlier = [RecordId(name(f"cited {index}", 32)) for index in range(cites)]
        return share_of(
            BEE.write(
                "ledger", "x", op=Op.ENTRY, federations=[RIVER], expires=FAR_S, cites=earlier, fields=fields
            )
        )

    word = capacity(8_000, parent=DOC, parent_claim=claim("share"))
    assert told(fields_of_entry(1, word)) == (DOC, claim("share"))
    assert told(fields_of_entry(2, word), cites=1) is None
    assert told(fields_of_entry(1, capacity(8_000))) is None
    assert told({"n": 0, "act": "capacity"}) is None
