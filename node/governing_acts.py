"""The acts of stewards and members, by name: what the commands under `federation` have done.

The passphrase of the town key comes with the one act that needs it, over the control socket, which only the
operator can open; it is kept nowhere and written to no log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.acts import act
from node.arguments import Arguments, find_among, text_of, text_or_none, texts_of, whole_or_none
from node.errors import InvalidRequest, NotFound
from node.federations import names_of
from node.proposals import LANES, Change
from protocol.ids import TownId

if TYPE_CHECKING:
    from node.daemon import Daemon
    from protocol.ids import FederationId


@act
async def found(daemon: Daemon, arguments: Arguments) -> object:
    """Found a federation."""
    name = text_of(arguments, "name")
    stewards = [await _find_any(daemon, each) for each in texts_of(arguments, "stewards")]
    federation = await daemon.federations.found(
        name, stewards, vouches=whole_or_none(arguments, "vouches") or 0
    )
    return {"id": federation.hex(), "name": name}


@act
async def members(daemon: Daemon, arguments: Arguments) -> object:
    """The towns of one federation, and whether each belongs by charter, step, admission or vouches."""
    return await daemon.federations.members(_federation(daemon, arguments))


@act
async def propose(daemon: Daemon, arguments: Arguments) -> object:
    """Propose a step."""
    quotas = arguments.get("quotas") or {}
    if not isinstance(quotas, dict) or not all(
        name in LANES and type(count) is int for name, count in quotas.items()
    ):
        raise InvalidRequest(f"a quota is a lane and a number of documents: {', '.join(LANES)}")
    change = Change(
        add=await _towns(daemon, arguments, "add"),
        remove=await _towns(daemon, arguments, "remove"),
        raise_=await _towns(daemon, arguments, "steward"),
        lower=await _towns(daemon, arguments, "no_steward"),
        vouches=whole_or_none(arguments, "vouches"),
        quotas=quotas,
        name=text_or_none(arguments, "name"),
    )
    step = await daemon.stewardship.propose(
        _federation(daemon, arguments),
        change,
        text_of(arguments, "passphrase"),
        beside=bool(arguments.get("beside")),
    )
    return _told(daemon, step.hex())


@act
async def sign(daemon: Daemon, arguments: Arguments) -> object:
    """Sign a step that another steward has proposed."""
    step = await daemon.stewardship.sign(
        text_of(arguments, "step"), text_of(arguments, "passphrase"), instead=bool(arguments.get("instead"))
    )
    return _told(daemon, step.id.hex())


@act
async def pending(daemon: Daemon, arguments: Arguments) -> object:
    """What is being decided, who has signed, and whom it waits for."""
    return daemon.stewardship.pending()


@act
async def suspend(daemon: Daemon, arguments: Arguments) -> object:
    """Suspend a town at once, or lift what this town did."""
    federation, town = _federation(daemon, arguments), await _find_any(daemon, text_of(arguments, "town"))
    if arguments.get("lift"):
        await daemon.stewardship.lift(federation, town)
    else:
        await daemon.stewardship.suspend(federation, town)
    return {"town": town.hex(), "name": daemon.federations.name_of(town)}


@act
async def vouch(daemon: Daemon, arguments: Arguments) -> object:
    """Vouch for a town."""
    federation, town = _federation(daemon, arguments), await _find_any(daemon, text_of(arguments, "town"))
    missing = await daemon.stewardship.vouch(federation, town)
    return {"town": town.hex(), "name": daemon.federations.name_of(town), "missing": missing}


@act
async def leave(daemon: Daemon, arguments: Arguments) -> object:
    """Leave a federation."""
    return {"name": await daemon.stewardship.leave(_federation(daemon, arguments))}


def _told(daemon: Daemon, step: str) -> dict[str, object]:
    """Say how a step stands that this town has just signed."""
    for row in daemon.stewardship.pending():
        if row["step"] == step:
            return {"step": step, "counts": False, "waits_for": row["waits_for"], "needs": row["needs"]}
    return {"step": step, "counts": True, "waits_for": [], "needs": 0}


def _federation(daemon: Daemon, arguments: Arguments) -> FederationId:
    return daemon.federations.find(text_or_none(arguments, "federation"))


async def _towns(daemon: Daemon, arguments: Arguments, name: str) -> frozenset[TownId]:
    return frozenset([await _find_any(daemon, each) for each in texts_of(arguments, name)])


async def _find_any(daemon: Daemon, text: str) -> TownId:
    """The town of this name or beginning of an id among all that are known, or of this whole id.

    Raises:
        NotFound: None, or more than one.
    """
    try:
        whole = bytes.fromhex(text.strip())
    except ValueError:
        whole = b""
    if len(whole) == 32:
        return TownId(whole)
    names = await daemon.store.read(names_of)
    for peer in daemon.peers.all():
        names.setdefault(peer.town, peer.name)
    for adopted in daemon.federations.adopted():
        for town in adopted.members | adopted.acts.suspended:
            names.setdefault(town, "")
    names.setdefault(daemon.town, "")
    if not text.strip():
        raise NotFound("the name of a town is missing")
    return find_among(text, names)[0]
