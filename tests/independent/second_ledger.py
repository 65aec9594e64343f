"""Section 13 of the protocol, read a second time: what the entries of ledgers come to.

Written from the text alone, slowly and plainly: every state is a copy, every search looks at all entries.
What is fed in are records as they were decoded; what comes out is an `Account` of each document.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

ENTRY = 2
ACTS = (
    "capacity", "accept", "wait", "decline", "release", "renew", "handover", "checkpoint", "keeper", "moved",
)  # fmt: skip
INTEGERS = {
    "n": (1, 10**9), "milli": (0, 10**12), "buffer_s": (0, 31_536_000), "start": (0, 2**40),
    "end": (0, 2**40), "hold_until": (0, 2**40),
}  # fmt: skip
TEXTS = {"unit": "[A-Za-z0-9]{1,16}", "reason": "[a-z_]{1,32}"}
BYTES = {
    "claim": 16, "share": 32, "parent": 16, "parent_claim": 16, "child": 32, "device": 32, "moved_to": 16,
    "seed": 64,
}  # fmt: skip
FOLLOWING, ABOVE, WHOLE = 64, 8, 1000  # documents, ledgers, thousandths


@dataclass(frozen=True)
class Given:
    """A record of a ledger's document, decoded: nothing of it is trusted but that it is held."""

    id: bytes
    device: bytes
    cites: tuple[bytes, ...]
    fields: Mapping[str, Any]
    op: int = ENTRY


@dataclass
class Claim:
    """Where a claim stands. `turn` counts acceptances and waits, for who comes before whom."""

    status: str = ""
    milli: int = 0
    window: tuple[int, int] | None = None
    hold_until: int | None = None
    share: bytes | None = None
    turn: int = 0
    renewed: int = 0

    @property
    def open(self) -> bool:
        """Whether it holds anything back from others."""
        return self.status in ("accepted", "handed over")


@dataclass
class Account:
    """What the records of a document come to, as the ledger that begins in it."""

    doc: bytes
    town: bytes
    known: bool = False
    mode: str = "quantity"
    unit: str = "each"
    buffer_s: int = 0
    parent: tuple[bytes, bytes] | None = None
    capacity: int = 0
    keeper: bytes = b""
    head: bytes = b""
    end: bytes = b""
    turns: int = 0
    claims: dict[bytes, Claim] = field(default_factory=dict)
    void: dict[bytes, str] = field(default_factory=dict)
    lost: set[bytes] = field(default_factory=set)
    called: set[bytes] = field(default_factory=set)
    gone: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)
    settled: set[bytes] = field(default_factory=set)

    def apart(self) -> Account:
        """The same, whose claims can be changed without changing these."""
        return replace(self, claims={name: replace(claim) for name, claim in self.claims.items()})

    @property
    def promised(self) -> int:
        """What all open claims have."""
        return sum(claim.milli for claim in self.claims.values() if claim.open)

    @property
    def waiting(self) -> list[bytes]:
        """Who waits, the first in front."""
        waiting = [(claim.turn, name) for name, claim in self.claims.items() if claim.status == "waiting"]
        return [name for _, name in sorted(waiting)]


def is_entry(record: Given) -> bool:
    """13.2: whether a record is an entry at all."""
    told = present(record)
    if record.op != ENTRY or "n" not in told or told.get("act") not in ACTS:
        return False
    for name, value in told.items():
        if name in INTEGERS:
            low, high = INTEGERS[name]
            if type(value) is not int or not low <= value <= high:
                return False
        if name in BYTES and (type(value) is not bytes or len(value) != BYTES[name]):
            return False
        if name in TEXTS and not (type(value) is str and re.fullmatch(TEXTS[name], value)):
            return False
        if name == "mode" and value not in ("quantity", "window"):
            return False
    if ("parent" in told) != ("parent_claim" in told):
        return False
    return told["n"] == 1 or bool(record.cites)


def present(record: Given) -> dict[str, Any]:
    """The fields that are there: nil counts as missing."""
    return {name: value for name, value in record.fields.items() if value is not None}


def accounts(
    documents: Mapping[bytes, tuple[bytes, Iterable[Given]]], town_keys: Mapping[bytes, Iterable[bytes]]
) -> dict[bytes, Account]:
    """The account of each document of the kind `ledger`, each given with its town and its records."""
    kept = {doc: (town, [e for e in held if is_entry(e)]) for doc, (town, held) in documents.items()}
    alone = {doc: follow_all(doc, kept, town_keys) for doc in kept}
    return {doc: under_ceiling(doc, alone) for doc in alone}


# 13.3: the chain.


def follow_all(
    doc: bytes,
    kept: Mapping[bytes, tuple[bytes, list[Given]]],
    town_keys: Mapping[bytes, Iterable[bytes]],
) -> Account:
    """The ledger that begins in this document and goes on in others, under no ceiling."""
    town, entries = kept[doc]
    keys = set(town_keys[town])
    account = Account(doc, town)
    firsts = [e for e in entries if is_opening(e)]
    there, following = doc, 0
    while True:
        moved_to = follow(account, there, entries, firsts, keys)
        if moved_to is None or following == FOLLOWING or moved_to not in kept or kept[moved_to][0] != town:
            break
        there, following = moved_to, following + 1
        entries = kept[there][1]
        firsts = [e for e in entries if goes_on(e, account)]
    for claim in account.called - account.claims.keys():
        account.claims[claim] = Claim("called off")
    return account


def is_opening(entry: Given) -> bool:
    """Whether a chain can begin with it."""
    told = present(entry)
    if (told["n"], told["act"], entry.cites) != (1, "capacity", ()):
        return False
    return "milli" in told or told.get("mode") == "window"


def goes_on(entry: Given, account: Account) -> bool:
    """Whether the chain of another document can begin with it."""
    told = present(entry)
    return (told["n"], told["act"], entry.cites[:1], entry.device) == (
        1, "checkpoint", (account.end,), account.keeper,
    )  # fmt: skip


def is_next(entry: Given, before: Given, keeper: bytes, keys: set[bytes]) -> bool:
    """Whether it could stand behind that entry."""
    told = present(entry)
    if told["n"] != before.fields["n"] + 1 or entry.cites[0] != before.id:
        return False
    return entry.device == keeper or is_by_town_key(entry, keys)


def is_by_town_key(entry: Given, keys: set[bytes]) -> bool:
    """Whether a town key names a keeper in it."""
    told = present(entry)
    return told["act"] == "keeper" and "device" in told and entry.device in keys


def is_chosen(entry: Given, entries: list[Given], keys: set[bytes]) -> bool:
    """Whether the town key chose it: with all that it rests on."""
    return is_by_town_key(entry, keys) or any(
        is_chosen(e, entries, keys)
        for e in entries
        if e.fields["n"] == entry.fields["n"] + 1 and e.cites[0] == entry.id
    )


def follow(
    account: Account, doc: bytes, entries: list[Given], firsts: list[Given], keys: set[bytes]
) -> bytes | None:
    """Follow the chain of one document, and whatever leaves it; return the document in which it goes on."""
    before_all = account.end
    chain: set[bytes] = set()
    leaving: list[tuple[Given, Account]] = []
    candidates, moved_to = firsts, None
    while candidates:
        taken = min(candidates, key=lambda e: (not is_chosen(e, entries, keys), e.id))
        leaving += [(e, account.apart()) for e in candidates if e.id != taken.id]
        told = present(taken)
        if not has_effect(account, taken, doc):
            account.void[taken.id] = "no effect"
        elif told["act"] == "moved":
            moved_to = told["moved_to"]
            account.end = taken.id
        account.settled |= set(taken.cites[1:])
        account.head = taken.id
        chain.add(taken.id)
        candidates = [e for e in entries if is_next(e, taken, account.keeper, keys)] if not moved_to else []
    lost = follow_lost(account, doc, entries, leaving, keys)
    if chain:
        name_void(account, entries, chain, lost, before_all, None if moved_to is None else account.end)
    return moved_to


def follow_lost(
    account: Account, doc: bytes, entries: list[Given], leaving: list[tuple[Given, Account]], keys: set[bytes]
) -> set[bytes]:
    """13.5: follow each branch from where it left the chain; return what is lost."""
    lost = set()
    while leaving:
        entry, state = leaving.pop()
        lost.add(entry.id)
        told = present(entry)
        effect = has_effect(state, entry, doc)
        if effect and told["act"] == "handover":
            account.gone[entry.id] = told["claim"], state.claims[told["claim"]].milli
        if told["act"] == "accept" and "claim" in told:
            account.called.add(told["claim"])
        following = [e for e in entries if is_next(e, entry, state.keeper, keys)]
        leaving += [(e, state.apart()) for e in following]
    account.lost |= lost
    return lost


def name_void(
    account: Account,
    entries: list[Given],
    chain: set[bytes],
    lost: set[bytes],
    before_all: bytes,
    end: bytes | None,
) -> None:
    """Name what stands beside the chain of one document, and all that rests on that or on what is lost."""
    numbers = {e.id: e.fields["n"] for e in entries}
    others = [e for e in entries if e.id not in chain and e.id not in lost]
    void: set[bytes] = set()
    for entry in others:
        cited, n = entry.cites[0] if entry.cites else b"", entry.fields["n"]
        if cited in chain:
            wrong_hand = n == numbers[cited] + 1 and cited != end
            account.void[entry.id] = "not_the_keeper" if wrong_hand else "out_of_place"
            void.add(entry.id)
        elif cited == before_all:
            account.void[entry.id] = "out_of_place"
            void.add(entry.id)
    beside = void | lost
    while resting := {e.id for e in others if e.id not in beside and e.cites and e.cites[0] in beside}:
        account.void |= dict.fromkeys(resting, "out_of_place")
        beside |= resting


# 13.4: what entries do.


def has_effect(state: Account, entry: Given, doc: bytes) -> bool:
    """Let an entry do what it does; false where a condition does not hold and nothing was done."""
    told = present(entry)
    act, n = told["act"], told["n"]
    if act == "checkpoint":
        return bool(n == 1)
    if act == "keeper":
        if "device" not in told:
            return False
        state.keeper = told["device"]
        return True
    if act == "moved":
        return "moved_to" in told and told["moved_to"] != doc
    if act == "capacity":
        return opens(state, entry) if n == 1 else changes_capacity(state, told)
    if "claim" not in told:
        return False
    claim = state.claims.get(told["claim"], Claim())
    done = {
        "accept": accept, "wait": wait, "decline": decline, "release": release, "renew": renew,
        "handover": handover,
    }[act](state, claim, told)  # fmt: skip
    if done:
        state.claims[told["claim"]] = claim
    return done


def opens(state: Account, entry: Given) -> bool:
    """The first entry says how the ledger counts."""
    told = present(entry)
    state.known = True
    state.mode = told.get("mode", "quantity")
    state.unit = told.get("unit", "each")
    state.buffer_s = told.get("buffer_s", 0)
    state.parent = (told["parent"], told["parent_claim"]) if "parent" in told else None
    state.capacity = WHOLE if state.mode == "window" else told["milli"]
    state.keeper = entry.device
    return True


def changes_capacity(state: Account, told: dict[str, Any]) -> bool:
    """All there is is another amount."""
    if state.mode != "quantity" or "milli" not in told or told["milli"] < state.promised:
        return False
    state.capacity = told["milli"]
    return True


def accept(state: Account, claim: Claim, told: dict[str, Any]) -> bool:
    """The claim has so much, or its window."""
    if claim.open:
        return False
    if state.mode == "quantity":
        if not 1 <= told.get("milli", 0) <= state.capacity - state.promised:
            return False
        claim.milli, claim.window, claim.share = told["milli"], None, told.get("share")
    else:
        window = told.get("start"), told.get("end")
        if "share" in told or not is_free(state, claim, *window):
            return False
        claim.milli, claim.window, claim.share = WHOLE, (told["start"], told["end"]), None
    claim.status, claim.hold_until, claim.renewed = "accepted", told.get("hold_until"), 0
    claim.turn = state.turns = state.turns + 1
    return True


def is_free(state: Account, claim: Claim, start: int | None, end: int | None) -> bool:
    """Whether a window begins before it ends, and keeps its distance from all other open ones."""
    if start is None or end is None or start >= end:
        return False
    for other in state.claims.values():
        if other is not claim and other.open and other.window:
            s, e = other.window
            if not (end + state.buffer_s <= s or e + state.buffer_s <= start):
                return False
    return True


def wait(state: Account, claim: Claim, told: dict[str, Any]) -> bool:
    """The claim waits, behind those that wait."""
    if claim.open or claim.status == "waiting":
        return False
    claim.status, claim.turn = "waiting", state.turns + 1
    state.turns += 1
    return True


def decline(state: Account, claim: Claim, told: dict[str, Any]) -> bool:
    """The claim is declined."""
    if claim.open or claim.status == "declined":
        return False
    claim.status = "declined"
    return True


def release(state: Account, claim: Claim, told: dict[str, Any]) -> bool:
    """The claim has so much less, or nothing more."""
    amount = told.get("milli", claim.milli)
    if not claim.open or not is_part(state, claim, amount):
        return False
    claim.milli -= amount
    if not claim.milli:
        claim.status = "released"
    return True


def is_part(state: Account, claim: Claim, amount: int) -> bool:
    """Whether so much of what a claim has can be spoken of: of a window, only all."""
    return 1 <= amount <= claim.milli and (state.mode == "quantity" or amount == claim.milli)


def renew(state: Account, claim: Claim, told: dict[str, Any]) -> bool:
    """The window has another end; what is counted is held until another time."""
    if not claim.open:
        return False
    if state.mode == "quantity":
        claim.hold_until = told.get("hold_until", claim.hold_until)
        return "hold_until" in told
    assert claim.window
    if not is_free(state, claim, claim.window[0], told.get("end")):
        return False
    claim.renewed += claim.window[1] < told["end"]
    claim.window = claim.window[0], told["end"]
    return True


def handover(state: Account, claim: Claim, told: dict[str, Any]) -> bool:
    """The claim has what it came for; what it has above that is free."""
    amount = told.get("milli", claim.milli)
    if claim.status != "accepted" or claim.share or not is_part(state, claim, amount):
        return False
    claim.status, claim.milli, claim.hold_until = "handed over", amount, None
    return True


# 13.6: shares.


def under_ceiling(doc: bytes, alone: Mapping[bytes, Account]) -> Account:
    """The account of a ledger as what stands above it allows."""
    account = alone[doc].apart()
    if not account.known or not account.parent:
        return account
    name, wanted = account.parent
    parent = under_ceiling(name, alone) if name in alone and above(doc, alone) < ABOVE else None
    if parent is None or not parent.known or wanted not in parent.claims:
        account.known = False
        cut(account, 0)
        return account
    claim = parent.claims[wanted]
    rivals = [
        other.doc
        for other in alone.values()
        if other.known and other.town == account.town and other.parent == account.parent
    ]
    worth = claim.open and claim.share == account.town and parent.unit == account.unit and min(rivals) == doc
    cut(account, claim.milli if worth else 0)
    return account


def above(doc: bytes, alone: Mapping[bytes, Account]) -> int:
    """How many ledgers stand above one: no more than are counted, for they may stand in a ring."""
    count, parent = 0, alone[doc].parent
    while parent and count < ABOVE:
        count += 1
        parent = alone[parent[0]].parent if parent[0] in alone else None
    return count


def cut(account: Account, ceiling: int) -> None:
    """Cut what is promised until the rest fits."""
    claims = [claim for claim in account.claims.values() if claim.open]
    account.capacity = min(account.capacity, ceiling)
    if account.mode == "window":
        for claim in claims if ceiling < WHOLE else ():
            claim.status, claim.milli = "called off", 0
        return
    for claim in sorted(claims, key=lambda c: (c.status == "handed over", -c.turn)):
        less = min(claim.milli, max(0, account.promised - account.capacity))
        claim.milli -= less
        if not claim.milli:
            claim.status = "called off"


# 13.7: draws.


def draw_message(doc: bytes, claims: Iterable[bytes]) -> bytes:
    """What the keeper signs before a draw."""
    return b"hedgerow/draw/1" + doc + b"".join(sorted(claims))


def draw(seed: bytes, claims: Iterable[bytes]) -> list[bytes]:
    """Who comes first."""

    def lot(claim: bytes) -> bytes:
        return hashlib.blake2b(claim, digest_size=16, key=seed, person=b"hedgerow/draw").digest()

    return sorted(claims, key=lot)
