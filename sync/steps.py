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

A vote by a *former* town key that its town does not keep is *lapsed*: the town's own, or its thief's; nobody
can tell. A step counts only with a vote that is not, and then lapsed ones help it to a majority: so a thief
decides nothing alone, and no steward takes his vote back by taking another key. Where several steps count,
the lapsed votes of a steward who has one that is not lapsed, on any step of that parent, are taken off first:
so what the present keys of a majority sign stands against what former ones are made to sign.

An insider may sign without end. Of a steward's signatures in one round those `SIGNATURES_MAX` count that are
for the steps with most signers, then the smallest ids, and as many lapsed ones, so that neither push out the
others: a step that honest stewards signed always has more signers than what a minority makes up. What the
fold looked at and did not cut is what a node holds (`kept`).

The whole is a function of the set of records: it reads no stamp, no time and no order of arrival. (A graph of
concurrent acts in which removal wins has cycles without a solution, and lets the removed take revenge by
citing what was before their removal. See decision 0012.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

from protocol.ids import RecordId, TownId
from protocol.limits import ROUNDS_MAX, SIGNATURES_MAX, STEPS_MAX

Signed = Mapping[TownId, RecordId]
"""Who signed a step, each with the record that says so: the step itself for its author."""
Said = Mapping[TownId, Set[RecordId]]
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
        struck: Stewards who signed two steps of one round, where more than one step counts. One who did so
            with a former key only is none.
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
        voters: All who were stewards at one of the steps.
        open: What is known of the steps of the current step.
    """

    steps: tuple[Step, ...]
    struck: frozenset[tuple[RecordId, TownId]]
    kept: Mapping[RecordId, TownId]
    voters: frozenset[TownId]
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


def follow(
    charter: Step,
    steps: Iterable[Step],
    signatures: Iterable[Signature],
    lapsed: Collection[RecordId] = frozenset(),
) -> Chain:
    """Return the chain of steps that these records give.

    Args:
        charter: Step 0.
        steps: All known others of the federation, made with town keys of the towns that they name.
        signatures: All known ones, made likewise.
        lapsed: Those of both that a former key made and the town does not keep; a set.
    """
    children = defaultdict[RecordId | None, dict[RecordId, Step]](dict)
    for step in steps:
        children[step.parent][step.id] = step
    signed = defaultdict[RecordId, dict[TownId, set[RecordId]]](lambda: defaultdict(set))
    for each in signatures:
        signed[each.step][each.town].add(each.id)
    chain, struck, kept = [charter], set[tuple[RecordId, TownId]](), dict[RecordId, TownId]()
    while True:
        parent = chain[-1]
        beneath = children[parent.id].values() if len(chain) < STEPS_MAX else ()
        ballot = count(parent, beneath, signed, lapsed)
        kept.update(ballot.kept)
        struck.update((parent.id, town) for town in ballot.struck)
        if ballot.chosen is None:
            voters = frozenset[TownId]().union(*(step.state.stewards for step in chain))
            return Chain(tuple(chain), frozenset(struck), kept, voters, ballot)
        chain.append(ballot.chosen)


def count(
    parent: Step, steps: Iterable[Step], signed: Mapping[RecordId, Said], lapsed: Collection[RecordId]
) -> Ballot:
    """Return what is known of the steps of one parent.

    Args:
        steps: All known steps that name it, each once.
        signed: Who signed each, beside its author; stewards of the parent or not.
    """
    stewards = parent.state.stewards
    said: dict[Step, Said] = {
        step: {town: ids for town, ids in signed.get(step.id, NOBODY).items() if town in stewards}
        | {step.town: {step.id}}
        for step in steps
        if step.town in stewards and 1 <= step.round <= ROUNDS_MAX
    }
    counted = _cut(parent, said, lapsed)
    counting = [step for step, who in counted.items() if len(who) >= parent.state.majority]
    votes, struck = counted, frozenset[TownId]()
    if len(counting) > 1:
        votes = _without_former(counted, lapsed)
        struck = _signed_twice(votes)

    def rank(step: Step) -> tuple[int, int, RecordId]:
        return (-len(votes[step].keys() - struck), -step.round, step.id)

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


def _shows_split(parent: Step, step: Step, votes: Mapping[RecordId, tuple[Step, TownId]]) -> bool:
    """Tell whether the signatures that a step names show that the round before is over.

    Any record by which a steward signed will do: else he could close the round again by signing once more.
    """
    named = defaultdict[Step, set[TownId]](set)
    for id in step.split & votes.keys():
        other, town = votes[id]
        if other.round == step.round - 1:
            named[other].add(town)
    return _is_split(named.values(), parent.state.majority, len(parent.state.stewards))


def _is_split(voices: Iterable[Set[TownId]], majority: int, stewards: int) -> bool:
    """Tell whether no step of a round, known or not, can still be signed by a majority."""
    sets = list(voices)
    silent = stewards - len(frozenset[TownId]().union(*sets))
    return max(map(len, sets), default=0) + silent < majority


def _cut(parent: Step, said: Mapping[Step, Said], lapsed: Collection[RecordId]) -> Mapping[Step, Signed]:
    """Leave each steward so many signatures of each round as count, and the steps that have such of them as
    are not lapsed.

    Only of these it is asked whether their round is open, so that to write many costs everybody little.
    """
    votes = {id: (step, town) for step, who in said.items() for town, ids in who.items() for id in ids}
    used = defaultdict[tuple[TownId, int, bool], int](int)
    left = dict[Step, Signed]()
    for step in sorted(said, key=lambda step: (-len(said[step]), step.id)):
        who, turns = dict[TownId, RecordId](), list[tuple[TownId, int, bool]]()
        for town, ids in said[step].items():
            # Where several records say one thing, one that is not lapsed says it.
            is_lapsed, id = min((id in lapsed, id) for id in ids)
            turn = town, step.round, is_lapsed
            if used[turn] < SIGNATURES_MAX:
                who[town] = id
                turns.append(turn)
        stands = any(not is_lapsed for _, _, is_lapsed in turns)
        if stands and (step.round == 1 or _shows_split(parent, step, votes)):
            left[step] = who
            for turn in turns:
                used[turn] += 1
    return left


def _without_former(counted: Mapping[Step, Signed], lapsed: Collection[RecordId]) -> Mapping[Step, Signed]:
    """Take off the lapsed votes of those who have one that is not lapsed."""
    present = {town for who in counted.values() for town, id in who.items() if id not in lapsed}
    return {
        step: {town: id for town, id in who.items() if id not in lapsed or town not in present}
        for step, who in counted.items()
    }


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
