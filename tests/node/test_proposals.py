"""What a step would change: worked out from what is asked, and said in plain sentences."""

from __future__ import annotations

from typing import Any

import pytest

from node.errors import InvalidRequest
from node.proposals import Change, changes_of, fields_of
from protocol.encoding import Value
from protocol.ids import Op, TownId
from protocol.limits import MEMBERS_MAX
from protocol.record import STEP, Record
from sync.authority import Federation, resolve
from sync.stated import step_of
from tests.sync.world import Town, federation_of

OWN, BEE, SEA, ELM, FAR = (Town(name) for name in ("own", "bee", "sea", "elm", "far"))
CHARTER = OWN.charter("Along the river", [OWN, BEE], [SEA, ELM], quotas=(9, 9, 9))
RIVER = federation_of(CHARTER)
SUSPENDED, ADMITTED = OWN.suspend(RIVER, ELM), BEE.admit(RIVER, FAR)
NAMES = {town.id: town.name.capitalize() for town in (OWN, BEE, SEA, ELM)}


def federation(*more: Any) -> Federation:
    """Return the federation as its charter and these acts make it."""
    certificates = [town.certificate() for town in (OWN, BEE)]
    return resolve(OWN.id, [CHARTER, *certificates, *more]).federations[RIVER]


def says(before: Federation, change: Change) -> list[str]:
    """Return what a change says about itself."""
    fields: dict[str, Value] = fields_of(before, change) | {"parent": bytes(CHARTER.id), "round": 1}
    step = step_of(OWN.write(STEP, op=Op.ENTRY, fields=fields, federations=[RIVER], device=0))
    assert step is not None
    return changes_of(before, step, lambda town: NAMES.get(town, ""))


def of(*towns: Town) -> frozenset[TownId]:
    """Return these towns."""
    return frozenset(town.id for town in towns)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (Change(remove=of(BEE)), ["Bee: put out"]),
        (Change(remove=of(SEA, ELM)), ["Elm, Sea: put out"]),
        (Change(lower=of(BEE)), ["Bee: steward no more"]),
        (Change(raise_=of(SEA, FAR)), [f"Sea, {FAR.id.hex()[:8]}: steward from then on"]),
        (Change(add=of(FAR)), [f"{FAR.id.hex()[:8]}: member for good"]),
        (Change(name=" Up "), ["the name becomes Up"]),
        (Change(vouches=3), ["3 vouches of members let a town in"]),
        (Change(quotas={"everyday": 1_000}), ["a town may have 1,000 everyday documents, not 9"]),
    ],
    ids=str,
)
def test_a_step_says_what_it_would_change(change: Change, told: list[str]) -> None:
    """In sentences that name the towns."""
    assert [sorted(each.split(": ")[0].split(", ")) for each in says(federation(), change)] == [
        sorted(each.split(": ")[0].split(", ")) for each in told
    ]
    assert [each.split(": ")[-1] for each in says(federation(), change)] == [
        each.split(": ")[-1] for each in told
    ]


def test_what_was_done_since_the_last_step_is_decided_by_the_next() -> None:
    """Who was admitted belongs for good, who is suspended is put out unless the step names it."""
    now = federation(SUSPENDED, ADMITTED)
    fields = fields_of(now, Change())
    assert fields["decides"] == sorted([SUSPENDED.id, ADMITTED.id])
    assert fields["members"] == sorted(town.id for town in (OWN, BEE, SEA, FAR))
    assert "Elm: suspended so far, let in again" in says(now, Change(add=of(ELM)))
    assert says(federation(SUSPENDED), Change()) == ["Elm: suspended so far, put out for good"]
    gone = OWN.suspend(RIVER, FAR)
    told = says(federation(gone), Change(add=of(FAR)))
    assert f"{FAR.id.hex()[:8]}: suspended so far, let in again" in told


@pytest.mark.parametrize(
    "acts", [[ADMITTED], [SUSPENDED], [ADMITTED, SUSPENDED], [OWN.suspend(RIVER, FAR)]], ids=str
)
def test_a_proposal_says_what_it_would_change_now(acts: list[Record]) -> None:
    """What was done beside after it was written, and what it does not decide, goes on when it counts."""
    fields: dict[str, Value] = fields_of(federation(), Change(name="Up")) | {"parent": bytes(CHARTER.id)}
    written = OWN.write(STEP, op=Op.ENTRY, fields=fields, federations=[RIVER], device=0)
    step, now = step_of(written), federation(*acts)
    assert step is not None
    assert changes_of(now, step, lambda town: "") == ["the name becomes Up"]
    then = federation(*acts, written, BEE.sign(written))
    assert (then.name, then.members, then.acts.suspended) == ("Up", now.members, now.acts.suspended)


@pytest.mark.parametrize(
    "change",
    [
        Change(),
        Change(add=of(SEA), raise_=of(BEE), name="Along the river", vouches=0),
        Change(remove=of(OWN, BEE)),
        Change(lower=of(OWN, BEE)),
        Change(add=frozenset(TownId(number.to_bytes(32, "big")) for number in range(MEMBERS_MAX))),
    ],
    ids=["nothing", "as it is", "nobody left", "no steward left", "too many"],
)
def test_what_would_be_no_step_is_refused(change: Change) -> None:
    """With one line that says why."""
    with pytest.raises(InvalidRequest):
        fields_of(federation(), change)
