"""What only named towns may read: bodies sealed to them, and those opened that were sealed to us.

A town tells its public sealing key in its profile; the secret ones lie in `DATA/keys/sealing.key`. What is
opened here is given to whoever asked and kept nowhere: not in the database, not in the search index, not in a
log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from node.errors import NoSealingKey
from node.keys import PROFILE, KeysUnreadable, open_sealing_keys
from node.store.documents import readable
from protocol.errors import BadSealingKey, InvalidField
from protocol.ids import Op
from protocol.kinds import kind_of
from protocol.limits import SALT_BYTES
from protocol.sealing import CHANCE_BYTES, open_sealed, recipients_of, seal

if TYPE_CHECKING:
    from node.store.contract import Reader
    from protocol.encoding import Value
    from protocol.ids import TownId
    from protocol.record import Record
    from protocol.sealing import KeyId, SealingKey


class Seals:
    """Seals and opens for one town.

    Args:
        own_town: Whose node this is.
        keys: Its secret sealing keys, the newest last; all of them are tried for opening.
        chance: Gives random bytes.
        trouble: Why there are none, in a line for the operator; empty if there are.
    """

    def __init__(
        self,
        own_town: TownId,
        keys: Sequence[SealingKey] = (),
        *,
        chance: Callable[[int], bytes],
        trouble: str = "",
    ) -> None:
        self.trouble = trouble
        self._own_town = own_town
        self._newest: SealingKey | None = None
        self._keys: dict[KeyId, SealingKey] = {}
        self._chance = chance
        self.take(keys)

    @classmethod
    def of(cls, folder: Path, own_town: TownId, *, chance: Callable[[int], bytes]) -> Seals:
        """Return the seals of the keys in `DATA/keys`; where none can be read, `trouble` says why."""
        try:
            return cls(own_town, open_sealing_keys(folder), chance=chance)
        except KeysUnreadable as error:
            # Pages show it too: where the data lies is nobody else's business.
            says = error.says.replace(str(folder), folder.name)
            way_out = "Or run: hedgerow key sealing. Until then nothing sealed can be read here."
            return cls(own_town, chance=chance, trouble=f"{says} {way_out}")

    def take(self, keys: Sequence[SealingKey]) -> None:
        """Seal with the last of these from now on, and open with all of them."""
        if keys:
            self._newest, self.trouble = keys[-1], ""
            # A new one, for readers in other threads look at the old.
            self._keys = self._keys | {key.id: key for key in keys}

    @property
    def count(self) -> int:
        """How many keys open here; it only grows. What could not be read with fewer is looked at again."""
        return len(self._keys)

    def has(self, public: bytes) -> bool:
        """Tell whether what is sealed to this public key can be read here."""
        return any(key.public == public for key in self._keys.values())

    def seal_for(
        self, reader: Reader, towns: Sequence[TownId], fields: Mapping[str, Value], kind: str
    ) -> bytes:
        """Return a body of a record of our own that these towns and the own one can open.

        Raises:
            NoSealingKey: A town has told no key, or this node has none.
            LimitExceeded: Too many towns, or too much text.
        """
        if self._newest is None:
            raise NoSealingKey(self.trouble or "this node has no sealing key, so it can seal nothing")
        publics = {town: sealing_key_of(reader, town) for town in towns if town != self._own_town}
        publics[self._own_town] = self._newest.public
        silent = next((town for town, public in publics.items() if public is None), None)
        if silent is not None:
            raise _untold(reader, silent)
        salt, chance = self._chance(SALT_BYTES), self._chance(CHANCE_BYTES)
        told = [(town, public) for town, public in publics.items() if public is not None]
        try:
            return seal(fields, told, town=self._own_town, kind=kind, salt=salt, chance=chance)
        except BadSealingKey as error:
            raise NoSealingKey(f"a town tells a sealing key that is none: {error}") from None

    def open(self, record: Record) -> dict[str, Value] | None:
        """Return what a sealed record says, as its kind declares it; None if we cannot or may not read it."""
        if record.body is None:
            return None
        header = record.header
        fields = open_sealed(record.body, town=header.town, kind=header.kind, keys=self._keys)
        kind = kind_of(header.kind)
        if fields is None or kind is None:
            return None
        try:
            kind.check(fields)
        except InvalidField:
            return None
        return fields

    def towns_of(self, record: Record) -> tuple[TownId, ...]:
        """Return the towns that a sealed record is sealed to: an edit seals to them again."""
        named = recipients_of(record.body) if record.body is not None else None
        return tuple(town for town, _ in named or ())


def sealing_key_of(reader: Reader, town: TownId) -> bytes | None:
    """Return the public sealing key in the newest profile of a town that tells one."""
    told = [
        key for _, fields in profiles_of(reader, town) if isinstance(key := fields.get("sealing_key"), bytes)
    ]
    return told[-1] if told else None


def profiles_of(reader: Reader, town: TownId) -> list[tuple[Record, dict[str, Value]]]:
    """Return the readable profiles of a town with their fields, the newest last.

    Only what a town key of its may have said: what merely waits here, whose signer is no key of that town or
    was taken back, would have us seal to whoever wrote it.
    """
    rights = reader.authority().rights_of(town)
    puts = [
        each
        for each in reader.records_of(town, PROFILE)
        if each.header.op is Op.PUT
        and each.header.device in rights.keys
        and rights.may_write(each.header.device, each.id)
    ]
    puts.sort(key=lambda record: (record.header.stamp, record.id))
    return [(record, fields) for record in puts if (fields := readable(record)) is not None]


def _untold(reader: Reader, town: TownId) -> NoSealingKey:
    facts = reader.towns().get(town)
    name = facts.name if facts is not None and facts.name else f"Town {town.hex()[:8]}"
    return NoSealingKey(
        f"{name} has not told its sealing key yet; wait until its profile has come, or ask its operator to"
        " run: hedgerow key sealing",
        detail={"town": town.hex()},
    )
