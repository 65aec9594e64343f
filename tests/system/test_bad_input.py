"""What goes wrong at a node from outside: each ends in one clear line or a problem document, no traceback.

One test for each thing that can be wrong, named by it: a data directory in use, unreadable, from a newer
version; a full disk; half-open, silent and babbling connections; a wrong invitation.
"""

import asyncio
import contextlib
import json
import os
import resource
import secrets
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from node.cli.client import Refused
from node.demo.line import Line, until
from node.demo.town import LOG_FILE, TownFailed, TownProcess

Read = Callable[[str], Awaitable[str]]

STRANGERS = 60
ROOM_BYTES = 256 * 1024
"""Room that is left under the limit: some posts fit, then no more do."""
DISK_BYTES = 4 * 1024 * 1024
POSTS_MAX = 3_000
"""Ten million bytes of text: more than either disk holds."""


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[TownProcess]:
    """A town that has begun; its node does not run yet."""
    made = TownProcess("Roanne", tmp_path / "roanne")
    await made.init()
    yield made
    await made.stop()


def _one_line(town: TownProcess, error: TownFailed) -> str:
    """The line in which the node said why it does not start; nothing else may be in its log."""
    log = (town.data / LOG_FILE).read_text("utf-8") if (town.data / LOG_FILE).is_file() else str(error)
    assert "Traceback" not in log
    assert len(log.strip().splitlines()) == 1, log
    assert "hedgerow: " in str(error)
    return str(error)


async def _refusal(town: TownProcess) -> str:
    with pytest.raises(TownFailed) as caught:
        await town.start()
    return _one_line(town, caught.value)


async def test_a_data_directory_in_use(town: TownProcess) -> None:
    await town.start()
    second = TownProcess("Roanne", town.data)
    with pytest.raises(TownFailed) as caught:
        await second.command("run", "--listen", "127.0.0.1:0")
    assert "another node runs on the data directory" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert (await town.ask("status"))["town"]["name"] == "Roanne"


@pytest.mark.parametrize("file", ["hedgerow.db", "keys/device.key", "hedgerow.toml"])
async def test_a_data_directory_with_an_unreadable_file(town: TownProcess, file: str) -> None:
    (town.data / file).write_bytes(b"\xff this is not ours \x00" * 100)
    assert str(town.data / file) in await _refusal(town)


async def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    town = TownProcess("Roanne", tmp_path / "data")
    for arguments in (["init", "--name", "Roanne"], ["run"], ["status"]):
        with pytest.raises(TownFailed) as caught:
            await town.command(*arguments)
        assert "Traceback" not in str(caught.value)
        assert str(caught.value).count("\n") == 0


async def test_a_data_directory_without_keys(tmp_path: Path) -> None:
    town = TownProcess("Roanne", tmp_path / "empty")
    with pytest.raises(TownFailed) as caught:
        await town.command("run")
    assert "hedgerow init" in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert not (tmp_path / "empty" / "hedgerow.db").exists()


async def test_a_data_directory_from_a_newer_version(town: TownProcess) -> None:
    path = town.data / "hedgerow.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    assert "newer version" in await _refusal(town)
    assert path.read_bytes() == before


async def test_an_unknown_setting(town: TownProcess) -> None:
    (town.data / "hedgerow.toml").write_text('[web]\nlisen = "x"\n')
    assert "did you mean listen?" in await _refusal(town)


async def test_an_address_that_is_taken(town: TownProcess) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    town.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        assert town.url.rpartition(":")[2] in await _refusal(town)
    finally:
        server.close()


async def test_a_full_disk(tmp_path: Path, read: Read) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("root that may mount a small file system is needed")
    town = TownProcess("Roanne", disk / "roanne")
    try:
        await town.init()
        await town.start()
        more = ["mount", "-o", f"remount,size={DISK_BYTES * 10}", str(disk)]
        await _posting_stops_and_resumes(town, read, lambda: subprocess.run(more, check=True))
    finally:
        await town.stop()
        subprocess.run(["umount", str(disk)], check=True)


async def test_a_full_disk_that_anybody_can_make(town: TownProcess, read: Read) -> None:
    await town.start()
    # A limit on the size of files is a full disk to the database: EFBIG where ENOSPC would be.
    largest = max(path.stat().st_size for path in town.data.iterdir() if path.is_file())
    unlimited = resource.prlimit(town.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(town.pid, resource.RLIMIT_FSIZE, (largest + ROOM_BYTES, unlimited[1]))
    pid = town.pid
    await _posting_stops_and_resumes(
        town, read, lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    )


async def _posting_stops_and_resumes(town: TownProcess, read: Read, make_room: Callable[[], object]) -> None:
    """Post until the disk is full: one clear refusal, pages go on; with room, posting goes on."""
    acknowledged: list[str] = []

    async def post() -> None:
        text = secrets.token_hex(1_500)
        posted = await town.ask("post", kind="need", fields={"title": "Sand", "text": text}, audience="town")
        acknowledged.append(str(posted["address"]))

    await post()
    with pytest.raises(Refused) as caught:
        for _ in range(POSTS_MAX):
            await post()
    assert caught.value.problem["code"] == "storage_unavailable"
    assert caught.value.problem["status"] == 503
    assert "Roanne" in await read(town.url), "pages go on"
    assert (await town.ask("show", address=acknowledged[0]))["fields"]["title"] == "Sand"
    make_room()
    await post()
    await town.kill()
    await town.start()
    present = {document["address"] for document in (await town.documents()).values()}
    assert present >= set(acknowledged)
    assert "Traceback" not in (town.data / LOG_FILE).read_text("utf-8")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("manner", ["half-open", "silent", "babbling"])
async def test_connections_that_are(manner: str, line: Line, read: Read) -> None:
    left, _, right = line.towns
    writers = [await _stranger(manner, town) for town in line.towns for _ in range(STRANGERS // 3)]
    posted = await left.ask("post", kind="offer", fields={"title": f"Bread beside {manner} strangers"})

    async def arrived() -> bool:
        return f"beside {manner} strangers" in await read(f"{right.url}/d/{posted['address']}")

    await until("the post has arrived", arrived, within_s=20)
    for writer in writers:
        writer.close()
    for town in line.towns:
        assert (await town.ask("status"))["peers"]
        assert "Traceback" not in (town.data / LOG_FILE).read_text("utf-8")


async def _stranger(manner: str, town: TownProcess) -> asyncio.StreamWriter:
    """Open a connection: a request that never ends, nothing at all, or noise behind an upgrade."""
    host, port = town.address
    _, writer = await asyncio.open_connection(host, port)
    if manner == "half-open":
        writer.write(b"GET /sync HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgr")
    if manner == "babbling":
        upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        writer.write(b"GET /sync HTTP/1.1\r\nHost: 127.0.0.1\r\n" + upgrade + key + b"\r\n")
        writer.write(b"\x82\xfe\x04\x00" + secrets.token_bytes(4 + 1_024) + secrets.token_bytes(4_096))
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    return writer


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("not a code at all", "invitation_mistyped"),
        ("", "invalid_request"),
        ("A" * 5_000, "invitation_mistyped"),
    ],
)
async def test_a_wrong_invitation(town: TownProcess, code: str, named: str) -> None:
    await town.start()
    with pytest.raises(Refused) as caught:
        await town.ask("join", code=code)
    assert caught.value.problem["code"] == named
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(120)
async def test_an_invitation_that_was_used_already_or_changed_on_its_way(line: Line, tmp_path: Path) -> None:
    founder = line.towns[1]
    code = (await founder.ask("invite", url=founder.url))["code"]
    late = [TownProcess(name, tmp_path / name) for name in ("Renaison", "Pouilly")]
    try:
        for town in late:
            await town.init()
            await town.start()
        assert (await late[0].ask("join", code=code))["state"] == "joined"
        with pytest.raises(Refused) as caught:
            await late[1].ask("join", code=code)
        assert "\n" not in str(caught.value)
        assert caught.value.problem["code"].startswith("invitation_")
        with pytest.raises(TownFailed) as failed:
            await late[1].command("federation", "join", code[:-3])
        assert str(failed.value).count("hedgerow: ") == 1
        assert "Traceback" not in str(failed.value)
    finally:
        for town in late:
            await town.stop()


async def test_arguments_that_are_not_ours_on_the_control_socket(town: TownProcess) -> None:
    await town.start()
    for content in (b"", b"[]", b"{", b'{"kind": 3}', b'{"kind": "offer", "form": 7}', b"\xff" * 100):
        reader, writer = await asyncio.open_unix_connection(str(town.data / "control.sock"))
        head = f"Host: x\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        writer.write(b"POST /control/post HTTP/1.1\r\n" + head.encode() + content)
        answer = await reader.read()
        writer.close()
        problem = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert problem["code"] in {"invalid_request", "invalid_field", "unknown_kind"}
        assert problem["status"] == 400
