"""A second device of the keeper's town spoils a ledger; once it is taken back, everything stands again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from node.errors import NotFound, NotKeeper
from node.intake import Draft
from node.promises.shelf import held_of
from node.promises.views import Stage
from protocol.ids import Op
from sync.devices import REVOKE
from sync.ledger import LEDGER, fields_of_entry
from sync.promises import Act, Word
from tests.node.test_claims import second_device
from tests.node.valley import BOXES, Side, Valley, boxes, opened


@pytest.fixture
async def valley() -> AsyncIterator[Valley]:
    """Roanne, Charlieu and Ambierle."""
    async for each in opened(None):
        yield each


async def rival(twin: Side, doc: Any, address: str) -> None:
    """Write other first entries until one has a smaller id than the true one."""
    records = await twin.store.read(lambda reader: held_of(reader, doc))
    first = min(records, key=lambda each: each.header.stamp)
    for milli in range(1_000, 1_064):
        fields = fields_of_entry(1, Word(Act.CAPACITY, milli=milli, unit="box"))
        [record] = await twin.intake.post([Draft(LEDGER, Op.ENTRY, fields, doc=doc)])
        if record.id < first.id:
            return
    raise AssertionError("no such luck")


async def early(twin: Side, doc: Any, address: str) -> None:
    """Write an entry behind the first one, as if it were the keeper."""
    first = min(
        await twin.store.read(lambda reader: held_of(reader, doc)), key=lambda each: each.header.stamp
    )
    fields = fields_of_entry(2, Word(Act.CAPACITY, milli=99_000))
    await twin.intake.post([Draft(LEDGER, Op.ENTRY, fields, doc=doc, cites=(first.id,))])


async def delete(twin: Side, doc: Any, address: str) -> None:
    """Withdraw the ledger itself."""
    await twin.intake.post([Draft(LEDGER, Op.DELETE, doc=doc)])


@pytest.mark.parametrize(
    ("spoil", "stage", "told", "says"),
    [
        (rival, Stage.VOID, "ledger_meddled", "opened one ledger"),
        (early, Stage.ACCEPTED, "ledger_meddled", "that it does not keep"),
        (delete, Stage.ASKED, "ledger_withdrawn", "withdrew a ledger"),
    ],
)
async def test_a_ledger_that_another_device_spoilt_stands_again_when_that_one_is_taken_back(
    valley: Valley, spoil: Any, stage: Stage, told: str, says: str
) -> None:
    roanne, charlieu, ambierle = valley.sides
    twin = await second_device(valley)
    posted = await roanne.board.post("offer", {"title": "Boxes of apples", "quantity": BOXES}, by="alice")
    await valley.meet(*valley.sides, twin)
    claims = [
        (await side.claims.ask(posted.address, quantity=boxes(2))).address for side in (charlieu, ambierle)
    ]
    await valley.meet(*valley.sides, twin)
    await roanne.claims.accept(claims[0])
    await valley.meet(*valley.sides, twin)
    doc = (await roanne.ledger(posted.address)).doc
    await spoil(twin, doc, posted.address)
    await valley.meet(*valley.sides, twin)
    for side in valley.sides:
        await side.keep()
    assert (await charlieu.claims.show(claims[0])).stage is stage
    incidents = await roanne.store.read(roanne.incidents.list)
    assert {each.code for each in incidents} == {told}
    assert all(says in each.says and "hedgerow key revoke" in each.says for each in incidents)
    assert all(twin.intake.device.hex()[:8] in each.says for each in incidents)
    assert set(await charlieu.told()) == ({told} - {"ledger_withdrawn"}), (
        "other towns see what they can check"
    )
    if stage is not Stage.ACCEPTED:
        with pytest.raises((NotKeeper, NotFound)):
            await roanne.claims.accept(claims[1])
    draft = Draft(REVOKE, Op.ENTRY, {"device": bytes(twin.intake.device)}, key=valley.towns[0].key)
    await roanne.intake.post([draft])
    await valley.meet(*valley.sides)
    await valley.settle(*valley.sides)
    for side in valley.sides:
        ledger = await side.ledger(posted.address)
        assert (ledger.promises.capacity, ledger.promises.promised, ledger.n) == (24_000, 2_000, 2)
        assert (ledger.void, ledger.forks, ledger.keeper) == ({}, (), roanne.intake.device)
    assert (await charlieu.claims.show(claims[0])).stage is Stage.ACCEPTED
    await roanne.claims.accept(claims[1])
    await valley.meet(*valley.sides)
    assert (await ambierle.claims.show(claims[1])).stage is Stage.ACCEPTED
