"""What differs lawfully between this node and one other device, so that it is not said again at every beat.

Two honest nodes may hold different sets for good: one knows that a document has ended and the clock of
the other is not sure; one has not adopted what the other has. What a meeting has shown to be so is
remembered here: whole ids, and the pair of digests to which they lead. It is memory only: a node that
forgets it repeats an exchange and learns it again.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from protocol.ids import DeviceId, LaneKey, RecordId
from protocol.limits import BAD_RECORDS_MAX, BAN_S

REFUSED_MAX: Final = 16_384
"""Ids remembered of one device, lane and direction; the oldest are forgotten first (about 2 MB)."""
KNOWN_MAX: Final = 4_096
"""Ids that a device showed us lately, which are not pushed back to it."""
NOT_NOW_MS: Final = 600_000
"""So long a "not now" is believed without news; clocks become sure without telling anybody."""
RETRY_MS: Final = 3_600_000
"""After a retry that explained nothing there is none for an hour."""
LOOKS_MAX: Final = 8
"""Second looks with one device in an hour, asked or answered: each reads a whole held set."""
RACES_MAX: Final = 3
"""So often in a row a meeting may end with ids that nobody could name; then they are looked into."""


class Lawful:
    """The lawful differences with one device in one lane.

    Attributes:
        mine: Ids that I hold and the other refused; True if for good, False if not now.
        theirs: Ids that the other holds and I refused; the same.
        delivered: Short id -> id of what the other gave and I hold, though perhaps in another lane only.
        expected: Short ids that were not asked for once, since they were on their way in over some link.
        pair: (my digest, their digest) at the end of a meeting that left nothing to do.
        quiet_until_ms: The pair `met` is left alone until then.
        shown_until_ms: An unexplained difference is not shown again before.
        retry_at_ms: No salted retry before this.
        race_count: Meetings in a row that ended with ids that nobody could name.
        fruitless_count: Meetings in a row that moved something and changed neither digest.
        met: (my digest, their digest) at the last meeting that moved something.
    """

    __slots__ = (
        "_not_now_ms",
        "delivered",
        "expected",
        "fruitless_count",
        "met",
        "mine",
        "pair",
        "quiet_until_ms",
        "race_count",
        "retry_at_ms",
        "shown_until_ms",
        "theirs",
    )

    def __init__(self) -> None:
        self.mine: dict[RecordId, bool] = {}
        self.theirs: dict[RecordId, bool] = {}
        self.delivered: dict[bytes, RecordId] = {}
        self.expected: dict[bytes, None] = {}
        self.pair: tuple[bytes, bytes] | None = None
        self.met: tuple[bytes, bytes] | None = None
        self.retry_at_ms = 0
        self.shown_until_ms = 0
        self.quiet_until_ms = 0
        self.race_count = 0
        self.fruitless_count = 0
        self._not_now_ms: int | None = None

    def refuse_mine(self, record: RecordId, *, final: bool, now_ms: int) -> None:
        """Remember that the other refused an id of mine."""
        self._refuse(self.mine, record, final, now_ms)

    def refuse_theirs(self, record: RecordId, *, final: bool, now_ms: int) -> None:
        """Remember that I refused an id of the other."""
        self._refuse(self.theirs, record, final, now_ms)

    def deliver(self, record: RecordId, now_ms: int) -> None:
        """Remember that the other gave an id that I hold; if it is not in this lane, it may be later."""
        self.delivered.pop(record[:8], None)
        self.delivered[record[:8]] = record
        trim(self.delivered, REFUSED_MAX)
        if self._not_now_ms is None:
            self._not_now_ms = now_ms

    def change(self, added: tuple[RecordId, ...], removed: tuple[RecordId, ...]) -> None:
        """Forget what a change of my held set has made untrue."""
        for record in added:
            self.theirs.pop(record, None)
            self.delivered.pop(record[:8], None)
            self.expected.pop(record[:8], None)
        for record in removed:
            self.mine.pop(record, None)
            self.delivered.pop(record[:8], None)

    def forget_not_now(self) -> None:
        """Forget all that was refused for a cause that may have changed."""
        self.quiet_until_ms = self.fruitless_count = 0
        if not self.has_not_now():
            return
        self._not_now_ms = None
        self.pair = None
        self.delivered.clear()
        for refused in (self.mine, self.theirs):
            for record in [record for record, final in refused.items() if not final]:
                del refused[record]

    def has_not_now(self) -> bool:
        """Tell whether anything was refused for a cause that may change."""
        return self._not_now_ms is not None or bool(self.delivered)

    def age(self, now_ms: int) -> None:
        """Forget a "not now" that has become old."""
        if self._not_now_ms is not None and now_ms - self._not_now_ms >= NOT_NOW_MS:
            self.forget_not_now()

    def _refuse(self, refused: dict[RecordId, bool], record: RecordId, final: bool, now_ms: int) -> None:
        refused.pop(record, None)
        refused[record] = final
        trim(refused, REFUSED_MAX)
        if not final and self._not_now_ms is None:
            self._not_now_ms = now_ms


class Conduct:
    """How a town behaves, whichever of its devices calls: each new one would have a clean slate.

    Attributes:
        banned_until_ms: It sent too much that was forged or malformed; left alone until then.
    """

    __slots__ = ("_bad_count", "_bad_ms", "banned_until_ms")

    def __init__(self) -> None:
        self.banned_until_ms = 0
        self._bad_count = 0
        self._bad_ms = -RETRY_MS

    def note_bad(self, now_ms: int) -> None:
        """Count a record that was forged or malformed; an hour without any wipes the slate."""
        if now_ms - self._bad_ms > RETRY_MS:
            self._bad_count = 0
        self._bad_ms = now_ms
        self._bad_count += 1

    def judge(self, now_ms: int) -> bool:
        """Tell whether it is to be left alone from now on, since it sent more than may be."""
        if self._bad_count <= BAD_RECORDS_MAX:
            return False
        self._bad_count = 0
        self.banned_until_ms = now_ms + BAN_S * 1_000
        return True

    def is_clean(self, now_ms: int) -> bool:
        """Tell whether nothing of it is worth remembering any more."""
        return now_ms >= self.banned_until_ms and now_ms - self._bad_ms >= RETRY_MS


class Acquaintance:
    """What is remembered of one device from link to link.

    Attributes:
        known: Ids that it showed us lately.
    """

    __slots__ = (
        "_look_count",
        "_looks_since_ms",
        "device",
        "known",
        "lanes",
    )

    def __init__(self, device: DeviceId) -> None:
        self.device = device
        self.lanes: dict[LaneKey, Lawful] = {}
        self.known: dict[RecordId, None] = {}
        self._look_count = 0
        self._looks_since_ms = 0

    def may_look(self, now_ms: int) -> bool:
        """Count a second look; False if there were as many as an hour may have."""
        if now_ms - self._looks_since_ms > RETRY_MS:
            self._look_count, self._looks_since_ms = 0, now_ms
        self._look_count += 1
        return self._look_count <= LOOKS_MAX

    def lawful(self, key: LaneKey) -> Lawful:
        """Return what differs lawfully in a lane."""
        found = self.lanes.get(key)
        if found is None:
            found = self.lanes[key] = Lawful()
        return found

    def show(self, record: RecordId) -> None:
        """Note that the device has shown that it knows an id."""
        self.known.pop(record, None)
        self.known[record] = None
        trim(self.known, KNOWN_MAX)

    def change(self, key: LaneKey, added: tuple[RecordId, ...], removed: tuple[RecordId, ...]) -> None:
        """Forget what a change of a held set of ours has made untrue."""
        lawful = self.lanes.get(key)
        if lawful is not None:
            lawful.change(added, removed)

    def forget_not_now(self) -> None:
        """Forget in all lanes what was refused for a cause that may have changed."""
        for lawful in self.lanes.values():
            lawful.forget_not_now()

    def has_not_now(self) -> bool:
        """Tell whether anything was refused, in any lane, for a cause that may change."""
        return any(lawful.has_not_now() for lawful in self.lanes.values())


class Recent:
    """Ids that lately entered or left one held set of ours: whole ids for what a snapshot still shows."""

    __slots__ = ("_gone_prefixes", "added", "removed")

    def __init__(self) -> None:
        self.added: dict[bytes, RecordId] = {}
        self.removed: dict[bytes, RecordId] = {}
        self._gone_prefixes: dict[bytes, RecordId] = {}

    def change(self, added: tuple[RecordId, ...], removed: tuple[RecordId, ...]) -> None:
        """Note a change of the held set."""
        for record in added:
            self.added[record[:8]] = record
            self.removed.pop(record[:8], None)
            self._gone_prefixes.pop(record[:5], None)
        for record in removed:
            self.removed[record[:8]] = record
            self._gone_prefixes[record[:5]] = record
            self.added.pop(record[:8], None)
        for noted in (self.added, self.removed, self._gone_prefixes):
            trim(noted, KNOWN_MAX)

    def find_gone(self, prefix: bytes) -> RecordId | None:
        """Return an id that lately left and begins so; prefixes of 5, 8 or 32 bytes."""
        if len(prefix) == 5:
            return self._gone_prefixes.get(prefix)
        return self.removed.get(prefix[:8])


def trim(noted: dict[Any, Any], most: int) -> None:
    """Forget the oldest quarter of what has grown beyond its bound; by one at a time a dict is slow."""
    if len(noted) > most:
        for key in list(islice(noted, len(noted) - most + most // 4)):
            del noted[key]
