"""What people must know of a ledger: that a key was in two places, or that a device wrote where it may not.

The count comes out right all the same, for the fold passes over what has no effect; but somebody has a board
or a key of that town who should not, or two boards of it do not know of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.promises.shelf import held_of, is_withdrawn
from protocol.ids import Op
from sync.ledger import LEDGER, NOT_THE_KEEPER
from sync.promises import Act

if TYPE_CHECKING:
    from node.store import Reader
    from protocol.ids import DeviceId, DocId, TownId
    from sync.ledger import Fork, Ledger

FORK_FOUND: Final = "ledger_fork"
"""The incident that a keeper's key was in two places."""
MEDDLED: Final = "ledger_meddled"
"""The incident that a device wrote in a ledger that another device of its town keeps."""
WITHDRAWN: Final = "ledger_withdrawn"
"""The incident that a device of our own town withdrew a ledger."""
WAY_OUT: Final = (
    "; if nobody here did that, take back the device that did (hedgerow key revoke): what it spoilt then"
    " stands again"
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing to be told, as an incident.

    Attributes:
        about: Of (code, about) there is one incident.
    """

    code: str
    about: bytes
    says: str


def troubles(reader: Reader, doc: DocId, ledger: Ledger | None, own_town: TownId) -> list[Trouble]:
    """Return what is to be told of a ledger; None: nothing of its chain is held."""
    if ledger is None:
        return _withdrawn(reader, doc, own_town)
    forks = [each for each in ledger.forks if not each.by_town_key]
    # Whoever forks a ledger of their own a thousand times is told of once, and not in a thousand lines.
    told = [each for each in forks if each.n == 1][:1] + [each for each in forks if each.n > 1][:1]
    found = [_of_fork(reader, ledger, fork, own_town) for fork in told]
    beside = [id for id, code in ledger.void.items() if code == NOT_THE_KEEPER]
    writers = {record.header.device for record in reader.records(beside).values()}
    return found + [_meddled(reader, ledger, device, own_town) for device in sorted(writers)]


def _of_fork(reader: Reader, ledger: Ledger, fork: Fork, own_town: TownId) -> Trouble:
    lost = {entry.device for entry in ledger.lost if entry.id in fork.lost}
    if fork.n == 1 and ledger.first is not None and (others := lost - {ledger.first.device}):
        return _meddled(reader, ledger, min(others), own_town, ledger.first.device)
    void = sum(each.word.act is Act.ACCEPT for each in ledger.lost)
    says = (
        f"{_name(reader, ledger.town)}'s key was in two places: two entries of one ledger contradict each"
        f" other, and {void} of the promises made there do not count; those concerned are shown so"
    )
    return Trouble(FORK_FOUND, ledger.doc, says)


def _meddled(
    reader: Reader, ledger: Ledger, device: DeviceId, own_town: TownId, beside: DeviceId | None = None
) -> Trouble:
    """Say of a device that it wrote in a ledger of another one, or opened it beside that one."""
    name, who = _name(reader, ledger.town), device.hex()[:8]
    if beside is None:
        says = f"a device of {name} ({who}) wrote in a ledger that it does not keep; that counts for nothing"
    else:
        says = (
            f"two devices of {name} ({beside.hex()[:8]} and {who}) opened one ledger; the first counts, and"
            " what the other promised does not"
        )
    return Trouble(MEDDLED, ledger.doc + device, says + (WAY_OUT if ledger.town == own_town else ""))


def _withdrawn(reader: Reader, doc: DocId, own_town: TownId) -> list[Trouble]:
    records = [each for each in held_of(reader, doc) if each.header.kind == LEDGER]
    if not is_withdrawn(records) or records[0].header.town != own_town:
        return []
    device = next(each.header.device for each in records if each.header.op is Op.DELETE)
    says = f"a device of this town ({device.hex()[:8]}) withdrew a ledger, so nothing can be promised there"
    return [Trouble(WITHDRAWN, doc + device, says + WAY_OUT)]


def _name(reader: Reader, town: TownId) -> str:
    facts = reader.towns().get(town)
    return facts.name if facts is not None else f"Town {town.hex()[:8]}"
