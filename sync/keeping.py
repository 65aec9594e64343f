"""What a keeper writes next: by policy, when time has passed, and after a fork. Pure, for honest keepers.

Nothing here makes a promise count: the fold (`ledger`, `promises`) does, whatever a keeper writes. This is
how a node that keeps a ledger decides by itself, the same way for the same ledger, claims and time, so that
anybody can check it afterwards:

* **who comes first**: in the order in which the keeper's node heard of the claims;
* **who needs it most**: after a time in which claims are gathered, the most urgent first;
* **by lot**: after that time, in an order that no claimant can choose: by hashes under the keeper's signature
  over the claims that take part, which nobody else can make, and which the first entry of the draw shows.

What does not fit goes on the waiting list once, and is promised in that order when something is free. Who
asks for little may so get something before one who waits for much: nothing lies idle.

Who has a thing may ask for *longer* by a new version of the claim. How often and by how much that is granted
is the owner's word, which the keeper holds to; that no two windows overlap is the fold's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import blake2b
from typing import Final, assert_never

from protocol.ids import DocId, RecordId
from protocol.limits import CITES_MAX
from sync.ledger import Gone, Ledger
from sync.promises import TIME_MAX, WORTH_LESS, Act, Mode, Promise, Promises, Status, Void, Word

HOLD_ENDED: Final = "hold_ended"
"""Reason: it was kept until the day that was said, and not fetched."""
FORKED: Final = "fork"
"""Reason: the keeper's key was in two places, and the other one had given it away."""
SETTLES_MAX: Final = CITES_MAX - 1
"""An entry cites the one before it, and so many more."""
NO_RENEWALS: Final = "no_renewals"
"""Reason: it was prolonged as often as its owner lets it be."""
BEYOND_END: Final = "beyond_end"
"""Reason: nothing is lent, or kept, until so late."""
OTHERS_WAIT: Final = "others_wait"
"""Reason: somebody waits for the thing in the time that was asked for."""
REFUSALS_MAX: Final = 8
"""So often a node says no by itself to one claim, each time by an entry that stays; who goes on asking is
left to people."""
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
        heard: Seconds since 1970: when the keeper's node first knew of it. (What its own header says of its
            birth is its writer's word.)
        urgency: 0 normal, 1 soon, 2 urgent, 3 a life.
        milli: Of amounts, in thousandths.
        start: With `end` the window, in seconds since 1970.
    """

    claim: DocId
    heard: int
    urgency: int = 0
    milli: int | None = None
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Longer:
    """What a claim asks for beyond the window that it has.

    Attributes:
        version: The record of the claim that asks; the entry that answers cites it.
        end: Seconds since 1970: until when.
    """

    claim: DocId
    version: RecordId
    end: int


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms an owner prolongs.

    Attributes:
        most: How often one loan; None: the owner says so each time.
        most_s: By how many seconds at once; None: any number.
        latest_s: Until which second at the latest; None: any.
    """

    most: int | None = None
    most_s: int | None = None
    latest_s: int | None = None


def refusal(ledger: Ledger, word: Word) -> str:
    """Return why an entry that says this would have no effect now, as a stable code; "" if it would have."""
    if not ledger.is_open_ended:
        return "not_known_yet"
    if word.act is Act.KEEPER:
        return "" if word.device is not None else "names_nobody"
    if word.act is Act.MOVED:
        return "" if word.moved_to not in (None, ledger.goes_on_in) else "names_nothing"
    if word.act is Act.ACCEPT and ledger.unsettled:
        return "unsettled_fork"
    code = ledger.own.refusal(word)
    return ledger.promises.refusal(word) if not code and word.act is Act.ACCEPT else code


@dataclass(frozen=True, slots=True)
class Turns:
    """Whose turn it is.

    Attributes:
        claims: Those that can be answered now: who waits, in the order of the list, then who is new.
        seed: What the lot rests on, if there was one.
    """

    claims: tuple[DocId, ...] = ()
    seed: bytes | None = None


def turns(
    ledger: Ledger,
    requests: Iterable[Request],
    policy: Policy,
    *,
    decides_at: int,
    now_s: int,
    sign: Callable[[bytes], bytes] | None = None,
) -> Turns:
    """Return in which order a keeper that accepts by itself answers; nobody's turn if it may not now.

    Args:
        requests: Of all claims that are known here and not withdrawn, however many; what they ask for is
            not looked at. Those of which the ledger speaks already are passed over, but for those that wait.
        decides_at: Seconds: when the gathering for `NEED_FIRST` and `DRAW` ends.
        sign: Signs with the keeper's key; a draw needs it.
    """
    if not ledger.is_open_ended or settle(ledger):
        return Turns()
    if policy is not Policy.FIRST_COME and now_s < decides_at:
        return Turns()
    known = ledger.promises.claims
    new = [each for each in requests if each.claim not in known or lost_blamelessly(known[each.claim])]
    order, seed = _in_turn(ledger, new, policy, decides_at, sign)
    return Turns((*(each.claim for each in ledger.promises.waiting()), *(each.claim for each in order)), seed)


def decide(
    ledger: Ledger, turns: Turns, requests: Iterable[Request], *, now_s: int, hold_s: int | None = None
) -> list[Word]:
    """Return what a keeper that accepts by itself writes now: accepts and places on the waiting list.

    Args:
        requests: What is asked for, of those whose turn it is; who is left out is passed over this time.
        hold_s: For how long things are kept for those whose claim is accepted; None: as long as it takes.
    """
    promises = ledger.promises.copy()
    words = list[Word]()
    asked = {each.claim: each for each in requests}
    for request in (asked[claim] for claim in turns.claims if claim in asked):
        hold = None
        if hold_s is not None and promises.mode is Mode.QUANTITY:
            hold = min(now_s + hold_s, TIME_MAX)
        word = Word(
            Act.ACCEPT, request.claim, request.milli, start=request.start, end=request.end, hold_until=hold
        )
        if not _goes(promises, word):
            word = Word(Act.WAIT, request.claim)
            if not _goes(promises, word):
                continue
        words.append(word)
    # Whoever wants to see that the draw was fair finds what it rests on in the first entry of it.
    seed = turns.seed
    return [replace(words[0], seed=seed), *words[1:]] if words and seed is not None else words


def against_longer(ledger: Ledger, claim: DocId, end: int, terms: Terms) -> str:
    """Return why a claim cannot keep its thing until `end`, as a stable code; "" if its keeper may let it."""
    promise = ledger.promises.claims.get(claim)
    if promise is None or not promise.is_open or ledger.promises.mode is not Mode.WINDOW:
        return "not_accepted"
    if end <= promise.end:
        return "not_longer"
    if terms.most is not None and promise.renewals >= terms.most:
        return NO_RENEWALS
    if terms.most_s is not None and end - promise.end > terms.most_s:
        return "too_long"
    if terms.latest_s is not None and end > terms.latest_s:
        return BEYOND_END
    return refusal(ledger, Word(Act.RENEW, claim, end=end))


def says_no(promise: Promise, version: RecordId, reason: str) -> Word:
    """Return the entry that leaves a claim the window that it has, and says why."""
    return Word(Act.RENEW, promise.claim, end=promise.end, reason=reason, settles=(version,))


def prolong(
    ledger: Ledger, asked: Iterable[Longer], waiting: Sequence[Request], terms: Terms, *, alone: bool
) -> list[Word]:
    """Return the next answer to those who ask for longer, in the order in which they got the thing.

    One at a time, since each changes what is free for the next. What the terms or the ledger rule out is
    refused; what is left is granted if nobody waits for that time and the owner said how often it may be.

    Args:
        waiting: The requests on the waiting list.
        alone: Whether the owner lets the node answer.
    """
    if not ledger.is_open_ended or settle(ledger):
        return []
    known = ledger.promises.claims
    pending = [each for each in asked if each.claim in known and each.version not in ledger.settled]
    for each in sorted(pending, key=lambda each: (known[each.claim].order, each.claim)):
        promise = known[each.claim]
        reason = against_longer(ledger, each.claim, each.end, terms)
        if reason in ("not_accepted", "not_longer"):
            continue
        if not reason and alone and _stands_in_the_way(ledger, promise, each.end, waiting):
            reason = OTHERS_WAIT
        if reason and promise.refusals < REFUSALS_MAX:
            return [says_no(promise, each.version, reason)]
        if reason:
            continue
        if alone and terms.most is not None:
            return [Word(Act.RENEW, each.claim, end=each.end, settles=(each.version,))]
    return []


def overdue(ledger: Ledger, now_s: int) -> list[Word]:
    """Return the releases that are due: what was kept for somebody until a time that has passed."""
    late = (
        each
        for each in ledger.own.open_ones()
        if each.status is Status.ACCEPTED and each.share is None
        if each.hold_until is not None and each.hold_until <= now_s
    )
    return [Word(Act.RELEASE, each.claim, reason=HOLD_ENDED) for each in late]


def settle(ledger: Ledger) -> list[Word]:
    """Return what a keeper writes before it promises anything more; nothing if all is in order.

    After a fork: what was handed over on the losing branch is gone. So the latest promises that no longer fit
    are released, and the capacity is lowered by what is gone, by an entry that names those of which it takes
    account; of a thing that goes round, the promise under which it went out is written down again. And when a
    share is worth less than it was: what was cut is released, and the capacity is what it is worth.
    """
    if not ledger.is_open_ended:
        return []
    own, words = ledger.own.copy(), list[Word]()
    if ledger.unsettled and own.mode is Mode.WINDOW:
        _settle_windows(ledger.unsettled, own, words)
    elif ledger.unsettled:
        _settle_amounts(ledger.unsettled, own, words)
    else:
        _settle_share(ledger.promises, own, words)
    return words


def lost_blamelessly(promise: Promise) -> bool:
    """Tell whether a claim lost its promise by a fork, or with a share: it is answered anew."""
    if promise.status is Status.RELEASED:
        return promise.reason in (FORKED, WORTH_LESS)
    return promise.status is Status.CALLED_OFF


def lot_message(ledger: DocId, claims: Iterable[DocId]) -> bytes:
    """Return what a keeper signs for a draw among these claims, in whatever order they are given."""
    return b"hedgerow/draw/1" + ledger + b"".join(sorted(claims))


def lot(seed: bytes, claim: DocId) -> bytes:
    """Return the lot of a claim in a draw, by the keeper's signature; the smallest goes first."""
    return blake2b(claim, key=seed, digest_size=16, person=b"hedgerow/draw").digest()


def _settle_amounts(gone: Sequence[Gone], own: Promises, words: list[Word]) -> None:
    for at in range(0, len(gone), SETTLES_MAX):
        part = gone[at : at + SETTLES_MAX]
        capacity = own.capacity - sum(_beyond(each, own, words) for each in part)
        latest = [each for each in own.open_ones() if each.status is Status.ACCEPTED and each.share is None]
        while own.promised > max(0, capacity) and latest:
            _say(own, words, Word(Act.RELEASE, latest.pop().claim, reason=FORKED))
        settles = tuple(each.id for each in part)
        milli = max(capacity, own.promised)
        _say(own, words, Word(Act.CAPACITY, milli=milli, reason=FORKED, settles=settles))


def _beyond(gone: Gone, own: Promises, words: list[Word]) -> int:
    """Return how much went out beyond what is promised to the same claim here, which is handed over."""
    held = own.claims.get(gone.claim)
    if held is None or held.status is not Status.ACCEPTED or held.share is not None:
        return gone.milli
    milli = min(held.milli, gone.milli)
    _say(own, words, Word(Act.HANDOVER, held.claim, milli))
    return gone.milli - milli


def _settle_windows(gone: Sequence[Gone], own: Promises, words: list[Word]) -> None:
    for each in gone:
        held = own.claims.get(each.claim)
        if held is None or not held.is_open or (held.start, held.end) != (each.start, each.end):
            if held is not None and held.is_open:
                _say(own, words, Word(Act.RELEASE, held.claim, reason=FORKED))
            while (other := own.clash(each.start, each.end)) is not None:
                _say(own, words, Word(Act.RELEASE, other.claim, reason=FORKED))
            _say(own, words, Word(Act.ACCEPT, each.claim, start=each.start, end=each.end, reason=FORKED))
        # Where it is handed over on both branches this one has no effect, but it settles all the same.
        words.append(Word(Act.HANDOVER, each.claim, settles=(each.id,)))
        _goes(own, words[-1])


def _settle_share(worth: Promises, own: Promises, words: list[Word]) -> None:
    """Let go of what the share can no longer give: `worth` is the ledger under its ceiling."""
    for each in own.open_ones():
        less = each.milli - worth.claims[each.claim].milli
        # What is out of the house cannot be taken back by a word.
        if less > 0 and each.status is Status.ACCEPTED:
            _say(own, words, Word(Act.RELEASE, each.claim, less, reason=WORTH_LESS))
    milli = max(worth.capacity, own.promised)
    if own.mode is Mode.QUANTITY and milli < own.capacity:
        _say(own, words, Word(Act.CAPACITY, milli=milli, reason=WORTH_LESS))


def _in_turn(
    ledger: Ledger,
    new: Iterable[Request],
    policy: Policy,
    decides_at: int,
    sign: Callable[[bytes], bytes] | None,
) -> tuple[list[Request], bytes | None]:
    """Return the new requests in the order in which they are answered, and the seed of a draw."""
    first = sorted(new, key=lambda each: (each.heard, each.claim))
    gathered = [each for each in first if each.heard <= decides_at]
    late = [each for each in first if each.heard > decides_at]
    match policy:
        case Policy.FIRST_COME:
            return first, None
        case Policy.NEED_FIRST:
            return [*sorted(gathered, key=lambda each: -each.urgency), *late], None
        case Policy.DRAW:
            assert sign is not None, "a draw needs the keeper's key"
            if len(gathered) < 2:
                return first, None
            seed = sign(lot_message(ledger.doc, (each.claim for each in gathered)))
            drawn = sorted(gathered, key=lambda each: lot(seed, each.claim))
            return [*drawn, *late], seed
        case _:
            assert_never(policy)


def _stands_in_the_way(ledger: Ledger, promise: Promise, end: int, waiting: Sequence[Request]) -> bool:
    """Tell whether the time from the present end of a window to `end` is what somebody else waits for."""
    known, gap = ledger.promises.claims, ledger.promises.buffer_s
    return any(
        each.start is not None and each.end is not None
        and each.claim in known and known[each.claim].status is Status.WAITING
        and each.start < end + gap and promise.end < each.end + gap
        for each in waiting
    )  # fmt: skip


def _say(promises: Promises, words: list[Word], word: Word) -> None:
    """Add a word that has its effect."""
    promises.apply(word, _NO_ENTRY)
    words.append(word)


def _goes(promises: Promises, word: Word) -> bool:
    """Apply a word and tell whether it had its effect."""
    try:
        promises.apply(word, _NO_ENTRY)
    except Void:
        return False
    return True
