"""Entries of ledgers without keys and clocks: one writes them here as a keeper would, or as a thief."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from itertools import pairwise

from protocol.ids import DeviceId, DocId, RecordId, TownId
from sync.books import Book, settle
from sync.ledger import Entry, Ledger, fold
from sync.promises import Act, Mode, Promises, Word


def name(text: str, size: int) -> bytes:
    """Return an id of its own for each text."""
    return blake2b(text.encode(), digest_size=size).digest()


def claim(text: object) -> DocId:
    """Return the document of a claim."""
    return DocId(name(f"claim {text}", 16))


def device(text: str) -> DeviceId:
    """Return a device's key."""
    return DeviceId(name(f"device {text}", 32))


TOWN = TownId(name("town", 32))
TOWN_KEY = DeviceId(bytes(TOWN))
KEEPER = device("keeper")
DOC = DocId(name("ledger", 16))


def entry(
    n: int,
    after: Entry | RecordId | None,
    word: Word,
    *,
    by: DeviceId = KEEPER,
    town: TownId = TOWN,
    salt: object = 0,
) -> Entry:
    """Return an entry; `salt` tells apart those that agree in all else."""
    before = after.id if isinstance(after, Entry) else after
    id = RecordId(name(repr((n, before, word, by, town, salt)), 32))
    return Entry(id, town, by, n, before, word)


def capacity(milli: int, **more: object) -> Word:
    """Return the word that says how much there is."""
    return Word(Act.CAPACITY, milli=milli, **more)  # type: ignore[arg-type]  # whatever a Word has


def windows(buffer_s: int = 0, **more: object) -> Word:
    """Return the word that opens a ledger of windows."""
    return Word(Act.CAPACITY, mode=Mode.WINDOW, buffer_s=buffer_s, **more)  # type: ignore[arg-type]


def accept(who: object, milli: int | None = None, **more: object) -> Word:
    """Return the word that promises something to a claim."""
    return Word(Act.ACCEPT, claim(who), milli, **more)  # type: ignore[arg-type]


def lend(who: object, start: int, end: int) -> Word:
    """Return the word that promises a window to a claim."""
    return Word(Act.ACCEPT, claim(who), start=start, end=end)


def say(act: Act, who: object, milli: int | None = None, **more: object) -> Word:
    """Return another word on a claim."""
    return Word(act, claim(who), milli, **more)  # type: ignore[arg-type]


def chain(*words: Word, after: Entry | None = None, by: DeviceId = KEEPER, **more: object) -> list[Entry]:
    """Return entries that follow each other, from the first one or after another."""
    entries = list[Entry]()
    for word in words:
        before = entries[-1] if entries else after
        n = 1 if before is None else before.n + 1
        entries.append(entry(n, before, word, by=by, **more))  # type: ignore[arg-type]
    return entries


def read(entries: Iterable[Entry], *, keys: frozenset[DeviceId] = frozenset({TOWN_KEY})) -> Ledger:
    """Return what the entries of the one ledger come to."""
    return fold(DOC, TOWN, entries, keys)


def family(*books: Book) -> dict[DocId, Ledger]:
    """Return what several ledgers come to."""
    return dict(settle(books, lambda town: frozenset({DeviceId(bytes(town))})))


def stands(ledger: Ledger) -> None:
    """Check what every ledger promises, whatever it was made from."""
    promises = ledger.promises
    open_ones = promises.open_ones()
    assert all(each.milli > 0 for each in open_ones)
    assert all(each.milli == 0 for each in promises.claims.values() if not each.is_open)
    assert promises.promised == sum(each.milli for each in open_ones)
    if promises.mode is Mode.QUANTITY:
        assert 0 <= promises.promised <= promises.capacity
        assert promises.free == promises.capacity - promises.promised
    for before, after in pairwise(sorted(open_ones, key=lambda each: each.start)):
        if promises.mode is Mode.WINDOW:
            assert before.end + promises.buffer_s <= after.start


def same(one: Ledger, other: Ledger) -> bool:
    """Tell whether two ledgers agree in everything."""
    return _whole(one) == _whole(other)


def _whole(ledger: Ledger) -> object:
    return [
        {part: getattr(value, part) for part in Promises.__slots__} if isinstance(value, Promises) else value
        for value in (getattr(ledger, each) for each in type(ledger).__slots__)
    ]
