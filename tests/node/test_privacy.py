"""What is private is nowhere else: on no wire, on no other town's disk, in no log, page or export."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from node.daemon import Daemon
from node.intake import Draft
from node.store.transaction import KEPT_S
from node.transport.channel import Channel
from protocol.encoding import Value
from protocol.ids import FederationId
from protocol.record import Record
from tests.canary import traces, traces_in
from tests.node.test_daemon import Valley, agree, federate, post

OPEN = "Wagtail for everybody 8801"
SEALED = "Kestrel insulin for Mair 8802"
HOME = "Bittern under the doormat 8803"
CANARIES = (OPEN, SEALED, HOME)


@pytest.fixture
async def town_land(tmp_path: Path) -> AsyncIterator[Valley]:
    """A place for towns, left tidy."""
    async with AsyncExitStack() as stack:
        yield Valley(tmp_path, stack)


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every frame that any node sends, as it is before the channel encrypts it."""
    sent: list[bytes] = []
    send = Channel.send

    async def note(self: Channel, frame: bytes) -> None:
        sent.append(frame)
        await send(self, frame)

    monkeypatch.setattr(Channel, "send", note)
    return sent


async def claim(node: Daemon, keeper: Daemon, federation: FederationId) -> Record:
    """Have a node ask another town for something, with words that only the two may read."""
    fields: dict[str, Value] = {
        "target": bytes(16), "ledger": bytes(16), "milli": 1_000, "unit": "each", "reason": SEALED,
        "contact": SEALED, "by": "Mair",
    }  # fmt: skip
    draft = Draft("claim", fields=fields, federations=(federation,), sealed_to=(keeper.town,))
    return (await node.intake.post([draft]))[0]


async def told(node: Daemon) -> bytes:
    """Everything that a stranger can ask of a node over HTTP."""
    host, port = node.address
    said = b""
    async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
        for path in ("/", "/?q=Kestrel", "/?q=Bittern", "/neighbours", "/api/v1/documents", "/api/v1/status"):
            async with session.get(path) as answer:
                assert answer.status == 200
                said += await answer.read()
    return said


async def exported(node: Daemon) -> bytes:
    """All that `hedgerow export` prints."""
    return "\n".join([line async for line in node.board.export()]).encode()


async def test_sealed_words_are_nowhere_in_clear_and_home_words_stay_at_home(
    town_land: Valley, frames: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keeper, asker, other = [await town_land.settle(name) for name in ("Roanne", "Charlieu", "Ambierle")]
    federation = await federate(keeper, asker, other)
    asked = await claim(asker, keeper, federation)
    await post(asker, OPEN)
    await asker.board.post("need", {"title": HOME}, audience="town")
    await agree(federation, keeper, asker, other)
    towns = (keeper, asker, other)
    assert traces(b"\n".join(frames), CANARIES) == {OPEN}
    held = await keeper.store.read(lambda reader: reader.records([asked.id]))
    assert (keeper.seals.open(held[asked.id]) or {}).get("reason") == SEALED
    assert other.seals.open(held[asked.id]) is None
    for node in towns:
        assert traces(await told(node), CANARIES) == {OPEN}
        assert traces(await exported(node), CANARIES) == ({OPEN, HOME} if node is asker else {OPEN})
    for node in towns:
        await node.stop()
    for name in ("Roanne", "Ambierle"):
        assert traces_in(town_land.folder / name, CANARIES) == {"hedgerow.db": {OPEN}}
    assert traces_in(town_land.folder / "Charlieu", CANARIES) == {"hedgerow.db": {OPEN, HOME}}
    assert traces("\n".join(caplog.messages).encode(), (SEALED, HOME)) == set()


async def test_what_was_withdrawn_is_not_left_on_the_own_disk(town_land: Valley) -> None:
    """Once its time in the drawer is over, from which a thief's withdrawal can be undone."""
    node = await town_land.settle("Roanne")
    # Long enough for pages of its own, which are free afterwards.
    text = " ".join([HOME] * 100)
    addresses = [
        (await node.board.post("need", {"title": f"Need {number}", "text": text}, audience="town")).address
        for number in range(40)
    ]
    await post(node, OPEN)
    await node.stop()
    data = town_land.folder / "Roanne"
    assert traces_in(data, CANARIES) == {"hedgerow.db": {OPEN, HOME}}
    node = await town_land.run("Roanne")
    for address in addresses:
        await node.board.withdraw(address)
    now_s = node.clock.now_ms() // 1_000
    await node.store.write(lambda tx: tx.tidy(now_s))
    await node.store.write(lambda tx: tx.tidy(now_s + KEPT_S))
    await node.stop()
    assert traces_in(data, CANARIES) == {"hedgerow.db": {OPEN}}
