"""What becomes of a record: held, parked, dropped or not now, and because of what.

`judge` is the one place where membership, certificates, merge and quota meet. It reads headers, resolved
authority and time, and nothing else; it does no I/O, and what it wants to know it asks a `View`, which the
store and its in-memory twin both are. The state that follows from its `Changes` does not depend on how the
same records are cut into batches or ordered.

How one batch is judged:

1. Authority first. If the batch brings records of `AUTHORITY_KINDS`, authority is resolved anew from all
   that are known. Where it changed, the parked and the held records of the towns concerned are judged again
   together with the batch, in the same breath: what waited for a certificate is held in the same commit as
   the certificate, and what lost its right leaves in the same commit as the right.
2. Each record is placed by authority: the held sets in which it belongs, or the cause for which it waits.
3. Quota ranks whole documents by `(born, doc)`, which all their records share and no record can change; a
   deletion counts as its document. So the newest N of a union are the newest N of the newest N of its
   parts, and no deletion is pushed out while what it killed comes back.
4. Merge (`merge.prune`) decides inside each document between records that may stand.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.record import Record
from sync.authority import (
    AUTHORITY_KINDS,
    CHARTER_STANDS,
    NOT_MEMBER,
    NOT_OURS,
    STEP_STANDS,
    UNCERTIFIED,
    UNKNOWN_FEDERATION,
    UNRESOLVED,
    Authority,
)
from sync.sitting import Sitting, horizon
from sync.verdict import (
    EXPIRED,
    FUTURE,
    HELD_NOW,
    KNOWN,
    QUOTA,
    SUPERSEDED,
    Changes,
    State,
    Verdict,
    View,
)

__all__ = [
    "AUTHORITY_KINDS",
    "CHARTER_STANDS",
    "EXPIRED",
    "FUTURE",
    "HELD_NOW",
    "KNOWN",
    "NOT_MEMBER",
    "NOT_OURS",
    "QUOTA",
    "STEP_STANDS",
    "SUPERSEDED",
    "UNCERTIFIED",
    "UNKNOWN_FEDERATION",
    "UNRESOLVED",
    "Changes",
    "State",
    "Verdict",
    "View",
    "expire",
    "judge",
]


def judge(batch: Sequence[Record], view: View, authority: Authority, now_ms: int, sure: bool) -> Changes:
    """Decide on a batch of records whose signatures have been checked.

    Args:
        batch: In any order, with repetitions; known ones may be among them.
        view: The state so far.
        authority: What `resolve` gives for the state so far.
        now_ms: Node time.
        sure: Whether it is sure; an unsure node refuses nothing for its time.
    """
    inputs = {record.id: record for record in batch}
    known = view.known(list(inputs))
    sitting = Sitting(view, authority, now_ms, sure)
    governing = [record for record in inputs.values() if record.header.kind in AUTHORITY_KINDS]
    sitting.empower([record for record in governing if _may_empower(known.get(record.id))])
    for id, record in inputs.items():
        sitting.hear(record, known.get(id))
    sitting.decide()
    return sitting.changes(tuple(sitting.verdicts[record.id] for record in batch))


def expire(
    view: View,
    authority: Authority,
    now_ms: int,
    sure: bool,
    limit: int = 1_000,
    *,
    doubted_after: int | None = None,
) -> Changes:
    """Return the end of what has ended by now, and of what proves to lie ahead.

    At most `limit` records each, none unless time is sure. The caller goes on until nothing is left to
    remove. Rights that end with a record end in the same breath.

    Args:
        doubted_after: After this change records were taken in while time was not sure; None: there were none.
    """
    ended = list(view.expired(now_ms // 1_000, limit)) if sure else []
    if sure and doubted_after is not None:
        ended += view.ahead(doubted_after, *horizon(now_ms), limit)
    sitting = Sitting(view, authority, now_ms, sure)
    sitting.call(ended)
    if any(record.header.kind in AUTHORITY_KINDS for record in ended):
        sitting.resolve()
    sitting.decide()
    return sitting.changes(())


def _may_empower(known: Verdict | None) -> bool:
    """Tell whether a record of these kinds may bring authority that is not resolved yet.

    A superseded one may: what superseded it may lose its right in this very batch.
    """
    return known is None or (known.state is State.DROPPED and known.cause == SUPERSEDED)
