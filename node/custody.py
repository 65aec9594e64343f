"""What an operator does with the town's keys: see its devices, take one back, let the next key take over.

The town key is opened for one act and forgotten. Each act is one transaction: a device is never taken back
without the list of what stays of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from node import keys as key_files
from node.drafts import Draft
from node.errors import HedgerowError, InvalidRequest, LimitReached, NotFound
from node.fallen import Fallen, fallen
from node.resealing import keys_until_told, profile_again
from node.seals import profiles_of
from node.store.records import DEVICE_AT, OWN_TOWN, STAMP_OFFSET
from node.votes import Vote, voided, votes_of
from node.votes import kept as kept_of
from protocol.clock import stamp_at
from protocol.identity import TownKey
from protocol.ids import DeviceId, Op, RecordId
from protocol.kinds.bounds import KEPT_IDS_MAX
from protocol.limits import SUCCESSORS_MAX
from protocol.paper import heard
from protocol.record import fields_of, open_record
from sync.authority import JOIN, named_in
from sync.devices import DEVICE, KEEP, REVOKE, ROTATE, Rights

if TYPE_CHECKING:
    from node.clock import NodeClock
    from node.intake import Intake
    from node.keys import Keys
    from node.seals import Seals
    from node.store import Reader, Store, Transaction
    from protocol.encoding import Value
    from protocol.sealing import SealingKey
    from sync.authority import Authority

ALL, NONE = "all", "none"
DEVICE_REVOKED: Final = "device_revoked"
TOWN_KEY_ROTATED: Final = "town_key_rotated"
SAYS_OF_KEYS: Final = {
    DEVICE_REVOKED: "{0} has taken back a device ({1}): of what was taken back {2} records stay, the rest"
    " counts for nothing.",
    TOWN_KEY_ROTATED: "{0} has a new town key in the place of {1}: of all that this one signed what was kept"
    " stays, the rest counts for nothing.",
}
"""What people are told: the town's name, the beginning of the key, and how many records were kept."""
FORMER_HERE: Final = (
    "that does not open the town key that is kept here, which is a former one: run hedgerow key adopt here,"
    " with the words that hedgerow key words tells on the board where the next one took over"
)
PREFIX_CHARS_MIN: Final = 4
"""So many characters of a device's id stand for it where they fit one only."""

_OF_DEVICE: Final = (
    "SELECT r.id, r.row, r.stamp FROM records r JOIN documents d ON d.number = r.document"
    f" WHERE d.town = {OWN_TOWN} AND substr(r.header, {DEVICE_AT}, 32) = ?"
)
_IN_ORDER: Final = (
    "SELECT r.id FROM records r JOIN documents d ON d.number = r.document"
    f" WHERE d.town = {OWN_TOWN} AND d.kind = ? ORDER BY r.row"
)
_FIRST_AFTER: Final = (
    f"SELECT min(row) FROM records WHERE stamp >= ? AND substr(header, {DEVICE_AT}, 32) != ?"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """What stays of a device: its records in all, and the ids of those that stay."""

    count: int
    kept: tuple[RecordId, ...]


class Custody:
    """The town's keys in the hands of one node.

    Args:
        folder: `DATA/keys`.
        keys: What this node runs with.
        seals: Opens and seals with the town's sealing keys; they change with the town key.
    """

    def __init__(
        self,
        folder: Path,
        keys: Keys,
        store: Store,
        intake: Intake,
        clock: NodeClock,
        seals: Seals,
    ) -> None:
        self.keys = keys
        self._folder = folder
        self._store = store
        self._intake = intake
        self._clock = clock
        self._seals = seals

    async def devices(self) -> list[dict[str, Any]]:
        """Return every device that the town has or had: its id, name, state, and how many records it has."""

        def look(reader: Reader) -> list[dict[str, Any]]:
            rights = reader.authority().rights_of(reader.own_town)
            named = dict[bytes, str]()
            for record in reader.records_of(reader.own_town, DEVICE):
                fields = fields_of(record) or {}
                device, name = fields.get("device"), fields.get("name")
                if isinstance(device, bytes):
                    named[device] = name if isinstance(name, str) else ""
            devices = sorted({*named, *rights.devices, *rights.revoked})
            return [
                {
                    "device": device.hex(),
                    "name": named.get(device, ""),
                    "state": _state(rights, DeviceId(device)),
                    "this": device == self.keys.device.public,
                    "records": len(reader.rows(_OF_DEVICE, device)),
                }
                for device in devices
            ]

        return await self._store.read(look)

    async def find(self, name: str) -> DeviceId:
        """Return the device of this town whose id is so, or begins so.

        Raises:
            NotFound, InvalidRequest.
        """
        found = [each["device"] for each in await self.devices() if each["device"].startswith(name.lower())]
        if len(name) < PREFIX_CHARS_MIN or not found:
            raise NotFound(f"this town has no device “{name[:64]}”; look at them with: hedgerow key show")
        if len(found) > 1:
            raise InvalidRequest(f"several devices begin with {name}: give more of the one that you mean")
        return DeviceId(bytes.fromhex(found[0]))

    async def choose(self, device: DeviceId, keep: str, since_ms: int | None) -> Choice:
        """Return what would stay of a device.

        Args:
            keep: `all` that is held of it, `none`, or what was here `since`.
            since_ms: With anything else: what this node had before that time, as far as it can tell.
        """

        def look(tx: Transaction) -> Choice:
            rows = tx.rows(_OF_DEVICE, device)
            if keep == NONE or since_ms is None:
                return Choice(len(rows), _ids(rows) if keep == ALL else ())
            return Choice(len(rows), _before(tx, device, rows, stamp_at(since_ms)))

        return await self._store.write(look)

    async def falls(self, device: DeviceId, choice: Choice) -> list[Fallen]:
        """Return what the town did in its federations by a device and falls if this stays of it."""
        kept = frozenset(choice.kept)
        return await self._store.read(
            lambda reader: fallen(reader, lambda act: act.header.device == device and act.id not in kept)
        )

    async def revoke(
        self,
        device: DeviceId,
        choice: Choice,
        secret: str,
        again: Sequence[Fallen] = (),
        *,
        reseals: bool = True,
    ) -> str:
        """Take a device back for good, and tell a sealing key that it has not; return why none was told.

        Args:
            secret: The town key's passphrase, or its words.
            again: What this device does again of what falls.
            reseals: Whether to tell one; not for a board that nobody else has.

        Raises:
            WrongPassphrase, KeysUnreadable, WrongWords, HedgerowError.
        """
        await self._check_other(device)
        key = await self.open_town_key(secret)
        drafts = [Draft(REVOKE, Op.ENTRY, {"device": bytes(device)}, key=key), *_lists(choice.kept, key)]
        authority = await self._authority()
        drafts += [each.again(authority) for each in again]
        profile, why_not = await self._resealed(key) if reseals else ([], "")
        await self._intake.post([*drafts, *profile, *await self._consents(device)])
        return why_not

    async def votes(self, void: Sequence[str]) -> tuple[list[Vote], list[Vote]]:
        """Return what this town has signed as a steward, and which of it an operator voids.

        Raises:
            NotFound: A word of `void` begins no step's id, or several.
        """
        votes = await self._store.read(votes_of)
        return votes, voided(votes, void)

    async def rotate(
        self, paper: str, keep: str, since_ms: int | None, void: Sequence[str] = ()
    ) -> tuple[str, int, list[Fallen]]:
        """Let the next town key take over; return its new passphrase, how many records of the former stay,
        and what falls of what the town did in its federations by boards that the former one certified.

        This device is certified anew, and the newest profile that stays is signed again; where none stays,
        only the name of the one that was here first: a name the town must have to be sealed to. Of steps
        that were decided the town's votes stay, but for those that are voided.

        Args:
            paper: The words of the next town key.
            keep: What stays of all that the former key said, as in `choose`.
            void: How the ids of steps begin for which this town's votes end: a thief's.

        Raises:
            WrongWords, NotFound, HedgerowError.
        """
        rights = (await self._authority()).rights_of(self.keys.town)
        key = self._next_key(heard(paper), rights)
        votes, ended = await self.votes(void)
        choice = await self.choose(rights.keys[-1], keep, since_ms)
        older = [await self.choose(former, ALL, None) for former in rights.keys[:-1]]
        ours = kept_of(choice.kept, votes, ended)
        # A vote of a thief of an older key may be here too, if others signed the same: it was never kept.
        kept = [*ours, *(id for each in older for id in each.kept if id in rights.kept and id not in ours)]
        sealing = key_files.sealing_keys_of(key)
        self._take_sealing_keys(sealing)
        certificate: dict[str, Value] = {"device": self.keys.device.public}
        drafts = [
            Draft(ROTATE, Op.ENTRY, {"succession": list(key.succession)}, key=key),
            *_lists(kept, key),
            Draft(DEVICE, Op.PUT, certificate, key=key),
            *await self._profile(key, sealing[max(sealing)].public, frozenset(kept)),
        ]
        lost = await self._store.read(partial(_lost, this=self.keys.device.public, kept=frozenset(kept)))
        records = {record.header.kind: record.raw for record in await self._intake.post(drafts)}
        passphrase = key_files.new_passphrase()
        await asyncio.to_thread(key_files.save_town_key, self._folder, key, passphrase)
        self.keys = replace(self.keys, certificate=records[DEVICE], rotation=records[ROTATE])
        await asyncio.to_thread(key_files.save_keys, self._folder, self.keys)
        return passphrase, len(ours), lost

    async def adopt(self, words: str) -> str:
        """Take in the town key of today by its words, on a board where another one was kept: the key under a
        new passphrase, which is returned, the sealing keys, and a certificate of that key.

        Raises:
            WrongWords, KeysUnreadable, StorageUnavailable.
            HedgerowError: They are another town's, the paper's, or those of a key that is no more.
        """
        key = heard(words)
        if key.town != self.keys.town or key.generation == SUCCESSORS_MAX:
            raise HedgerowError(
                "these are not words of this town's key: `hedgerow key words` tells them on the board that"
                " has it",
                code="wrong_words",
            )
        now_ms = self._clock.now_ms()
        rotation = key_files.rotation_of(key, now_ms)
        if rotation and key.public not in (await self._authority()).rights_of(self.keys.town).keys:
            await self._intake.accept([rotation])
        rights = (await self._authority()).rights_of(self.keys.town)
        check_present(key, rights)
        profiles = await self._store.read(lambda reader: profiles_of(reader, reader.own_town))
        sealing, _ = keys_until_told(key, profiles)
        self._take_sealing_keys(sealing)
        passphrase = key_files.new_passphrase()
        await asyncio.to_thread(key_files.save_town_key, self._folder, key, passphrase)
        device = DeviceId(self.keys.device.public)
        if device not in rights.revoked and open_record(self.keys.certificate).header.device != key.public:
            certificate = key_files.town_record(key, DEVICE, {"device": device}, now_ms)
            await self._intake.accept([certificate.raw])
            self.keys = replace(self.keys, certificate=certificate.raw, rotation=rotation)
            await asyncio.to_thread(key_files.save_keys, self._folder, self.keys)
        return passphrase

    async def _consents(self, device: DeviceId) -> list[Draft]:
        """Return our consents once more where only this device has given them: else the town would be out of
        its federations with it."""
        authority = await self._authority()
        rights = authority.rights_of(self.keys.town)
        known = await self._store.read(lambda reader: reader.records_of(reader.own_town, JOIN))
        by_others = {
            name
            for each in known
            if each.header.device != device
            and each.header.op is Op.PUT
            and rights.may_write(each.header.device, each.id)
            for name in each.header.federations
        }
        ours = [name for name in authority.federations_of(self.keys.town) if name not in by_others]
        return [Draft(JOIN, Op.PUT, {}, federations=(name,)) for name in ours]

    def _next_key(self, paper: TownKey, rights: Rights) -> TownKey:
        """Return the key of a paper that follows the present one."""
        if paper.town != self.keys.town:
            raise HedgerowError("these are words of another town: look for this town's", code="wrong_words")
        if paper.generation != SUCCESSORS_MAX:
            raise HedgerowError(
                "these are the words of a town key: look for those of the next one, which `init` gave",
                code="wrong_words",
            )
        chain = [TownKey.next_of(paper.seed, number) for number in range(SUCCESSORS_MAX)]
        for key, follower in pairwise(chain):
            if key.public == rights.keys[-1]:
                return follower
        raise HedgerowError("no further key is on that paper: the last has taken over", code="no_next_key")

    async def _resealed(self, key: TownKey) -> tuple[list[Draft], str]:
        """Return the profile telling one more sealing key, which is kept here by then; or none, and why: that
        is no reason to leave a thief his board."""
        profiles = await self._store.read(lambda reader: profiles_of(reader, reader.own_town))
        if not profiles:
            return [], "the town's profile is not back from a neighbour; then run hedgerow key sealing --new"
        try:
            sealing, index = keys_until_told(key, profiles, more=1)
        except LimitReached as error:
            return [], error.says
        self._take_sealing_keys(sealing)
        return [profile_again(profiles, profiles[-1][1], key, sealing[index].public)], ""

    def _take_sealing_keys(self, sealing: Mapping[int, SealingKey]) -> None:
        """Open and seal with these from now on. They are kept before any of them is told."""
        key_files.save_sealing_keys(self._folder, sealing)
        self._seals.take([sealing[index] for index in sorted(sealing)])

    async def _profile(self, key: TownKey, sealing_key: bytes, kept: frozenset[RecordId]) -> list[Draft]:
        """Return the profile once more, signed by a new key, so that it holds wherever that key is known; and
        telling a sealing key that no thief of the former one has."""

        def look(reader: Reader) -> list[Draft]:
            profiles = profiles_of(reader, reader.own_town)
            if not profiles:
                return []
            staying = [fields for record, fields in profiles if record.id in kept]
            if staying:
                return [profile_again(profiles, staying[-1], key, sealing_key)]
            names = {bytes(record.id): fields["name"] for record, fields in profiles}
            first = next(id for (id,) in reader.rows(_IN_ORDER, key_files.PROFILE) if id in names)
            return [profile_again(profiles, {"name": names[first]}, key, sealing_key)]

        return await self._store.read(look)

    async def _check_other(self, device: DeviceId) -> None:
        if device == self.keys.device.public:
            raise HedgerowError(
                "that is the board that you speak to: take it back from another board of this town (hedgerow"
                " init --key or --words makes one), or nobody could write for the town any more",
                code="own_device",
            )

    async def open_town_key(self, secret: str) -> TownKey:
        """Return the present town key, by its passphrase or by its words; for one act, and not to be kept."""
        rights = (await self._authority()).rights_of(self.keys.town)
        if len(secret.split()) > key_files.PASSPHRASE_WORDS * 2:
            key = heard(secret)
        else:
            try:
                key = await asyncio.to_thread(key_files.open_town_key, self._folder, secret)
            except key_files.WrongPassphrase:
                # The file is another board's business where the next key has taken over there.
                if open_record(self.keys.certificate).header.device == rights.keys[-1]:
                    raise
                raise HedgerowError(FORMER_HERE, code="former_town_key") from None
        check_present(key, rights)
        return key

    async def _authority(self) -> Authority:
        return await self._intake.authority()


def check_present(key: TownKey, rights: Rights) -> None:
    """Refuse a town key that is not the present one."""
    if key.public != rights.keys[-1]:
        raise HedgerowError(
            "that is not the town key of today: another one has taken over, or it is another town's; on the"
            " town's other boards run: hedgerow key adopt",
            code="former_town_key",
        )


def taken_back(before: Rights, after: Rights) -> list[tuple[str, DeviceId]]:
    """Return (code, key) of each device and each town key that was taken back between two states."""
    found = [(DEVICE_REVOKED, device) for device in sorted(after.revoked - before.revoked)]
    return found + [(TOWN_KEY_ROTATED, key) for key in after.keys[:-1] if key not in before.keys[:-1]]


def _lost(reader: Reader, *, this: bytes, kept: frozenset[RecordId]) -> list[Fallen]:
    """Return what falls of all that other boards did, when only this one and those that are kept stay."""
    certificates = reader.records_of(reader.own_town, DEVICE)
    stay = {this, *(named_in(each) for each in certificates if each.id in kept)}
    return fallen(reader, lambda act: act.header.device not in stay and act.id not in kept)


def _state(rights: Rights, device: DeviceId) -> str:
    if rights.is_taken_back(device):
        return "taken back"
    return "certified" if rights.is_certified(device) else "not certified"


def _ids(rows: Sequence[tuple[Any, ...]]) -> tuple[RecordId, ...]:
    return tuple(RecordId(row[0]) for row in rows)


def _before(
    tx: Transaction, device: DeviceId, rows: Sequence[tuple[Any, ...]], stamp: int
) -> tuple[RecordId, ...]:
    """Return what was here before anybody else wrote after that time.

    The stamps of the device are its own words, so they are not enough; the order of taking in is ours.
    """
    [(first,)] = tx.rows(_FIRST_AFTER, stamp - STAMP_OFFSET, device)
    held = [row for row in rows if row[2] + STAMP_OFFSET < stamp and (first is None or row[1] < first)]
    drawn = [each for each in tx.drawer() if each.header.device == device and each.header.stamp < stamp]
    return (*_ids(held), *(record.id for record in drawn))


def _lists(kept: Sequence[RecordId], key: TownKey) -> list[Draft]:
    """Return keep lists of so many ids."""
    parts = [kept[start : start + KEPT_IDS_MAX] for start in range(0, len(kept), KEPT_IDS_MAX)]
    return [Draft(KEEP, Op.ENTRY, {"records": list(part)}, key=key) for part in parts]
