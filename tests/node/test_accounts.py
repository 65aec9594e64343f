"""Who may write: PINs, links, sessions, tokens, and how seldom one may be wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from node import accounts as module
from node.accounts import LINK_MS, SESSION_MS, TRIES_MAX, TRY_REFILL_MS, Accounts
from node.errors import DataUnreadable, InvalidRequest, NotFound, NotSignedIn, TooMany


class Times:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at_ms = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
async def accounts(tmp_path: Path, times: Times) -> AsyncIterator[Accounts]:
    made = Accounts(tmp_path / "accounts.sqlite", times.now_ms)
    await made.open()
    await made.add("Alice", "123456")
    yield made
    await made.close()


async def test_who_knows_the_pin_is_signed_in_whatever_the_case_of_the_name(accounts: Accounts) -> None:
    signed = await accounts.sign_in(" alice ", "123456")
    session = accounts.session(signed.cookie)
    assert session is not None
    assert (session.name, session.role) == ("Alice", "resident")


@pytest.mark.parametrize("name", ["Alice", "Nobody", ""])
async def test_a_wrong_pin_and_an_unknown_name_are_refused_alike(accounts: Accounts, name: str) -> None:
    with pytest.raises(NotSignedIn) as refused:
        await accounts.sign_in(name, "654321")
    assert refused.value.code == "wrong_pin"


async def test_after_some_wrong_tries_even_the_right_pin_waits_until_a_try_comes_back(
    accounts: Accounts, times: Times
) -> None:
    for _ in range(TRIES_MAX):
        with pytest.raises(NotSignedIn):
            await accounts.sign_in("alice", "000000")
    with pytest.raises(TooMany):
        await accounts.sign_in("ALICE", "123456")
    times.at_ms += TRY_REFILL_MS
    await accounts.sign_in("alice", "123456")


async def test_a_stranger_who_guesses_does_not_lock_out_a_browser_that_is_known(accounts: Accounts) -> None:
    signed = await accounts.sign_in("Alice", "123456")
    assert signed.browser is not None
    for _ in range(TRIES_MAX):
        with pytest.raises(NotSignedIn):
            await accounts.sign_in("Alice", "000000")
    again = await accounts.sign_in("Alice", "123456", signed.browser)
    assert again.browser is None
    with pytest.raises(TooMany):
        await accounts.sign_in("Alice", "123456", "some other browser")


async def test_another_accounts_browser_is_a_stranger(accounts: Accounts) -> None:
    await accounts.add("Bob", "abcdef")
    bob = await accounts.sign_in("Bob", "abcdef")
    for _ in range(TRIES_MAX):
        with pytest.raises(NotSignedIn):
            await accounts.sign_in("Alice", "000000", bob.browser or "")
    with pytest.raises(TooMany):
        await accounts.sign_in("Alice", "123456")


async def test_a_link_signs_in_once_and_for_five_minutes(accounts: Accounts, times: Times) -> None:
    token = await accounts.make_link()
    signed = await accounts.use_link(token)
    assert signed.session.role == "operator"
    with pytest.raises(NotSignedIn):
        await accounts.use_link(token)
    late = await accounts.make_link()
    times.at_ms += LINK_MS
    assert not accounts.link_holds(late)
    with pytest.raises(NotSignedIn):
        await accounts.use_link(late)


async def test_only_the_newest_links_hold(accounts: Accounts) -> None:
    links = [await accounts.make_link() for _ in range(module.LINKS_MAX + 1)]
    assert not accounts.link_holds(links[0])
    assert all(accounts.link_holds(link) for link in links[1:])


async def test_a_session_ends_by_itself_and_by_signing_out(accounts: Accounts, times: Times) -> None:
    first, second = await accounts.sign_in("Alice", "123456"), await accounts.sign_in("Alice", "123456")
    assert first.cookie != second.cookie
    await accounts.sign_out(first.cookie)
    assert accounts.session(first.cookie) is None
    assert accounts.session(second.cookie) is not None
    times.at_ms += SESSION_MS
    assert accounts.session(second.cookie) is None
    assert accounts.session("") is None


async def test_a_new_pin_and_a_removed_account_end_its_sessions(accounts: Accounts) -> None:
    old = await accounts.sign_in("Alice", "123456")
    with pytest.raises(InvalidRequest, match="Alice has an account already"):
        await accounts.add("alice", "newpin")
    assert accounts.session(old.cookie) is not None, "a name that is there is not taken over in silence"
    assert await accounts.add("alice", "newpin", new_pin=True) == "Alice"
    assert accounts.session(old.cookie) is None
    new = await accounts.sign_in("Alice", "newpin")
    await accounts.remove("ALICE")
    assert accounts.session(new.cookie) is None
    assert await accounts.names() == []


async def test_large_and_small_letters_of_a_name_are_the_same_in_every_script(accounts: Accounts) -> None:
    """Also where an accent is a letter of its own, as some keyboards write it."""
    small, apart = "élodie", "E\u0301lodie"
    await accounts.add("Élodie", "111111")
    browser = (await accounts.sign_in(small, "111111")).browser or ""
    assert (await accounts.sign_in(apart, "111111", browser)).browser is None, (
        "a known browser of the same name"
    )
    assert await accounts.add(small, "222222", new_pin=True) == "Élodie"
    with pytest.raises(NotSignedIn):
        await accounts.sign_in("Élodie", "111111")
    await accounts.remove(apart)
    assert await accounts.names() == ["Alice"]
    with pytest.raises(NotFound):
        await accounts.add(small, "222222", new_pin=True)


async def test_two_accounts_that_an_older_version_kept_apart_go_on_until_one_pin_is_given_to_both(
    accounts: Accounts, tmp_path: Path
) -> None:
    await accounts.add("Élodie", "111111")
    with closing(sqlite3.connect(tmp_path / "accounts.sqlite", isolation_level=None)) as older:
        older.execute("INSERT INTO account SELECT 'élodie', hash, made_ms FROM account WHERE name = 'Alice'")
    assert (await accounts.sign_in("Élodie", "111111")).session.name == "Élodie"
    assert (await accounts.sign_in("élodie", "123456")).session.name == "élodie"
    await accounts.add("élodie", "222222", new_pin=True)
    assert await accounts.names() == ["Alice", "élodie"]


async def test_sessions_tokens_and_accounts_outlive_a_restart(
    accounts: Accounts, tmp_path: Path, times: Times
) -> None:
    signed = await accounts.sign_in("Alice", "123456")
    token = await accounts.make_token("weather station")
    await accounts.close()
    again = Accounts(tmp_path / "accounts.sqlite", times.now_ms)
    await again.open()
    assert again.session(signed.cookie) == signed.session
    bearer = again.bearer(token)
    assert bearer is not None
    assert bearer.name == "weather station"
    assert await again.names() == ["Alice"]
    await again.close()


@pytest.mark.parametrize("name", ["", " ", "x" * 41, "two\nlines"])
async def test_a_token_has_a_name_that_can_stand_under_a_post(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await accounts.make_token(name)


async def test_a_token_that_was_taken_back_is_worth_nothing(accounts: Accounts) -> None:
    token = await accounts.make_token("pump")
    assert await accounts.revoke_token("pump") == 1
    assert accounts.bearer(token) is None
    assert await accounts.revoke_token("pump") == 0


async def test_the_file_holds_no_secret_that_signs_anybody_in(accounts: Accounts, tmp_path: Path) -> None:
    signed = await accounts.sign_in("Alice", "123456")
    token = await accounts.make_token("pump")
    rows = []
    with sqlite3.connect(tmp_path / "accounts.sqlite") as database:
        for table in ("account", "session", "token", "browser"):
            rows += database.execute(f"SELECT * FROM {table}").fetchall()
    database.close()
    whole = repr(rows)
    assert not any(secret in whole for secret in (signed.cookie, signed.browser or "?", token, "123456"))
    assert (tmp_path / "accounts.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("", "123456"),
        ("x" * 41, "123456"),
        ("operator", "123456"),
        ("a\nb", "123456"),
        ("Bob", "12345"),
        ("Bob", "x" * 129),
    ],
)
async def test_a_bad_name_or_pin_makes_no_account(accounts: Accounts, name: str, secret: str) -> None:
    with pytest.raises(InvalidRequest):
        await accounts.add(name, secret)
    assert await accounts.names() == ["Alice"]


async def test_a_crowd_that_signs_in_at_once_is_served_up_to_a_bound(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HASHES_WAITING_MAX", 2)
    answers = await asyncio.gather(
        *(accounts.sign_in("Alice", "123456") for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(answer, TooMany) for answer in answers) == 2
    assert sum(isinstance(answer, module.SignedIn) for answer in answers) == 2


async def test_the_session_that_ends_first_makes_room(
    accounts: Accounts, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 2)
    signed = []
    for _ in range(3):
        times.at_ms += 1
        signed.append(await accounts.sign_in("Alice", "123456"))
    assert [accounts.session(each.cookie) is not None for each in signed] == [False, True, True]


async def test_a_file_that_is_no_database_is_named_in_one_line(tmp_path: Path, times: Times) -> None:
    (tmp_path / "accounts.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(DataUnreadable, match=r"accounts\.sqlite"):
        await Accounts(tmp_path / "accounts.sqlite", times.now_ms).open()


async def test_a_flood_of_other_names_frees_nobody_who_guesses_at_an_account(
    accounts: Accounts, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUCKETS_MAX", 3)
    for _ in range(TRIES_MAX):
        with pytest.raises(NotSignedIn):
            await accounts.sign_in("Alice", "000000")
    for number in range(2):
        with pytest.raises(NotSignedIn):
            await accounts.sign_in(f"name {number}", "000000")
    for number in range(2, 6):
        with pytest.raises(TooMany):
            await accounts.sign_in(f"name {number}", "000000")
    with pytest.raises(TooMany, match="wrong too often"):
        await accounts.sign_in("Alice", "123456")
    await accounts.add("Bob", "abcdef")
    await accounts.sign_in("Bob", "abcdef")
    times.at_ms += TRY_REFILL_MS
    for number in range(6, 8):
        with pytest.raises(NotSignedIn):
            await accounts.sign_in(f"name {number}", "000000")
    assert len(accounts._buckets) <= 3


async def test_a_try_that_nobody_had_time_to_look_at_is_not_counted(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as busy:
        busy.setattr(module, "HASHES_WAITING_MAX", 0)
        for number in range(3 * TRIES_MAX):
            with pytest.raises(TooMany, match="many people"):
                await accounts.sign_in("Alice" if number % 2 else f"name {number}", "000000")
    assert not accounts._buckets
    await accounts.sign_in("Alice", "123456")
