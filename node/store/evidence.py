"""What one side presents before it reconciles: the records that make two towns members of a federation.

First the charter, then the steps and signatures that led from it to the state of today, the oldest first, for
nothing of them can be judged without what is before it, and before them the rotations by which later town
keys signed; then what was done about the two towns, their consents, and what is said of the keys of everybody
who signed any of it. It goes out in parts that each begin where the one before has ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from protocol.ids import FederationId, RecordId, TownId
from protocol.limits import EVIDENCE_BYTES_MAX
from protocol.record import CHARTER, SIGN, STEP, Record
from sync.authority import JOIN, founded_by, named_in
from sync.devices import DEVICE, KEEP, REVOKE, ROTATE, listed
from sync.membership import ADMIT, VOUCH
from sync.stated import signature_of, step_of


def evidence_of(
    governing: Iterable[Record],
    federation: FederationId,
    towns: Collection[TownId],
    after: RecordId | None = None,
) -> tuple[tuple[bytes, ...], bool]:
    """Return what shows these towns as members, as much as one may present at once; and if there is more.

    Args:
        governing: Held records of the kinds that authority is made of, in any order.
        federation: What they are members of.
        towns: Those whose membership is to be shown.
        after: Begin behind this record, and if it is not among them show nothing; None: with the charter.
    """
    by_kind = defaultdict[str, list[Record]](list)
    for record in governing:
        by_kind[record.header.kind].append(record)
    charters = [each for each in by_kind[CHARTER] if each.id.startswith(federation)]

    def listing(*kinds: str) -> list[Record]:
        return [each for kind in kinds for each in by_kind[kind] if each.header.federations == (federation,)]

    decided = _in_order(charters, listing(STEP), listing(SIGN))
    acts = [each for each in listing(ADMIT, VOUCH) if named_in(each) in towns]
    joins = [each for each in listing(JOIN) if each.header.town in towns]
    signers = {each.header.town for each in (*charters, *acts)} | _stewards(charters, decided) | {*towns}

    def of_signers(kind: str) -> list[Record]:
        return [each for each in by_kind[kind] if each.header.town in signers]

    shown = [*charters, *of_signers(ROTATE), *decided, *acts, *joins]
    shown += [*of_signers(REVOKE), *of_signers(DEVICE)]
    # Of the lists, which may be long, only those that keep something of all this.
    ids = {each.id for each in shown}
    shown += [each for each in of_signers(KEEP) if ids & listed(each.body)]
    places = {each.id: place for place, each in enumerate(shown, 1)}
    start = 0 if after is None else places.get(after, len(shown))
    found: list[bytes] = []
    size = 0
    for record in shown[start:]:
        size += len(record.raw)
        if size > EVIDENCE_BYTES_MAX:
            return tuple(found), True
        found.append(record.raw)
    return tuple(found), False


def _in_order(charters: Iterable[Record], steps: Iterable[Record], signs: Iterable[Record]) -> list[Record]:
    """Return steps and signatures from the charter on; what nothing leads to is left out."""
    children = defaultdict[RecordId | None, list[Record]](list)
    for step in steps:
        said = step_of(step)
        children[said.parent if said else None].append(step)
    signed = defaultdict[RecordId | None, list[Record]](list)
    for sign in signs:
        signature = signature_of(sign)
        signed[signature.step if signature else None].append(sign)
    found, parents = list[Record](), [each.id for each in charters]
    while parents:
        below = _by_id(step for parent in parents for step in children[parent])
        for step in below:
            found += [step, *_by_id(signed[step.id])]
        parents = [step.id for step in below]
    return found


def _by_id(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda each: each.id)


def _stewards(charters: Iterable[Record], decided: Iterable[Record]) -> set[TownId]:
    """Return everybody who may have admitted one of them: the stewards of the charter and of every step."""
    states = [founded_by(each) for each in charters]
    states += [step.state for each in decided if each.header.kind == STEP and (step := step_of(each))]
    return {town for state in states if state is not None for town in state.stewards}
