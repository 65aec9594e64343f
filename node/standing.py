"""How a board stands in its own town: whether its key still counts, and whether it has the keys of today.

A town key that takes over, and a new sealing key, are made on one board. The others hear of it like everybody
else and miss the secret half. What each of them lacks is seen from its own records, and said in one sentence
with the one command that mends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.clones import SAYS as CLONE_MET
from node.seals import sealing_key_of
from protocol.ids import DeviceId
from protocol.record import open_record

if TYPE_CHECKING:
    from node.keys import Keys
    from node.seals import Seals
    from node.store import Reader

TAKEN_BACK: Final = (
    "This board's key was taken back by its town: nothing that it writes counts any more. Give it a new one:"
    " stop it, then run `hedgerow key clone --renew`."
)
WITHDRAWN: Final = (
    "This board's certificate does not count any more: it was withdrawn, has run out, or newer boards took"
    " its place. Give it a new one: stop it, then run `hedgerow key clone --renew`."
)
LEFT_OUT: Final = (
    "Another town key has taken over and did not keep this board, so nothing that it writes counts: run"
    " `hedgerow key adopt` here, with the words that `hedgerow key words` tells on the board that holds it."
)
BEHIND: Final = (
    "Another board of this town has let the next town key take over, and what is sealed to the town since"
    " cannot be read here: run `hedgerow key adopt` here, with the words that `hedgerow key words` tells"
    " there."
)
LACKS_SEALING_KEY: Final = (
    "Another board of this town has taken a new sealing key, and what is sealed to it cannot be read here:"
    " run `hedgerow key sealing` here."
)
UNTOLD: Final = (
    "No profile of this town that is known here tells a sealing key: fetch (hedgerow sync), and if that"
    " brings none, run `hedgerow key sealing`."
)


def of_the_board(reader: Reader, keys: Keys, *, clone_is_found: bool) -> str:
    """Return what people must know of this board's key, in one sentence; empty if all is well."""
    rights = reader.authority().rights_of(keys.town)
    device = DeviceId(keys.device.public)
    if rights.is_taken_back(device):
        return TAKEN_BACK
    is_behind = open_record(keys.certificate).header.device != rights.keys[-1]
    if not rights.is_certified(device):
        return LEFT_OUT if is_behind else WITHDRAWN
    if clone_is_found:
        return CLONE_MET
    return BEHIND if is_behind else ""


def of_the_seals(reader: Reader, keys: Keys, seals: Seals) -> str:
    """Return why something sealed to the town cannot be read here, in one sentence; empty if all can."""
    if seals.trouble:
        return seals.trouble
    told = sealing_key_of(reader, keys.town)
    if told is None:
        return UNTOLD if reader.records_of(keys.town, "town.profile") else ""
    is_behind = (
        open_record(keys.certificate).header.device != reader.authority().rights_of(keys.town).keys[-1]
    )
    # A key that is behind is told of once, with what mends both.
    return "" if is_behind or seals.has(told) else LACKS_SEALING_KEY
