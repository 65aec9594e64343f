"""Joining a federation, from both ends: using an invitation until it is answered, and answering one.

The invited node keeps the invitation and calls the inviter until it is welcomed or refused, across
restarts; its own `federation.join` record is the town's consent. The inviting node admits the town by a
`federation.admit` record. Whatever is interrupted is done again: every step here may happen twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from node.intake import Draft
from node.invitations import Invitation, InvitationRefused, Invitations, read_code
from node.keys import CERTIFICATE, PROFILE, device_of
from protocol.errors import ProtocolError
from protocol.ids import FederationId, Op, TownId
from protocol.limits import NONCE_BYTES
from protocol.record import Record, check_signature, fields_of, open_record
from sync.authority import JOIN
from sync.devices import ROTATE
from sync.events import JoinAsk, Joining
from sync.membership import ADMIT, VOUCH

if TYPE_CHECKING:
    from node.clock import NodeClock
    from node.intake import Intake
    from node.keys import Keys
    from node.peers import Peers
    from node.store import Cell, Store, Transaction
    from node.transport.auth import Identity
    from protocol.encoding import Value
    from sync.authority import Authority, Federation

_ALL: Final = "SELECT secret, federation, inviter, urls, asked_ms, state, says FROM joins"
_PUT: Final = """
    INSERT INTO joins (secret, federation, inviter, urls, asked_ms) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (secret) DO UPDATE SET state = 'waiting', says = '', urls = excluded.urls
"""
_CANCEL: Final = "DELETE FROM joins WHERE secret = ?"
_SETTLE: Final = "UPDATE joins SET state = ?, says = ? WHERE secret = ?"

WAITING: Final = "waiting"
JOINED: Final = "joined"
REFUSED: Final = "refused"

RECORDS_MAX: Final = 4
"""A JOIN brings a certificate, a consent, and perhaps a profile and a rotation."""


@dataclass(slots=True)
class Join:
    """One invitation that this node took.

    Attributes:
        state: `waiting`, `joined` or `refused`.
        says: The inviter's last answer in plain words.
        code: The inviter's last refusal as a stable code; not kept across restarts.
    """

    invitation: Invitation
    asked_ms: int
    state: str = WAITING
    says: str = ""
    code: str = ""


class Joinings:
    """Both ends of joining at one node.

    Args:
        keys: Our own, whose certificate we show.
        authority: The present resolved authority.
        changed: Called when who must be called for the sake of an invitation has changed.
    """

    def __init__(
        self,
        store: Store,
        intake: Intake,
        invitations: Invitations,
        peers: Peers,
        clock: NodeClock,
        *,
        keys: Callable[[], Keys],
        authority: Callable[[], Authority],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._intake = intake
        self._invitations = invitations
        self._peers = peers
        self._clock = clock
        self._keys = keys
        self._authority = authority
        self.changed = changed
        self._joins: dict[bytes, Join] = {}
        self._records: dict[bytes, tuple[bytes, ...]] = {}
        self.called_at: Callable[[TownId], str] = lambda town: ""
        """Where a town that we called answered; empty: it called us."""

    async def load(self) -> None:
        """Read what is under way from the store, and make its records ready."""
        for join in map(_join, await self._store.read(lambda reader: reader.rows(_ALL))):
            self._joins[join.invitation.secret] = join
            if join.state == WAITING:
                await self._prepare(join.invitation)

    def all(self) -> list[Join]:
        """Return the invitations that this node took, the first first."""
        return sorted(self._joins.values(), key=lambda join: join.asked_ms)

    def waiting(self) -> list[Join]:
        """Return the invitations whose inviters have not answered yet, the newest first."""
        return [join for join in reversed(self.all()) if join.state == WAITING]

    def open(self) -> list[Join]:
        """Return the invitations that came to nothing yet, unanswered or refused; no other has served."""
        known = self._authority().federations
        return [
            join for join in self.all() if join.state != JOINED and join.invitation.federation not in known
        ]

    async def cancel(self, code: str = "") -> int:
        """Give up an invitation, or all that came to nothing yet; return how many that were.

        Raises:
            InvitationRefused: The code is mistyped.
            StorageUnavailable: They go on.
        """
        secret = read_code(code).secret if code else b""
        given_up = [join for join in self.open() if not code or join.invitation.secret == secret]
        await self._let_go(given_up)
        return len(given_up)

    async def _let_go(self, joins: Sequence[Join]) -> None:
        secrets = [join.invitation.secret for join in joins]

        def write(tx: Transaction) -> None:
            for secret in secrets:
                tx.run(_CANCEL, secret)

        if secrets:
            await self._store.write(write)
        for secret in secrets:
            self._joins.pop(secret, None)
        self.changed()

    async def take(self, code: str) -> Join:
        """Begin to use an invitation: consent, keep it, and have the inviter called.

        Raises:
            InvitationRefused: The code is mistyped, our own, or out of date.
            StorageUnavailable: It was not kept.
        """
        invitation = read_code(code)
        reading = self._clock.read()
        if invitation.inviter == self._authority().own_town:
            says = "this town wrote that invitation itself: type it at the other town's node"
            raise InvitationRefused(says, code="invitation_own", status=400)
        if reading.sure and reading.now_ms // 1_000 >= invitation.last_day:
            raise InvitationRefused(
                "that invitation is out of date: ask for a new one", code="invitation_expired"
            )
        known = self._joins.get(invitation.secret)
        if (
            known is not None
            and known.state == JOINED
            and invitation.federation in self._authority().federations
        ):
            return known
        urls = json.dumps(invitation.urls)
        cells = (bytes(invitation.federation), bytes(invitation.inviter), urls, reading.now_ms)
        await self._prepare(invitation)
        await self._store.write(lambda tx: tx.run(_PUT, invitation.secret, *cells))
        join = self._joins[invitation.secret] = Join(invitation, reading.now_ms)
        # What the same town wrote before has perhaps an address that never answers: this one replaces it.
        await self._let_go(
            [each for each in self._like(join) if each.invitation.inviter == invitation.inviter]
        )
        return join

    def _like(self, join: Join) -> list[Join]:
        """Return the other invitations into the same federation that came to nothing yet."""
        wanted = join.invitation.federation
        others = [each for each in self.all() if each is not join and each.state != JOINED]
        return [each for each in others if each.invitation.federation == wanted]

    def ask_of(self, town: TownId) -> JoinAsk | None:
        """Return what to say first on a link to a town that invited us; None if none waits for it."""
        for join in self.waiting():
            invitation = join.invitation
            if invitation.inviter == town:
                return JoinAsk(invitation.federation, invitation.secret, self._records[invitation.secret])
        return None

    async def welcomed(self, ask: JoinAsk, inviter: Identity, records: Sequence[bytes]) -> None:
        """Take in what makes us a member, and approve the inviter.

        Raises:
            StorageUnavailable: The welcome is asked for again on the next link.
        """
        join = self._joins.get(ask.secret)
        if join is None:
            return
        await self._intake.accept(records)
        reached = self.called_at(inviter.town)
        invited = sorted(join.invitation.urls, key=lambda url: url != reached)
        await self._peers.approve(inviter.town, urls=invited, told=inviter.urls, near=inviter.near)
        await self._settle(join, JOINED, "welcome")
        await self._let_go(self._like(join))

    async def refused(self, ask: JoinAsk, code: str, says: str) -> None:
        """Note that the inviter will not have us with this invitation."""
        if (join := self._joins.get(ask.secret)) is not None:
            join.code = code
            await self._settle(join, REFUSED, says)

    async def answer(self, joining: Joining, identity: Identity, handshake_hash: bytes) -> tuple[bytes, ...]:
        """Answer a stranger who shows an invitation; return the records that welcome it.

        Raises:
            InvitationRefused: With its code; nothing was changed.
            StorageUnavailable: It may ask again.
        """
        opened = _opened(joining.records)
        consent = _check_consent(opened, identity)
        federation = await self._invitations.use(
            joining.federation_name,
            joining.proof,
            handshake_hash,
            town=identity.town,
            sure=self._clock.sure,
            is_in=lambda federation: self._is_in(federation, identity.town),
        )
        if consent.header.federations != (federation,):
            raise InvitationRefused("that consent is for another federation", code="invitation_malformed")
        authority = self._authority()
        adopted = authority.federations.get(federation)
        if adopted is None:
            raise InvitationRefused("this town may admit nobody there any more", code="not_steward")
        name = _profile_name(opened)
        if identity.town not in adopted.members:
            await self._let_in(adopted, identity.town, name)
        await self._intake.accept(joining.records)
        await self._peers.approve(identity.town, name=name, told=identity.urls, near=identity.near)
        await self._invitations.settle(federation, identity.town)
        return await self._evidence(federation, identity.town)

    async def _let_in(self, adopted: Federation, town: TownId, name: str) -> None:
        """Admit a town, or vouch for it where this one is no steward.

        Raises:
            InvitationRefused: It is no member even so.
        """
        own = self._authority().own_town
        if town in adopted.acts.suspended:
            says = "that town is suspended there: ask a steward to lift that, then use the same code again"
            raise InvitationRefused(says, code="suspended")
        if own in adopted.stewards:
            kind = ADMIT
        elif adopted.may_vouch(own):
            kind = VOUCH
        else:
            raise InvitationRefused("this town may admit nobody there any more", code="not_steward")
        fields: dict[str, Value] = {"town": bytes(town)} | ({"name": name} if name else {})
        if (own, town) not in adopted.acts.vouching:
            ground = (adopted.chain.current.id,)
            await self._intake.post([Draft(kind, fields=fields, federations=(adopted.id,), cites=ground)])
        if not self._authority().is_member(adopted.id, town):
            says = "other members must vouch for that town too: use the same code again when they have"
            raise InvitationRefused(says, code="vouches_missing")

    async def authority_moved(self, before: Authority, after: Authority) -> None:
        """Forget the invitations by which towns came in that are members no more.

        Raises:
            StorageUnavailable: They are kept, and refused for as long as those towns are no members.
        """
        left = [
            (federation, town)
            for federation, was in before.federations.items()
            if federation in after.federations
            for town in was.members - after.federations[federation].members
        ]
        await self._invitations.let_go(left)

    def _is_in(self, federation: FederationId, town: TownId) -> bool:
        return self._peers.get(town) is not None and self._authority().is_member(federation, town)

    async def _evidence(self, federation: FederationId, town: TownId) -> tuple[bytes, ...]:
        # What is more than one WELCOME may carry is shown on the link as to any other member.
        return (await self._store.read(lambda reader: reader.evidence(federation, town)))[0]

    async def _prepare(self, invitation: Invitation) -> None:
        """Make our side of a JOIN: certificate, profile, and the consent, which is written once."""
        own = self._authority().own_town
        # One document for each invitation: taking it again after a restart writes nothing new. Everybody
        # reads the record, so its nonce tells nothing of the secret.
        nonce = blake2b(invitation.secret, digest_size=NONCE_BYTES, person=b"hedgerow/joining").digest()
        draft = Draft(JOIN, Op.PUT, {}, federations=(invitation.federation,), nonce=nonce)
        consent = (await self._intake.post([draft]))[0]
        known = await self._store.read(lambda reader: reader.records_of(own, PROFILE))
        keys = self._keys()
        # A profile that a former key signed holds only beside the list that keeps it, which stays here.
        signer = open_record(keys.certificate).header.device
        puts = [each for each in known if each.header.op is Op.PUT and each.header.device == signer]
        own_records = [keys.rotation, keys.certificate, *(each.raw for each in puts[:1]), consent.raw]
        self._records[invitation.secret] = tuple(raw for raw in own_records if raw)

    async def _settle(self, join: Join, state: str, says: str) -> None:
        join.state, join.says = state, says
        await self._store.write(lambda tx: tx.run(_SETTLE, state, says, join.invitation.secret))
        self.changed()


def _opened(raws: Sequence[bytes]) -> list[Record]:
    if len(raws) > RECORDS_MAX:
        raise InvitationRefused("a JOIN brings at most four records", code="invitation_malformed")
    try:
        opened = [open_record(raw) for raw in raws]
        for record in opened:
            check_signature(record)
    except ProtocolError as error:
        raise InvitationRefused(f"a record of that JOIN does not hold: {error}", code=error.code) from None
    return opened


def _check_consent(opened: Sequence[Record], identity: Identity) -> Record:
    """Return the consent; all records must be the caller's own, and one must certify the very device
    that calls.
    """
    by_kind = {record.header.kind: record for record in opened}
    consent, certificate = by_kind.get(JOIN), by_kind.get(CERTIFICATE)
    lawful = by_kind.keys() <= {JOIN, CERTIFICATE, PROFILE, ROTATE} and len(by_kind) == len(opened)
    if consent is None or certificate is None or not lawful:
        says = "a JOIN brings a certificate, a consent, and perhaps a profile and a rotation"
        raise InvitationRefused(says, code="invitation_malformed")
    if any(record.header.town != identity.town for record in opened):
        raise InvitationRefused("a record of that JOIN is another town's", code="invitation_malformed")
    if (
        device_of(certificate.raw, by_kind[ROTATE].raw if ROTATE in by_kind else b"")
        != (identity.town, identity.device)
        or consent.header.device != identity.device
    ):
        raise InvitationRefused("that JOIN is not of the device that calls", code="invitation_malformed")
    return consent


def _profile_name(opened: Sequence[Record]) -> str:
    for record in opened:
        if record.header.kind in (PROFILE, CERTIFICATE):
            name = (fields_of(record) or {}).get("name")
            if isinstance(name, str) and record.header.kind == PROFILE:
                return name
    return ""


def _join(row: tuple[Cell, ...]) -> Join:
    secret, federation, inviter, urls, asked_ms, state, says = row
    assert isinstance(secret, bytes) and isinstance(federation, bytes) and isinstance(inviter, bytes)
    assert isinstance(asked_ms, int)
    known = tuple(str(url) for url in json.loads(str(urls)))
    invitation = Invitation(FederationId(federation), TownId(inviter), known, secret, 0)
    return Join(invitation, asked_ms, str(state), str(says))
