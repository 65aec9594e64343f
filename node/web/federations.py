"""The page of the federations: who belongs and why, and what the stewards are deciding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from node.federations import WHY, who_left, why
from node.proposals import changes_of
from node.web.pages import must_read, shell
from node.web.render import html, render
from node.web.site import SITE
from protocol.ids import TownId

if TYPE_CHECKING:
    from sync.authority import Federation


@dataclass(frozen=True, slots=True)
class Proposed:
    """One step that is being decided, in words."""

    short: str
    by: str
    changes: list[str]
    signed: str
    waits: str
    needs: int


async def federations(request: web.Request) -> web.Response:
    """Every federation of this town: its members, its rules, and what is being decided."""
    site = request.app[SITE]
    must_read(request)
    around = await site.around()

    def name_of(town: TownId) -> str:
        known = around.towns.get(town)
        return known.name if known and known.name else town.hex()[:8]

    adopted = sorted(site.node.authority().federations.values(), key=lambda each: each.name.casefold())
    left = await site.node.store.read(lambda reader: {each.id: who_left(reader, each) for each in adopted})
    shown = [
        {
            "name": each.name,
            "towns": _towns(each, name_of, left[each.id]),
            "stewards": len(each.stewards),
            "majority": each.chain.current.state.majority,
            "vouches": each.chain.current.state.vouches,
            "step": len(each.chain.steps) - 1,
            "proposed": _proposed(each, name_of),
        }
        for each in adopted
    ]
    values = shell(request, around, "neighbours") | {"federations": shown}
    return html(request, render("federations.html", values))


def _towns(
    federation: Federation, name_of: Callable[[TownId], str], left: frozenset[TownId]
) -> list[tuple[str, str, str]]:
    """Return (name, role, why) of every town, stewards first."""
    towns = federation.members | federation.acts.suspended
    ranked = sorted(towns, key=lambda town: (town not in federation.stewards, name_of(town).casefold(), town))
    return [
        (name_of(town), "steward" if town in federation.stewards else "", WHY[why(federation, town, left)])
        for town in ranked
    ]


def _proposed(federation: Federation, name_of: Callable[[TownId], str]) -> list[Proposed]:
    state = federation.chain.current.state

    def listed(towns: frozenset[TownId]) -> str:
        return ", ".join(sorted(map(name_of, towns)))

    return [
        Proposed(
            short=step.id.hex()[:8],
            by=name_of(step.town),
            changes=changes_of(federation, step, name_of),
            signed=listed(frozenset(who)),
            waits=listed(state.stewards - who.keys()),
            needs=state.majority - len(who),
        )
        for step, who in sorted(federation.chain.open.steps.items(), key=lambda each: each[0].id)
    ]
