"""The page of the neighbours: how each stands, how this node is, and what the operator should look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from node.errors import NotAllowed
from node.web import present
from node.web.editing import typed_form
from node.web.guard import form_token_fits
from node.web.pages import distance, must_read, shell
from node.web.render import html, render
from node.web.site import SITE, Surroundings, session_of
from protocol.ids import TownId

INCIDENTS_SHOWN: Final = 10
"""The newest of what an operator should look at."""


async def neighbours(request: web.Request) -> web.Response:
    """What this node knows of its neighbours, in the sentences that `status` says.

    What the operator should look at is told to those who are signed in; others learn that there is something.
    """
    site = request.app[SITE]
    must_read(request)
    around = await site.around()
    peers = [
        {
            "name": peer.get("name") or str(peer.get("town", ""))[:8],
            "says": _without_name(str(peer.get("says") or ""), str(peer.get("name") or "")),
            "is_up": peer.get("state") == "up",
            "distance": distance(around, str(peer.get("town", ""))),
        }
        for peer in around.status.get("peers", [])
    ]
    incidents = [
        (present.age(int(seen["at_ms"]), site.node.clock.now_ms()), _incident(seen, around))
        for seen in around.status.get("incidents", [])
    ]
    trouble = str(around.status.get("keys", {}).get("says") or "")
    is_told = session_of(request) is not None
    values = shell(request, around, "neighbours") | {
        "news": around.news,
        "peers": peers,
        "status": around.status,
        "federations": around.status.get("federations", []),
        "lanes": ("urgent", "everyday", "library"),
        "joins": [str(join.get("says") or "") for join in around.status.get("joins", [])],
        "is_something": bool(incidents or trouble),
        "trouble": trouble if is_told else "",
        "incidents": incidents[-INCIDENTS_SHOWN:] if is_told else [],
        "more_incidents": max(0, len(incidents) - INCIDENTS_SHOWN),
    }
    return html(request, render("neighbours.html", values))


async def put_away(request: web.Request) -> web.Response:
    """Put away what the operator has looked at.

    Raises:
        NotAllowed: Somebody else sends it, or the form is not of this session.
    """
    typed = await typed_form(request)
    session = session_of(request)
    if session is None or session.role != "operator":
        raise NotAllowed("Only the operator can do that: `hedgerow token --page` prints a link to sign in.")
    if not form_token_fits(request, typed):
        raise NotAllowed("Nothing was done yet: please press the button once more.")
    await request.app[SITE].node.put_away()
    request.app[SITE].look_again()
    raise web.HTTPSeeOther("/neighbours")


def _without_name(says: str, name: str) -> str:
    """Return the sentence on a neighbour without its name, which stands beside it."""
    rest = says.removeprefix(f"{name}:").strip() if name else says
    return rest[:1].upper() + rest[1:]


_REFUSED: Final = {
    "invitation_used": "an invitation that was used already",
    "invitation_expired": "an invitation that is out of date",
    "invitation_unknown": "an invitation that this node did not make",
}


def _incident(seen: Mapping[str, object], around: Surroundings) -> str:
    """Return what an operator should look at, told to them and not to the other town, with its name."""
    says, town = str(seen["says"]), str(seen.get("town") or "")
    known = around.towns.get(TownId(bytes.fromhex(town))) if len(town) == 64 else None
    name = known.name if known else f"A town that is not known here ({town[:8]})"
    if why := _REFUSED.get(str(seen.get("code"))):
        return f"{name} wants to join with {why}. To let it in, make a new one: hedgerow federation invite."
    return f"{name}: {says}" if town and (known is None or known.name not in says) else says
