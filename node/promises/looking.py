"""How a claim and a ledger look from here: folded ledger, opened claims, names and the time, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from node.promises import sentences
from node.promises.asked import OPENED_MAX, Asked, Held, claim_at, receipt_of
from node.promises.limits import because_of
from node.promises.shelf import header_at, held_of, keeper_of, ledger_at, subject_of, target_of
from node.promises.views import ClaimView, LedgerView, SetAside, Stage, Taken, Whose
from protocol.ids import DeviceId, address
from protocol.kinds import kind_of
from sync.ledger import Ledger
from sync.promises import Mode, Promise, Promises, Status

if TYPE_CHECKING:
    from node.promises.asked import Noted, Register
    from node.seals import Seals
    from node.store import Document, Reader
    from protocol.ids import DocId, TownId
    from protocol.record import Header, Record

SHARES_MAX: Final = 20
"""Shares that are named of one ledger; there are as many as towns that are far enough away to want one."""
_STAGES = {
    Status.WAITING: Stage.WAITING,
    Status.DECLINED: Stage.DECLINED,
    Status.ACCEPTED: Stage.ACCEPTED,
    Status.HANDED_OVER: Stage.HANDED_OVER,
    Status.RELEASED: Stage.RELEASED,
    Status.CALLED_OFF: Stage.VOID,
}


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the store, from one node.

    Args:
        heard: When a town was last heard over a link, in milliseconds; None: never, or it is no peer.
        synced: Up to which change a town is known to hold all that it may; 0: it is no peer.
    """

    reader: Reader
    seals: Seals
    register: Register
    own_town: TownId
    device: DeviceId
    heard: Callable[[TownId], int | None]
    synced: Callable[[TownId], int]
    now_ms: int
    _ledgers: dict[DocId, Ledger | None] = field(default_factory=dict)
    _names: dict[TownId, str] = field(default_factory=dict)
    _places: dict[DocId, dict[DocId, int]] = field(default_factory=dict)
    _newest: dict[DocId, int] = field(default_factory=dict)
    _kept_here: dict[DocId, bool] = field(default_factory=dict)

    def ledger(self, target: Document, header: Header, doc: DocId, whose: Whose) -> LedgerView:
        """Return the ledger of a document that is shown."""
        ledger = self._ledger(doc)
        promises = ledger.promises if ledger is not None and ledger.is_known else None
        claims = self.register.claims_of(doc) if whose is not Whose.NOBODYS else ()
        found = sorted(self._opened(claims, whose), key=lambda each: (each.born, each.doc))
        waiting = len(promises.waiting()) if promises is not None else 0
        windows = promises.mode is Mode.WINDOW if promises is not None else target.kind == "item"
        taken = promises.open_ones() if promises is not None and windows else []
        amounts = promises if promises is not None and not windows else Promises()
        name = self.name(header.town)
        above = ledger.promises.parent if ledger is not None else None
        source = target_of(self.reader, above, self.now_ms // 1_000) if above is not None else None
        shares = [each for each in amounts.open_ones() if each.share is not None][:SHARES_MAX]
        return LedgerView(
            target=target.doc,
            doc=doc,
            town=header.town,
            town_name=name,
            known=promises is not None,
            says=sentences.of_ledger(promises, windows, name, waiting, target.kind),
            windows=windows,
            unit=promises.unit if promises is not None else "each",
            capacity=amounts.capacity,
            promised=amounts.promised,
            free=amounts.free,
            standing=sum(each.status is Status.ACCEPTED for each in promises.open_ones()) if promises else 0,
            waiting=waiting,
            taken=tuple(sorted((_taken(each) for each in taken), key=lambda each: each.start)),
            forks=sum(not each.by_town_key for each in ledger.forks) if ledger is not None else 0,
            keeper=ledger.keeper if ledger is not None else None,
            keeps=ledger is not None and ledger.keeper == self.device,
            heard_ms=None if header.town == self.own_town else self._heard(header.town, [doc, target.doc]),
            share_of=above,
            from_address=source.address if source is not None else "",
            from_title=_title(source),
            from_name=self.name(source.town) if source is not None else "",
            shares=tuple(self._set_aside(doc, each) for each in shares),
            claims=tuple(found),
        )

    def all(self) -> list[ClaimView]:
        """Return the claims that can be read here, of our town and of others at most `OPENED_MAX` each."""
        register = self.register
        return self._opened(claim for each in register.ledgers() for claim in register.claims_of(each))

    def claim(self, doc: DocId) -> ClaimView | None:
        """Return a claim of our town or one that it answers; None if it is neither, or nothing is held of it
        any more."""
        held = claim_at(self.reader, self.seals, doc)
        ledger_doc = self.register.ledger_of(doc)
        if held is None or ledger_doc is None:
            return None
        subject = subject_of(self.reader, ledger_doc, held.asked.target if held.asked is not None else None)
        keeper = keeper_of(self.reader, ledger_doc, subject)
        if self.own_town not in (held.town, keeper):
            return None
        return self._claim(doc, held, ledger_doc, subject, keeper)

    def _set_aside(self, ledger: DocId, promise: Promise) -> SetAside:
        assert promise.share is not None
        below = self.reader.shares_of(ledger, promise.claim, promise.share)
        post = target_of(self.reader, below[0], self.now_ms // 1_000) if below else None
        address = post.address if post is not None else ""
        return SetAside(self.name(promise.share), promise.milli, address, _title(post))

    def name(self, town: TownId) -> str:
        """Return what people call a town."""
        if not self._names:
            self._names.update((town, facts.name) for town, facts in self.reader.towns().items())
        return self._names.get(town) or f"Town {town.hex()[:8]}"

    def _opened(self, claims: Iterable[DocId], whose: Whose = Whose.ALL) -> list[ClaimView]:
        """Open claims of our town and of others, of each at most `OPENED_MAX`, first those that count."""
        named = [(claim, noted) for claim in claims if (noted := self.register.noted(claim)) is not None]
        ours = [each for each in named if each[1].town == self.own_town]
        theirs = [each for each in named if each[1].town != self.own_town and whose is Whose.ALL]
        chosen = [each for part in (ours, theirs) for each in sorted(part, key=self._rank)[:OPENED_MAX]]
        return [view for claim, _ in chosen if (view := self.claim(claim)) is not None]

    def _rank(self, each: tuple[DocId, Noted]) -> tuple[int, int]:
        """What is promised or waits comes first, then what has no answer, urgent before other, then the
        rest."""
        claim, noted = each
        ledger = self._ledger_for(noted.town, noted.ledger)
        promise = ledger.promises.claims.get(claim) if ledger is not None else None
        if promise is not None:
            return (0 if promise.is_open or promise.status is Status.WAITING else 2), -noted.urgency
        return (2 if noted.withdrawn or ledger is None else 1), -noted.urgency

    def _place(self, ledger: Ledger, claim: DocId) -> int:
        """Return the place on the waiting list; it is counted out once a look."""
        if ledger.doc not in self._places:
            waiting = enumerate(ledger.promises.waiting(), 1)
            self._places[ledger.doc] = {each.claim: place for place, each in waiting}
        return self._places[ledger.doc].get(claim, 0)

    def _ledger_for(self, town: TownId, doc: DocId) -> Ledger | None:
        """Return the ledger that answers a claim of a town; what others ask of us no other town answers."""
        if town != self.own_town and doc not in self._kept_here:
            header = header_at(self.reader, doc)
            self._kept_here[doc] = header is not None and header.town == self.own_town
        return self._ledger(doc) if town == self.own_town or self._kept_here[doc] else None

    def _ledger(self, doc: DocId) -> Ledger | None:
        """Return a ledger; however many claims it answers, it is folded once a look."""
        if doc not in self._ledgers:
            self._ledgers[doc] = ledger_at(self.reader, doc)
        return self._ledgers[doc]

    def _claim(
        self, doc: DocId, held: Held, ledger_doc: DocId, subject: Record | None, kept_by: TownId | None
    ) -> ClaimView:
        asked, ledger = held.asked, self._ledger(ledger_doc)
        now_s = self.now_ms // 1_000
        about = subject.doc if subject is not None else None
        target = self.reader.document(about, now_s) if about is not None else None
        keeper = kept_by if kept_by is not None else held.town
        promise = ledger.promises.claims.get(doc) if ledger is not None else None
        stage, code = _stage(held, promise)
        place = self._place(ledger, doc) if ledger is not None and stage is Stage.WAITING else 0
        start, end = _window(asked, promise)
        unit = asked.unit if asked is not None else "each"
        milli = promise.milli if promise is not None and not end else 0
        ours, here = held.town == self.own_town, kept_by == self.own_town
        name, keeper_name = self.name(held.town), self.name(keeper)
        longer = asked.longer(ledger) if asked is not None and not held.withdrawn else None
        kept = stage is Stage.WITHDRAWN and promise is not None and promise.is_open
        unanswered = stage is Stage.ASKED or longer is not None or kept
        waits = unanswered or stage is Stage.WAITING
        heard_ms = self._heard(keeper, [ledger_doc]) if waits and not here else None
        hold = promise.hold_until if promise is not None and stage is Stage.ACCEPTED else None
        share = asked.share if asked is not None else False
        says = sentences.of_claim(
            stage,
            code,
            ours=ours and not here,
            keeper_name=keeper_name,
            town_name=asked.by or name if asked is not None and here and not share else name,
            waiting=self._waiting(keeper, asked, heard_ms, here, ledger),
            what=sentences.amount(milli or (asked.milli or 0 if asked is not None else 0), unit),
            window=sentences.of_window(start, end, now_s),
            until=sentences.moment(hold, now_s) if hold is not None else "",
            place=place,
            share=share,
            longer=sentences.of_end(longer.end, now_s) if longer is not None else "",
            kept=kept,
            why=because_of(code, None, target, now_s) if code else "",
            free=ledger.promises.free if ledger is not None else 0,
            wanted=asked.milli or 0 if asked is not None else 0,
            unit=unit,
        )
        return ClaimView(
            address=address(doc),
            doc=doc,
            target=about if about is not None else ledger_doc,
            target_address=target.address if target is not None else "",
            target_title=_title(target) or (asked.title if asked is not None else ""),
            target_kind=subject.header.kind if subject is not None else "",
            town=held.town,
            town_name=name,
            keeper_town=keeper,
            keeper_name=keeper_name,
            stage=stage,
            code=code,
            says=says,
            waits_for=keeper if waits else None,
            heard_ms=heard_ms,
            born=held.born,
            unit=unit,
            asked_milli=asked.milli or 0 if asked is not None else 0,
            milli=milli,
            start=start,
            end=end,
            longer=longer.end if longer is not None else 0,
            renewals=promise.renewals if promise is not None else 0,
            hold_until=hold,
            place=place,
            share=share,
            reason=asked.reason if asked is not None else "",
            urgency=asked.urgency if asked is not None else 0,
            by=asked.by if asked is not None else "",
            contact=asked.contact if asked is not None else "",
            on_behalf_of=asked.on_behalf_of if asked is not None else False,
            receipt_code=asked.code if asked is not None and ours else "",
            received=receipt_of(self.reader, self.register.receipts_of(doc, held.town)),
            ours=ours,
            to_answer=here,
        )

    def _waiting(
        self, keeper: TownId, asked: Asked | None, heard_ms: int | None, here: bool, ledger: Ledger | None
    ) -> str:
        if not here:
            synced = self.synced(keeper) if asked is not None else 0
            if synced and asked is not None and not self.reader.backlog(synced, asked.federations):
                return f"Is at {self.name(keeper)}: waits for an answer there."
            return sentences.waits(self.name(keeper), heard_ms, self.now_ms)
        if ledger is not None and ledger.keeper not in (None, self.device):
            return f"Waits for another device of this town ({(ledger.keeper or b'').hex()[:8]})."
        return "Waits for an answer here."

    def _heard(self, town: TownId, docs: Sequence[DocId]) -> int | None:
        """Return when a town was last heard: over a link, or by the newest of its own words here."""
        over_a_link = self.heard(town)
        if over_a_link is not None:
            return over_a_link
        for doc in docs:
            if doc not in self._newest:
                stamps = (each.header.stamp >> 16 for each in held_of(self.reader, doc))
                self._newest[doc] = max(stamps, default=0)
        return max(self._newest[doc] for doc in docs) or None


def _stage(held: Held, promise: Promise | None) -> tuple[Stage, str]:
    """Return how far a claim has come, and the code that says why."""
    if held.withdrawn and promise is not None and promise.status is Status.ACCEPTED and promise.share is None:
        return Stage.WITHDRAWN, ""
    if promise is not None and promise.status is not Status.WAITING:
        gone = promise.status in (Status.DECLINED, Status.RELEASED) and held.withdrawn
        return (Stage.WITHDRAWN if gone else _STAGES[promise.status]), promise.reason
    if held.withdrawn:
        return Stage.WITHDRAWN, ""
    return (Stage.WAITING, promise.reason) if promise is not None else (Stage.ASKED, "")


def _window(asked: Asked | None, promise: Promise | None) -> tuple[int, int]:
    if promise is not None and promise.end:
        return promise.start, promise.end
    return (asked.start or 0, asked.end or 0) if asked is not None else (0, 0)


def _title(document: Document | None) -> str:
    kind = kind_of(document.kind) if document is not None else None
    return kind.title_of(document.fields) if kind is not None and document is not None else ""


def _taken(promise: Promise) -> Taken:
    out = promise.status is Status.HANDED_OVER
    return Taken(promise.start, promise.end, out, promise.renewals)
