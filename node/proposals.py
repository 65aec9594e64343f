"""What a proposed step would change, worked out from what is asked and said in plain sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from node.errors import InvalidRequest
from protocol.ids import Lane, TownId
from protocol.limits import DECIDED_MAX, MEMBERS_MAX, STEWARDS_MAX
from sync import membership

if TYPE_CHECKING:
    from protocol.encoding import Value
    from sync.authority import Federation
    from sync.steps import Step

LANES: Final = tuple(lane.name.lower() for lane in Lane)
"""The names by which quotas are told apart."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a steward asks for.

    Attributes:
        add: Towns to be members, for good.
        remove: Towns to be members no more, stewards among them.
        raise_: Towns to be stewards.
        lower: Stewards to be plain members.
        vouches: So many members may let a town in; 0: none may; None: as it is.
        quotas: Documents of a town, by the name of the lane; those left out stay.
        name: None: as it is.
    """

    add: frozenset[TownId] = frozenset()
    remove: frozenset[TownId] = frozenset()
    raise_: frozenset[TownId] = frozenset()
    lower: frozenset[TownId] = frozenset()
    vouches: int | None = None
    quotas: Mapping[str, int] = field(default_factory=dict)
    name: str | None = None


def fields_of(federation: Federation, change: Change) -> dict[str, Value]:
    """Return the whole state after a change as the fields of a step, with the acts that it decides.

    Whoever belongs by an act since the last step belongs for good afterwards, and whoever is suspended is put
    out, unless the change says otherwise.

    Raises:
        InvalidRequest: Nothing would change, or what would remain is no federation.
    """
    state = federation.chain.current.state
    stewards = (state.stewards | change.raise_) - change.lower - change.remove
    members = (federation.members | change.add | change.raise_) - change.remove
    vouches = state.vouches if change.vouches is None else change.vouches
    quotas = dict(zip(LANES, state.quotas, strict=True)) | dict(change.quotas)
    name = (change.name or state.name).strip()
    if not stewards:
        raise InvalidRequest("a federation has at least one steward: name one who stays or a new one")
    if len(members) > MEMBERS_MAX or len(stewards) > STEWARDS_MAX:
        raise InvalidRequest(f"a step names {MEMBERS_MAX} members and {STEWARDS_MAX} stewards at most")
    decided = sorted(federation.acts.counting)[:DECIDED_MAX]
    before = (state.stewards, state.members | state.stewards, state.vouches, state.name, state.quotas)
    if (stewards, members, vouches, name, tuple(quotas.values())) == before and not decided:
        raise InvalidRequest("that is how it is already: nothing would change")
    fields: dict[str, Value] = {
        "name": name,
        "stewards": list(map(bytes, sorted(stewards))),
        "members": list(map(bytes, sorted(members))),
        "quotas": dict(quotas),
    }
    if vouches:
        fields["rules"] = {"vouches": vouches}
    if decided:
        fields["decides"] = list(map(bytes, decided))
    return fields


def changes_of(federation: Federation, step: Step, name_of: Callable[[TownId], str]) -> list[str]:
    """Return what a step would change in a federation as it stands now, a sentence each."""
    before, after = federation.chain.current.state, step.state
    then = membership.after(federation.chain, federation.acts.counting.values(), step)
    members, suspended = then.members, federation.acts.suspended

    def named(towns: frozenset[TownId]) -> str:
        return ", ".join(sorted(name_of(town) or town.hex()[:8] for town in towns))

    parts = [
        ("steward from then on", after.stewards - before.stewards),
        ("steward no more", (before.stewards - after.stewards) & members),
        ("put out", federation.members - members),
        ("member for good", (after.members & members) - before.members - before.stewards - after.stewards),
        ("suspended so far, let in again", members & suspended),
        ("suspended so far, put out for good", suspended - members - then.suspended),
    ]
    says = [f"{named(towns)}: {what}" for what, towns in parts if towns]
    if after.name != before.name:
        says.append(f"the name becomes {after.name}")
    if after.vouches != before.vouches:
        says.append(
            f"{after.vouches} vouches of members let a town in" if after.vouches else "members vouch no more"
        )
    for lane, was, now in zip(LANES, before.quotas, after.quotas, strict=True):
        if was != now:
            says.append(f"a town may have {now:,} {lane} documents, not {was:,}")
    return says or ["nothing but that what was done since the last step holds for good"]
