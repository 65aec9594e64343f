"""What stewards and members do in a federation: propose and sign steps, suspend, vouch, leave.

A step and a signature are made with the town key, which is opened for this one act with the passphrase that
the operator gives; nothing keeps it. The acts beside are the device's own and count at once.

An honest steward signs one step of each parent and round, so this refuses a second: two stewards who both
propose at once have split the vote. The round that follows a split is opened here as soon as the signatures
show it. Where they never will, because a steward is silent for good, `instead` signs once more all the same:
something counts then everywhere, and which one does not depend on who hears of what first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from node.drafts import Draft
from node.errors import InvalidRequest, NotAllowed, NotFound
from node.proposals import Change, changes_of, fields_of
from protocol.errors import InvalidField
from protocol.ids import FederationId, Op, RecordId, TownId
from protocol.kinds import kind_of
from protocol.record import SIGN, STEP
from sync.authority import JOIN, named_in
from sync.membership import SUSPEND, VOUCH
from sync.steps import Step

if TYPE_CHECKING:
    from node.federations import Federations
    from node.intake import Intake
    from node.store import Store
    from protocol.encoding import Value
    from protocol.identity import SigningKey
    from protocol.record import Record
    from sync.authority import Authority, Federation

Rows: TypeAlias = list[dict[str, Any]]
"""What `--json` prints: a list of objects."""

STEP_CHARS_MIN: Final = 4
"""The beginning of a step's id, in hex, that is enough to mean it."""


class Stewardship:
    """What this town's operator does as a steward or a member.

    Args:
        authority: The present resolved authority.
        open_key: Opens the town key with a passphrase.
    """

    def __init__(
        self,
        store: Store,
        intake: Intake,
        federations: Federations,
        *,
        authority: Callable[[], Authority],
        open_key: Callable[[str], Awaitable[SigningKey]],
    ) -> None:
        self._store = store
        self._intake = intake
        self._federations = federations
        self._authority = authority
        self._open_key = open_key

    # Steps.

    async def propose(
        self, federation: FederationId, change: Change, passphrase: str, *, beside: bool = False
    ) -> RecordId:
        """Write a step, which signs it for this town too; return its id.

        Args:
            beside: Also where somebody else proposes a step already: the vote may be split then.

        Raises:
            NotFound, NotAllowed, InvalidRequest, WrongPassphrase, KeysUnreadable, StorageUnavailable.
        """
        adopted = self._as_steward(federation)
        chain, own = adopted.chain, self._authority().own_town
        fields = fields_of(adopted, change) | {"parent": bytes(chain.current.id)}
        turn, split = chain.turn
        here = [step for step in chain.open.steps if step.round == turn]
        for step in here:
            if own in chain.open.steps[step]:
                says = f"this town has signed step {_short(step)} already, which waits for others"
                raise NotAllowed(f"{says}: look at hedgerow federation pending", code="signed_already")
        if here and not beside:
            says = f"{self._name(here[0].town)} proposes step {_short(here[0])} already: sign that, or add"
            raise NotAllowed(f"{says} --beside to propose another and risk a split vote", code="step_pending")
        fields |= {"round": turn} | ({"split": list(map(bytes, sorted(split)))} if split else {})
        kind = kind_of(STEP)
        assert kind is not None
        try:
            kind.check(fields)
        except InvalidField as error:
            raise InvalidRequest(f"{error.field}: {error.says}") from None
        return (await self._write_with_key(STEP, federation, fields, passphrase)).id

    async def sign(self, prefix: str, passphrase: str, *, instead: bool = False) -> Step:
        """Sign the step whose id begins so; return it.

        Args:
            instead: Also where this town has signed another step of the same round.

        Raises:
            NotFound, NotAllowed, WrongPassphrase, KeysUnreadable, StorageUnavailable.
        """
        adopted, step = self._find(prefix)
        self._as_steward(adopted.id)
        voices, own = adopted.chain.open.steps, self._authority().own_town
        if own in voices[step]:
            raise InvalidRequest("this town has signed that step already", code="signed_already")
        others = [other for other, who in voices.items() if other.round == step.round and own in who]
        if others and not instead:
            raise NotAllowed(
                f"this town has signed step {_short(others[0])} of the same round. If that one can count no"
                " more, propose again; if a steward is silent for good, add --instead to sign this one too",
                code="signed_other",
            )
        await self._write_with_key(SIGN, adopted.id, {"step": bytes(step.id)}, passphrase)
        return step

    def pending(self) -> Rows:
        """Return what is being decided: `[{"federation", "name", "step", "by", "round", "changes", "signed",
        "waits_for", "needs", "own"}]`; ids as hex, towns by name."""
        rows: Rows = []
        for adopted in self._federations.adopted():
            current, own = adopted.chain.current.state, self._authority().own_town
            for step, who in sorted(adopted.chain.open.steps.items(), key=lambda each: each[0].id):
                silent = current.stewards - who.keys()
                rows.append(
                    {
                        "federation": adopted.id.hex(),
                        "name": adopted.name,
                        "step": step.id.hex(),
                        "by": self._name(step.town),
                        "round": step.round,
                        "changes": changes_of(adopted, step, self._federations.name_of),
                        "signed": sorted(map(self._name, who)),
                        "waits_for": sorted(map(self._name, silent)),
                        "needs": current.majority - len(who),
                        "own": own in silent,
                    }
                )
        return rows

    # Acts beside.

    async def suspend(self, federation: FederationId, town: TownId) -> None:
        """Suspend a town; it is a member no more at once.

        Raises:
            NotFound, NotAllowed, InvalidRequest, StorageUnavailable.
        """
        adopted = self._as_steward(federation)
        if town in adopted.stewards:
            raise NotAllowed("a steward cannot be suspended: propose a step without it", code="is_steward")
        if town in adopted.acts.suspended:
            raise InvalidRequest("that town is suspended there already", code="suspended")
        if town not in adopted.members:
            raise InvalidRequest("that town is no member there", code="no_member")
        await self._act(SUSPEND, adopted, town)

    async def lift(self, federation: FederationId, town: TownId) -> None:
        """Withdraw this town's suspension of another.

        Raises:
            NotFound: This town has suspended no such town.
            StorageUnavailable: Nothing was written.
        """
        adopted = self._as_steward(federation)
        found = [
            record
            for record in await self._own(SUSPEND)
            if record.header.federations == (adopted.id,) and about(record) == town
        ]
        if not found:
            says = "this town has not suspended that one"
            if town in adopted.acts.suspended:
                says += "; the steward who did can lift it, or all decide: federation propose --add"
            raise NotFound(says)
        await self._intake.post([Draft(SUSPEND, Op.DELETE, doc=record.doc) for record in found])

    async def vouch(self, federation: FederationId, town: TownId) -> int:
        """Vouch for a town; return how many more vouches it needs.

        Raises:
            NotFound, NotAllowed, InvalidRequest, StorageUnavailable.
        """
        adopted = self._adopted(federation)
        state, own = adopted.chain.current.state, self._authority().own_town
        if not state.vouches:
            raise NotAllowed("the rules of that federation know no vouching", code="no_vouching")
        if not adopted.may_vouch(own):
            raise NotAllowed("only a town that the last step names may vouch", code="not_named")
        if town in adopted.members:
            raise InvalidRequest("that town is a member there already", code="member_already")
        if town in adopted.acts.suspended:
            says = "that town is suspended there: ask a steward to lift that first, else no vouch counts"
            raise NotAllowed(says, code="suspended")
        await self._act(VOUCH, adopted, town)
        vouches = [each for each in self._adopted(federation).acts.vouching if each[1] == town]
        return max(0, state.vouches - len({by for by, _ in vouches}))

    async def leave(self, federation: FederationId) -> str:
        """Withdraw this town's consent; return the name of the federation that it has left.

        Nobody serves it there any more from this node; the others name it until a step takes it out, and say
        that it has left.

        Raises:
            NotFound, NotAllowed, StorageUnavailable.
        """
        adopted = self._adopted(federation)
        if self._authority().own_town in adopted.stewards:
            says = (
                "a steward does not leave the others without a step: propose one with --remove and this town"
            )
            raise NotAllowed(says, code="is_steward")
        consents = [record for record in await self._own(JOIN) if record.header.federations == (federation,)]
        if not consents:
            # The founder consented by writing the charter; taking that back needs a consent to withdraw.
            consents = await self._intake.post([Draft(JOIN, Op.PUT, {}, federations=(federation,))])
        await self._intake.post([Draft(JOIN, Op.DELETE, doc=record.doc) for record in consents])
        return adopted.name

    # Below here: how.

    def _adopted(self, federation: FederationId) -> Federation:
        adopted = self._authority().federations.get(federation)
        if adopted is None:
            raise NotFound("this town is not in that federation")
        return adopted

    def _as_steward(self, federation: FederationId) -> Federation:
        adopted = self._adopted(federation)
        if self._authority().own_town not in adopted.stewards:
            names = ", ".join(sorted(map(self._name, adopted.stewards)))
            raise NotAllowed(f"only a steward of {adopted.name} may do that: {names}", code="not_steward")
        return adopted

    def _find(self, prefix: str) -> tuple[Federation, Step]:
        wanted = prefix.strip().casefold()
        found = [
            (adopted, step)
            for adopted in self._federations.adopted()
            for step in adopted.chain.open.steps
            if len(wanted) >= STEP_CHARS_MIN and step.id.hex().startswith(wanted)
        ]
        if len(found) != 1:
            says = f"{len(found) or 'no'} steps that are being decided begin with {prefix[:64]}"
            raise NotFound(f"{says}: hedgerow federation pending shows them")
        return found[0]

    async def _act(self, kind: str, adopted: Federation, town: TownId) -> None:
        fields: dict[str, Value] = {"town": bytes(town)}
        if name := self._federations.name_of(town):
            fields["name"] = name
        draft = Draft(kind, Op.PUT, fields, (adopted.id,), cites=(adopted.chain.current.id,))
        await self._intake.post([draft])

    async def _write_with_key(
        self, kind: str, federation: FederationId, fields: dict[str, Value], passphrase: str
    ) -> Record:
        key = await self._open_key(passphrase)
        return (await self._intake.post([Draft(kind, Op.ENTRY, fields, (federation,), key=key)]))[0]

    async def _own(self, kind: str) -> list[Record]:
        own = self._authority().own_town
        return standing(await self._store.read(lambda reader: list(reader.records_of(own, kind))))

    def _name(self, town: TownId) -> str:
        return self._federations.name_of(town) or town.hex()[:8]


def standing(records: list[Record]) -> list[Record]:
    """Return the newest put of each document that is not withdrawn."""
    ended = {record.doc for record in records if record.header.op is Op.DELETE}
    newest: dict[bytes, Record] = {}
    for record in sorted(records, key=lambda each: (each.header.stamp, each.id)):
        if record.doc not in ended:
            newest[record.doc] = record
    return list(newest.values())


def about(record: Record) -> TownId | None:
    """Return the town that an act is about; None if it is unreadable."""
    town = named_in(record)
    return None if town is None else TownId(town)


def _short(step: Step) -> str:
    return step.id.hex()[:8]
