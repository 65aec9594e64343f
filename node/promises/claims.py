"""The acts of people on what is offered, needed, lent and to come: ask, answer, hand over, receive.

Whoever asks writes a claim, sealed to the two towns concerned; whoever answers writes an entry in the ledger
of what is claimed, which shows amounts and no people. An act has happened when the call returns: it is on the
disk, and goes to the other towns as every record does. What would have no effect is refused at once, with the
reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from node.errors import InvalidRequest, NotOurs, Refused
from node.promises.asked import Asked, claim_at
from node.promises.asking import Asking
from node.promises.limits import kept_until
from node.promises.rules import fault, hold_of, no_longer
from node.promises.sentences import amount, because
from node.promises.shares import given_back
from node.promises.shelf import ledger_at, target_of
from node.promises.sight import refuse
from node.promises.views import ClaimView
from protocol.ids import DocId
from sync.keeping import BEYOND_END, NO_RENEWALS, refusal, says_no
from sync.ledger import ledger_id
from sync.promises import Act, Mode, Word

if TYPE_CHECKING:
    from node.store import Document, Reader
    from protocol.identity import SigningKey
    from sync.ledger import Ledger
    from sync.promises import Promise


class Claims(Asking):
    """The acts of the people of one town on claims and ledgers; `Sight` has what is read."""

    async def accept(
        self, address: str, *, milli: int | None = None, hold_until: int | None = None
    ) -> ClaimView:
        """Promise what is claimed, or a part of it; of a share, that its town may give it away.

        Raises:
            Refused: It would have no effect; the code says why.
            NotKeeper, NotOurs, InvalidAddress, NotFound, StorageUnavailable.
        """
        now_s = self._now_ms() // 1_000

        def word(reader: Reader, ledger: Ledger, asked: Asked) -> Word:
            target = target_of(reader, ledger.doc, now_s)
            refuse(fault(reader, asked, ledger, now_s), ledger, target, now_s)
            refuse(_no_hold(hold_until, target, now_s), ledger, target, now_s)
            if milli is not None and asked.milli is not None and milli > asked.milli:
                raise Refused(f"no more than {amount(asked.milli, asked.unit)} is asked for", code="too_much")
            hold_s = hold_of(target) if target is not None and not asked.share else None
            until = now_s + hold_s if hold_until is None and hold_s is not None else hold_until
            return Word(
                Act.ACCEPT,
                asked.doc,
                asked.milli if milli is None else milli,
                start=asked.start,
                end=asked.end,
                hold_until=until,
                share=asked.town if asked.share else None,
            )

        return await self._answer(address, word)

    async def decline(self, address: str, *, reason: str = "declined") -> ClaimView:
        """Say no to a claim, or to its asking for longer. Raises as `accept`."""
        _known_reason(reason)

        def word(_: Reader, ledger: Ledger, asked: Asked) -> Word:
            longer = asked.longer(ledger)
            if longer is not None:
                return says_no(ledger.promises.claims[asked.doc], longer.version, reason)
            return Word(Act.DECLINE, asked.doc, reason=reason)

        return await self._answer(address, word)

    async def put_on_list(self, address: str) -> ClaimView:
        """Put a claim on the waiting list. Raises as `accept`."""
        return await self._answer(address, lambda _, __, asked: Word(Act.WAIT, asked.doc))

    async def release(self, address: str, *, milli: int | None = None, reason: str = "released") -> ClaimView:
        """Give free what was promised: it came back, nobody came for it, or the share was given back.

        Raises as `accept`; of a share only what its town has given back can be given free.
        """
        _known_reason(reason)

        def word(reader: Reader, ledger: Ledger, asked: Asked) -> Word:
            promise = ledger.promises.claims.get(asked.doc)
            if promise is not None and promise.is_open and promise.share is not None:
                return given_back(reader, ledger, promise, milli)
            _no_more_than_promised(promise, asked, milli)
            return Word(Act.RELEASE, asked.doc, milli, reason=reason)

        return await self._answer(address, word)

    async def renew(self, address: str, *, until: int) -> ClaimView:
        """Let somebody keep a thing for longer, or keep something for somebody for longer.

        Args:
            until: Seconds since 1970: the new end of the window, or of the keeping.

        Raises as `accept`; a thing is prolonged no more often than its post says.
        """
        now_s = self._now_ms() // 1_000

        def word(reader: Reader, ledger: Ledger, asked: Asked) -> Word:
            target = target_of(reader, ledger.doc, now_s)
            refuse(_no_hold(until, target, now_s), ledger, target, now_s)
            if ledger.promises.mode is not Mode.WINDOW:
                return Word(Act.RENEW, asked.doc, hold_until=until)
            code = no_longer(reader, ledger, asked.doc, until, now_s)
            if code == NO_RENEWALS:
                raise Refused(f"{because(code)}: change its number of renewals to allow more", code=code)
            refuse(code, ledger, target, now_s)
            longer = asked.longer(ledger)
            settles = (longer.version,) if longer is not None else ()
            return Word(Act.RENEW, asked.doc, end=until, settles=settles)

        return await self._answer(address, word)

    async def hand_over(
        self, address: str, *, code: str | None = None, milli: int | None = None
    ) -> ClaimView:
        """Note that somebody has fetched what was promised.

        Args:
            code: What was shown at the counter, whole or its four digits; None: handed over without.

        Raises as `accept`; TooMany after too many wrong codes.
        """

        def word(_: Reader, ledger: Ledger, asked: Asked) -> Word:
            _no_more_than_promised(ledger.promises.claims.get(asked.doc), asked, milli)
            if code is not None:
                self._counter.check(asked.doc, asked.code, code)
            return Word(Act.HANDOVER, asked.doc, milli, reason="no_code" if code is None else "confirmed")

        return await self._answer(address, word)

    async def name_keeper(self, address: str, device: bytes, *, key: SigningKey | None = None) -> None:
        """Let another device of our town keep the ledger of a document from here on.

        Args:
            key: The town key, when the device that kept it is lost or stolen: its word beats all others.

        Raises:
            NotOurs, NotKeeper, InvalidRequest: It is no device of this town.
        """
        target = await self._board.show(address)
        if target.town != self.own_town:
            raise NotOurs(f"{target.town_name} keeps this; only it can say which of its devices does")
        if device not in self._authority().rights_of(self.own_town).devices:
            raise InvalidRequest("no device of this town has that key; hedgerow status names them")
        header, _ = await self._ledger(target)
        if key is not None:
            await self.pen.appoint(ledger_id(header), device, key)
        else:
            await self.pen.write(ledger_id(header), lambda _, __: [Word(Act.KEEPER, device=device)])

    # Below here: how.

    async def _answer(self, address: str, word: Callable[[Reader, Ledger, Asked], Word]) -> ClaimView:
        """Write one entry on a claim; return how it then stands."""
        doc = await self._find(address)
        ledger_doc = self.register.ledger_of(doc)
        assert ledger_doc is not None, "a claim that is found names a ledger"

        def words(reader: Reader, ledger: Ledger) -> list[Word]:
            held = claim_at(reader, self.seals, doc)
            if held is None or held.asked is None:
                raise Refused("the request was withdrawn", code="claim_withdrawn")
            said = word(reader, ledger, held.asked)
            refuse(refusal(ledger, said), ledger)
            return [said]

        await self._must_be_kept_here(ledger_doc)
        await self.pen.write(ledger_doc, words)
        return await self.show(doc.hex())

    async def _must_be_kept_here(self, ledger_doc: DocId) -> None:
        ledger = await self._store.read(lambda reader: ledger_at(reader, ledger_doc))
        if ledger is not None and ledger.town != self.own_town:
            facts = (await self._board.towns()).get(ledger.town)
            raise NotOurs(
                f"only {facts.name if facts else 'the town that posted it'} can answer this request"
            )


def _no_hold(until: int | None, target: Document | None, now_s: int) -> str:
    """Return why nothing can be kept for somebody until then, as a stable code; "" if it may."""
    if until is not None and until <= now_s:
        return "window_over"
    return BEYOND_END if until is not None and target is not None and until > kept_until(target) else ""


def _no_more_than_promised(promise: Promise | None, asked: Asked, milli: int | None) -> None:
    if promise is None or not promise.is_open or promise.end or milli is None or milli <= promise.milli:
        return
    raise Refused(f"no more than {amount(promise.milli, asked.unit)} is promised here", code="too_much")


def _known_reason(reason: str) -> None:
    """Reasons are codes, for everybody may read a ledger and no entry says a word about people."""
    if reason not in GIVEN_REASONS:
        raise InvalidRequest(f"the reason is one of {', '.join(GIVEN_REASONS)}", code="unknown_reason")


DECLINES: Final = ("declined", "to_others", "not_then", "gone")
"""Why somebody says no, in the order in which a page offers them."""
GIVEN_REASONS: Final = (*DECLINES, "released", "returned", "no_show")
"""Reasons that a person may give; what a node finds by itself has codes of its own."""
