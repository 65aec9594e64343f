"""Asking and answering: claims sealed to two towns, and the ledger that answers them, on real stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from node.errors import NotFound
from node.promises.codes import short_code
from node.promises.views import Stage
from tests.node.conftest import START_MS
from tests.node.valley import BOXES, Valley, boxes, opened

DAY_S = 86_400
START_S = START_MS // 1_000


@pytest.fixture(params=["memory", "sqlite"])
async def valley(request: Any, tmp_path: Path) -> AsyncIterator[Valley]:
    """Roanne, Charlieu and Ambierle."""
    async for each in opened(tmp_path if request.param == "sqlite" else None):
        yield each


async def offered(valley: Valley, **fields: Any) -> str:
    """Post an offer of 24 boxes in Roanne and let everybody hear of it."""
    given = {"title": "Boxes of apples", "quantity": BOXES, **fields}
    posted = await valley.sides[0].board.post("offer", given, by="alice")
    await valley.meet(*valley.sides)
    return posted.address


async def test_a_claim_is_asked_answered_and_handed_over_and_each_side_is_told(valley: Valley) -> None:
    roanne, charlieu, ambierle = valley.sides
    address = await offered(valley)
    charlieu.heard[roanne.town.id] = START_MS - 3_600_000
    claimed = await charlieu.claims.ask(
        address, quantity=boxes(2), reason="Four children", by="bob", contact="06 12", urgency="soon"
    )
    view = await charlieu.claims.show(claimed.address)
    assert (view.stage, view.waits_for, view.ours) == (Stage.ASKED, roanne.town.id, True)
    assert view.says.startswith("Waits for Roanne's node, last heard ")
    assert view.receipt_code == claimed.code
    await valley.meet(*valley.sides)
    with pytest.raises(NotFound):
        await ambierle.claims.show(claimed.address)
    there = await roanne.claims.show(claimed.address)
    assert (there.reason, there.contact, there.by, there.urgency) == ("Four children", "06 12", "bob", 1)
    assert (there.receipt_code, there.says) == ("", "Waits for an answer here.")
    accepted = await roanne.claims.accept(claimed.address, hold_until=START_S + DAY_S)
    assert accepted.says.startswith("Accepted: 2 boxes are kept for bob until ")
    await valley.meet(*valley.sides)
    assert (await charlieu.claims.show(claimed.address)).says.startswith("Accepted: 2 boxes are kept for you")
    ledger = await ambierle.claims.ledger_of(address)
    assert ledger is not None
    assert (ledger.free, ledger.promised, ledger.capacity, ledger.unit) == (22_000, 2_000, 24_000, "box")
    assert (ledger.claims, ledger.says) == ((), "22 boxes of 24 boxes are free.")
    handed = await roanne.claims.hand_over(claimed.address, code=short_code(claimed.code))
    assert (handed.stage, handed.code) == (Stage.HANDED_OVER, "")
    await valley.meet(*valley.sides)
    received = await charlieu.claims.receive(claimed.address, ok="partly")
    assert (received.stage, received.received) == (Stage.HANDED_OVER, "partly")
    again = await charlieu.claims.receive(claimed.address, ok="yes")
    assert again.received == "yes"
    await valley.meet(*valley.sides)
    assert (await roanne.claims.show(claimed.address)).received == "yes"
