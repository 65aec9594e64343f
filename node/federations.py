"""The federations of this town: found one, list them, list their members, find the one that is meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from node.errors import InvalidRequest, NotFound
from node.intake import Draft
from protocol.errors import InvalidField
from protocol.ids import FederationId, Op, TownId
from protocol.kinds import kind_of
from protocol.record import CHARTER

if TYPE_CHECKING:
    from node.intake import Intake
    from node.store import Store
    from protocol.encoding import Value
    from sync.authority import Authority, Federation

Rows: TypeAlias = list[dict[str, Any]]
"""What `--json` prints: a list of objects."""

ID_CHARS_MIN: Final = 4
"""The beginning of an id, in hex, that is enough to mean it."""


class Federations:
    """What the operator does about federations.

    Args:
        authority: The present resolved authority.
        acted: Called before the first act of an operator is written: see `recovery`.
    """

    def __init__(
        self,
        store: Store,
        intake: Intake,
        *,
        authority: Callable[[], Authority],
        acted: Callable[[], Awaitable[None]],
    ) -> None:
        self._acted = acted
        self._store = store
        self._intake = intake
        self._authority = authority
        self._names: dict[TownId, str] = {}

    async def found(self, name: str) -> FederationId:
        """Found a federation whose only steward and member is this town; returns its id once committed.

        Raises:
            InvalidRequest: A name that is empty or too long, or that a federation of ours has already.
            StorageUnavailable: Nothing was written.
        """
        if any(each.name.casefold() == name.strip().casefold() for each in self._adopted()):
            raise InvalidRequest(
                f"this town is in a federation called {name.strip()} already", code="name_taken"
            )
        town: Value = bytes(self._authority().own_town)
        fields: dict[str, Value] = {"name": name.strip(), "stewards": [town], "members": [town]}
        charter = kind_of(CHARTER)
        assert charter is not None
        try:
            charter.check(fields)
        except InvalidField as error:
            raise InvalidRequest(f"the name of a federation: {error.says}") from None
        await self._acted()
        record = (await self._intake.post([Draft(CHARTER, Op.ENTRY, fields)]))[0]
        return FederationId(record.id[:16])

    def list(self) -> Rows:
        """Return `[{"id", "name", "members", "steward"}]` of the adopted federations; ids as hex."""
        own = self._authority().own_town
        return [
            {
                "id": each.id.hex(),
                "name": each.name,
                "members": len(each.members),
                "steward": own in each.stewards,
            }
            for each in self._adopted()
        ]

    def members(self, federation: FederationId) -> Rows:
        """Return `[{"town", "name", "steward", "own"}]` of one federation; ids as hex.

        Raises:
            NotFound: This town is not in it.
        """
        authority = self._authority()
        adopted = authority.federations.get(federation)
        if adopted is None:
            raise NotFound("this town is not in that federation")
        rows: Rows = [
            {
                "town": town.hex(),
                "name": self.name_of(town),
                "steward": town in adopted.stewards,
                "own": town == authority.own_town,
            }
            for town in adopted.members
        ]
        return sorted(rows, key=lambda row: (str(row["name"]).casefold(), str(row["town"])))

    def find(self, name_or_id: str | None) -> FederationId:
        """Return the federation that an operator means: by name, by the start of its id, or the only one.

        Raises:
            NotFound: None, or more than one, fits.
        """
        adopted = self._adopted()
        found = adopted
        if name_or_id is not None:
            wanted = name_or_id.strip().casefold()
            found = tuple(each for each in adopted if each.name.casefold() == wanted)
            if not found and len(wanted) >= ID_CHARS_MIN:
                found = tuple(each for each in adopted if each.id.hex().startswith(wanted))
        if len(found) == 1:
            return found[0].id
        if not adopted:
            raise NotFound("this town is in no federation yet: found one, or join with an invitation")
        names = ", ".join(f"{each.name} ({each.id.hex()[:8]})" for each in adopted)
        raise NotFound(f"which federation? This town is in {names}", detail={"choices": names})

    def name_of(self, town: TownId) -> str:
        """Return what a town calls itself in its profile; empty if it is not known."""
        return self._names.get(town, "")

    async def read_names(self) -> None:
        """Read the names of all towns from their profiles."""
        towns = await self._store.read(lambda reader: reader.towns())
        self._names = {town: facts.name for town, facts in towns.items()}

    def _adopted(self) -> tuple[Federation, ...]:
        found = self._authority().federations.values()
        return tuple(sorted(found, key=lambda each: (each.name.casefold(), each.id)))
