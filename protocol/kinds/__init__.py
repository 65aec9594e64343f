"""The kinds of documents that this program knows, by name. Others are held, forwarded and not shown."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from protocol.kinds.claims import CLAIM, FEEDBACK, LEDGER, RECEIPT
from protocol.kinds.events import EVENT
from protocol.kinds.exchange import NEED, OFFER, SKILL
from protocol.kinds.federation import ADMIT, CHARTER, JOIN, SIGN, STEP, SUSPEND, VOUCH
from protocol.kinds.lending import ITEM
from protocol.kinds.practice import PRACTICE
from protocol.kinds.town import DEVICE, KEEP, PROFILE, REVOKE, ROTATE
from protocol.schema import Kind

_ALL: Final = (
    OFFER, NEED, ITEM, SKILL, EVENT, PRACTICE, FEEDBACK, CLAIM, LEDGER, RECEIPT,
    PROFILE, DEVICE, REVOKE, KEEP, ROTATE, CHARTER, STEP, SIGN, ADMIT, SUSPEND, VOUCH, JOIN,
)  # fmt: skip

KINDS: Final[Mapping[str, Kind]] = MappingProxyType({kind.name: kind for kind in _ALL})
"""Every kind that is declared, in the order in which pages list them."""


def kind_of(name: str) -> Kind | None:
    """Return the declaration of a kind, or None when this program does not know it."""
    return KINDS.get(name)
