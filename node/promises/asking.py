"""What the people do who ask for something: ask, receive, take back, and give a share away in their turn.

A claim is sealed to the two towns concerned. What nobody could grant is refused at once, with the reason.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.board import Post, Posted
from node.drafts import Draft
from node.errors import InvalidRequest, NoFederation, Refused
from node.promises.asked import CLAIM, RECEIPT, Asked, claim_at
from node.promises.codes import make_code
from node.promises.opening import amount_of
from node.promises.rules import Wish, no_longer, objection
from node.promises.shares import share_word
from node.promises.shelf import held_of, ledger_at, target_of
from node.promises.sight import Sight, nothing, refuse
from node.promises.views import ClaimView, Stage
from protocol.ids import DocId, Op, RecordId
from protocol.ids import address as address_of
from protocol.kinds import KINDS
from sync.keeping import REFUSALS_MAX
from sync.ledger import OUTLIVES_S, ledger_id
from sync.promises import ONE

if TYPE_CHECKING:
    from node.board import Audience
    from node.promises.looking import Look
    from node.store import Document, Reader, Transaction
    from protocol.encoding import Value
    from protocol.ids import FederationId
    from protocol.record import Header, Record


_STANDING: Final = (Stage.ASKED, Stage.WAITING, Stage.ACCEPTED)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim came to: its address, the record's id, and the code to show when it is fetched."""

    address: str
    id: RecordId
    code: str


class Asking(Sight):
    """The acts of those who ask."""

    async def ask(
        self,
        address: str,
        *,
        quantity: Mapping[str, Value] | None = None,
        start: int | None = None,
        end: int | None = None,
        reason: str = "",
        urgency: str = "normal",
        by: str | None = None,
        contact: str = "",
        share: bool = False,
        on_behalf_of: bool = False,
        nonce: bytes | None = None,
    ) -> Claimed:
        """Ask for something; only its town and ours can read who asks, how much and why.

        Args:
            address: Of what is asked for.
            quantity: {milli, unit}; None: one, where things are counted.
            start: With `end` the window in which a thing is to be borrowed, seconds since 1970.
            urgency: normal, soon, urgent or life.
            by: The resident's handle.
            share: Our town wants to give it away itself.
            nonce: 8 bytes; the same again answers with the first claim and writes nothing.

        Raises:
            Refused: Nobody could grant it; the code says why.
            NoSealingKey: Nothing can be sealed to its town yet.
            InvalidAddress, NotFound, NoFederation, InvalidField, StorageUnavailable.
        """
        target = await self._board.show(address)
        wish = _wish(target, quantity, start, end, share)
        header, ledger = await self._ledger(target)
        now_s = self._now_ms() // 1_000
        refuse(objection(target, ledger, wish, now_s), ledger, target, now_s)
        if by and not on_behalf_of:
            await self._refuse_twice(ledger_id(header), by, nonce)
        fields: dict[str, Value | None] = {
            "target": target.doc,
            "ledger": ledger_id(header),
            "title": KINDS[target.kind].title_of(target.fields) or None,
            "milli": wish.milli,
            "unit": wish.unit if wish.milli is not None else None,
            "start": wish.start,
            "end": wish.end,
            "reason": reason or None,
            "urgency": urgency,
            "contact": contact or None,
            "code": make_code(self._chance),
            "share": share or None,
            "by": by,
            "on_behalf_of": on_behalf_of or None,
        }
        draft = Draft(
            CLAIM,
            Op.PUT,
            {name: value for name, value in fields.items() if value is not None},
            federations=self._federations(target),
            expires=target.expires + OUTLIVES_S,
            nonce=nonce,
            sealed_to=(target.town,),
        )
        [record] = await self._intake.post([draft])
        # Of a repeated nonce the record is the first one, with the code that was told then.
        said = self.seals.open(record) or {}
        return Claimed(address_of(record.doc), record.id, str(said.get("code", "")))

    async def ask_longer(self, address: str, *, until: int) -> ClaimView:
        """Ask to keep a borrowed thing for longer; who lends it answers, or its node.

        Args:
            until: Seconds since 1970: the new end of the window.

        Raises:
            NotOurs: Another town's people claimed it.
            Refused: It could not be granted; the code says why.
            NoSealingKey, NotFound, StorageUnavailable.
        """
        view = await self._own(address)

        def compose(tx: Transaction) -> Generator[Draft, Record, None]:
            held = claim_at(tx, self.seals, view.doc)
            if held is None or held.asked is None:
                raise Refused("the request was withdrawn", code="claim_withdrawn")
            now_s = self._now_ms() // 1_000
            ledger = ledger_at(tx, held.asked.ledger)
            target = target_of(tx, held.asked.ledger, now_s)
            refuse(no_longer(tx, ledger, view.doc, until, now_s), ledger, target, now_s)
            assert ledger is not None, "what is not known is refused"
            if ledger.promises.claims[view.doc].refusals >= REFUSALS_MAX:
                refuse("asked_often", ledger)
            longer = held.asked.longer(ledger)
            if longer is not None and longer.end == until:
                return  # It was asked already, and waits for the answer.
            record = next(each for each in held_of(tx, view.doc) if each.id == held.asked.id)
            fields = (self.seals.open(record) or {}) | {"end": until}
            yield Draft(CLAIM, Op.PUT, fields, doc=view.doc, sealed_to=(ledger.town,))

        await self._intake.post(compose)
        return await self.show(view.doc.hex())

    async def receive(self, address: str, *, ok: str = "yes", milli: int | None = None) -> ClaimView:
        """Say that what was claimed has been received, and whether all went well: yes, partly or no.

        Raises:
            NotOurs: Another town's people claimed it.
            Refused: It was not promised.
        """
        view = await self._own(address)
        if view.stage not in (Stage.ACCEPTED, Stage.HANDED_OVER):
            raise Refused(f"it cannot be received: {view.says}", code="not_accepted")
        claim, header, asked = await self._store.read(lambda reader: self._of_claim(reader, view.doc))
        fields: dict[str, Value] = {"ledger": asked.ledger, "claim": claim, "ok": ok}
        if milli is not None:
            fields["milli"] = milli
        written = await self._store.read(lambda reader: self._own_receipt(reader, claim))
        draft = Draft(
            RECEIPT, Op.PUT, fields, header.federations, header.lane, header.born, header.expires, claim[:8]
        )
        if written is not None:
            draft = Draft(RECEIPT, Op.PUT, fields, doc=written)
        await self._intake.post([draft])
        return await self.show(view.doc.hex())

    async def withdraw(self, address: str) -> ClaimView:
        """Take a claim of our own back; the keeper then gives free what was promised.

        Raises:
            NotOurs, Refused.
        """
        view = await self._own(address)
        if view.stage is Stage.HANDED_OVER:
            raise Refused("it was handed over already, so it cannot be taken back", code="handed_over")
        if view.stage is not Stage.WITHDRAWN:
            await self._intake.post([Draft(CLAIM, Op.DELETE, doc=view.doc)])
        return await self.show(view.doc.hex())

    async def post_share(
        self,
        claim: str,
        kind: str,
        fields: Mapping[str, Value],
        *,
        by: str | None = None,
        audience: Audience | None = None,
        nonce: bytes | None = None,
        until: int | None = None,
    ) -> Posted:
        """Post an offer over what another town has set aside for ours.

        Args:
            claim: Address of our own accepted claim of a share.

        Raises:
            Refused: Nothing is set aside, more is offered than that, or it was posted already.
            As `Board.post`.
        """
        view = await self._own(claim)
        milli, unit = amount_of(kind, fields)
        ledger_doc = self.register.ledger_of(view.doc)
        assert ledger_doc is not None, "a claim that is shown names a ledger"
        word = await self._store.read(
            lambda reader: share_word(reader, ledger_doc, view.doc, self.own_town, milli, unit, nonce)
        )
        post = Post(kind, fields, by, audience, nonce, until, word)
        return (await self._board.post_many([post]))[0]

    # Below here: how.

    async def _refuse_twice(self, ledger_doc: DocId, by: str, nonce: bytes | None) -> None:
        """Refuse what somebody has asked for already, unless this is the repetition of that very request."""
        await self.register.catch_up()
        named = self.register.claims_of(ledger_doc)
        claims = [each for each in named if (of := self.register.noted(each)) and of.town == self.own_town]

        def standing(look: Look) -> list[ClaimView]:
            nonces = {each.header.nonce for doc in claims for each in held_of(look.reader, doc)[:1]}
            views = [] if nonce in nonces else [look.claim(doc) for doc in claims]
            return [view for view in views if view is not None and view.ours and not view.on_behalf_of]

        for view in await self._look(standing):
            if view.by.casefold() == by.casefold() and view.stage in _STANDING:
                raise Refused(
                    f"{by} has asked for this already: {view.says}",
                    code="twice",
                    detail={"address": view.address},
                )

    def _federations(self, target: Document) -> tuple[FederationId, ...]:
        """Return through which federations a claim goes: those of what is claimed that both towns are in."""
        authority = self._authority()
        ours = authority.federations_of(self.own_town)
        shared = tuple(
            each for each in target.federations if each in ours and authority.is_member(each, target.town)
        )
        if target.federations and not shared:
            raise NoFederation(f"this town is in no federation with {target.town_name} that this went to")
        return shared

    def _of_claim(self, reader: Reader, doc: DocId) -> tuple[DocId, Header, Asked]:
        held = claim_at(reader, self.seals, doc)
        if held is None or held.asked is None:
            raise nothing()
        return doc, held_of(reader, doc)[0].header, held.asked

    def _own_receipt(self, reader: Reader, claim: DocId) -> DocId | None:
        return next(
            (doc for doc in self.register.receipts_of(claim, self.own_town) if held_of(reader, doc)), None
        )


def _wish(
    target: Document, quantity: Mapping[str, Value] | None, start: int | None, end: int | None, share: bool
) -> Wish:
    if target.kind == "item" and quantity is None:
        return Wish(None, "each", start, end, share)
    if quantity is None:
        _, unit = amount_of(target.kind, target.fields)
        if unit != "each":
            raise Refused(f"say how much, in {unit}", code="no_amount")
        return Wish(ONE, "each", start, end, share)
    milli, unit_of_it = quantity.get("milli"), quantity.get("unit")
    if type(milli) is not int or type(unit_of_it) is not str:
        raise InvalidRequest("an amount is {milli, unit}")
    return Wish(milli, unit_of_it, start, end, share)
