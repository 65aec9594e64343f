"""The town's profile, said anew by its operator: its name, its place, its languages, whom to call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from node import keys as key_files
from node.errors import InvalidRequest, NotFound
from node.seals import profiles_of
from protocol.kinds import kind_of

if TYPE_CHECKING:
    from node.intake import Intake
    from node.store import Store
    from protocol.encoding import Value
    from protocol.identity import TownKey

SEALING_KEY: Final = "sealing_key"
"""Told by an act of its own, `hedgerow key sealing`."""


async def profile_of(store: Store) -> dict[str, str]:
    """Return the own town's profile as a form has it.

    Raises:
        NotFound: It has not come back from a neighbour yet.
    """
    return _form(await _newest(store))


async def change_profile(
    form: Mapping[str, str], key: TownKey, *, store: Store, intake: Intake, now_ms: int
) -> dict[str, str]:
    """Sign the profile anew with these fields in place of the old ones, and return the whole of it.

    Args:
        form: As typed; an empty text takes a field away. A place without a name has the town's.
        key: The present town key.

    Raises:
        NotFound: As `profile_of`.
        InvalidField: A field cannot be so.
        InvalidRequest: It names what is no part of a profile.
        StorageUnavailable: Nothing was changed.
    """
    kind = kind_of(key_files.PROFILE)
    assert kind is not None
    told = await _newest(store)
    names = [each.name for each in kind.inputs() if each.name != SEALING_KEY]
    if unknown := [name for name in form if name not in names]:
        raise InvalidRequest(f"a town's profile has no {unknown[0][:40]}; it has {', '.join(names)}")
    wanted = {**_form(told), **form}
    if wanted.get("where.lat") and not wanted.get("where.name"):
        wanted["where.name"] = wanted["name"]
    kept = {name: value for name, value in told.items() if name in {SEALING_KEY, *kind.unknown(told)}}
    fields = {**kept, **kind.from_text(wanted)}
    # Greater than what it follows, whatever this node's clock says.
    newest = (await store.read(lambda reader: profiles_of(reader, store.own_town)))[-1][0]
    at_ms = max(now_ms, (newest.header.stamp >> 16) + 1)
    await intake.accept([key_files.town_record(key, key_files.PROFILE, fields, at_ms).raw])
    return _form(fields)


async def _newest(store: Store) -> dict[str, Value]:
    profiles = await store.read(lambda reader: profiles_of(reader, store.own_town))
    if not profiles:
        raise NotFound("this town's profile has not come back from a neighbour yet; try again when it has")
    return profiles[-1][1]


def _form(fields: Mapping[str, Value]) -> dict[str, str]:
    kind = kind_of(key_files.PROFILE)
    assert kind is not None
    return kind.to_text({name: value for name, value in fields.items() if name != SEALING_KEY})
