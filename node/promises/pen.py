"""How entries of a ledger are written: in the writer's turn, one after another, and only by its keeper.

Number and predecessor of an entry are known in the writer's turn alone, so what is to be said is worked out
there too, from the ledger as it then stands. A ledger that has grown long goes on in a new document first.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from node.drafts import Draft
from node.errors import NotFound
from node.promises.opening import entry_draft, must_keep
from node.promises.shelf import held_of, ledger_at
from protocol.ids import DocId, Op
from protocol.limits import ENTRIES_MAX, NONCE_BYTES
from protocol.record import document_id
from sync.ledger import LEDGER, fields_of_entry
from sync.promises import Act, Word

if TYPE_CHECKING:
    from node.intake import Intake
    from node.store import Reader, Transaction
    from protocol.identity import SigningKey
    from protocol.record import Record
    from sync.ledger import Ledger

WORDS_MAX: Final = 64
"""Entries of one turn; what is left over is written in the next, and others get their turn in between."""
FULL: Final = ENTRIES_MAX - 2 * WORDS_MAX
"""A ledger of so many entries goes on in another document; the rest is room for the town key's word."""

Words = Callable[["Reader", "Ledger"], Iterable[Word]]
"""What to write, worked out from the ledger as it stands."""


class Pen:
    """Writes in the ledgers that this device keeps.

    Args:
        intake: The door.
        chance: Gives random bytes.
    """

    def __init__(self, intake: Intake, chance: Callable[[int], bytes]) -> None:
        self._intake = intake
        self._chance = chance
        self.sign = intake.sign
        """Signs with the keeper's key, as a draw needs it."""

    async def write(self, doc: DocId, words: Words) -> int:
        """Write what `words` says of the ledger as it stands; return how many entries that were.

        Raises:
            NotFound: Nothing of this ledger is held.
            NotKeeper: Another device keeps it, or this one's key was met elsewhere.
            StorageUnavailable, and what `words` raises: nothing was written.
        """
        while True:
            moved = False

            def compose(tx: Transaction) -> Generator[Draft, Record, None]:
                nonlocal moved
                ledger = _known(tx, doc)
                must_keep(tx, ledger, self._intake.device)
                moved = len(tx.document_records(ledger.goes_on_in)) >= FULL
                if moved:
                    yield from _moving(tx, ledger, self._chance(NONCE_BYTES))
                else:
                    yield from _entries(ledger, words(tx, ledger))

            records = await self._intake.post(compose)
            if not moved:
                return len(records)

    async def appoint(self, doc: DocId, device: bytes, key: SigningKey) -> None:
        """Let the town key say which device keeps a ledger, whoever did: the way on when that one is lost.

        Raises:
            NotFound: Nothing of this ledger is held.
        """

        def compose(tx: Transaction) -> Generator[Draft, Record, None]:
            ledger = _known(tx, doc)
            yield replace(entry_draft(ledger, Word(Act.KEEPER, device=device)), key=key)

        await self._intake.post(compose)


def _known(reader: Reader, doc: DocId) -> Ledger:
    ledger = ledger_at(reader, doc)
    if ledger is None or ledger.first is None:
        raise NotFound("nothing is known of the ledger of this; it was posted by an older version, or ended")
    return ledger


def _entries(ledger: Ledger, words: Iterable[Word]) -> Generator[Draft, Record, Record | None]:
    """Give the entries their numbers and predecessors; return the last record."""
    record: Record | None = None
    for _, word in zip(range(WORDS_MAX), words, strict=False):
        record = yield entry_draft(ledger, word)
        ledger = replace(ledger, n=ledger.n + 1, head=record.id)
    return record


def _moving(reader: Reader, ledger: Ledger, nonce: bytes) -> Generator[Draft, Record, None]:
    """Let a ledger go on in a new document, of the same audience, birth and end."""
    header = held_of(reader, ledger.doc)[0].header
    federations, lane, born, expires = header.federations, header.lane, header.born, header.expires
    new = document_id(header.town, LEDGER, lane, federations, born, expires, nonce)
    last = yield from _entries(ledger, [Word(Act.MOVED, moved_to=new)])
    assert last is not None
    opening = fields_of_entry(1, Word(Act.CHECKPOINT))
    yield Draft(LEDGER, Op.ENTRY, opening, federations, lane, born, expires, nonce, cites=(last.id,))
