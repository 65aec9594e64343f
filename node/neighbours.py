"""What an operator does about neighbours: take an invitation, add a peer by its address, call those that
are away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from node.invitations import InvitationRefused
from node.joining import JOINED, REFUSED, WAITING, Join, Joinings
from node.peers import Peers, checked_url
from node.status import join_row
from node.transport.call import Caller
from node.transport.dialer import Dialer, Reach
from protocol.identity import fingerprint
from protocol.ids import TownId
from protocol.record import fields_of, open_record

if TYPE_CHECKING:
    from node.certificates import Certificates
    from node.federations import Federations
    from node.links import Links
    from node.recovery import Recovery
    from sync.authority import Authority

JOIN_S_MAX: Final = 10.0
"""How long `join` waits for the inviter's answer before it says that it goes on trying."""

CALL_S_MAX: Final = 15.0
"""How long `add` waits for somebody to answer."""

REACH_S_MAX: Final = 5.0
"""How long `reach` waits for those that neither answer nor refuse; the node goes on calling them."""

LOOK_S: Final = 0.1
"""How often `reach` looks whether a call has failed: the dialer tells nobody."""


class Neighbours:
    """The acts on peers and invitations that need a link.

    Attributes:
        stirred: Set by the daemon whenever a link, a peer or a record has changed something.
    """

    def __init__(
        self,
        *,
        caller: Caller,
        dialer: Dialer,
        links: Links,
        certificates: Certificates,
        peers: Peers,
        joinings: Joinings,
        federations: Federations,
        recovery: Recovery,
        authority: Callable[[], Authority],
    ) -> None:
        self.stirred = asyncio.Event()
        self._caller = caller
        self._dialer = dialer
        self._links = links
        self._certificates = certificates
        self._peers = peers
        self._joinings = joinings
        self._federations = federations
        self._recovery = recovery
        self._authority = authority

    async def join(self, code: str) -> dict[str, Any]:
        """Take an invitation: keep it, and call the inviter until it has answered (survives restarts).

        Returns within 10 s: `{"federation", "name", "inviter", "state": "joined"|"waiting", "says"}`.

        Raises:
            InvitationRefused: The code is mistyped or out of date, or the inviter refuses it.
            StorageUnavailable: It was not kept.
        """
        join = await self._joinings.take(code)
        await self._recovery.end()
        self._links.make_way_for_joins()
        self._dialer.wake(join.invitation.inviter)
        await self._wait(lambda: self._is_settled(join), JOIN_S_MAX)
        if join.state == REFUSED:
            raise InvitationRefused(join.says, code=join.code or None)
        return self._join_answer(join)

    async def add(self, url: str, *, approve: bool) -> dict[str, Any]:
        """Call a URL and return `{"town", "fingerprint", "name", "url", "approved"}` of who answers.

        Args:
            approve: Approve that town as a peer, with this URL.

        Raises:
            InvalidRequest: This is no URL of a node.
            LinkFailure: Nobody answers there, who answers is no node, or its town has withdrawn it.
        """
        called = checked_url(url)
        channel, identity = await self._caller.call(called, deadline_s=CALL_S_MAX)
        await channel.close()
        await self._certificates.check(identity, keep=False)
        town = identity.town
        name = self._federations.name_of(town) or _device_name(identity.certificate)
        if approve:
            await self._recovery.end()
            await self._peers.approve(town, name=name, urls=[called])
            self._dialer.wake(town)
        return {
            "town": town.hex(),
            "fingerprint": fingerprint(town),
            "name": name,
            "url": called,
            "approved": self._peers.get(town) is not None,
        }

    async def reach(self, town: TownId | None = None) -> None:
        """Call the peers that are not reached, or one of them; returns when each is or its call has failed,
        after 5 s at the latest.

        What is linked already compares by itself whenever something changes.
        """
        wanted = [peer.town for peer in self._peers.all() if town in (None, peer.town) and peer.urls]
        before = {each: self._dialer.failure_count(each) for each in wanted}
        self._dialer.wake(town)

        def is_known(each: TownId) -> bool:
            return self._links.reach(each) is Reach.UP or self._dialer.failure_count(each) > before[each]

        ends_s = asyncio.get_running_loop().time() + REACH_S_MAX
        while not all(map(is_known, wanted)) and asyncio.get_running_loop().time() < ends_s:
            await self._wait(lambda: all(map(is_known, wanted)), LOOK_S)

    async def _wait(self, holds: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    self.stirred.clear()
                    await self.stirred.wait()
        except TimeoutError:
            return

    def _is_settled(self, join: Join) -> bool:
        """Tell whether an invitation was refused, or its federation is ours now."""
        if join.state == WAITING:
            return False
        return join.state == REFUSED or join.invitation.federation in self._authority().federations

    def _join_answer(self, join: Join) -> dict[str, Any]:
        adopted = self._authority().federations.get(join.invitation.federation)
        inviter = self._federations.name_of(join.invitation.inviter)
        if join.state == JOINED:
            says = f"this town is in {adopted.name if adopted else 'the federation'} now"
        else:
            row = join_row(join, inviter, self._dialer.failure(join.invitation.inviter))
            where = f" at {row['failing_url']}" if row["failing_url"] else ""
            says = f"{row['says']}{where}; hedgerow federation join --cancel gives it up"
        return {
            "federation": join.invitation.federation.hex(),
            "name": adopted.name if adopted else "",
            "inviter": join.invitation.inviter.hex(),
            "state": join.state,
            "says": says,
        }


def _device_name(certificate: bytes | None) -> str:
    """Return what a certificate calls its device, until the town's profile is known."""
    if certificate is None:
        return ""
    name = (fields_of(open_record(certificate)) or {}).get("name")
    return name if isinstance(name, str) else ""
