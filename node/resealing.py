"""A town's sealing key, told anew: on a node that has lost its file, or after a device was stolen.

All sealing keys follow from the town key, so whoever opens that has every one that there ever was. The file
is written before the profile is signed: a node never tells a key that it has not kept.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from node import keys as key_files
from node.errors import LimitReached, NotFound
from node.seals import profiles_of
from protocol.sealing import derive

if TYPE_CHECKING:
    from node.intake import Intake
    from node.seals import Seals
    from node.store import Store


async def tell_sealing_key(
    folder: Path, passphrase: str, *, seals: Seals, store: Store, intake: Intake, now_ms: int, new: bool
) -> int:
    """Keep all sealing keys of the town and tell the newest in its profile; return the index of that one.

    Args:
        folder: `DATA/keys`.
        passphrase: Of the town key.
        seals: Opens and seals with these keys from then on.
        new: Whether to take one more; what was sealed to the old ones stays readable.

    Raises:
        WrongPassphrase, KeysUnreadable, StorageUnavailable.
        NotFound: The town has no profile here yet.
        LimitReached: It has had as many keys as a node keeps.
    """
    town_key = await asyncio.to_thread(key_files.open_town_key, folder, passphrase)
    profiles = await store.read(lambda reader: profiles_of(reader, store.own_town))
    if not profiles:
        raise NotFound("this town's profile has not come back from a neighbour yet; try again when it has")
    keys = [derive(town_key.seed, index) for index in range(key_files.SEALING_KEYS_MAX)]
    told = {fields.get("sealing_key") for _, fields in profiles}
    last = max((index for index, key in enumerate(keys) if key.public in told), default=-1)
    index = last + 1 if new else max(last, 0)
    if index >= len(keys):
        raise LimitReached(f"this town has had {len(keys)} sealing keys, which is all that a node keeps")
    kept = dict(enumerate(keys[: index + 1]))
    key_files.save_sealing_keys(folder, kept)
    seals.take(list(kept.values()))
    record, fields = profiles[-1]
    if fields.get("sealing_key") != keys[index].public:
        # Greater than the profile that it follows, whatever this node's clock says.
        at_ms = max(now_ms, (record.header.stamp >> 16) + 1)
        fields = {**fields, "sealing_key": keys[index].public}
        await intake.accept([key_files.town_record(town_key, key_files.PROFILE, fields, at_ms).raw])
    return index
