"""What the operator can have done with keys and backups, as the control socket offers it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from node import backup as backups
from node.acts import act
from node.arguments import Arguments, find_among, texts_of
from node.custody import ALL, NONE
from node.errors import InvalidRequest
from node.fallen import WHAT, Fallen
from node.standing import of_the_board
from protocol.identity import fingerprint

if TYPE_CHECKING:
    from node.daemon import Daemon
    from node.votes import Vote

SINCE = "since"


@act
async def key_show(daemon: Daemon, arguments: Arguments) -> object:
    """The town, its keys, and all its devices."""
    rights = daemon.authority().rights_of(daemon.town)
    keys, is_clone = daemon.custody.keys, daemon.clones.is_found
    says = await daemon.store.read(lambda reader: of_the_board(reader, keys, clone_is_found=is_clone))
    return {
        "town": daemon.town.hex(),
        "fingerprint": fingerprint(daemon.town),
        "town_keys": [key.hex() for key in rights.keys],
        "devices": await daemon.custody.devices(),
        "clone": is_clone,
        "says": says,
    }


@act
async def key_revoke(daemon: Daemon, arguments: Arguments) -> object:
    """Take a device back; without a secret only say what would stay of it."""
    device = await daemon.custody.find(_word(arguments, "device"))
    choice = await daemon.custody.choose(device, *_keep(daemon, arguments))
    falls = await daemon.custody.falls(device, choice)
    names = {each.town: daemon.federations.name_of(each.town) for each in falls}
    chosen = {find_among(name, names)[0] for name in texts_of(arguments, "again")}
    again = [each for each in falls if each.town in chosen]
    secret, reseals = arguments.get("secret"), arguments.get("reseals") is not False
    why_not = ""
    if isinstance(secret, str):
        why_not = await daemon.custody.revoke(device, choice, secret, again, reseals=reseals)
    return {
        "device": device.hex(),
        "records": choice.count,
        "kept": len(choice.kept),
        "falls": [_told(daemon, each) for each in falls if each not in again],
        "again": [_told(daemon, each) for each in again],
        "reseals": reseals,
        "not_resealed": why_not,
        "done": isinstance(secret, str),
        "keeps": await daemon.claims.kept_by(device),
    }


@act
async def key_rotate(daemon: Daemon, arguments: Arguments) -> object:
    """Let the next town key take over; without its words only say which of this town's votes stay."""
    keep, void = _keep(daemon, arguments), texts_of(arguments, "void")
    votes, ended = await daemon.custody.votes(void)
    told = {
        "votes": [_vote(daemon, each) for each in votes if each.decided and each not in ended],
        "void": [_vote(daemon, each) for each in ended],
    }
    if "words" not in arguments:
        return told
    passphrase, kept, lost = await daemon.custody.rotate(_word(arguments, "words"), *keep, void)
    rights = daemon.authority().rights_of(daemon.town)
    return {
        **told,
        "town_key": rights.keys[-1].hex(),
        "kept": kept,
        "falls": [_told(daemon, each) for each in lost],
        "passphrase": passphrase,
    }


@act
async def key_adopt(daemon: Daemon, arguments: Arguments) -> object:
    """Take in the town key of today on a board where another one was kept."""
    return {"passphrase": await daemon.custody.adopt(_word(arguments, "words"))}


@act
async def key_clone(daemon: Daemon, arguments: Arguments) -> object:
    """This board lives."""
    was_found = daemon.clones.is_found
    await daemon.clones.settle()
    return {"settled": was_found}


@act
async def backup(daemon: Daemon, arguments: Arguments) -> object:
    """Write a backup of this node while it runs."""
    made = await asyncio.to_thread(
        backups.write_backup,
        daemon.data,
        Path(_word(arguments, "file")),
        town=daemon.town.hex(),
        made_ms=daemon.clock.now_ms(),
        with_keys=bool(arguments.get("with_keys")),
    )
    return {"bytes": made.bytes, "keys": made.has_keys, "made_ms": made.made_ms}


def _told(daemon: Daemon, act: Fallen) -> dict[str, str]:
    adopted = daemon.authority().federations[act.federation]
    return {
        "what": WHAT[act.kind],
        "town": act.town.hex(),
        "name": daemon.federations.name_of(act.town),
        "federation": adopted.name,
    }


def _vote(daemon: Daemon, vote: Vote) -> dict[str, object]:
    return {
        "step": vote.step.hex(),
        "federation": daemon.authority().federations[vote.federation].name,
        "born_ms": vote.born_s * 1_000,
        "falls": vote.falls,
    }


def _keep(daemon: Daemon, arguments: Arguments) -> tuple[str, int | None]:
    keep, since_ms = arguments.get("keep"), arguments.get("since_ms")
    if keep in (ALL, NONE):
        return str(keep), None
    if keep != SINCE or type(since_ms) is not int or since_ms < 0:
        raise InvalidRequest("say what stays: all, none, or what was here before a time")
    now_ms = daemon.clock.now_ms()
    if since_ms > now_ms:
        raise InvalidRequest(
            "that time lies ahead: give the last one at which the key was surely in good hands; by this"
            f" node's clock it is {datetime.fromtimestamp(now_ms / 1_000).astimezone():%Y-%m-%d %H:%M}"
        )
    return SINCE, since_ms


def _word(arguments: Arguments, name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{name} is missing")
    return value
