"""What there is and what of it is promised: every word has its effect, or none at all."""

from __future__ import annotations

import pytest

from protocol.ids import DocId, RecordId, TownId
from protocol.structures import MILLI_MAX
from sync.promises import Act, Mode, Promises, Status, Void, Word
from tests.sync.bookkeeper import accept, capacity, claim, lend, say, windows

ENTRY = RecordId(bytes(32))
FAR_TOWN = TownId(bytes(31) + b"f")


def opened(word: Word, *more: Word) -> Promises:
    """Return the state after these words, all of which must have their effect."""
    promises = Promises()
    promises.begin(word)
    for each in more:
        promises.apply(each, ENTRY)
    return promises


@pytest.mark.parametrize(
    ("before", "word", "code"),
    [
        ([], accept("a"), "no_amount"),
        ([], accept("a", 0), "no_amount"),
        ([], accept("a", MILLI_MAX + 1), "no_amount"),
        ([], accept("a", 10_001), "too_much"),
        ([accept("a", 6_000)], accept("b", 4_001), "too_much"),
        ([accept("a", 1_000)], accept("a", 1_000), "accepted_already"),
        ([], Word(Act.ACCEPT, milli=1_000), "names_no_claim"),
        ([], say(Act.RELEASE, "a"), "not_accepted"),
        ([say(Act.WAIT, "a")], say(Act.RELEASE, "a"), "not_accepted"),
        ([accept("a", 1_000)], say(Act.RELEASE, "a", 1_001), "too_much"),
        ([accept("a", 1_000)], say(Act.WAIT, "a"), "accepted_already"),
        ([accept("a", 1_000)], say(Act.DECLINE, "a"), "accepted_already"),
        ([say(Act.WAIT, "a")], say(Act.WAIT, "a"), "said_already"),
        ([], say(Act.HANDOVER, "a"), "not_accepted"),
        ([accept("a", 1_000)], say(Act.HANDOVER, "a", 1_001), "too_much"),
        ([accept("a", 1_000), say(Act.HANDOVER, "a")], say(Act.HANDOVER, "a"), "said_already"),
        ([accept("a", 1_000, share=FAR_TOWN)], say(Act.HANDOVER, "a"), "a_share"),
        ([accept("a", 1_000)], say(Act.RENEW, "a"), "no_window"),
        ([accept("a", 1_000)], say(Act.RENEW, "a", hold_until=2**41), "no_window"),
        ([], accept("a", 1_000, hold_until=2**41), "no_window"),
        ([accept("a", 6_000)], capacity(5_999), "below_promised"),
        ([], Word(Act.CAPACITY), "no_amount"),
        ([], Word(Act.KEEPER), "out_of_place"),
        ([], Word(Act.CHECKPOINT), "out_of_place"),
    ],
)
def test_a_word_on_amounts_that_makes_no_sense_changes_nothing(
    before: list[Word], word: Word, code: str
) -> None:
    promises = opened(capacity(10_000), *before)
    claims, there = dict(promises.claims), promises.capacity
    with pytest.raises(Void) as void:
        promises.apply(word, ENTRY)
    assert void.value.code == code
    assert (promises.claims, promises.capacity) == (claims, there)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        (accept("b", 1_000), "no_window"),
        (lend("b", 20, 20), "no_window"),
        (lend("b", -5, 20), "no_window"),
        (lend("b", 20, 2**41), "no_window"),
        (say(Act.HANDOVER, "a", 500), "no_part_of_a_window"),
        (lend("b", 100, 299), "overlaps"),
        (lend("b", 299, 400), "overlaps"),
        (lend("b", 101, 102), "overlaps"),
        (lend("b", 90, 98), "overlaps"),
        (lend("b", 204, 300), "overlaps"),
        (lend("a", 500, 600), "accepted_already"),
        (Word(Act.ACCEPT, claim("b"), start=500, end=600, share=FAR_TOWN), "no_share_of_a_thing"),
        (say(Act.RELEASE, "a", 500), "no_part_of_a_window"),
        (say(Act.RENEW, "a"), "no_window"),
        (say(Act.RENEW, "a", end=100), "no_window"),
        (say(Act.RENEW, "a", end=296), "overlaps"),
        (capacity(2_000), "counts_windows"),
    ],
)
def test_a_word_on_windows_that_makes_no_sense_changes_nothing(word: Word, code: str) -> None:
    """Windows of [100, 200) and [300, 400), and five seconds to get the thing ready."""
    promises = opened(windows(buffer_s=5), lend("a", 100, 200), lend("z", 300, 400))
    claims = dict(promises.claims)
    with pytest.raises(Void) as void:
        promises.apply(word, ENTRY)
    assert void.value.code == code
    assert promises.claims == claims


def test_windows_may_touch_when_the_time_between_is_kept() -> None:
    promises = opened(windows(buffer_s=5), lend("a", 100, 200), lend("b", 205, 300), lend("c", 0, 95))
    assert [each.claim for each in promises.open_ones()] == [claim("a"), claim("b"), claim("c")]
    assert (promises.free, promises.clash(0, 1)) == (1_000, promises.claims[claim("c")])


def test_a_window_is_made_longer_and_given_back() -> None:
    promises = opened(windows(), lend("a", 100, 200), say(Act.RENEW, "a", end=400), say(Act.HANDOVER, "a"))
    assert (promises.claims[claim("a")].end, promises.claims[claim("a")].status) == (400, Status.HANDED_OVER)
    promises.apply(say(Act.RELEASE, "a", reason="returned"), ENTRY)
    assert (promises.claims[claim("a")].status, promises.clash(0, 500)) == (Status.RELEASED, None)


def test_what_is_released_can_be_promised_again_in_part_and_in_whole() -> None:
    promises = opened(capacity(5_000), accept("a", 5_000), say(Act.RELEASE, "a", 2_000))
    assert (promises.free, promises.claims[claim("a")].status) == (2_000, Status.ACCEPTED)
    promises.apply(say(Act.RELEASE, "a", reason="not_wanted"), ENTRY)
    assert (promises.free, promises.claims[claim("a")].reason) == (5_000, "not_wanted")
    promises.apply(accept("a", 1_000), ENTRY)
    assert promises.claims[claim("a")].milli == 1_000


def test_who_takes_less_leaves_the_rest() -> None:
    promises = opened(capacity(5_000), accept("a", 5_000, hold_until=9), say(Act.HANDOVER, "a", 2_000))
    held = promises.claims[claim("a")]
    assert (promises.free, held.status, held.hold_until) == (3_000, Status.HANDED_OVER, None)


def test_the_waiting_list_keeps_its_order_and_leads_to_a_promise() -> None:
    promises = opened(
        capacity(1_000), accept("a", 1_000), say(Act.WAIT, "b"), say(Act.WAIT, "c"), say(Act.DECLINE, "b"),
        say(Act.WAIT, "b"),
    )  # fmt: skip
    assert [each.claim for each in promises.waiting()] == [claim("c"), claim("b")]
    promises.apply(say(Act.RELEASE, "a"), ENTRY)
    promises.apply(accept("c", 1_000), ENTRY)
    assert [each.claim for each in promises.waiting()] == [claim("b")]


def test_the_time_for_which_something_is_kept_is_made_longer() -> None:
    promises = opened(capacity(1_000), accept("a", 500, hold_until=7), say(Act.RENEW, "a", hold_until=99))
    assert promises.claims[claim("a")].hold_until == 99


def test_a_copy_moves_by_itself() -> None:
    promises = opened(capacity(1_000))
    promises.copy().apply(accept("a", 500), ENTRY)
    assert promises.promised == 0


def test_a_share_that_is_worth_less_calls_off_its_latest_promises_and_those_handed_over_last() -> None:
    promises = opened(
        capacity(8_000), accept("a", 2_000), accept("b", 2_000), accept("c", 2_000), say(Act.HANDOVER, "c")
    )
    left = promises.under(3_500)
    assert {each.claim: each.milli for each in left.open_ones()} == {claim("a"): 1_500, claim("c"): 2_000}
    assert (left.claims[claim("b")].status, left.claims[claim("b")].milli) == (Status.CALLED_OFF, 0)
    assert (left.capacity, promises.promised) == (3_500, 6_000)
    assert {each.claim: each.milli for each in promises.under(1_999).open_ones()} == {claim("c"): 1_999}
    assert promises.under(0).open_ones() == []
    assert promises.under(9_000).capacity == 8_000


def test_a_thing_that_goes_round_is_lent_under_a_share_of_a_whole_one() -> None:
    promises = opened(windows(), lend("a", 1, 2), lend("b", 3, 4))
    assert len(promises.under(1_000).open_ones()) == 2
    assert promises.under(999).open_ones() == []


def test_what_a_lost_entry_promised_is_called_off_unless_it_was_answered_otherwise() -> None:
    promises = opened(capacity(1_000), say(Act.DECLINE, "a"))
    promises.call_off(claim("a"), "fork", ENTRY)
    promises.call_off(claim("b"), "fork", ENTRY)
    assert promises.claims[claim("a")].status is Status.DECLINED
    assert promises.claims[claim("b")].status is Status.CALLED_OFF


def test_a_share_is_worth_what_is_promised_to_that_town() -> None:
    promises = opened(capacity(9_000), accept("a", 8_000, share=FAR_TOWN), accept("b", 1_000))
    assert promises.worth(claim("a"), FAR_TOWN) == 8_000
    assert promises.worth(claim("a"), TownId(bytes(32))) == 0
    assert promises.worth(claim("b"), FAR_TOWN) == 0
    assert promises.worth(DocId(bytes(16)), FAR_TOWN) == 0


def test_a_new_ledger_has_nothing_to_give() -> None:
    promises = Promises()
    assert (promises.free, promises.mode, promises.waiting()) == (0, Mode.QUANTITY, [])


def test_it_is_counted_how_often_a_window_ended_later_and_a_new_loan_begins_at_none() -> None:
    ends = (400, 400, 350, 500)
    promises = opened(windows(), lend("a", 100, 200), *(say(Act.RENEW, "a", end=end) for end in ends))
    assert (promises.claims[claim("a")].end, promises.claims[claim("a")].renewals) == (500, 2)
    promises.apply(say(Act.RENEW, "a", end=500, reason="others_wait"), ENTRY)
    assert (promises.claims[claim("a")].renewals, promises.claims[claim("a")].reason) == (2, "others_wait")
    promises.apply(say(Act.RELEASE, "a"), ENTRY)
    promises.apply(lend("a", 600, 700), ENTRY)
    assert promises.claims[claim("a")].renewals == 0
