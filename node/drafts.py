"""Our own records before they are records: what is to be said, and how it gets stamp and signature.

All of this happens inside the writer's turn, so nobody else takes the same counter, and a new version's stamp
is greater than that of every version that it follows. What another node would not let stand is refused here
with a clear line, for nobody would ever tell the person who posted it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from node.errors import (
    InvalidRequest,
    LimitReached,
    NoSealingKey,
    NotCertified,
    NotFound,
    NotOurs,
    StaleEdit,
    UnknownKind,
)
from node.store.documents import fold
from protocol.clock import Clock
from protocol.ids import Lane, Op, home_id
from protocol.kinds import kind_of
from protocol.limits import ENTRIES_MAX, NONCE_BYTES, SALT_BYTES
from protocol.record import Header, Record, make, make_body
from sync.admission import QUOTA, SUPERSEDED, Changes, State, Verdict
from sync.authority import Allotment, allotment_of
from sync.ledger import LEDGER, OUTLIVES_S, ledger_id

if TYPE_CHECKING:
    from node.seals import Seals
    from node.store.contract import Transaction
    from protocol.encoding import Value
    from protocol.identity import SigningKey
    from protocol.ids import DocId, FederationId, RecordId, TownId
    from protocol.schema import Kind

DRAFTS_MAX: Final = 10_000
"""Drafts of one turn: an import has a few hundred, and none that makes its drafts goes on for ever."""
STAMP_BYTES: Final = 8
"""The greatest own stamp is kept as bytes: SQLite's integers are a bit too short for it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A record of our own that is still to be stamped and signed.

    Attributes:
        kind: Name of the kind; with `doc` the document's own, whatever stands here.
        op: PUT, ENTRY or DELETE.
        fields: The body; None for a delete.
        federations: Audience; empty is the own town's home set.
        lane: None means the lane that the kind declares.
        born: Seconds since 1970; None means now.
        expires: Seconds since 1970; None means the kind's default lifetime after `born`.
        nonce: 8 bytes; None means chance. Of (kind, nonce) there is one document: a second draft that would
            begin it gives back the record that stands and writes nothing.
        cites: Records that this one rests on.
        doc: An existing document of the own town that this record is about; it then gives audience, lane,
            born, expires and nonce.
        opens: Of a new document: the first entry of its ledger, which is written with it.
        based_on: With `doc`: the versions that the editor saw. A draft is refused when the held put is
            another, or when one of these revisions has been followed by another since.
        after: A stamp than which its own is greater, whatever this node's clock says.
        sealed_to: Towns that can read it, beside the own; empty: everybody can, unless the kind is a sealed
            one.
        key: Signs instead of the device: the town key, for `town.*`, steps and their signatures.
    """

    kind: str
    op: Op = Op.PUT
    fields: Mapping[str, Value] | None = None
    federations: tuple[FederationId, ...] = ()
    lane: Lane | None = None
    born: int | None = None
    expires: int | None = None
    nonce: bytes | None = None
    cites: tuple[RecordId, ...] = ()
    doc: DocId | None = None
    opens: Mapping[str, Value] | None = None
    based_on: tuple[RecordId, ...] | None = None
    after: int = 0
    sealed_to: tuple[TownId, ...] = ()
    key: SigningKey | None = field(default=None, repr=False)


Drafts: TypeAlias = "Sequence[Draft] | Callable[[Transaction], Generator[Draft, Record, None]]"
"""Drafts, or how they are made in the writer's turn, each from the state there and the record of the one
before."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """What all records of the document share, and what is held of it."""

    kind: str
    lane: Lane
    federations: tuple[FederationId, ...]
    born: int
    expires: int
    nonce: bytes
    held: tuple[Record, ...] = ()


_Held: TypeAlias = "dict[DocId, tuple[Record, ...]]"
"""What is held of the documents to which a turn adds; it is read once, however much the turn adds."""


class Desk:
    """Signs the drafts of one device, one turn at a time.

    Args:
        key: The device's key.
        chance: Gives random bytes.
        seals: Seals what is not for everybody; None: nothing of that sort is written here.
    """

    def __init__(self, key: SigningKey, chance: Callable[[int], bytes], seals: Seals | None = None) -> None:
        self._key = key
        self._chance = chance
        self._seals = seals

    def sign(
        self, tx: Transaction, drafts: Drafts, *, now_ms: int, sure: bool
    ) -> tuple[list[Record], list[Record]]:
        """Return the record of each draft, and all that are new, ledgers that open with them too, in order.

        Raises:
            StaleEdit, NotFound, NotOurs, UnknownKind, InvalidRequest, NoSealingKey, ProtocolError.
        """
        clock = Clock(last_stamp(tx))
        answers: list[Record] = []
        fresh: list[Record] = []
        begun: dict[tuple[str, bytes], Record] = {}
        held: _Held = {}
        turn = iter(drafts) if isinstance(drafts, Sequence) else drafts(tx)
        record: Record | None = None
        while len(answers) < DRAFTS_MAX:
            try:
                draft = next(turn) if record is None or not isinstance(turn, Generator) else turn.send(record)
            except StopIteration:
                break
            repeated = self._repeated(tx, draft, begun)
            record = repeated or self._sign_one(tx, draft, held, clock, now_ms, sure)
            answers.append(record)
            if repeated is not None:
                continue
            begun[record.header.kind, record.header.nonce] = record
            fresh.append(record)
            if draft.opens is not None:
                beside = _beside(tx, record, draft.opens)
                fresh.append(self._sign_one(tx, beside, held, clock, now_ms, sure))
        if fresh:
            keep_stamp(tx, clock.last)
        return answers, fresh

    def _repeated(
        self, tx: Transaction, draft: Draft, begun: Mapping[tuple[str, bytes], Record]
    ) -> Record | None:
        """Return the record that an earlier draft with this nonce came to."""
        if draft.doc is not None or draft.nonce is None:
            return None
        return begun.get((draft.kind, draft.nonce)) or tx.known_nonce(draft.kind, draft.nonce)

    def _sign_one(
        self, tx: Transaction, draft: Draft, held: _Held, clock: Clock, now_ms: int, sure: bool
    ) -> Record:
        frame = self._new_frame(draft, now_ms) if draft.doc is None else self._old_frame(tx, draft, held)
        kind = kind_of(frame.kind)
        _check_fields(kind, draft)
        after = max((record.header.stamp for record in frame.held), default=draft.after)
        body = self._body(tx, frame.kind, draft)
        epoch, counter = tx.next_seq()
        return make(
            draft.key or self._key,
            town=tx.own_town,
            epoch=epoch,
            counter=counter,
            stamp=clock.tick(now_ms, sure=sure, after=after),
            kind=frame.kind,
            lane=frame.lane,
            federations=frame.federations,
            born=frame.born,
            expires=frame.expires,
            nonce=frame.nonce,
            op=draft.op,
            cites=draft.cites,
            body=body,
        )

    def _body(self, tx: Transaction, kind: str, draft: Draft) -> bytes | None:
        if draft.fields is None:
            return None
        declared = kind_of(kind)
        if not draft.sealed_to and not (declared is not None and declared.sealed):
            return make_body(self._chance(SALT_BYTES), draft.fields)
        if self._seals is None:
            raise NoSealingKey("this node has no sealing key, so it can seal nothing")
        return self._seals.seal_for(tx, draft.sealed_to, draft.fields, kind)

    def _new_frame(self, draft: Draft, now_ms: int) -> _Frame:
        kind = kind_of(draft.kind)
        if kind is None and (draft.lane is None or draft.expires is None):
            raise UnknownKind(f"there is no kind called {draft.kind!r}; look at the list of kinds")
        born = now_ms // 1_000 if draft.born is None else draft.born
        nonce = self._chance(NONCE_BYTES) if draft.nonce is None else draft.nonce
        lane = draft.lane if draft.lane is not None else _declared(kind).lane
        expires = draft.expires if draft.expires is not None else born + _declared(kind).lifetime_default_s
        return _Frame(draft.kind, lane, draft.federations, born, expires, nonce)

    def _old_frame(self, tx: Transaction, draft: Draft, known: _Held) -> _Frame:
        assert draft.doc is not None
        if draft.doc not in known:
            known[draft.doc] = tuple(tx.records(tx.document_records(draft.doc)).values())
        held = known[draft.doc]
        if not held or any(record.header.op is Op.DELETE for record in held):
            raise NotFound("there is no such document any more; it was withdrawn or has ended")
        header = held[0].header
        if header.town != tx.own_town:
            raise NotOurs("only the town that wrote a document may change it; post one of your own instead")
        if draft.based_on is not None:
            _check_fresh(held, draft.based_on)
        if draft.op is Op.ENTRY and len(held) >= ENTRIES_MAX:
            raise LimitReached(f"this document has its {ENTRIES_MAX} entries; begin a new one that cites it")
        return _frame_of(header, held)


def _beside(tx: Transaction, record: Record, entry: Mapping[str, Value]) -> Draft:
    """Return the first entry of the ledger of a document that begins now.

    Raises:
        InvalidRequest: There is one by this id: a nonce was used for two documents in one second.
    """
    header = record.header
    doc = ledger_id(header)
    if tx.facts([doc]).get(doc):
        raise InvalidRequest("two posts of one second have the same key; send this one again with its own")
    return Draft(
        LEDGER, Op.ENTRY, entry, header.federations, header.lane, header.born, header.expires + OUTLIVES_S,
        header.nonce,
    )  # fmt: skip


def last_stamp(tx: Transaction) -> int:
    """Return the greatest stamp that the own town is known to have used."""
    kept = tx.meta("stamp")
    return int.from_bytes(kept, "big") if isinstance(kept, bytes) else 0


def keep_stamp(tx: Transaction, stamp: int) -> None:
    """Note the greatest own stamp."""
    tx.set_meta("stamp", stamp.to_bytes(STAMP_BYTES, "big"))


def check_home_room(tx: Transaction, town: TownId, fresh: Sequence[Record], most: int) -> None:
    """Refuse to begin documents of the home set beyond `most`: no federation's quota bounds them.

    Raises:
        LimitReached: Says what to do.
    """
    ours = {
        record.doc
        for record in fresh
        if not record.header.federations and allotment_of(record.header.kind) is Allotment.POSTS
    }
    begun = ours - {doc for doc, facts in tx.facts(list(ours)).items() if facts} if ours else ours
    if begun and len(begun) + sum(tx.document_count((home_id(town), lane), town) for lane in Lane) > most:
        raise LimitReached(
            f"this town keeps {most:,} documents for itself at most (withdrawn ones count until they would"
            " have ended); wait until some end, share this one in a federation, or ask the operator to raise"
            " home_documents in [limits]"
        )


def check_standing(fresh: Sequence[Record], changes: Changes) -> None:
    """Refuse own records that the rules would not let stand, or that would push out what stands.

    Raises:
        LimitReached, NotCertified, InvalidRequest.
    """
    ours = {record.id for record in fresh}
    for verdict in changes.verdicts:
        if verdict.state is not State.HELD and not (verdict.cause == SUPERSEDED and verdict.because in ours):
            raise _refusal(verdict)
    if any(cause == QUOTA for _, _, cause, _ in changes.remove):
        raise _refusal(Verdict(fresh[0].id, State.NOT_NOW, QUOTA))


def _refusal(verdict: Verdict) -> Exception:
    match verdict.cause:
        case "quota":
            return LimitReached(
                "this town has as many documents of this kind as its federation allows (withdrawn ones"
                " count until they end); wait until some end, or ask the stewards for a greater quota"
            )
        case "expired":
            return InvalidRequest("that has ended already; give an end that is still to come")
        case "future":
            return InvalidRequest(
                "that begins more than a day ahead; look at the date, or at this node's clock"
            )
        case "superseded":
            return StaleEdit("this document was changed or withdrawn meanwhile; look at it again")
        case cause:
            return NotCertified(
                f"no other node would take this ({cause}): this device lacks its town's certificate, or the"
                " town is no member of that federation",
                detail={"cause": cause},
            )


def _check_fresh(held: Sequence[Record], based_on: Sequence[RecordId]) -> None:
    """Refuse an edit of a version that is no longer the newest."""
    puts = {record.id for record in held if record.header.op is Op.PUT}
    folded = fold(held)
    heads = puts or {shown.record.id for shown in (folded.heads if folded else ())}
    if set(based_on) != heads if puts else not set(based_on) <= heads:
        raise StaleEdit("this document was changed while you were writing; look at it again, then edit that")


def _check_fields(kind: Kind | None, draft: Draft) -> None:
    if (draft.op is Op.DELETE) != (draft.fields is None):
        raise InvalidRequest("a put or an entry has fields, and a withdrawal has none")
    if kind is None or draft.fields is None:
        return
    if draft.op is not kind.op:
        raise InvalidRequest(
            f"documents of the kind {kind.name} are not written with {draft.op.name.lower()}"
        )
    kind.check(draft.fields)


def _declared(kind: Kind | None) -> Kind:
    assert kind is not None, "an unknown kind comes with lane and end"
    return kind


def _frame_of(header: Header, held: tuple[Record, ...]) -> _Frame:
    return _Frame(
        header.kind, header.lane, header.federations, header.born, header.expires, header.nonce, held
    )
