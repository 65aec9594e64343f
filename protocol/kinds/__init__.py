"""The kinds of documents that this program knows, by name. Others are held, forwarded and not shown."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from protocol.kinds.exchange import NEED, OFFER, SKILL
from protocol.kinds.federation import ADMIT, CHARTER, JOIN
from protocol.kinds.practice import PRACTICE
from protocol.kinds.town import DEVICE, KEEP, PROFILE, REVOKE, ROTATE
from protocol.schema import Kind

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            OFFER, NEED, SKILL, PRACTICE, PROFILE, DEVICE, REVOKE, KEEP, ROTATE, CHARTER, ADMIT, JOIN,
        )
    }
)  # fmt: skip
"""Every kind that is declared, in the order in which pages list them."""


def kind_of(name: str) -> Kind | None:
    """Return the declaration of a kind, or None when this program does not know it."""
    return KINDS.get(name)
