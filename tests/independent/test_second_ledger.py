"""Two readings of ledgers agree: the program's, and one that was written from section 13 alone.

Families of ledgers are made by a die: chains of several hands with forks, town keys, moves, windows, shares,
shares of shares, and bodies that are no entries; then a part of them is taken away. Both readers get the same
decoded records and must say the same of every document.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from protocol.ids import DeviceId, DocId, Lane, Op, RecordId, TownId
from protocol.record import Header, Record, make_body
from sync.books import Book, settle
from sync.keeping import lot, lot_message
from sync.ledger import Ledger
from sync.ledger import read as read_record
from sync.promises import Mode, Promise

if TYPE_CHECKING:
    from tests.independent.second_ledger import Account, Claim, Given, accounts, draw, draw_message
else:
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from second_ledger import Account, Claim, Given, accounts, draw, draw_message


def name(text: str, size: int) -> bytes:
    """An id of its own for each text."""
    return blake2b(text.encode(), digest_size=size).digest()


HOME, AWAY = name("home", 32), name("away", 32)
KEYS = {HOME: (HOME, name("home's second key", 32)), AWAY: (AWAY,)}
HANDS = {town: [name(f"{town.hex()} {number}", 32) for number in range(3)] for town in KEYS}
CLAIMS = [name(f"claim {number}", 16) for number in range(5)]
Family = dict[bytes, tuple[bytes, list[Given]]]


@dataclass
class Scribe:
    """Writes a family of ledgers by a die; it knows of each entry who would be keeper behind it."""

    die: random.Random
    calm: int = 85
    family: Family = field(default_factory=dict)
    keepers: dict[bytes, bytes] = field(default_factory=dict)
    written: list[Given] = field(default_factory=list)
    sound: set[bytes] = field(default_factory=set)

    def odds(self, percent: float) -> bool:
        """Whether it happens."""
        return self.die.random() * 100 < percent

    def open(self, doc: bytes, town: bytes, count: int) -> None:
        """Begin a document that others may have moved to before."""
        self.family[doc] = town, []
        ends = [e for e in self.written if e.fields.get("moved_to") == doc]
        for end in ends:
            for _ in range(self.die.choice([1, 1, 2])):
                act = "checkpoint" if self.odds(90) else "capacity"
                hand = self.hand(town, self.keepers[end.id])
                self.write(doc, hand, {"n": 1, "act": act, "milli": 9_000}, end)
        if not ends or self.odds(30):
            for _ in range(1 if self.odds(85) else 2):
                self.write(doc, self.die.choice(HANDS[town][:2]), self.opening(doc, town), None)
        for _ in range(count):
            last = self.family[doc][1][-1]
            if last.fields["act"] == "moved" and self.odds(80):
                break
            self.go_on(doc, town)

    def set_aside(self, doc: bytes) -> None:
        """Begin a ledger of which something is given to the other town."""
        self.family[doc] = HOME, []
        self.write(doc, HANDS[HOME][0], {"n": 1, "act": "capacity", "milli": 9_000}, None)
        told = {"n": 2, "act": "accept", "claim": CLAIMS[0], "milli": self.die.choice([1_000, 3_000, 6_000])}
        self.write(doc, HANDS[HOME][0], told | {"share": AWAY}, self.family[doc][1][0])

    def opening(self, doc: bytes, town: bytes) -> dict[str, Any]:
        """What a first entry says."""
        fields: dict[str, Any] = {"n": 1, "act": "capacity", "milli": self.die.choice([1_000, 7_000, 9_000])}
        if self.odds(30):
            fields |= {"mode": "window", "buffer_s": self.die.choice([None, 0, 5])}
        if self.odds(10):
            fields["unit"] = self.die.choice(["each", "kg"])
        others = [other for other in self.family if other != doc]
        if others and self.odds(85):
            wanted = [
                (at, e.fields["claim"])
                for at in others
                for e in self.family[at][1]
                if e.fields.get("share") == town and "claim" in e.fields
            ]
            lucky = wanted and self.odds(90)
            if not lucky and self.odds(60):
                return fields
            at, who = self.die.choice(wanted if lucky else [(self.die.choice(others), CLAIMS[0])])
            fields |= {"parent": at, "parent_claim": who}
        return fields

    def go_on(self, doc: bytes, town: bytes) -> None:
        """Write another entry, mostly behind the last one."""
        entries = self.family[doc][1]
        branches = [e for e in entries if e.id in self.sound]
        if not branches or self.odds(6):
            before = self.die.choice(entries)
        else:
            before = branches[-1] if self.odds(self.calm) else self.die.choice(branches)
        if type(before.fields.get("n")) is not int:
            return
        n = before.fields["n"] + (1 if self.odds(97) else self.die.choice([0, 2]))
        accepted = [
            e.fields["claim"] for e in entries if e.fields.get("act") == "accept" and "claim" in e.fields
        ]
        fields = {"n": n, **self.word(town, accepted)}
        hand = self.hand(town, self.keepers[before.id])
        if fields["act"] == "keeper" and self.odds(60):
            hand = self.die.choice(KEYS[town])
        self.write(doc, hand, fields, before)

    def hand(self, town: bytes, keeper: bytes) -> bytes:
        """The keeper, or now and then somebody else."""
        return keeper if self.odds(97) else self.die.choice([*HANDS[town], *KEYS[town]])

    def word(self, town: bytes, accepted: list[bytes]) -> dict[str, Any]:
        """What an entry says beside its number."""
        die = self.die
        act = die.choices(
            [
                "accept", "handover", "release", "renew", "wait", "decline", "capacity", "keeper", "moved",
                "checkpoint",
            ],
            [42, 12, 10, 8, 7, 4, 6, 5, 2, 1],
        )[0]  # fmt: skip
        fields: dict[str, Any] = {"act": act}
        if act in ("accept", "handover", "release", "renew", "wait", "decline") and self.odds(98):
            again = accepted and act in ("handover", "release", "renew") and self.odds(85)
            fields["claim"] = die.choice(accepted[-3:] if again else CLAIMS)
        if act in ("accept", "capacity") and self.odds(95):
            fields["milli"] = die.choice([0, 500, 1_000, 1_000, 2_000, 5_000]) * (1 + 2 * (act == "capacity"))
        if act in ("handover", "release") and self.odds(40):
            fields["milli"] = die.choice([0, 500, 1_000, 2_000])
        if act in ("accept", "renew") and self.odds(90):
            start = die.randrange(150)
            fields |= {
                "start": start,
                "end": start + die.choice([0, 5, 10, 20]),
                "hold_until": die.choice(TIMES),
            }
        if act == "accept" and self.odds(25):
            fields["share"] = die.choice(list(KEYS))
        if act == "keeper" and self.odds(90):
            fields["device"] = die.choice(HANDS[town])
        if act == "moved" and self.odds(90):
            later = [each for each in DOCS if each not in self.family] if self.odds(85) else DOCS
            fields["moved_to"] = die.choice(later or DOCS)
        return fields

    def write(self, doc: bytes, hand: bytes, fields: dict[str, Any], before: Given | None) -> None:
        """Put an entry among those of its document; a few are spoilt."""
        if self.odds(1.5):
            fields = fields | {self.die.choice(list(SPOILT)): self.die.choice(VALUES)}
        cites = [] if before is None else [before.id]
        losts = [e.id for e in self.family[doc][1] if e.fields.get("act") == "handover"]
        if cites and losts and self.odds(40):
            cites.append(self.die.choice(losts))
        id = self.die.randbytes(32)
        op = Op.ENTRY if self.odds(99) else Op.PUT
        entry = Given(id, hand, tuple(cites), fields, int(op))
        self.keepers[id] = hand if before is None else self.keepers[before.id]
        if fields["act"] == "keeper" and type(fields.get("device")) is bytes:
            self.keepers[id] = fields["device"]
        if before is None or (before.id in self.sound and hand in (self.keepers[before.id], *KEYS[HOME])):
            self.sound.add(id)
        self.family[doc][1].append(entry)
        self.written.append(entry)


TIMES = [None, 0, 100, 2**40]
DOCS = [name(f"document {number}", 16) for number in range(6)]
SPOILT = (
    "n", "act", "claim", "milli", "mode", "unit", "buffer_s", "start", "end", "hold_until", "share", "parent",
    "parent_claim", "child", "device", "moved_to", "reason", "seed", "what",
)  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 0, 10**12, 10**12 + 1, 2**40 + 1, 10**9, 31_536_001, "", "heap", "window", "No reason",
    "a" * 33, b"", bytes(16), bytes(32), bytes(64), [], {"milli": 1},
]  # fmt: skip


def record(town: bytes, doc: bytes, each: Given) -> Record:
    """The record that the program would have opened; nothing here asks for its bytes or signature."""
    header = Header(
        1, TownId(town), DeviceId(each.device), (bytes(4), 0), 0, "ledger", Lane.EVERYDAY, (), 0, 1, bytes(8),
        Op(each.op), tuple(map(RecordId, each.cites)), bytes(32), 1,
    )  # fmt: skip
    return Record(header, b"", b"", make_body(bytes(16), each.fields), RecordId(each.id), DocId(doc))


def program(family: Family) -> dict[bytes, Ledger]:
    """What the program makes of a family."""
    books = []
    for doc, (town, held) in family.items():
        read = (read_record(record(town, doc, each)) for each in held)
        books.append(Book(DocId(doc), TownId(town), tuple(entry for entry in read if entry is not None)))
    keys = {town: frozenset(map(DeviceId, some)) for town, some in KEYS.items()}
    return {bytes(doc): ledger for doc, ledger in settle(books, lambda town: keys[town]).items()}


def told_by_program(ledger: Ledger) -> dict[str, Any]:
    """What both must agree in, as the program says it."""
    promises = ledger.promises

    def claim(each: Promise) -> object:
        window = (each.start, each.end) if promises.mode is Mode.WINDOW else None
        more = (window, each.hold_until, each.share, each.renewals) if each.is_open else None
        return each.status.value.replace("_", " "), each.milli, more

    return {
        "known": ledger.is_known,
        "keeper": ledger.keeper,
        "head": ledger.head,
        "mode, unit, buffer": (promises.mode.value, promises.unit, promises.buffer_s),
        "capacity": promises.capacity,
        "promised": promises.promised,
        "claims": {name: claim(each) for name, each in promises.claims.items()},
        "waiting": [each.claim for each in promises.waiting()],
        "void": ledger.void.keys() - {each.id for each in ledger.lost},
        "lost": {each.id for each in ledger.lost},
        "gone": {each.id: (each.claim, each.milli) for each in ledger.gone},
        "settled": ledger.settled,
    }


def told_by_second(account: Account) -> dict[str, Any]:
    """The same, as the second reading says it."""

    def claim(each: Claim) -> object:
        more = (each.window, each.hold_until, each.share, each.renewed)
        return each.status, each.milli, more if each.open else None

    return {
        "known": account.known,
        "keeper": account.keeper,
        "head": account.head,
        "mode, unit, buffer": (account.mode, account.unit, account.buffer_s),
        "capacity": account.capacity,
        "promised": account.promised,
        "claims": {name: claim(each) for name, each in account.claims.items()},
        "waiting": account.waiting,
        "void": account.void.keys(),
        "lost": account.lost,
        "gone": account.gone,
        "settled": account.settled,
    }


def agree(family: Family) -> Iterator[str]:
    """Check that both say the same of a family; yield words for what was in it."""
    ours, theirs = accounts(family, KEYS), program(family)
    for doc, account in ours.items():
        ledger = theirs.get(doc)
        if ledger is None:
            assert not account.head
            continue
        assert told_by_second(account) == told_by_program(ledger)
        for id, cause in account.void.items():
            beside = ledger.void[RecordId(id)] if cause != "no effect" else cause
            assert beside == cause
            yield cause
        yield "known" if account.known else "waits"
        yield from (each.status for each in account.claims.values())
        yield from ("lost" for _ in account.lost)
        yield from ("gone, settled" if id in account.settled else "gone" for id in account.gone)
        if ledger.goes_on_in != doc:
            yield "goes on"
        if ledger.own.promised > account.promised > 0:
            yield "cut"
        yield account.mode
        yield from ("by town key" for fork in ledger.forks if fork.by_town_key)


def family_of(seed: int) -> Family:
    """A family of up to six ledgers of two towns; of half of them only a part is at hand."""
    scribe = Scribe(die := random.Random(seed), die.choice([80, 90, 98, 100]))
    if shared := scribe.odds(50):
        scribe.set_aside(DOCS[0])
    for doc in DOCS:
        if doc not in scribe.family and scribe.odds(75):
            scribe.open(doc, die.choice([HOME, HOME, HOME, AWAY, AWAY]), die.randrange(22))
    for _ in range(die.randrange(6) if shared else 0):
        scribe.go_on(DOCS[0], HOME)
    kept = die.choice([100, 100, 97, 85])
    return {
        doc: (town, [each for each in entries if scribe.odds(kept)])
        for doc, (town, entries) in scribe.family.items()
    }


COMMON = {
    "known", "waits", "accepted", "handed over", "released", "waiting", "declined", "called off", "lost",
    "gone", "gone, settled", "goes on", "cut", "quantity", "window", "by town key", "no effect",
    "not_the_keeper", "out_of_place",
}  # fmt: skip


def test_both_say_the_same_of_tangled_ledgers() -> None:
    found = Counter[str]()
    for seed in range(480):
        found.update(agree(family_of(seed)))
    assert set(found) == COMMON
    assert min(found.values()) >= 5, found


def chain(die: random.Random, hand: bytes, *words: dict[str, Any], after: bytes | None = None) -> list[Given]:
    """Entries that follow each other, from the first on; it cites nothing, or the end of another ledger."""
    entries = list[Given]()
    for n, word in enumerate(words, 1):
        cites = (entries[-1].id,) if entries else (after,) if after else ()
        entries.append(Given(die.randbytes(32), hand, cites, {"n": n, **word}))
    return entries


@pytest.mark.parametrize("seed", range(40))
def test_both_cut_the_same_promises_of_a_share_that_is_worth_less(seed: int) -> None:
    die, given_away = random.Random(seed), {"claim": CLAIMS[0], "milli": 3_000}
    above = [{"act": "capacity", "milli": 3_000}, {"act": "accept", **given_away, "share": AWAY}]
    above.append({"act": "release", "claim": CLAIMS[0], "milli": die.randrange(100, 2_900)})
    below = [{"act": "capacity", "milli": 4_000, "parent": DOCS[0], "parent_claim": CLAIMS[0]}]
    below += [{"act": "accept", "claim": claim, "milli": 800} for claim in CLAIMS]
    for act in die.choices(["handover", "handover", "release", "renew", "accept"], k=8):
        milli = {"milli": die.choice([300, 800])} if act != "renew" else {"hold_until": 9}
        below.append({"act": act, "claim": die.choice(CLAIMS), **milli})
    home, away = (chain(die, HANDS[HOME][0], *above), chain(die, HANDS[AWAY][0], *below))
    assert "known" in set(agree({DOCS[0]: (HOME, home), DOCS[1]: (AWAY, away)}))


def test_both_know_of_what_was_handed_over_on_lost_branches_of_each_document() -> None:
    found = Counter[str]()
    for seed in range(20):
        die, hand = random.Random(seed), HANDS[HOME][0]
        opening = {"act": "capacity", "milli": 9_000}
        accepts = [{"act": "accept", "claim": claim, "milli": 1_000} for claim in CLAIMS[:2]]
        first, second = ({"act": "handover", "claim": claim} for claim in CLAIMS[:2])
        moved = {"act": "moved", "moved_to": DOCS[1]}
        here = chain(die, hand, opening, *accepts, first, moved)
        other = chain(die, hand, opening, *accepts, {"act": "wait", "claim": CLAIMS[2]}, moved)
        here += [replace(other[3], cites=(here[2].id,)), other[4]]
        there = [
            entry
            for end in (here[4], other[4])
            for word in (second, {"act": "decline", "claim": CLAIMS[3]})
            for entry in chain(die, hand, {"act": "checkpoint"}, word, after=end.id)
        ]
        words = Counter(agree({DOCS[0]: (HOME, here), DOCS[1]: (HOME, there)}))
        found[f"{words['gone']} gone"] += words["goes on"]
    assert found["2 gone"] and found.total() == 20


@pytest.mark.parametrize("spoilt", SPOILT)
def test_both_take_the_same_bodies_for_entries(spoilt: str) -> None:
    fields = {"n": 1, "act": "capacity", "milli": 5}
    first = Given(bytes(32), HANDS[HOME][0], (), fields)
    follow = {"n": 2, "act": "accept", "claim": CLAIMS[0], "milli": 1, "parent": bytes(16)}
    for value in [*VALUES, "seventh", bytes(15), 10**9 + 1, 2**40, 31_536_000]:
        for other in ({"parent_claim": bytes(16)}, {}, {"act": "capacity"}, {"parent": None}):
            second = Given(bytes([1]) * 32, HANDS[HOME][0], (first.id,), follow | other | {spoilt: value})
            opening = Given(bytes([2]) * 32, HANDS[HOME][0], (), fields | other | {spoilt: value})
            assert list(agree({DOCS[0]: (HOME, [first, second]), DOCS[1]: (HOME, [opening])}))


def line(seed: int, count: int, ring: bool) -> Family:
    """Ledgers each of which is a share of the one before; in a ring the first is one of the last."""
    die = random.Random(seed)
    docs = [die.randbytes(16) for _ in range(count)]
    family: Family = {}
    for place, doc in enumerate(docs):
        fields: dict[str, Any] = {"n": 1, "act": "capacity", "milli": 9_000 - 300 * place}
        if place or ring:
            fields |= {"parent": docs[place - 1], "parent_claim": CLAIMS[0]}
        entries = [Given(die.randbytes(32), HANDS[HOME][0], (), fields)]
        for who, share in ((0, HOME), (1, None)):
            told = {"n": who + 2, "act": "accept", "claim": CLAIMS[who], "milli": 3_000, "share": share}
            entries.append(Given(die.randbytes(32), HANDS[HOME][0], (entries[-1].id,), told))
        family[doc] = HOME, entries
    return family


@pytest.mark.parametrize(("count", "ring"), [(1, True), (2, True), (9, False), (11, False), (9, True)])
def test_both_wait_where_too_many_ledgers_stand_above(count: int, ring: bool) -> None:
    found = Counter(agree(line(count, count, ring)))
    assert (found["known"], found["waits"]) == ((0, count) if ring else (min(count, 8), max(count - 8, 0)))


def test_both_follow_a_ledger_through_as_many_documents() -> None:
    docs = [name(f"volume {number}", 16) for number in range(67)]
    hand, cites = HANDS[HOME][0], tuple[bytes, ...]()
    family: Family = {}
    for place, doc in enumerate(docs):
        act = {"act": "checkpoint"} if place else {"act": "capacity", "milli": 9_000}
        first = Given(name(f"first {place}", 32), hand, cites, {"n": 1, **act})
        accepts = {"n": 2, "act": "accept", "claim": name(f"asks {place}", 16), "milli": 1}
        then = Given(name(f"then {place}", 32), hand, (first.id,), accepts)
        moves = {"n": 3, "act": "moved", "moved_to": docs[(place + 1) % len(docs)]}
        last = Given(name(f"last {place}", 32), hand, (then.id,), moves)
        family[doc] = HOME, [first, then, last]
        cites = (last.id,)
    assert Counter(agree(family))["accepted"] == 65


@given(st.binary(min_size=16, max_size=16), st.sets(st.binary(min_size=16, max_size=16), max_size=8))
def test_both_draw_in_the_same_order(doc: bytes, claims: set[bytes]) -> None:
    key = SigningKey(name("the keeper's seed", 32))
    message = draw_message(doc, claims)
    assert lot_message(DocId(doc), [DocId(each) for each in claims]) == message
    seed = key.sign(message).signature
    assert key.verify_key.verify(message, seed) == message
    assert sorted(claims, key=lambda each: lot(seed, DocId(each))) == draw(seed, claims)
