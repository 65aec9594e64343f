"""Ledgers that hang together: shares never add up to more than there is, whatever has arrived where."""

from __future__ import annotations

import random
from itertools import pairwise, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.ids import DocId, TownId
from sync import keeping
from sync.books import GOES_ON_MAX, SHARES_DEEP_MAX, Book
from sync.ledger import Entry, Ledger
from sync.promises import Act, Status, Word
from tests.sync.bookkeeper import (
    DOC,
    TOWN,
    accept,
    capacity,
    chain,
    claim,
    device,
    entry,
    family,
    lend,
    name,
    say,
    stands,
    windows,
)

FAR = TownId(name("far town", 32))
FAR_KEEPER = device("far keeper")
CHILD = DocId(name("child", 16))


def share_of(milli: int, who: object = "share", parent: DocId = DOC) -> Word:
    """Return the word that opens the ledger of a share."""
    return capacity(milli, parent=parent, parent_claim=claim(who))


def child(*words: Word, doc: DocId = CHILD, town: TownId = FAR) -> Book:
    """Return the ledger of a share at the other town."""
    return Book(doc, town, tuple(chain(*words, by=FAR_KEEPER, town=town)))


def book(*words: Word, doc: DocId = DOC) -> Book:
    """Return a ledger of this town."""
    return Book(doc, TOWN, tuple(chain(*words, salt=doc)))


PARENT = book(capacity(24_000), accept("share", 8_000, share=FAR), accept("a", 16_000))


def test_a_share_promises_what_its_parent_gives_it() -> None:
    ledgers = family(PARENT, child(share_of(8_000), accept("x", 8_000)))
    assert ledgers[CHILD].promises.promised == 8_000
    assert (ledgers[CHILD].promises.free, ledgers[DOC].promises.free) == (0, 0)


def test_a_ledger_that_a_third_town_opens_over_a_share_takes_nothing_from_it() -> None:
    thief = Book(
        DocId(bytes(16)),
        TownId(name("third town", 32)),
        tuple(chain(share_of(8_000), by=device("third"), town=TownId(name("third town", 32)))),
    )
    ledgers = family(PARENT, child(share_of(8_000), accept("x", 8_000)), thief)
    assert ledgers[CHILD].promises.promised == 8_000
    assert ledgers[thief.doc].promises.capacity == 0


def test_a_share_whose_parent_is_not_known_promises_nothing_yet() -> None:
    alone = family(child(share_of(8_000), accept("x", 8_000)))[CHILD]
    assert (alone.is_known, alone.waits_for, alone.promises.promised) == (False, DOC, 0)
    headless = Book(DOC, TOWN, PARENT.entries[1:])
    ledgers = family(headless, child(share_of(8_000), accept("x", 8_000)))
    assert ledgers[CHILD].waits_for == DOC
    assert DOC not in ledgers


def test_a_share_claims_no_more_than_it_was_given() -> None:
    words = accept("x", 6_000), accept("y", 6_000), accept("w", 6_000)
    greedy = family(PARENT, child(share_of(20_000), *words))[CHILD]
    assert greedy.promises.capacity == 8_000
    assert {each.claim: each.milli for each in greedy.promises.open_ones()} == {
        claim("x"): 6_000,
        claim("y"): 2_000,
    }
    assert greedy.promises.claims[claim("w")].status is Status.CALLED_OFF
    assert greedy.own.promised == 18_000


def test_a_share_is_counted_as_its_parent_is() -> None:
    tons = child(capacity(8_000, unit="kg", parent=DOC, parent_claim=claim("share")), accept("x", 8_000))
    assert family(PARENT, tons)[CHILD].promises.promised == 0


def test_a_thing_that_goes_round_is_no_part_of_one() -> None:
    round_about = windows(parent=DOC, parent_claim=claim("share"))
    whole = book(capacity(24_000), accept("share", 1_000, share=FAR))
    part = book(capacity(24_000), accept("share", 999, share=FAR))
    for parent, lent in ((whole, 1), (part, 0)):
        ledger = family(parent, child(round_about, lend("x", 1, 5)))[CHILD]
        assert len(ledger.promises.open_ones()) == lent


def test_a_share_waits_until_its_acceptance_has_arrived() -> None:
    part = Book(DOC, TOWN, PARENT.entries[:1])
    ledger = family(part, child(share_of(8_000), accept("x", 8_000)))[CHILD]
    assert (ledger.is_known, ledger.waits_for) == (False, DOC)


def test_what_is_no_share_of_that_town_is_worth_nothing() -> None:
    stranger = child(share_of(8_000), accept("x", 8_000), town=TownId(name("stranger", 32)))
    assert family(PARENT, stranger)[CHILD].promises.promised == 0
    other_claim = child(share_of(8_000, who="a"), accept("x", 8_000))
    assert family(PARENT, other_claim)[CHILD].promises.promised == 0


def test_two_ledgers_over_one_share_do_not_double_it() -> None:
    twins = [child(share_of(8_000), accept(who, 8_000), doc=DocId(name(who, 16))) for who in ("x", "y")]
    for order in permutations([PARENT, *twins]):
        ledgers = family(*order)
        promised = {doc: ledgers[doc].promises.promised for doc in (twins[0].doc, twins[1].doc)}
        assert promised == {min(promised): 8_000, max(promised): 0}


def test_a_release_above_takes_from_below_and_a_lowered_share_loses_nothing() -> None:
    released = book(
        capacity(24_000),
        accept("share", 8_000, share=FAR),
        say(Act.RELEASE, "share", 5_000),
        accept("a", 21_000),
    )
    kept_on = family(released, child(share_of(8_000), accept("x", 3_000), accept("y", 5_000)))[CHILD]
    assert [each.claim for each in kept_on.promises.open_ones()] == [claim("x")]
    assert [(each.act, each.milli) for each in keeping.settle(kept_on)] == [
        (Act.RELEASE, 5_000),
        (Act.CAPACITY, 3_000),
    ]
    lowered = family(released, child(share_of(8_000), accept("x", 3_000), capacity(3_000)))[CHILD]
    assert (lowered.promises.promised, lowered.promises.free) == (3_000, 0)


def test_the_share_of_a_losing_accept_is_called_off() -> None:
    first = PARENT.entries[0]
    lost = max(
        (entry(2, first, accept("share", 8_000, share=FAR), salt=salt) for salt in range(9)),
        key=lambda each: each.id,
    )
    forked = Book(DOC, TOWN, (first, lost, entry(2, first, accept("a", 24_000), salt="kept")))
    assert min(each.id for each in forked.entries[1:]) != lost.id
    ledgers = family(forked, child(share_of(8_000), accept("x", 8_000)))
    assert ledgers[CHILD].promises.claims[claim("x")].status is Status.CALLED_OFF
    assert ledgers[DOC].promises.claims[claim("share")].status is Status.CALLED_OFF


def tower(height: int) -> list[Book]:
    """Return a ledger, a share of it, a share of that, and so on."""
    docs = [DocId(name(f"floor {number}", 16)) for number in range(height)]
    floors = [book(capacity(9_000), accept("share", 9_000, share=TOWN), doc=docs[0])]
    floors += [
        book(share_of(9_000, parent=below), accept("share", 9_000, share=TOWN), doc=doc)
        for below, doc in pairwise(docs)
    ]
    return floors


def test_shares_of_shares_are_read_down_to_a_depth_that_is_the_same_everywhere() -> None:
    floors = tower(SHARES_DEEP_MAX + 3)
    chance = random.Random(7)
    for _ in range(6):
        chance.shuffle(order := list(floors))
        ledgers = family(*order)
        assert [ledgers[floor.doc].is_known for floor in floors] == [True] * SHARES_DEEP_MAX + [False] * 3
    assert family(*floors[:4])[floors[3].doc].promises.promised == 9_000


def test_ledgers_that_are_shares_of_each_other_promise_nothing() -> None:
    ring = [
        book(share_of(9_000, parent=CHILD), accept("share", 9_000, share=TOWN)),
        book(share_of(9_000), accept("share", 9_000, share=TOWN), doc=CHILD),
    ]
    for ledger in family(*ring).values():
        assert (ledger.is_known, ledger.promises.promised) == (False, 0)


# Ledgers that go on.

NEXT = DocId(name("next", 16))
OLD = chain(capacity(5_000), accept("a", 2_000), Word(Act.MOVED, moved_to=NEXT))
GOES_ON = [first := entry(1, OLD[-1], Word(Act.CHECKPOINT)), *chain(accept("b", 3_000), after=first)]


def test_a_ledger_goes_on_in_another_document() -> None:
    ledgers = family(Book(DOC, TOWN, tuple(OLD)), Book(NEXT, TOWN, tuple(GOES_ON)))
    assert list(ledgers) == [DOC]
    whole = ledgers[DOC]
    assert (whole.doc, whole.goes_on_in, whole.head, whole.n) == (DOC, NEXT, GOES_ON[-1].id, 2)
    assert whole.promises.promised == 5_000
    assert whole.first == OLD[0]


def test_until_the_rest_has_come_the_old_part_stands() -> None:
    old = family(Book(DOC, TOWN, tuple(OLD)))[DOC]
    assert (old.promises.promised, old.moved_to) == (2_000, NEXT)
    headless = family(Book(DOC, TOWN, tuple(OLD)), Book(NEXT, TOWN, tuple(GOES_ON[1:])))[DOC]
    assert (headless.promises.promised, headless.moved_to) == (2_000, NEXT)
    foreign = family(Book(DOC, TOWN, tuple(OLD)), Book(NEXT, FAR, tuple(GOES_ON)))[DOC]
    assert foreign.promises.promised == 2_000


def test_nothing_is_written_behind_a_move_and_only_the_keeper_goes_on() -> None:
    late = entry(4, OLD[-1], accept("z", 1_000))
    assert family(Book(DOC, TOWN, (*OLD, late)))[DOC].void == {late.id: "out_of_place"}
    thief = entry(1, OLD[-1], Word(Act.CHECKPOINT), by=FAR_KEEPER)
    ledgers = family(Book(DOC, TOWN, tuple(OLD)), Book(NEXT, TOWN, (thief,)))
    assert ledgers[DOC].goes_on_in == DOC


def test_of_two_beginnings_of_what_goes_on_one_is_lost_with_all_that_rests_on_it() -> None:
    firsts = sorted(
        (entry(1, OLD[-1], Word(Act.CHECKPOINT), salt=salt) for salt in range(2)), key=lambda one: one.id
    )
    rest = [
        word for first in firsts for word in chain(accept("b", 3_000), say(Act.HANDOVER, "b"), after=first)
    ]
    whole = family(Book(DOC, TOWN, tuple(OLD)), Book(NEXT, TOWN, (*firsts, *rest)))[DOC]
    assert (whole.promises.promised, [each.milli for each in whole.unsettled]) == (5_000, [3_000])


def test_a_ledger_does_not_move_into_itself() -> None:
    entries = chain(capacity(5_000), Word(Act.MOVED, moved_to=DOC), accept("a", 1_000))
    ledger = family(Book(DOC, TOWN, tuple(entries)))[DOC]
    assert (ledger.moved_to, ledger.promises.promised) == (None, 1_000)


def test_a_move_to_nowhere_moves_nothing() -> None:
    entries = chain(capacity(5_000), Word(Act.MOVED), accept("a", 1_000))
    ledger = family(Book(DOC, TOWN, tuple(entries)))[DOC]
    assert (ledger.moved_to, ledger.promises.promised) == (None, 1_000)


def test_ledgers_that_move_in_a_circle_come_to_an_end() -> None:
    round_about = entry(1, OLD[-1], Word(Act.CHECKPOINT))
    back = entry(2, round_about, Word(Act.MOVED, moved_to=DOC))
    ledgers = family(Book(DOC, TOWN, tuple(OLD)), Book(NEXT, TOWN, (round_about, back)))
    assert ledgers[DOC].promises.promised == 2_000


def test_a_ledger_goes_on_so_often_and_no_more() -> None:
    docs = [DocId(name(f"volume {number}", 16)) for number in range(GOES_ON_MAX + 3)]
    books, last = list[Book](), None
    for doc, following in pairwise(docs):
        first = entry(1, last, capacity(5_000) if last is None else Word(Act.CHECKPOINT), salt=doc)
        last = entry(2, first, Word(Act.MOVED, moved_to=following))
        books.append(Book(doc, TOWN, (first, last)))
    assert family(*books)[docs[0]].goes_on_in == docs[GOES_ON_MAX]


# The last generator.

GENERATORS, SHARE = 24, 8


def last_generator(chance: random.Random) -> list[tuple[DocId, TownId, Entry]]:
    """Return the entries of two keepers who answer forty claims behind a cut, each by its own part.

    The second may be a greedy one, that says it has more, and the first may take some of the share back.
    """
    at_home = [capacity(GENERATORS * 1_000), accept("share", SHARE * 1_000, share=FAR)]
    away = [share_of(chance.choice([SHARE, SHARE + 12]) * 1_000)]
    for number in range(40):
        words = chance.choice([at_home, away])
        words.append(accept(number, chance.choice([1_000, 1_000, 2_000, 3_000])))
        if chance.random() < 0.3:
            words.append(say(chance.choice([Act.RELEASE, Act.HANDOVER]), chance.randrange(number + 1)))
        if chance.random() < 0.2:
            words.append(say(Act.WAIT, number))
        if chance.random() < 0.05:
            at_home.append(say(Act.RELEASE, "share", 1_000))
    home = [(DOC, TOWN, each) for each in chain(*at_home)]
    return home + [(CHILD, FAR, each) for each in chain(*away, by=FAR_KEEPER, town=FAR)]


def books_of(entries: list[tuple[DocId, TownId, Entry]]) -> list[Book]:
    """Return the ledgers of these entries."""
    towns = {doc: town for doc, town, _ in entries}
    return [
        Book(doc, town, tuple(each for other, _, each in entries if other == doc))
        for doc, town in towns.items()
    ]


def promised_to_people(ledgers: dict[DocId, Ledger]) -> int:
    """Return what all claims but shares were promised together, in thousandths."""
    return sum(
        each.milli
        for ledger in ledgers.values()
        for each in ledger.promises.open_ones()
        if each.share is None
    )


@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_no_subset_of_two_towns_ledgers_promises_the_last_generator_twice(seed: int) -> None:
    """25 histories, 20 subsets of each, doubled and reordered: 500 nodes that have heard a part of it."""
    chance = random.Random(seed)
    entries = last_generator(chance)
    for _ in range(20):
        part = [each for each in entries * 2 if chance.random() < 0.8]
        chance.shuffle(part)
        ledgers = family(*books_of(part))
        for ledger in ledgers.values():
            stands(ledger)
        assert promised_to_people(ledgers) <= GENERATORS * 1_000
        if CHILD in ledgers:
            given = ledgers[DOC].promises.worth(claim("share"), FAR) if DOC in ledgers else 0
            assert ledgers[CHILD].promises.promised <= given <= SHARE * 1_000
    whole = family(*books_of(entries))
    assert promised_to_people(whole) > SHARE * 1_000


def test_what_went_on_behind_a_lost_move_is_not_known_any_more_and_promised_to_nobody() -> None:
    """The price is told in decision 0017; nothing is promised twice for it."""
    first = entry(1, None, capacity(5_000))
    lost = chain(accept("a", 1_000), Word(Act.MOVED, moved_to=NEXT), after=first)
    kept = min((entry(2, first, accept("z", 5_000), salt=salt) for salt in range(64)), key=lambda one: one.id)
    there = [entry(1, lost[1], Word(Act.CHECKPOINT))]
    there += chain(accept("b", 2_000), say(Act.HANDOVER, "b"), after=there[0])
    before = family(Book(DOC, TOWN, (first, *lost)), Book(NEXT, TOWN, tuple(there)))[DOC]
    assert before.promises.claims[claim("b")].status is Status.HANDED_OVER
    assert kept.id < lost[0].id
    ledger = family(Book(DOC, TOWN, (first, kept, *lost)), Book(NEXT, TOWN, tuple(there)))[DOC]
    stands(ledger)
    assert ledger.promises.claims[claim("a")].status is Status.CALLED_OFF
    assert claim("b") not in ledger.promises.claims
    assert (ledger.gone, len(ledger.forks), ledger.goes_on_in) == ((), 1, DOC)
