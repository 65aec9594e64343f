"""Whole nodes on real sockets and files: they join, agree, are cut apart, come back, and are brought back."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from node import beginnings
from node.config import Settings, read_settings
from node.daemon import Daemon
from node.demo.relay import Relay
from node.errors import DataInUse, HedgerowError, InvalidRequest, NotFound
from node.intake import Draft
from node.invitations import InvitationRefused, read_code
from node.joining import WAITING
from node.keys import TOWN_FILE, KeysUnreadable, open_town_key
from node.status import OTHER_BOARD
from node.store import Query
from node.transport import server
from node.transport.channel import LinkFailure
from node.transport.dialer import Reach
from node.transport.listener import ListenFailed
from node.transport.nearness import Nearness
from protocol.ids import FederationId, Op, TownId
from protocol.record import make, open_record
from sync.membership import ADMIT

WAIT_S = 90.0
"""Far above what anything here takes; only a test that has failed waits so long."""


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.01)


class Valley:
    """Towns on this machine; each is called through a relay that can go silent."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.relays: dict[str, Relay] = {}
        self.relay_kind: type[Relay] = Relay
        self.town_secrets: dict[str, str] = {}

    async def settle(self, name: str) -> Daemon:
        """Found a town: `init` and `run`."""
        data = self.folder / name
        town = beginnings.Town(name, 46.0, 4.0, "fr")
        self.town_secrets[name] = (await beginnings.begin(data, town, listen="127.0.0.1:0")).passphrase
        return await self.run(name)

    async def run(self, name: str) -> Daemon:
        """Run the node of a town, again at the address where its neighbours call it."""
        relay = self.relays.setdefault(name, self.relay_kind("127.0.0.1", 0))
        if not relay.port:
            await relay.start()
            self.stack.push_async_callback(relay.close)
        settings = read_settings(self.folder / name, {"HEDGEROW_WEB__PUBLIC_URL": relay.url})
        node = Daemon(self.folder / name, settings)
        await node.start()
        self.stack.push_async_callback(node.stop)
        relay.target = node.address
        return node


@pytest.fixture
async def valley(tmp_path: Path) -> AsyncIterator[Valley]:
    """A place for towns, left tidy."""
    async with AsyncExitStack() as stack:
        yield Valley(tmp_path, stack)


async def federate(first: Daemon, *others: Daemon, name: str = "Valley") -> FederationId:
    """Have the first town found a federation and the others join it."""
    federation = await first.federations.found(name)
    for other in others:
        code, _ = await first.invitations.invite(federation)
        assert (await other.join(code))["state"] == "joined"
    return federation


def digests(node: Daemon, federation: FederationId) -> dict[int, bytes]:
    """What a node holds, in sixteen bytes a lane."""
    held = node.engine.hub.held
    return {key[1]: each.digest() for key, each in held.items() if key[0] == federation and each.count}


async def agree(federation: FederationId, *nodes: Daemon) -> None:
    """Wait until all hold the same, and something."""
    await until(
        lambda: (
            bool(digests(nodes[0], federation))
            and len({tuple(sorted(digests(node, federation).items())) for node in nodes}) == 1
        )
    )


async def titles(node: Daemon) -> set[str]:
    """The titles on a node's board."""
    page = await node.board.list(Query(limit=1_000))
    return {str(document.fields["title"]) for document in page.documents}


async def post(node: Daemon, title: str) -> str:
    """Post a need and return its address."""
    return (await node.board.post("need", {"title": title})).address


async def peer_row(node: Daemon, town: TownId) -> dict[str, Any]:
    """What a node's status says of a peer."""
    rows = (await node.status())["peers"]
    return next(row for row in rows if row["town"] == town.hex())


async def says(node: Daemon, town: TownId, words: str) -> dict[str, Any]:
    """Wait until a node's sentence on a peer has these words."""
    async with asyncio.timeout(WAIT_S):
        while words not in (row := await peer_row(node, town))["says"]:
            await asyncio.sleep(0.01)
    return row


async def test_two_towns_join_by_invitation_and_know_the_same(valley: Valley) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    await post(roanne, "hands for the harvest")
    federation = await federate(roanne, charlieu)
    await post(charlieu, "a ladder")
    await post(roanne, "seed potatoes")
    await agree(federation, roanne, charlieu)
    # What was posted before there was a federation stays at home.
    assert await titles(charlieu) == {"a ladder", "seed potatoes"}
    await until(lambda: bool(charlieu.federations.name_of(roanne.town)))
    members = await charlieu.federations.members(federation)
    assert [(row["name"], row["steward"], row["own"]) for row in members] == [
        ("Charlieu", False, True),
        ("Roanne", True, False),
    ]
    row = await says(roanne, charlieu.town, "up to date, heard")
    assert (row["state"], row["name"], row["backlog_out"]) == ("up", "Charlieu", 0)
    assert row["says"].startswith("Charlieu: up to date, heard ")
    assert row["url"] == valley.relays["Charlieu"].url


async def test_three_towns_in_a_line_pass_records_on(valley: Valley) -> None:
    roanne = await valley.settle("Roanne")
    charlieu = await valley.settle("Charlieu")
    ambierle = await valley.settle("Ambierle")
    federation = await federate(charlieu, roanne, ambierle)
    assert roanne.peers.get(ambierle.town) is None
    for number in range(5):
        await post(roanne, f"from Roanne {number}")
        await post(ambierle, f"from Ambierle {number}")
    await agree(federation, roanne, charlieu, ambierle)
    assert await titles(roanne) == await titles(ambierle)
    assert len(await titles(charlieu)) == 10


async def test_what_happened_on_both_sides_of_a_silent_cut_is_known_on_both_after_it(valley: Valley) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    federation = await federate(roanne, charlieu)
    address = await post(roanne, "a plough")
    await agree(federation, roanne, charlieu)
    for relay in valley.relays.values():
        relay.cut()
    await post(charlieu, "from beyond the river")
    await roanne.board.edit(address, {"title": "a light plough"})
    await until(lambda: roanne.links.reach(charlieu.town) is not Reach.UP)
    row = await peer_row(roanne, charlieu.town)
    assert "calling it" in row["says"]
    for relay in valley.relays.values():
        relay.heal()
    await agree(federation, roanne, charlieu)
    assert await titles(roanne) == await titles(charlieu) == {"a light plough", "from beyond the river"}


async def test_a_town_that_was_away_gets_what_waited_for_it(valley: Valley) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    federation = await federate(roanne, charlieu)
    await says(roanne, charlieu.town, "up to date")
    await charlieu.stop()
    await until(lambda: roanne.links.reach(charlieu.town) is Reach.DOWN)
    await post(roanne, "one")
    await post(roanne, "two")
    row = await says(roanne, charlieu.town, "4 records wait for it")
    assert "not heard since" in row["says"]
    assert (row["backlog_out"], row["state"]) == (4, "dialing"), "two needs and their ledgers"
    charlieu = await valley.run("Charlieu")
    await agree(federation, roanne, charlieu)
    assert await titles(charlieu) == {"one", "two"}
    await says(roanne, charlieu.town, "up to date")


async def test_a_node_that_has_only_its_keys_again_is_brought_back_by_its_neighbours(valley: Valley) -> None:
    roanne = await valley.settle("Roanne")
    charlieu = await valley.settle("Charlieu")
    ambierle = await valley.settle("Ambierle")
    federation = await federate(roanne, charlieu, ambierle)
    await post(charlieu, "posted before the fire")
    await agree(federation, roanne, charlieu, ambierle)
    before = digests(charlieu, federation)
    await charlieu.stop()
    data = valley.folder / "Charlieu"
    kept = valley.folder / "kept"
    shutil.move(data / "keys", kept)
    shutil.rmtree(data)
    data.mkdir()
    shutil.move(kept, data / "keys")
    await beginnings.begin(data, beginnings.Town(""), listen="127.0.0.1:0")
    charlieu = await valley.run("Charlieu")
    await until(lambda: digests(charlieu, federation) == before)
    assert await titles(charlieu) == {"posted before the fire"}
    assert {peer.town for peer in charlieu.peers.all()} == {roanne.town}
    assert await post(charlieu, "posted after the fire")
    await agree(federation, roanne, charlieu, ambierle)


async def test_an_invitation_is_good_once_and_for_one_town(valley: Valley) -> None:
    roanne = await valley.settle("Roanne")
    charlieu = await valley.settle("Charlieu")
    ambierle = await valley.settle("Ambierle")
    federation = await roanne.federations.found("Valley")
    code, expires = await roanne.invitations.invite(federation)
    assert expires > time.time()
    assert (await charlieu.join(code))["state"] == "joined"
    assert (await charlieu.join(code))["state"] == "joined"
    with pytest.raises(InvitationRefused) as told:
        await ambierle.join(code)
    assert told.value.code == "invitation_used"
    assert ambierle.authority().federations == {}
    assert roanne.peers.get(ambierle.town) is None
    assert len(await roanne.federations.members(federation)) == 2


@pytest.mark.parametrize("way", ["peer", "member", "both"])
async def test_who_was_removed_does_not_let_itself_in_again_but_may_be_invited_anew(
    valley: Valley, way: str
) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    federation = await roanne.federations.found("Valley")
    code, _ = await roanne.invitations.invite(federation)
    await charlieu.join(code)
    await agree(federation, roanne, charlieu)
    if way != "member":
        await roanne.peers.remove(charlieu.town)
    if way != "peer":
        held = await roanne.store.write(lambda tx: tx.held_records([roanne.town]))
        admit = next(record for record in held if record.header.kind == ADMIT)
        await roanne.intake.post([Draft(ADMIT, Op.DELETE, doc=admit.doc)])
    # Its own node is made to show the old invitation once more.
    join = charlieu.joinings.all()[0]
    join.state = WAITING
    with pytest.raises(InvitationRefused) as told:
        await charlieu.join(code)
    assert told.value.code in ("invitation_unknown", "invitation_used")
    is_member = charlieu.town in roanne.authority().federations[federation].members
    is_peer = roanne.peers.get(charlieu.town) is not None
    assert (is_peer, is_member) == (way == "member", way == "peer")
    again, _ = await roanne.invitations.invite(federation)
    assert (await charlieu.join(again))["state"] == "joined"
    assert charlieu.town in roanne.authority().federations[federation].members
    assert roanne.peers.get(charlieu.town) is not None


async def test_a_new_device_of_a_member_is_served_from_its_first_call_until_its_town_withdraws_it(
    valley: Valley,
) -> None:
    roanne = await valley.settle("Roanne")
    begun = await beginnings.begin(
        valley.folder / "Charlieu", beginnings.Town("Charlieu"), listen="127.0.0.1:0"
    )
    charlieu = await valley.run("Charlieu")
    federation = await federate(roanne, charlieu)
    await post(charlieu, "from the town hall")
    saved = beginnings.SavedKey(valley.folder / "Charlieu" / "keys" / TOWN_FILE, begun.passphrase)
    library = valley.folder / "Library"
    await beginnings.begin(library, beginnings.Town("Charlieu"), listen="127.0.0.1:0", saved=saved)
    second = await valley.run("Library")
    await second.recovery.end()
    await second.peers.approve(roanne.town, urls=[valley.relays["Roanne"].url])
    await agree(federation, roanne, charlieu, second)
    await post(second, "from the library")
    await agree(federation, roanne, charlieu, second)
    assert await titles(roanne) == {"from the town hall", "from the library"}
    await second.peers.approve(charlieu.town, urls=[valley.relays["Charlieu"].url])
    async with asyncio.timeout(WAIT_S):
        while OTHER_BOARD not in {row["name"] for row in (await charlieu.status())["peers"]}:
            await asyncio.sleep(0.01)
    row = await peer_row(charlieu, charlieu.town)
    assert (row["name"], row["state"]) == (OTHER_BOARD, "up")
    town_key = open_town_key(saved.file.parent, saved.passphrase)
    certificate = open_record(second.keys.certificate).header
    withdrawn = make(
        town_key,
        town=charlieu.town,
        epoch=b"last",
        counter=1,
        stamp=certificate.stamp + 1,
        kind=certificate.kind,
        lane=certificate.lane,
        born=certificate.born,
        expires=certificate.expires,
        nonce=certificate.nonce,
        op=Op.DELETE,
    )
    await charlieu.intake.accept([withdrawn.raw])
    lost = second.keys.device.public
    await until(lambda: all(link.identity.device != lost for link in roanne.links.live.values()))
    await until(lambda: second.dialer.failure(roanne.town) is not None)
    await says(second, roanne.town, "calling it fails: it knows that this device was withdrawn by its town")
    assert not any(link.identity.device == lost for link in roanne.links.live.values())
    await post(charlieu, "after it")
    await agree(federation, roanne, charlieu)
    assert "after it" not in await titles(second)


async def test_a_peer_cannot_have_a_node_ask_anything_of_its_own_network(
    valley: Valley, monkeypatch: pytest.MonkeyPatch
) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    url = valley.relays["Charlieu"].url
    told = (f"{url}/cgi-bin/reboot", "http://root:admin@192.168.1.1/", "http://10.0.0.1/?reboot")
    monkeypatch.setattr(Daemon, "urls", property(lambda node: told if node is charlieu else ()))
    monkeypatch.setattr(server, "nearness", lambda address: Nearness.ANYWHERE)
    federation = await roanne.federations.found("Valley")
    code, _ = await roanne.invitations.invite(federation, valley.relays["Roanne"].url)
    await charlieu.join(code)
    peer = roanne.peers.get(charlieu.town)
    assert peer is not None
    assert peer.urls == ()


async def test_towns_that_are_linked_already_join_a_second_federation(valley: Valley) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    await federate(roanne, charlieu)
    orchards = await federate(charlieu, roanne, name="Orchards")
    await agree(orchards, roanne, charlieu)
    assert [row["name"] for row in roanne.federations.list()] == ["Orchards", "Valley"]
    assert roanne.federations.find("orchards") == orchards
    with pytest.raises(NotFound, match="which federation"):
        roanne.federations.find(None)


async def test_a_wrong_invitation_is_refused_in_one_line(valley: Valley) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    federation = await roanne.federations.found("Valley")
    code, _ = await roanne.invitations.invite(federation)
    for wrong, why in ((code[:-1] + ("0" if code[-1] != "0" else "1"), "mistyped"), ("", "mistyped")):
        with pytest.raises(InvitationRefused) as told:
            await charlieu.join(wrong)
        assert told.value.code == f"invitation_{why}"
        assert "\n" not in told.value.says
    with pytest.raises(InvitationRefused, match="other town"):
        await roanne.join(code)
    with pytest.raises(HedgerowError) as refused:
        await charlieu.invitations.invite(federation)
    assert refused.value.code == "not_steward"


async def test_an_invitation_waits_until_the_inviter_can_be_reached_also_across_a_restart(
    valley: Valley,
) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    federation = await roanne.federations.found("Valley")
    code, _ = await roanne.invitations.invite(federation)
    await roanne.stop()
    joining = asyncio.create_task(charlieu.join(code))
    await until(
        lambda: bool(charlieu.joinings.waiting()) and charlieu.dialer.failure(roanne.town) is not None
    )
    (waits,) = (await charlieu.status())["joins"]
    assert "has not answered the invitation yet" in waits["says"]
    assert waits["failing_url"] == read_code(code).urls[0]
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)
    await charlieu.stop()
    charlieu = await valley.run("Charlieu")
    roanne = await valley.run("Roanne")
    charlieu.dialer.wake()
    await agree(federation, roanne, charlieu)
    assert charlieu.joinings.waiting() == []
    assert (await charlieu.status())["joins"] == []


async def test_a_stranger_gets_no_further_than_the_door(valley: Valley) -> None:
    roanne, stranger = await valley.settle("Roanne"), await valley.settle("Nowhere")
    federation = await roanne.federations.found("Valley")
    await post(roanne, "for friends")
    await stranger.recovery.end()
    await stranger.peers.approve(roanne.town, urls=[valley.relays["Roanne"].url])
    await until(lambda: stranger.links.count > 0)
    await until(lambda: not roanne.links.live)
    assert digests(stranger, federation) == {}
    assert await titles(stranger) == set()


async def test_a_peer_is_added_by_its_address_after_its_fingerprint_was_shown(valley: Valley) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    url = valley.relays["Charlieu"].url
    seen = await roanne.add_peer(url, approve=False)
    assert (seen["town"], seen["approved"]) == (charlieu.town.hex(), False)
    assert len(seen["fingerprint"].split()) == 6
    assert roanne.peers.all() == []
    assert (await roanne.add_peer(url, approve=True))["approved"]
    await charlieu.add_peer(valley.relays["Roanne"].url, approve=True)
    await says(roanne, charlieu.town, "in no federation with us")
    await roanne.peers.remove(charlieu.town)
    await until(lambda: roanne.links.reach(charlieu.town) is Reach.DOWN)
    with pytest.raises(NotFound):
        await roanne.peers.remove(charlieu.town)


async def test_adding_a_peer_where_nobody_answers_says_so(valley: Valley) -> None:
    roanne = await valley.settle("Roanne")
    with pytest.raises(LinkFailure) as told:
        await roanne.add_peer("127.0.0.1:1", approve=True)
    assert told.value.code == "unreachable"
    with pytest.raises(LinkFailure) as told:
        await roanne.add_peer(valley.relays["Roanne"].url, approve=True)
    assert told.value.code == "own_device"
    with pytest.raises(InvalidRequest):
        await roanne.add_peer("file:///etc/passwd", approve=True)


async def test_sync_reaches_a_peer_and_says_how_it_stands(valley: Valley) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    await federate(roanne, charlieu)
    rows = (await roanne.sync(charlieu.town))["peers"]
    assert [(row["town"], row["state"]) for row in rows] == [(charlieu.town.hex(), "up")]


async def test_a_node_says_that_it_lives_and_what_it_holds(valley: Valley) -> None:
    roanne = await valley.settle("Roanne")
    federation = await roanne.federations.found("Valley")
    await post(roanne, "one")
    await until(lambda: len(digests(roanne, federation)) == 2)
    host, port = roanne.address
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/health") as response,
    ):
        assert response.status == 200
    status = await roanne.status()
    assert status["town"] == {"id": roanne.town.hex(), "name": "Roanne"}
    assert (status["records"], status["documents"], status["peers"]) == (5, 1, [])
    assert status["clock"]["sure"]
    assert status["disk_bytes"] > 0
    lanes = status["federations"][0]["lanes"]
    assert [lanes[lane]["records"] for lane in ("urgent", "everyday", "library")] == [3, 2, 0]
    assert all(len(lane["digest"]) == 32 for lane in lanes.values())


async def test_a_node_without_its_sealing_key_runs_and_says_so(valley: Valley) -> None:
    roanne = await valley.settle("Roanne")
    assert (await roanne.status())["sealing"] == ""
    await roanne.stop()
    (valley.folder / "Roanne" / "keys" / "sealing.key").unlink()
    roanne = await valley.run("Roanne")
    says = (await roanne.status())["sealing"]
    assert says == (
        "keys/sealing.key is missing: put back the copy that you keep of it."
        " Or run: hedgerow key sealing. Until then nothing sealed can be read here."
    )
    await roanne.federations.found("Valley")
    assert await post(roanne, "open as ever")


async def test_a_node_stops_within_five_seconds_with_its_links_up(valley: Valley) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    await federate(roanne, charlieu)
    async with asyncio.timeout(5):
        await roanne.stop()
    assert not roanne.control_path.exists()
    await roanne.stop()


async def test_a_data_directory_in_use_is_not_opened_twice(valley: Valley) -> None:
    roanne = await valley.settle("Roanne")
    second = Daemon(valley.folder / "Roanne", roanne.settings)
    with pytest.raises(DataInUse):
        await second.start()
    assert (await roanne.status())["town"]["name"] == "Roanne"


async def test_an_address_that_is_taken_is_told_and_nothing_stays_open(valley: Valley) -> None:
    roanne = await valley.settle("Roanne")
    await valley.settle("Charlieu")
    listen = f"127.0.0.1:{roanne.address[1]}"
    await beginnings.begin(valley.folder / "Late", beginnings.Town("Late", None, None, "fr"), listen=listen)
    late = Daemon(valley.folder / "Late", read_settings(valley.folder / "Late", {}))
    with pytest.raises(ListenFailed, match="--listen"):
        await late.start()
    again = Daemon(
        valley.folder / "Late", read_settings(valley.folder / "Late", {"HEDGEROW_WEB__LISTEN": "127.0.0.1:0"})
    )
    await again.start()
    await again.stop()


async def test_a_node_without_keys_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeysUnreadable, match="init"):
        await Daemon(tmp_path, Settings()).start()
