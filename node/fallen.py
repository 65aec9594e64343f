"""What a town did in its federations with a key that it takes back: what falls with it, and doing it again.

Admissions, suspensions and vouches count only while their device may write them, so to take a stolen board
back also puts out whom the town had let in with it. Only people can tell a thief's admission from the town's
own: so each is named before, and this board does again what they choose, in the transaction that takes the
key back. Steps and signatures are made with the town key and stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.drafts import Draft
from node.stewardship import about
from sync.membership import ADMIT, SUSPEND, VOUCH

if TYPE_CHECKING:
    from node.store import Reader
    from protocol.ids import FederationId, TownId
    from protocol.record import Record
    from sync.authority import Authority, Federation

WHAT: Final = {ADMIT: "admission", SUSPEND: "suspension", VOUCH: "vouch"}
"""Acts by kind, in a word for people."""


@dataclass(frozen=True, slots=True, order=True)
class Fallen:
    """An act of the own town that counts and would not any more, and that nothing else makes up for."""

    kind: str
    federation: FederationId
    town: TownId

    def again(self, authority: Authority) -> Draft:
        """Return the same act, to be done by this board upon the current step."""
        ground = authority.federations[self.federation].chain.current.id
        said = {"town": bytes(self.town)}
        return Draft(self.kind, fields=said, federations=(self.federation,), cites=(ground,))


def fallen(reader: Reader, falls: Callable[[Record], bool]) -> list[Fallen]:
    """Return what would change in the federations of the own town if these of its acts did not count.

    Args:
        falls: Tells of an act of the own town whether it would not.
    """
    found = set[Fallen]()
    for adopted in reader.authority().federations.values():
        acts = reader.records(sorted(adopted.acts.counting)).values()
        gone = [each for each in acts if each.header.town == reader.own_town and falls(each)]
        left = [each for each in acts if each not in gone]
        found |= {_fallen(each, adopted) for each in gone if _matters(each, left, adopted)}
    return sorted(found)


def _fallen(act: Record, adopted: Federation) -> Fallen:
    town = about(act)
    assert town is not None, "only a readable act counts"
    return Fallen(act.header.kind, adopted.id, town)


def _matters(act: Record, left: Sequence[Record], adopted: Federation) -> bool:
    """Tell whether no other act does the same, nor the current step makes the town a member anyway."""
    kind, town, state = act.header.kind, about(act), adopted.chain.current.state
    if kind != SUSPEND and town in state.stewards | state.members:
        return False
    return not any(
        (each.header.kind, about(each)) == (kind, town)
        and (kind != VOUCH or each.header.town == act.header.town)
        for each in left
    )
