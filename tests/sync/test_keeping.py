"""What an honest keeper writes: by policy, when time has passed, and after its key was in two places."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from hashlib import blake2b
from itertools import permutations
from typing import Any

import pytest

from protocol.ids import DocId, TownId
from sync import keeping
from sync.books import Book
from sync.keeping import Policy, Request, lot, lot_message, overdue, refusal, settle
from sync.ledger import Entry, Ledger
from sync.promises import TIME_MAX, Act, Status, Word
from tests.sync.bookkeeper import (
    DOC,
    TOWN,
    accept,
    capacity,
    chain,
    claim,
    entry,
    family,
    lend,
    name,
    read,
    say,
    stands,
    windows,
)

NOW_S = 1_000


def ask(who: object, milli: int = 1_000, *, heard: int = 0, urgency: int = 0) -> Request:
    """Return a request for an amount."""
    return Request(claim(who), heard, urgency, milli)


def decide(
    ledger: Ledger,
    asked: Iterable[Request],
    policy: Policy,
    *,
    now_s: int,
    hold_s: int | None = None,
    **more: Any,
) -> list[Word]:
    """Return what a keeper writes who has read all requests."""
    asked = list(asked)
    turns = keeping.turns(ledger, asked, policy, now_s=now_s, **more)
    return keeping.decide(ledger, turns, asked, now_s=now_s, hold_s=hold_s)


def written(entries: list[Entry], words: list[Word]) -> Ledger:
    """Return the ledger after its keeper has written these words; each of them must have its effect."""
    ledger = read(entries)
    kept = {ledger.head}
    last = next(each for each in entries if each.id in kept)
    ledger = read([*entries, *(more := chain(*words, after=last, salt="written"))])
    assert not {each.id for each in more} & ledger.void.keys()
    stands(ledger)
    return ledger


def order_of(words: list[Word]) -> list[tuple[str, object]]:
    """Return what is said to whom."""
    return [(word.act.value, word.claim) for word in words]


def test_who_comes_first_is_served_first_and_the_rest_wait_in_order() -> None:
    entries = chain(capacity(3_000))
    requests = [ask("late", 1_000, heard=3), ask("much", 2_500, heard=2), ask("early", 2_000, heard=1)]
    for order in permutations(requests):
        words = decide(read(entries), order, Policy.FIRST_COME, decides_at=0, now_s=NOW_S, hold_s=60)
        assert order_of(words) == [
            ("accept", claim("early")),
            ("wait", claim("much")),
            ("accept", claim("late")),
        ]
        assert words[0].hold_until == NOW_S + 60
    ledger = written(entries, words)
    assert decide(ledger, requests, Policy.FIRST_COME, decides_at=0, now_s=NOW_S) == []


def test_who_waits_goes_before_who_is_new() -> None:
    entries = chain(capacity(1_000), accept("a", 1_000), say(Act.WAIT, "b"), say(Act.RELEASE, "a"))
    words = decide(read(entries), [ask("c"), ask("b", heard=9)], Policy.FIRST_COME, decides_at=0, now_s=NOW_S)
    assert order_of(words) == [("accept", claim("b")), ("wait", claim("c"))]


def test_what_was_answered_or_cannot_be_promised_at_all_is_left() -> None:
    entries = chain(capacity(9_000), accept("a", 1_000), say(Act.DECLINE, "b"))
    asked = [ask("a"), ask("b"), ask("none", 0)]
    words = decide(read(entries), asked, Policy.FIRST_COME, decides_at=0, now_s=NOW_S)
    assert order_of(words) == [("wait", claim("none"))]


def test_the_most_urgent_is_served_first_once_the_gathering_has_ended() -> None:
    ledger = read(chain(capacity(2_000)))
    asked = [
        ask("a", heard=1),
        ask("b", heard=2, urgency=3),
        ask("c", heard=3, urgency=3),
        ask("d", heard=99),
    ]
    assert decide(ledger, asked, Policy.NEED_FIRST, decides_at=50, now_s=49) == []
    words = decide(ledger, asked, Policy.NEED_FIRST, decides_at=50, now_s=50)
    assert order_of(words) == [
        ("accept", claim("b")), ("accept", claim("c")), ("wait", claim("a")), ("wait", claim("d")),
    ]  # fmt: skip


def signed(message: bytes) -> bytes:
    """Return what only the keeper can make of a message."""
    return blake2b(message, key=b"the keeper's own").digest()


def draw(asked: list[Request]) -> list[Word]:
    """Return what is written of a draw over one thing."""
    ledger = read(chain(capacity(1_000)))
    return decide(ledger, asked, Policy.DRAW, decides_at=50, now_s=60, sign=signed)


def test_a_draw_is_the_same_for_everybody_and_shows_what_it_rests_on() -> None:
    asked = [ask(number, heard=number) for number in range(6)]
    words = draw(asked)
    for order in (asked[::-1], asked[3:] + asked[:3]):
        assert draw(order) == words
    seed = signed(lot_message(DOC, [each.claim for each in asked]))
    assert [word.seed for word in words] == [seed, None, None, None, None, None]
    assert [word.claim for word in words] == sorted((each.claim for each in asked), key=partial(lot, seed))
    late = draw([*asked, ask("late", heard=51)])
    assert order_of(late) == [*order_of(words), ("wait", claim("late"))]


def test_another_claim_makes_another_draw_and_one_claim_none() -> None:
    asked = [ask(number) for number in range(6)]
    assert len({draw([*asked, ask(f"one more {more}")])[0].claim for more in range(30)}) > 3
    assert [(word.act, word.seed) for word in draw(asked[:1])] == [(Act.ACCEPT, None)]


def test_windows_are_promised_while_they_are_free() -> None:
    ledger = read(chain(windows(buffer_s=10)))
    asked = [Request(claim(who), heard, start=start, end=start + 50) for who, heard, start in
             (("a", 1, 100), ("b", 2, 120), ("c", 3, 160))]  # fmt: skip
    words = decide(ledger, asked, Policy.FIRST_COME, decides_at=0, now_s=NOW_S, hold_s=60)
    assert order_of(words) == [("accept", claim("a")), ("wait", claim("b")), ("accept", claim("c"))]
    assert words[0].hold_until is None


def test_nothing_is_decided_on_a_ledger_that_is_not_known_or_has_a_fork_to_settle() -> None:
    assert decide(read([]), [ask("a")], Policy.FIRST_COME, decides_at=0, now_s=NOW_S) == []
    assert settle(read([])) == []
    assert refusal(read([]), accept("a", 1)) == "not_known_yet"
    forked = read(fork(capacity(9_000), [accept("x", 1_000)], [accept("y", 1_000), say(Act.HANDOVER, "y")]))
    if forked.unsettled:
        assert decide(forked, [ask("a")], Policy.FIRST_COME, decides_at=0, now_s=NOW_S) == []


def test_a_keeper_is_told_why_a_word_would_have_no_effect() -> None:
    ledger = read(chain(capacity(1_000)))
    assert refusal(ledger, accept("a", 1_001)) == "too_much"
    assert refusal(ledger, accept("a", 1_000)) == ""
    assert refusal(ledger, capacity(7_000)) == ""
    assert ledger.promises.promised == 0


def test_what_was_kept_too_long_is_released() -> None:
    ledger = read(
        chain(
            capacity(9_000), accept("a", 1_000, hold_until=NOW_S), accept("b", 1_000, hold_until=NOW_S + 1),
            accept("c", 1_000), accept("d", 1_000, hold_until=5), say(Act.HANDOVER, "d"),
        )
    )  # fmt: skip
    assert overdue(ledger, NOW_S) == [Word(Act.RELEASE, claim("a"), reason="hold_ended")]


# After a fork.


def fork(first: Word, kept: list[Word], lost: list[Word], before: tuple[Word, ...] = ()) -> list[Entry]:
    """Return a history with two branches, of which `kept` is the one with the smaller id."""
    begins = chain(first, *before)
    for salt in range(10_000):
        one, other = (
            chain(*words, after=begins[-1], salt=(salt, side)) for side, words in enumerate((kept, lost))
        )
        if one[0].id < other[0].id:
            return [*begins, *one, *other]
    raise AssertionError("no such order")


def test_what_went_out_on_the_other_branch_is_taken_from_what_there_is() -> None:
    entries = fork(
        capacity(3_000),
        [accept("a", 1_000), accept("b", 1_000), accept("c", 1_000)],
        [accept("x", 1_000), say(Act.HANDOVER, "x", 1_000)],
    )
    assert refusal(read(entries), accept("d", 1)) == "unsettled_fork"
    ledger = written(entries, settle(read(entries)))
    assert (ledger.unsettled, ledger.promises.capacity) == ((), 2_000)
    assert [each.claim for each in ledger.promises.open_ones()] == [claim("a"), claim("b")]
    assert ledger.promises.claims[claim("c")].reason == "fork"
    assert settle(ledger) == []


def test_what_was_promised_on_both_branches_went_out_once() -> None:
    entries = fork(
        capacity(3_000),
        [say(Act.WAIT, "z")],
        [say(Act.HANDOVER, "a", 2_000)],
        before=(accept("a", 2_000),),
    )
    ledger = written(entries, settle(read(entries)))
    assert ledger.promises.claims[claim("a")].status is Status.HANDED_OVER
    assert (ledger.promises.capacity, ledger.promises.promised, ledger.unsettled) == (3_000, 2_000, ())


def test_what_was_handed_over_twice_is_as_much_as_there_is_said_to_be() -> None:
    entries = fork(
        capacity(2_000),
        [accept("a", 2_000), say(Act.HANDOVER, "a")],
        [accept("x", 2_000), say(Act.HANDOVER, "x")],
    )
    ledger = written(entries, settle(read(entries)))
    assert (ledger.promises.capacity, ledger.promises.promised, ledger.unsettled) == (2_000, 2_000, ())


def test_a_share_is_not_released_behind_its_towns_back() -> None:
    share = accept("s", 2_000, share=TownId(bytes(32)))
    entries = fork(capacity(3_000), [share], [accept("x", 3_000), say(Act.HANDOVER, "x", 3_000)])
    ledger = written(entries, settle(read(entries)))
    assert (ledger.promises.claims[claim("s")].milli, ledger.promises.capacity) == (2_000, 2_000)


def test_a_share_is_never_handed_over_to_anybody() -> None:
    share = accept("s", 2_000, share=TownId(bytes(32)))
    entries = fork(capacity(3_000), [say(Act.WAIT, "z")], [say(Act.HANDOVER, "s")], before=(share,))
    ledger = written(entries, settle(read(entries)))
    assert (ledger.promises.claims[claim("s")].status, ledger.unsettled) == (Status.ACCEPTED, ())


@pytest.mark.parametrize("count", [1, 7, 8, 20])
def test_any_number_of_lost_handovers_is_settled(count: int) -> None:
    lost = [word for who in range(count) for word in (accept(who, 10), say(Act.HANDOVER, who, 10))]
    entries = fork(capacity(1_000), [say(Act.WAIT, "z")], lost)
    ledger = written(entries, settle(read(entries)))
    assert (ledger.promises.capacity, ledger.unsettled) == (1_000 - 10 * count, ())


def test_a_thing_that_went_out_on_the_other_branch_is_written_down_as_gone() -> None:
    entries = fork(
        windows(), [lend("a", 100, 200), lend("b", 300, 400)], [lend("x", 150, 250), say(Act.HANDOVER, "x")]
    )
    ledger = written(entries, settle(read(entries)))
    claims = ledger.promises.claims
    assert (claims[claim("a")].status, claims[claim("x")].status) == (Status.RELEASED, Status.HANDED_OVER)
    assert (claims[claim("b")].status, ledger.unsettled) == (Status.ACCEPTED, ())


def test_a_thing_promised_on_both_branches_is_handed_over() -> None:
    entries = fork(windows(), [say(Act.WAIT, "z")], [say(Act.HANDOVER, "a")], before=(lend("a", 100, 200),))
    ledger = written(entries, settle(read(entries)))
    assert (ledger.promises.claims[claim("a")].status, ledger.unsettled) == (Status.HANDED_OVER, ())


@pytest.mark.parametrize("first", [windows(), capacity(1_000)])
def test_a_senseless_handover_is_not_believed(first: Word) -> None:
    lies = [
        say(Act.HANDOVER, "nobody", 10**12),
        Word(Act.HANDOVER),
        accept("x", 10**12),
        say(Act.HANDOVER, "x"),
    ]
    ledger = read(fork(first, [say(Act.WAIT, "z")], lies))
    assert (ledger.unsettled, settle(ledger)) == ((), [])


def test_what_was_accepted_before_the_fork_and_released_here_is_gone_as_it_was_there() -> None:
    entries = fork(
        capacity(3_000), [say(Act.RELEASE, "a"), accept("b", 3_000)], [say(Act.HANDOVER, "a")],
        before=(accept("a", 2_000),),
    )  # fmt: skip
    ledger = written(entries, settle(read(entries)))
    assert (ledger.promises.capacity, ledger.promises.promised, ledger.unsettled) == (1_000, 0, ())


def test_more_went_out_there_than_is_promised_here() -> None:
    entries = fork(capacity(3_000), [accept("a", 1_000)], [accept("a", 3_000), say(Act.HANDOVER, "a")])
    ledger = written(entries, settle(read(entries)))
    assert (ledger.promises.capacity, ledger.promises.promised, ledger.unsettled) == (1_000, 1_000, ())


def test_a_window_that_went_out_there_is_written_down_in_place_of_another_one() -> None:
    entries = fork(
        windows(), [lend("a", 500, 600), lend("b", 120, 130)], [lend("a", 100, 200), say(Act.HANDOVER, "a")]
    )
    ledger = written(entries, settle(read(entries)))
    held = ledger.promises.claims[claim("a")]
    assert (held.start, held.end, held.status) == (100, 200, Status.HANDED_OVER)
    assert ledger.promises.claims[claim("b")].status is Status.RELEASED


def test_a_thing_handed_over_on_both_branches_is_settled() -> None:
    entries = fork(
        windows(), [lend("a", 1, 2), say(Act.HANDOVER, "a")], [lend("a", 1, 2), say(Act.HANDOVER, "a")]
    )
    ledger = read(entries)
    words = settle(ledger)
    last = next(each for each in entries if each.id == ledger.head)
    after = read([*entries, *chain(*words, after=last, salt="written")])
    assert (after.unsettled, settle(after)) == ((), [])


def test_each_part_of_a_long_settlement_counts_by_itself() -> None:
    lost = [word for who in range(20) for word in (accept(who, 10), say(Act.HANDOVER, who, 10))]
    entries = fork(capacity(1_000), [say(Act.WAIT, "z")], lost)
    ledger = written(entries, settle(read(entries))[:1])
    assert (ledger.promises.capacity, len(ledger.unsettled)) == (930, 13)
    ledger_again = read(entries)
    assert refusal(ledger_again, accept("q", 1)) == "unsettled_fork"


# Shares.

FAR = TownId(name("far town", 32))
CHILD = DocId(name("child", 16))


def share(parent: list[Word], words: list[Word]) -> tuple[list[Entry], Ledger]:
    """Return the entries of a share's ledger, and the ledger under what its parent gives."""
    opening = capacity(8_000, parent=DOC, parent_claim=claim("share"))
    entries = chain(opening, *words, town=FAR)
    above = Book(DOC, TOWN, tuple(chain(capacity(24_000), *parent)))
    return entries, family(above, Book(CHILD, FAR, tuple(entries)))[CHILD]


def test_a_share_that_was_taken_back_is_put_in_order_before_anything_more_is_promised() -> None:
    parent = [accept("share", 8_000, share=FAR), say(Act.RELEASE, "share", 5_000)]
    words = [accept("x", 2_000), say(Act.HANDOVER, "x"), accept("y", 3_000), accept("w", 3_000)]
    _, ledger = share(parent, words)
    assert decide(ledger, [ask("new")], Policy.FIRST_COME, decides_at=0, now_s=NOW_S) == []
    said = settle(ledger)
    assert [(word.act, word.claim, word.milli) for word in said] == [
        (Act.RELEASE, claim("y"), 2_000), (Act.RELEASE, claim("w"), 3_000), (Act.CAPACITY, None, 3_000),
    ]  # fmt: skip
    _, after = share(parent, words + said)
    assert (settle(after), after.promises.promised, after.own.promised) == ([], 3_000, 3_000)
    assert order_of(decide(after, [ask("w")], Policy.FIRST_COME, decides_at=0, now_s=NOW_S)) == [
        ("wait", claim("w"))
    ]


def test_what_is_out_of_the_house_is_not_released_by_a_word() -> None:
    _, ledger = share([accept("share", 8_000, share=FAR), say(Act.RELEASE, "share")],
                      [accept("x", 8_000), say(Act.HANDOVER, "x")])  # fmt: skip
    assert (settle(ledger), ledger.own.promised, ledger.promises.promised) == ([], 8_000, 0)
    assert refusal(ledger, accept("y", 1)) == "too_much"


def test_a_lent_thing_is_released_when_its_share_is_no_more() -> None:
    opening = windows(parent=DOC, parent_claim=claim("share"))
    entries = chain(opening, lend("x", 1, 5), town=FAR)
    words = [accept("share", 1_000, share=FAR), say(Act.RELEASE, "share")]
    above = Book(DOC, TOWN, tuple(chain(capacity(24_000), *words)))
    ledger = family(above, Book(CHILD, FAR, tuple(entries)))[CHILD]
    assert order_of(settle(ledger)) == [("release", claim("x"))]


def test_a_share_is_not_overdue() -> None:
    ledger = read(chain(capacity(8_000), accept("s", 8_000, share=FAR, hold_until=5)))
    assert overdue(ledger, NOW_S) == []


def test_a_ledger_that_has_moved_on_is_written_to_no_more() -> None:
    ledger = read(chain(capacity(8_000), Word(Act.MOVED, moved_to=CHILD)))
    assert decide(ledger, [ask("a")], Policy.FIRST_COME, decides_at=0, now_s=NOW_S) == []
    assert refusal(ledger, accept("a", 1)) == "not_known_yet"


def test_words_on_the_ledger_itself_are_looked_at_before_they_are_said() -> None:
    ledger = read(chain(capacity(8_000)))
    assert refusal(ledger, Word(Act.KEEPER, device=bytes(32))) == ""
    assert refusal(ledger, Word(Act.KEEPER)) == "names_nobody"
    assert refusal(ledger, Word(Act.MOVED, moved_to=CHILD)) == ""
    assert refusal(ledger, Word(Act.MOVED, moved_to=DOC)) == "names_nothing"


def test_no_promise_reaches_beyond_the_end_of_time() -> None:
    words = decide(
        read(chain(capacity(1_000))), [ask("a")], Policy.FIRST_COME, decides_at=0, now_s=5, hold_s=2**50
    )
    assert [word.hold_until for word in words] == [TIME_MAX]


def test_a_claim_that_was_called_off_is_answered_anew() -> None:
    entries = fork(capacity(2_000), [say(Act.WAIT, "z")], [accept("x", 1_000)])
    words = decide(read(entries), [ask("x")], Policy.FIRST_COME, decides_at=0, now_s=NOW_S)
    assert order_of(words) == [("accept", claim("x"))]
    assert entry(1, None, capacity(1)).n == 1
