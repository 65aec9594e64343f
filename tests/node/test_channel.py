"""The channel and AUTH: two honest ends understand each other, everybody else is told why not."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web

from node.keys import town_record
from node.transport.auth import Badge, Identity, check_auth, identify, make_auth
from node.transport.call import Caller
from node.transport.channel import (
    SOCKET_BYTES_MAX,
    Channel,
    LinkFailure,
    new_static_key,
    shake_hands,
)
from node.transport.nearness import Nearness
from node.transport.server import SyncServer
from protocol.encoding import encode
from protocol.identity import TownKey
from protocol.ids import DeviceId, TownId
from protocol.limits import FRAME_BYTES_MAX
from tests.node.channels import NOW_MS, WAIT_S, Place, new_badge, nobody, open_place


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A place for servers, cleaned up behind."""
    async with open_place() as found:
        yield found


async def both_ends(place: Place) -> tuple[Channel, Channel, asyncio.Event]:
    """Two ends of one channel; set the event to let the answering one go."""
    answered: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def serve(socket: web.WebSocketResponse) -> None:
        answered.set_result(
            await shake_hands(socket, initiator=False, static_key=new_static_key(), deadline_s=WAIT_S)
        )
        await over.wait()

    socket = await place.call(await place.answer(serve))
    dialled = await shake_hands(socket, initiator=True, static_key=new_static_key(), deadline_s=WAIT_S)
    return dialled, await answered, over


async def test_two_ends_agree_on_the_hash_and_carry_frames_of_every_size_both_ways(place: Place) -> None:
    dialled, answered, over = await both_ends(place)
    assert dialled.handshake_hash == answered.handshake_hash
    assert (dialled.initiator, answered.initiator) == (True, False)
    for size in (0, 1, 1_000, FRAME_BYTES_MAX):
        frame = secrets.token_bytes(size)
        await dialled.send(frame)
        assert await answered.receive() == frame
        await answered.send(frame)
        assert await dialled.receive() == frame
    over.set()
    await dialled.close()


async def test_two_channels_never_have_the_same_hash(place: Place) -> None:
    first, _, over = await both_ends(place)
    second, _, also_over = await both_ends(place)
    assert first.handshake_hash != second.handshake_hash
    over.set()
    also_over.set()


async def test_a_frame_that_is_too_long_is_our_own_fault(place: Place) -> None:
    dialled, _, over = await both_ends(place)
    with pytest.raises(ValueError, match="65519"):
        await dialled.send(bytes(FRAME_BYTES_MAX + 1))
    over.set()


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (b"", "not_noise"),
        (b"x" * 31, "not_noise"),
        (bytes(32), "not_noise"),
        (b"x" * 300, "not_noise"),
        (b"x" * (SOCKET_BYTES_MAX + 10), "malformed_message"),
        ("hello", "not_binary"),
        (None, "link_closed"),
    ],
    ids=["empty", "short", "low-order", "long", "oversized", "text", "nothing"],
)
async def test_a_caller_that_does_not_speak_noise_is_told_apart(
    place: Place, says: bytes | str | None, code: str
) -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(socket: web.WebSocketResponse) -> None:
        try:
            await shake_hands(socket, initiator=False, static_key=new_static_key(), deadline_s=WAIT_S)
        except LinkFailure as failure:
            ended.set_result(failure.code)

    socket = await place.call(await place.answer(serve))
    if isinstance(says, bytes):
        await socket.send_bytes(says)
    elif isinstance(says, str):
        await socket.send_str(says)
    else:
        await socket.close()
    async with asyncio.timeout(WAIT_S):
        assert await ended == code


async def test_one_flipped_bit_ends_the_channel(place: Place) -> None:
    dialled, answered, over = await both_ends(place)
    sealed = bytearray(dialled._cipher.encrypt(b"a frame"))
    sealed[3] ^= 1
    await dialled._socket.send_bytes(bytes(sealed))
    with pytest.raises(LinkFailure) as told:
        await answered.receive()
    assert told.value.code == "not_noise"
    over.set()


async def test_a_frame_that_is_sent_twice_ends_the_channel(place: Place) -> None:
    dialled, answered, over = await both_ends(place)
    sealed = dialled._cipher.encrypt(b"once")
    await dialled._socket.send_bytes(sealed)
    await dialled._socket.send_bytes(sealed)
    assert await answered.receive() == b"once"
    with pytest.raises(LinkFailure) as told:
        await answered.receive()
    assert told.value.code == "not_noise"
    over.set()


async def test_a_silent_end_is_told_after_its_deadline(place: Place) -> None:
    dialled, _, over = await both_ends(place)
    with pytest.raises(LinkFailure) as told:
        await dialled.receive(deadline_s=0.05)
    assert told.value.code == "silent"
    over.set()


async def test_a_handshake_that_nobody_answers_ends_at_its_deadline(place: Place) -> None:
    over = asyncio.Event()

    async def serve(_: web.WebSocketResponse) -> None:
        await over.wait()

    socket = await place.call(await place.answer(serve))
    with pytest.raises(LinkFailure) as told:
        await shake_hands(socket, initiator=True, static_key=new_static_key(), deadline_s=0.05)
    assert told.value.code == "handshake_timeout"
    over.set()


# AUTH.


async def met(place: Place, ours: Badge, theirs: Badge) -> tuple[Identity, Identity]:
    """Whom two nodes see in each other."""
    seen: asyncio.Future[Identity] = asyncio.get_running_loop().create_future()

    async def carry(channel: Channel, identity: Identity) -> None:
        seen.set_result(identity)

    server = SyncServer(static_key=new_static_key(), badge=lambda: theirs, town_of=nobody, carry=carry)
    url = await place.serve(server.handle)
    caller = Caller(static_key=new_static_key(), badge=lambda: ours, town_of=nobody)
    await caller.open()
    try:
        channel, identity = await caller.call(url)
        await channel.close()
        return identity, await seen
    finally:
        await caller.close()


async def test_two_nodes_learn_each_others_town_device_and_addresses(place: Place) -> None:
    ours, theirs = new_badge(("https://roanne.example",)), new_badge()
    over_there, over_here = await met(place, ours, theirs)
    assert (over_there.device, over_there.urls) == (theirs.device.public, ())
    assert (over_here.device, over_here.urls) == (ours.device.public, ("https://roanne.example",))
    assert over_here.certificate == ours.certificate


async def test_a_node_that_calls_itself_is_told_so(place: Place) -> None:
    ours = new_badge()
    with pytest.raises(LinkFailure) as told:
        await met(place, ours, ours)
    assert told.value.code == "own_device"


async def test_another_town_than_the_expected_one_is_refused(place: Place) -> None:
    async def carry(channel: Channel, identity: Identity) -> None:
        return

    theirs = new_badge()
    server = SyncServer(static_key=new_static_key(), badge=lambda: theirs, town_of=nobody, carry=carry)
    url = await place.serve(server.handle)
    caller = Caller(static_key=new_static_key(), badge=new_badge, town_of=nobody)
    await caller.open()
    with pytest.raises(LinkFailure) as told:
        await caller.call(url, expected=TownId(bytes(32)))
    assert told.value.code == "wrong_town"
    await caller.close()


HASH = bytes(range(32))


def refused(
    frame: bytes, *, initiator: bool = True, town_of: Callable[[DeviceId], TownId | None] = nobody
) -> str:
    """The code with which an AUTH frame is refused."""
    with pytest.raises(LinkFailure) as told:
        check_auth(frame, HASH, initiator=initiator, town_of=town_of)
    return told.value.code


def test_a_proof_of_identity_cannot_be_handed_back_or_carried_to_another_channel() -> None:
    frame = make_auth(new_badge(), HASH, initiator=True)
    assert check_auth(frame, HASH, initiator=True, town_of=nobody)
    assert refused(frame, initiator=False) == "bad_link_signature"
    with pytest.raises(LinkFailure):
        check_auth(frame, bytes(32), initiator=True, town_of=nobody)


def test_only_the_side_that_dialled_announces_an_invitation() -> None:
    mine = new_badge()
    frame = make_auth(mine, HASH, initiator=True, joins=True)
    assert check_auth(frame, HASH, initiator=True, town_of=nobody).joins
    assert refused(make_auth(mine, HASH, initiator=False, joins=True), initiator=False) == "malformed_auth"


def test_a_certificate_for_another_device_or_wrongly_signed_is_refused() -> None:
    mine, other = new_badge(), new_badge()
    assert (
        refused(make_auth(Badge(mine.device, other.certificate), HASH, initiator=True)) == "bad_certificate"
    )
    forged = bytearray(mine.certificate)
    forged[-80] ^= 1
    assert refused(make_auth(Badge(mine.device, bytes(forged)), HASH, initiator=True)) == "bad_certificate"
    profile = town_record(TownKey(bytes(32)), "town.profile", {"device": mine.device.public}, NOW_MS).raw
    assert refused(make_auth(Badge(mine.device, profile), HASH, initiator=True)) == "bad_certificate"


def test_a_device_without_a_certificate_is_known_by_what_we_hold_or_refused() -> None:
    mine, town = new_badge(), TownId(b"t" * 32)
    frame = make_auth(Badge(mine.device, b""), HASH, initiator=True)
    assert refused(frame) == "not_certified"
    known = check_auth(frame, HASH, initiator=True, town_of=lambda device: town)
    assert (known.town, known.device) == (town, mine.device.public)


def test_a_newer_wire_version_is_told_whatever_else_stands_there() -> None:
    assert refused(encode([2])) == "newer_wire"
    assert refused(encode([7, "things", ["of", 3000]])) == "newer_wire"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff",
        encode([]),
        encode(["1"]),
        encode([True]),
        encode([0]),
        encode([1]),
        encode([1, bytes(31), None, bytes(64), [], False]),
        encode([1, bytes(32), "c", bytes(64), [], False]),
        encode(
            [
                1,
                bytes(32),
                None,
                bytes(64),
                ["http://a", "http://b", "http://c", "http://d", "http://e"],
                False,
            ]
        ),
        encode([1, bytes(32), None, bytes(64), ["file:///etc/passwd"], False]),
        encode([1, bytes(32), None, bytes(64), ["http://" + "a" * 300], False]),
        encode([1, bytes(32), None, bytes(64), ["http://[::"], False]),
        encode([1, bytes(32), None, bytes(64), [7], False]),
        encode([1, bytes(32), None, bytes(64), []]),
        encode([1, bytes(32), None, bytes(64), [], 1]),
        encode({"version": 1}),
    ],
)
def test_a_malformed_proof_of_identity_is_refused(frame: bytes) -> None:
    assert refused(frame) == "malformed_auth"


async def test_nothing_else_is_read_before_the_proof_of_identity(place: Place) -> None:
    dialled, answered, over = await both_ends(place)
    await dialled.send(encode([3, "a frame of the conversation"]))
    with pytest.raises(LinkFailure) as told:
        await identify(answered, new_badge(), nobody, deadline_s=WAIT_S)
    assert told.value.code in ("newer_wire", "malformed_auth")
    over.set()


async def test_a_channel_whose_end_never_says_who_it_is_ends_at_the_deadline(place: Place) -> None:
    _, answered, over = await both_ends(place)
    with pytest.raises(LinkFailure) as told:
        await identify(answered, new_badge(), nobody, deadline_s=0.05)
    assert told.value.code == "auth_timeout"
    over.set()


# The answering end, and calling.


async def test_silent_connections_do_not_keep_a_neighbour_out(place: Place) -> None:
    came: asyncio.Future[Identity] = asyncio.get_running_loop().create_future()

    async def carry(channel: Channel, identity: Identity) -> None:
        came.set_result(identity)

    server = SyncServer(
        static_key=new_static_key(), badge=new_badge, town_of=nobody, carry=carry, half_open_max=4
    )
    url = await place.serve(server.handle)
    silent = [await place.call(url) for _ in range(12)]
    assert server.half_open_count <= 4
    caller = Caller(static_key=new_static_key(), badge=new_badge, town_of=nobody)
    await caller.open()
    async with asyncio.timeout(WAIT_S):
        channel, _ = await caller.call(url)
        await came
    await channel.close()
    await caller.close()
    assert len(silent) == 12


async def test_a_half_open_connection_is_dropped_at_its_deadline(place: Place) -> None:
    async def carry(channel: Channel, identity: Identity) -> None:
        raise AssertionError("nobody said who they are")

    server = SyncServer(
        static_key=new_static_key(), badge=new_badge, town_of=nobody, carry=carry, handshake_s=0.05
    )
    socket = await place.call(await place.serve(server.handle))
    async with asyncio.timeout(WAIT_S):
        assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    assert server.half_open_count == 0


async def test_a_node_of_a_newer_version_is_told_why_it_is_sent_away(place: Place) -> None:
    async def carry(channel: Channel, identity: Identity) -> None:
        raise AssertionError("nobody knows who this is")

    server = SyncServer(static_key=new_static_key(), badge=new_badge, town_of=nobody, carry=carry)
    socket = await place.call(await place.serve(server.handle))
    channel = await shake_hands(socket, initiator=True, static_key=new_static_key(), deadline_s=WAIT_S)
    await channel.send(encode([2, "whatever comes next"]))
    assert await channel.receive()
    with pytest.raises(LinkFailure, match="newer_wire") as told:
        await channel.receive()
    assert told.value.code == "link_closed"


async def test_a_browser_that_opens_the_sync_address_is_told_what_it_is(place: Place) -> None:
    async def carry(channel: Channel, identity: Identity) -> None:
        raise AssertionError("a browser is no node")

    server = SyncServer(static_key=new_static_key(), badge=new_badge, town_of=nobody, carry=carry)
    async with place.session.get(await place.serve(server.handle)) as response:
        assert response.status == 426
        assert "nodes" in await response.text()


async def test_how_near_the_other_end_is_is_seen_but_not_through_a_proxy(place: Place) -> None:
    over_there, over_here = await met(place, new_badge(), new_badge())
    assert (over_there.near, over_here.near) == (Nearness.MACHINE, Nearness.MACHINE)
    seen: list[Nearness] = []

    async def carry(channel: Channel, identity: Identity) -> None:
        seen.append(identity.near)

    server = SyncServer(static_key=new_static_key(), badge=new_badge, town_of=nobody, carry=carry)
    url = await place.serve(server.handle)
    for name in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
        opened = await place.session.ws_connect(url, headers={name: "93.184.216.34"})
        channel = await shake_hands(opened, initiator=True, static_key=new_static_key(), deadline_s=WAIT_S)
        await identify(channel, new_badge(), nobody, deadline_s=WAIT_S)
        await channel.close()
    assert seen == [Nearness.ANYWHERE] * 4
