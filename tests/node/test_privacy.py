"""What is private is nowhere else: on no wire, on no other town's disk, in no log, page or export."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from node import beginnings
from node.backup import write_backup
from node.beginnings import SavedKey, Town
from node.daemon import Daemon
from node.intake import Draft
from node.invitations import Invitations, read_code
from node.links import Links
from node.store.shelves import KEPT_S
from node.transport.auth import Identity
from node.transport.channel import Channel
from protocol.encoding import Value
from protocol.ids import FederationId, TownId, home_id
from protocol.record import Record
from tests.canary import traces, traces_in
from tests.node.test_daemon import Valley, agree, digests, federate, post, until
from tests.tap import Tap, is_websocket, traces_on_wire

OPEN = "Wagtail for everybody 8801"
SEALED = "Kestrel insulin for Mair 8802"
HOME = "Bittern under the doormat 8803"
CANARIES = (OPEN, SEALED, HOME)
STRANGERS = (TownId(bytes(32)), TownId(bytes(32)))
"""Between whom goes what is said before it is known who is there."""


@pytest.fixture
async def town_land(tmp_path: Path) -> AsyncIterator[Valley]:
    """A place for towns, left tidy."""
    async with AsyncExitStack() as stack:
        yield Valley(tmp_path, stack)


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[TownId, TownId], list[bytes]]:
    """Every frame that any node sends, as it is before the channel encrypts it, by the towns at both ends."""
    sent = defaultdict[tuple[TownId, TownId], list[bytes]](list)
    between = dict[Channel, tuple[TownId, TownId]]()
    admit, send = Links.admit, Channel.send

    async def note_towns(self: Links, channel: Channel, identity: Identity, *more: Any) -> Any:
        between[channel] = (self._own_town, identity.town)
        return await admit(self, channel, identity, *more)

    async def note(self: Channel, frame: bytes) -> None:
        sent[between.get(self, STRANGERS)].append(frame)
        await send(self, frame)

    monkeypatch.setattr(Links, "admit", note_towns)
    monkeypatch.setattr(Channel, "send", note)
    return sent


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The codes of all invitations that any node writes."""
    written: list[str] = []
    invite = Invitations.invite

    async def note(self: Invitations, *more: Any, **named: Any) -> Any:
        made = await invite(self, *more, **named)
        written.append(made[0])
        return made

    monkeypatch.setattr(Invitations, "invite", note)
    return written


async def claim(node: Daemon, keeper: Daemon, federation: FederationId) -> Record:
    """Have a node ask another town for something, with words that only the two may read."""
    fields: dict[str, Value] = {
        "target": bytes(16), "ledger": bytes(16), "milli": 1_000, "unit": "each", "reason": SEALED,
        "contact": SEALED, "by": "Mair",
    }  # fmt: skip
    draft = Draft("claim", fields=fields, federations=(federation,), sealed_to=(keeper.town,))
    return (await node.intake.post([draft]))[0]


async def told(url: str) -> bytes:
    """Everything that a stranger can ask of a node over HTTP."""
    said = b""
    async with aiohttp.ClientSession(url) as session:
        for path in ("/", "/?q=Kestrel", "/?q=Bittern", "/neighbours", "/api/v1/documents", "/api/v1/status"):
            async with session.get(path) as answer:
                assert answer.status == 200
                said += await answer.read()
    return said


async def exported(node: Daemon) -> bytes:
    """All that `hedgerow export` prints."""
    return "\n".join([line async for line in node.board.export()]).encode()


async def test_sealed_words_are_nowhere_in_clear_and_home_words_stay_at_home(
    town_land: Valley,
    frames: dict[tuple[TownId, TownId], list[bytes]],
    codes: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On the wire as it is and before it is encrypted, on disks while nodes run and after, in logs, exports,
    backups and pages. The asker's town has a second board, with which it shares what never leaves the town.
    """
    caplog.set_level(logging.DEBUG)
    town_land.relay_kind = Tap
    keeper, asker, other = [await town_land.settle(name) for name in ("Roanne", "Charlieu", "Ambierle")]
    federation = await federate(keeper, asker, other)
    saved = SavedKey(asker.data / "keys" / "town.key", town_land.town_secrets["Charlieu"])
    await beginnings.begin(town_land.folder / "Second", Town(""), saved=saved, listen="127.0.0.1:0")
    second = await town_land.run("Second")
    await second.add_peer(asker.urls[0], approve=True)
    asked = await claim(asker, keeper, federation)
    await post(asker, OPEN)
    await asker.board.post("need", {"title": HOME}, audience="town")
    towns = (keeper, asker, other, second)
    await agree(federation, *towns)
    await until(lambda: digests(second, home_id(asker.town)) == digests(asker, home_id(asker.town)))
    held = await keeper.store.read(lambda reader: reader.records([asked.id]))
    for node in (keeper, second):
        assert (node.seals.open(held[asked.id]) or {}).get("reason") == SEALED
    assert other.seals.open(held[asked.id]) is None
    _frames_say(frames, asker.town)
    ours = {asker: {OPEN, HOME}, second: {OPEN, HOME}}
    for name, node in zip(("Roanne", "Charlieu", "Ambierle", "Second"), towns, strict=True):
        assert traces(await told(town_land.relays[name].url), CANARIES) == {OPEN}
        assert traces(await exported(node), CANARIES) == ours.get(node, {OPEN})
        write_backup(node.data, town_land.folder / f"{name}.tar", town="aa", made_ms=1, with_keys=True)
        assert traces((town_land.folder / f"{name}.tar").read_bytes(), CANARIES) == ours.get(node, {OPEN})
    # The journal of what was written last lies beside the database while a node runs.
    for node in (keeper, other):
        assert set().union(*traces_in(node.data, CANARIES).values()) == {OPEN}
    for node in towns:
        await node.stop()
    for node in towns:
        assert traces_in(node.data, CANARIES) == {"hedgerow.db": ours.get(node, {OPEN})}
    taps = [relay for relay in town_land.relays.values() if isinstance(relay, Tap)]
    assert any(is_websocket(bytes(stream)) for tap in taps for stream in tap.streams)
    # What is for everybody is on pages; on links nothing at all can be read, the invitations among it.
    assert len(codes) == 2
    secrets = [read_code(code).secret for code in codes]
    assert traces_on_wire(taps, [*CANARIES, *codes]) == (set(), {OPEN})
    assert not any(secret in stream for secret in secrets for tap in taps for stream in tap.laid_open())
    hidden = (SEALED, HOME, *codes, *(secret.hex() for secret in secrets))
    assert traces(caplog.text.encode(), hidden) == set()


def _frames_say(frames: dict[tuple[TownId, TownId], list[bytes]], asker: TownId) -> None:
    """Check that what never leaves a town is in frames between its own boards, and in no others."""
    assert traces(b"\n".join(frames[asker, asker]), CANARIES) >= {HOME}
    others = [frame for towns, sent in frames.items() if towns != (asker, asker) for frame in sent]
    assert traces(b"\n".join(others), CANARIES) == {OPEN}
    assert all(traces(b"\n".join(sent), (SEALED,)) == set() for sent in frames.values())


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
