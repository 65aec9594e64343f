"""What there is of one thing, and what of it is promised to which claim.

The state that the entries of a ledger move forward one by one. Whatever they say, two things hold after each
of them: in a ledger of *amounts* the promised ones together are at most what there is; in a ledger of
*windows* no two promised ones overlap, the time to get the thing ready counted in. An entry that would break
this, or makes no sense where it stands, raises `Void` and changes nothing.

Amounts are integers in thousandths of a unit, times integers in seconds since 1970.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from protocol.ids import DocId, RecordId, TownId
from protocol.structures import MILLI_MAX

ONE: Final = 1_000
"""One whole thing, in thousandths: what a window promises."""
TIME_MAX: Final = 2**40
"""No window and no promise reaches further, in seconds since 1970."""
WORTH_LESS: Final = "share_worth_less"
"""Reason: the share from which it was promised is worth less by now."""


class Void(Exception):
    """An entry has no effect.

    Attributes:
        code: Why, as a stable code.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Act(Enum):
    """What an entry of a ledger does."""

    CAPACITY = "capacity"
    """Says how much there is: the first entry, and each change."""
    ACCEPT = "accept"
    WAIT = "wait"
    DECLINE = "decline"
    RELEASE = "release"
    """Frees what was promised: given back, not fetched, not wanted any more."""
    RENEW = "renew"
    """Moves the end of a window, or the time until which something is kept for somebody. One that leaves the
    end where it is says no to a claim that asks for longer."""
    HANDOVER = "handover"
    CHECKPOINT = "checkpoint"
    """The first entry of a ledger that goes on where another has `MOVED` to it."""
    KEEPER = "keeper"
    """Names the next keeper."""
    MOVED = "moved"
    """The last entry of a ledger that has grown long."""


class Mode(Enum):
    """How a ledger counts."""

    QUANTITY = "quantity"
    """Amounts, which together never exceed the capacity: goods, seats, hands."""
    WINDOW = "window"
    """Stretches of time, of which no two overlap: one thing that goes round."""


class Status(Enum):
    """How a claim stands in a ledger."""

    WAITING = "waiting"
    DECLINED = "declined"
    ACCEPTED = "accepted"
    HANDED_OVER = "handed_over"
    RELEASED = "released"
    CALLED_OFF = "called_off"
    """What had accepted it does not count, or the share from which it was given is worth less by now."""


_NO_ENTRY: Final = RecordId(bytes(32))
_OPEN: Final = frozenset({Status.ACCEPTED, Status.HANDED_OVER})
"""These take from what there is."""


@dataclass(frozen=True, slots=True)
class Word:
    """What one entry says, before it has a place in a ledger.

    Attributes:
        claim: The claim that it answers.
        milli: For `CAPACITY` all there is, else how much of the claim; None where all of it is meant.
        buffer_s: Seconds that must lie between two windows.
        start: With `end` the window; the end is not part of it.
        hold_until: Until then it is kept for the claimant.
        share: The town that may give it away in its turn, by a ledger of its own.
        parent: In a first entry: the ledger of which this is a share, and
        parent_claim: the claim that was accepted there.
        child: The entry by which the share's own ledger gave back what is released here.
        device: The next keeper.
        moved_to: The ledger that goes on.
        reason: A stable code.
        seed: The keeper's signature that an order by lot rests on (`keeping.lot_message`).
        settles: Of what this one takes account: entries of a losing branch, the version of a claim that it
            answers.
    """

    act: Act
    claim: DocId | None = None
    milli: int | None = None
    unit: str = "each"
    mode: Mode = Mode.QUANTITY
    buffer_s: int = 0
    start: int | None = None
    end: int | None = None
    hold_until: int | None = None
    share: TownId | None = None
    parent: DocId | None = None
    parent_claim: DocId | None = None
    child: RecordId | None = None
    device: bytes | None = None
    moved_to: DocId | None = None
    reason: str = ""
    seed: bytes | None = None
    settles: tuple[RecordId, ...] = ()


@dataclass(frozen=True, slots=True)
class Promise:
    """How one claim stands.

    Attributes:
        milli: How much is promised now; 0 if nothing is.
        order: Grows with each acceptance, and with each place on the waiting list.
        entry: The last entry that spoke of it.
        renewals: How often the end of its window was moved to a later one.
        refusals: How often it was renewed to no later end: so often it was told no.
    """

    claim: DocId
    status: Status
    order: int
    entry: RecordId
    milli: int = 0
    start: int = 0
    end: int = 0
    hold_until: int | None = None
    share: TownId | None = None
    reason: str = ""
    renewals: int = 0
    refusals: int = 0

    @property
    def is_open(self) -> bool:
        """Tell whether it takes from what there is."""
        return self.status in _OPEN


@dataclass(frozen=True, slots=True)
class Before:
    """What one entry can move, as it was before: how much there is, and how the one claim stood."""

    capacity: int
    promised: int
    order: int
    claim: DocId | None
    promise: Promise | None


class Promises:
    """What there is, and what of it is promised.

    Attributes:
        capacity: All there is, in thousandths; of a thing that goes round, one.
        parent: The ledger of which this is a share, and
        parent_claim: the claim accepted there; None if it is none.
        claims: Every claim of which an entry spoke; moved by this class alone.
        promised: How much is promised together, in thousandths; of windows a thousand each.
    """

    __slots__ = (
        "_order", "_windows", "buffer_s", "capacity", "claims", "mode", "parent", "parent_claim", "promised",
        "unit",
    )  # fmt: skip

    def __init__(self) -> None:
        self.mode = Mode.QUANTITY
        self.unit = "each"
        self.capacity = 0
        self.buffer_s = 0
        self.parent: DocId | None = None
        self.parent_claim: DocId | None = None
        self.claims: dict[DocId, Promise] = {}
        self.promised = 0
        self._order = 0
        # Start, end and claim of each open window: they do not overlap, so starts and ends ascend alike.
        self._windows: list[tuple[int, int, DocId]] = []

    def copy(self) -> Promises:
        """Return the same state, to go on from without moving this one."""
        other = Promises()
        for name in Promises.__slots__:
            setattr(other, name, getattr(self, name))
        other.claims = dict(self.claims)
        other._windows = list(self._windows)
        return other

    @property
    def free(self) -> int:
        """Return how much can still be promised, in thousandths; of a thing that goes round, one."""
        return self.capacity if self.mode is Mode.WINDOW else self.capacity - self.promised

    def open_ones(self) -> list[Promise]:
        """Return what is promised, in the order in which it was accepted."""
        return sorted((each for each in self.claims.values() if each.is_open), key=lambda each: each.order)

    def waiting(self) -> list[Promise]:
        """Return the waiting list in its order."""
        found = (each for each in self.claims.values() if each.status is Status.WAITING)
        return sorted(found, key=lambda each: each.order)

    def worth(self, claim: DocId, town: TownId) -> int:
        """Return how much a town may give away by a claim that was accepted as its share."""
        promise = self.claims.get(claim)
        return promise.milli if promise is not None and promise.share == town else 0

    def clash(self, start: int, end: int, but: DocId | None = None) -> Promise | None:
        """Return a promised window of another claim that this one would overlap, the earliest."""
        gap = self.buffer_s
        first = bisect_right(self._windows, start - gap, key=lambda each: each[1])
        for begins, _, claim in self._windows[first : first + 2]:
            if claim != but:
                return self.claims[claim] if begins < end + gap else None
        return None

    # What entries do.

    def begin(self, word: Word) -> None:
        """Open the ledger: how much there is, and how it is counted."""
        self.mode, self.unit = word.mode, word.unit
        self.parent, self.parent_claim = word.parent, word.parent_claim
        self.buffer_s = word.buffer_s
        self.capacity = ONE if word.mode is Mode.WINDOW else word.milli or 0

    def apply(self, word: Word, entry: RecordId) -> None:
        """Let an entry that is not the first have its effect.

        Raises:
            Void: It has none.
        """
        match word.act:
            case Act.CAPACITY:
                self._resize(word)
            case Act.ACCEPT:
                self._accept(_named(word.claim), word, entry)
            case Act.WAIT:
                self._put_off(_named(word.claim), Status.WAITING, word, entry)
            case Act.DECLINE:
                self._put_off(_named(word.claim), Status.DECLINED, word, entry)
            case Act.RELEASE:
                self._release(self._open(word), word, entry)
            case Act.RENEW:
                self._renew(self._open(word), word, entry)
            case Act.HANDOVER:
                self._hand_over(self._open(word), word, entry)
            case _:
                raise Void("out_of_place")

    def before(self, word: Word) -> Before:
        """Return what an entry that says this could move, for `take_back`."""
        promise = self.claims.get(word.claim) if word.claim is not None else None
        return Before(self.capacity, self.promised, self._order, word.claim, promise)

    def take_back(self, before: Before) -> None:
        """Undo the last entry that was applied, whether it had an effect or not."""
        if before.claim is not None:
            self._stand(before.claim, before.promise)
        self.capacity, self.promised, self._order = before.capacity, before.promised, before.order

    def refusal(self, word: Word) -> str:
        """Return why an entry that says this would have no effect, as a stable code; "" if it would."""
        before = self.before(word)
        try:
            self.apply(word, _NO_ENTRY)
        except Void as void:
            return void.code
        self.take_back(before)
        return ""

    def call_off(self, claim: DocId, reason: str, entry: RecordId) -> None:
        """Note that what a lost entry promised is void, unless another entry has spoken of that claim."""
        if claim not in self.claims:
            order = self._next()
            self._put(Promise(claim, Status.CALLED_OFF, order, entry, reason=reason))

    def under(self, ceiling: int) -> Promises:
        """Return the same with no more than `ceiling` to give; a thing that goes round needs one whole.

        The latest promises are cut until the rest fits, those last of which something was handed over.
        """
        other = self.copy()
        other.capacity = min(other.capacity, ceiling)
        # Sorting is stable: of both sorts the latest come last, and go first.
        latest = sorted(other.open_ones(), key=lambda each: each.status is not Status.HANDED_OVER)
        for each in reversed(latest):
            if other.mode is Mode.WINDOW:
                excess = 0 if ceiling >= ONE else each.milli
            else:
                excess = other.promised - other.capacity
            if excess > 0:
                left = max(0, each.milli - excess)
                status = each.status if left else Status.CALLED_OFF
                other._put(replace(each, status=status, milli=left, reason=WORTH_LESS))
        return other

    def _resize(self, word: Word) -> None:
        if self.mode is Mode.WINDOW:
            raise Void("counts_windows")
        milli = _amount(word.milli, least=0)
        if milli < self.promised:
            raise Void("below_promised")
        self.capacity = milli

    def _accept(self, claim: DocId, word: Word, entry: RecordId) -> None:
        before = self.claims.get(claim)
        if before is not None and before.is_open:
            raise Void("accepted_already")
        if word.hold_until is not None and not 0 <= word.hold_until <= TIME_MAX:
            raise Void("no_window")
        if self.mode is Mode.WINDOW:
            start, end = self._window(word, claim)
            promise = Promise(claim, Status.ACCEPTED, 0, entry, ONE, start, end, hold_until=word.hold_until)
        else:
            milli = _amount(word.milli)
            if milli > self.free:
                raise Void("too_much")
            promise = Promise(
                claim, Status.ACCEPTED, 0, entry, milli, hold_until=word.hold_until, share=word.share
            )
        self._put(replace(promise, order=self._next()))

    def _window(self, word: Word, claim: DocId) -> tuple[int, int]:
        if word.start is None or word.end is None or not 0 <= word.start < word.end <= TIME_MAX:
            raise Void("no_window")
        if word.share is not None:
            raise Void("no_share_of_a_thing")
        if self.clash(word.start, word.end, but=claim) is not None:
            raise Void("overlaps")
        return word.start, word.end

    def _put_off(self, claim: DocId, status: Status, word: Word, entry: RecordId) -> None:
        before = self.claims.get(claim)
        if before is not None and before.is_open:
            raise Void("accepted_already")
        if before is not None and before.status is status:
            raise Void("said_already")
        self._put(Promise(claim, status, self._next(), entry, reason=word.reason))

    def _open(self, word: Word) -> Promise:
        promise = self.claims.get(_named(word.claim))
        if promise is None or not promise.is_open:
            raise Void("not_accepted")
        return promise

    def _release(self, promise: Promise, word: Word, entry: RecordId) -> None:
        milli = promise.milli if word.milli is None else _amount(word.milli)
        if milli > promise.milli:
            raise Void("too_much")
        if self.mode is Mode.WINDOW and milli != promise.milli:
            raise Void("no_part_of_a_window")
        left = promise.milli - milli
        status = promise.status if left else Status.RELEASED
        self._put(replace(promise, status=status, milli=left, reason=word.reason, entry=entry))

    def _renew(self, promise: Promise, word: Word, entry: RecordId) -> None:
        if self.mode is Mode.WINDOW:
            end = word.end
            if end is None or not promise.start < end <= TIME_MAX:
                raise Void("no_window")
            if self.clash(promise.start, end, but=promise.claim) is not None:
                raise Void("overlaps")
            longer = end > promise.end
            renewals, refusals = promise.renewals + longer, promise.refusals + (not longer)
            told = replace(promise, end=end, renewals=renewals, refusals=refusals, reason=word.reason)
            self._put(replace(told, entry=entry))
        elif word.hold_until is None or not 0 <= word.hold_until <= TIME_MAX:
            raise Void("no_window")
        else:
            self._put(replace(promise, hold_until=word.hold_until, entry=entry))

    def _hand_over(self, promise: Promise, word: Word, entry: RecordId) -> None:
        if promise.share is not None:
            raise Void("a_share")
        if promise.status is Status.HANDED_OVER:
            raise Void("said_already")
        milli = promise.milli if word.milli is None else _amount(word.milli)
        if milli > promise.milli:
            raise Void("too_much")
        if self.mode is Mode.WINDOW and milli != promise.milli:
            raise Void("no_part_of_a_window")
        self._put(replace(promise, status=Status.HANDED_OVER, milli=milli, hold_until=None, entry=entry))

    def _put(self, promise: Promise) -> None:
        """Note how a claim stands now, and what that comes to."""
        before = self.claims.get(promise.claim)
        self.promised += promise.milli - (before.milli if before is not None else 0)
        self._stand(promise.claim, promise)

    def _stand(self, claim: DocId, promise: Promise | None) -> None:
        """Let a claim stand so from now on; None: nothing was said of it."""
        before = self.claims.pop(claim, None) if promise is None else self.claims.get(claim)
        if promise is not None:
            self.claims[claim] = promise
        if self.mode is Mode.WINDOW:
            if before is not None and before.is_open:
                del self._windows[bisect_left(self._windows, (before.start, before.end, claim))]
            if promise is not None and promise.is_open:
                insort(self._windows, (promise.start, promise.end, claim))

    def _next(self) -> int:
        self._order += 1
        return self._order


def _named(claim: DocId | None) -> DocId:
    if claim is None:
        raise Void("names_no_claim")
    return claim


def _amount(milli: int | None, least: int = 1) -> int:
    if milli is None or not least <= milli <= MILLI_MAX:
        raise Void("no_amount")
    return milli
