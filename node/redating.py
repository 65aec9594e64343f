"""Our own records that prove to be dated ahead, issued again under the time of today.

A board without a clock may have been told a wrong time, and go on from there, not sure of it: what is posted
then may be born years ahead. Once time is sure every node lets go of such records (docs/protocol.md, section
5), this one too, though it has said "posted" to a person. So in the same transaction it says the same again:

* in the same document, if only the stamp lay ahead;
* in a new one if the document was born ahead, since birth is part of its id. It lasts as long, has the same
  nonce, so that a target and its ledger still belong together, and cites the record that it follows.

What the others name, in citations and bodies, is renamed with it. Of what the town key signed nothing is
issued again: that key is not here. Nor is a charter, whose federation has its name from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from node.drafts import keep_stamp, last_stamp
from node.errors import NoSealingKey
from protocol.clock import Clock
from protocol.ids import Op, RecordId
from protocol.limits import CITES_MAX, SALT_BYTES
from protocol.record import Record, document_id, fields_of, make, make_body, stands_for_good
from sync.authority import AUTHORITY_KINDS
from sync.sitting import horizon

if TYPE_CHECKING:
    from node.incidents import Incidents
    from node.seals import Seals
    from node.store.contract import Transaction
    from protocol.encoding import Value
    from protocol.identity import SigningKey
    from protocol.ids import DocId
    from protocol.record import Header

ISSUED_AGAIN: Final = "issued_again"
SAYS: Final = (
    "This board's clock was wrong and not sure: what was written here then was dated more than a day ahead,"
    " so nobody would have taken it ({0} records). It was issued again under today's date; posts that were"
    " begun then have new addresses."
)


class Redating:
    """What one device issues again, over as many turns of the writer as it takes.

    Args:
        key: The device's key.
        chance: Gives random bytes.
        seals: Opens and seals what names something that has another id now.
        now_s: The birth of each document that was born ahead: one, so that those that belong together do.
    """

    def __init__(
        self, key: SigningKey, *, chance: Callable[[int], bytes], seals: Seals | None, now_s: int
    ) -> None:
        self._key = key
        self._chance = chance
        self._seals = seals
        self._now_s = now_s
        self._names = dict[bytes, bytes]()
        """New ids of documents and of records, by the old ones."""

    def issue(self, tx: Transaction, ahead: Sequence[Record], now_ms: int) -> list[Record]:
        """Return what is to be held instead of these records, which are held no more.

        Args:
            ahead: With their bodies; those of other devices are passed over.
            now_ms: Sure time.
        """
        ahead_s, _ = horizon(now_ms)
        mine = [each for each in ahead if self._is_ours(tx, each, ahead_s)]
        mine.sort(key=lambda each: (each.header.stamp, each.id))
        for each in mine:
            self._names[each.doc] = self._document(each.header, ahead_s)
        clock = Clock(last_stamp(tx))
        made = list[Record]()
        for each in mine:
            made.append(self._again(tx, each, clock, now_ms, ahead_s))
            self._names[each.id] = made[-1].id
        if made:
            keep_stamp(tx, clock.last)
        return made

    def _is_ours(self, tx: Transaction, record: Record, ahead_s: int) -> bool:
        header = record.header
        if (header.town, header.device) != (tx.own_town, self._key.public) or stands_for_good(header.kind):
            return False
        if header.op is Op.DELETE:
            # A document that was born ahead and withdrawn is gone as it should be.
            return header.born <= ahead_s
        return record.body is not None

    def _life(self, header: Header, ahead_s: int) -> tuple[int, int]:
        """Return birth and end of the document as it is issued again; it lasts as long."""
        born = self._now_s if header.born > ahead_s else header.born
        return born, header.expires - header.born + born

    def _document(self, header: Header, ahead_s: int) -> DocId:
        born, expires = self._life(header, ahead_s)
        return document_id(
            header.town, header.kind, header.lane, header.federations, born, expires, header.nonce
        )

    def _again(self, tx: Transaction, record: Record, clock: Clock, now_ms: int, ahead_s: int) -> Record:
        header = record.header
        born, expires = self._life(header, ahead_s)
        held = tx.facts([record.doc]).get(record.doc, ())
        cites = [self._names.get(each, each) for each in header.cites]
        if born != header.born and header.op is Op.PUT and header.kind not in AUTHORITY_KINDS:
            cites = [*cites[: CITES_MAX - 1], record.id]
        epoch, counter = tx.next_seq()
        return make(
            self._key,
            town=header.town,
            epoch=epoch,
            counter=counter,
            stamp=clock.tick(now_ms, after=max((fact.stamp for fact in held), default=0)),
            kind=header.kind,
            lane=header.lane,
            federations=header.federations,
            born=born,
            expires=expires,
            nonce=header.nonce,
            op=header.op,
            cites=[RecordId(each) for each in cites],
            body=self._body(tx, record),
        )

    def _body(self, tx: Transaction, record: Record) -> bytes | None:
        """Return the body, byte for byte if it names nothing that has another id now."""
        fields = fields_of(record)
        sealed = fields is None and self._seals is not None
        if sealed and self._seals is not None:
            fields = self._seals.open(record)
        if fields is None:
            return record.body
        said = {name: _renamed(value, self._names) for name, value in fields.items()}
        if said == fields:
            return record.body
        if not sealed or self._seals is None:
            return make_body(self._chance(SALT_BYTES), said)
        try:
            return self._seals.seal_for(tx, self._seals.towns_of(record), said, record.header.kind)
        except NoSealingKey:
            return record.body


def tell(incidents: Incidents, tx: Transaction, again: Sequence[Record]) -> None:
    """Keep an incident of what was issued again."""
    incidents.add(tx, ISSUED_AGAIN, SAYS.format(len(again)), again[0].id)


def _renamed(value: Value, names: Mapping[bytes, bytes]) -> Value:
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    return names.get(value, value) if isinstance(value, bytes) else value
