"""Federations of this town: found one, list them, list their members."""

from __future__ import annotations

from typing import Any

from protocol.ids import FederationId


class Federations:
    """What the operator does about federations."""

    async def found(self, name: str) -> FederationId:
        """Found a federation whose only steward and member is this town; returns its id once committed."""
        raise NotImplementedError

    def list(self) -> list[dict[str, Any]]:
        """Return `[{"id", "name", "members", "steward"}]` of the adopted federations; ids as hex."""
        raise NotImplementedError

    def members(self, federation: FederationId) -> list[dict[str, Any]]:
        """Return `[{"town", "name", "steward", "own"}]` of one federation; ids as hex."""
        raise NotImplementedError

    def find(self, name_or_id: str | None) -> FederationId:
        """Return the federation that an operator means: by name, by the beginning of its id, or the only one.

        Raises:
            NotFound: None, or more than one, fits.
        """
        raise NotImplementedError
