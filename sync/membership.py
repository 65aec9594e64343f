"""Who belongs to a federation: what its current step says, and what was done beside since.

A steward admits a town or suspends one, and members vouch for one where the rules let them: each counts at
once, without waiting for a majority, if it rests on the current step; or on the one before, where the current
one does not decide it, so that neither side of a cut loses its admissions. What rests on an older step counts
for nothing: nobody reaches back behind the step that took his power away. Suspension beats admission, and no
steward can be suspended, so no act can turn on another in a circle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from protocol.ids import RecordId, TownId
from sync.steps import Chain, Step

ADMIT: Final = "federation.admit"
"""A steward admits a town."""
SUSPEND: Final = "federation.suspend"
"""A steward suspends a town that is no steward."""
VOUCH: Final = "federation.vouch"
"""A member vouches for a town."""


@dataclass(frozen=True, slots=True)
class Act:
    """A standing act of a town's device about a town.

    Attributes:
        by: The town that acts.
        cites: What it rests on.
        town: Whom it is about.
    """

    id: RecordId
    kind: str
    by: TownId
    cites: tuple[RecordId, ...]
    town: TownId


@dataclass(frozen=True, slots=True)
class Membership:
    """Who belongs, and why.

    Attributes:
        members: All that belong, stewards among them.
        admitted: Towns that a steward admitted.
        vouched: Towns for which enough members vouched.
        suspended: Towns that a steward suspended.
        vouching: Who vouches for whom, enough or not.
        counting: The acts that count, by id.
    """

    members: frozenset[TownId]
    admitted: frozenset[TownId]
    vouched: frozenset[TownId]
    suspended: frozenset[TownId]
    vouching: frozenset[tuple[TownId, TownId]]
    counting: Mapping[RecordId, Act]


def membership(chain: Chain, acts: Iterable[Act], vouches: Iterable[Act]) -> Membership:
    """Return who belongs after the current step of a chain.

    Args:
        acts: Admissions and suspensions by stewards of the current step.
        vouches: By stewards and members whom the current step names.
    """
    state = chain.current.state
    counting = [act for act in acts if chain.rests_on(act.id, act.cites)]
    suspended = {act.town for act in counting if act.kind == SUSPEND} - state.stewards
    admitted = {act.town for act in counting if act.kind == ADMIT}
    vouching = defaultdict[TownId, set[TownId]](set)
    for vouch in vouches:
        if state.vouches and vouch.by not in suspended and chain.rests_on(vouch.id, vouch.cites):
            vouching[vouch.town].add(vouch.by)
            counting.append(vouch)
    vouched = {town for town, by in vouching.items() if len(by) >= state.vouches}
    return Membership(
        members=(state.stewards | state.members | admitted | vouched) - suspended,
        admitted=frozenset(admitted),
        vouched=frozenset(vouched),
        suspended=frozenset(suspended),
        vouching=frozenset((by, town) for town, who in vouching.items() for by in who),
        counting={act.id: act for act in counting},
    )


def after(chain: Chain, acts: Iterable[Act], step: Step) -> Membership:
    """Return who would belong if a step of the current one followed now: what counts so far goes on where it
    does not decide it.

    Args:
        acts: Those that count now, vouches among them.
    """
    then, state = replace(chain, steps=(*chain.steps, step)), step.state
    known = list(acts)
    return membership(
        then,
        [each for each in known if each.kind != VOUCH and each.by in state.stewards],
        [each for each in known if each.kind == VOUCH and each.by in state.stewards | state.members],
    )
