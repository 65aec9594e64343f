"""Which known records authority is resolved from: all that are held, and of those that wait what can count.

Anybody can send records of these kinds in heaps, in any town's name, and they are kept for a while. So what
waits is asked for by the key that signed it, step by step from the own town's certificates on; what no step
asks for changes nothing in what `resolve` gives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

from protocol.ids import FederationId, RecordId, TownId
from protocol.record import CHARTER, Record
from sync.authority import ADMIT, JOIN, founded_by, named_in
from sync.devices import DEVICE, KEEP, REVOKE, ROTATE


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
    roots = [root for each in found[CHARTER].values() if (root := founded_by(each)) is not None]
    add(waiting.signed(ADMIT, keys_of({town for root in roots for town in root.stewards})))
    admitted = {TownId(town) for each in found[ADMIT].values() if (town := named_in(each)) is not None}
    keys_of(admitted.union(*(root.members | {root.founder} for root in roots)))
    return [record for kind in found.values() for record in kind.values()]
