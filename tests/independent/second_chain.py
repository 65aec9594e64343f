"""Section 7.2 of the protocol, read a second time: the charter, and the steps that follow it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.independent.second_records import ENTRY, Record, is_all_bytes, is_bytes
else:
    sys.path.insert(0, str(Path(__file__).parent))
    from second_records import ENTRY, Record, is_all_bytes, is_bytes

STEPS, ROUNDS, SIGNATURES = 1024, 64, 8
STEWARDS, MEMBERS, DECIDED, SPLIT = 64, 512, 256, 64
QUOTAS = {"urgent": 2000, "everyday": 20000, "library": 5000}


@dataclass
class Chain:
    """The ids of the chain, the current step's fields, what is kept, and who was ever a steward."""

    ids: list[bytes]
    fields: dict[str, Any]
    kept: set[bytes] = field(default_factory=set)
    voters: set[bytes] = field(default_factory=set)

    @property
    def stewards(self) -> set[bytes]:
        """Who decides."""
        return {*self.fields["stewards"]}

    @property
    def named(self) -> set[bytes]:
        """Whom the current step names."""
        return self.stewards | {*self.fields.get("members", ())}

    @property
    def vouches(self) -> int:
        """How many vouches let a town in; 0: none do."""
        rules = self.fields.get("rules")
        said = rules.get("vouches") if isinstance(rules, dict) else None
        return said if type(said) is int and said >= 1 else 0

    def quota(self, word: str) -> int:
        """How many documents of a town a lane takes."""
        told = self.fields.get("quotas")
        said = told.get(word) if isinstance(told, dict) else None
        return said if type(said) is int and said >= 0 else QUOTAS[word]

    def supports(self, act: Record) -> bool:
        """Whether an act rests on the current step, or on an undecided one before."""
        cites = act.cites or (self.ids[0],)
        if self.ids[-1] in cites:
            return True
        return len(self.ids) > 1 and self.ids[-2] in cites and act.id not in self.fields.get("decides", ())


def is_state(fields: dict[str, Any]) -> bool:
    """Whether these fields carry the state of a federation."""
    return (
        isinstance(fields.get("name"), str)
        and is_all_bytes(fields.get("stewards"), 32, STEWARDS)
        and bool(fields["stewards"])
        and is_all_bytes(fields.get("members", []), 32, MEMBERS)
    )


def is_step(record: Record) -> bool:
    """Whether a record is a step that can be read."""
    fields = record.fields
    return (
        (record.kind, record.op, len(record.federations)) == ("federation.step", ENTRY, 1)
        and is_state(fields)
        and is_bytes(fields.get("parent"), 32)
        and type(fields.get("round", 1)) is int
        and is_all_bytes(fields.get("decides", []), 32, DECIDED)
        and is_all_bytes(fields.get("split", []), 32, SPLIT)
    )


def is_signature(record: Record) -> bool:
    """Whether a record is a signature that can be read."""
    shape = (record.kind, record.op, len(record.federations)) == ("federation.sign", ENTRY, 1)
    return shape and is_bytes(record.fields.get("step"), 32)


def follow(charter: Record, records: Iterable[Record], lapsed: set[bytes]) -> Chain:
    """The chain of a charter's federation, from records that keys of their towns signed."""
    ours = [r for r in records if r.federations == (charter.id[:16],)]
    steps = {r.id: r for r in ours if is_step(r)}
    signs = [r for r in ours if is_signature(r)]
    chain = Chain([charter.id], charter.fields)
    while True:
        chain.voters |= chain.stewards
        parent = chain.ids[-1]
        below = [s for s in steps.values() if s.fields["parent"] == parent] if len(chain.ids) < STEPS else []
        chosen = choose(chain, below, signs, lapsed)
        if chosen is None:
            return chain
        chain.ids.append(chosen.id)
        chain.fields = chosen.fields


def choose(chain: Chain, below: list[Record], signs: list[Record], lapsed: set[bytes]) -> Record | None:
    """The step that follows, if one counts; what is kept is added to the chain."""
    stewards = chain.stewards
    below = [s for s in below if s.town in stewards and 1 <= turn(s) <= ROUNDS]
    by_id = {s.id: s for s in below}
    # (steward, step) -> record
    votes: dict[tuple[bytes, bytes], bytes] = {}
    for sign in sorted(signs, key=lambda each: (each.id in lapsed, each.id), reverse=True):
        if sign.town in stewards and sign.fields["step"] in by_id:
            votes[sign.town, sign.fields["step"]] = sign.id
    votes |= {(s.town, s.id): s.id for s in below}
    # record -> (steward, step): all by which somebody has voted, more than one for a vote perhaps.
    said = {each.id: (each.town, each.fields["step"]) for each in signs}
    said = {id_: vote for id_, vote in said.items() if vote in votes and by_id[vote[1]].town != vote[0]}
    said |= {s.id: (s.town, s.id) for s in below}
    majority = len(stewards) // 2 + 1
    opened = {
        s.id
        for s in below
        if turn(s) == 1
        or shows_over(
            {
                vote
                for id_, vote in said.items()
                if turn(by_id[vote[1]]) == turn(s) - 1 and id_ in s.fields.get("split", ())
            },
            len(stewards),
            majority,
        )
    }
    total = Counter(step for _, step in votes if step in opened)
    left: dict[tuple[bytes, bytes], bytes] = {}
    places: Counter[tuple[bytes, int, bool]] = Counter()
    for step in sorted(opened, key=lambda s: (-total[s], s)):
        mine = {vote: id_ for vote, id_ in votes.items() if vote[1] == step}
        taken = {(town, turn(by_id[step]), id_ in lapsed): (town, step) for (town, _), id_ in mine.items()}
        taken = {place: vote for place, vote in taken.items() if places[place] < SIGNATURES}
        if not all(votes[vote] in lapsed for vote in taken.values()):
            places.update(taken.keys())
            left |= {vote: votes[vote] for vote in taken.values()}
    shown = {id_ for _, step in left for id_ in by_id[step].fields.get("split", ())}
    for id_, (_, step) in said.items():
        if id_ in shown or id_ in left.values():
            chain.kept |= {step, id_}
    number_of = Counter(step for _, step in left)
    counting = [step for step, number in number_of.items() if number >= majority]
    if len(counting) > 1:
        present = {town for (town, _), id_ in left.items() if id_ not in lapsed}
        fair = [vote for vote, id_ in left.items() if id_ not in lapsed or vote[0] not in present]
        turns = Counter((town, turn(by_id[step])) for town, step in fair)
        twice = {town for (town, _), times in turns.items() if times > 1}
        number_of = Counter(step for town, step in fair if town not in twice)
    counting.sort(key=lambda step: (-number_of[step], -turn(by_id[step]), step))
    return by_id[counting[0]] if counting else None


def shows_over(votes: set[tuple[bytes, bytes]], stewards: int, majority: int) -> bool:
    """Whether no step can reach a majority beside these votes."""
    most = max(Counter(step for _, step in votes).values(), default=0)
    return most + stewards - len({town for town, _ in votes}) < majority


def turn(step: Record) -> int:
    """The round of a step."""
    return int(step.fields.get("round", 1))
