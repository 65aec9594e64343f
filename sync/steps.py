"""How a federation decides: the chain of steps, followed from what is signed by everyone alike.

Authority in a federation is a chain of *steps*. Step 0 is the charter. Every other step names its parent and
carries the whole state that it makes: stewards, members, rules, quotas, name. It *counts* when more than half
of the stewards of its parent have signed it; the author's own step is its author's signature. Whoever could
decide before decides who may decide next, so no minority can take a federation over, and no step needs a
clock or a stamp.

A steward signs one step of each parent and *round*. Where an honest vote is split so that nothing can count
any more, the next round is open: a step of round r + 1 names the signatures of round r that show it, and
counts for nothing without them. Two steps of one parent that both count can come about only when somebody
signed twice, or signed late what a later round had replaced. Then the signatures of those who signed two
steps of one round are struck from all, and the step with most left stands, then that of the later round, then
the smaller id. A step that counts alone stands however often its signers have signed: nobody takes his own
signature back by signing something else too.

An insider may sign without end. Of a steward's signatures in one round those `SIGNATURES_MAX` count that are
for the steps with most signers, then the smallest ids: a step that honest stewards signed always has more
signers than what a minority makes up. What the fold looked at and did not cut is what a node holds (`kept`).

The whole is a function of the set of records: it reads no stamp, no time and no order of arrival. (A graph of
concurrent acts in which removal wins has cycles without a solution, and lets the removed take revenge by
citing what was before their removal. See decision 0012.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from protocol.ids import RecordId, TownId
from protocol.limits import ROUNDS_MAX, SIGNATURES_MAX, STEPS_MAX

Signed = Mapping[TownId, RecordId]
"""Who signed a step, each with the record that says so: the step itself for its author."""
Said = Mapping[TownId, frozenset[RecordId]]
"""The same with all records that say so: a steward may sign one step again and again, and it is one vote."""
NOBODY: Final[Said] = {}


@dataclass(frozen=True, slots=True)
class State:
    """All that a step decides.

    Attributes:
        members: Towns beside the stewards, who are members always.
        vouches: So many members together may let a town in; 0: they may not.
        quotas: Documents that one town may have, by lane.
    """

    name: str
    stewards: frozenset[TownId]
    members: frozenset[TownId]
    vouches: int
    quotas: tuple[int, int, int]

    @property
    def majority(self) -> int:
        """How many stewards must sign."""
        return len(self.stewards) // 2 + 1


@dataclass(frozen=True, slots=True)
class Step:
    """A step as its record says it; the charter is one without parent.

    Attributes:
        town: Who wrote it.
        round: From 1; the charter's is 0.
        decides: Acts that it took into its state, or left out of it for good.
        split: Signatures of the round before that show that no step of that round can count any more.
    """

    id: RecordId
    town: TownId
    parent: RecordId | None
    round: int
    decides: frozenset[RecordId]
    split: frozenset[RecordId]
    state: State

    def __hash__(self) -> int:
        """Steps with one id are one step."""
        return hash(self.id)


@dataclass(frozen=True, slots=True)
class Signature:
    """A steward's record that signs another's step."""

    id: RecordId
    town: TownId
    step: RecordId


@dataclass(frozen=True, slots=True)
class Ballot:
    """What is known of the steps of one parent.

    Attributes:
        steps: Those that may count, with who signed each.
        chosen: The one that stands; None: none counts yet.
        struck: Stewards who signed two steps of one round, where more than one step counts.
        kept: The records that a node holds, each with its town.
    """

    steps: Mapping[Step, Signed]
    chosen: Step | None
    struck: frozenset[TownId]
    kept: Mapping[RecordId, TownId]


@dataclass(frozen=True, slots=True)
class Chain:
    """What the fold gives.

    Attributes:
        steps: From the charter to the current step.
        struck: Double signers, each with the parent of the steps that they signed.
        kept: Records of steps and signatures that a node holds, each with its town.
        open: What is known of the steps of the current step.
    """

    steps: tuple[Step, ...]
    struck: frozenset[tuple[RecordId, TownId]]
    kept: Mapping[RecordId, TownId]
    open: Ballot = field(compare=False)

    @property
    def current(self) -> Step:
        """The step whose state is the federation's."""
        return self.steps[-1]

    @property
    def turn(self) -> tuple[int, frozenset[RecordId]]:
        """The round that is open at the current step, and what a step of it names: votes that show that the
        round before is over. The last round stays open."""
        state = self.current.state
        now, over = max((step.round for step in self.open.steps), default=1), frozenset[RecordId]()
        if now < ROUNDS_MAX and split_of(self.open, now, state.majority, len(state.stewards)) is not None:
            now += 1
        if now > 1:
            over = split_of(self.open, now - 1, state.majority, len(state.stewards)) or over
        return now, over

    def rests_on(self, act: RecordId, cites: tuple[RecordId, ...]) -> bool:
        """Tell whether an act rests on the current step, or on the one before and is not decided by it.

        An act that cites nothing rests on the charter.
        """
        ground = cites or (self.steps[0].id,)
        if self.current.id in ground:
            return True
        return len(self.steps) > 1 and self.steps[-2].id in ground and act not in self.current.decides


def follow(charter: Step, steps: Iterable[Step], signatures: Iterable[Signature]) -> Chain:
    """Return the chain of steps that these records give.

    Args:
        charter: Step 0.
        steps: All known others of the federation, made with the town keys of the towns that they name.
        signatures: All known ones, made likewise.
    """
    children = defaultdict[RecordId | None, list[Step]](list)
    for step in steps:
        children[step.parent].append(step)
    signed = defaultdict[RecordId, dict[TownId, frozenset[RecordId]]](dict)
    for each in signatures:
        signed[each.step][each.town] = signed[each.step].get(each.town, frozenset()) | {each.id}
    chain, struck, kept = [charter], set[tuple[RecordId, TownId]](), dict[RecordId, TownId]()
    while True:
        parent = chain[-1]
        ballot = count(parent, children[parent.id] if len(chain) < STEPS_MAX else (), signed)
        kept.update(ballot.kept)
        struck.update((parent.id, town) for town in ballot.struck)
        if ballot.chosen is None:
            return Chain(tuple(chain), frozenset(struck), kept, ballot)
        chain.append(ballot.chosen)


def count(parent: Step, steps: Iterable[Step], signed: Mapping[RecordId, Said]) -> Ballot:
    """Return what is known of the steps of one parent.

    Args:
        steps: All known steps that name it.
        signed: Who signed each, beside its author; stewards of the parent or not.
    """
    stewards = parent.state.stewards
    written = {step for step in steps if step.town in stewards and 1 <= step.round <= ROUNDS_MAX}
    said = {
        step: {town: ids for town, ids in signed.get(step.id, NOBODY).items() if town in stewards}
        | {step.town: frozenset({step.id})}
        for step in written
    }
    counted = _cut(
        {
            step: {town: min(ids) for town, ids in said[step].items()}
            for step in written
            if step.round == 1 or _shows_split(parent, step, said)
        }
    )
    counting = [step for step, who in counted.items() if len(who) >= parent.state.majority]
    struck = _signed_twice(counted) if len(counting) > 1 else frozenset[TownId]()

    def rank(step: Step) -> tuple[int, int, RecordId]:
        return (-len(counted[step].keys() - struck), -step.round, step.id)

    chosen = min(counting, key=rank, default=None)
    return Ballot(counted, chosen, struck, _kept(counted, said))


def split_of(ballot: Ballot, round: int, majority: int, stewards: int) -> frozenset[RecordId] | None:
    """Return signatures, one of each steward who voted, that show that no step of a round can count any more;
    None: one still can."""
    voices = [who for step, who in ballot.steps.items() if step.round == round]
    if not _is_split(map(frozenset[TownId], voices), majority, stewards):
        return None
    # Of who signed several, one is enough: then the steps have fewer, and as many have voted.
    shown = dict[TownId, RecordId]()
    for who in voices:
        shown.update({town: min(id, shown.get(town, id)) for town, id in who.items()})
    return frozenset(shown.values())


def _shows_split(parent: Step, step: Step, said: Mapping[Step, Said]) -> bool:
    """Tell whether the signatures that a step names show that the round before is over.

    Any record by which a steward signed will do: else he could close the round again by signing once more.
    """
    named = [
        frozenset(town for town, ids in who.items() if ids & step.split)
        for other, who in said.items()
        if other.round == step.round - 1
    ]
    return _is_split(named, parent.state.majority, len(parent.state.stewards))


def _is_split(voices: Iterable[frozenset[TownId]], majority: int, stewards: int) -> bool:
    """Tell whether no step of a round, known or not, can still be signed by a majority."""
    sets = list(voices)
    silent = stewards - len(frozenset[TownId]().union(*sets))
    return max(map(len, sets), default=0) + silent < majority


def _cut(voices: Mapping[Step, Signed]) -> Mapping[Step, Signed]:
    """Leave each steward so many signatures of each round as count; steps that nobody signs any more go."""
    ranked = sorted(voices, key=lambda step: (-len(voices[step]), step.id))
    used = defaultdict[tuple[TownId, int], int](int)
    left = dict[Step, Signed]()
    for step in ranked:
        who = dict[TownId, RecordId]()
        for town, id in voices[step].items():
            used[town, step.round] += 1
            if used[town, step.round] <= SIGNATURES_MAX:
                who[town] = id
        if who:
            left[step] = who
    return left


def _signed_twice(voices: Mapping[Step, Signed]) -> frozenset[TownId]:
    """Return who signed more than one step of some round."""
    seen = defaultdict[tuple[int, TownId], int](int)
    for step, who in voices.items():
        for town in who:
            seen[step.round, town] += 1
    return frozenset(town for (_, town), times in seen.items() if times > 1)


def _kept(counted: Mapping[Step, Signed], said: Mapping[Step, Said]) -> dict[RecordId, TownId]:
    """Return the records that this rests on: steps, signatures, and what shows that a round is over."""
    kept = dict[RecordId, TownId]()
    shown = frozenset[RecordId]().union(*(step.split for step in counted))
    for step, who in said.items():
        named = {id: town for town, ids in who.items() for id in ids & shown}
        named |= {id: town for town, id in counted.get(step, {}).items()}
        if named:
            kept |= {step.id: step.town, **named}
    return kept
