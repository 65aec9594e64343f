"""What a node does by itself when a federation has taken a step, and what it tells its operator then.

An act that rests on a step two or more back counts for nothing. Where this town gave it, nobody decided it,
and it would still change something, the node gives it again upon the current step. What was resolved and is
resolved otherwise now, and who signed two steps of one round, are incidents: they were proved by what others
signed, and people must know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from node.drafts import Draft
from node.errors import LimitReached, NotCertified, NotFound
from node.incidents import town_words
from node.stewardship import about, standing
from protocol.ids import Op
from sync.membership import ADMIT, SUSPEND, VOUCH

if TYPE_CHECKING:
    from node.federations import Federations
    from node.incidents import Incidents
    from node.intake import Intake
    from node.store import Reader, Store, Transaction
    from protocol.encoding import Value
    from protocol.ids import TownId
    from protocol.record import Record
    from sync.authority import Authority, Federation

LOG: Final = logging.getLogger("hedgerow.renewal")
KNOWN_STEP: Final = "step:"
"""Where the last step that was shown of a federation is kept, its id behind this."""


class Renewal:
    """Follows the steps of the own town's federations.

    Args:
        authority: The present resolved authority.
    """

    def __init__(
        self,
        store: Store,
        intake: Intake,
        federations: Federations,
        incidents: Incidents,
        *,
        authority: Callable[[], Authority],
    ) -> None:
        self._store = store
        self._intake = intake
        self._federations = federations
        self._incidents = incidents
        self._authority = authority
        # Two moves at once must not both give the same act again.
        self._turn = asyncio.Lock()

    async def authority_moved(self) -> None:
        """Tell of what changed, and give again what rests on old steps; doing it twice changes nothing.

        Raises:
            StorageUnavailable: It is done the next time.
        """
        async with self._turn:
            adopted = self._federations.adopted()
            await self._store.write(lambda tx: self._watch(tx, adopted))
            own = self._authority().own_town
            for federation in adopted:
                if own in federation.members and len(federation.chain.steps) > 1:
                    await self._renew(own, federation)

    def _watch(self, tx: Transaction, adopted: Sequence[Federation]) -> None:
        for federation in adopted:
            self._watch_one(tx, federation)

    def _watch_one(self, tx: Transaction, federation: Federation) -> None:
        name, current = KNOWN_STEP + federation.id.hex(), federation.chain.current.id
        known = tx.meta(name)
        if isinstance(known, bytes) and all(step.id != known for step in federation.chain.steps):
            says = f"{federation.name}: a step that counted here was replaced by another, which stands now"
            self._incidents.add(tx, "step_replaced", says, known, source=federation.id)
        if known != current:
            tx.set_meta(name, bytes(current))
        for parent, town in federation.chain.struck:
            who = town_words(town, self._federations.name_of(town))
            says = f"{federation.name}: {who} signed two steps of one round; its signatures count for neither"
            self._incidents.add(tx, "double_signer", says, parent + town, source=town)

    async def _renew(self, own: TownId, federation: Federation) -> None:
        def read(reader: Reader) -> list[Record]:
            kinds = (ADMIT, SUSPEND, VOUCH)
            return [each for kind in kinds for each in standing(list(reader.records_of(own, kind)))]

        old = [each for each in await self._store.read(read) if _is_due(each, own, federation)]
        if not old:
            return
        current = federation.chain.current.id
        drafts = [
            Draft(each.header.kind, Op.PUT, _said(each, self._federations), doc=each.doc, cites=(current,))
            for each in old
        ]
        try:
            await self._intake.post(drafts)
        except (LimitReached, NotCertified, NotFound) as error:
            LOG.warning("acts that rest on an old step were not given again: %s", error.says)
            return

        def tell(tx: Transaction) -> None:
            for each in old:
                town = about(each)
                who = town_words(town or b"", self._federations.name_of(town) if town else None)
                what = {ADMIT: "admission", SUSPEND: "suspension"}.get(each.header.kind, "vouch")
                says = f"{federation.name}: the {what} of {who} rested on an old step and was given again"
                self._incidents.add(tx, "act_renewed", says, each.id, source=federation.id)

        await self._store.write(tell)
        LOG.info("%d acts in %s rested on an old step and were given again", len(old), federation.name)


def _said(record: Record, federations: Federations) -> dict[str, Value]:
    town = about(record)
    assert town is not None, "only a readable act is due"
    name = federations.name_of(town)
    return {"town": bytes(town)} | ({"name": name} if name else {})


def _is_due(record: Record, own: TownId, federation: Federation) -> bool:
    """Tell whether an own act counts no more, was never decided, and would change something."""
    chain, town = federation.chain, about(record)
    if record.header.federations != (federation.id,) or town is None:
        return False
    if chain.rests_on(record.id, record.header.cites):
        return False
    if any(record.id in step.decides for step in chain.steps):
        return False
    state, is_member = chain.current.state, town in federation.members
    match record.header.kind:
        case "federation.admit":
            return own in state.stewards and not is_member and town not in federation.acts.suspended
        case "federation.suspend":
            return own in state.stewards and is_member and town not in state.stewards
        case _:
            return own in state.stewards | state.members and state.vouches > 0 and not is_member
