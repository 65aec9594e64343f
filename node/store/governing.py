"""Which known records authority is resolved from: all that are held, and of those that wait what can count.

Anybody can send records of these kinds in heaps, in any town's name, and they are kept for a while. So what
waits is asked for by the key that signed it, step by step from the own town's certificates on; what no step
asks for changes nothing in what `resolve` gives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from protocol.ids import FederationId, RecordId, TownId
from protocol.record import CHARTER, SIGN, STEP, Record
from sync.authority import JOIN, founded_by, named_in
from sync.devices import DEVICE, KEEP, REVOKE, ROTATE
from sync.membership import ADMIT, SUSPEND, VOUCH
from sync.stated import step_of
from sync.steps import State


class Waiting(Protocol):
    """The parked records of the kinds that authority is made of."""

    def signed(self, kind: str, keys: Iterable[bytes]) -> Iterable[Record]:
        """Return those of a kind that these keys signed."""

    def rotations(self, towns: Iterable[TownId]) -> Iterable[Record]:
        """Return those by which keys of these towns take over; what proves nothing does not wait."""

    def charters(self, federations: Iterable[FederationId]) -> Iterable[Record]:
        """Return the charters of these federations."""


def gather(own_town: TownId, known: Iterable[Record], waiting: Waiting) -> list[Record]:
    """Return what authority is resolved from.

    Args:
        own_town: The town of this node.
        known: Of the kinds that authority is made of, all held records, and new ones that are judged.
        waiting: The parked ones.
    """
    found = defaultdict[str, dict[RecordId, Record]](dict)

    def add(records: Iterable[Record]) -> None:
        for record in records:
            found[record.header.kind][record.id] = record

    def keys_of(towns: set[TownId]) -> set[bytes]:
        """Add what these towns say of their keys; return all keys that may write for them."""
        add(waiting.rotations(towns))
        town_keys = {*towns, *(each.header.device for each in found[ROTATE].values())}
        for kind in (DEVICE, REVOKE, KEEP):
            add(waiting.signed(kind, town_keys))
        theirs = (each for each in found[DEVICE].values() if each.header.town in towns)
        return {*town_keys, *(device for each in theirs if (device := named_in(each)) is not None)}

    add(known)
    own_keys = keys_of({own_town})
    add(waiting.signed(JOIN, own_keys))
    add(waiting.signed(CHARTER, own_keys))
    consents = (each for each in found[JOIN].values() if each.header.town == own_town)
    add(waiting.charters({name for each in consents for name in each.header.federations}))
    states = [root for each in found[CHARTER].values() if (root := founded_by(each)) is not None]
    founders = {each.header.town for each in found[CHARTER].values()}
    states += _decide(found[STEP], states, keys_of, waiting, add)
    stewards = {town for state in states for town in state.stewards}
    members = stewards.union(*(state.members for state in states))
    keys = keys_of(stewards)
    for kind in (ADMIT, SUSPEND):
        add(waiting.signed(kind, keys))
    add(waiting.signed(VOUCH, keys_of(members) if any(state.vouches for state in states) else ()))
    acts = (*found[ADMIT].values(), *found[VOUCH].values())
    named = {TownId(town) for each in acts if (town := named_in(each)) is not None}
    keys_of(members | named | founders)
    return [record for kind in found.values() for record in kind.values()]


def _decide(
    known: dict[RecordId, Record],
    roots: Iterable[State],
    keys_of: Callable[[set[TownId]], set[bytes]],
    waiting: Waiting,
    add: Callable[[Iterable[Record]], None],
) -> list[State]:
    """Add the steps and signatures of all stewards, of those whom these steps name too; return the states."""
    asked, states = set[TownId](), list[State]()
    stewards = {town for root in roots for town in root.stewards}
    while True:
        stewards -= asked
        if stewards:
            asked |= stewards
            keys = keys_of(stewards)
            add(waiting.signed(STEP, keys))
            add(waiting.signed(SIGN, keys))
        states = [step.state for each in known.values() if (step := step_of(each)) is not None]
        stewards = {town for state in states for town in state.stewards}
        if stewards <= asked:
            return states
