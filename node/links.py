"""The live links of a node: which there are, who is let in on what terms, and who gives way to whom."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from node.background import Background, carefully
from node.transport.channel import Channel, LinkFailure
from node.transport.dialer import Reach
from node.transport.endings import meaning
from node.transport.link import Link
from protocol.errors import ProtocolError
from protocol.ids import TownId
from protocol.limits import HALF_OPEN_MAX, HANDSHAKE_S_MAX, LINKS_MAX
from protocol.wire import Ack, decode_frame
from sync.events import Input, JoinAsk, LinkDown, LinkId, LinkUp
from sync.farewell import farewell

if TYPE_CHECKING:
    from node.certificates import Certificates
    from node.joining import Joinings
    from node.peers import Peers
    from node.recovery import Recovery
    from node.transport.auth import Identity

LOG: Final = logging.getLogger("hedgerow.links")

STRANGERS_MAX: Final = HALF_OPEN_MAX
"""Links to towns that nobody has approved; each has half a minute to show an invitation."""

LINKS_OF_TOWN_MAX: Final = 8
"""Links to the devices of one town: half of the devices that it may have."""

WITHDRAWN: Final = "certificate_withdrawn"
"""With this code the link of a device ends that its town has taken back."""

PARTING_S: Final = 2.0
"""How long such a device has to hear why."""

OWN_CALL_S: Final = 10.0
"""How long a town that invited us is not let call us, so that our call, with the invitation, comes
first.
"""


class Links:
    """The live links of one node, in the order in which they came up.

    Args:
        now_ms: The hub's time.
        reached: Called when what there is between us and a town has changed.
        sent_away: Called with why, in plain words, when another town has closed a link.

    Attributes:
        live: By their numbers.
        give: Tells the hub; the engine sets it.
        count: How many there have been in this run.
    """

    def __init__(
        self,
        *,
        own_town: TownId,
        peers: Peers,
        joinings: Joinings,
        recovery: Recovery,
        certificates: Certificates,
        now_ms: Callable[[], int],
        reached: Callable[[TownId, Reach], None],
        sent_away: Callable[[TownId, str], None],
    ) -> None:
        self.live: dict[LinkId, Link] = {}
        self.give: Callable[[Input], None] = lambda told: None
        self._own_town = own_town
        self._peers = peers
        self._joinings = joinings
        self._recovery = recovery
        self._certificates = certificates
        self._now_ms = now_ms
        self._reached = reached
        self._sent_away = sent_away
        self._asks: dict[LinkId, JoinAsk] = {}
        self._background = Background()
        self._is_parting = False
        self.count = 0
        self._own_call_until_s = 0.0

    async def stop(self) -> None:
        """Ask all links to end."""
        for link in self.live.values():
            link.end("stopping", "this node is stopping")
        await self._background.stop()

    def reach(self, town: TownId) -> Reach:
        """Return what there is between us and a town."""
        links = [link for link in self.live.values() if link.identity.town == town]
        if not links:
            return Reach.DOWN
        return Reach.LATE if all(link.late for link in links) else Reach.UP

    def silent_ms(self, town: TownId) -> int:
        """Return for how long nothing has come on any link of a town; 0 if there is none."""
        heard = [link.heard_ms for link in self.live.values() if link.identity.town == town]
        return self._now_ms() - max(heard) if heard else 0

    def note_reach(self, town: TownId) -> None:
        """Tell whom it concerns what there is between us and a town now."""
        self._reached(town, self.reach(town))

    async def admit(self, channel: Channel, identity: Identity, ask: JoinAsk | None = None) -> Link:
        """Return the new link on a channel whose other end is known; the hub is told of it.

        Args:
            ask: An invitation that we show on it, as our AUTH has announced.

        Raises:
            LinkFailure: `links_many`, `joining`: there is no room for it, or not now; or as
                `Certificates.check`.
        """
        approved = self._is_approved(identity.town)
        try:
            await self._certificates.check(identity, keep=approved)
        except LinkFailure as failure:
            if approved and failure.code == WITHDRAWN:
                await self._part(channel, identity)
            raise
        return self._begin(channel, identity, ask)

    async def _part(self, channel: Channel, identity: Identity) -> None:
        """Show a device that its town has taken it back, before its link ends; one such device at a time."""
        if self._is_parting:
            return
        self._is_parting = True
        try:
            proof = await self._certificates.proof(identity)
            async with asyncio.timeout(PARTING_S):
                for frame in farewell(proof):
                    await channel.send(frame)
                # It has read the last word when it says that it took it in.
                while not isinstance(decode_frame(await channel.receive()), Ack):
                    pass
        except (TimeoutError, LinkFailure, ProtocolError) as failure:
            LOG.debug("a withdrawn device did not hear why: %s", failure)
        finally:
            self._is_parting = False

    def _begin(self, channel: Channel, identity: Identity, ask: JoinAsk | None) -> Link:
        town = identity.town
        if not channel.initiator and self._awaits_own_call(town):
            raise LinkFailure("this node is about to call with an invitation", code="joining")
        approved = self._is_approved(town)
        self._make_room(town, approved=approved)
        self.count += 1
        link = Link(LinkId(self.count), channel, identity, approved=approved, now_ms=self._now_ms())
        link.certified = self._certificates.stands(identity)
        self.live[link.id] = link
        if ask is not None:
            self._asks[link.id] = ask
        LOG.info("link %d to %s is up%s", link.id, town.hex()[:8], "" if approved else ", not approved yet")
        listens = (approved or self._recovery.listens_to_all()) and not identity.joins
        hashed = channel.handshake_hash
        self.give(LinkUp(link.id, town, identity.device, hashed, channel.initiator, listens, ask))
        self._recognise(link)
        if approved:
            self._background.spawn(carefully(partial(self._note_urls, link)))
        elif ask is None:
            asyncio.get_running_loop().call_later(HANDSHAKE_S_MAX, self._expect_approval, link)
        self.note_reach(town)
        return link

    def drop(self, link: Link, code: str, says: str) -> None:
        """Send what waits on a link and end it; the hub is told at once."""
        link.end(code, says)
        self.forget(link)

    def forget(self, link: Link) -> None:
        """A link has ended, or is about to."""
        if self.live.pop(link.id, None) is None:
            return
        LOG.info("link %d to %s is down: %s", link.id, link.identity.town.hex()[:8], link.end_says or "lost")
        self._asks.pop(link.id, None)
        self.give(LinkDown(link.id))
        self.note_reach(link.identity.town)
        if why := meaning(link.end_told):
            self._sent_away(link.identity.town, why)

    def take_ask(self, link: Link) -> JoinAsk | None:
        """Return the invitation that we show on a link, once: it is answered now."""
        return self._asks.pop(link.id, None)

    def authority_moved(self) -> None:
        """Look whether a neighbour has brought back to us what we once belonged to, and end the links of
        devices that their towns have withdrawn.
        """
        for link in list(self.live.values()):
            stood, link.certified = link.certified, self._certificates.stands(link.identity)
            if stood and self._certificates.is_withdrawn(link.identity):
                self.drop(link, WITHDRAWN, "its town has withdrawn that device")
            else:
                self._recognise(link)

    def check_approvals(self) -> None:
        """End the links whose town has been approved, or is not any more, since they began."""
        for link in list(self.live.values()):
            approved = self._is_approved(link.identity.town)
            if approved and not link.approved and link.id not in self._asks:
                self.drop(link, "approved_now", "approved meanwhile: the next link says so")
            elif link.approved and not approved:
                self.drop(link, "not_approved", "the operator does not approve that town any more")

    def make_way_for_joins(self) -> None:
        """Let waiting invitations be shown: they are, first of all, on a link of our own making.

        Ends the links on which they were not, and takes no calls of those towns for a moment.
        """
        asked = {self.live[link].identity.town for link in self._asks}
        waiting = {join.invitation.inviter for join in self._joinings.waiting()} - asked
        if not waiting:
            return
        self._own_call_until_s = time.monotonic() + OWN_CALL_S
        for link in list(self.live.values()):
            if link.identity.town in waiting:
                self.drop(link, "joining", "the next link begins with an invitation")

    def _awaits_own_call(self, town: TownId) -> bool:
        waiting = (join.invitation.inviter for join in self._joinings.waiting())
        return time.monotonic() < self._own_call_until_s and town in waiting

    def _make_room(self, town: TownId, *, approved: bool) -> None:
        """Strangers are few, and give way to neighbours and to the next stranger; no town holds all
        links.
        """
        strangers = [link for link in self.live.values() if not link.approved]
        if len(strangers) >= STRANGERS_MAX or (strangers and len(self.live) >= LINKS_MAX):
            self.drop(strangers[0], "crowded", "too many strangers call at once")
        alike = [link for link in self.live.values() if link.approved and link.identity.town == town]
        if approved and len(alike) >= LINKS_OF_TOWN_MAX:
            self.drop(alike[0], "crowded", f"{LINKS_OF_TOWN_MAX} links are all that one town may have")
        if len(self.live) >= LINKS_MAX:
            raise LinkFailure(f"{LINKS_MAX} links are all that this node keeps", code="links_many")

    def _expect_approval(self, link: Link) -> None:
        if link.id in self.live and not link.approved:
            self.drop(link, "not_approved", "the operator has not approved that town")

    def _is_approved(self, town: TownId) -> bool:
        return town == self._own_town or self._peers.get(town) is not None or self._recovery.knows(town)

    def _recognise(self, link: Link) -> None:
        town = link.identity.town
        if town != self._own_town and self._peers.get(town) is None and self._recovery.knows(town):
            link.approved = True
            self._background.spawn(carefully(partial(self._approve, link)))

    async def _note_urls(self, link: Link) -> None:
        """An approved peer says where else it can be called; what our operator gave stays first."""
        who = link.identity
        await self._peers.note_told(who.town, who.urls, who.near)

    async def _approve(self, link: Link) -> None:
        who = link.identity
        await self._peers.approve(who.town, told=who.urls, near=who.near)
