"""Invitations into a federation: made, shown as one line of text, proved over a link, used once.

An invitation is `[federation, inviter's town, [url, ...], secret, last day]`. Its code is that in
Crockford's base32 with 20 bits of hash behind it, so that a slip of the pen is told at once. The secret
never travels over a link: the invited node proves that it knows it by a MAC over that link's own
handshake. The node that wrote an invitation answers it with a record that admits the town; the invited
town consents by a record of its own.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from node.errors import HedgerowError, InvalidRequest, NotAllowed
from node.peers import checked_url
from node.transport.nearness import told_url
from protocol.encoding import Value, decode, encode
from protocol.errors import ProtocolError
from protocol.ids import ALPHABET, FederationId, TownId
from protocol.limits import URLS_MAX
from protocol.wire import federation_name, join_proof

if TYPE_CHECKING:
    from node.store import Cell, Store, Transaction
    from sync.authority import Authority

SECRET_BYTES: Final = 16
CHECK_CHARS: Final = 4
"""20 bits: one slip in a million goes unseen, and is then refused by the inviter."""

CODE_BYTES_MAX: Final = 2_048
GROUP_CHARS: Final = 5
"""Characters between two hyphens: what people read aloud in one breath."""

GOOD_DAYS: Final = 14
DAY_S: Final = 86_400

OPEN_MAX: Final = 256
"""Unused invitations of one node: each costs one MAC when a stranger knocks."""

_FORGIVEN: Final = str.maketrans({"O": "0", "I": "1", "L": "1"})
_PUT: Final = (
    "INSERT INTO invitations (secret_hash, secret, federation, made_ms, last_day) VALUES (?, ?, ?, ?, ?)"
)
_KNOWN: Final = (
    "SELECT secret_hash, secret, federation, last_day, used_by, used_ms FROM invitations "
    "WHERE secret IS NOT NULL ORDER BY made_ms DESC LIMIT ?"
)
_RESERVE: Final = "UPDATE invitations SET used_by = ? WHERE secret_hash = ? AND used_by IS NULL"
_SETTLE: Final = """
    UPDATE invitations SET used_ms = ? WHERE federation = ? AND used_by = ? AND used_ms IS NULL
"""
_LET_GO: Final = "UPDATE invitations SET secret = NULL WHERE federation = ? AND used_by = ?"
_FORGET: Final = "DELETE FROM invitations WHERE last_day < ?"
_COUNT: Final = "SELECT count(*) FROM invitations WHERE secret IS NOT NULL AND used_by IS NULL"


class InvitationRefused(HedgerowError):
    """An invitation that does not hold: mistyped, not ours, used already, or out of date."""

    code = "invitation_refused"
    status = 403


@dataclass(frozen=True, slots=True)
class Invitation:
    """What an invitation's code says.

    Attributes:
        last_day: Seconds since 1970 at which its last day (UTC) has ended.
    """

    federation: FederationId
    inviter: TownId
    urls: tuple[str, ...]
    secret: bytes
    last_day: int

    def code(self) -> str:
        """Return it as the text that people send each other."""
        urls: list[Value] = list(self.urls)
        data = encode([bytes(self.federation), bytes(self.inviter), urls, self.secret, self.last_day])
        text = _base32(data) + _check(data)
        return "-".join(text[start : start + GROUP_CHARS] for start in range(0, len(text), GROUP_CHARS))


def read_code(code: str) -> Invitation:
    """Return what a code says; small letters, spaces, hyphens, O for 0, and I or L for 1 are forgiven.

    Raises:
        InvitationRefused: `invitation_mistyped`, or `invitation_malformed`.
    """
    text = "".join(code.split()).replace("-", "").upper().translate(_FORGIVEN)
    data = _from_base32(text[:-CHECK_CHARS])
    if data is None or not hmac.compare_digest(_check(data), text[-CHECK_CHARS:]):
        says = "that is not a whole invitation code: copy it again, from its first letter to its last"
        raise InvitationRefused(says, code="invitation_mistyped", status=400)
    try:
        return _invitation(decode(data, bytes_max=CODE_BYTES_MAX))
    except (ProtocolError, HedgerowError, ValueError):
        says = "that invitation code was made by a newer or another program"
        raise InvitationRefused(says, code="invitation_malformed", status=400) from None


class Invitations:
    """The invitations that this node gave out.

    Args:
        urls: Where this node says that it can be called.
        authority: The present resolved authority.
        now_ms: Node time.
    """

    def __init__(
        self,
        store: Store,
        *,
        urls: Callable[[], Sequence[str]],
        authority: Callable[[], Authority],
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._urls = urls
        self._authority = authority
        self._now_ms = now_ms

    async def invite(self, federation: FederationId, url: str | None = None) -> tuple[str, int]:
        """Make an invitation and return its code and when it ends (seconds since 1970).

        Args:
            federation: One that we are a steward of, or where we may vouch for the other town.
            url: Where the other town reaches this node; it goes before what the settings say.

        Raises:
            NotAllowed: Only a steward may admit towns there.
            InvalidRequest: No URL is known by which the other town could call, or this is none.
            InvitationRefused: `invitations_many`.
            StorageUnavailable: It was not kept.
        """
        authority = self._authority()
        adopted = authority.federations.get(federation)
        own = authority.own_town
        if adopted is None or not (own in adopted.stewards or adopted.may_vouch(own)):
            raise NotAllowed(
                "only a steward of that federation may invite: ask one to do it", code="not_steward"
            )
        urls = list(dict.fromkeys([*([_plain_url(url)] if url else ()), *map(_plain_url, self._urls())]))
        if not urls:
            raise InvalidRequest(
                "where will the other town call? Give --url, or set web.public_url", code="no_url"
            )
        made = await self._make(federation, authority.own_town, urls[:URLS_MAX])
        return made.code(), made.last_day

    async def _make(self, federation: FederationId, inviter: TownId, urls: Sequence[str]) -> Invitation:
        now_ms = self._now_ms()
        last_day = (now_ms // 1_000 // DAY_S + 1 + GOOD_DAYS) * DAY_S
        secret = secrets.token_bytes(SECRET_BYTES)

        def write(tx: Transaction) -> bool:
            tx.run(_FORGET, now_ms // 1_000)
            if int(str(tx.rows(_COUNT)[0][0])) >= OPEN_MAX:
                return False
            tx.run(_PUT, _hash(secret), secret, bytes(federation), now_ms, last_day)
            return True

        if not await self._store.write(write):
            says = f"{OPEN_MAX} invitations wait unused: let some of them be used, or run out, first"
            raise InvitationRefused(says, code="invitations_many", status=409)
        return Invitation(federation, inviter, tuple(urls), secret, last_day)

    async def use(
        self,
        name: bytes,
        proof: bytes,
        handshake_hash: bytes,
        *,
        town: TownId,
        sure: bool,
        is_in: Callable[[FederationId], bool],
    ) -> FederationId:
        """Give the invitation that a proof shows knowledge of to a town; return its federation.

        The same town may show it again, because its WELCOME may have been lost: until `settle` was told
        that it is in, and then for as long as it still is.

        Args:
            name: The federation as the link names it.
            sure: Whether node time is sure; an unsure node refuses nothing for its time.
            is_in: Tells whether the town is a member of a federation and an approved peer.

        Raises:
            InvitationRefused: `invitation_unknown`, `invitation_used`, `invitation_expired`.
            StorageUnavailable: It could not be noted, and stays good.
        """
        rows = await self._store.read(lambda reader: reader.rows(_KNOWN, 4 * OPEN_MAX))
        row = _proved(rows, proof, handshake_hash)
        if row is None or federation_name(_federation(row), handshake_hash, initiator=True) != name:
            raise InvitationRefused("this node knows of no such invitation", code="invitation_unknown")
        secret_hash, _, _, last_day, used_by, used_ms = row
        if sure and self._now_ms() // 1_000 >= int(str(last_day)):
            raise InvitationRefused(
                "that invitation is out of date: ask for a new one", code="invitation_expired"
            )
        if used_by is None:
            kept = await self._store.write(lambda tx: tx.run(_RESERVE, bytes(town), secret_hash))
        else:
            # Who was removed since then must not come back by an old key.
            kept = used_by == bytes(town) and (used_ms is None or is_in(_federation(row)))
        if not kept:
            raise InvitationRefused(
                "that invitation has been used: ask for a new one", code="invitation_used"
            )
        return _federation(row)

    async def settle(self, federation: FederationId, town: TownId) -> None:
        """Note that the town is a member and a peer now: its invitation was used.

        Raises:
            StorageUnavailable: It was not noted.
        """
        now_ms = self._now_ms()
        await self._store.write(lambda tx: tx.run(_SETTLE, now_ms, bytes(federation), bytes(town)))

    async def let_go(self, left: Iterable[tuple[FederationId, TownId]]) -> None:
        """Forget the secrets of the invitations by which towns came in that are members no more.

        Raises:
            StorageUnavailable: They are not forgotten; `use` refuses them for as long as it knows better.
        """
        cells = [(bytes(federation), bytes(town)) for federation, town in left]

        def write(tx: Transaction) -> None:
            for each in cells:
                tx.run(_LET_GO, *each)

        if cells:
            await self._store.write(write)


def _proved(rows: Sequence[tuple[Cell, ...]], proof: bytes, handshake_hash: bytes) -> tuple[Cell, ...] | None:
    """Compare with every secret, each in constant time, and stop at none: the time tells nothing."""
    found: tuple[Cell, ...] | None = None
    for row in rows:
        if hmac.compare_digest(join_proof(_blob(row[1]), handshake_hash), proof):
            found = row
    return found


def _invitation(parts: Value) -> Invitation:
    if not isinstance(parts, list) or len(parts) != 5:
        raise ValueError("an invitation has 5 parts")
    federation, inviter, urls, secret, last_day = parts
    if not isinstance(federation, bytes) or len(federation) != 16 or not isinstance(last_day, int):
        raise ValueError("a federation and a day")
    if not isinstance(inviter, bytes) or len(inviter) != 32 or not isinstance(urls, list):
        raise ValueError("a town and URLs")
    if not isinstance(secret, bytes) or len(secret) != SECRET_BYTES or not 0 < len(urls) <= URLS_MAX:
        raise ValueError("a secret")
    known = tuple(_told_url(url) for url in urls)
    return Invitation(FederationId(federation), TownId(inviter), known, secret, last_day)


def _plain_url(url: str) -> str:
    """An own URL as it may stand in a code.

    Raises:
        InvalidRequest: It may not.
    """
    plain = told_url(checked_url(url))
    if plain is None:
        raise InvalidRequest(f"{url}: give the scheme, the host and the port, and no more", code="no_url")
    return plain


def _told_url(url: Value) -> str:
    """Nobody reads a code, so a URL in it may say where a node is, and nothing else."""
    known = told_url(url) if isinstance(url, str) else None
    if known is None:
        raise ValueError("that is no address of a node")
    return known


def _federation(row: tuple[Cell, ...]) -> FederationId:
    return FederationId(_blob(row[2]))


def _hash(secret: bytes) -> bytes:
    return blake2b(secret, digest_size=16, person=b"hedgerow/invite").digest()


def _check(data: bytes) -> str:
    digest = blake2b(data, digest_size=8, person=b"hedgerow/code").digest()
    return "".join(ALPHABET[byte & 31] for byte in digest[:CHECK_CHARS])


def _base32(data: bytes) -> str:
    chars = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big") << (chars * 5 - len(data) * 8)
    return "".join(ALPHABET[number >> 5 * index & 31] for index in range(chars - 1, -1, -1))


def _from_base32(text: str) -> bytes | None:
    if not 0 < len(text) <= CODE_BYTES_MAX * 8 // 5 or any(letter not in ALPHABET for letter in text):
        return None
    number = 0
    for letter in text:
        number = number << 5 | ALPHABET.index(letter)
    size = len(text) * 5 // 8
    spare = len(text) * 5 - size * 8
    return (number >> spare).to_bytes(size, "big") if not number & (1 << spare) - 1 else None


def _blob(cell: Cell) -> bytes:
    assert isinstance(cell, bytes)
    return cell
