"""What a keeper writes next: by policy, when time has passed, and after a fork. Pure, for honest keepers.

Nothing here makes a promise count: the fold (`ledger`, `promises`) does, whatever a keeper writes. This is
how a node that keeps a ledger decides by itself, the same way for the same ledger, claims and time, so that
anybody can check it afterwards:

* **who comes first**: in the order in which the claims were born;
* **who needs it most**: after a time in which claims are gathered, the most urgent first;
* **by lot**: after that time, in an order that nobody could choose: the hash of the ledger's first entry, of
  all claims that take part, and of the claim.

What does not fit goes on the waiting list once, and is promised in that order when something is free. Who
asks for little may so get something before one who waits for much: nothing lies idle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Final, assert_never

from protocol.ids import DocId, RecordId
from protocol.limits import CITES_MAX
from sync.ledger import Ledger
from sync.promises import Act, Mode, Promise, Promises, Status, Void, Word

HOLD_ENDED: Final = "hold_ended"
"""Reason: it was kept until the day that was said, and not fetched."""
FORKED: Final = "fork"
"""Reason: the keeper's key was in two places, and the other one had given it away."""
SETTLES_MAX: Final = CITES_MAX - 1
"""An entry cites the one before it, and so many more."""
_NO_ENTRY: Final = RecordId(bytes(32))


class Policy(Enum):
    """Who gets it if several ask."""

    FIRST_COME = "first_come"
    NEED_FIRST = "need_first"
    DRAW = "draw"


@dataclass(frozen=True, slots=True)
class Request:
    """What a claim asks for, as the keeper reads it.

    Attributes:
        born: Seconds since 1970: when it was made, by its own node's clock.
        urgency: 0 normal, 1 soon, 2 urgent, 3 a life.
        milli: Of amounts, in thousandths.
        start: With `end` the window, in seconds since 1970.
    """

    claim: DocId
    born: int
    urgency: int = 0
    milli: int | None = None
    start: int | None = None
    end: int | None = None


def refusal(ledger: Ledger, word: Word) -> str:
    """Return why an entry that says this would have no effect now, as a stable code; "" if it would have."""
    if not ledger.is_known:
        return "not_known_yet"
    if word.act is Act.ACCEPT and ledger.unsettled:
        return "unsettled_fork"
    try:
        ledger.promises.copy().apply(word, _NO_ENTRY)
    except Void as void:
        return void.code
    return ""


def decide(
    ledger: Ledger,
    requests: Iterable[Request],
    policy: Policy,
    *,
    decides_at: int,
    now_s: int,
    hold_s: int | None = None,
) -> list[Word]:
    """Return what a keeper that accepts by itself writes now: accepts and places on the waiting list.

    Args:
        requests: Of all claims that are known here and not withdrawn. Those of which the ledger speaks
            already are passed over, but for those that wait.
        decides_at: Seconds: when the gathering for `NEED_FIRST` and `DRAW` ends.
        hold_s: For how long things are kept for those whose claim is accepted; None: as long as it takes.
    """
    if not ledger.is_known or ledger.unsettled:
        return []
    if policy is not Policy.FIRST_COME and now_s < decides_at:
        return []
    promises = ledger.promises.copy()
    words = list[Word]()
    for request in _in_turn(ledger, list(requests), policy, decides_at):
        hold = None if hold_s is None or promises.mode is Mode.WINDOW else now_s + hold_s
        word = Word(
            Act.ACCEPT, request.claim, request.milli, start=request.start, end=request.end, hold_until=hold
        )
        if not _goes(promises, word):
            word = Word(Act.WAIT, request.claim)
            if not _goes(promises, word):
                continue
        words.append(word)
    return words


def overdue(ledger: Ledger, now_s: int) -> list[Word]:
    """Return the releases that are due: what was kept for somebody until a time that has passed."""
    late = (
        each
        for each in ledger.promises.open_ones()
        if each.status is Status.ACCEPTED and each.hold_until is not None and each.hold_until <= now_s
    )
    return [Word(Act.RELEASE, each.claim, reason=HOLD_ENDED) for each in late]


def settle(ledger: Ledger) -> list[Word]:
    """Return what a keeper writes after a fork, before it accepts anything more.

    What was handed over on the losing branch is gone. So the latest promises that no longer fit are released,
    and the capacity is lowered by what is gone, by an entry that names those of which it takes account; of a
    thing that goes round, the promise under which it went out is written down again.
    """
    if not ledger.is_known or not ledger.unsettled:
        return []
    promises = ledger.promises.copy()
    return _windows(ledger, promises) if promises.mode is Mode.WINDOW else _amounts(ledger, promises)


def _amounts(ledger: Ledger, promises: Promises) -> list[Word]:
    words, gone = list[Word](), 0
    lost = {each.word.claim: each.word for each in ledger.lost if each.word.act is Act.ACCEPT}
    for entry in ledger.unsettled:
        held = promises.claims.get(DocId(entry.word.claim or b""))
        if held is not None and held.is_open:
            # It is promised on both branches: what went out there is what was promised here.
            _say(
                promises,
                words,
                Word(Act.HANDOVER, held.claim, min(held.milli, entry.word.milli or held.milli)),
            )
        else:
            accepted = lost.get(entry.word.claim)
            gone += entry.word.milli or (accepted.milli if accepted is not None else 0) or 0
    capacity = max(0, promises.capacity - gone)
    latest = [each for each in promises.open_ones() if each.status is Status.ACCEPTED and each.share is None]
    while promises.promised > capacity and latest:
        _say(promises, words, Word(Act.RELEASE, latest.pop().claim, reason=FORKED))
    milli = max(capacity, promises.promised)
    handed = [entry.id for entry in ledger.unsettled]
    for at in range(0, len(handed), SETTLES_MAX):
        part = tuple(handed[at : at + SETTLES_MAX])
        _say(promises, words, Word(Act.CAPACITY, milli=milli, reason=FORKED, settles=part))
    return words


def _windows(ledger: Ledger, promises: Promises) -> list[Word]:
    words = list[Word]()
    lost = {each.word.claim: each.word for each in ledger.lost if each.word.act is Act.ACCEPT}
    for entry in ledger.unsettled:
        claim = entry.word.claim
        accepted = lost.get(claim)
        held = promises.claims.get(claim) if claim is not None else None
        if accepted is not None and (held is None or not held.is_open):
            start, end = accepted.start or 0, accepted.end or 0
            while (other := promises.clash(start, end)) is not None:
                _say(promises, words, Word(Act.RELEASE, other.claim, reason=FORKED))
            _say(promises, words, Word(Act.ACCEPT, claim, start=start, end=end, reason=FORKED))
        # Even one without effect settles what it names; so a hostile branch cannot hold up a keeper.
        words.append(Word(Act.HANDOVER, claim, settles=(entry.id,)))
        _goes(promises, words[-1])
    return words


def _in_turn(ledger: Ledger, requests: Sequence[Request], policy: Policy, decides_at: int) -> list[Request]:
    """Return the requests that can be answered: who waits first, then who is new, each in their order."""
    known = ledger.promises.claims
    places = {each.claim: place for place, each in enumerate(ledger.promises.waiting())}
    waiting = sorted((each for each in requests if each.claim in places), key=lambda each: places[each.claim])
    new = [each for each in requests if each.claim not in known or _was_called_off(known[each.claim])]
    first = sorted(new, key=lambda each: (each.born, each.claim))
    gathered = [each for each in first if each.born <= decides_at]
    late = [each for each in first if each.born > decides_at]
    match policy:
        case Policy.FIRST_COME:
            return [*waiting, *first]
        case Policy.NEED_FIRST:
            return [*waiting, *sorted(gathered, key=lambda each: -each.urgency), *late]
        case Policy.DRAW:
            return [*waiting, *sorted(gathered, key=_lot(ledger, gathered)), *late]
        case _:
            assert_never(policy)


def _was_called_off(promise: Promise) -> bool:
    """Tell whether a claim lost its promise through no fault of its own: it is answered anew."""
    return promise.status is Status.CALLED_OFF


def _lot(ledger: Ledger, gathered: Sequence[Request]) -> Callable[[Request], bytes]:
    """Return what a draw sorts by. Who claims last can try a few times; nobody knows what comes after."""
    assert ledger.first is not None, "a draw is held over a ledger that is known"
    everyone = b"".join(sorted(each.claim for each in gathered))
    seed = blake2b(ledger.first.id + everyone, digest_size=32, person=b"hedgerow/draw").digest()
    return lambda request: blake2b(request.claim, key=seed, digest_size=16).digest()


def _say(promises: Promises, words: list[Word], word: Word) -> None:
    """Add a word that has its effect."""
    if _goes(promises, word):
        words.append(word)


def _goes(promises: Promises, word: Word) -> bool:
    """Apply a word and tell whether it had its effect."""
    try:
        promises.apply(word, _NO_ENTRY)
    except Void:
        return False
    return True
