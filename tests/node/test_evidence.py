"""What a store finds again of what governs: parked steps when authority moves, and evidence for a peer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from protocol.limits import EVIDENCE_BYTES_MAX
from protocol.record import Record, open_record
from tests.node.stores import open_bench
from tests.sync.world import Town, federation_of

OWN, BEE, SEA, ELM, FAR = (Town(name) for name in ("own", "bee", "sea", "elm", "far"))
CHARTER = BEE.charter("Along the river", [BEE])
RIVER = federation_of(CHARTER)
FIRST = BEE.step(CHARTER, [BEE, SEA, ELM], [OWN], vouches=1)
SECOND = SEA.step(FIRST, [SEA, ELM], [OWN], vouches=1)
GOVERNING = [
    *(town.certificate() for town in (BEE, SEA, ELM, OWN)),
    CHARTER,
    FIRST,
    SECOND,
    ELM.sign(SECOND),
    ELM.admit(RIVER, FAR, on=[SECOND]),
    BEE.rotate(),
    BEE.keep(FIRST, CHARTER, key=BEE.later_key(1)),
]


@pytest.mark.parametrize("which", ["sqlite", "memory"])
@pytest.mark.parametrize("seed", range(4))
def test_steps_that_came_before_anybody_could_tell_are_found_when_the_town_joins(
    which: str, seed: int, tmp_path: Path
) -> None:
    """One by one in any order, of stewards whom only later steps name."""
    bench = open_bench(which, tmp_path)
    order = [*GOVERNING]
    random.Random(seed).shuffle(order)
    for record in order:
        bench.take(record)
    assert not bench.read(lambda reader: reader.authority()).federations
    bench.take(OWN.join(RIVER))
    federation = bench.read(lambda reader: reader.authority()).federations[RIVER]
    assert [step.id for step in federation.chain.steps] == [CHARTER.id, FIRST.id, SECOND.id]
    assert federation.members == {SEA.id, ELM.id, OWN.id, FAR.id}
    held = bench.read(lambda reader: reader.records([each.id for each in GOVERNING]))
    assert held.keys() == {each.id for each in GOVERNING} - {BEE.certificate().id}, "the bee is no member now"
    bench.close()


@pytest.mark.parametrize("which", ["sqlite", "memory"])
def test_evidence_makes_members_of_two_towns_in_the_eyes_of_a_third(which: str, tmp_path: Path) -> None:
    """Charter first, then the steps that lead from it, then admissions, vouches, consents, certificates."""
    vouched = OWN.vouch(RIVER, Town("fen"), on=[SECOND])
    bench = open_bench(which, tmp_path / "here")
    bench.take(*GOVERNING, OWN.join(RIVER), vouched)
    for town in (FAR, Town("fen")):
        shown, _ = bench.read(lambda reader, town=town: reader.evidence(RIVER, town.id))  # type: ignore[misc]
        assert open_record(shown[0]).id == CHARTER.id
        assert sum(map(len, shown)) <= EVIDENCE_BYTES_MAX
        other = open_bench("memory", tmp_path, ELM.id)
        other.take(ELM.join(RIVER), ELM.certificate())
        other.take_raw(*shown)
        authority = other.read(lambda reader: reader.authority())
        assert authority.is_member(RIVER, town.id) and authority.is_member(RIVER, OWN.id)
        other.close()
    bench.close()


@pytest.mark.parametrize("which", ["sqlite", "memory"])
def test_evidence_of_a_long_chain_comes_in_parts(which: str, tmp_path: Path) -> None:
    """The oldest steps first: nothing later can be judged without them; each part begins where one ended."""
    bench = open_bench(which, tmp_path)
    steps: list[Record] = [OWN.charter("Long", [OWN])]
    for number in range(250):
        steps.append(OWN.step(steps[-1], [OWN], name=f"Long {number}"))
    bench.take(OWN.certificate(), *steps)
    federation = federation_of(steps[0])
    shown, more = bench.read(lambda reader: reader.evidence(federation, OWN.id))
    assert more and EVIDENCE_BYTES_MAX - 1_000 < sum(map(len, shown)) <= EVIDENCE_BYTES_MAX
    while more:
        last = open_record(shown[-1]).id
        part, more = bench.read(lambda reader, last=last: reader.evidence(federation, OWN.id, last))  # type: ignore[misc]
        assert sum(map(len, part)) <= EVIDENCE_BYTES_MAX
        shown += part
    ids = [open_record(raw).id for raw in shown]
    assert ids == [each.id for each in (*steps, OWN.certificate())]
    assert bench.read(lambda reader: reader.evidence(federation, OWN.id, SEA.certificate().id)) == ((), False)
    bench.close()
