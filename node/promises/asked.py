"""The claims that can be read here: those sealed to our town, and which ledger each of them is for.

Nothing of what a claim says is kept on the disk, and little in memory: which document of which town it is,
which ledger it names, how urgent it is and whether it is for a share, so that a keeper knows whose turn it
is. Whoever shows or answers one opens it again from the record that is held.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from node.promises.shelf import held_of, is_withdrawn
from protocol.ids import DocId
from protocol.record import fields_of
from sync.keeping import Longer, Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from node.seals import Seals
    from node.store import Reader, Store
    from protocol.encoding import Value
    from protocol.ids import FederationId, RecordId, TownId
    from protocol.record import Record
    from sync.ledger import Ledger

K = TypeVar("K")

CLAIM: Final = "claim"
RECEIPT: Final = "receipt"
RECEIPTS_MAX: Final = 8
"""Receipts of one claim that are looked at; its town writes one."""
OPENED_MAX: Final = 1_000
"""Claims of one sort that are opened at one look, by a page or a keeper: nobody holds them up by asking."""
URGENCIES: Final = ("normal", "soon", "urgent", "life")
"""From 0 to 3, as `Request.urgency` counts."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One claim as it was read.

    Attributes:
        title: What it was called when it was asked for, by the claimant; empty: nothing was said.
        milli: In thousandths of `unit`; None of a window, which is `start` to `end`.
    """

    doc: DocId
    id: RecordId
    town: TownId
    born: int
    expires: int
    federations: tuple[FederationId, ...]
    target: DocId
    ledger: DocId
    title: str
    milli: int | None
    unit: str
    start: int | None
    end: int | None
    reason: str
    urgency: int
    contact: str
    code: str
    by: str
    share: bool
    on_behalf_of: bool

    def request(self, heard: int) -> Request:
        """Return what a keeper decides on, who heard of it at this second."""
        return Request(self.doc, heard, self.urgency, self.milli, self.start, self.end)

    def longer(self, ledger: Ledger | None) -> Longer | None:
        """Return what it asks for beyond the window that it has, if that is not answered yet."""
        promise = ledger.promises.claims.get(self.doc) if ledger is not None else None
        if ledger is None or promise is None or not promise.is_open or not promise.end or self.end is None:
            return None
        if self.end <= promise.end or self.id in ledger.settled:
            return None
        return Longer(self.doc, self.id, self.end)


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of a claim: one that can be read, or one that was withdrawn."""

    asked: Asked | None
    town: TownId
    born: int
    withdrawn: bool


Opened: TypeAlias = "dict[RecordId, Asked | None]"
"""Claims that were opened during one piece of work, so that none is opened twice in it; None: not for us."""


def claim_at(reader: Reader, seals: Seals, doc: DocId, opened: Opened | None = None) -> Held | None:
    """Return what is held of a claim; None if that is nothing that can be read.

    Args:
        opened: Is asked first, and gets what is opened.
    """
    opened = {} if opened is None else opened
    records = [each for each in held_of(reader, doc) if each.header.kind == CLAIM]
    if not records:
        return None
    header = records[0].header
    if is_withdrawn(records):
        return Held(None, header.town, header.born, True)
    for each in records:
        if each.id not in opened:
            opened[each.id] = read_claim(seals, each)
    asked = next((asked for each in records if (asked := opened[each.id]) is not None), None)
    return Held(asked, header.town, header.born, False) if asked is not None else None


def read_claim(seals: Seals, record: Record) -> Asked | None:
    """Return a claim that is sealed to us, as its kind declares it."""
    fields = seals.open(record)
    if fields is None:
        return None
    header = record.header
    return Asked(
        doc=record.doc,
        id=record.id,
        town=header.town,
        born=header.born,
        expires=header.expires,
        federations=header.federations,
        target=DocId(_bytes(fields, "target")),
        ledger=DocId(_bytes(fields, "ledger")),
        title=_text(fields, "title"),
        milli=_whole(fields, "milli"),
        unit=_text(fields, "unit") or "each",
        start=_whole(fields, "start"),
        end=_whole(fields, "end"),
        reason=_text(fields, "reason"),
        urgency=URGENCIES.index(_text(fields, "urgency") or URGENCIES[0]),
        contact=_text(fields, "contact"),
        code=_text(fields, "code"),
        by=_text(fields, "by"),
        share=fields.get("share") is True,
        on_behalf_of=fields.get("on_behalf_of") is True,
    )


@dataclass(frozen=True, slots=True)
class Noted:
    """What is remembered of a claim that can be read here.

    Attributes:
        town: Of the claimant.
        urgency: From 0 to 3, as `Request.urgency` counts.
    """

    ledger: DocId
    town: TownId
    urgency: int
    share: bool
    withdrawn: bool = False


class Register:
    """Which claims are for which ledger, and which receipts there are; kept up to date with the store.

    Changed on the event loop only; the keeper also reads it in the turns of the store.
    """

    def __init__(self, store: Store, seals: Seals) -> None:
        self._store = store
        self._seals = seals
        self._change = 0
        self._keys = 0
        self._turn = asyncio.Lock()
        self._noted: dict[DocId, Noted] = {}
        self._claims: dict[DocId, dict[DocId, None]] = defaultdict(dict)
        self._receipts: dict[tuple[DocId, TownId], dict[DocId, None]] = defaultdict(dict)

    async def catch_up(self) -> None:
        """Take note of all that has been committed since, and of what a new sealing key opens."""
        async with self._turn:
            keys = self._seals.count
            after = self._change if keys == self._keys else 0
            change, named, receipts = await self._store.read(lambda reader: self._read(reader, after))
            for claim, noted in named:
                if noted is None and claim in self._noted:
                    self._noted[claim] = replace(self._noted[claim], withdrawn=True)
                elif noted is not None:
                    self._noted[claim] = noted
                    self._claims[noted.ledger][claim] = None
            for receipt, claim, town in receipts:
                self._receipts[claim, town][receipt] = None
            self._change, self._keys = change, keys

    async def forget(self) -> None:
        """Forget what is held no more: claims and receipts that ended, or lost their right or their room."""
        async with self._turn:
            gone = await self._store.read(self._gone)
            _leave_out(self._claims, gone)
            _leave_out(self._receipts, gone)
            for claim in gone:
                self._noted.pop(claim, None)

    def ledger_of(self, claim: DocId) -> DocId | None:
        """Return the ledger that a claim names."""
        noted = self._noted.get(claim)
        return noted.ledger if noted is not None else None

    def noted(self, claim: DocId) -> Noted | None:
        """Return what is remembered of a claim; None if it cannot be read here, or is held no more."""
        return self._noted.get(claim)

    def claims_of(self, ledger: DocId) -> tuple[DocId, ...]:
        """Return the claims that name a ledger, withdrawn ones among them."""
        return tuple(self._claims.get(ledger, ()))

    def receipts_of(self, claim: DocId, town: TownId) -> tuple[DocId, ...]:
        """Return the receipts of a town that name a claim, at most `RECEIPTS_MAX`."""
        return tuple(islice(self._receipts.get((claim, town), ()), RECEIPTS_MAX))

    def ledgers(self) -> list[DocId]:
        """Return the ledgers that some claim names."""
        return list(self._claims)

    def between(self, low: DocId, high: DocId) -> list[DocId]:
        """Return the claims whose ids lie in [low, high]: those of one address."""
        return [claim for claim in self._noted if low <= claim <= high]

    def _read(
        self, reader: Reader, after: int
    ) -> tuple[int, list[tuple[DocId, Noted | None]], list[tuple[DocId, DocId, TownId]]]:
        named = []
        for _, record in reader.held_since(CLAIM, after):
            asked = read_claim(self._seals, record)
            noted = _note(asked) if asked is not None else None
            named.append((record.doc, noted))
        receipts = []
        for _, record in reader.held_since(RECEIPT, after):
            claim = (fields_of(record) or {}).get("claim")
            if isinstance(claim, bytes):
                receipts.append((record.doc, DocId(claim), record.header.town))
        return reader.change(), named, receipts

    def _gone(self, reader: Reader) -> set[DocId]:
        receipts = (each for of in self._receipts.values() for each in of)
        return {doc for doc in chain(self._noted, receipts) if not reader.document_records(doc)}


def _leave_out(notes: dict[K, dict[DocId, None]], gone: set[DocId]) -> None:
    for name, docs in list(notes.items()):
        notes[name] = {each: None for each in docs if each not in gone}
        if not notes[name]:
            del notes[name]


def _note(asked: Asked) -> Noted:
    return Noted(asked.ledger, asked.town, asked.urgency, asked.share)


def receipt_of(reader: Reader, receipts: Iterable[DocId]) -> str:
    """Return what a town says of a hand-over: yes, partly or no; nothing if it says nothing."""
    for doc in receipts:
        for record in held_of(reader, doc):
            said = (fields_of(record) or {}).get("ok")
            if isinstance(said, str):
                return said
    return ""


def _bytes(fields: Mapping[str, Value], name: str) -> bytes:
    value = fields[name]
    assert isinstance(value, bytes), "the kind declares it"
    return value


def _whole(fields: Mapping[str, Value], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) else None


def _text(fields: Mapping[str, Value], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
