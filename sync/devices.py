"""Which keys speak for a town: its town keys, the devices that they certify, and what is taken back of them.

Three steps, each resting only on the ones before it:

1. **Town keys.** The first is the town's id. A `town.rotate` shows that its signer follows from the id by the
   commitments in the keys themselves (`protocol.identity`), which no thief can bend, whatever he signs and
   however he dates it. So these records cannot contradict each other: the key of the greatest generation is
   the *present* one, and those before it are *former*.
2. **What stays.** Of a former key, and of a device that a `town.revoke` names, only those records stay valid
   whose ids a `town.keep` lists; stamp, seq and date say nothing, for they are the thief's own words.
   Revocations and lists count if the present key signed them, or if it keeps them by a list of its own.
3. **Devices.** Those that standing certificates name, of a key that may say so, and that are not revoked.

All three kinds are entries: nobody takes one of them back, whatever else he signs. So a device is revoked for
good, and lists only grow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from protocol import limits
from protocol.encoding import Value
from protocol.identity import succeeds
from protocol.ids import DeviceId, DocId, Op, RecordId, TownId
from protocol.record import Record, fields_of_body
from sync.merge import Fact, prune

DEVICE: Final = "town.device"
"""A certificate: a town key names a device."""
REVOKE: Final = "town.revoke"
"""A town key takes a device back, for good."""
KEEP: Final = "town.keep"
"""Ids of records that stay valid though their key was taken back."""
ROTATE: Final = "town.rotate"
"""The next town key takes over."""
LASTING_KINDS: Final = frozenset({REVOKE, KEEP, ROTATE})
"""Kinds of which only entries count, and none is ever taken back."""
VOTES_KINDS: Final = frozenset({KEEP, ROTATE})
"""Kinds that say which votes of a town have lapsed: those of former keys that it does not keep."""
DEVICE_KINDS: Final = frozenset({DEVICE, *LASTING_KINDS})
"""The kinds from which the keys of a town are resolved."""

REMEMBERED_BODIES_MAX: Final = 4_096
"""Bodies of certificates and admissions whose meaning is kept at hand: those of a few hundred towns."""
REMEMBERED_BYTES_MAX: Final = 512
"""Ours have about a hundred bytes; a longer one is read each time, so that all of them take 2 MiB at most."""
REMEMBERED_LISTS_MAX: Final = 512
"""Keep lists whose ids are kept at hand: twice what one town may have, 50 MB if all are full."""

_NO_IDS: Final[frozenset[RecordId]] = frozenset()
_NO_DEVICES: Final[frozenset[DeviceId]] = frozenset()


@dataclass(frozen=True, slots=True)
class Rights:
    """What a town's keys may sign.

    Attributes:
        devices: Certified and not revoked.
        keys: Its town keys, the first one first; the last is the present one.
        revoked: Devices that were taken back, for good.
        kept: Records of former keys and revoked devices that stay valid.
        acts: The revocations, lists and rotations that count.
    """

    devices: frozenset[DeviceId] = _NO_DEVICES
    keys: tuple[DeviceId, ...] = ()
    revoked: frozenset[DeviceId] = _NO_DEVICES
    kept: frozenset[RecordId] = _NO_IDS
    acts: frozenset[RecordId] = _NO_IDS

    def is_certified(self, device: DeviceId) -> bool:
        """Tell whether a key may sign for the town from now on."""
        return device in self.devices or device == self.keys[-1]

    def is_taken_back(self, device: DeviceId) -> bool:
        """Tell whether of a key only that counts which was kept."""
        return device in self.revoked or device in self.keys[:-1]

    def may_write(self, device: DeviceId, record: RecordId) -> bool:
        """Tell whether a key may have signed this record for the town."""
        if self.is_taken_back(device):
            return record in self.kept
        return self.is_certified(device)


def resolve_devices(records: Iterable[Record]) -> dict[TownId, Rights]:
    """Return the rights of the keys of each town of which there are records.

    Args:
        records: All known records of `DEVICE_KINDS`, each once, signatures checked, in any order.
    """
    by_town = defaultdict[TownId, list[Record]](list)
    for record in records:
        by_town[record.header.town].append(record)
    return {town: _rights(town, found) for town, found in by_town.items()}


def is_successor(record: Record) -> bool:
    """Tell whether a record of `ROTATE` proves that its signer follows from the town's id."""
    return record.body is not None and _generation(record.header.town, record.header.device, record.body) > 0


def heads(records: Iterable[Record]) -> list[Record]:
    """Return what stands of each document, deletions left out."""
    documents = defaultdict[DocId, dict[RecordId, Record]](dict)
    for record in records:
        documents[record.doc][record.id] = record
    standing = list[Record]()
    for found in documents.values():
        if len(found) == 1:
            standing += [record for record in found.values() if record.header.op is not Op.DELETE]
            continue
        facts = [Fact(record.id, record.header.stamp, record.header.op) for record in found.values()]
        standing += [found[fact.id] for fact in prune(facts).held if fact.op is not Op.DELETE]
    return standing


def newest(records: Sequence[Record], most: int) -> Sequence[Record]:
    """Return the records of the newest `most` documents, those withdrawn among them, by `(born, doc)`."""
    documents = {(record.header.born, record.doc) for record in records}
    if len(documents) <= most:
        return records
    kept = {doc for _, doc in sorted(documents)[-most:]}
    return [record for record in records if record.doc in kept]


def named(body: bytes | None, name: str) -> bytes | None:
    """Return a field of 32 bytes of a body; None if it is anything else.

    All authority is resolved anew whenever some of it arrives, so what the bodies say is remembered.
    """
    if body is None or len(body) > REMEMBERED_BYTES_MAX:
        return _read(body, name)
    return _remembered(body, name)


def listed(body: bytes | None) -> frozenset[RecordId]:
    """Return the ids that the body of a `KEEP` lists; none if it is anything else."""
    return _NO_IDS if body is None else _listed(body)


def _rights(town: TownId, records: Sequence[Record]) -> Rights:
    by_kind = defaultdict[str, list[Record]](list)
    for record in records:
        if record.header.op is Op.ENTRY or record.header.kind == DEVICE:
            by_kind[record.header.kind].append(record)
    keys, rotations = _keys(town, by_kind[ROTATE])
    acts = _acts(keys, by_kind)
    kept = _NO_IDS.union(*(listed(act.body) for act in acts if act.header.kind == KEEP))
    revoked = {
        DeviceId(device)
        for act in acts
        if act.header.kind == REVOKE and (device := named(act.body, "device")) is not None
    }.difference(keys)
    certificates = [
        each
        for each in by_kind[DEVICE]
        if each.header.device == keys[-1] or (each.header.device in keys and each.id in kept)
    ]
    return Rights(
        devices=_certified(certificates, revoked),
        keys=keys,
        revoked=frozenset(revoked),
        kept=kept,
        acts=frozenset({*rotations, *(act.id for act in acts)}),
    )


def _keys(town: TownId, rotations: Iterable[Record]) -> tuple[tuple[DeviceId, ...], list[RecordId]]:
    """Return the town keys that are shown, the present one last, and of each but the first its rotation."""
    shown = dict[tuple[int, DeviceId], RecordId]()
    for record in rotations:
        header = record.header
        generation = _generation(header.town, header.device, record.body or b"")
        if generation:
            key = generation, header.device
            # Whoever has a key can show it again and again; one record is enough, the same one everywhere.
            shown[key] = min(record.id, shown.get(key, record.id))
    return (DeviceId(town), *(device for _, device in sorted(shown))), list(shown.values())


def _acts(keys: Sequence[DeviceId], by_kind: Mapping[str, Sequence[Record]]) -> list[Record]:
    """Return the revocations and lists that count: of the present key, and what of former ones it keeps."""
    if not (by_kind[REVOKE] or by_kind[KEEP]):
        return []
    bounds = ((REVOKE, limits.REVOCATIONS_MAX), (KEEP, limits.KEEPS_MAX))
    present = [
        act
        for kind, most in bounds
        for act in _latest((each for each in by_kind[kind] if each.header.device == keys[-1]), most)
    ]
    kept = _NO_IDS.union(*(listed(act.body) for act in present if act.header.kind == KEEP))
    former = [
        act
        for kind, most in bounds
        for act in _latest(
            (each for each in by_kind[kind] if each.header.device in keys[:-1] and each.id in kept), most
        )
    ]
    return present + former


def _latest(records: Iterable[Record], most: int) -> list[Record]:
    return sorted(records, key=lambda each: (each.header.stamp, each.id))[-most:]


def _certified(certificates: Sequence[Record], revoked: set[DeviceId]) -> frozenset[DeviceId]:
    """Return the devices of the newest `DEVICES_MAX` certificates that stand.

    Only documents for which a federation has room are looked at, so it is the same wherever all are kept.
    """
    standing = list[tuple[int, DocId, DeviceId]]()
    for record in heads(newest(certificates, limits.CERTIFICATES_MAX)):
        device = named(record.body, "device")
        if device is not None and device not in revoked:
            standing.append((record.header.born, record.doc, DeviceId(device)))
    return frozenset(device for _, _, device in sorted(standing)[-limits.DEVICES_MAX :])


def _read(body: bytes | None, name: str) -> bytes | None:
    value = (fields_of_body(body) or {}).get(name) if body is not None else None
    return value if isinstance(value, bytes) and len(value) == 32 else None


_remembered = lru_cache(maxsize=REMEMBERED_BODIES_MAX)(_read)


@lru_cache(maxsize=REMEMBERED_LISTS_MAX)
def _listed(body: bytes) -> frozenset[RecordId]:
    return frozenset(map(RecordId, _many((fields_of_body(body) or {}).get("records"))))


@lru_cache(maxsize=REMEMBERED_BODIES_MAX)
def _generation(town: TownId, key: DeviceId, body: bytes) -> int:
    """Return how many keys of the town came before the one that this body proves; 0 if it proves nothing."""
    proof = _many((fields_of_body(body) or {}).get("succession"))
    return (len(proof) + 1) // 2 if succeeds(town, key, proof) else 0


def _many(value: Value) -> list[bytes]:
    """Return a list of 32 bytes each; an empty one if it is anything else."""
    if not isinstance(value, list):
        return []
    found = [each for each in value if isinstance(each, bytes) and len(each) == 32]
    return found if len(found) == len(value) else []
