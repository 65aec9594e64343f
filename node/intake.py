"""The one door of every record: a resident's draft, a peer's bytes and a stick's go through here and nowhere else.

Foreign bytes are opened and checked, what is already known goes no further, the signature is verified, and `judge`
decides by headers, authority and time. Own drafts get their seq, stamp and signature inside the same writer's turn.
Everything of one batch is committed at once; only after the commit is it announced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protocol.ids import Op
from protocol.record import check_signature

if TYPE_CHECKING:
    from node.clock import Reading
    from node.store import Store, Transaction
    from protocol.encoding import Value
    from protocol.identity import SigningKey
    from protocol.ids import DocId, FederationId, Lane, RecordId
    from protocol.record import Record
    from sync.admission import Verdict
    from sync.authority import Authority
    from sync.events import Committed, LaneChange, LinkId


@dataclass(frozen=True, slots=True)
class Draft:
    """A record of our own that is still to be stamped and signed.

    Attributes:
        kind: Name of the kind.
        op: PUT, ENTRY or DELETE.
        fields: The body; None for a delete.
        federations: Audience; empty is the own town's home set.
        lane: None means the lane that the kind declares.
        born: Seconds since 1970; None means now.
        expires: Seconds since 1970; None means the kind's default lifetime after `born`.
        nonce: 8 bytes; None means chance. Of (kind, nonce) there is one document: a second draft that would begin
            it gives back the first record and writes nothing.
        cites: Records that this one rests on.
        doc: An existing document of the own town that this record is about; it then gives audience, lane, born, expires
            and nonce, and the fields here that say otherwise are not looked at.
        based_on: With `doc`: the versions that the editor saw; if others are held now, the draft is refused.
        key: Signs instead of the device: the town key, for `town.*`.
    """

    kind: str
    op: Op = Op.PUT
    fields: Mapping[str, Value] | None = None
    federations: tuple[FederationId, ...] = ()
    lane: Lane | None = None
    born: int | None = None
    expires: int | None = None
    nonce: bytes | None = None
    cites: tuple[RecordId, ...] = ()
    doc: DocId | None = None
    based_on: tuple[RecordId, ...] | None = None
    key: SigningKey | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of one batch: a verdict for each record in order, what changed, and its number."""

    verdicts: tuple[Verdict, ...]
    lanes: tuple[LaneChange, ...]
    change: int
    authority: Authority | None


def take_in(
    tx: Transaction,
    raws: Sequence[bytes],
    *,
    now_ms: int,
    sure: bool,
    check: Callable[[Record], None] = check_signature,
) -> Taken:
    """Take a batch of foreign bytes in; the simulator and the door share it.

    Args:
        tx: Of any store; everything happens inside it.
        raws: Records as they came; one bad record never blocks the others.
        now_ms: Node time.
        sure: Whether that time is sure.
        check: Raises BadSignature; the simulator remembers answers.
    """
    raise NotImplementedError


class Intake:
    """The door of one node.

    Attributes:
        announce: Called with `Committed` in the event loop's thread after each commit that changed something, in the
            order of the commits, before the callers of `accept` and `post` go on.
    """

    announce: Callable[[Committed], None]

    def __init__(
        self, store: Store, key: SigningKey, clock: Callable[[], Reading], *, chance: Callable[[int], bytes]
    ) -> None:
        raise NotImplementedError

    async def accept(self, raws: Sequence[bytes], source: LinkId | None = None) -> tuple[Verdict, ...]:
        """Take in records of others; return a verdict for each, in order, once they are committed.

        Raises:
            StorageUnavailable: Nothing was kept; the sender will offer them again.
        """
        raise NotImplementedError

    async def post(self, drafts: Sequence[Draft]) -> list[Record]:
        """Stamp, sign and commit drafts of our own, all or none; return their records in order.

        Raises:
            StaleEdit, NotFound, LimitReached, NotCertified, StorageUnavailable, ProtocolError.
        """
        raise NotImplementedError

    async def reconsider(self) -> None:
        """Judge again what waits, and let go of what has ended: after time became sure, and once in a while."""
        raise NotImplementedError

    async def authority(self) -> Authority:
        """Return the authority of the last committed state."""
        raise NotImplementedError
