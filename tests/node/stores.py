"""The two stores behind one face, for tests without an event loop, and records to put into them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from node.intake import Taken, settle, take_in
from node.store import Reader, SqliteStore, Transaction, open_store
from node.store.memory import MemoryStore
from protocol.encoding import Value
from protocol.ids import FederationId, Lane, Op, RecordId, TownId
from protocol.kinds import KINDS
from protocol.record import Record, make, make_body
from sync.admission import State, expire
from tests.sync.world import NOW_S, Town, federation_of

T = TypeVar("T")

OWN, BEE, SEA = Town("own"), Town("bee"), Town("sea")
CHARTER = OWN.charter("Along the river", [OWN, BEE], [OWN, BEE, SEA], quotas=(500, 500, 500))
RIVER = federation_of(CHARTER)
BASIS = [CHARTER, *(town.certificate(number) for town in (OWN, BEE, SEA) for number in (1, 2))]
"""What makes three towns members of one federation, with two devices each."""


class Bench:
    """A store and the loop that it runs on."""

    def __init__(self, store: SqliteStore | MemoryStore) -> None:
        """Stand over a store; `close` it."""
        self.store = store
        self._runner = asyncio.Runner()

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run work in the writer's turn."""
        return self._runner.run(self.store.write(work))

    def read(self, work: Callable[[Reader], T]) -> T:
        """Run work on the committed state."""
        return self._runner.run(self.store.read(work))

    def take(self, *records: Record, now_s: int = NOW_S, sure: bool = True) -> Taken:
        """Judge records as one batch whose signatures are sound."""
        return self.write(lambda tx: settle(tx, records, now_ms=now_s * 1_000, sure=sure))

    def take_raw(self, *raws: bytes, now_s: int = NOW_S, sure: bool = True) -> Taken:
        """Take raw records in as from a peer."""
        return self.write(lambda tx: take_in(tx, raws, now_ms=now_s * 1_000, sure=sure))

    def hold(self, *records: Record) -> Taken:
        """Take records in; all must be held."""
        taken = self.take(*records)
        assert [verdict for verdict in taken.verdicts if verdict.state is not State.HELD] == []
        return taken

    def end(self, now_s: int) -> None:
        """Let go of what has ended."""

        def work(tx: Transaction) -> int:
            changes = expire(tx, tx.authority(), now_s * 1_000, True, 10)
            tx.apply(changes)
            return len(changes.remove)

        while self.write(work):
            pass

    def run(self, awaitable: Any) -> Any:
        """Run a coroutine on the store's loop."""
        return self._runner.run(awaitable)

    def close(self) -> None:
        """Close store and loop; rows that name each other must all be there."""
        if isinstance(self.store, SqliteStore):
            assert self.write(lambda tx: tx.rows("PRAGMA foreign_key_check")) == []
        self._runner.run(self.store.close())
        self._runner.close()


def open_bench(which: str, directory: Path, own: TownId = OWN.id) -> Bench:
    """Open a store: `sqlite` or `memory`."""
    return Bench(open_sqlite(directory, own) if which == "sqlite" else MemoryStore(own))


def open_sqlite(directory: Path, own: TownId = OWN.id) -> SqliteStore:
    """Open a store on SQLite whose epoch is always the same."""
    return open_store(directory, own, chance=lambda size: b"\x07" * size)


def write(
    town: Town,
    kind: str,
    nonce: str,
    fields: Mapping[str, Value] | None,
    *,
    stamp: int | None = None,
    later_ms: int = 0,
    op: Op | None = None,
    federations: Iterable[FederationId] = (RIVER,),
    cites: Sequence[RecordId] = (),
    born: int = NOW_S,
    life_s: int = 1_000_000,
    device: int = 1,
    body: bytes | None = None,
    lane: Lane | None = None,
) -> Record:
    """Return a record of a declared kind; without `stamp`, so many milliseconds after its birth."""
    declared = KINDS[kind]
    chosen = declared.op if op is None else op
    if body is None and chosen is not Op.DELETE:
        body = make_body(bytes(16), fields or {})
    return make(
        town.key if kind.startswith("town.") else town.device(device),
        town=town.id,
        epoch=b"test",
        counter=1,
        stamp=(born * 1_000 + later_ms) << 16 if stamp is None else stamp,
        kind=kind,
        lane=declared.lane if lane is None else lane,
        federations=sorted(federations),
        born=born,
        expires=born + life_s,
        nonce=blake2b(nonce.encode(), digest_size=8).digest(),
        op=chosen,
        cites=cites,
        body=body,
    )


def offer(town: Town, title: str, *, nonce: str | None = None, **more: Any) -> Record:
    """Return an offer; further fields under `fields`, the rest as in `write`."""
    fields: dict[str, Value] = {"title": title, **more.pop("fields", {})}
    return write(town, "offer", title if nonce is None else nonce, fields, **more)


def guide(town: Town, nonce: str, step: str, *, cites: Sequence[RecordId] = (), **more: Any) -> Record:
    """Return a revision of a guide."""
    fields: dict[str, Value] = {"title": f"Guide {nonce}", "steps": [{"text": step}]}
    return write(town, "practice", nonce, fields, cites=cites, **more)
