"""A backup is whole or it is refused; what is restored is what was there, and nothing else is overwritten."""

from __future__ import annotations

import io
import json
import os
import resource
import sqlite3
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from node import beginnings
from node.backup import BackupRefused, restore_backup, write_backup
from node.beginnings import Town
from node.clones import BEGUN
from node.errors import DataInUse, DataNewer, DataUnreadable, HedgerowError
from node.keys import open_keys, open_town_key
from node.store.database import DATABASE, connect, lock_directory
from protocol.paper import heard, told


async def begun(folder: Path) -> Path:
    """Return a data directory that `init` made."""
    await beginnings.begin(folder, Town("Roanne"))
    (folder / "keys" / "sealing.key").write_bytes(b"another key of this board")
    return folder


async def test_what_is_restored_is_what_was_there(tmp_path: Path) -> None:
    data = await begun(tmp_path / "data")
    made = write_backup(data, tmp_path / "b.tar", town="aa", made_ms=7, with_keys=True)
    assert (made.has_keys, (tmp_path / "b.tar").stat().st_mode & 0o777) == (True, 0o600)
    restored = restore_backup(tmp_path / "b.tar", tmp_path / "again")
    assert (restored.town, restored.made_ms) == ("aa", 7)
    for name in ("hedgerow.toml", "keys/device.key", "keys/town.key", "keys/sealing.key"):
        assert (tmp_path / "again" / name).read_bytes() == (data / name).read_bytes()
        assert (tmp_path / "again" / name).stat().st_mode & 0o777 == 0o600
    assert open_keys(tmp_path / "again" / "keys").certificate == open_keys(data / "keys").certificate
    with sqlite3.connect(tmp_path / "again" / "hedgerow.db") as kept:
        assert kept.execute("SELECT count(*) FROM records").fetchone()[0] == 2
        assert kept.execute("SELECT count(*) FROM meta WHERE name = ?", (BEGUN,)).fetchone()[0] == 0
    assert not [each for each in tmp_path.rglob(".*") if each.name.startswith((".backup", ".restore"))]


async def test_a_backup_without_keys_has_none_and_the_towns_words_give_it_new_ones(tmp_path: Path) -> None:
    made = await beginnings.begin(tmp_path / "data", Town("Roanne"))
    write_backup(tmp_path / "data", tmp_path / "b.tar", town="aa", made_ms=7, with_keys=False)
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert [each.name for each in tar if "key" in each.name] == []
    restore_backup(tmp_path / "b.tar", tmp_path / "again")
    words = told(open_town_key(tmp_path / "data" / "keys", made.passphrase))
    again = await beginnings.begin(tmp_path / "again", Town(""), saved=beginnings.SavedWords(words))
    assert (again.town, again.adopted, again.paper) == (made.town, False, "")
    assert heard(made.paper).town == made.town


def cut(raw: bytes) -> bytes:
    """A file that a full stick cut short."""
    return raw[: len(raw) * 2 // 3]


def altered(raw: bytes) -> bytes:
    """A byte of a database is another."""
    place = raw.index(b"SQLite format 3") + 5_000
    return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]


def with_manifest(change: Callable[[dict[str, object]], object]) -> Callable[[bytes], bytes]:
    """The same backup with another manifest."""

    def turned(raw: bytes) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(raw)) as old, tarfile.open(fileobj=out, mode="w") as new:
            for member in old:
                content = (old.extractfile(member) or io.BytesIO()).read()
                if member.name == "manifest.json":
                    manifest = json.loads(content)
                    change(manifest)
                    content = json.dumps(manifest).encode()
                    member.size = len(content)
                new.addfile(member, io.BytesIO(content))
        return out.getvalue()

    return turned


def lead_out(manifest: dict[str, object]) -> None:
    """Name a file outside the directory."""
    files = manifest["files"]
    assert isinstance(files, dict)
    files["keys/../../../etc/town.key"] = files["hedgerow.toml"]


def nested(raw: bytes) -> bytes:
    """A manifest that nests without end."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = 60_000
        tar.addfile(info, io.BytesIO(b"[" * info.size))
    return out.getvalue()


def sparse(raw: bytes) -> bytes:
    """The same backup, with a database of which it is said that it holds 256 MiB of nothing."""
    size = 256 * 2**20

    def change(manifest: dict[str, object]) -> None:
        manifest["files"] = {"hedgerow.db": {"bytes": size, "hash": "0" * 64}}

    with tarfile.open(fileobj=io.BytesIO(with_manifest(change)(raw))) as tar:
        told_ = tar.extractfile("manifest.json")
        assert told_ is not None
        manifest = told_.read()
    info = tarfile.TarInfo("manifest.json")
    info.size = len(manifest)
    header = tarfile.TarInfo("hedgerow.db")
    header.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (size, 0)  # one piece, of nothing, at the end
    block[483:495] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    whole = manifest.ljust(-(-len(manifest) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, b"\0")
    return info.tobuf(tarfile.GNU_FORMAT) + whole + bytes(block) + bytes(2 * tarfile.BLOCKSIZE)


BAD: list[tuple[Callable[[bytes], bytes], str]] = [
    (cut, "damaged|cut short"),
    (altered, "damaged"),
    (lambda raw: b"", "damaged|no backup"),
    (lambda raw: b"hello" * 300, "damaged"),
    (with_manifest(lambda manifest: manifest.pop("files")), "no backup"),
    (with_manifest(lambda manifest: manifest.update(made_ms="now")), "no backup"),
    (with_manifest(lambda manifest: manifest.update(format="1")), "no backup"),
    (with_manifest(lead_out), "no backup"),
    (with_manifest(lambda manifest: manifest.update(format=2)), "newer version"),
    (nested, "no backup"),
    (sparse, "altered"),
]


@pytest.mark.parametrize(("spoil", "says"), BAD, ids=range(len(BAD)))
async def test_a_damaged_altered_or_newer_backup_is_refused_and_leaves_nothing(
    tmp_path: Path, spoil: Callable[[bytes], bytes], says: str
) -> None:
    data = await begun(tmp_path / "data")
    write_backup(data, tmp_path / "b.tar", town="aa", made_ms=7, with_keys=True)
    (tmp_path / "bad.tar").write_bytes(spoil((tmp_path / "b.tar").read_bytes()))
    # No more may be written than the file can hold.
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * (tmp_path / "b.tar").stat().st_size, limit[1]))
    try:
        with pytest.raises((BackupRefused, DataNewer), match=says) as told_:
            restore_backup(tmp_path / "bad.tar", tmp_path / "again")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "\n" not in str(told_.value)
    assert {each.name for each in (tmp_path / "again").iterdir()} <= {"lock"}


async def test_nothing_is_written_over_another_file_a_node_or_a_running_node(tmp_path: Path) -> None:
    data = await begun(tmp_path / "data")
    write_backup(data, tmp_path / "b.tar", town="aa", made_ms=7, with_keys=True)
    with pytest.raises(BackupRefused, match="there already"):
        write_backup(data, tmp_path / "b.tar", town="aa", made_ms=7, with_keys=True)
    with pytest.raises(BackupRefused, match="not empty"):
        restore_backup(tmp_path / "b.tar", data)
    lock = lock_directory(tmp_path / "busy")
    with pytest.raises(DataInUse):
        restore_backup(tmp_path / "b.tar", tmp_path / "busy")
    lock.close()
    with pytest.raises(BackupRefused, match="no file"):
        restore_backup(tmp_path / "none.tar", tmp_path / "again")
    with pytest.raises(BackupRefused, match="no database"):
        write_backup(tmp_path / "empty", tmp_path / "c.tar", town="aa", made_ms=7, with_keys=True)
    with pytest.raises(BackupRefused, match="cannot be written"):
        write_backup(data, tmp_path / "no" / "c.tar", town="aa", made_ms=7, with_keys=True)


async def test_a_damaged_database_is_not_backed_up_as_if_it_were_whole(tmp_path: Path) -> None:
    data = await begun(tmp_path / "data")
    (data / "hedgerow.db").write_bytes(b"no database at all" * 1_000)
    with pytest.raises(HedgerowError, match=r"cannot be copied|is damaged"):
        write_backup(data, tmp_path / "b.tar", town="aa", made_ms=7, with_keys=True)
    assert not (tmp_path / "b.tar").exists()


async def test_a_full_disk_is_called_full_whether_it_is_the_boards_or_the_backups(tmp_path: Path) -> None:
    data, disk = await begun(tmp_path / "data"), tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("root that may mount a small file system is needed")
    try:
        await begun(disk / "data")
        with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(4_096)):
                pass
        with pytest.raises(DataUnreadable, match="is full: free some room, then start again"):
            connect(disk / "data" / DATABASE)
        with pytest.raises(BackupRefused, match=f"the disk that {disk} lies on is full"):
            write_backup(data, disk / "b.tar", town="aa", made_ms=7, with_keys=True)
        with pytest.raises(BackupRefused, match=f"the disk that {disk / 'data'} lies on is full"):
            write_backup(disk / "data", tmp_path / "b.tar", town="aa", made_ms=7, with_keys=True)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
