"""Requests in every state at one town, some of them to and from a neighbour that is a node of its own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from node.intake import Draft
from protocol.encoding import Value
from protocol.ids import DocId, Lane, Op
from protocol.record import Record, make
from protocol.sealing import derive, seal
from tests.node.conftest import START_MS, TestNode
from tests.node.valley import Side, boxes

START_S = START_MS // 1_000
DAY_S = 86_400
TODAY_S = START_S // DAY_S * DAY_S
_STAMPS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Filled:
    """Addresses: of what was posted, and of the claims by the state that they are in."""

    posts: dict[str, str]
    claims: dict[str, str]
    neighbour: Side


async def neighbour_of(node: TestNode) -> Side:
    """Return the neighbour as a node of its own, which knows what the town knows."""
    side = Side(node.neighbour, node.clock)
    await side.hear([node.neighbour.certificate.raw, node.neighbour.profile.raw])
    await meet(node, side)
    await side.intake.post([Draft("federation.join", Op.PUT, {}, (node.federation,))])
    await meet(node, side)
    node._authority = await node.intake.authority()
    return side


async def meet(node: TestNode, side: Side) -> None:
    """Let both tell each other all that leaves a town."""
    from tests.node.valley import _is_shared

    rows = await node.store.read(lambda reader: reader.export(0, 1_000_000))
    await side.hear([raw for _, raw in rows if _is_shared(raw)])
    await node.intake.accept(await side.shared())


def sealed_claim(node: TestNode, target: DocId, ledger: DocId, number: int, **more: Value) -> Record:
    """Return a claim on one box as a neighbour writes it who says what it likes; by its number the same
    claim anew."""
    stamp = next(_STAMPS)
    fields: dict[str, Value] = {"target": target, "ledger": ledger, "milli": 1_000, "unit": "box"}
    key = derive(node.own.key.seed, 0)
    body = seal(
        fields | {"code": "00000000"} | more,
        [(node.own.id, key.public)],
        town=node.neighbour.id,
        kind="claim",
        salt=stamp.to_bytes(16, "big"),
        chance=stamp.to_bytes(32, "big"),
    )
    return make(
        node.neighbour.device,
        town=node.neighbour.id,
        epoch=b"evil",
        counter=stamp,
        stamp=(START_MS - 3_600_000 + stamp) << 16,
        kind="claim",
        lane=Lane.EVERYDAY,
        federations=[node.federation],
        born=START_S - 3_600,
        expires=START_S + 60 * DAY_S,
        nonce=number.to_bytes(8, "big"),
        op=Op.PUT,
        body=body,
    )


async def fill_with_requests(node: TestNode) -> Filled:
    """Post one of each that can be asked for, and ask for it until every state is there."""
    side = await neighbour_of(node)
    claims: dict[str, str] = {}
    offer = await node.board.post(
        "offer", {"title": "Boxes of apples", "quantity": boxes(24), "claim_max": boxes(6)}, by="alice"
    )
    need = await node.board.post("need", {"title": "Hands to stack sandbags", "people": 6}, by="alice")
    item = await node.board.post(
        "item", {"title": "Cargo bicycle", "loan_days": 4, "buffer_days": 1, "approval": "manual"}, by="alice"
    )
    event = await node.board.post(
        "event",
        {
            "title": "Pruning fruit trees",
            "start": "2026-11-07T14:00",
            "end": "2026-11-07T17:00",
            "tz": "Europe/Paris",
            "rrule": "FREQ=WEEKLY;COUNT=3",
            "seats": 12,
            "join": "approval",
        },
        by="alice",
    )
    await meet(node, side)
    act, there = node.claims, side.claims

    async def ask(name: str, address: str, by: str = "bob", **asked: Any) -> str:
        claims[name] = (await act.ask(address, by=by, **asked)).address
        return claims[name]

    # Words of people are sealed to the two towns, and stand on their pages only.
    far = await there.ask(
        offer.address, quantity=boxes(4), reason="For the school kitchen.\nWe fetch them.",
        contact="06 12 34 56 78", urgency="urgent", by="Marguerite",
    )  # fmt: skip
    claims["asked from away"] = far.address
    await meet(node, side)
    await ask("asked", offer.address, quantity=boxes(2), reason="Jam for the winter", urgency="soon")
    await act.accept(await ask("accepted", offer.address, "carol", quantity=boxes(3)))
    await act.accept(await ask("handed over", offer.address, "dora", quantity=boxes(1)))
    await act.hand_over(claims["handed over"])
    await act.decline(await ask("declined", offer.address, "emil", quantity=boxes(6)))
    await act.put_on_list(await ask("waiting", offer.address, "frida", quantity=boxes(5)))
    await ask("help", need.address, quantity={"milli": 2_000, "unit": "each"})
    lent = await ask("lent", item.address, start=TODAY_S + 2 * DAY_S, end=TODAY_S + 4 * DAY_S)
    await act.accept(lent)
    await act.hand_over(lent)
    await act.accept(
        await ask("booked", item.address, "carol", start=TODAY_S + 9 * DAY_S, end=TODAY_S + 12 * DAY_S)
    )
    await act.accept(await ask("seat", event.address, quantity={"milli": 2_000, "unit": "each"}))
    away = await side.board.post("offer", {"title": "Ladders of Charlieu", "quantity": boxes(3)}, by="zoe")
    await meet(node, side)
    await ask("to the neighbour", away.address, quantity=boxes(1), reason="The roof leaks")
    posts = {
        "offer": offer.address, "need": need.address, "item": item.address, "event": event.address,
        "offer away": away.address,
    }  # fmt: skip
    return Filled(posts, claims, side)
