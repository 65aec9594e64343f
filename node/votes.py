"""What a town has signed as a steward, where its key is taken back: what of it stays, and what falls.

A town key that takes over keeps what its town decided, unless the operator says that a thief did it: so no
honest rotation undoes anything by accident. A vote that is not kept has lapsed, and a step for which no
other steward stands falls with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.errors import NotFound
from protocol.ids import FederationId, RecordId
from protocol.record import STEP, Record
from sync.stated import signature_of

if TYPE_CHECKING:
    from node.store import Reader


PREFIX_CHARS_MIN: Final = 4
"""So many characters of a step's id stand for it where they fit one only."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What the own town has signed of one step.

    Attributes:
        records: The step or the signature.
        born_s: When that was, by its own words.
        decided: The step is on the chain; else it is still being decided.
        falls: Without this vote the step counts no more, for nobody else stands for it.
    """

    federation: FederationId
    step: RecordId
    records: tuple[RecordId, ...]
    born_s: int
    decided: bool
    falls: bool


def votes_of(reader: Reader) -> list[Vote]:
    """Return all that stands of what the own town has signed and its federations keep, the newest first."""
    found, authority = list[Vote](), reader.authority()
    for adopted in authority.federations.values():
        of_step = defaultdict[RecordId, list[Record]](list)
        for record in reader.records(sorted(adopted.chain.kept)).values():
            said = None if record.header.kind == STEP else signature_of(record)
            of_step[record.id if said is None else said.step].append(record)
        decided = {step.id for step in adopted.chain.steps}
        for step, records in of_step.items():
            standing = [
                each for each in records if authority.may_write(each.header.town, each.header.device, each.id)
            ]
            ours = [each for each in standing if each.header.town == reader.own_town]
            if ours:
                is_decided, is_alone = step in decided, len(ours) == len(standing)
                ids = tuple(sorted(each.id for each in ours))
                born_s = min(each.header.born for each in ours)
                found.append(Vote(adopted.id, step, ids, born_s, is_decided, is_decided and is_alone))
    return sorted(found, key=lambda vote: (-vote.born_s, vote.step))


def voided(votes: Iterable[Vote], prefixes: Sequence[str]) -> list[Vote]:
    """Return the votes on the steps that an operator names by the beginning of their ids.

    Raises:
        NotFound: None of these steps begins so, or several do.
    """
    every, found = list(votes), list[Vote]()
    for prefix in prefixes:
        fits = [vote for vote in every if vote.step.hex().startswith(prefix.strip().casefold())]
        if len(prefix.strip()) < PREFIX_CHARS_MIN or len(fits) != 1:
            says = f"{len(fits) or 'no'} steps that this town has signed begin with {prefix[:64]}"
            raise NotFound(f"{says}: hedgerow key rotate names them before it asks")
        found += fits
    return found


def kept(chosen: Iterable[RecordId], votes: Collection[Vote], void: Collection[Vote]) -> list[RecordId]:
    """Return what stays of a town key: what was chosen and what decisions rest on, but for what is voided."""
    gone = {id for vote in void for id in vote.records}
    decided = (id for vote in votes if vote.decided for id in vote.records)
    return [id for id in dict.fromkeys((*chosen, *decided)) if id not in gone]
