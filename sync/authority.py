"""Who may write where: resolved from charters, certificates, admissions and consents, by everyone alike.

Three layers, each resting only on the ones before it, so there is nothing to iterate and nothing to wait for:

1. A town's keys and what they may sign, from its `town.*` records (`sync.devices`).
2. A charter is the root of its federation: its first 16 bytes of record id are the federation's name, so
   whoever consents to the name consents to these stewards and to what a majority of them decides. `steps`
   follows their decisions from the charter on; what stewards and members do beside is in `membership`.
3. This node *adopts* a federation when its own town has a standing `federation.join` there, or wrote the
   charter and has withdrawn no such consent since. Consent is a record: nobody can draw a town into a
   federation, and a node that lost its disk is healed by its peers, who still hold its consent.

A record *stands* when no other authorised record of its document supersedes it (`merge`). Nothing here
reads a clock or a stamp beyond that order, and the result does not depend on the order of the records or
on repetition. An unreadable body counts for nothing, here and only here: everywhere else it is carried.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Final

from protocol import limits
from protocol.ids import DeviceId, FederationId, Lane, LaneKey, Op, RecordId, TownId, home_id
from protocol.record import CHARTER, SIGN, STEP, Header, Record, is_town_kind, stands_for_good
from sync.devices import (
    DEVICE,
    DEVICE_KINDS,
    LASTING_KINDS,
    VOTES_KINDS,
    Rights,
    heads,
    named,
    newest,
    resolve_devices,
)
from sync.ledger import LEDGER
from sync.membership import ADMIT, SUSPEND, VOUCH, Act, Membership, membership
from sync.stated import charter_of, signature_of, step_of
from sync.steps import Chain, State, follow

JOIN: Final = "federation.join"
"""A town consents to a federation."""
AUTHORITY_KINDS: Final = frozenset({CHARTER, STEP, SIGN, ADMIT, SUSPEND, VOUCH, JOIN, *DEVICE_KINDS})
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
STEP_STANDS: Final = "step_stands"
"""Cause: the same of a step or of a signature."""
UNRESOLVED: Final = "unresolved"
"""Cause: a step or a signature that no step of an adopted federation leads to."""
ACT_STANDS: Final = "act_stands"
"""Cause: a put or a delete of a kind that is only ever added to: revocations, keep lists, rotations."""
NO_SUCCESSOR: Final = "no_successor"
"""Cause: a rotation whose signer does not follow from the town's id."""


class Allotment(IntEnum):
    """What of a town's documents is counted together in a held set, and has room of its own."""

    POSTS = 0
    """All that the charter's quotas count."""
    CERTIFICATES = 1
    ACTS = 2
    """Admissions and suspensions."""
    CONSENTS = 3
    OTHERS = 4
    """Profiles, and kinds of `town.*` that only newer programs know."""
    VOUCHES = 5
    LEDGERS = 6
    """One for each post that can be claimed, as many as posts: no ledger takes the room of a post."""


KINDS_REMEMBERED: Final = 256
"""Kinds of which it is remembered how they are counted: it is asked for every record."""
_POSTS: Final = Allotment.POSTS
_ALLOTMENTS: Final[Mapping[str, Allotment | None]] = {
    DEVICE: Allotment.CERTIFICATES,
    ADMIT: Allotment.ACTS,
    SUSPEND: Allotment.ACTS,
    VOUCH: Allotment.VOUCHES,
    JOIN: Allotment.CONSENTS,
    LEDGER: Allotment.LEDGERS,
    CHARTER: None,
    STEP: None,
    SIGN: None,
    **dict.fromkeys(LASTING_KINDS, None),
}


@dataclass(frozen=True, slots=True)
class Federation:
    """A federation as this node resolved it.

    Attributes:
        charter: Id of the charter's record, of which `id` is the beginning.
        founder: The town that wrote the charter.
        members: All of them, stewards among them.
        quotas: Documents that one town may have, by lane.
        chain: The steps from the charter to the current one.
        acts: What stewards and members did beside, as far as it counts.
    """

    id: FederationId
    name: str
    charter: RecordId
    founder: TownId
    stewards: frozenset[TownId]
    members: frozenset[TownId]
    quotas: tuple[int, int, int]
    chain: Chain
    acts: Membership

    def quota(self, lane: Lane) -> int:
        """Return how many documents of one town this lane takes."""
        return self.quotas[lane]

    def may_vouch(self, town: TownId) -> bool:
        """Tell whether the rules let this town vouch: one that the current step names and nobody suspends."""
        state = self.chain.current.state
        return state.vouches > 0 and town in self.members & (state.stewards | state.members)

    def room(self, lane: Lane, town: TownId, allotment: Allotment) -> int:
        """Return how many documents of a town, of those counted together, a lane takes."""
        match allotment:
            case Allotment.POSTS | Allotment.LEDGERS:
                return self.quota(lane)
            case Allotment.CERTIFICATES:
                return limits.CERTIFICATES_MAX
            case Allotment.ACTS if town in self.stewards:
                return limits.ACTS_MAX
            case _:
                return limits.FEW_MAX


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

    Attributes:
        left: Federations from which the own town has withdrawn.
    """

    own_town: TownId
    federations: Mapping[FederationId, Federation] = field(default_factory=dict)
    rights: Mapping[TownId, Rights] = field(default_factory=dict)
    left: frozenset[FederationId] = frozenset()

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
        if stands_for_good(header.kind):
            return self._place_step(header, record)
        if is_town_kind(header.kind):
            return self._place_of_town(header, record)
        if not header.federations:
            return self._place_at_home(header, record)
        return self._place_listed(header, record)

    def room(self, key: LaneKey, town: TownId, allotment: Allotment) -> int | None:
        """Return how many documents of a town a held set takes; None for home, which takes any number."""
        federation = self.federations.get(key[0])
        return None if federation is None else federation.room(key[1], town, allotment)

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

    def _place_step(self, header: Header, record: RecordId) -> Placement:
        """Place a step or a signature: with the chain of its federation, whatever became of its town."""
        if header.op is not Op.ENTRY:
            return Placement(frozenset(), STEP_STANDS)
        adopted = [self.federations[name] for name in header.federations if name in self.federations]
        lanes = {(each.id, Lane.URGENT) for each in adopted if record in each.chain.kept}
        return _placement(lanes, UNRESOLVED if adopted else UNKNOWN_FEDERATION)

    def _place_of_town(self, header: Header, record: RecordId) -> Placement:
        if header.kind in LASTING_KINDS and header.op is not Op.ENTRY:
            return Placement(frozenset(), ACT_STANDS)
        lanes: set[LaneKey] = {(federation, Lane.URGENT) for federation in self.federations_of(header.town)}
        if header.kind in VOTES_KINDS:
            # No vote can be judged without these, whatever became of its town.
            lanes |= {
                (each.id, Lane.URGENT)
                for each in self.federations.values()
                if header.town in each.chain.voters
            }
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


@lru_cache(KINDS_REMEMBERED)
def allotment_of(kind: str) -> Allotment | None:
    """Return with what documents of this kind are counted; None for those of which authority itself names the
    ones that count: charters, steps and signatures, and a town's revocations, keep lists and rotations."""
    if kind in _ALLOTMENTS:
        return _ALLOTMENTS[kind]
    return Allotment.OTHERS if is_town_kind(kind) else Allotment.POSTS


@lru_cache(KINDS_REMEMBERED)
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
    joins = _standing(signers, by_kind[JOIN].values())
    consents = {
        record.header.federations[0]
        for record in joins
        if record.header.town == own_town and len(record.header.federations) == 1
    }
    withdrawn = {
        name
        for record in by_kind[JOIN].values()
        if record.header.op is Op.DELETE and record.header.town == own_town
        if signers.may_write(own_town, record.header.device, record.id)
        for name in record.header.federations
    }
    federations = dict[FederationId, Federation]()
    for _, charter in sorted(by_kind[CHARTER].items()):
        name, founder = FederationId(charter.id[:16]), charter.header.town
        wrote = founder == own_town and signers.may_write(own_town, charter.header.device, charter.id)
        wrote = wrote and name not in withdrawn
        if name not in federations and (wrote or name in consents):
            federation = _federation(charter, signers, by_kind)
            if federation is not None:
                federations[name] = federation
    # Nobody asks for the keys of towns that may write nowhere; who sends them in heaps moves nothing.
    concerned = {own_town}.union(*({*each.members, each.founder} for each in federations.values()))
    voters = {town for each in federations.values() for town in each.chain.voters}
    concerning = {
        town: found
        for town, found in rights.items()
        if town in concerned or (town in voters and found.acts)
        if found != Rights(keys=(DeviceId(town),))
    }
    return Authority(own_town, federations, concerning, frozenset(withdrawn - federations.keys()))


def _placement(lanes: set[LaneKey], cause: str) -> Placement:
    return Placement(frozenset(lanes), "" if lanes else cause)


def _standing(signers: Authority, records: Iterable[Record]) -> list[Record]:
    """Return the standing records among those whose device may write for their town."""
    return heads(
        record for record in records if signers.may_write(record.header.town, record.header.device, record.id)
    )


def _federation(
    charter: Record, signers: Authority, by_kind: Mapping[str, Mapping[RecordId, Record]]
) -> Federation | None:
    """Return the federation of a charter as its stewards and members made it; None if it is unreadable."""
    root = charter_of(charter)
    if root is None:
        return None
    identity = FederationId(charter.id[:16])

    def listing(kind: str) -> list[Record]:
        return [each for each in by_kind[kind].values() if identity in each.header.federations]

    decided = [
        record
        for record in (*listing(STEP), *listing(SIGN))
        if signers.is_town_key(record.header.town, record.header.device)
    ]
    steps = [step for record in decided if record.header.kind == STEP and (step := step_of(record))]
    signatures = [each for record in decided if record.header.kind == SIGN and (each := signature_of(record))]
    lapsed = frozenset(
        each.id for each in decided if not signers.may_write(each.header.town, each.header.device, each.id)
    )
    chain = follow(root, steps, signatures, lapsed)
    state = chain.current.state
    acts = membership(
        chain,
        _acts(signers, (*listing(ADMIT), *listing(SUSPEND)), state.stewards, limits.ACTS_MAX),
        _acts(signers, listing(VOUCH), state.stewards | state.members, limits.FEW_MAX),
    )
    return Federation(
        id=identity,
        name=state.name,
        charter=charter.id,
        founder=charter.header.town,
        stewards=state.stewards,
        members=acts.members,
        quotas=state.quotas,
        chain=chain,
        acts=acts,
    )


def _acts(signers: Authority, records: Iterable[Record], of: frozenset[TownId], most: int) -> list[Act]:
    """Return what stands of the newest acts that certified devices of these towns wrote.

    Only documents for which the federation has room are looked at, so it is the same wherever all are kept.
    """
    written = defaultdict[tuple[Lane, TownId], list[Record]](list)
    for record in records:
        header = record.header
        if header.town in of and signers.may_write(header.town, header.device, record.id):
            written[header.lane, header.town].append(record)
    return [
        Act(record.id, record.header.kind, record.header.town, record.header.cites, TownId(town))
        for record in heads(each for found in written.values() for each in newest(found, most))
        if len(record.header.federations) == 1 and (town := named(record.body, "town")) is not None
    ]


def founded_by(charter: Record) -> State | None:
    """Return what a charter founds; None if it is unreadable."""
    root = charter_of(charter)
    return None if root is None else root.state


def named_in(record: Record) -> bytes | None:
    """Return the device that a certificate names, or the town that an act does; None if unreadable."""
    return named(record.body, "device" if record.header.kind == DEVICE else "town")
