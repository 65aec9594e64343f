"""Who may write where: resolved from charters, certificates, admissions and consents, by everyone alike.

Three layers, each resting only on the ones before it, so there is nothing to iterate and nothing to wait for:

1. A town's keys and what they may sign, from its `town.*` records (`sync.devices`).
2. A charter is the root of its federation: its first 16 bytes of record id are the federation's name, so
   whoever consents to the name consents to these stewards and quotas. Standing `federation.admit` records
   of its stewards add members.
3. This node *adopts* a federation when its own town wrote the charter or a standing `federation.join`.
   Consent is a record: nobody can draw a town into a federation, and a node that lost its disk is healed
   by its peers, who still hold its consent.

A record *stands* when no other authorised record of its document supersedes it (`merge`). Nothing here
reads a clock or a stamp beyond that order, and the result does not depend on the order of the records or
on repetition. An unreadable body counts for nothing, here and only here: everywhere else it is carried.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from protocol import limits
from protocol.encoding import Value
from protocol.ids import DeviceId, FederationId, Lane, LaneKey, Op, RecordId, TownId, home_id
from protocol.limits import (
    QUOTA_EVERYDAY_DOCUMENTS,
    QUOTA_LIBRARY_DOCUMENTS,
    QUOTA_URGENT_DOCUMENTS,
)
from protocol.record import CHARTER, Header, Record, fields_of, is_town_kind
from sync.devices import DEVICE, DEVICE_KINDS, LASTING_KINDS, Rights, heads, named, newest, resolve_devices

ADMIT: Final = "federation.admit"
"""A steward admits a town."""
JOIN: Final = "federation.join"
"""A town consents to a federation."""
AUTHORITY_KINDS: Final = frozenset({CHARTER, ADMIT, JOIN, *DEVICE_KINDS})
"""The kinds from which authority is resolved."""

UNCERTIFIED: Final = "uncertified"
"""Cause: the town does not certify the device, or takes it back and does not keep this record of it."""
NOT_MEMBER: Final = "not_member"
"""Cause: the town is in none of the adopted federations that the record lists."""
UNKNOWN_FEDERATION: Final = "unknown_federation"
"""Cause: this node has adopted none of the federations that the record lists."""
NOT_OURS: Final = "not_ours"
"""Cause: another town's own record, meant for that town's devices alone."""
CHARTER_STANDS: Final = "charter_stands"
"""Cause: a put or a delete of a charter; charters are entries and are never replaced or taken back."""
ACT_STANDS: Final = "act_stands"
"""Cause: a put or a delete of a kind that is only ever added to: revocations, keep lists, rotations."""
NO_SUCCESSOR: Final = "no_successor"
"""Cause: a rotation whose signer does not follow from the town's id."""

_QUOTAS: Final = {
    "urgent": QUOTA_URGENT_DOCUMENTS,
    "everyday": QUOTA_EVERYDAY_DOCUMENTS,
    "library": QUOTA_LIBRARY_DOCUMENTS,
}


class Allotment(IntEnum):
    """What of a town's documents is counted together in a held set, and has room of its own."""

    POSTS = 0
    """All that the charter's quotas count."""
    CERTIFICATES = 1
    ADMISSIONS = 2
    CONSENTS = 3
    OTHERS = 4
    """Profiles, and kinds of `town.*` that only newer programs know."""


_ALLOTMENTS: Final = {
    DEVICE: Allotment.CERTIFICATES,
    ADMIT: Allotment.ADMISSIONS,
    JOIN: Allotment.CONSENTS,
    CHARTER: None,
    **dict.fromkeys(LASTING_KINDS, None),
}


@dataclass(frozen=True, slots=True)
class Federation:
    """A federation as this node resolved it.

    Attributes:
        charter: Id of the charter's record, of which `id` is the beginning.
        founder: The town that wrote the charter.
        quotas: Documents that one town may have, by lane.
    """

    id: FederationId
    name: str
    charter: RecordId
    founder: TownId
    stewards: frozenset[TownId]
    members: frozenset[TownId]
    quotas: tuple[int, int, int]

    def quota(self, lane: Lane) -> int:
        """Return how many documents of one town this lane takes."""
        return self.quotas[lane]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a record belongs by authority alone, before merge and quota.

    Attributes:
        lanes: The held sets; empty if none.
        cause: Why it is empty, as a stable code; "" if it is not.
    """

    lanes: frozenset[LaneKey]
    cause: str


@dataclass(frozen=True, slots=True)
class Authority:
    """Everything that resolving gave: the adopted federations and every certified device.

    Two equal authorities give every record the same placement.
    """

    own_town: TownId
    federations: Mapping[FederationId, Federation] = field(default_factory=dict)
    rights: Mapping[TownId, Rights] = field(default_factory=dict)

    def rights_of(self, town: TownId) -> Rights:
        """Return what a town's keys may sign; of one that says nothing, its town key may."""
        return self.rights.get(town) or Rights(keys=(DeviceId(town),))

    def is_certified(self, town: TownId, device: DeviceId) -> bool:
        """Tell whether a key may write for the town from now on: a certified device, or the present town
        key."""
        return self.rights_of(town).is_certified(device)

    def may_write(self, town: TownId, device: DeviceId, record: RecordId) -> bool:
        """Tell whether a key may have written this record: it is certified, or was and the record is kept."""
        return self.rights_of(town).may_write(device, record)

    def is_taken_back(self, town: TownId, device: DeviceId) -> bool:
        """Tell whether of this key only kept records count: a revoked device, or a former town key."""
        return self.rights_of(town).is_taken_back(device)

    def is_town_key(self, town: TownId, device: DeviceId) -> bool:
        """Tell whether this is a town key of the town, the present one or a former."""
        return device in self.rights_of(town).keys

    def town_of(self, device: DeviceId) -> TownId | None:
        """Return the one town that certified this device; None if none did, or several claim it."""
        towns = [town for town, rights in self.rights.items() if device in rights.devices]
        return towns[0] if len(towns) == 1 else None

    def is_member(self, federation: FederationId, town: TownId) -> bool:
        """Tell whether the town is a member of a federation that this node has adopted."""
        adopted = self.federations.get(federation)
        return adopted is not None and town in adopted.members

    def federations_of(self, town: TownId) -> tuple[FederationId, ...]:
        """Return the adopted federations of which the town is a member, ascending."""
        return tuple(sorted(each.id for each in self.federations.values() if town in each.members))

    def place(self, header: Header, record: RecordId) -> Placement:
        """Return the held sets in which a record belongs by authority, or why there is none."""
        if header.kind == CHARTER:
            return self._place_charter(header, record)
        if is_town_kind(header.kind):
            return self._place_of_town(header, record)
        if not header.federations:
            return self._place_at_home(header, record)
        return self._place_listed(header, record)

    def room(self, key: LaneKey, town: TownId, allotment: Allotment) -> int | None:
        """Return how many documents of a town a held set takes; None for home, which takes any number."""
        federation = self.federations.get(key[0])
        if federation is None:
            return None
        match allotment:
            case Allotment.POSTS:
                return federation.quota(key[1])
            case Allotment.CERTIFICATES:
                return limits.CERTIFICATES_MAX
            case Allotment.ADMISSIONS if town in federation.stewards:
                return limits.ADMISSIONS_MAX
            case _:
                return limits.FEW_MAX

    def _place_charter(self, header: Header, record: RecordId) -> Placement:
        if header.op is not Op.ENTRY:
            return Placement(frozenset(), CHARTER_STANDS)
        lanes = set[LaneKey]()
        federation = FederationId(record[:16])
        if federation in self.federations:
            lanes.add((federation, Lane.URGENT))
        if header.town == self.own_town and (lanes or self.may_write(header.town, header.device, record)):
            lanes.add((home_id(self.own_town), header.lane))
        return _placement(lanes, UNKNOWN_FEDERATION)

    def _place_of_town(self, header: Header, record: RecordId) -> Placement:
        if header.kind in LASTING_KINDS and header.op is not Op.ENTRY:
            return Placement(frozenset(), ACT_STANDS)
        lanes: set[LaneKey] = {(federation, Lane.URGENT) for federation in self.federations_of(header.town)}
        if header.town == self.own_town:
            lanes.add((home_id(self.own_town), header.lane))
        return _placement(
            lanes if self._says(header, record) else set(), UNCERTIFIED if lanes else NOT_MEMBER
        )

    def _says(self, header: Header, record: RecordId) -> bool:
        """Tell whether a town key has said this for its town, and may have."""
        rights = self.rights_of(header.town)
        if header.kind in LASTING_KINDS:
            return record in rights.acts
        return header.device in rights.keys and rights.may_write(header.device, record)

    def _place_at_home(self, header: Header, record: RecordId) -> Placement:
        if header.town != self.own_town:
            return Placement(frozenset(), NOT_OURS)
        if not self.may_write(header.town, header.device, record):
            return Placement(frozenset(), UNCERTIFIED)
        return Placement(frozenset({(home_id(self.own_town), header.lane)}), "")

    def _place_listed(self, header: Header, record: RecordId) -> Placement:
        adopted = [name for name in header.federations if name in self.federations]
        lanes = {(name, header.lane) for name in adopted if header.town in self.federations[name].members}
        if header.kind == JOIN and header.town == self.own_town:
            # The own consent, and the end of it, must outlive the federation's lanes, or a peer that has
            # not heard of the end would bring the consent back.
            lanes.add((home_id(self.own_town), header.lane))
        if not lanes:
            return Placement(frozenset(), NOT_MEMBER if adopted else UNKNOWN_FEDERATION)
        if not self.may_write(header.town, header.device, record):
            return Placement(frozenset(), UNCERTIFIED)
        return Placement(frozenset(lanes), "")


def allotment_of(kind: str) -> Allotment | None:
    """Return with what documents of this kind are counted; None for those of which authority itself names the
    few that count: the charter of a set, and a town's revocations, keep lists and rotations."""
    if kind in _ALLOTMENTS:
        return _ALLOTMENTS[kind]
    return Allotment.OTHERS if is_town_kind(kind) else Allotment.POSTS


def outside_quotas(kind: str) -> bool:
    """Tell whether documents of this kind are not counted by quotas: those that say who may act at all."""
    return kind in AUTHORITY_KINDS or is_town_kind(kind)


def has_several_places(kind: str, federations: Sequence[FederationId]) -> bool:
    """Tell whether a record like this can belong in several held sets, and so be in some of them only."""
    return len(federations) > 1 or kind == JOIN or is_town_kind(kind)


def resolve(own_town: TownId, records: Iterable[Record]) -> Authority:
    """Return the authority that these records give.

    Args:
        own_town: The town of this node.
        records: All known records of `AUTHORITY_KINDS`, held or parked, signatures checked; others are
            passed over. Superseded ones may be among them or not.
    """
    by_kind = defaultdict[str, dict[RecordId, Record]](dict)
    for record in records:
        by_kind[record.header.kind][record.id] = record
    rights = resolve_devices(each for kind in sorted(DEVICE_KINDS) for each in by_kind[kind].values())
    signers = Authority(own_town, {}, rights)
    admits = defaultdict[FederationId, list[Record]](list)
    for record in by_kind[ADMIT].values():
        if signers.may_write(record.header.town, record.header.device, record.id):
            for name in record.header.federations:
                admits[name].append(record)
    joins = _standing(signers, by_kind[JOIN].values())
    consents = {
        record.header.federations[0]
        for record in joins
        if record.header.town == own_town and len(record.header.federations) == 1
    }
    federations = dict[FederationId, Federation]()
    for _, charter in sorted(by_kind[CHARTER].items()):
        name, founder = FederationId(charter.id[:16]), charter.header.town
        wrote = founder == own_town and signers.may_write(own_town, charter.header.device, charter.id)
        if name not in federations and (wrote or name in consents):
            federation = _federation(charter, admits[name])
            if federation is not None:
                federations[name] = federation
    # Nobody asks for the keys of towns that may write nowhere; who sends them in heaps moves nothing.
    concerned = {own_town}.union(*(each.members | {each.founder} for each in federations.values()))
    concerning = {
        town: found
        for town, found in rights.items()
        if town in concerned and found != Rights(keys=(DeviceId(town),))
    }
    return Authority(own_town, federations, concerning)


@dataclass(frozen=True, slots=True)
class Moved:
    """Whose rights differ between two authorities.

    Attributes:
        towns: All of them; what they have parked may be held now.
        held: Those whose held records may all belong elsewhere now: a membership changed.
        lost: Keys of whose held records some may have lost their right.
    """

    towns: frozenset[TownId]
    held: frozenset[TownId]
    lost: Mapping[TownId, frozenset[DeviceId]]


def moved(before: Authority, after: Authority) -> Moved:
    """Return the towns some of whose records `after` places otherwise than `before`."""
    towns, held, lost = set[TownId](), set[TownId](), dict[TownId, frozenset[DeviceId]]()
    for town in before.rights.keys() | after.rights.keys():
        old, new = before.rights_of(town), after.rights_of(town)
        if old != new:
            towns.add(town)
            lost[town] = _weakened(old, new)
    for name in before.federations.keys() | after.federations.keys():
        was, now = before.federations.get(name), after.federations.get(name)
        held |= (was.members if was else frozenset()) ^ (now.members if now else frozenset())
        if was is None or now is None:
            # The charter is a record of the founder, who need not be a member.
            held |= {each.founder for each in (was, now) if each}
    return Moved(frozenset(towns | held), frozenset(held), lost)


def _weakened(old: Rights, new: Rights) -> frozenset[DeviceId]:
    """Return the keys of which a record that was valid may not be so any more."""
    gone = {device for device in (*old.devices, *old.keys) if not new.is_certified(device)}
    if old.kept - new.kept:
        gone |= {*old.revoked, *old.keys[:-1]}
    if old.acts - new.acts:
        gone.update(new.keys)
    return frozenset(gone)


def _placement(lanes: set[LaneKey], cause: str) -> Placement:
    return Placement(frozenset(lanes), "" if lanes else cause)


def _standing(signers: Authority, records: Iterable[Record]) -> list[Record]:
    """Return the standing records among those whose device may write for their town."""
    return heads(
        record for record in records if signers.may_write(record.header.town, record.header.device, record.id)
    )


def _federation(charter: Record, admits: Iterable[Record]) -> Federation | None:
    """Return the federation of a charter with the members that its stewards admitted; None if unreadable.

    Args:
        admits: All records of admissions there that certified devices wrote, deletions among them.
    """
    fields = fields_of(charter)
    if charter.header.op is not Op.ENTRY or fields is None:
        return None
    name = fields.get("name")
    stewards = _towns(fields.get("stewards"))
    members = _towns(fields.get("members", []))
    if not isinstance(name, str) or not stewards or members is None:
        return None
    identity = FederationId(charter.id[:16])
    acts = defaultdict[tuple[Lane, TownId], list[Record]](list)
    for record in admits:
        if record.header.town in stewards:
            acts[record.header.lane, record.header.town].append(record)
    admitted = {
        TownId(town)
        for record in heads(each for found in acts.values() for each in newest(found, limits.ADMISSIONS_MAX))
        if record.header.federations == (identity,) and (town := named(record.body, "town")) is not None
    }
    return Federation(
        id=identity,
        name=name,
        charter=charter.id,
        founder=charter.header.town,
        stewards=stewards,
        members=stewards | members | admitted,
        quotas=_quotas(fields.get("quotas")),
    )


def founded_by(charter: Record) -> Federation | None:
    """Return the federation of a charter as it was founded, before any admission; None if unreadable."""
    return _federation(charter, ())


def named_in(record: Record) -> bytes | None:
    """Return the device that a certificate names, or the town that an admission does; None if unreadable."""
    return named(record.body, "device" if record.header.kind == DEVICE else "town")


def _quotas(value: Value) -> tuple[int, int, int]:
    """Return the quotas by lane; what is missing or no count is as `limits.py` has it."""
    stated = value if isinstance(value, dict) else {}
    urgent, everyday, library = (
        count if type(count := stated.get(name)) is int and count >= 0 else standard
        for name, standard in _QUOTAS.items()
    )
    return urgent, everyday, library


def _towns(value: Value) -> frozenset[TownId] | None:
    """Return a list of towns as a set; None if it is anything else."""
    if not isinstance(value, list):
        return None
    towns = [TownId(town) for town in value if isinstance(town, bytes) and len(town) == 32]
    return frozenset(towns) if len(towns) == len(value) else None
