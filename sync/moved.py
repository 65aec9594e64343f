"""What differs between two authorities: whose records belong elsewhere now, and where there is less room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.ids import DeviceId, Lane, LaneKey, TownId
from sync.authority import Allotment, Authority
from sync.devices import Rights


@dataclass(frozen=True, slots=True)
class Moved:
    """Whose rights differ between two authorities.

    Attributes:
        towns: All of them; what they have parked may be held now.
        held: Those whose held records may all belong elsewhere now: a membership changed.
        lost: Keys of whose held records some may have lost their right.
    """

    towns: frozenset[TownId]
    held: frozenset[TownId]
    lost: Mapping[TownId, frozenset[DeviceId]]


def moved(before: Authority, after: Authority) -> Moved:
    """Return the towns some of whose records `after` places otherwise than `before`."""
    towns, held, lost = set[TownId](), set[TownId](), dict[TownId, frozenset[DeviceId]]()
    for town in before.rights.keys() | after.rights.keys():
        old, new = before.rights_of(town), after.rights_of(town)
        if old != new:
            towns.add(town)
            lost[town] = _weakened(old, new)
    for name in before.federations.keys() | after.federations.keys():
        was, now = before.federations.get(name), after.federations.get(name)
        held |= (was.members if was else frozenset()) ^ (now.members if now else frozenset())
        if was is None or now is None:
            # The charter is a record of the founder, who need not be a member.
            held |= {each.founder for each in (was, now) if each}
        kept_was, kept_now = (each.chain.kept if each else {} for each in (was, now))
        towns |= {town for id, town in kept_now.items() if id not in kept_was}
        held |= {town for id, town in kept_was.items() if id not in kept_now}
        voters_was, voters_now = (each.chain.voters if each else frozenset() for each in (was, now))
        towns |= voters_now - voters_was
        held |= voters_was - voters_now
    return Moved(frozenset(towns | held), frozenset(held), lost)


def _weakened(old: Rights, new: Rights) -> frozenset[DeviceId]:
    """Return the keys of which a record that was valid may not be so any more."""
    gone = {device for device in (*old.devices, *old.keys) if not new.is_certified(device)}
    if old.kept - new.kept:
        gone |= {*old.revoked, *old.keys[:-1]}
    if old.acts - new.acts:
        gone.update(new.keys)
    return frozenset(gone)


def narrowed(before: Authority, after: Authority) -> frozenset[tuple[LaneKey, TownId, Allotment]]:
    """Return where a member has less room now: a step lowered a quota, or a town is no steward any more."""
    found = set[tuple[LaneKey, TownId, Allotment]]()
    for name in before.federations.keys() & after.federations.keys():
        was, now = before.federations[name], after.federations[name]
        if (was.quotas, was.stewards) == (now.quotas, now.stewards):
            continue
        found |= {
            ((name, lane), town, allotment)
            for lane in Lane
            for allotment in Allotment
            for town in was.members & now.members
            if now.room(lane, town, allotment) < was.room(lane, town, allotment)
        }
    return frozenset(found)
