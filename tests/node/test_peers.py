"""Peers and invitations: what is approved stays so, and a code says exactly one thing."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import InvalidRequest, NotFound
from node.invitations import (
    OPEN_MAX,
    Invitation,
    InvitationRefused,
    Invitations,
    read_code,
)
from node.peers import Peers, checked_url
from node.store.sqlite import SqliteStore, open_store
from node.transport.nearness import Nearness
from protocol.encoding import Value
from protocol.ids import FederationId, TownId
from protocol.limits import URLS_MAX
from protocol.record import record_id
from protocol.wire import federation_name, join_proof
from sync.authority import Authority
from tests.sync.world import federation_with

OWN = TownId(b"o" * 32)
OTHER = TownId(b"p" * 32)
THIRD = TownId(b"q" * 32)
VALLEY = FederationId(b"v" * 16)
HASH = bytes(range(32))
NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000


class Time:
    """Node time, set by hand."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        """What it says."""
        return self.ms


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store in a file."""
    opened = open_store(tmp_path, OWN, chance=secrets.token_bytes)
    yield opened
    await opened.close()


def authority(*, steward: bool = True) -> Authority:
    """A federation in which we are steward, or not."""
    stewards = frozenset({OWN if steward else OTHER})
    valley = federation_with(
        VALLEY, "Valley", record_id(b""), OWN, stewards, frozenset({OWN, OTHER}), (10, 10, 10)
    )
    return Authority(OWN, {VALLEY: valley})


def giver(store: SqliteStore, time: Time, *, steward: bool = True, urls: tuple[str, ...] = ()) -> Invitations:
    """A node that gives invitations."""
    return Invitations(
        store, urls=lambda: urls, authority=lambda: authority(steward=steward), now_ms=time.now_ms
    )


async def test_what_is_known_of_a_peer_survives_a_restart(store: SqliteStore) -> None:
    peers = Peers(store, now_ms=lambda: NOW_MS)
    await peers.approve(OTHER, name="Charlieu", urls=["charlieu.example:8460"])
    peers.note_heard(OTHER, NOW_MS + 5)
    peers.note_synced(OTHER, 17)
    peers.note_synced(OTHER, 3)
    await peers.save()
    again = Peers(store, now_ms=lambda: 0)
    await again.load()
    assert again.all() == peers.all()
    peer = again.all()[0]
    assert (peer.urls, peer.approved_ms) == (("http://charlieu.example:8460",), NOW_MS)
    assert (peer.last_heard_ms, peer.synced_change) == (NOW_MS + 5, 17)


async def test_approving_again_adds_to_what_is_known_and_forgets_nothing(store: SqliteStore) -> None:
    changes: list[int] = []
    peers = Peers(store, now_ms=lambda: NOW_MS, changed=lambda: changes.append(1))
    await peers.approve(OTHER, name="Charlieu", urls=["http://a"])
    await peers.approve(OTHER, urls=["http://b"])
    peer = await peers.approve(OTHER, urls=["http://b", "http://a"])
    assert (peer.name, peer.urls) == ("Charlieu", ("http://b", "http://a"))
    await peers.approve(OTHER)
    assert len(changes) == 2


@pytest.mark.parametrize(
    ("near", "taken"),
    [
        (Nearness.ANYWHERE, ["http://charlieu.example"]),
        (Nearness.NETWORK, ["http://charlieu.example", "http://192.168.1.1:80/sync"]),
        (
            Nearness.MACHINE,
            ["http://charlieu.example", "http://192.168.1.1:80/sync", "http://127.0.0.1:9"],
        ),
    ],
)
async def test_a_peer_points_to_nothing_nearer_than_it_stands_itself(
    store: SqliteStore, near: Nearness, taken: list[str]
) -> None:
    peers = Peers(store, now_ms=lambda: NOW_MS)
    told = [
        "http://charlieu.example/",
        "http://192.168.1.1:80/cgi-bin/reboot",
        "http://root:admin@charlieu.example/",
        "http://127.0.0.1:9",
    ]
    await peers.approve(OTHER, urls=["http://operators.example/own/path"], told=told, near=near)
    again = Peers(store, now_ms=lambda: 0)
    await again.load()
    for peer in (peers.all()[0], again.all()[0]):
        assert peer.urls == ("http://operators.example/own/path", *taken)
        assert peer.most(peer.urls[0]) is Nearness.MACHINE
        assert {peer.most(url) for url in peer.urls[1:]} == {near}


async def test_what_the_operator_says_of_a_peer_lets_it_point_as_near(store: SqliteStore) -> None:
    peers = Peers(store, now_ms=lambda: NOW_MS)
    await peers.approve(OTHER, urls=["http://192.168.1.7:8460"])
    await peers.note_told(OTHER, ["http://192.168.1.8:8460", "http://127.0.0.1:1"], Nearness.ANYWHERE)
    assert peers.all()[0].urls == ("http://192.168.1.7:8460", "http://192.168.1.8:8460")
    # What the operator gives is the operator's from then on.
    await peers.approve(OTHER, urls=["http://192.168.1.8:8460"])
    assert peers.all()[0].told == ()


async def test_new_addresses_of_a_peer_find_room_and_the_operators_stay(store: SqliteStore) -> None:
    peers = Peers(store, now_ms=lambda: NOW_MS)
    await peers.approve(OTHER, urls=["http://given.example"])
    for number in range(2 * URLS_MAX):
        await peers.note_told(OTHER, [f"http://told-{number}.example"], Nearness.ANYWHERE)
    urls = peers.all()[0].urls
    assert len(urls) == URLS_MAX
    assert urls[:2] == ("http://given.example", f"http://told-{2 * URLS_MAX - 1}.example")


async def test_where_a_peer_answers_goes_before_where_it_does_not(store: SqliteStore) -> None:
    peers = Peers(store, now_ms=lambda: 7)
    dead, good = "http://dead.example", "http://good.example"
    await peers.approve(OTHER, urls=[dead, good])
    await peers.note_reached(OTHER, good)
    await peers.note_reached(OTHER, "http://unknown.example")
    again = Peers(store, now_ms=lambda: 7)
    await again.load()
    for each in (peers, again):
        peer = each.get(OTHER)
        assert peer is not None and peer.urls == (good, dead)


async def test_a_peer_that_is_removed_does_not_come_back_by_telling_where_it_is(store: SqliteStore) -> None:
    peers = Peers(store, now_ms=lambda: NOW_MS)
    await peers.approve(OTHER, urls=["http://a"])
    await asyncio.gather(
        peers.remove(OTHER), peers.note_told(OTHER, ["http://charlieu.example"], Nearness.ANYWHERE)
    )
    assert peers.all() == []
    again = Peers(store, now_ms=lambda: 0)
    await again.load()
    assert again.all() == []


async def test_a_peer_is_found_by_its_name_or_the_beginning_of_its_id(store: SqliteStore) -> None:
    peers = Peers(store, now_ms=lambda: NOW_MS)
    await peers.approve(OTHER, name="Charlieu")
    await peers.approve(THIRD, name="Ambierle")
    assert peers.find("charlieu").town == OTHER
    assert peers.find(THIRD.hex()[:6]).town == THIRD
    with pytest.raises(NotFound):
        peers.find("")
    with pytest.raises(NotFound):
        peers.find("Roanne")
    await peers.remove(OTHER)
    assert peers.get(OTHER) is None


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a", "http://", "http://a b", "http://a:99999", "javascript:alert", "a" * 300, "foo",
     "http:/roanne.example", "roanne.example:846O", "http://roanne..example", "://roanne.example"],
)  # fmt: skip
def test_what_is_no_address_of_a_node_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_url(url)


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=32, max_size=32),
    st.lists(
        st.sampled_from(["http://a:8460", "https://roanne.example", "wss://[::1]/sync"]),
        min_size=1,
        max_size=4,
    ),
    st.binary(min_size=16, max_size=16),
    st.integers(min_value=0, max_value=2**40),
)
def test_a_code_says_what_its_invitation_says_however_it_is_typed(
    federation: bytes, inviter: bytes, urls: list[str], secret: bytes, last_day: int
) -> None:
    made = Invitation(FederationId(federation), TownId(inviter), tuple(urls), secret, last_day)
    code = made.code()
    assert read_code(code) == made
    assert read_code(f" {code.lower().replace('-', ' ').replace('1', 'l').replace('0', 'o')}\n") == made


@given(st.data())
def test_one_slip_in_a_code_is_told_as_one(data: st.DataObject) -> None:
    code = Invitation(VALLEY, OTHER, ("http://a",), bytes(16), 1).code().replace("-", "")
    place = data.draw(st.integers(min_value=0, max_value=len(code) - 1))
    letter = data.draw(
        st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ").filter(lambda each: each != code[place])
    )
    with pytest.raises(InvitationRefused):
        read_code(code[:place] + letter + code[place + 1 :])


@pytest.mark.parametrize("code", ["", "-", "0000", "K7PQ", "é" * 40, "A" * 10_000])
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(InvitationRefused) as told:
        read_code(code)
    assert told.value.status == 400


async def shown(
    invitations: Invitations,
    code: str,
    town: TownId,
    *,
    sure: bool = True,
    hashed: bytes = HASH,
    is_in: bool = True,
) -> FederationId:
    """Have a town show an invitation."""
    invitation = read_code(code)
    name = federation_name(invitation.federation, HASH, initiator=True)
    proof = join_proof(invitation.secret, HASH)
    return await invitations.use(name, proof, hashed, town=town, sure=sure, is_in=lambda _: is_in)


async def test_an_invitation_is_proved_without_its_secret_and_used_by_one_town(store: SqliteStore) -> None:
    invitations = giver(store, Time(), urls=("http://roanne.example",))
    code, expires = await invitations.invite(VALLEY)
    assert 14 * 86_400 <= expires - NOW_MS // 1_000 <= 15 * 86_400
    assert read_code(code).urls == ("http://roanne.example",)
    assert await shown(invitations, code, OTHER) == VALLEY
    assert await shown(invitations, code, OTHER) == VALLEY
    with pytest.raises(InvitationRefused) as told:
        await shown(invitations, code, THIRD)
    assert told.value.code == "invitation_used"


async def test_a_town_that_was_removed_does_not_come_back_by_its_old_invitation(store: SqliteStore) -> None:
    invitations = giver(store, Time(), urls=("http://roanne.example",))
    code, _ = await invitations.invite(VALLEY)
    # What was interrupted before it was in may be done again.
    assert await shown(invitations, code, OTHER, is_in=False) == VALLEY
    assert await shown(invitations, code, OTHER, is_in=False) == VALLEY
    await invitations.settle(VALLEY, OTHER)
    assert await shown(invitations, code, OTHER) == VALLEY
    with pytest.raises(InvitationRefused) as told:
        await shown(invitations, code, OTHER, is_in=False)
    assert told.value.code == "invitation_used"


@pytest.mark.parametrize("way", ["peer removed", "member no more"])
async def test_the_secret_of_an_invitation_is_forgotten_with_the_town_that_used_it(
    store: SqliteStore, way: str
) -> None:
    invitations = giver(store, Time(), urls=("http://roanne.example",))
    mine, _ = await invitations.invite(VALLEY)
    others, _ = await invitations.invite(VALLEY)
    await shown(invitations, mine, OTHER)
    await shown(invitations, others, THIRD)
    if way == "peer removed":
        peers = Peers(store, now_ms=lambda: NOW_MS)
        await peers.approve(OTHER)
        await peers.remove(OTHER)
    else:
        await invitations.let_go([(VALLEY, OTHER), (FederationId(b"w" * 16), THIRD)])
    with pytest.raises(InvitationRefused) as told:
        await shown(invitations, mine, OTHER)
    assert told.value.code == "invitation_unknown"
    assert await shown(invitations, others, THIRD) == VALLEY


@pytest.mark.parametrize(
    "urls", [[7], ["http://a", None], [], ["http://a"] * 9, ["ftp://a"], ["http://a:b@c"], ["http://a?b"]]
)
def test_a_code_whose_addresses_are_none_is_refused_and_not_read_in_part(urls: list[Value]) -> None:
    code = Invitation(VALLEY, OTHER, cast("tuple[str, ...]", tuple(urls)), bytes(16), 1).code()
    with pytest.raises(InvitationRefused) as told:
        read_code(code)
    assert told.value.code == "invitation_malformed"


async def test_a_proof_from_another_link_or_for_another_federation_is_worth_nothing(
    store: SqliteStore,
) -> None:
    invitations = giver(store, Time(), urls=("http://roanne.example",))
    code, _ = await invitations.invite(VALLEY)
    with pytest.raises(InvitationRefused) as told:
        await shown(invitations, code, OTHER, hashed=bytes(32))
    assert told.value.code == "invitation_unknown"
    with pytest.raises(InvitationRefused) as told:
        proof = join_proof(read_code(code).secret, HASH)
        await invitations.use(bytes(16), proof, HASH, town=OTHER, sure=True, is_in=lambda _: True)
    assert told.value.code == "invitation_unknown"
    assert await shown(invitations, code, OTHER) == VALLEY


async def test_an_invitation_runs_out_but_an_unsure_node_refuses_nothing_for_its_time(
    store: SqliteStore,
) -> None:
    time = Time()
    invitations = giver(store, time, urls=("http://roanne.example",))
    code, _ = await invitations.invite(VALLEY)
    time.ms += 16 * DAY_MS
    with pytest.raises(InvitationRefused) as told:
        await shown(invitations, code, OTHER)
    assert told.value.code == "invitation_expired"
    assert await shown(invitations, code, OTHER, sure=False) == VALLEY


async def test_who_may_not_admit_or_cannot_be_called_gives_no_invitations(store: SqliteStore) -> None:
    with pytest.raises(Exception, match="steward"):
        await giver(store, Time(), steward=False).invite(VALLEY, "http://a")
    with pytest.raises(InvalidRequest, match="--url"):
        await giver(store, Time()).invite(VALLEY)
    with pytest.raises(InvalidRequest, match="no more"):
        await giver(store, Time()).invite(VALLEY, "http://me:secret@a")
    code, _ = await giver(store, Time(), urls=("http://b",)).invite(VALLEY, "a:8460")
    assert read_code(code).urls == ("http://a:8460", "http://b")


async def test_unused_invitations_are_bounded_and_those_that_ran_out_make_room(store: SqliteStore) -> None:
    time = Time()
    invitations = giver(store, time, urls=("http://a",))
    for _ in range(OPEN_MAX):
        await invitations.invite(VALLEY)
    with pytest.raises(InvitationRefused) as told:
        await invitations.invite(VALLEY)
    assert told.value.code == "invitations_many"
    time.ms += 30 * DAY_MS
    assert await invitations.invite(VALLEY)
