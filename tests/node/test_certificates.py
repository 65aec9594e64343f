"""Certificates shown on links: what a town has taken back, or what has ended, opens nothing."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.certificates import Certificates
from node.clock import NodeClock
from node.errors import StorageUnavailable
from node.intake import Intake
from node.keys import CERTIFICATE, town_record
from node.store.sqlite import SqliteStore, open_store
from node.transport.auth import Identity
from node.transport.channel import LinkFailure
from protocol.identity import DeviceKey, TownKey
from protocol.ids import DeviceId, Op, TownId
from protocol.limits import DEVICES_MAX
from protocol.record import Record, make, make_body
from sync.authority import Authority
from sync.events import Committed
from sync.verdict import State

NOW_MS = 1_790_000_000_000
NOW_S = NOW_MS // 1_000
OWN = TownKey(b"o" * 32)
OTHER = TownKey(b"p" * 32)
DEVICE = DeviceKey(b"d" * 32)


def certificate(device: DeviceKey = DEVICE, *, later_ms: int = -60_000) -> Record:
    """The other town's certificate for a device."""
    return town_record(OTHER, CERTIFICATE, {"device": device.public}, NOW_MS + later_ms)


def next_version(first: Record, device: DeviceKey | None) -> Record:
    """What its town wrote after it: another device in its place, or None: that it is taken back."""
    header = first.header
    return make(
        OTHER,
        town=header.town,
        epoch=b"next",
        counter=1,
        stamp=header.stamp + 1,
        kind=CERTIFICATE,
        lane=header.lane,
        born=header.born,
        expires=header.expires,
        nonce=header.nonce,
        op=Op.PUT if device else Op.DELETE,
        body=make_body(bytes(16), {"device": device.public}) if device else None,
    )


def identity(shown: Record | None, device: DeviceKey = DEVICE) -> Identity:
    """What AUTH has proved."""
    raw = shown.raw if shown else None
    return Identity(TownId(OTHER.public), DeviceId(device.public), raw, ())


class House:
    """A node's door and what it thinks of certificates."""

    def __init__(self, store: SqliteStore, wall_ms: int = NOW_MS, last_sure_ms: int = NOW_MS) -> None:
        clock = NodeClock(last_sure_ms, wall=lambda: wall_ms, monotonic=lambda: 0, synchronised=lambda: False)
        self.store = store
        self.intake = Intake(store, DEVICE, clock.read, chance=secrets.token_bytes)
        self.intake.announce = self._announce
        self.now = Authority(TownId(OWN.public))
        self.certificates = Certificates(store, self.intake, clock, authority=lambda: self.now)

    def _announce(self, committed: Committed) -> None:
        self.now = committed.authority or self.now

    async def refuses(self, shown: Record, device: DeviceKey = DEVICE) -> str:
        """The code with which a certificate is refused; empty if it is not."""
        try:
            await self.certificates.check(identity(shown, device), keep=True)
        except LinkFailure as failure:
            assert "\n" not in failure.says
            return failure.code
        return ""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store in a file."""
    opened = open_store(tmp_path, TownId(OWN.public), chance=secrets.token_bytes)
    yield opened
    await opened.close()


async def test_a_new_certificate_of_a_peer_is_taken_in_and_that_of_a_stranger_is_not(
    store: SqliteStore,
) -> None:
    house, shown = House(store), certificate()
    await house.certificates.check(identity(shown), keep=False)
    assert (await store.read(lambda reader: reader.totals())).parked == 0
    assert not house.certificates.stands(identity(shown))
    assert await house.refuses(shown) == ""
    known = await store.read(lambda reader: reader.records_of(TownId(OTHER.public), CERTIFICATE))
    assert [record.id for record in known] == [shown.id]
    assert not house.certificates.is_withdrawn(identity(shown)), "of a town that belongs nowhere"
    assert await house.refuses(shown) == ""


async def test_who_shows_nothing_was_looked_up_already(store: SqliteStore) -> None:
    await House(store).certificates.check(identity(None), keep=True)


@pytest.mark.parametrize("follower", [None, DeviceKey(b"e" * 32)], ids=["deleted", "another device"])
@pytest.mark.parametrize("first_known", [True, False])
async def test_a_certificate_that_its_town_has_taken_back_is_refused(
    store: SqliteStore, follower: DeviceKey | None, first_known: bool
) -> None:
    house, shown = House(store), certificate()
    await house.intake.accept([shown.raw] if first_known else [])
    await house.intake.accept([next_version(shown, follower).raw])
    assert await house.refuses(shown) == "certificate_withdrawn"
    assert not house.certificates.stands(identity(shown))
    # Another certificate of the same device stands for itself.
    assert await house.refuses(certificate(later_ms=-30_000)) == ""


async def test_a_certificate_gives_way_to_as_many_newer_ones_as_a_town_may_have(store: SqliteStore) -> None:
    house, shown = House(store), certificate()
    newer = [certificate(DeviceKey(bytes([number]) * 32), later_ms=0) for number in range(DEVICES_MAX)]
    await house.intake.accept([record.raw for record in newer])
    assert await house.refuses(shown) == "certificate_withdrawn"


async def test_an_expired_certificate_is_refused_unless_nobody_knows_the_time(store: SqliteStore) -> None:
    shown = certificate()
    end_ms = shown.header.expires * 1_000
    assert await House(store, end_ms - 1, end_ms - 1).refuses(shown) == ""
    assert await House(store, end_ms, end_ms).refuses(shown) == "certificate_expired"
    # A board that woke in 1970.
    assert await House(store, 0, end_ms).refuses(shown) == ""


async def test_a_disk_that_takes_nothing_ends_the_link_and_says_why(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(store)

    async def refuse(raws: list[bytes]) -> tuple[State, ...]:
        raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(house.intake, "accept", refuse)
    assert await house.refuses(certificate()) == "storage_unavailable"
