"""Who may write at this node: accounts made by the operator, sessions, bearer tokens, one-use sign-in links.

Cookies and tokens are random and kept only as hashes. A PIN is short, so what protects it is how seldom it
may be tried: a bucket of tries per account that refills slowly, and another for each browser in which the
account has signed in before ("device cookies", OWASP), so that a stranger who empties the first locks nobody
out. Hashing takes 19 MiB and some 30 ms; at most two run at a time, and a short queue waits.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import sqlite3
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, TypeVar

from nacl import pwhash
from nacl.exceptions import InvalidkeyError

from node.errors import DataUnreadable, InvalidRequest, NotFound, NotSignedIn, StorageUnavailable, TooMany

T = TypeVar("T")

HASHES_AT_ONCE: Final = 2
"""Each takes 19 MiB: two fit on the smallest board beside everything else."""
HASHES_WAITING_MAX: Final = 32
"""A class of pupils who all sign in at once, and no more."""
HASH_MEMORY_BYTES: Final = 19 * 1_048_576
"""OWASP's first choice for argon2id: 19 MiB and two passes."""
HASH_PASSES: Final = 2
TRIES_MAX: Final = 8
"""Wrong PINs in a row before somebody has to wait."""
TRY_REFILL_MS: Final = 120_000
"""One more try after so long: 720 a day against the million PINs of six digits."""
BUCKETS_MAX: Final = 10_000
"""Names without an account whose tries are counted; one is forgotten when all its tries have come back."""
SESSION_MS: Final = 30 * 86_400_000
"""A month: people sign in rarely and on their own telephones."""
SESSIONS_MAX: Final = 10_000
"""Sessions of one node; the one that ends first makes room."""
BROWSERS_MAX: Final = 20_000
"""Known browsers; the oldest makes room."""
LINK_MS: Final = 300_000
"""A sign-in link lives 5 minutes."""
LINKS_MAX: Final = 16
"""Links that wait to be used; the oldest makes room."""
NAME_CHARS_MAX: Final = 40
SECRET_CHARS_MIN: Final = 6
"""Six digits are the least that the tries above protect."""
SECRET_CHARS_MAX: Final = 128
OPERATOR: Final = "operator"
"""The name and the role of who opened a sign-in link."""

Role = Literal["resident", "operator"]


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who may write, and how forms prove that they are theirs.

    Attributes:
        name: What stands as `by` in records.
        role: An operator may also make accounts.
        form_token: Stands in every form of this session; empty for a bearer token, which needs none.
        ends_ms: Milliseconds since 1970; 0 for a bearer token, which holds until it is taken back.
    """

    name: str
    role: Role
    form_token: str
    ends_ms: int


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a sign-in gives the browser: two cookies."""

    cookie: str
    browser: str | None
    session: Session


@dataclass(slots=True)
class _Bucket:
    """Tries that are left, as of a moment."""

    left: float
    at_ms: int

    def left_at(self, now_ms: int) -> float:
        """Return the tries that are left at a later moment."""
        return min(TRIES_MAX, self.left + max(0, now_ms - self.at_ms) / TRY_REFILL_MS)


class Accounts:
    """The accounts of one node, in a small database of their own; sessions and tokens also in memory."""

    def __init__(self, path: Path, now_ms: Callable[[], int]) -> None:
        """Name the file; `open` opens it."""
        self._path = path
        self._now_ms = now_ms
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="accounts")
        self._hashers = ThreadPoolExecutor(max_workers=HASHES_AT_ONCE, thread_name_prefix="hash")
        self._hashes_waiting = 0
        self._sessions: dict[bytes, Session] = {}
        self._tokens: dict[bytes, Session] = {}
        self._buckets: dict[tuple[str, bytes], _Bucket] = {}
        self._links: OrderedDict[bytes, int] = OrderedDict()
        self._nobody_hash = b""
        self._database: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open or create the file and read sessions and tokens.

        Raises:
            DataUnreadable: It cannot be read or written.
        """
        try:
            await self._run(self._open)
        except (OSError, StorageUnavailable) as error:
            raise DataUnreadable(f"{self._path} cannot be opened: {error}") from None

    async def close(self) -> None:
        """Close the file; nothing that was promised is lost, each act has been committed."""
        if self._database is None:
            return
        await self._run(self._close)
        self._thread.shutdown(wait=False)
        self._hashers.shutdown(wait=False)

    async def add(self, name: str, secret: str, *, new_pin: bool = False) -> str:
        """Make an account, or give the one of this name a new PIN and end its sessions; return its spelling.

        Args:
            new_pin: That there is such an account is known, and it shall have another PIN.

        Raises:
            InvalidRequest: The name or the PIN is too short or too long, or somebody has the name
                (`name_taken`).
            NotFound: A new PIN for an account that there is not.
        """
        name = unicodedata.normalize("NFC", name.strip())
        if not _is_name(name) or folded(name) == OPERATOR:
            raise InvalidRequest(f"a name has 1 to {NAME_CHARS_MAX} letters and is not “{OPERATOR}”")
        if not SECRET_CHARS_MIN <= len(secret) <= SECRET_CHARS_MAX:
            raise InvalidRequest(f"a PIN or password has {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} characters")
        hashed = (await self._hash(lambda: _make_hash(secret))).decode("ascii")
        spelling = await self._run(lambda: self._put_account(name, hashed, new_pin=new_pin))
        self._end_sessions(name)
        return spelling

    async def remove(self, name: str) -> None:
        """Take an account away and end its sessions."""
        await self._run(lambda: self._remove_account(name))
        self._end_sessions(name)

    async def names(self) -> list[str]:
        """Return the names of all accounts."""
        rows = await self._run(lambda: self._db.execute("SELECT name FROM account ORDER BY name").fetchall())
        return [row[0] for row in rows]

    async def sign_in(self, name: str, secret: str, browser: str = "") -> SignedIn:
        """Begin a session for who knows the PIN.

        Args:
            name: The account; large and small letters are the same, in every script.
            secret: The PIN or password.
            browser: The cookie of a browser in which somebody signed in before, or nothing.

        Raises:
            NotSignedIn: Name and PIN do not belong together.
            TooMany: Too many wrong tries; says how long to wait.
        """
        name = name.strip()
        found, known = await self._run(
            lambda: (self._find_account(name), self._is_known_browser(name, browser))
        )
        # A try that nobody has time to look at costs nothing, else a crowd could take away all tries.
        self._refuse_crowd()
        key = (folded(name)[:NAME_CHARS_MAX], _digest(browser) if known else b"")
        bucket = self._bucket(key, is_account=found is not None)
        if bucket.left < 1:
            minutes = max(1, round(TRY_REFILL_MS * (1 - bucket.left) / 60_000))
            raise TooMany(
                f"that was wrong too often; try again in {minutes} min, or ask the operator for a link"
            )
        bucket.left -= 1
        right = await self._is_right(found, secret)
        if right is None:
            raise NotSignedIn("that name and that PIN do not belong together", code="wrong_pin")
        self._buckets.pop(key, None)
        fresh = None if known else secrets.token_urlsafe(24)
        return await self._begin(right, "resident", fresh)

    async def make_link(self) -> str:
        """Return the token of a sign-in link that can be used once within five minutes."""
        token = secrets.token_urlsafe(24)
        self._links[_digest(token)] = self._now_ms() + LINK_MS
        while len(self._links) > LINKS_MAX:
            self._links.popitem(last=False)
        return token

    def link_holds(self, token: str) -> bool:
        """Tell whether a sign-in link can still be used."""
        return self._links.get(_digest(token), 0) > self._now_ms()

    async def use_link(self, token: str) -> SignedIn:
        """Begin an operator's session with a sign-in link.

        Raises:
            NotSignedIn: The link was used, or is older than five minutes.
        """
        if self._links.pop(_digest(token), 0) <= self._now_ms():
            raise NotSignedIn(
                "that link was used already or is too old; ask the operator for a new one", code="old_link"
            )
        return await self._begin(OPERATOR, "operator", None)

    async def sign_out(self, cookie: str) -> None:
        """End a session."""
        digest = _digest(cookie)
        self._sessions.pop(digest, None)
        await self._run(lambda: self._write("DELETE FROM session WHERE hash = ?", digest))

    def session(self, cookie: str) -> Session | None:
        """Return the session of a cookie if it holds."""
        session = self._sessions.get(_digest(cookie)) if cookie else None
        return session if session is not None and session.ends_ms > self._now_ms() else None

    async def make_token(self, name: str) -> str:
        """Return a new bearer token; only its hash is kept.

        Raises:
            InvalidRequest: The name, which stands under what the token posts, is too long or none.
        """
        if not _is_name(name := name.strip()):
            raise InvalidRequest(f"a token's name has 1 to {NAME_CHARS_MAX} letters")
        token = "hedge_" + secrets.token_urlsafe(32)
        digest = _digest(token)
        await self._run(
            lambda: self._write("INSERT INTO token VALUES (?, ?, ?)", digest, name, self._now_ms())
        )
        self._tokens[digest] = Session(name, "resident", "", 0)
        return token

    async def revoke_token(self, name: str) -> int:
        """Take back all bearer tokens of this name; return how many there were."""
        gone = [digest for digest, session in self._tokens.items() if session.name == name]
        for digest in gone:
            del self._tokens[digest]
        await self._run(lambda: self._write("DELETE FROM token WHERE name = ?", name))
        return len(gone)

    def bearer(self, token: str) -> Session | None:
        """Return who a bearer token stands for."""
        return self._tokens.get(_digest(token))

    async def _begin(self, name: str, role: Role, browser: str | None) -> SignedIn:
        """Begin a session under a new id: whatever cookie the browser brought along is worth nothing."""
        cookie = secrets.token_urlsafe(32)
        digest = _digest(cookie)
        session = Session(name, role, _form_token(digest), self._now_ms() + SESSION_MS)
        gone = sorted(self._sessions, key=lambda key: self._sessions[key].ends_ms)
        gone = gone[: max(0, len(gone) + 1 - SESSIONS_MAX)]
        for each in gone:
            del self._sessions[each]
        await self._run(lambda: self._put_session(digest, session, browser, gone))
        self._sessions[digest] = session
        return SignedIn(cookie, browser, session)

    def _end_sessions(self, name: str) -> None:
        """Forget the sessions of an account; memory is touched in the event loop's thread only."""
        for key in [key for key, each in self._sessions.items() if folded(each.name) == folded(name)]:
            del self._sessions[key]

    async def _is_right(self, found: tuple[str, str] | None, secret: str) -> str | None:
        """Return the account's own spelling if the PIN is right; an unknown name takes as long."""
        hashed = found[1].encode("ascii") if found else self._nobody_hash
        right = await self._hash(lambda: _fits(hashed, secret[:SECRET_CHARS_MAX]))
        return found[0] if right and found else None

    def _bucket(self, key: tuple[str, bytes], *, is_account: bool) -> _Bucket:
        """Return the tries of a name, as of now. Those of an account are always counted: no flood of other
        names takes their place.

        Raises:
            TooMany: Nobody has this name, and as many such names as are counted were tried just now.
        """
        now_ms = self._now_ms()
        bucket = self._buckets.get(key)
        if bucket is None:
            self._forget_full(now_ms)
            if len(self._buckets) >= BUCKETS_MAX and not is_account:
                raise _crowd()
            bucket = self._buckets[key] = _Bucket(TRIES_MAX, now_ms)
        bucket.left = bucket.left_at(now_ms)
        bucket.at_ms = now_ms
        return bucket

    def _forget_full(self, now_ms: int) -> None:
        """Make room: a bucket whose tries have all come back says no more than none."""
        if len(self._buckets) >= BUCKETS_MAX:
            self._buckets = {
                key: each for key, each in self._buckets.items() if each.left_at(now_ms) < TRIES_MAX
            }

    def _refuse_crowd(self) -> None:
        if self._hashes_waiting >= HASHES_WAITING_MAX:
            raise _crowd()

    async def _hash(self, work: Callable[[], T]) -> T:
        self._refuse_crowd()
        self._hashes_waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._hashers, work)
        finally:
            self._hashes_waiting -= 1

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise StorageUnavailable(f"accounts cannot be kept at the moment: {error}") from None

    @property
    def _db(self) -> sqlite3.Connection:
        assert self._database is not None, "accounts are used before open() or after close()"
        return self._database

    def _open(self) -> None:
        self._path.touch(mode=0o600, exist_ok=True)
        self._database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._database.create_function("folded", 1, folded, deterministic=True)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(files("node").joinpath("accounts.sql").read_text("utf-8"))
        self._write("DELETE FROM session WHERE ends_ms <= ?", self._now_ms())
        for digest, name, role, ends_ms in self._db.execute("SELECT hash, name, role, ends_ms FROM session"):
            self._sessions[digest] = Session(name, role, _form_token(digest), ends_ms)
        for digest, name in self._db.execute("SELECT hash, name FROM token"):
            self._tokens[digest] = Session(name, "resident", "", 0)
        self._nobody_hash = _make_hash(secrets.token_urlsafe(16))

    def _close(self) -> None:
        self._db.close()
        self._database = None

    def _write(self, statement: str, *values: object) -> None:
        self._db.execute(statement, values)

    def _put_account(self, name: str, hashed: str, *, new_pin: bool) -> str:
        known = self._find_account(name)
        if known is not None and not new_pin:
            says = (
                f"{known[0]} has an account already: ask for a new PIN expressly to give it one (--new-pin)"
            )
            raise InvalidRequest(says, code="name_taken", status=409)
        if known is None and new_pin:
            raise NotFound(f"no account is called “{name}”: leave out that it is a new PIN to make it")
        spelling = name if known is None else known[0]
        self._remove_account(name)
        self._write("INSERT INTO account VALUES (?, ?, ?)", spelling, hashed, self._now_ms())
        return spelling

    def _remove_account(self, name: str) -> None:
        for table in ("account", "session", "browser"):
            self._write(f"DELETE FROM {table} WHERE folded(name) = ?", folded(name))

    def _put_session(self, digest: bytes, session: Session, browser: str | None, gone: list[bytes]) -> None:
        for each in gone:
            self._write("DELETE FROM session WHERE hash = ?", each)
        self._write(
            "INSERT INTO session VALUES (?, ?, ?, ?)", digest, session.name, session.role, session.ends_ms
        )
        if browser is not None:
            self._write(
                "INSERT INTO browser VALUES (?, ?, ?)", _digest(browser), session.name, self._now_ms()
            )
            self._write(
                "DELETE FROM browser WHERE hash IN "
                "(SELECT hash FROM browser ORDER BY made_ms DESC LIMIT -1 OFFSET ?)",
                BROWSERS_MAX,
            )

    def _find_account(self, name: str) -> tuple[str, str] | None:
        """Return an account's own spelling and the hash of its PIN."""
        # An older version kept Élodie and élodie apart: whoever types the one exactly means that one.
        query = (
            "SELECT name, hash FROM account WHERE folded(name) = ? ORDER BY name != ? COLLATE BINARY, made_ms"
        )
        found = self._db.execute(query, (folded(name), name)).fetchone()
        return (str(found[0]), str(found[1])) if found else None

    def _is_known_browser(self, name: str, browser: str) -> bool:
        query = "SELECT 1 FROM browser WHERE hash = ? AND folded(name) = ?"
        found = self._db.execute(query, (_digest(browser), folded(name))) if browser else None
        return found is not None and found.fetchone() is not None


def folded(name: str) -> str:
    """Return what two spellings of one name have in common: NFC, without large letters of any script."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())


def _is_name(name: str) -> bool:
    return 1 <= len(name) <= NAME_CHARS_MAX and name.isprintable()


def _crowd() -> TooMany:
    return TooMany("many people are signing in at this moment; try again in a few seconds")


def same(left: str, right: str) -> bool:
    """Tell whether two secrets are equal, in a time that tells nothing."""
    return hmac.compare_digest(left.encode("utf-8"), right.encode("utf-8"))


def _digest(secret: str) -> bytes:
    return blake2b(
        secret.encode("utf-8", "surrogatepass"), digest_size=32, person=b"hedgerow/cookie"
    ).digest()


def _form_token(digest: bytes) -> str:
    """The token of a session's forms: follows from the cookie's hash, which no other site can know."""
    return blake2b(digest, digest_size=16, person=b"hedgerow/form").hexdigest()


def _make_hash(secret: str) -> bytes:
    return pwhash.argon2id.str(secret.encode("utf-8"), opslimit=HASH_PASSES, memlimit=HASH_MEMORY_BYTES)


def _fits(hashed: bytes, secret: str) -> bool:
    try:
        return pwhash.verify(hashed, secret.encode("utf-8", "surrogatepass"))
    except InvalidkeyError:
        return False
