"""The files of a store: the lock, the database, its migrations, and connections to it.

One directory holds one store. `lock` is locked as long as a node runs on it; the database is `hedgerow.db`
with its `-wal` and `-shm`. Commits are synced to the disk before anybody hears of them (`synchronous=FULL`):
under NORMAL a pulled plug lost 4 in 100 acknowledged commits, under FULL none. What is deleted is overwritten
(`secure_delete=ON`): a need that was withdrawn, or a home record, does not stay readable in free pages. That
rows which name each other are all there is checked by `damage` and by the tests, not for each row: that would
be a twentieth of the cost of taking one in.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import IO, Final

from node.errors import DataInUse, DataNewer, DataUnreadable, StorageUnavailable

DATABASE: Final = "hedgerow.db"
LOCK: Final = "lock"
APPLICATION_ID: Final = 0x48454447
""""HEDG": SQLite's place for saying whose file it is."""
BUSY_MS: Final = 5_000
"""How long a statement waits for another program that looks into the file, such as a backup."""
CHECKPOINT_PAGES: Final = 2_000
"""The log is written back when it has 8 MB: seldom enough not to wear a card, often enough to stay small."""
WRITER_CACHE_KIB: Final = 16_384
"""Pages that the writer keeps in memory: the upper levels of every index of 100,000 records."""
READER_CACHE_KIB: Final = 2_048
"""Pages that each reader keeps."""
LOG_INDEX_BYTES: Final = 65_536
"""The index of a log begins with 32 KiB, in pages of the file system."""

# The driver asks every value that is neither text nor a number whether it would rather be something else, by
# three look-ups that fail: a twentieth of the cost of taking a record in. These answer at once that they
# would not: bytes of bytes are the same ones, and nothing has no entry anywhere.
sqlite3.register_adapter(bytes, bytes)
_NOTHING: Final[dict[None, None]] = {}
sqlite3.register_adapter(type(None), _NOTHING.get)

_FULL: Final = frozenset({"SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_NOMEM", "SQLITE_BUSY"})


def lock_directory(directory: Path) -> IO[bytes]:
    """Make the directory if need be and lock it for this process; closing the answer lets it go.

    Raises:
        DataInUse: Another node runs on it.
        DataUnreadable: It cannot be made, or this user may not write there.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (directory / LOCK).open("ab")
    except OSError as error:
        raise DataUnreadable(
            f"the data directory {directory} cannot be used ({error.strerror}); give one that you may"
            " write to"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise DataInUse(
            f"another node runs on the data directory {directory}; stop it first or give another directory"
        ) from None
    return lock


def prepare(path: Path) -> None:
    """Bring a database to the present version, or make it.

    Raises:
        DataNewer: A newer program wrote it; not a byte was changed.
        DataUnreadable: It is no database of ours, or cannot be read.
    """
    steps = list(_migrations())
    found = _version(path)
    if found > len(steps):
        raise DataNewer(
            f"the data in {path} was written by a newer version of hedgerow (its shape is {found}, this"
            f" program knows {len(steps)}); install that version again"
        )
    if found == len(steps):
        return
    connection = connect(path)
    try:
        for number in range(found, len(steps)):
            connection.executescript(
                f"BEGIN IMMEDIATE; {steps[number]}; PRAGMA user_version = {number + 1};"
                f" PRAGMA application_id = {APPLICATION_ID}; COMMIT"
            )
        # The version is read from the file alone, so it must not be left in the log.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        raise unavailable(error) from None
    finally:
        connection.close()


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Return a connection that any one thread at a time may use.

    Raises:
        DataUnreadable: The file cannot be opened or is no database.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA secure_delete = ON").fetchall()
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB if read_only else WRITER_CACHE_KIB}")
        connection.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        if is_full(error, path.parent):
            raise DataUnreadable(
                f"the disk that {path} lies on is full: free some room, then start again"
            ) from None
        raise DataUnreadable(
            f"the database {path} cannot be opened ({error}); look whether the disk is mounted, writable"
            " and whole"
        ) from None
    return connection


def unavailable(error: sqlite3.Error) -> StorageUnavailable:
    """Return what people are told when the disk is full or fails."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return StorageUnavailable("the disk is full; free some room, then this node goes on by itself")
    return StorageUnavailable(f"the disk does not take this ({error}); nothing was kept, try again later")


def is_full(error: sqlite3.Error, folder: Path) -> bool:
    """Tell whether an error of a database means that the disk of its folder is full.

    SQLite calls it an I/O error where there is no room for the index of its log.
    """
    name = str(getattr(error, "sqlite_errorname", ""))
    return name == "SQLITE_FULL" or (
        name.startswith("SQLITE_IOERR") and shutil.disk_usage(folder).free < LOG_INDEX_BYTES
    )


def is_storage_failure(error: BaseException) -> bool:
    """Tell whether an error is the disk's and not a fault of the statement."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    name = str(getattr(error, "sqlite_errorname", ""))
    return name in _FULL or name.startswith(
        ("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_BUSY_")
    )


def damage(path: Path) -> str | None:
    """Look through the whole database; return the first fault, or None. Takes seconds on a large one."""
    try:
        connection = connect(path, read_only=True)
        try:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()
            lonely = connection.execute("PRAGMA foreign_key_check").fetchone()
        finally:
            connection.close()
    except (sqlite3.Error, DataUnreadable) as error:
        return str(error)
    if answer[0] != "ok":
        return str(answer[0])
    return None if lonely is None else f"a row of {lonely[0]} names one that is missing in {lonely[2]}"


def disk_bytes(path: Path) -> int:
    """Return the size of the database and its log."""
    total = 0
    for suffix in ("", "-wal", "-shm"):
        try:
            total += os.stat(f"{path}{suffix}").st_size  # noqa: PTH116 (a name, not a new path each time)
        except OSError:
            continue
    return total


def _version(path: Path) -> int:
    """Return the shape of an existing file without opening it as a database; 0 if there is none."""
    try:
        with path.open("rb") as file:
            front = file.read(100)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise DataUnreadable(
            f"the database {path} cannot be read ({error.strerror}); give it to the user that runs the node"
        ) from None
    if not front:
        return 0
    if len(front) < 100 or not front.startswith(b"SQLite format 3\0"):
        raise DataUnreadable(
            f"{path} is no database; put the right file there, or move it away to begin anew"
        )
    version = int.from_bytes(front[60:64], "big")
    if version and int.from_bytes(front[68:72], "big") != APPLICATION_ID:
        raise DataUnreadable(f"{path} is the database of another program; move it away to begin anew")
    return version


def _migrations() -> Iterator[str]:
    folder = files("node.store") / "schema"
    for each in sorted(folder.iterdir(), key=lambda found: found.name):
        if each.name.endswith(".sql"):
            yield each.read_text(encoding="utf-8")
