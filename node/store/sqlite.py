"""The store of a node: one SQLite file, one writer, a few readers."""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar, cast

from node.errors import DataUnreadable
from node.store import database
from node.store.contract import Reader, Transaction
from node.store.documents import distance_km
from node.store.listing import DocumentReads
from node.store.transaction import SqliteTransaction
from node.store.writer import Writer
from protocol.ids import TownId

T = TypeVar("T")

EPOCH_BYTES: Final = 4
"""As the header of a record has it."""
READERS: Final = 3
"""Reads beside each other; they wait for the disk, seldom for the processor."""

_LOG: Final = logging.getLogger(__name__)


class SqliteStore:
    """A `Store` on SQLite; made by `open_store`.

    Attributes:
        damage: The first fault that a look through the file found after an unclean stop; None while none is
            known.
    """

    def __init__(self, directory: Path, own_town: TownId, chance: Callable[[int], bytes]) -> None:
        self.own_town = own_town
        self.damage: str | None = None
        self.path = directory / database.DATABASE
        self._lock = database.lock_directory(directory)
        try:
            database.prepare(self.path)
            self._writing = _open(self.path)
            self._transaction = SqliteTransaction(self._writing, own_town)
            was_clean = self._begin(chance)
        except BaseException:
            self._lock.close()
            raise
        self._readers = ThreadPoolExecutor(READERS, "hedgerow-reader")
        self._spare: queue.SimpleQueue[DocumentReads] = queue.SimpleQueue()
        self._reading: list[sqlite3.Connection] = []
        self._writer = Writer(self._transaction, _failed)
        if not was_clean:
            self._readers.submit(self._look_for_damage)

    async def write(self, work: Callable[[Transaction], T], *, then: Callable[[T], None] | None = None) -> T:
        """Run `work` in the writer's turn and return its result once it is committed."""
        return cast(T, await self._writer.write(work, then))

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run `work` on the last committed state and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    def disk_bytes(self) -> int:
        """Return how much room the store takes on the disk."""
        return database.disk_bytes(self.path)

    async def close(self) -> None:
        """Finish the writes that wait, note that the stop was clean, and let go of the files."""
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown)
        with suppress(sqlite3.Error):
            self._writing.execute("UPDATE meta SET value = 1 WHERE name = 'clean'")
        for connection in [*self._reading, self._writing]:
            connection.close()
        self._lock.close()

    def _begin(self, chance: Callable[[int], bytes]) -> bool:
        """Make what a new store needs; return whether the last stop was clean."""
        tx = self._transaction
        try:
            tx.begin()
            owner = tx.meta("town")
            if owner is None:
                tx.number_town(self.own_town)
                tx.set_meta("town", bytes(self.own_town))
            elif owner != self.own_town:
                raise DataUnreadable(
                    f"the data in {self.path} belongs to another town; give another directory, or that"
                    " town's keys"
                )
            tx.open_epoch(chance(EPOCH_BYTES))
            was_clean = tx.meta("clean") != 0
            tx.set_meta("clean", 0)
            tx.flush()
            tx.commit()
        except sqlite3.Error as error:
            raise database.unavailable(error) from None
        finally:
            tx.rollback()
        return was_clean

    def _read(self, work: Callable[[Reader], T]) -> T:
        reader = self._reader()
        try:
            reader.connection.execute("BEGIN")
            return work(reader)
        except sqlite3.Error as error:
            if database.is_storage_failure(error):
                raise database.unavailable(error) from None
            raise
        finally:
            with suppress(sqlite3.Error):
                reader.connection.execute("COMMIT")
            self._spare.put(reader)

    def _reader(self) -> DocumentReads:
        try:
            return self._spare.get_nowait()
        except queue.Empty:
            connection = _open(self.path, read_only=True)
            self._reading.append(connection)
            return DocumentReads(connection, self.own_town)

    def _look_for_damage(self) -> None:
        self.damage = database.damage(self.path)
        if self.damage is not None:
            _LOG.error("the database is damaged: %s; restore a backup, or begin anew from peers", self.damage)


def open_store(directory: Path, own_town: TownId, *, chance: Callable[[int], bytes]) -> SqliteStore:
    """Open the store of a data directory, or make it.

    Args:
        directory: The node's data directory; locked until the store is closed.
        own_town: A store belongs to one town.
        chance: Gives random bytes, for the epoch that each start opens.

    Raises:
        DataInUse, DataUnreadable, DataNewer, StorageUnavailable.
    """
    return SqliteStore(directory, own_town, chance)


def _open(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    connection = database.connect(path, read_only=read_only)
    connection.create_function("distance_km", 4, distance_km, deterministic=True)
    return connection


def _failed(error: BaseException) -> None:
    _LOG.error("announcing a commit failed", exc_info=error)
