"""The engine: whatever fails on one link, the others go on, and what failed comes again."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from node import beginnings, links
from node.clock import wall_ms
from node.clones import CLONE
from node.config import read_settings
from node.daemon import Daemon
from node.errors import StorageUnavailable
from node.incidents import NOTICED_OF_ONE
from node.keys import CERTIFICATE, town_record
from node.store import Query
from node.transport.auth import Badge
from node.transport.call import Caller
from node.transport.channel import Channel, LinkFailure, new_static_key
from node.transport.dialer import Reach
from node.transport.link import Link
from protocol.identity import DeviceKey, TownKey
from protocol.ids import DeviceId, FederationId, TownId
from protocol.limits import LINKS_MAX
from sync.events import Effect, Heard, Input, LinkId, TakeIn
from sync.verdict import Verdict

WAIT_S = 60.0
Start = Callable[[str], Any]


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Begin towns and run their nodes."""
    async with AsyncExitStack() as stack:

        async def begin(name: str) -> Daemon:
            data = tmp_path / name
            await beginnings.begin(data, beginnings.Town(name, 46.0, 4.0, "fr"), listen="127.0.0.1:0")
            node = Daemon(data, read_settings(data, {}))
            await node.start()
            stack.push_async_callback(node.stop)
            return node

        yield begin


async def join(first: Daemon, *others: Daemon) -> FederationId:
    """Have the first town found a federation, and the others join it."""
    federation = await first.federations.found("Valley")
    for other in others:
        code, _ = await first.invitations.invite(federation, url_of(first))
        assert (await other.join(code))["state"] == "joined"
    return federation


def url_of(node: Daemon) -> str:
    """Where a node is called."""
    return f"http://{node.address[0]}:{node.address[1]}"


async def post(node: Daemon, title: str) -> None:
    """Post a need."""
    await node.board.post("need", {"title": title})


async def shows(node: Daemon, title: str) -> None:
    """Wait until a board has a title."""
    async with asyncio.timeout(WAIT_S):
        while title not in {
            document.fields.get("title") for document in (await node.board.list(Query(limit=100))).documents
        }:
            await asyncio.sleep(0.01)


async def test_a_full_disk_ends_the_link_and_loses_nothing_and_heals_by_itself(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    roanne, charlieu, ambierle = await start("Roanne"), await start("Charlieu"), await start("Ambierle")
    await join(roanne, charlieu, ambierle)
    accept = charlieu.intake.accept

    async def refuse(raws: Sequence[bytes], source: LinkId, *, sender: TownId) -> tuple[Verdict, ...]:
        raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(charlieu.intake, "accept", refuse)
    await post(roanne, "while the disk is full")
    await until(lambda: any(seen.code == "storage_unavailable" for seen in charlieu.engine.incidents))
    await shows(ambierle, "while the disk is full")
    assert (await charlieu.status())["town"]["name"] == "Charlieu"
    await charlieu.store.write(lambda tx: charlieu.incidents.add(tx, CLONE, "said in keys", b"clone"))
    assert {each["code"] for each in (await charlieu.status())["incidents"]} == {"storage_unavailable"}
    monkeypatch.setattr(charlieu.intake, "accept", accept)
    await shows(charlieu, "while the disk is full")


async def test_a_fault_of_ours_ends_one_link_and_never_the_engine(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    roanne, charlieu = await start("Roanne"), await start("Charlieu")
    await join(roanne, charlieu)
    handle = roanne.engine.hub.handle
    struck: list[Input] = []

    def strike(told: Input, now_ms: int) -> list[Effect]:
        if isinstance(told, Heard) and not struck:
            struck.append(told)
            raise RuntimeError("a fault that a test planted")
        effects: list[Effect] = handle(told, now_ms)
        return effects

    monkeypatch.setattr(roanne.engine.hub, "handle", strike)
    await post(charlieu, "it comes nevertheless")
    await until(lambda: bool(struck))
    await shows(roanne, "it comes nevertheless")


async def test_an_approved_peer_that_babbles_is_dropped_and_nobody_else_is_slowed(start: Start) -> None:
    roanne, charlieu, babbler = await start("Roanne"), await start("Charlieu"), await start("Babbler")
    await join(roanne, charlieu, babbler)
    await babbler.dialer.stop()
    caller = await calling(babbler)
    for noise in (b"", b"\xc1" * 100, b"\x91\x7f", b"\x92\x00" * 1_000):
        channel, _ = await caller.call(url_of(roanne))
        with pytest.raises(LinkFailure):
            for _ in range(1_000):
                await channel.send(noise)
                while True:
                    await channel.receive(0.01)
        await ended(channel)
    await post(charlieu, "still quick")
    await shows(roanne, "still quick")
    assert roanne.links.reach(charlieu.town) is Reach.UP
    await caller.close()


async def calling(node: Daemon) -> Caller:
    """A caller that shows a node's badge and then says whatever a test wants."""
    caller = Caller(static_key=new_static_key(), badge=node._badge, town_of=node._town_of)
    await caller.open()
    return caller


async def ended(channel: Channel) -> None:
    """Read until the other side has closed."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                await channel.receive()
            except LinkFailure:
                break
    await channel.close()


async def test_a_stranger_that_says_nothing_after_its_name_is_let_go(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "HANDSHAKE_S_MAX", 0.1)
    roanne, stranger = await start("Roanne"), await start("Nowhere")
    await roanne.federations.found("Valley")
    caller = await calling(stranger)
    channel, _ = await caller.call(url_of(roanne))
    await until(lambda: bool(roanne.links.live))
    await ended(channel)
    await until(lambda: not roanne.links.live)
    await caller.close()


async def test_a_node_that_is_being_brought_back_approves_no_stranger(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "HANDSHAKE_S_MAX", 0.1)
    lost, stranger = await start("Lost"), await start("Nowhere")
    lost.recovery.is_active = True
    await stranger.federations.found("Elsewhere")
    await stranger.peers.approve(lost.town, urls=[url_of(lost)])
    await until(lambda: lost.links.count > 0)
    await until(lambda: not lost.links.live)
    assert lost.peers.all() == []
    assert lost.recovery.is_active
    await lost.federations.found("Here")
    assert not lost.recovery.is_active


async def test_links_are_bounded_in_all(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "LINKS_MAX", 1)
    assert LINKS_MAX > 1
    roanne, charlieu, stranger = await start("Roanne"), await start("Charlieu"), await start("Nowhere")
    await join(roanne, charlieu)
    caller = await calling(stranger)
    channel, _ = await caller.call(url_of(roanne))
    await ended(channel)
    assert [link.identity.town for link in roanne.links.live.values()] == [charlieu.town]
    await caller.close()


async def test_a_crowd_of_strangers_gives_way_to_a_neighbour(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "LINKS_MAX", 4)
    monkeypatch.setattr(links, "STRANGERS_MAX", 3)
    roanne, charlieu = await start("Roanne"), await start("Charlieu")
    await join(roanne, charlieu)
    callers = [Caller(static_key=new_static_key(), badge=new_stranger(), town_of=no_town) for _ in range(6)]
    channels: list[Channel] = []
    for caller in callers:
        await caller.open()
        channels.append((await caller.call(url_of(roanne)))[0])
    await until(lambda: len(roanne.links.live) == 4)
    await charlieu._connect(roanne.town, url_of(roanne))
    await post(roanne, "neighbours come first")
    await shows(charlieu, "neighbours come first")
    assert roanne.links.reach(charlieu.town) is Reach.UP
    # Nor do they push what it is the cause of out of the operator's sight, whatever names they take.
    for town in (charlieu.town, *(TownId(secrets.token_bytes(32)) for _ in range(NOTICED_OF_ONE + 1))):
        roanne.engine._note_incident(town, "invitation_unknown", "an invitation was refused")
    seen = [each["town"] for each in (await roanne.status())["incidents"]]
    assert seen[0] == charlieu.town.hex() and len(seen) == NOTICED_OF_ONE + 1
    for channel, caller in zip(channels, callers, strict=True):
        await channel.close()
        await caller.close()


def new_stranger() -> Callable[[], Badge]:
    """The badge of a town that nobody knows."""
    device = DeviceKey(secrets.token_bytes(32))
    record = town_record(TownKey(secrets.token_bytes(32)), CERTIFICATE, {"device": device.public}, wall_ms())
    badge = Badge(device, record.raw)
    return lambda: badge


def no_town(device: DeviceId) -> TownId | None:
    """A node that knows no devices."""
    return None


async def test_more_batches_than_the_window_end_the_link(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    roanne, charlieu = await start("Roanne"), await start("Charlieu")
    await join(roanne, charlieu)
    release = asyncio.Event()

    async def wait(raws: Sequence[bytes], source: LinkId | None = None) -> tuple[Verdict, ...]:
        await release.wait()
        return ()

    link = next(iter(roanne.links.live.values()))
    monkeypatch.setattr(roanne.intake, "accept", wait)
    for batch in range(10):
        roanne.engine._perform(TakeIn(link.id, batch, ()))
    assert link.end_code == "flooding"
    release.set()


async def test_who_does_not_read_what_we_send_is_dropped(start: Start) -> None:
    roanne, charlieu = await start("Roanne"), await start("Charlieu")
    await join(roanne, charlieu)
    link = next(iter(roanne.links.live.values()))
    frame = bytes(60_000)
    sent = 0
    while link.send(frame):
        sent += len(frame)
    assert sent <= 4 * 1_048_576
    assert not link.end_code


async def test_a_second_call_of_a_device_takes_over_from_the_first(start: Start) -> None:
    roanne, charlieu = await start("Roanne"), await start("Charlieu")
    await join(roanne, charlieu)
    first = next(iter(roanne.links.live.values()))
    await charlieu._connect(roanne.town, url_of(roanne))
    await until(lambda: first.id not in roanne.links.live and bool(roanne.links.live))
    await post(roanne, "over the new link")
    await shows(charlieu, "over the new link")
    assert len(roanne.links.live) == 1


async def test_a_town_that_is_no_peer_any_more_is_let_go_at_once(start: Start) -> None:
    roanne, charlieu = await start("Roanne"), await start("Charlieu")
    await join(roanne, charlieu)
    link: Link = next(iter(roanne.links.live.values()))
    await roanne.peers.remove(charlieu.town)
    assert link.end_code == "not_approved"
    assert roanne.links.reach(charlieu.town) is Reach.DOWN
