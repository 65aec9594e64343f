"""One file that holds a node: its database, its accounts, its settings, and its keys if that was asked for.

A tar file that begins with `manifest.json`: the format, the town, when it was made, and the size and hash of
every other member. The databases are copied through SQLite's backup API, page by page beside the running
node, and looked through before the file is given out under its name. `restore` believes nothing: names that
it does not know, sizes and hashes that differ, a database that is not whole, and a newer format are refused
before anything is put where a node would find it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.clones import BEGUN, RESTORED
from node.config import SETTINGS_FILE
from node.errors import DataNewer, HedgerowError
from node.store.database import DATABASE, LOCK, is_full, lock_directory

FORMAT: Final = 1
"""The shape of a backup file; a newer one is refused."""
MANIFEST: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 65_536
"""A dozen members; ours have 2 kB."""
MEMBERS_MAX: Final = 64
"""Files of a node: two databases, the settings and a handful of keys."""
MADE_MS_MAX: Final = 253_402_200_000_000
"""The last day of the year 9999: no calendar here goes further."""
ACCOUNTS: Final = "accounts.db"
KEYS: Final = "keys"
COPY_BYTES: Final = 1_048_576
"""Read at a time."""


class BackupRefused(HedgerowError):
    """A backup that cannot be written, or a file that is no whole backup."""

    code = "backup_refused"
    status = 400


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup file says of itself."""

    town: str
    made_ms: int
    has_keys: bool
    bytes: int


def write_backup(data: Path, file: Path, *, town: str, made_ms: int, with_keys: bool) -> Backup:
    """Write a backup of a data directory, of a running node or not; takes a while, so call it off the loop.

    Args:
        file: Must not be there yet; readable by its owner alone.
        with_keys: Put in what lies in `keys`: whoever has the file then is this board.

    Raises:
        BackupRefused: It cannot be written, or the database is damaged.
    """
    if file.exists():
        raise BackupRefused(f"{file} is there already: a backup is never written over another file.")
    beside = file.with_name(file.name + ".part")
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".backup-") as folder:
            members = _gather(data, Path(folder), file, with_keys=with_keys)
            files = {name: {"bytes": path.stat().st_size, "hash": _hash(path)} for name, path in members}
            manifest = {
                "format": FORMAT, "town": town, "made_ms": made_ms, "keys": with_keys, "files": files,
            }  # fmt: skip
            beside.unlink(missing_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                with tarfile.open(fileobj=out, mode="w") as tar:
                    described = Path(folder) / MANIFEST
                    described.write_text(json.dumps(manifest, indent=1), "utf-8")
                    for name, path in [(MANIFEST, described), *members]:
                        tar.add(path, arcname=name, recursive=False, filter=_plain)
                out.flush()
                os.fsync(out.fileno())
            beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BackupRefused(f"{file} cannot be written: {error.strerror}. Give another place.") from None
    return Backup(town, made_ms, with_keys, file.stat().st_size)


def restore_backup(file: Path, data: Path) -> Backup:
    """Put a backup where a node can run on it. All that it says is checked before anything is put there.

    The board then opens a new epoch, and takes what this key wrote before now for its own.

    Raises:
        BackupRefused: It is no whole backup, or something lies in the directory.
        DataNewer: A newer program wrote it.
        DataInUse: A node runs there.
    """
    if data.exists() and any(each.name != LOCK for each in data.iterdir()):
        raise BackupRefused(
            f"{data} is not empty: a backup is restored into an empty directory; move away what lies there,"
            " or give another --data."
        )
    lock = lock_directory(data)
    try:
        with tempfile.TemporaryDirectory(dir=data, prefix=".restore-") as folder:
            manifest = _unpack(file, Path(folder))
            _note_restore(Path(folder) / DATABASE, manifest["made_ms"])
            for name in manifest["files"]:
                target = data / name
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                (Path(folder) / name).replace(target)
                target.chmod(0o600)
    except OSError as error:
        raise BackupRefused(f"{data} cannot be written: {error.strerror}. Give another place.") from None
    finally:
        lock.close()
    return Backup(manifest["town"], manifest["made_ms"], manifest["keys"], file.stat().st_size)


def _gather(data: Path, folder: Path, file: Path, *, with_keys: bool) -> list[tuple[str, Path]]:
    """Copy what belongs into a backup; return the names and where the copies lie."""
    members: list[tuple[str, Path]] = []
    for name in (DATABASE, ACCOUNTS):
        if (data / name).exists():
            _copy_database(data / name, folder / name, file)
            members.append((name, folder / name))
    if not members or members[0][0] != DATABASE:
        raise BackupRefused(f"{data} holds no database: nothing has been kept there yet.")
    others = [data / SETTINGS_FILE, *(sorted((data / KEYS).glob("*.key")) if with_keys else [])]
    for path in others:
        if path.exists():
            copy = folder / path.relative_to(data)
            copy.parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copyfile(path, copy)
            members.append((path.relative_to(data).as_posix(), copy))
    return members


def _copy_database(source: Path, copy: Path, file: Path) -> None:
    """Copy a database that may be written to meanwhile, for a backup file, and look through the copy."""
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(copy)) as kept,
        ):
            live.backup(kept)
            kept.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.Error as error:
        for path, remedy in (
            (copy, "free some room there, or give another place"),
            (source, "free some room"),
        ):
            if is_full(error, path.parent):
                where = file.parent if path is copy else source.parent
                raise BackupRefused(f"the disk that {where} lies on is full: {remedy}.") from None
        raise BackupRefused(
            f"{source} cannot be copied ({error}): it is damaged or its disk fails; this backup was not kept."
        ) from None
    damage = _damage(copy)
    if damage:
        raise BackupRefused(f"{source} is damaged ({damage}): this backup was not kept.")


def _unpack(file: Path, folder: Path) -> dict[str, Any]:
    """Unpack a backup into a folder and check every byte of it; return its manifest."""
    altered = BackupRefused(f"{file} is damaged or was altered: take another backup.")
    try:
        with tarfile.open(file, mode="r:") as tar:
            first = tar.next()
            if (
                first is None
                or first.name != MANIFEST
                or not _is_whole(first)
                or first.size > MANIFEST_BYTES_MAX
            ):
                raise BackupRefused(f"{file} is no backup of a node.")
            manifest = _manifest(file, (tar.extractfile(first) or file.open("rb")).read())
            files = dict(manifest["files"])
            while (member := tar.next()) is not None:
                said = files.pop(member.name, None)
                stream = tar.extractfile(member) if _is_whole(member) else None
                if said is None or stream is None or said["bytes"] != member.size:
                    raise altered
                path = folder / member.name
                path.parent.mkdir(mode=0o700, exist_ok=True)
                with path.open("xb") as out:
                    shutil.copyfileobj(stream, out, COPY_BYTES)
                if _hash(path) != said["hash"]:
                    raise altered
    except (tarfile.TarError, EOFError) as error:
        raise altered from error
    except FileNotFoundError:
        raise BackupRefused(f"there is no file {file}.") from None
    if files:
        raise BackupRefused(f"{file} is cut short: take another backup.")
    for name in (DATABASE, ACCOUNTS):
        if (folder / name).exists() and _damage(folder / name):
            raise altered
    return manifest


def _manifest(file: Path, raw: bytes) -> dict[str, Any]:
    """Return a manifest all of whose fields are as they must be."""
    refused = BackupRefused(f"{file} is no backup of a node.")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise refused from None
    if not isinstance(found, dict) or type(found.get("format")) is not int:
        raise refused
    if found["format"] > FORMAT:
        raise DataNewer(f"{file} was written by a newer version of hedgerow: install that version first.")
    files = found.get("files")
    if not (
        isinstance(files, dict)
        and DATABASE in files
        and len(files) <= MEMBERS_MAX
        and all(_is_ours(name) and _is_told(said) for name, said in files.items())
        and isinstance(found.get("town"), str)
        and type(found.get("made_ms")) is int
        and 0 <= found["made_ms"] <= MADE_MS_MAX
        and type(found.get("keys")) is bool
    ):
        raise refused
    return found


def _is_whole(member: tarfile.TarInfo) -> bool:
    """Tell whether a member is a plain file all of whose bytes lie in the backup: a sparse one unfolds."""
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None


def _is_ours(name: str) -> bool:
    """Tell whether a file of this name belongs into a data directory; never one that leads out of it."""
    if name in (DATABASE, ACCOUNTS, SETTINGS_FILE):
        return True
    folder, _, key = name.partition("/")
    return folder == KEYS and key.endswith(".key") and key.replace(".", "").replace("-", "").isalnum()


def _is_told(said: object) -> bool:
    return isinstance(said, dict) and type(said.get("bytes")) is int and isinstance(said.get("hash"), str)


def _note_restore(database: Path, made_ms: int) -> None:
    """Let a restored store know that it does not know what this board wrote since."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM meta WHERE name = ?", (BEGUN,))
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (RESTORED, made_ms))
        connection.commit()


def _damage(database: Path) -> str:
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            answer = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    return "" if answer == "ok" else answer


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=32, person=b"hedgerow/backup")
    with path.open("rb") as file:
        while part := file.read(COPY_BYTES):
            digest.update(part)
    return digest.hexdigest()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Say nothing of this machine and its users."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member
