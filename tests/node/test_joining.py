"""A JOIN from a stranger is looked at hard: only the caller's own words count, and only what an
invitation says.
"""

import secrets
from collections.abc import AsyncIterator
from hashlib import blake2b
from pathlib import Path

import pytest

from node.clock import NodeClock, wall_ms
from node.federations import Federations
from node.intake import Intake
from node.invitations import Invitation, InvitationRefused, Invitations, read_code
from node.joining import REFUSED, WAITING, Joinings
from node.keys import CERTIFICATE, PROFILE, Keys, town_record
from node.peers import Peers
from node.store.sqlite import SqliteStore, open_store
from node.transport.auth import Identity
from protocol.identity import DeviceKey, TownKey
from protocol.ids import DeviceId, FederationId, Lane, TownId
from protocol.record import Record, make, make_body
from protocol.wire import federation_name, join_proof
from sync.authority import JOIN, Authority
from sync.events import Committed, Joining, LinkId

HASH = bytes(range(32))
YEAR_S = 365 * 86_400


class Stranger:
    """A town that calls, with all it may show."""

    def __init__(self) -> None:
        self.key = TownKey(secrets.token_bytes(32))
        self.device = DeviceKey(secrets.token_bytes(32))
        self.town = TownId(self.key.public)
        self.certificate = town_record(self.key, CERTIFICATE, {"device": self.device.public}, wall_ms())
        self.profile = town_record(self.key, PROFILE, {"name": "Charlieu"}, wall_ms())

    @property
    def identity(self) -> Identity:
        """What AUTH has proved."""
        device = DeviceId(self.device.public)
        return Identity(self.town, device, self.certificate.raw, ("http://charlieu.example",), True)

    def consent(self, federation: FederationId, device: DeviceKey | None = None) -> Record:
        """Its consent to a federation."""
        born = wall_ms() // 1_000
        return make(
            device or self.device,
            town=self.town,
            epoch=b"epch",
            counter=1,
            stamp=wall_ms() << 16,
            kind=JOIN,
            lane=Lane.URGENT,
            federations=(federation,),
            born=born,
            expires=born + YEAR_S,
            nonce=bytes(8),
            body=make_body(bytes(16), {}),
        )


class Inviter:
    """A town that founded a federation, and its two ends of joining."""

    def __init__(self, store: SqliteStore, keys: Keys) -> None:
        self.store = store
        self.clock = NodeClock(wall_ms())
        self.intake = Intake(store, keys.device, self.clock.read, chance=secrets.token_bytes)
        self.intake.announce = self._announce
        self.now = Authority(keys.town)
        self.peers = Peers(store, now_ms=self.clock.now_ms)
        self.invitations = Invitations(
            store,
            urls=lambda: ("http://roanne.example",),
            authority=lambda: self.now,
            now_ms=self.clock.now_ms,
        )
        self.joinings = Joinings(
            store,
            self.intake,
            self.invitations,
            self.peers,
            self.clock,
            keys=lambda: keys,
            authority=lambda: self.now,
        )

    def _announce(self, committed: Committed) -> None:
        if committed.authority is not None:
            self.now = committed.authority

    async def begin(self, certificate: bytes) -> FederationId:
        """Certify the own device and found a federation."""
        await self.intake.accept([certificate])

        async def acted() -> None:
            return

        federations = Federations(self.store, self.intake, authority=lambda: self.now, acted=acted)
        return await federations.found("Valley")


@pytest.fixture
async def inviter(tmp_path: Path) -> AsyncIterator[tuple[Inviter, FederationId]]:
    """A founder with a federation."""
    town = TownKey(secrets.token_bytes(32))
    device = DeviceKey(secrets.token_bytes(32))
    certificate = town_record(town, CERTIFICATE, {"device": device.public}, wall_ms()).raw
    keys = Keys(device, TownId(town.public), certificate)
    store = open_store(tmp_path, keys.town, chance=secrets.token_bytes)
    founder = Inviter(store, keys)
    yield founder, await founder.begin(certificate)
    await store.close()


async def shown(
    inviter: Inviter, federation: FederationId, identity: Identity, *records: Record | bytes
) -> tuple[bytes, ...]:
    """Show a good invitation with these records."""
    code, _ = await inviter.invitations.invite(federation)
    name = federation_name(federation, HASH, initiator=True)
    proof = join_proof(read_code(code).secret, HASH)
    raws = tuple(record if isinstance(record, bytes) else record.raw for record in records)
    return await inviter.joinings.answer(Joining(LinkId(1), name, proof, raws), identity, HASH)


async def test_a_good_join_admits_approves_and_welcomes(inviter: tuple[Inviter, FederationId]) -> None:
    founder, federation = inviter
    stranger = Stranger()
    consent = stranger.consent(federation)
    welcome = await shown(
        founder, federation, stranger.identity, stranger.certificate, stranger.profile, consent
    )
    assert stranger.town in founder.now.federations[federation].members
    peer = founder.peers.get(stranger.town)
    assert peer is not None
    assert (peer.name, peer.urls) == ("Charlieu", ("http://charlieu.example",))
    assert len(welcome) >= 3


async def test_a_join_with_anything_else_in_it_changes_nothing(inviter: tuple[Inviter, FederationId]) -> None:
    founder, federation = inviter
    stranger, other = Stranger(), Stranger()
    consent, certificate = stranger.consent(federation), stranger.certificate
    elsewhere = stranger.consent(FederationId(b"x" * 16))
    forged = bytearray(consent.raw)
    forged[-70] ^= 1
    bad: list[tuple[Record | bytes, ...]] = [
        (),
        (certificate,),
        (consent,),
        (certificate, consent, stranger.profile, stranger.profile),
        (certificate, elsewhere),
        (certificate, other.consent(federation)),
        (certificate, stranger.consent(federation, other.device)),
        (other.certificate, other.consent(federation)),
        (town_record(stranger.key, CERTIFICATE, {"device": other.device.public}, wall_ms()), consent),
        (certificate, other.profile, consent),
        (certificate, town_record(stranger.key, "town.revoke", {}, wall_ms()), consent),
        (certificate, bytes(forged)),
        (certificate, b"no record"),
    ]
    for records in bad:
        with pytest.raises(InvitationRefused) as told:
            await shown(founder, federation, stranger.identity, *records)
        assert "\n" not in told.value.says
    assert stranger.town not in founder.now.federations[federation].members
    assert founder.peers.all() == []


async def test_a_lost_welcome_is_given_again_and_admits_nobody_twice(
    inviter: tuple[Inviter, FederationId],
) -> None:
    founder, federation = inviter
    stranger = Stranger()
    records = (stranger.certificate, stranger.consent(federation))
    first = await shown(founder, federation, stranger.identity, *records)
    again = await shown(founder, federation, stranger.identity, *records)
    assert sorted(first) == sorted(again)


async def test_a_consent_tells_nothing_of_the_secret_and_is_written_once(
    inviter: tuple[Inviter, FederationId],
) -> None:
    founder, _ = inviter
    secret = secrets.token_bytes(16)
    there = FederationId(b"x" * 16)
    code = Invitation(there, TownId(b"i" * 32), ("http://roanne.example",), secret, 2**40).code()
    for _ in range(2):
        await founder.joinings.take(code)
    ask = founder.joinings.ask_of(TownId(b"i" * 32))
    assert ask is not None
    own = founder.now.own_town
    consents = await founder.store.read(lambda reader: reader.records_of(own, JOIN))
    assert [record.raw for record in consents] == [ask.records[-1]]
    nonce = consents[0].header.nonce
    assert nonce == blake2b(secret, digest_size=8, person=b"hedgerow/joining").digest()
    assert nonce not in secret


async def test_an_invitation_that_was_taken_waits_across_a_restart_and_a_refusal_is_kept(
    inviter: tuple[Inviter, FederationId], tmp_path: Path
) -> None:
    founder, federation = inviter
    code, _ = await founder.invitations.invite(federation)
    town, device = TownKey(secrets.token_bytes(32)), DeviceKey(secrets.token_bytes(32))
    certificate = town_record(town, CERTIFICATE, {"device": device.public}, wall_ms()).raw
    keys = Keys(device, TownId(town.public), certificate)
    store = open_store(tmp_path / "guest", keys.town, chance=secrets.token_bytes)
    guest = Inviter(store, keys)
    await guest.intake.accept([certificate])
    taken = await guest.joinings.take(code)
    ask = guest.joinings.ask_of(founder.now.own_town)
    assert ask is not None
    assert ask.records[0] == certificate
    again = Inviter(store, keys)
    again.now = guest.now
    await again.joinings.load()
    asked_again = again.joinings.ask_of(founder.now.own_town)
    assert asked_again == ask
    assert again.joinings.ask_of(keys.town) is None
    await again.joinings.refused(ask, "invitation_used", "that invitation has been used")
    assert again.joinings.waiting() == []
    third = Inviter(store, keys)
    await third.joinings.load()
    assert [(join.state, join.says) for join in third.joinings.all()] == [
        (REFUSED, "that invitation has been used")
    ]
    assert taken.state == WAITING
    await store.close()


async def test_a_new_invitation_of_a_town_replaces_its_old_one_and_what_waits_can_be_given_up(
    inviter: tuple[Inviter, FederationId],
) -> None:
    """An old one may hold an address that never answers: it would be called for good."""
    founder, _ = inviter
    there, town = FederationId(b"x" * 16), TownId(b"i" * 32)

    def code(url: str, inviter: TownId = town) -> str:
        return Invitation(there, inviter, (url,), secrets.token_bytes(16), 2**40).code()

    await founder.joinings.take(code("http://dead.example"))
    await founder.joinings.take(code("http://good.example"))
    (left,) = founder.joinings.waiting()
    assert left.invitation.urls == ("http://good.example",)
    other = code("http://other.example", TownId(b"o" * 32))
    await founder.joinings.take(other)
    assert await founder.joinings.cancel(other) == 1
    assert founder.joinings.open() == [left]
    ask = founder.joinings.ask_of(town)
    assert await founder.joinings.cancel() == 1
    assert founder.joinings.all() == []
    assert ask is not None
    await founder.joinings.refused(ask, "invitation_used", "an answer that comes too late")
    assert founder.joinings.all() == []
