"""Claims and ledgers as JSON: what the API and the commands answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.promises.asked import URGENCIES
from protocol.text import write_decimal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from node.promises.views import ClaimView, LedgerView


def claim_json(view: ClaimView) -> dict[str, object]:
    """Return a claim; what is not so or not known is left out, `code_to_show` all but at the claimant's
    town."""
    told: dict[str, object] = {
        "address": view.address,
        "doc": view.doc.hex(),
        "target": {
            "doc": view.target.hex(),
            "address": view.target_address,
            "kind": view.target_kind,
            "title": view.target_title,
        },
        "town": view.town.hex(),
        "town_name": view.town_name,
        "keeper_town": view.keeper_town.hex(),
        "keeper_name": view.keeper_name,
        "state": view.stage.value,
        "code": view.code,
        "says": view.says,
        "born": view.born,
        "ours": view.ours,
        "to_answer": view.to_answer,
        "share": view.share,
        "urgency": URGENCIES[view.urgency],
        "on_behalf_of": view.on_behalf_of,
    }
    optional: dict[str, object] = {
        "waits_for": view.waits_for.hex() if view.waits_for is not None else "",
        "heard_ms": view.heard_ms,
        "asked": _amount(view.asked_milli, view.unit) if view.asked_milli else None,
        "promised": _amount(view.milli, view.unit) if view.milli else None,
        "start": view.start,
        "end": view.end,
        "longer": view.longer,
        "renewals": view.renewals,
        "hold_until": view.hold_until,
        "place": view.place,
        "reason": view.reason,
        "by": view.by,
        "contact": view.contact,
        "code_to_show": view.receipt_code,
        "received": view.received,
    }
    return told | {name: value for name, value in optional.items() if value}


def ledger_json(view: LedgerView, claims: Iterable[ClaimView] | None = None) -> dict[str, object]:
    """Return a ledger with its claims, or those of them that are given."""
    told: dict[str, object] = {
        "target": view.target.hex(),
        "ledger": view.doc.hex(),
        "town": view.town.hex(),
        "town_name": view.town_name,
        "known": view.known,
        "says": view.says,
        "waiting": view.waiting,
        "forks": view.forks,
        "keeps": view.keeps,
        "keeper": view.keeper.hex() if view.keeper is not None else None,
        "claims": [claim_json(each) for each in (view.claims if claims is None else claims)],
    }
    if view.share_of is not None:
        told["share_of"] = view.share_of.hex()
    if view.from_address:
        told["from"] = {"address": view.from_address, "title": view.from_title, "town_name": view.from_name}
    if view.windows:
        told["taken"] = [
            {
                "start": each.start,
                "end": each.end,
                "handed_over": each.handed_over,
                "renewals": each.renewals,
            }
            for each in view.taken
        ]
    elif view.known:
        told |= {
            name: _amount(milli, view.unit)
            for name, milli in (
                ("capacity", view.capacity), ("promised", view.promised), ("free", view.free)
            )
        }  # fmt: skip
        told["shares"] = [
            {"town_name": each.town_name, "amount": _amount(each.milli, view.unit), "address": each.address}
            for each in view.shares
        ]
    return told


def _amount(milli: int, unit: str) -> dict[str, object]:
    return {"amount": write_decimal(milli, 3), "unit": unit}
