"""A record of our own key that we did not write: a clone's, or our own past that a store has forgotten."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.clock import Reading
from node.clones import CLONE, Clones
from node.incidents import Incidents
from node.store import SqliteStore
from protocol.clock import stamp_at
from protocol.ids import DeviceId, Lane
from protocol.record import Record, make, make_body
from tests.node.stores import OWN, open_sqlite
from tests.sync.world import NOW_S

NOW_MS = NOW_S * 1_000
KEY = OWN.device(1)


def record(epoch: bytes, ms: int, *, counter: int = 0, device: int = 1) -> Record:
    """Return a record of one of the own devices."""
    return make(
        OWN.device(device), town=OWN.id, epoch=epoch, counter=counter, stamp=stamp_at(ms), kind="offer",
        lane=Lane.EVERYDAY, born=NOW_S, expires=NOW_S + 9, nonce=secrets.token_bytes(8),
        body=make_body(bytes(16), {}),
    )  # fmt: skip


class Watched:
    """A store with somebody who watches for clones, and a clock to be set."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.sure = True
        self.incidents = Incidents(lambda: NOW_MS)
        device = DeviceId(KEY.public)
        self.clones = Clones(store, device, lambda: Reading(NOW_MS, self.sure), self.incidents)

    async def meet(self, *records: Record) -> bool:
        """Let records come in; tell whether a clone is known then."""
        await self.store.write(lambda tx: self.clones.watch(tx, records))
        return self.clones.is_found


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    """A new store at a sure time."""
    made = Watched(open_sqlite(tmp_path))
    await made.clones.begin()
    yield made
    await made.store.close()


async def test_a_record_of_our_key_in_an_epoch_that_we_never_opened_is_a_clones(watched: Watched) -> None:
    assert not await watched.meet(record(b"twin", NOW_MS + 1, device=2))
    assert await watched.meet(record(b"twin", NOW_MS + 1))
    assert await watched.store.read(lambda reader: reader.meta(CLONE)) == b"twin"
    told = await watched.store.read(watched.incidents.list)
    assert [each.code for each in told] == ["clone"] and "key clone" in told[0].says
    again = Watched(watched.store)
    await again.clones.begin()
    assert again.clones.is_found, "a restart forgets nothing"
    await watched.meet(record(b"twin", NOW_MS + 2))
    assert len(await watched.store.read(watched.incidents.list)) == 1, "it is said once"


async def test_our_own_records_of_this_and_earlier_starts_are_ours(watched: Watched, tmp_path: Path) -> None:
    epoch, counter = await watched.store.write(lambda tx: tx.next_seq())
    assert not await watched.meet(record(epoch, NOW_MS + 1, counter=counter))
    await watched.store.write(lambda tx: tx.run("INSERT INTO epochs (epoch) VALUES (?)", b"last"))
    assert not await watched.meet(record(b"last", NOW_MS + 5, counter=99))
    assert await watched.meet(record(epoch, NOW_MS + 1, counter=counter + 1)), "we are not that far yet"


async def test_what_was_stamped_before_a_store_was_begun_or_restored_is_our_own_past(
    watched: Watched,
) -> None:
    assert not await watched.meet(record(b"past", NOW_MS - 1))
    assert await watched.meet(record(b"past", NOW_MS))


async def test_until_time_is_sure_all_is_ours(tmp_path: Path) -> None:
    watched = Watched(open_sqlite(tmp_path))
    watched.sure = False
    await watched.clones.begin()
    assert not await watched.meet(record(b"past", NOW_MS + 1))
    watched.sure = True
    await watched.meet()
    assert not await watched.meet(record(b"past", NOW_MS - 1))
    assert await watched.meet(record(b"past", NOW_MS + 1))
    await watched.store.close()


async def test_what_a_clone_wrote_is_settled_by_the_word_of_the_operator_and_no_further(
    watched: Watched,
) -> None:
    assert await watched.meet(record(b"twin", NOW_MS + 1))
    await watched.store.write(lambda tx: tx.set_meta("stamp", stamp_at(NOW_MS + 2).to_bytes(8, "big")))
    await watched.clones.settle()
    assert not watched.clones.is_found
    assert not await watched.meet(record(b"twin", NOW_MS + 1))
    assert await watched.meet(record(b"twin", NOW_MS + 3))
