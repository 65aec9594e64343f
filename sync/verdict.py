"""What can be decided on a record, what deciding asks of a state, and what it does to it.

The words of `admission`, apart from its work, for all who only carry verdicts and changes about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from msgspec import Struct

from protocol.ids import DeviceId, DocId, LaneKey, RecordId, TownId
from protocol.record import Record
from sync.authority import Allotment, Authority
from sync.merge import Fact

HELD_NOW: Final = "held"
"""Cause: taken in by this batch."""
KNOWN: Final = "known"
"""Cause: held before."""
SUPERSEDED: Final = "superseded"
"""Cause: another record of the document stands instead; `because` names it."""
EXPIRED: Final = "expired"
"""Cause: the document has ended by its own header."""
FUTURE: Final = "future"
"""Cause: born or stamped more than a day ahead of sure time."""
QUOTA: Final = "quota"
"""Cause: the document is not among the newest of its town in any lane that it lists."""


class State(Enum):
    """What was decided on a record."""

    HELD = "held"
    """It stands in at least one held set."""
    PARKED = "parked"
    """It is kept and waits for a certificate, a membership or an adoption."""
    DROPPED = "dropped"
    """It is not kept and never will be: remembered, and not asked for again."""
    NOT_NOW = "not_now"
    """It is not kept and not remembered: welcome again when its cause has changed."""


class Verdict(Struct, frozen=True, gc=False):
    """What was decided on one record, and why.

    Attributes:
        cause: A stable code.
        because: The record that stands instead, for `SUPERSEDED`.
    """

    id: RecordId
    state: State
    cause: str
    because: RecordId | None = None


class View(Protocol):
    """What `judge` asks of the state that it is to change. Every method may be asked for unknown things."""

    def authority_records(self, news: Sequence[Record] = ()) -> Sequence[Record]:
        """Return the known records of `AUTHORITY_KINDS`, held or parked: at least those that change what
        `resolve` makes of them and these new ones."""

    def known(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Verdict]:
        """Return what was decided before on these ids: HELD, PARKED, and DROPPED as far as remembered."""

    def facts(self, docs: Sequence[DocId]) -> Mapping[DocId, Sequence[Fact]]:
        """Return the facts of the held records of these documents."""

    def lanes(self, ids: Sequence[RecordId]) -> Mapping[RecordId, frozenset[LaneKey]]:
        """Return in which held sets these records are."""

    def records(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Record]:
        """Return the held records among these ids."""

    def document_count(self, lane_key: LaneKey, town: TownId, allotment: Allotment = Allotment.POSTS) -> int:
        """Return how many documents of a town, of those counted together, a held set has."""

    def oldest_documents(
        self, lane_key: LaneKey, town: TownId, limit: int, allotment: Allotment = Allotment.POSTS
    ) -> Sequence[tuple[int, DocId]]:
        """Return the first `limit` of them, ascending by (born, doc)."""

    def parked(self, towns: Iterable[TownId]) -> Sequence[Record]:
        """Return the parked records that these towns wrote."""

    def held_records(self, towns: Iterable[TownId]) -> Sequence[Record]:
        """Return the held records that these towns wrote, of every kind and lane."""

    def signed_records(self, town: TownId, devices: Iterable[DeviceId]) -> Sequence[Record]:
        """Return the held records that these devices wrote for a town."""

    def drawer(self) -> Sequence[Record]:
        """Return the records of the own town that were superseded, or had no room, and are still kept."""

    def expired(self, now_s: int, limit: int) -> Sequence[Record]:
        """Return held and parked records whose `expires` is not after `now_s`, at most `limit`."""

    def ahead(self, after: int, born_s: int, stamp: int, limit: int) -> Sequence[Record]:
        """Return records held since a change that are born, or stamped, after these; at most `limit`."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be done to the state, all of it in one transaction, in the order of these attributes.

    Attributes:
        verdicts: One for each input record, in order. DROPPED ones are to be remembered with cause and
            because, whether listed below or not; nothing else is.
        reconsider: Towns whose certificates or memberships changed, or of which something lay ahead of
            time. Remembered DROPPED verdicts with the
            cause `SUPERSEDED` about their records are to be forgotten, before those above are remembered:
            what stood instead may have lost its right. Their parked and held records have already been
            judged again; the results are among the changes here.
        remove: (id, lanes, cause, because): leaves these held sets. With no lanes: a parked record that is
            parked no more. What is then neither held nor in `park` is erased; with cause `SUPERSEDED` or
            `EXPIRED` it is remembered as DROPPED, else not.
        park: (record, cause): is kept and waits; replaces the cause of what was parked before. A record
            that lost its right stands here and in `remove`.
        hold: (record, lanes): enters these held sets, in which it was not before. It may be new, parked
            until now (and is so no more), or held elsewhere already.
        authority: The new one, if it changed.
    """

    verdicts: tuple[Verdict, ...] = ()
    reconsider: frozenset[TownId] = frozenset()
    remove: tuple[tuple[RecordId, frozenset[LaneKey], str, RecordId | None], ...] = ()
    park: tuple[tuple[Record, str], ...] = ()
    hold: tuple[tuple[Record, frozenset[LaneKey]], ...] = ()
    authority: Authority | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """One row of the table of causes.

    Attributes:
        state: What becomes of a record for this cause.
        remembered: For how long its id is known: "" is not at all.
        lifted_by: What a later verdict may rest on; "" if nothing can lift the cause.
        means: One line for people.
    """

    code: str
    state: State
    remembered: str
    lifted_by: str
    means: str


_WAITS: Final = "30 days of sure time"
CAUSES: Final = (
    Cause(HELD_NOW, State.HELD, "while held", "", "it stands in at least one held set"),
    Cause("uncertified", State.PARKED, _WAITS, "a certificate, rotation or keep list",
          "its key may not write it: not certified, or taken back and this record not kept"),
    Cause("not_member", State.PARKED, _WAITS, "an admission, or a charter of its town",
          "its town is in none of the adopted federations that it lists"),
    Cause("unknown_federation", State.PARKED, _WAITS, "a charter or a consent of the own town",
          "it lists no adopted federation, and is a record of authority or was held before"),
    Cause("unknown_federation", State.NOT_NOW, "", "a charter or a consent of the own town",
          "it lists no adopted federation"),
    Cause("unresolved", State.PARKED, _WAITS, "the step or the key that leads to it",
          "a step or signature to which no step of an adopted federation leads"),
    Cause(QUOTA, State.NOT_NOW, "", "room: the town's newer documents end or are refused",
          "its document is not among the newest of its town in any lane; the own town's goes to the drawer"),
    Cause(FUTURE, State.NOT_NOW, "", "time", "born or stamped more than a day ahead of sure time"),
    Cause("newer_version", State.NOT_NOW, "", "a newer program", "a record format that is not known here"),
    Cause("body_missing", State.NOT_NOW, "", "the whole record", "a put or an entry came without its body"),
    Cause(SUPERSEDED, State.DROPPED, "until the rights of its town move", "what stands instead is refused",
          "another record of the document stands instead; the own town's goes to the drawer"),
    Cause(EXPIRED, State.DROPPED, "30 days after its end", "", "its document has ended by its own header"),
    Cause("not_ours", State.DROPPED, "30 days after its end", "", "another town's home record"),
    Cause("charter_stands", State.DROPPED, "30 days after its end", "", "a put or delete of a charter"),
    Cause("step_stands", State.DROPPED, "30 days after its end", "",
          "a put or delete of a step or signature"),
    Cause("act_stands", State.DROPPED, "30 days after its end", "",
          "a put or delete of a revocation, keep list or rotation"),
    Cause("no_successor", State.DROPPED, "30 days after its end", "",
          "a rotation whose signer does not follow from the town's id"),
    Cause("malformed", State.DROPPED, "", "", "not the canonical form, or a field out of its type"),
    Cause("limit_exceeded", State.DROPPED, "", "", "a bound of section 12 is passed"),
    Cause("bad_signature", State.DROPPED, "", "", "not the signature of the device"),
)  # fmt: skip
"""Every cause of a verdict: what is remembered of it, and what lifts it. Section 8 shows it."""


def final_causes() -> frozenset[str]:
    """Return the causes of drops that no later record, right or time can lift, and that are remembered."""
    return frozenset(
        each.code for each in CAUSES if each.state is State.DROPPED and each.remembered and not each.lifted_by
    )
