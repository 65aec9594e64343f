"""The keeper at work: what a node writes by itself in the ledgers that it keeps.

It wakes when something was committed and when a time has come that it waits for. Then it looks at the
ledgers concerned and writes the next thing that is due in each: what follows from a fork, what was not
fetched, what was withdrawn, requests that nobody could grant, and, where the poster lets it, who gets what.
Each look begins with the ledger as it is on the disk and writes nothing twice, so it may be killed at any
point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from node.background import carefully
from node.errors import NotKeeper, Refused
from node.promises.asked import CLAIM, Asked
from node.promises.limits import decides_alone, terms_of
from node.promises.pen import WORDS_MAX
from node.promises.queue import Queue, queue
from node.promises.rules import called_off, fault, hold_of, policy_of, repeated
from node.promises.shares import given_back
from node.promises.shelf import CLAIMABLE, held_of, is_withdrawn, ledger_at
from node.promises.trouble import Trouble, troubles
from protocol.ids import DocId
from sync.keeping import decide, lost_blamelessly, overdue, prolong, refusal, settle
from sync.ledger import LEDGER, ledger_id
from sync.promises import Act, Status, Word

if TYPE_CHECKING:
    from node.clock import Reading
    from node.incidents import Incidents
    from node.promises.asked import Opened
    from node.promises.claims import Claims
    from node.promises.pen import Words
    from node.store import Document, Reader, Store, Transaction
    from node.store.contract import Cell
    from protocol.ids import TownId
    from sync.events import Committed
    from sync.ledger import Ledger

GATHER_S: Final = 0.1
"""What is committed within this is looked at together; nobody at a counter notices it."""
LOOK_AGAIN_S: Final = 60.0
"""A time that has come is noticed so soon, whatever a clock was set to meanwhile."""
TURNS_MAX: Final = 256
"""Turns of the writer for one ledger at one look."""
TURNS_AT_ONCE: Final = 4
"""Turns after which the other ledgers are looked at; what is left comes after them."""
_ANSWERS: Final = {Status.ACCEPTED: Act.RELEASE, Status.WAITING: Act.DECLINE}


class Keeper:
    """The work on all ledgers that one device keeps."""

    def __init__(
        self,
        claims: Claims,
        store: Store,
        incidents: Incidents,
        clock: Callable[[], Reading],
    ) -> None:
        self._claims = claims
        self._store = store
        self._incidents = incidents
        self._clock = clock
        self._stirred = asyncio.Event()
        self._change = 0
        self._keys = 0
        self._forgot_s = 0
        self._due: dict[DocId, int] = {}
        self._told: set[tuple[str, bytes]] = set()
        self._unfinished: set[DocId] = set()

    def note(self, _: Committed) -> None:
        """Take note that something was committed."""
        self._stirred.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await carefully(partial(self._work, self._which()))
            with suppress(TimeoutError):
                # Not `wait_for`: Python 3.11's may swallow a cancellation.
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._stirred.wait()
                await asyncio.sleep(GATHER_S)
            self._stirred.clear()

    async def attend(self, doc: DocId, turns: int = TURNS_MAX) -> bool:
        """Do what is due in one ledger in so many turns of the writer; tell whether that was all."""
        own = self._claims.own_town

        def look(reader: Reader) -> tuple[Ledger | None, list[Trouble]]:
            ledger = ledger_at(reader, doc)
            return ledger, troubles(reader, doc, ledger, own)

        ledger, found = await self._store.read(look)
        await self._tell(found, source=own if ledger is None else ledger.town)
        if ledger is None or ledger.town != own:
            return True
        # Most looks find nothing to write, and take no turn of the writer.
        next_words = partial(self._next_words, {})
        if not await self._store.read(partial(_look, doc, next_words)):
            return True
        for _ in range(turns):
            try:
                if not await self._claims.pen.write(doc, next_words):
                    return True
            except NotKeeper:
                return True  # Another device keeps it, or nobody may just now; whoever asks is told why.
        return False

    async def all(self) -> set[DocId]:
        """Return the ledgers in which anything can be due, as after a start."""
        keys = self._claims.seals.count
        change, in_use = await self._store.read(lambda reader: (reader.change(), reader.ledgers_in_use()))
        register = self._claims.register
        await register.catch_up()
        await self._forget(self._clock().now_ms // 1_000)
        await self._note_heard([each for ledger in register.ledgers() for each in register.claims_of(ledger)])
        self._change, self._keys = change, keys
        return {*in_use, *register.ledgers()}

    async def concerned(self) -> set[DocId]:
        """Return the ledgers that something concerns since this was asked last, or whose time has come, or
        with which it was not possible to come to an end."""
        after = self._change
        change, asked, moved, shares, posts = await self._store.read(
            lambda reader: (
                reader.change(),
                reader.held_since(CLAIM, after),
                moved := reader.held_since(LEDGER, after),
                reader.shares() if moved else [],
                reader.own_since(CLAIMABLE, after),
            )
        )
        register, own = self._claims.register, self._claims.own_town
        await register.catch_up()
        now_s = self._clock().now_ms // 1_000
        await self._forget(now_s)
        await self._note_heard([each.doc for _, each in asked])
        self._change = change
        named = (register.ledger_of(each.doc) for _, each in asked)
        asked_for = set(register.ledgers())
        # A share is worth what its parent says, and its parent may free what a share has given back.
        stirred = {each.doc for _, each in moved}
        kin = {
            each
            for pair in shares
            for each, other in (pair, pair[::-1])
            if other in stirred and each != other
        }
        # Of a first entry, which cites nothing, nothing follows unless somebody has asked already.
        written = {
            each.doc
            for _, each in moved
            if each.doc in asked_for or (each.header.town == own and each.header.cites)
        }
        # What was asked for may have been withdrawn, cancelled, or changed.
        written |= {ledger_id(each.header) for each in posts} & asked_for
        due = {doc for doc, at in self._due.items() if at <= now_s}
        return {ledger for ledger in named if ledger is not None} | written | kin | due | self._unfinished

    # Below here: how.

    def _which(self) -> Callable[[], Awaitable[set[DocId]]]:
        """Return whether to look at all ledgers: after a start, and when there is a new sealing key."""
        return self.concerned if self._change and self._claims.seals.count == self._keys else self.all

    async def _work(self, which: Callable[[], Awaitable[set[DocId]]]) -> None:
        """Attend to these ledgers, one after another, a few turns each; one with more to write goes on when
        all have had theirs, and one at which it fails is looked at again."""
        for doc in await which():
            self._unfinished.add(doc)
            await carefully(partial(self._finish, doc))

    async def _finish(self, doc: DocId) -> None:
        if await self.attend(doc, TURNS_AT_ONCE):
            self._unfinished.discard(doc)
        else:
            self._stirred.set()

    async def _note_heard(self, claims: Iterable[DocId]) -> None:
        """Note when this node first knew of claims that can be read here."""
        at = self._clock().now_ms // 1_000
        mine = [each for each in claims if self._claims.register.ledger_of(each) is not None]
        if not mine:
            return

        def work(tx: Transaction) -> None:
            for claim in mine:
                tx.run("INSERT OR IGNORE INTO claims_heard (claim, at) VALUES (?, ?)", claim, at)

        await self._store.write(work)

    async def _forget(self, now_s: int) -> None:
        """Forget the claims that are held no more, every minute."""
        if 0 <= now_s - self._forgot_s < LOOK_AGAIN_S:
            return
        self._forgot_s = now_s
        await self._claims.register.forget()

        def look(reader: Reader) -> list[Cell]:
            rows = reader.rows("SELECT claim FROM claims_heard")
            return [each for (each,) in rows if isinstance(each, bytes) and not _is_held(reader, each)]

        gone = await self._store.read(look)

        def work(tx: Transaction) -> None:
            for claim in gone:
                tx.run("DELETE FROM claims_heard WHERE claim = ?", claim)

        if gone:
            await self._store.write(work)

    def _next_words(self, opened: Opened, reader: Reader, ledger: Ledger) -> list[Word]:
        """Return the next entries of a ledger: the first sort of which there are any."""
        now = self._clock()
        now_s = now.now_ms // 1_000
        of = queue(
            reader,
            ledger,
            self._claims.register,
            self._claims.seals,
            now_s=now_s,
            sign=self._claims.pen.sign,
            opened=opened,
        )
        words = settle(ledger)
        if not words and now.sure:
            words = overdue(ledger, now_s)
        if not words:
            words = list(islice(_given_up(reader, ledger, now_s), WORDS_MAX))
        if not words:
            words = list(islice(_refused(reader, ledger, of.asked, now_s), WORDS_MAX))
        if not words:
            words = _decided(ledger, of, now_s)
        if not words:
            words = _prolonged(ledger, of, now_s)
        self._note_due(ledger, of.target, now_s)
        return words

    def _note_due(self, ledger: Ledger, target: Document | None, now_s: int) -> None:
        """Remember when to look at a ledger again without being stirred."""
        times = [each.hold_until for each in ledger.promises.open_ones() if each.hold_until is not None]
        if target is not None and decides_alone(target):
            times.append(policy_of(target)[1])
            times.append(target.expires)
        coming = [at for at in times if at > now_s]
        self._due.pop(ledger.doc, None)
        if coming:
            self._due[ledger.doc] = min(coming)

    async def _tell(self, found: Iterable[Trouble], *, source: TownId) -> None:
        """Keep as incidents what people must know of a ledger of this town, once."""
        new = [each for each in found if (each.code, each.about) not in self._told]
        if not new:
            return

        def work(tx: Transaction) -> None:
            for each in new:
                self._incidents.add(tx, each.code, each.says, each.about, source=source)

        await self._store.write(work)
        self._told |= {(each.code, each.about) for each in new}


def _is_held(reader: Reader, doc: bytes) -> bool:
    return bool(reader.document_records(DocId(doc)))


def _look(doc: DocId, words: Words, reader: Reader) -> list[Word]:
    ledger = ledger_at(reader, doc)
    return [*words(reader, ledger)] if ledger is not None else []


def _given_up(reader: Reader, ledger: Ledger, now_s: int) -> Iterator[Word]:
    """Give the answers to claims that were withdrawn, and to all if what they ask for was, or was
    cancelled: nothing is promised to them any more. What was handed over stays so until it comes back."""
    over = called_off(reader, ledger.doc, now_s)
    for promise in sorted(ledger.own.claims.values(), key=lambda each: each.order):
        reason = "claim_withdrawn" if is_withdrawn(held_of(reader, promise.claim)) else over
        if promise.status not in _ANSWERS or not reason:
            continue
        if promise.share is None:
            yield Word(_ANSWERS[promise.status], promise.claim, reason=reason)
            continue
        with suppress(Refused):  # What its town may still give away is free only when it says so.
            yield given_back(reader, ledger, promise, None)


def _refused(reader: Reader, ledger: Ledger, asked: list[Asked], now_s: int) -> Iterator[Word]:
    """Give the answers to claims that nobody could grant."""
    if not ledger.is_known:
        return
    again = repeated(asked, ledger)
    for each in asked:
        promise = ledger.promises.claims.get(each.doc)
        if promise is not None and promise.status is not Status.WAITING and not lost_blamelessly(promise):
            continue
        code = "twice" if each.doc in again else fault(reader, each, ledger, now_s)
        word = Word(Act.DECLINE, each.doc, reason=code)
        if code and not refusal(ledger, word):
            yield word


def _decided(ledger: Ledger, of: Queue, now_s: int) -> list[Word]:
    """Return who gets what, where the poster lets the node say so; who asks for a share asks people."""
    if of.target is None:
        return []
    requests = [each.request(now_s) for each in of.asked if not each.share]
    return decide(ledger, of.turns, requests, now_s=now_s, hold_s=hold_of(of.target))


def _prolonged(ledger: Ledger, of: Queue, now_s: int) -> list[Word]:
    """Return the next answer to those who have a thing and ask for longer."""
    longer = [each for one in of.asked if (each := one.longer(ledger)) is not None]
    if of.target is None or not longer:
        return []
    requests = [each.request(now_s) for each in of.asked]
    return prolong(ledger, longer, requests, terms_of(of.target), alone=decides_alone(of.target))
