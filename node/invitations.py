"""Invitations into a federation: made, shown as one line of text, proved over a link, used once."""

from __future__ import annotations

from dataclasses import dataclass

from node.errors import HedgerowError
from protocol.ids import FederationId, TownId


class InvitationRefused(HedgerowError):
    """An invitation that does not hold: mistyped, used already, out of date, or for nobody that we know."""

    code = "invitation_refused"
    status = 403


@dataclass(frozen=True, slots=True)
class Invitation:
    """What an invitation's code says."""

    federation: FederationId
    inviter: TownId
    urls: tuple[str, ...]
    secret: bytes
    last_day: int
    """Days since 1970; good to the end of that day, UTC."""


class Invitations:
    """The invitations that this node gave out and those that it took."""

    async def invite(self, federation: FederationId, url: str | None = None) -> tuple[str, int]:
        """Make an invitation and return its code and when it ends (seconds since 1970).

        Args:
            federation: One that we are a steward of.
            url: Where the other town's node reaches ours; None: the URLs of the settings.

        Raises:
            Forbidden: We may not admit towns there.
            WrongUsage: No URL is known by which the other town could call.
        """
        raise NotImplementedError
