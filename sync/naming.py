"""One lane of a meeting, at the side that began it: from the cells of the other side to ids that explain
its digest.

The lane goes its way through the table below. Cells and digest are of one snapshot, while the held set
goes on changing: what enters or leaves it meanwhile travels by itself, and the next meeting corrects
what slipped between.

* PEELING: the other side's cells come in, mine are taken off, until the difference shows.
* EXPLAINING: what the other side lacks is on its way, what I lack is asked for. When all of it has a
  whole id, `LtHash(mine) - LtHash(only mine) + LtHash(named by the other)` must hash to the digest of
  the other side.
* SALTING: it does not, or the cells never peel: the second look (`salted.py`).
* WAITING, LISTING: the sets are too far apart for cells (`listing.py`); one lane after the other,
  urgent first.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, assert_never

from protocol.ids import LaneKey, RecordId
from protocol.limits import CELL_BYTES, CELLS_KEPT, SHORT_ID_BYTES
from protocol.wire import (
    Buckets,
    Cells,
    Counts,
    Ids,
    KeyedHashes,
    KeyedWant,
    List,
    More,
    Next,
    Stop,
)
from sync.lawful import RACES_MAX, RETRY_MS
from sync.line import Line, PeerFault
from sync.listing import Comparer, Lister
from sync.outbox import Outbox
from sync.salted import Finding, Retry
from sync.sketch import DIFFERENCE_MAX, Decoder, Outcome, cells_from_bytes
from sync.wants import Wants

BEYOND_CELLS_MAX: Final = 4_096
"""Cells beyond the first run after which nothing is expected of plain cells any more."""
BEYOND_CELLS: Final = 256
"""The same for a small first run, which is doubled besides: four times the error of the estimate."""
QUIET_AFTER: Final = 3
"""So many meetings in a row may move the same records for nothing; then the lane rests for a while."""
QUIET_MS: Final = 60_000
"""How long at first; doubles each time."""
QUIET_MS_MAX: Final = 3_600_000
"""And at most."""


class LaneState(Enum):
    """How far a lane has come in a meeting."""

    COMPARING = "comparing"
    PEELING = "peeling"
    EXPLAINING = "explaining"
    WAITING = "waiting"
    LISTING = "listing"
    SALTING = "salting"
    LEVEL = "level"
    MOVED = "moved"
    FAILED = "failed"


class Turn(Enum):
    """What moves a lane on."""

    SAME = "digests equal or known"
    SKETCHED = "cells came"
    DECODED = "the difference shows"
    FAR = "too far apart"
    STALLED = "the cells do not peel"
    DUE = "its turn"
    LISTED = "all ranges dealt with"
    EXPLAINED = "the digest is explained"
    DELIVERED = "explained, and records moved"
    UNEXPLAINED = "the digest is not explained"
    RACED = "something left meanwhile"
    LIE = "nothing explains it"
    BARRED = "looked at too often within the hour"


LANE_MOVES: Final[dict[tuple[LaneState, Turn], LaneState]] = {
    (LaneState.COMPARING, Turn.SAME): LaneState.LEVEL,
    (LaneState.COMPARING, Turn.SKETCHED): LaneState.PEELING,
    (LaneState.COMPARING, Turn.FAR): LaneState.WAITING,
    (LaneState.PEELING, Turn.DECODED): LaneState.EXPLAINING,
    (LaneState.PEELING, Turn.FAR): LaneState.WAITING,
    (LaneState.PEELING, Turn.STALLED): LaneState.SALTING,
    (LaneState.PEELING, Turn.BARRED): LaneState.FAILED,
    (LaneState.EXPLAINING, Turn.EXPLAINED): LaneState.LEVEL,
    (LaneState.EXPLAINING, Turn.DELIVERED): LaneState.MOVED,
    (LaneState.EXPLAINING, Turn.RACED): LaneState.MOVED,
    (LaneState.EXPLAINING, Turn.UNEXPLAINED): LaneState.SALTING,
    (LaneState.EXPLAINING, Turn.BARRED): LaneState.FAILED,
    (LaneState.WAITING, Turn.DUE): LaneState.LISTING,
    (LaneState.LISTING, Turn.LISTED): LaneState.MOVED,
    (LaneState.SALTING, Turn.EXPLAINED): LaneState.LEVEL,
    (LaneState.SALTING, Turn.DELIVERED): LaneState.MOVED,
    (LaneState.SALTING, Turn.RACED): LaneState.MOVED,
    (LaneState.SALTING, Turn.LIE): LaneState.FAILED,
    (LaneState.SALTING, Turn.BARRED): LaneState.FAILED,
}
"""Every lawful move of a lane; `docs/conversation.md` draws it."""

ENDED: Final = frozenset({LaneState.LEVEL, LaneState.MOVED, LaneState.FAILED})
"""States that a lane does not leave."""


class LaneMeeting:
    """One lane of a meeting, at the side that began it."""

    def __init__(self, line: Line, place: int, key: LaneKey, outbox: Outbox, wants: Wants) -> None:
        self.state = LaneState.COMPARING
        self.has_moved = False
        self.key = key
        self.mine = line.snapshot(key)
        self._told = self.mine.digest
        self._line = line
        self._place = place
        self._outbox = outbox
        self._wants = wants
        self._their_count = 0
        self._their_digest = b""
        self._decoder: Decoder | None = None
        self._first_run: int | None = None
        self._sum = self.mine.lthash
        self._unnamed_mine: set[bytes] = set()
        self._unnamed_theirs: set[bytes] = set()
        self._wants_open = 0
        self._listing: Lister | Comparer | None = None
        self._retry: Retry | None = None

    def move(self, turn: Turn) -> None:
        """Move on as the table says."""
        self.state = LANE_MOVES[self.state, turn]
        self._line.progress_ms = self._line.now_ms

    @property
    def waits_for_frame(self) -> bool:
        """Tell whether the other side owes an answer that it can give without its store."""
        return self.state in (LaneState.COMPARING, LaneState.PEELING)

    def sketch(self, count: int, digest: bytes, cells: bytes) -> None:
        """Take the count, the digest and the first cells of the other side.

        Raises:
            PeerFault: Not asked for.
        """
        self._expect(LaneState.COMPARING)
        # My snapshot is taken only now: what arrived while the digests travelled is no difference.
        self.mine = self._line.snapshot(self.key)
        self._their_count, self._their_digest = count, digest
        lawful = self._line.lawful(self.key)
        pair = (self.mine.digest, digest)
        if (
            digest == self.mine.digest
            or pair == lawful.pair
            or (pair == lawful.met and self._line.now_ms < lawful.quiet_until_ms)
        ):
            self.move(Turn.SAME)
        elif abs(count - self.mine.count) > DIFFERENCE_MAX:
            self.move(Turn.FAR)
        else:
            self.move(Turn.SKETCHED)
            remembered_mine = [record[:SHORT_ID_BYTES] for record in lawful.mine]
            remembered_theirs = [record[:SHORT_ID_BYTES] for record in lawful.theirs]
            self._decoder = Decoder(
                self.mine.cells, remembered_mine=remembered_mine, remembered_theirs=remembered_theirs
            )
            if self._take(cells) is Outcome.MORE:
                self._line.send(Counts(self._place, int(self.key[1]), self.mine.counts))

    def cells(self, frame: Cells) -> None:
        """Take more cells; such as were sent before STOP arrived are passed over."""
        if self.state is LaneState.SALTING and self._retry is not None:
            self._retry.cells(frame)
        if self.state is not LaneState.PEELING:
            return
        assert self._decoder is not None
        if frame.first != self._decoder.taken:
            raise PeerFault("out_of_turn", f"cells from {frame.first} on; {self._decoder.taken} are due")
        size = len(frame.cells) // CELL_BYTES
        if frame.first + size > CELLS_KEPT:
            raise PeerFault("flooding", f"more than {CELLS_KEPT} cells")
        outcome = self._take(frame.cells)
        if outcome is not Outcome.MORE:
            self._line.send(Stop(self._place, int(self.key[1])))
        elif self._decoder.taken >= self._cells_max(self._first_run):
            self._line.send(Stop(self._place, int(self.key[1])))
            self._look_again(Turn.STALLED)
        elif not frame.last:
            pass
        elif self._first_run is None:
            # One part is on its way unasked.
            self._first_run = self._decoder.taken
        else:
            self._line.send(More(self._place, int(self.key[1])))

    def far(self) -> None:
        """Note that the other side estimates too great a difference for cells.

        Raises:
            PeerFault: It was not asked.
        """
        self._expect(LaneState.PEELING)
        self._decoder = None
        self.move(Turn.FAR)

    def begin_listing(self) -> None:
        """List, or have listed: whichever side has less."""
        self.move(Turn.DUE)
        self.has_moved = True
        if self._line.snapshot(self.key).count <= self._their_count:
            self._listing = Lister(self._line, self._place, self.key, self._listed)
        else:
            self._line.send(List(self._place, int(self.key[1])))
            want = self._wants.by_short(self._place, self.key)
            self._listing = Comparer(self._line, self._place, self.key, self._outbox, want, self._listed)

    def ids(self, frame: Ids) -> None:
        """Take ids that the other side lists.

        Raises:
            PeerFault: Not asked for.
        """
        if not isinstance(self._listing, Comparer):
            raise PeerFault("out_of_turn", "nobody asked for ids")
        self._listing.ids(frame)

    def next(self, frame: Next) -> None:
        """Go on listing.

        Raises:
            PeerFault: We list nothing.
        """
        if not isinstance(self._listing, Lister):
            raise PeerFault("out_of_turn", "nothing is listed here")
        self._listing.next(frame)

    def buckets(self, frame: Buckets) -> None:
        """Take bucket hashes of the second look."""
        if self._retry is not None and self.state is LaneState.SALTING:
            self._retry.buckets(frame)

    def hashes(self, frame: KeyedHashes) -> None:
        """Take hashes of the buckets that are looked into."""
        if self._retry is not None and self.state is LaneState.SALTING:
            self._retry.hashes(frame)

    def name_mine(self, record: RecordId) -> None:
        """Note the whole id of a record that was sent to the other side."""
        short = record[:SHORT_ID_BYTES]
        if short in self._unnamed_mine:
            self._unnamed_mine.discard(short)
            self._sum.remove(record)

    def name_theirs(self, record: RecordId) -> None:
        """Note the whole id of a record that the other side sent."""
        short = record[:SHORT_ID_BYTES]
        if short in self._unnamed_theirs:
            self._unnamed_theirs.discard(short)
            self._sum.add(record)
        if self._retry is not None:
            self._retry.name(record)

    def pump(self) -> None:
        """Go on as far as what waited for others allows."""
        if self.state is LaneState.EXPLAINING:
            self._try_end()
        elif self.state is LaneState.LISTING and isinstance(self._listing, Comparer):
            self._listing.pump()

    @staticmethod
    def _cells_max(first_run: int | None) -> int:
        if first_run is None:
            return CELLS_KEPT
        return min(CELLS_KEPT, first_run + min(BEYOND_CELLS_MAX, first_run + BEYOND_CELLS))

    def _expect(self, state: LaneState) -> None:
        if self.state is not state:
            raise PeerFault("out_of_turn", f"not expected while {self.state.value}")

    def _take(self, cells: bytes) -> Outcome:
        assert self._decoder is not None
        outcome = self._decoder.take(cells_from_bytes(cells))
        match outcome:
            case Outcome.DECODED:
                self.move(Turn.DECODED)
                self._exchange(self._decoder)
            case Outcome.LIE:
                self._look_again(Turn.STALLED)
            case Outcome.MORE:
                pass
            case _:
                assert_never(outcome)
        return outcome

    def _exchange(self, decoder: Decoder) -> None:
        """Send what the other side lacks, ask for what I lack, and begin to explain the digest."""
        self._sum = self.mine.lthash.copy()
        lacking = self._name_known_mine(decoder.only_mine)
        self._unnamed_mine = set(lacking)
        self._outbox.push(self.key, lacking)
        wanted = self._name_known_theirs(decoder.only_theirs)
        self._unnamed_theirs = set(wanted)
        self._decoder = None
        if wanted:
            self._wants_open += 1
            self._wants.by_short(self._place, self.key)(wanted, self._delivered)
        self._try_end()

    def _name_known_mine(self, shorts: list[bytes]) -> list[bytes]:
        """Take out of the sum what only I hold as far as whole ids are at hand; return the rest."""
        refused = {record[:SHORT_ID_BYTES]: record for record in self._line.lawful(self.key).mine}
        lacking: list[bytes] = []
        for short in sorted(shorts):
            record = refused.get(short)
            if record is None:
                self.has_moved = True
                record = self._outbox.find(short) or self._line.find_gone(self.key, short)
            if record is None:
                lacking.append(short)
            else:
                self._sum.remove(record)
        return lacking

    def _name_known_theirs(self, shorts: list[bytes]) -> list[bytes]:
        """Add to the sum what only the other side holds, likewise; return the rest."""
        lawful = self._line.lawful(self.key)
        refused = {record[:SHORT_ID_BYTES]: record for record in lawful.theirs}
        wanted: list[bytes] = []
        for short in sorted(shorts):
            record = refused.get(short) or lawful.delivered.get(short)
            if record is None:
                self.has_moved = True
                record = self._line.find_expected(self.key, short) or self._line.find_added(self.key, short)
            if record is None:
                wanted.append(short)
            else:
                self._sum.add(record)
        return wanted

    def _delivered(self) -> None:
        self._wants_open -= 1
        self._line.progress_ms = self._line.now_ms
        self.pump()

    def _try_end(self) -> None:
        """End, or look again, once all that differs has a whole id or cannot get one."""
        if self._wants_open or (self._unnamed_mine and self._outbox.is_pushing(self.key)):
            return
        lawful = self._line.lawful(self.key)
        if self._unnamed_mine or self._unnamed_theirs:
            # It left one of the sets since the snapshot, or somebody lies: the next meeting shows.
            lawful.race_count += 1
            if lawful.race_count <= RACES_MAX:
                self.move(Turn.RACED)
            else:
                self._look_again(Turn.UNEXPLAINED)
        elif self._sum.digest() != self._their_digest:
            self._look_again(Turn.UNEXPLAINED)
        else:
            lawful.race_count = 0
            self.move(Turn.DELIVERED if self.has_moved else Turn.EXPLAINED)

    def _look_again(self, turn: Turn) -> None:
        lawful = self._line.lawful(self.key)
        if self._line.now_ms < lawful.retry_at_ms or not self._line.acquaintance.may_look(self._line.now_ms):
            self.move(Turn.BARRED)
            return
        self._decoder = None
        self.move(turn)

        def want(shorts: bytes) -> None:
            self._wants.ask(
                KeyedWant(self._place, int(self.key[1]), shorts),
                len(shorts) // SHORT_ID_BYTES,
                self._retry_done,
            )

        self._retry = Retry(
            self._line, self._place, self.key, self._outbox, self._their_count, want, self._retried
        )

    def _retry_done(self, gone: tuple[RecordId, ...]) -> None:
        if self._retry is not None and self.state is LaneState.SALTING:
            self._retry.done(gone)

    def _retried(self, finding: Finding) -> None:
        if self.state is not LaneState.SALTING:
            return
        lawful = self._line.lawful(self.key)
        assert self._retry is not None
        match finding:
            case Finding.EXPLAINED:
                lawful.race_count = 0
                is_level = self._retry.is_level and not self.has_moved
                self.move(Turn.EXPLAINED if is_level else Turn.DELIVERED)
            case Finding.RACED:
                self.move(Turn.RACED)
            case Finding.LIE:
                lawful.race_count = 0
                lawful.retry_at_ms = self._line.now_ms + RETRY_MS
                self.move(Turn.LIE)
            case Finding.REFUSED:
                lawful.retry_at_ms = self._line.now_ms + RETRY_MS
                self.move(Turn.BARRED)
            case _:
                assert_never(finding)
        self._retry = None

    def _listed(self) -> None:
        self._listing = None
        self.move(Turn.LISTED)

    def remember(self) -> None:
        """Note at the end what the next meeting should know."""
        lawful = self._line.lawful(self.key)
        pair = (self.mine.digest, self._their_digest)
        if self.state is LaneState.LEVEL and self._their_digest:
            if pair != lawful.met:
                lawful.fruitless_count = 0
            if self._line.now_ms >= lawful.quiet_until_ms or pair != lawful.met:
                lawful.pair = pair
        elif self.state is LaneState.MOVED:
            lawful.fruitless_count = lawful.fruitless_count + 1 if pair == lawful.met else 0
            lawful.met = pair
            if lawful.fruitless_count >= QUIET_AFTER:
                wait_ms = QUIET_MS << min(10, lawful.fruitless_count - QUIET_AFTER)
                lawful.quiet_until_ms = self._line.now_ms + min(QUIET_MS_MAX, wait_ms)

    @property
    def is_agreed(self) -> bool:
        """Tell whether the lane differs, lawfully and fully explained, from what DIGEST said."""
        return self.state is LaneState.LEVEL and bool(self._their_digest) and self._told == self.mine.digest
