"""A town's sealing key, told anew: on a node that has lost its file, or after a device was stolen.

All sealing keys follow from the town keys, and these from the present one: whoever opens that has every one
that there ever was. The file is written before the profile is signed: a node never tells a key that it has
not kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from node import keys as key_files
from node.drafts import Draft
from node.errors import LimitReached, NotFound
from node.seals import profiles_of
from protocol.ids import Op

if TYPE_CHECKING:
    from node.intake import Intake
    from node.seals import Seals
    from node.store import Store
    from protocol.encoding import Value
    from protocol.identity import TownKey
    from protocol.record import Record
    from protocol.sealing import SealingKey

    Profiles = Sequence[tuple[Record, dict[str, Value]]]


def keys_until_told(
    town_key: TownKey, profiles: Profiles, *, more: int = 0
) -> tuple[dict[int, SealingKey], int]:
    """Return all sealing keys of a town up to the newest that its profiles tell, by index, and that index.

    Of the present town key there is always the first: a thief of a former one has all that follow from that.

    Args:
        more: How many to take beyond.

    Raises:
        LimitReached: So many do not follow from its town key.
    """
    every = key_files.sealing_keys_of(town_key, key_files.SEALING_KEYS_OF_A_KEY)
    told = {fields.get("sealing_key") for _, fields in profiles}
    last = max((index for index, key in every.items() if key.public in told), default=-1)
    index = max(last + more, town_key.generation * key_files.SEALING_KEYS_OF_A_KEY)
    if index not in every:
        most = key_files.SEALING_KEYS_OF_A_KEY
        raise LimitReached(f"this town has had all {most} sealing keys of its town key: hedgerow key rotate")
    return {each: key for each, key in every.items() if each <= index}, index


def profile_again(profiles: Profiles, fields: Mapping[str, Value], key: TownKey, sealing_key: bytes) -> Draft:
    """Return a new profile with these fields that tells a sealing key, greater than all of these."""
    after = max((record.header.stamp for record, _ in profiles), default=0)
    fields = {**fields, "sealing_key": sealing_key}
    return Draft(key_files.PROFILE, Op.PUT, fields, after=after, key=key)


async def tell_sealing_key(
    folder: Path, town_key: TownKey, *, seals: Seals, store: Store, intake: Intake, new: bool
) -> int:
    """Keep all sealing keys of the town and tell the newest in its profile; return the index of that one.

    Args:
        folder: `DATA/keys`.
        town_key: The present one.
        seals: Opens and seals with these keys from then on.
        new: Whether to take one more; what was sealed to the old ones stays readable.

    Raises:
        KeysUnreadable, StorageUnavailable.
        NotFound: The town has no profile here yet.
        LimitReached: It has had as many keys as follow from its town key.
    """
    profiles = await store.read(lambda reader: profiles_of(reader, store.own_town))
    if not profiles:
        raise NotFound("this town's profile has not come back from a neighbour yet; try again when it has")
    keys, index = keys_until_told(town_key, profiles, more=int(new))
    key_files.save_sealing_keys(folder, keys)
    seals.take([keys[each] for each in sorted(keys)])
    _, fields = profiles[-1]
    if fields.get("sealing_key") != keys[index].public:
        await intake.post([profile_again(profiles, fields, town_key, keys[index].public)])
    return index
