"""The federations of this town: found one, list them, list their members, find the one that is meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from node.errors import InvalidRequest, NotFound
from node.intake import Draft
from protocol.errors import InvalidField
from protocol.ids import FederationId, Op, TownId
from protocol.kinds import kind_of
from protocol.record import CHARTER, fields_of
from sync.authority import JOIN

if TYPE_CHECKING:
    from node.intake import Intake
    from node.store import Reader, Store
    from protocol.encoding import Value
    from sync.authority import Authority, Federation

Rows: TypeAlias = list[dict[str, Any]]
"""What `--json` prints: a list of objects."""

ID_CHARS_MIN: Final = 4
"""The beginning of an id, in hex, that is enough to mean it."""
WHY: Final = {
    "charter": "by the charter",
    "step": "by the last step",
    "admit": "admitted by a steward",
    "vouch": "members vouched for it",
    "suspended": "suspended: no member",
    "left": "has left: a step takes it off the list",
}
"""Why a town belongs or not, by code, in plain words."""


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

    async def found(self, name: str, stewards: Collection[TownId] = (), *, vouches: int = 0) -> FederationId:
        """Found a federation; returns its id once committed.

        Args:
            stewards: Towns that decide together with this one.
            vouches: So many members together may let a town in; 0: they may not.

        Raises:
            InvalidRequest: A name that is empty or too long, or that a federation of ours has already.
            StorageUnavailable: Nothing was written.
        """
        if any(each.name.casefold() == name.strip().casefold() for each in self.adopted()):
            raise InvalidRequest(
                f"this town is in a federation called {name.strip()} already", code="name_taken"
            )
        towns: list[Value] = [bytes(town) for town in sorted({self._authority().own_town, *stewards})]
        fields: dict[str, Value] = {"name": name.strip(), "stewards": towns, "members": towns}
        if vouches:
            fields["rules"] = {"vouches": vouches}
        charter = kind_of(CHARTER)
        assert charter is not None
        try:
            charter.check(fields)
        except InvalidField as error:
            raise InvalidRequest(f"the {error.field} of a federation: {error.says}") from None
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
            for each in self.adopted()
        ]

    async def members(self, federation: FederationId) -> Rows:
        """Return `[{"town", "name", "steward", "own", "by", "why"}]` of one federation; ids as hex.

        `by` is one of `WHY`, and `why` says it; who is suspended is listed and no member, who has left is one
        until a step says otherwise.

        Raises:
            NotFound: This town is not in it.
        """
        authority = self._authority()
        adopted = authority.federations.get(federation)
        if adopted is None:
            raise NotFound("this town is not in that federation")
        gone = await self._store.read(lambda reader: who_left(reader, adopted))
        rows: Rows = [
            {
                "town": town.hex(),
                "name": self.name_of(town),
                "steward": town in adopted.stewards,
                "own": town == authority.own_town,
                "by": (by := why(adopted, town, gone)),
                "why": WHY[by],
            }
            for town in adopted.members | adopted.acts.suspended
        ]
        return sorted(rows, key=lambda row: (str(row["name"]).casefold(), str(row["town"])))

    def find(self, name_or_id: str | None) -> FederationId:
        """Return the federation that an operator means: by name, by the start of its id, or the only one.

        Raises:
            NotFound: None, or more than one, fits.
        """
        adopted = self.adopted()
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
        """Read the names of all towns anew."""
        self._names = await self._store.read(names_of)

    def adopted(self) -> tuple[Federation, ...]:
        """Return the adopted federations by name."""
        found = self._authority().federations.values()
        return tuple(sorted(found, key=lambda each: (each.name.casefold(), each.id)))


def names_of(reader: Reader) -> dict[TownId, str]:
    """Return what towns call themselves; where no profile is held, as of a town that is suspended, what those
    called it who acted about it."""
    names = {town: facts.name for town, facts in reader.towns().items()}
    acts = [
        id
        for adopted in reader.authority().federations.values()
        for id, act in adopted.acts.counting.items()
        if act.town not in names
    ]
    for act in reader.records(sorted(acts)).values():
        fields = fields_of(act) or {}
        town, name = fields.get("town"), fields.get("name")
        if isinstance(town, bytes) and isinstance(name, str):
            names.setdefault(TownId(town), name)
    return names


def why(adopted: Federation, town: TownId, left: Collection[TownId] = ()) -> str:
    """Return by what a town is a member, or that it is none, or has left."""
    state = adopted.chain.current.state
    if town in adopted.acts.suspended:
        return "suspended"
    if town in left:
        return "left"
    if town in state.stewards | state.members:
        return "charter" if len(adopted.chain.steps) == 1 else "step"
    return "admit" if town in adopted.acts.admitted else "vouch"


def who_left(reader: Reader, adopted: Federation) -> frozenset[TownId]:
    """Return the members that have withdrawn their consent and given no other."""
    authority, found = reader.authority(), set[TownId]()
    for town in adopted.members:
        consents = [
            each.header.op
            for each in reader.records_of(town, JOIN)
            if each.header.federations == (adopted.id,)
            and authority.may_write(town, each.header.device, each.id)
        ]
        if consents and all(op is Op.DELETE for op in consents):
            found.add(town)
    return frozenset(found)
