"""Who has a thing and asks for longer: granted as often as its owner said, never over another's time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.ids import RecordId
from sync.keeping import (
    REFUSALS_MAX,
    Longer,
    Policy,
    Request,
    Terms,
    against_longer,
    decide,
    prolong,
    says_no,
    turns,
)
from sync.ledger import Entry, Ledger
from sync.promises import Act, Status, Word
from tests.sync.bookkeeper import (
    accept,
    capacity,
    chain,
    claim,
    lend,
    name,
    read,
    say,
    stands,
    windows,
)

ONCE = Terms(most=1, most_s=100)


def longer(who: object, end: int, version: object = 1) -> Longer:
    """Return what a version of a claim asks for."""
    return Longer(claim(who), RecordId(name(f"version {version} of {who}", 32)), end)


def wants(who: object, start: int, end: int) -> Request:
    """Return a request for a window."""
    return Request(claim(who), 0, start=start, end=end)


LENT = [windows(buffer_s=5), lend("a", 100, 200), lend("b", 300, 400)]


@pytest.mark.parametrize(
    ("words", "who", "end", "code"),
    [
        ([], "a", 295, ""),
        ([], "a", 296, "overlaps"),
        ([], "a", 301, "too_long"),
        ([], "a", 200, "not_longer"),
        ([], "b", 500, ""),
        ([], "b", 501, "too_long"),
        ([], "nobody", 500, "not_accepted"),
        ([say(Act.RELEASE, "a")], "a", 250, "not_accepted"),
        ([say(Act.RENEW, "a", end=250)], "a", 290, "no_renewals"),
        ([say(Act.RENEW, "a", end=150)], "a", 250, ""),
        ([say(Act.HANDOVER, "a")], "a", 250, ""),
    ],
)
def test_whoever_asks_is_told_why_not(words: list[Word], who: str, end: int, code: str) -> None:
    assert against_longer(read(chain(*LENT, *words)), claim(who), end, ONCE) == code


def test_amounts_are_not_asked_for_for_longer() -> None:
    ledger = read(chain(capacity(2_000), accept("a", 1_000)))
    assert against_longer(ledger, claim("a"), 900, Terms()) == "not_accepted"
    assert prolong(ledger, [longer("a", 900)], [], Terms(most=9), alone=True) == []


def test_a_node_prolongs_by_itself_what_its_owner_allows_and_nobody_waits_for() -> None:
    ask = longer("a", 290)
    [word] = prolong(read(chain(*LENT)), [ask], [], ONCE, alone=True)
    assert word == Word(Act.RENEW, claim("a"), end=290, settles=(ask.version,))
    ledger = read(chain(*LENT, word))
    assert (ledger.promises.claims[claim("a")].end, ledger.promises.claims[claim("a")].renewals) == (290, 1)
    assert prolong(ledger, [ask], [], ONCE, alone=True) == [], "it was answered"
    [word] = prolong(ledger, [longer("a", 295, 2)], [], ONCE, alone=True)
    assert (word.end, word.reason) == (290, "no_renewals")
    after = read(chain(*LENT, Word(Act.RENEW, claim("a"), end=290, settles=(ask.version,)), word))
    assert after.promises.claims[claim("a")].reason == "no_renewals"
    assert prolong(after, [longer("a", 295, 2)], [], ONCE, alone=True) == []
    assert prolong(after, [longer("a", 295, 3)], [], Terms(most=2), alone=True) != [], "it may be asked again"


def test_who_goes_on_asking_is_left_to_people_and_fills_no_ledger() -> None:
    words = list[Word]()
    for version in range(REFUSALS_MAX + 3):
        words += prolong(read(chain(*LENT, *words)), [longer("a", 296, version)], [], ONCE, alone=True)
    assert [word.reason for word in words] == ["overlaps"] * REFUSALS_MAX
    assert read(chain(*LENT, *words)).promises.claims[claim("a")].refusals == REFUSALS_MAX
    [yes] = prolong(read(chain(*LENT, *words)), [longer("a", 290, "last")], [], ONCE, alone=True)
    assert yes.end == 290


def test_where_the_owner_decides_only_what_nobody_could_grant_is_answered() -> None:
    ledger = read(chain(*LENT))
    assert prolong(ledger, [longer("a", 290)], [], ONCE, alone=False) == []
    assert prolong(ledger, [longer("a", 290)], [], Terms(), alone=True) == [], "nobody said how often"
    [word] = prolong(ledger, [longer("a", 296)], [], Terms(), alone=False)
    assert (word.act, word.end, word.reason) == (Act.RENEW, 200, "overlaps")
    assert prolong(ledger, [longer("a", 150), longer("nobody", 9)], [], ONCE, alone=True) == []


@pytest.mark.parametrize(
    ("start", "end", "waits"),
    [(210, 220, True), (90, 120, False), (180, 300, True), (285, 299, True), (295, 299, False)],
)
def test_who_waits_for_that_time_comes_first(start: int, end: int, waits: bool) -> None:
    ledger = read(chain(*LENT, say(Act.WAIT, "w"), say(Act.DECLINE, "x")))
    asked = [wants("w", start, end), wants("x", 210, 220)]
    [word] = prolong(ledger, [longer("a", 290)], asked, ONCE, alone=True)
    assert word.reason == ("others_wait" if waits else "")
    assert prolong(ledger, [longer("a", 290)], asked, ONCE, alone=False) == [], "its owner may still do it"


def test_nothing_is_prolonged_while_a_fork_is_to_be_settled() -> None:
    first = chain(windows(), lend("a", 100, 200))
    out, other = (
        chain(*words, after=first[-1], salt=at)
        for at, words in enumerate(([say(Act.HANDOVER, "a")], [say(Act.WAIT, "z")]))
    )
    ledger = read([*first, *out, *other])
    words = prolong(ledger, [longer("a", 290)], [], ONCE, alone=True)
    assert bool(words) == (not ledger.unsettled)


MOST = st.integers(0, 2)
STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 60), st.integers(1, 25), st.booleans()), max_size=30
)


def kept(ledger: Ledger, entries: list[Entry], steps: list[tuple[int, int, int, bool]], terms: Terms) -> None:
    """Let a keeper that answers alone go through these requests, and requests for longer."""
    requests: dict[int, Request] = {}
    for at, (who, start, size, again) in enumerate(steps):
        promise = ledger.promises.claims.get(claim(who))
        asked = []
        if again and promise is not None and promise.is_open:
            asked = [longer(who, promise.end + size, (len(entries), at))]
        else:
            requests.setdefault(who, wants(who, start, start + size))
        waiting = list(requests.values())
        in_turn = turns(ledger, waiting, Policy.FIRST_COME, decides_at=0, now_s=0)
        words = decide(ledger, in_turn, waiting, now_s=0)
        if not words and asked:
            words = prolong(ledger, asked, waiting, terms, alone=True)
            assert promise is not None
            answered = [word.settles for word in words] == [(asked[0].version,)]
            assert answered or (not words and promise.refusals == REFUSALS_MAX), "each, or refused enough"
        entries += chain(
            *words, after=next(each for each in entries if each.id == ledger.head), salt=len(steps)
        )
        ledger = read(entries)
        assert not ledger.void.keys() - {each.id for each in ledger.lost}, "a keeper writes no empty word"
        within(ledger, terms)


def within(ledger: Ledger, terms: Terms) -> None:
    """Check what holds of every ledger whose keepers kept to these terms."""
    stands(ledger)
    assert terms.most is not None
    assert all(each.renewals <= terms.most for each in ledger.promises.claims.values())


@pytest.mark.law
@given(MOST, STEPS, STEPS, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_whatever_is_asked_no_windows_overlap_and_nothing_is_prolonged_too_often(
    most: int,
    one: list[tuple[int, int, int, bool]],
    two: list[tuple[int, int, int, bool]],
    chance: random.Random,
) -> None:
    """On every part of a ledger, and where the same keeper wrote in two places from the third entry on."""
    terms = Terms(most)
    begun = chain(windows(buffer_s=3), lend(0, 0, 10), say(Act.HANDOVER, 0))
    here, there = list(begun), list(begun)
    kept(read(here), here, one, terms)
    kept(read(there), there, two, terms)
    everything = {each.id: each for each in (*here, *there)}
    within(read(everything.values()), terms)
    for _ in range(6):
        within(read(each for each in everything.values() if chance.random() < 0.8), terms)


def test_a_refusal_leaves_everything_but_the_reason_as_it_was() -> None:
    before = read(chain(*LENT, say(Act.HANDOVER, "a"))).promises.claims[claim("a")]
    ledger = read(chain(*LENT, say(Act.HANDOVER, "a"), says_no(before, longer("a", 1).version, "to_others")))
    after = ledger.promises.claims[claim("a")]
    assert (after.start, after.end, after.status) == (before.start, before.end, Status.HANDED_OVER)
    assert (after.renewals, after.reason, ledger.void) == (0, "to_others", {})
