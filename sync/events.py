"""The alphabet of the hub: what it is told (inputs) and what it asks for (effects).

The hub does no I/O. The engine feeds it one `Input` at a time, in order, and performs the effects that
come back, in order. Five rules hold between the two:

* A frame is one whole message of the secure channel, at most `FRAME_BYTES_MAX` bytes. Links are
  reliable and ordered while they live; a link that broke is told by `LinkDown`, also after the hub's
  own `Drop`.
* `Load`, `LoadIds` and `LoadEvidence` are each answered once, by `Loaded` or `IdsLoaded` with the same
  link and token, in any order; what is not there is left out. Answers for a link that is gone are
  ignored.
* `TakeIn` is answered once, by `TakenIn`, after the commit, with one verdict for each record in their
  order. What that commit changed is announced by `Committed` first, in the order of the commits.
* `WakeAt` replaces any earlier one; when its time comes the engine gives a `Tick`. An early or a
  needless `Tick` is harmless.
* The hub owns the `HeldSet`s that it was given: `Committed` keeps them up to date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType, TypeAlias

from protocol.ids import DeviceId, FederationId, LaneKey, RecordId, TownId

if TYPE_CHECKING:
    from sync.admission import Verdict
    from sync.authority import Authority

LinkId = NewType("LinkId", int)
"""One live link of this process; never used twice."""


@dataclass(frozen=True, slots=True)
class LaneChange:
    """What one commit changed in one held set.

    Attributes:
        added: Ids that are held there now and were not before.
        removed: Ids that were held there before and are not now.
    """

    key: LaneKey
    added: tuple[RecordId, ...] = ()
    removed: tuple[RecordId, ...] = ()


@dataclass(frozen=True, slots=True)
class JoinAsk:
    """What the side that uses an invitation says first on its link.

    Attributes:
        federation: The federation that the invitation names.
        secret: Its 128-bit secret; it never travels, only a proof of it does.
        records: Our certificate, profile (if any) and `federation.join` record, raw.
    """

    federation: FederationId
    secret: bytes
    records: tuple[bytes, ...]


# Inputs.


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A channel stands and both devices have shown who they are (AUTH).

    Attributes:
        handshake_hash: Of this very handshake; names on this link are made with it.
        initiator: Whether we dialled.
        approved: Whether the operator agreed to talk to this town; else only JOIN is listened to.
        join: An invitation that we use on this link (initiator only).
    """

    link: LinkId
    town: TownId
    device: DeviceId
    handshake_hash: bytes
    initiator: bool
    approved: bool = True
    join: JoinAsk | None = None


@dataclass(frozen=True, slots=True)
class LinkDown:
    """A channel has ended, whoever ended it."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class Heard:
    """One frame came in."""

    link: LinkId
    frame: bytes


@dataclass(frozen=True, slots=True)
class TakenIn:
    """A batch went through the door and its commit is on disk; one verdict for each record, in order."""

    link: LinkId
    batch: int
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """Something was committed: records from anywhere, or time or authority moved.

    Attributes:
        lanes: What changed in which held set.
        change: Number of the newest change that is now on disk; grows.
        source: The link whose batch it was, None for our own posts and all else.
        authority: The new one when it changed, else None.
    """

    lanes: tuple[LaneChange, ...]
    change: int
    source: LinkId | None = None
    authority: Authority | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """Answers `Load` and `LoadEvidence`: whole raw records, newest first.

    Attributes:
        more: Whether records that were asked for did not fit into the bytes allowed.
    """

    link: LinkId
    token: int
    records: tuple[bytes, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class IdsLoaded:
    """Answers `LoadIds`: whole ids held in these buckets now, newest first."""

    link: LinkId
    token: int
    ids: tuple[RecordId, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """Answers `Joining`: admitted and approved; these records (charter, admits, certificates) welcome it."""

    link: LinkId
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class JoinRefused:
    """Answers `Joining`: the invitation is not ours, was used, is too old, or we may not admit."""

    link: LinkId
    code: str
    says: str


@dataclass(frozen=True, slots=True)
class Tick:
    """The time of the last `WakeAt` has come."""


Input: TypeAlias = (
    LinkUp | LinkDown | Heard | TakenIn | Committed | Loaded | IdsLoaded | Joined | JoinRefused | Tick
)


# Effects.


@dataclass(frozen=True, slots=True)
class Send:
    """Send one frame on a link, after all earlier ones."""

    link: LinkId
    frame: bytes


@dataclass(frozen=True, slots=True)
class Drop:
    """Send what is waiting, then close a link; the hub has forgotten it already. `code` is stable."""

    link: LinkId
    code: str
    says: str


@dataclass(frozen=True, slots=True)
class TakeIn:
    """Put a batch that came in through the door; answer with `TakenIn`."""

    link: LinkId
    batch: int
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Read the records held in a lane whose ids begin with one of `prefixes` (5 to 32 bytes each, mixed).

    Attributes:
        bytes_max: Sum of the raw bytes of the answer; at least one record is given if any is there.
    """

    link: LinkId
    token: int
    key: LaneKey
    prefixes: tuple[bytes, ...]
    bytes_max: int


@dataclass(frozen=True, slots=True)
class LoadIds:
    """Read all ids held in a lane whose first byte is one of `buckets` (ascending)."""

    link: LinkId
    token: int
    key: LaneKey
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LoadEvidence:
    """Read what makes `town` and us members of `federation`: charter, admits, joins, certificates.

    At most `EVIDENCE_BYTES_MAX` raw bytes, the charter first. Answer with `Loaded`.

    Attributes:
        after: Only what comes behind this record, nothing if it is not among them; None: from the charter on.
    """

    link: LinkId
    token: int
    federation: FederationId
    town: TownId
    after: RecordId | None = None


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Give a `Tick` at this time; replaces any earlier one."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Synced:
    """The other end is known to hold, or to have refused, all that we may tell it up to `change`."""

    link: LinkId
    town: TownId
    change: int


@dataclass(frozen=True, slots=True)
class Incident:
    """Something an operator should see, though the hub goes on; `code` is stable."""

    link: LinkId
    code: str
    says: str


@dataclass(frozen=True, slots=True)
class Late:
    """A sign of life is `PING_LATE_MS` late: dial beside this link until anything is heard on it."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class Joining:
    """A stranger shows an invitation; answer with `Joined` or `JoinRefused`.

    Attributes:
        federation_name: `wire.federation_name` of the federation it means, on this link, role initiator.
        proof: `wire.join_proof` of the secret of the invitation, on this link.
        records: Its certificate, profile and join record, raw and not yet checked.
    """

    link: LinkId
    federation_name: bytes
    proof: bytes
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Welcomed:
    """Our invitation was good: take these records in, and approve the town at the other end."""

    link: LinkId
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Our invitation was not accepted; a `Drop` follows."""

    link: LinkId
    code: str
    says: str


Effect: TypeAlias = (
    Send
    | Drop
    | TakeIn
    | Load
    | LoadIds
    | LoadEvidence
    | WakeAt
    | Synced
    | Incident
    | Late
    | Joining
    | Welcomed
    | Refused
)
