"""Real boards: one is copied, one is restored from an old backup, one is stolen and taken back."""

import asyncio
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from node.cli.client import Refused
from node.demo.line import Line, until
from node.demo.town import TownFailed, TownProcess

HERE, MIDDLE, THERE = range(3)


async def _post(town: TownProcess, title: str) -> str:
    """Post an offer and return its address, which is then on the disk."""
    return str((await town.ask("post", kind="offer", fields={"title": title}))["address"])


async def _titles(town: TownProcess) -> set[str]:
    return {str(each["fields"]["title"]) for each in (await town.documents()).values()}


async def _equal(*towns: TownProcess) -> None:
    """Wait until all show the same digest for every lane."""

    async def same() -> bool:
        digests = [await town.digests() for town in towns]
        return bool(digests[0]) and all(each == digests[0] for each in digests)

    await until("all copies are equal", same)


async def _linked(board: TownProcess, *others: TownProcess) -> None:
    """Let boards call each other."""
    for other in others:
        await board.ask("peer_add", url=other.url, approve=True)


def _copy(town: TownProcess, name: str) -> TownProcess:
    """Copy a stopped board's directory, as somebody copies a card."""
    twin = TownProcess(town.name, town.data.with_name(name))
    shutil.copytree(town.data, twin.data, ignore=shutil.ignore_patterns("control*", "node.log"))
    return twin


async def _says(town: TownProcess) -> str:
    """What `status` prints, as the operator reads it."""
    return await town.command("status")


async def _ends(towns: Iterable[TownProcess]) -> None:
    await asyncio.gather(*(town.stop() for town in towns), return_exceptions=True)


async def _second_board(line: Line, place: int, name: str) -> TownProcess:
    """Make another device of a town from its words, and let it fetch from the first and from a neighbour."""
    first = line.towns[place]
    secret = {"HEDGEROW_PASSPHRASE": line.begun[place]["passphrase"]}
    words = json.loads(await TownProcess(first.name, first.data, secret).command("key", "words", "--json"))
    board = TownProcess(first.name, first.data.with_name(name), {"HEDGEROW_WORDS": words["words"]})
    await board.command("init", "--words", "--json")
    await board.start()
    await _linked(board, first, line.towns[MIDDLE])
    return board


@pytest.mark.timeout(240)
async def test_a_stolen_board_is_taken_back_and_what_it_spoilt_stands_again(line: Line) -> None:
    """On four boards: two of the town, and two neighbours."""
    board, middle, there = line.towns
    own = await _second_board(line, HERE, "second")
    thief = own
    try:
        bread = await _post(board, "Bread")
        soup = await _post(board, "Soup")
        await board.ask("post", kind="offer", fields={"title": "Only ours"}, audience="town")
        await _post(thief, "Honest work of the second board")
        await _equal(board, own, middle, there)
        await until("the boards share what never leaves town", lambda: _has(own, "Only ours"))
        shown = await board.ask("key_show")
        stolen = next(each["device"] for each in shown["devices"] if not each["this"])
        before = (await thief.ask("status"))["clock"]["now_ms"] + 1
        await asyncio.sleep(0.01)
        await thief.ask("edit", address=bread, fields={"title": "Send money to Mallory"})
        await thief.ask("withdraw", address=soup)
        await _post(thief, "Gold for nothing")
        await _equal(board, own, middle, there)
        assert {"Bread", "Soup"} & await _titles(there) == set()
        secret = line.begun[HERE]["passphrase"]
        proposed = await board.ask("key_revoke", device=stolen[:12], keep="since", since_ms=before)
        # What it posted, and the first entry of that one's ledger.
        assert (proposed["kept"], proposed["done"]) == (2, False)
        with pytest.raises(Refused, match="passphrase"):
            await board.ask("key_revoke", device=stolen, keep="none", secret="not the passphrase of it")
        with pytest.raises(Refused, match="another board"):
            this = next(each["device"] for each in shown["devices"] if each["this"])
            await board.ask("key_revoke", device=this, keep="none", secret=secret)
        done = await board.ask("key_revoke", device=stolen, keep="since", since_ms=before, secret=secret)
        assert done["kept"] == 2
        for town in (board, middle, there):
            honest = {"Bread", "Soup", "Honest work of the second board"}
            await _shows(town, honest, without={"Send money to Mallory", "Gold for nothing"})
        await _equal(board, middle, there)
        for town in (board, middle, there):
            assert "has taken back a device" in await _says(town)
        await until("the stolen board is refused", lambda: _is_down(thief))
        await until("the stolen board is shown that it was taken back", lambda: _is_taken_back(thief))
        assert "This board's key was taken back by its town" in await _says(thief)
        # Nothing that it writes goes anywhere any more.
        with pytest.raises(Refused, match="certified"):
            await _post(thief, "More gold")
        await _post(there, "Later")
        await _equal(board, middle, there)
        assert not any([await _has(town, "More gold") for town in (board, middle, there)])
    finally:
        await _ends([own])


async def _has(town: TownProcess, title: str) -> bool:
    return title in await _titles(town)


async def _is_taken_back(board: TownProcess) -> bool:
    return bool((await board.ask("status"))["keys"]["taken_back"])


async def _is_left_out(board: TownProcess) -> bool:
    return "did not keep this board" in (await board.ask("status"))["keys"]["says"]


async def _shows(town: TownProcess, titles: set[str], *, without: set[str]) -> None:
    """Wait until a board shows these titles and none of those."""

    async def shown() -> bool:
        found = await _titles(town)
        return titles <= found and not without & found

    await until(f"{town.name} shows {titles}", shown)


async def _is_down(board: TownProcess) -> bool:
    return all(row["state"] != "up" for row in (await board.ask("status"))["peers"])


@pytest.mark.timeout(240)
async def test_two_boards_with_one_key_find_out_and_lose_nothing(line: Line) -> None:
    board, middle, there = line.towns
    await _post(board, "Before the copy")
    await _equal(*line.towns)
    await board.stop()
    twin = _copy(board, "twin")
    await board.start()
    await twin.start()
    try:
        await _post(board, "By the board")
        await _post(twin, "By its copy")
        await _linked(twin, middle)
        await _equal(board, middle, there, twin)

        async def found() -> bool:
            return all([(await each.ask("status"))["keys"]["clone"] for each in (board, twin)])

        await until("both boards notice", found)
        for each in (board, twin):
            assert "Another board writes with this board's key" in await _says(each)
        assert not (await middle.ask("status"))["keys"]["clone"]
        await board.command("key", "clone", "--this-one-lives")
        with pytest.raises(TownFailed, match="stop it first"):
            twin.environment = {"HEDGEROW_PASSPHRASE": line.begun[HERE]["passphrase"]}
            await twin.command("key", "clone", "--renew")
        await twin.stop()
        await twin.command("key", "clone", "--renew")
        await twin.start()
        await _post(twin, "By the renewed copy")
        await _linked(twin, middle)
        await _equal(board, middle, there, twin)
        wanted = {"Before the copy", "By the board", "By its copy", "By the renewed copy"}
        for town in (board, middle, there, twin):
            assert wanted <= await _titles(town), town.name
        for each in (board, twin):
            assert not (await each.ask("status"))["keys"]["clone"]
        devices = (await board.ask("key_show"))["devices"]
        assert [each["state"] for each in devices] == ["certified"] * 2
    finally:
        await _ends([twin])


@pytest.mark.timeout(240)
async def test_an_old_backup_that_is_restored_and_written_to_is_no_clone(line: Line, tmp_path: Path) -> None:
    board, _, there = line.towns
    await _post(board, "In the backup")
    file = tmp_path / "board.tar"
    made = json.loads(await board.command("backup", str(file), "--with-keys", "--json"))
    assert made["keys"] and file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(TownFailed, match="there already"):
        await board.command("backup", str(file))
    with pytest.raises(TownFailed, match="not empty"):
        await board.command("restore", str(file))
    lost = await _post(board, "After the backup")
    await _equal(*line.towns)
    await board.kill()
    board.data.rename(board.data.with_name("lost"))
    await board.command("restore", str(file))
    await board.start()
    await _post(board, "After the restore")
    await _equal(*line.towns)
    for town in line.towns:
        assert {"In the backup", "After the backup", "After the restore"} <= await _titles(town), town.name
    status: dict[str, Any] = await board.ask("status")
    assert status["keys"] == {"clone": False, "taken_back": False, "says": ""}
    assert "This board was restored from a backup of" in await _says(board)
    await board.ask("edit", address=lost, fields={"title": "Edited after the restore"})
    await _equal(*line.towns)
    assert await _has(there, "Edited after the restore")


@pytest.mark.timeout(240)
async def test_a_stolen_town_key_is_followed_by_the_next_one(line: Line, tmp_path: Path) -> None:
    board, middle, there = line.towns
    bread = await _post(board, "Bread")
    await _equal(*line.towns)
    paper = line.begun[HERE]["paper"]
    truncated = " ".join(paper.split()[:-1])
    for words, says in ((truncated, "24 words"), (line.begun[THERE]["paper"], "another town")):
        with pytest.raises(Refused, match=says):
            await board.ask("key_rotate", words=words, keep="all")
    # The thief has the town key: he makes a board of his own, and takes the honest one back.
    secret = line.begun[HERE]["passphrase"]
    thief = TownProcess("Thief", tmp_path / "thief", {"HEDGEROW_PASSPHRASE": secret})
    await thief.command("init", "--key", str(board.data / "keys" / "town.key"), "--json")
    await thief.start()
    try:
        await _linked(thief, middle)
        await _equal(board, middle, there, thief)
        shown = await thief.ask("key_show")
        honest = next(each["device"] for each in shown["devices"] if not each["this"])
        await thief.ask("withdraw", address=bread)
        await thief.ask("key_revoke", device=honest, keep="none", secret=secret)
        await until("the honest board is out", lambda: _is_down(board))
        made = await board.ask("key_rotate", words=paper, keep="none")
        assert made["passphrase"]
        status = await board.ask("status")
        assert not status["keys"]["taken_back"], status["keys"]
        await _post(board, "Mine again")
        for town in (board, middle, there):
            await _shows(town, {"Bread", "Mine again"}, without=set())
        await _equal(board, middle, there)
        assert "has a new town key" in await _says(there)
        await until("the thief's board is shown that another key has taken over", lambda: _is_left_out(thief))
        board.environment = {"HEDGEROW_PASSPHRASE": made["passphrase"]}
        words = json.loads(await board.command("key", "words", "--json"))["words"]
        board.environment = {"HEDGEROW_WORDS": words}
        assert "has the town's keys of today" in await board.command("key", "adopt")
    finally:
        await _ends([thief])
