"""The files of a store: who may open them, what is refused untouched, and what is there after a crash."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from node.errors import DataInUse, DataNewer, DataUnreadable, HedgerowError, StorageUnavailable
from node.store import Query, Transaction, database, open_store
from node.store.database import DATABASE
from node.store.sqlite import SqliteStore
from protocol.ids import Op
from protocol.kinds import KINDS
from tests.node.stores import BASIS, BEE, OWN, RIVER, offer, open_bench, open_sqlite
from tests.sync.world import NOW_S

ROOT = Path(__file__).resolve().parents[2]


def contents(directory: Path) -> dict[str, bytes]:
    """Return every file of a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def refused(directory: Path, error: type[HedgerowError]) -> HedgerowError:
    """Open a store that must be refused in one clear line; nothing stays locked."""
    with pytest.raises(error) as caught:
        open_sqlite(directory)
    assert "\n" not in caught.value.says
    assert len(caught.value.says) > 20
    return caught.value


async def test_a_data_directory_in_use_is_refused(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path)
    assert refused(tmp_path, DataInUse).code == "data_in_use"
    await store.close()
    await open_sqlite(tmp_path).close()


async def test_a_data_directory_from_a_newer_version_is_refused_and_not_a_byte_changes(
    tmp_path: Path,
) -> None:
    await open_sqlite(tmp_path).close()
    with sqlite3.connect(tmp_path / database.DATABASE) as connection:
        connection.execute("PRAGMA user_version = 999")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    before = contents(tmp_path)
    assert refused(tmp_path, DataNewer).code == "data_newer"
    assert contents(tmp_path) == before


def test_an_unreadable_data_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("not a directory")
    assert refused(tmp_path / "a-file", DataUnreadable).code == "data_unreadable"
    (tmp_path / "folder" / database.DATABASE).mkdir(parents=True)
    refused(tmp_path / "folder", DataUnreadable)


@pytest.mark.parametrize("bytes_", [b"\x00" * 4096, b"SQLite format 3\0", os.urandom(5000)])
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, bytes_: bytes) -> None:
    (tmp_path / database.DATABASE).write_bytes(bytes_)
    refused(tmp_path, DataUnreadable)
    assert (tmp_path / database.DATABASE).read_bytes() == bytes_


def test_the_database_of_another_program_is_refused_and_kept(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / database.DATABASE) as connection:
        connection.executescript("CREATE TABLE theirs (a); PRAGMA user_version = 1")
    connection.close()
    before = contents(tmp_path)[database.DATABASE]
    refused(tmp_path, DataUnreadable)
    assert contents(tmp_path)[database.DATABASE] == before


async def test_the_data_of_another_town_are_refused(tmp_path: Path) -> None:
    await open_sqlite(tmp_path).close()
    with pytest.raises(DataUnreadable, match="another town"):
        open_sqlite(tmp_path, BEE.id)
    await open_sqlite(tmp_path).close()


async def test_commits_are_synced_to_the_disk_before_anybody_hears_of_them(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path)
    pragmas = await store.write(
        lambda tx: {
            name: tx.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    )
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 0}
    await store.close()


async def test_a_store_keeps_its_records_and_meta_over_a_restart_and_opens_another_epoch(
    tmp_path: Path,
) -> None:
    store = open_sqlite(tmp_path)
    epoch, counter = await store.write(lambda tx: tx.next_seq())
    await _take(store, BASIS)
    await store.write(lambda tx: tx.set_meta("note", "kept"))
    change = await store.read(lambda reader: reader.change())
    await store.close()
    store = open_store(tmp_path, OWN.id, chance=os.urandom)
    again, first = await store.write(lambda tx: tx.next_seq())
    assert again != epoch and (counter, first) == (1, 1)
    known = await store.read(lambda reader: reader.rows("SELECT epoch, until FROM epochs"))
    assert set(known) == {(epoch, None), (again, None)}
    assert await store.read(lambda reader: reader.meta("note")) == "kept"
    assert await store.read(lambda reader: reader.change()) == change
    assert (await store.read(lambda reader: reader.authority())).is_member(_river(), BEE.id)
    assert store.damage is None
    await store.close()


async def test_a_full_disk_refuses_writes_with_one_clear_line_while_reads_go_on(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path)
    await _take(store, BASIS)
    pages = await store.write(lambda tx: tx.rows("PRAGMA page_count")[0][0])
    await store.write(lambda tx: tx.rows(f"PRAGMA max_page_count = {int(str(pages)) + 8}"))
    kept: list[str] = []
    told: list[str] = []
    with pytest.raises(StorageUnavailable) as caught:
        for number in range(200):
            title = f"Thing {number}"
            await _take(store, [offer(BEE, title)], lambda _, title=title: told.append(title))
            kept.append(title)
    assert (caught.value.code, caught.value.status) == ("storage_unavailable", 503)
    assert told == kept, "what failed is not announced"
    totals = await store.read(lambda reader: reader.totals())
    assert totals.documents == len(kept) > 0
    await store.write(lambda tx: tx.rows("PRAGMA max_page_count = 1000000"))
    await _take(store, [offer(BEE, "Room again")])
    assert (await store.read(lambda reader: reader.totals())).documents == len(kept) + 1
    await store.close()
    assert database.damage(store.path) is None


async def test_a_row_that_names_a_missing_one_is_told_as_damage(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path)
    await _take(store, BASIS)
    await store.write(lambda tx: tx.run("DELETE FROM towns WHERE number = 1"))
    await store.close()
    damage = database.damage(store.path)
    assert damage is not None
    assert "documents names one that is missing in towns" in damage


async def test_all_work_of_a_turn_that_the_disk_refused_is_told_so(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path)
    await store.write(lambda tx: tx.set_meta("count", 0))

    def full(tx: Transaction) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    def add(tx: Transaction) -> None:
        tx.set_meta("count", int(str(tx.meta("count"))) + 1)

    work: list[Callable[[Transaction], None]] = [add, full, add]
    results = await asyncio.gather(*(store.write(each) for each in work), return_exceptions=True)
    failed = [isinstance(each, StorageUnavailable) for each in results]
    assert failed[1]
    assert await store.read(lambda reader: reader.meta("count")) == failed.count(False)
    await store.write(add)
    await store.close()


SHAPE_ONE = """
    CREATE TABLE kept AS SELECT place, words FROM documents WHERE place IS NOT NULL;
    DROP TABLE search;
    CREATE VIRTUAL TABLE search USING fts5 (
        terms, tokenize = "unicode61 remove_diacritics 2", detail = none, columnsize = 0
    );
    INSERT INTO search (rowid, terms) SELECT place, words FROM kept;
    DROP TABLE kept;
    ALTER TABLE documents DROP COLUMN words;
    ALTER TABLE quota_counts DROP COLUMN ranked;
    INSERT INTO quota_documents
        SELECT q.lane, q.town, q.allotment, d.born, d.doc
        FROM quota_counts q JOIN documents d ON d.town = q.town WHERE q.allotment = 0 AND d.kind = 'offer';
    PRAGMA user_version = 1;
"""
"""From the present shape back to the first."""


def test_a_store_of_the_first_shape_comes_up_to_date_with_all_that_it_holds(tmp_path: Path) -> None:
    """Its words are found and forgotten as before, and a quota ranks its documents when it is reached."""
    bench = open_bench("sqlite", tmp_path)
    first, second = offer(BEE, "Bread"), offer(BEE, "Milk", born=NOW_S - 60)
    bench.hold(*BASIS, first, second)
    bench.close()
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.executescript(SHAPE_ONE)
        older = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'documents'").fetchone()[0]
        assert "words" not in older
    bench = open_bench("sqlite", tmp_path)
    try:
        bench.hold(offer(BEE, "Honey"), offer(BEE, "Bread", op=Op.DELETE))

        def look(tx: Transaction) -> None:
            titles = [
                [each.fields["title"] for each in tx.documents(Query(text=word), NOW_S).documents]
                for word in ("bread", "milk", "honey")
            ]
            assert titles == [[], ["Milk"], ["Honey"]]
            key = (RIVER, KINDS["offer"].lane)
            assert tx.document_count(key, BEE.id) == 3
            assert tx.oldest_documents(key, BEE.id, 1) == [(NOW_S - 60, second.doc)]

        bench.write(look)
    finally:
        bench.close()


@pytest.mark.parametrize("error", [KeyError("x"), StopIteration("x"), SystemExit(3), MemoryError()])
async def test_the_writer_outlives_whatever_work_raises(tmp_path: Path, error: BaseException) -> None:
    store = open_sqlite(tmp_path)

    def work(tx: Transaction) -> None:
        raise error

    with pytest.raises(RuntimeError if isinstance(error, StopIteration) else type(error)):
        await store.write(work)
    assert await store.write(lambda tx: 7) == 7
    await store.close()
    with pytest.raises(StorageUnavailable):
        await store.write(lambda tx: 7)


async def test_what_an_announcement_raises_is_nobody_elses_trouble(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_sqlite(tmp_path)
    assert await store.write(lambda tx: 7, then=lambda seven: [][seven]) == 7
    assert "announcing a commit failed" in caplog.text
    await store.close()


async def test_readers_see_only_what_is_committed(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path)
    loop = asyncio.get_running_loop()

    def work(tx: Transaction) -> Any:
        tx.set_meta("note", "new")
        return asyncio.run_coroutine_threadsafe(store.read(lambda reader: reader.meta("note")), loop).result(
            60
        )

    assert await store.write(work) is None
    assert await store.read(lambda reader: reader.meta("note")) == "new"
    with pytest.raises(StorageUnavailable, match="readonly"):
        await store.read(lambda reader: reader.rows("DELETE FROM meta"))
    await store.close()


def test_a_killed_store_has_everything_that_was_acknowledged(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path; from tests.node.stores import open_sqlite\n"
        "async def main():\n"
        "    store = open_sqlite(Path(sys.argv[1]))\n"
        "    for number in range(10**9):\n"
        "        await asyncio.gather(*(store.write(lambda tx, name=f'{number}.{each}': tx.set_meta(name, 1))"
        " for each in range(5)))\n"
        "        print(number, flush=True)\n"
        "asyncio.run(main())\n"
    )
    for lines in (1, 3, 7):
        command = [sys.executable, "-c", script, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(lines):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
        last = int(rest[-1]) if rest else last
        found = _metas(tmp_path)
        assert {f"{number}.{each}" for number in range(last + 1) for each in range(5)} <= found


def _metas(directory: Path) -> set[str]:
    async def look() -> set[str]:
        store = open_sqlite(directory)
        rows = await store.read(lambda reader: reader.rows("SELECT name FROM meta"))
        await store.close()
        assert store.damage is None
        return {str(name) for (name,) in rows}

    return asyncio.run(look())


async def test_damage_is_found_after_an_unclean_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_sqlite(tmp_path)
    await _take(store, [*BASIS, *(offer(BEE, f"Thing {number}") for number in range(300))])
    await store.close()
    path = tmp_path / database.DATABASE
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = 0 WHERE name = 'clean'")
        page = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'records_document'"
        ).fetchone()[0]
    connection.close()
    whole = bytearray(path.read_bytes())
    whole[(page - 1) * 4096 + 100 : page * 4096] = b"\xff" * 3996
    path.write_bytes(whole)
    store = open_sqlite(tmp_path)
    await store.close()
    assert store.damage is not None
    assert "damaged" in caplog.text


def test_every_table_is_strict_and_told_in_prose() -> None:
    told: list[str] = []
    for step in (files("node.store") / "schema").iterdir():
        text = step.read_text("utf-8")
        tables = re.findall(r"(--[^\n]*)\n(CREATE (?:VIRTUAL )?TABLE .*?;)\n", text, re.DOTALL)
        assert len(tables) == len(re.findall(r"^CREATE (?:VIRTUAL )?TABLE", text, re.MULTILINE))
        told += [statement for _, statement in tables]
    assert told
    for statement in told:
        assert "STRICT" in statement or "fts5" in statement, statement


def test_migrations_are_numbered_without_a_gap() -> None:
    names = sorted(
        step.name for step in (files("node.store") / "schema").iterdir() if step.name.endswith(".sql")
    )
    assert names == [f"{number:04}.sql" for number in range(1, len(names) + 1)]


async def _take(store: SqliteStore, records: Any, then: Any = None) -> None:
    from node.intake import settle

    await store.write(lambda tx: settle(tx, records, now_ms=NOW_S * 1_000, sure=True), then=then)


def _river() -> Any:
    from tests.node.stores import RIVER

    return RIVER
