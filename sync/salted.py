"""The second look at a lane whose digests the cells did not explain: keyed cells inside differing buckets.

Somebody may have chosen records whose short ids collide or whose cells never peel. So both sides first
compare a hash of the whole ids of each first byte, and then exchange cells of the buckets that differ,
in which short ids, checksums and places are keyed hashes of the whole ids under a salt from both sides:
nobody could choose for it. What this does not explain either is a lie of the other side, or of our
store; it is shown to the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

from protocol.ids import LaneKey, RecordId
from protocol.limits import CELL_BYTES, RETRY_CELLS_MAX, SHORT_ID_BYTES
from protocol.wire import Buckets, Cells, Keyed, KeyedHashes, KeyedWant, More, Salt, Stop
from sync.chores import Steps
from sync.line import IDS_LOADED_MAX, Line, PeerFault
from sync.listing import span_end
from sync.outbox import NO_ID, Outbox
from sync.sketch import (
    BUCKETS,
    Coding,
    Decoder,
    Outcome,
    bucket_hash,
    cells_from_bytes,
    cells_to_bytes,
)

SALT_HALF_BYTES: Final = 16
"""What each side gives to the salt."""
HASH_BYTES: Final = 16
"""Hash of one bucket."""
RETRY_IDS_MAX: Final = 8_192
"""Ids of one retry; of greater sets some of the differing buckets are looked into at a time."""
STEP_IDS: Final = 128
"""Ids that are keyed in one turn: about 10 ms, of which a second look takes as many as it needs."""
KEYED_CELLS_FIRST: Final = 128
"""Keyed cells that are sent at first; each further run is a quarter of what was sent."""
FRAME_CELLS_MAX: Final = 4_600
"""Cells of one frame."""
WANT_SHORTS_MAX: Final = 7_000
"""Short ids of one frame."""


class Finding(Enum):
    """What a retry came to."""

    EXPLAINED = "explained"
    RACED = "raced"
    LIE = "lie"
    REFUSED = "refused"


def _hash_all(line: Line, key: LaneKey, then: Callable[[list[bytes]], None]) -> Steps:
    """Hash all ids of a held set by first byte, a span at a time."""
    hashes: list[bytes] = []
    while (first := len(hashes)) < BUCKETS:
        span = range(first, span_end(first, line.snapshot(key).count, IDS_LOADED_MAX))
        ids = yield tuple(span)
        hashes += hash_buckets(ids, span)
    then(hashes)


class _Keyed:
    """The ids of some buckets under a salt: by their short ids, and poured into cells."""

    def __init__(self, coding: Coding) -> None:
        self.ids: dict[bytes, RecordId] = {}
        self.cells = [0] * RETRY_CELLS_MAX
        self.hashes: list[bytes] = []
        self._coding = coding

    def read(self, buckets: list[int], then: Callable[[_Keyed], None]) -> Steps:
        """Read these buckets at one moment, then key their ids a few at a time."""
        found = yield tuple(buckets)
        self.hashes = hash_buckets(found, buckets)
        for start in range(0, len(found), STEP_IDS):
            yield None
            fresh = {self._coding.short(record): record for record in found[start : start + STEP_IDS]}
            self._coding.pour(self.cells, [short for short in fresh if short not in self.ids], 1)
            self.ids |= fresh
        then(self)


def hash_buckets(ids: Iterable[bytes], buckets: range | list[int]) -> list[bytes]:
    """Return the hash of the ids of each of these first bytes."""
    by_bucket: dict[int, list[bytes]] = {bucket: [] for bucket in buckets}
    for record in ids:
        by_bucket[record[0]].append(record)
    return [bucket_hash(found) for found in by_bucket.values()]


def buckets_to_bits(buckets: list[int]) -> bytes:
    """Return the 32 bytes in which bit b (from the least of the last byte) stands for bucket b."""
    return sum(1 << bucket for bucket in buckets).to_bytes(32, "big")


def bits_to_buckets(bits: bytes) -> list[int]:
    """Return the buckets of these bits, ascending."""
    number = int.from_bytes(bits, "big")
    return [bucket for bucket in range(BUCKETS) if number >> bucket & 1]


class Retry:
    """The side that found a difference unexplained.

    Args:
        their_count: How many ids the other side holds.
        want: Sends a KEYED WANT and calls back with the ids that are gone.
        on_end: Told what it came to.

    Attributes:
        is_level: All that differs, in all buckets, differs lawfully.
    """

    def __init__(
        self,
        line: Line,
        federation: int,
        key: LaneKey,
        outbox: Outbox,
        their_count: int,
        want: Callable[[bytes], None],
        on_end: Callable[[Finding], None],
    ) -> None:
        self._line = line
        self._federation = federation
        self._key = key
        self._outbox = outbox
        self._their_count = their_count
        self._want = want
        self._on_end = on_end
        self._salt = line.rng.randbytes(SALT_HALF_BYTES)
        self._mine: list[bytes] | None = None
        self._theirs: list[bytes] | None = None
        self._chosen: list[int] = []
        self._is_whole = False
        self._ids: dict[bytes, RecordId] | None = None
        self._hashes: list[bytes] | None = None
        self._coding: Coding | None = None
        self._decoder: Decoder | None = None
        self._early: list[Cells] = []
        self._unnamed: set[bytes] = set()
        self._named: list[RecordId] = []
        self._wants_open = 0
        self.is_level = False
        line.send(Salt(federation, int(key[1]), self._salt))
        line.chores.begin(self, key, _hash_all(line, key, self._hashed))

    def buckets(self, frame: Buckets) -> None:
        """Take the hashes of the other side's buckets.

        Raises:
            PeerFault: They have come already.
        """
        if self._theirs is not None:
            raise PeerFault("out_of_turn", "bucket hashes come once")
        size = HASH_BYTES
        self._theirs = [frame.hashes[start : start + size] for start in range(0, BUCKETS * size, size)]
        self._coding = Coding(self._salt + frame.salt)
        self._choose()

    def hashes(self, frame: KeyedHashes) -> None:
        """Take the hashes of the buckets that are looked into; none at all: it will not look now.

        Raises:
            PeerFault: Not as many as asked for, or not asked for.
        """
        if self._theirs is None and not frame.hashes:
            self._end(Finding.REFUSED)
            return
        if (
            not self._chosen
            or self._hashes is not None
            or len(frame.hashes) != HASH_BYTES * len(self._chosen)
        ):
            raise PeerFault("out_of_turn", "these bucket hashes were not asked for")
        size = HASH_BYTES
        self._hashes = [frame.hashes[start : start + size] for start in range(0, len(frame.hashes), size)]

    def cells(self, frame: Cells) -> None:
        """Take keyed cells; early ones wait for the own ids."""
        if self._hashes is None or self._unnamed or self._wants_open:
            return
        if self._decoder is None:
            if len(self._early) < 4:
                self._early.append(frame)
            return
        if frame.first != self._decoder.taken:
            return
        if frame.first + len(frame.cells) // CELL_BYTES > RETRY_CELLS_MAX:
            self._end(Finding.LIE)
            return
        outcome = self._decoder.take(cells_from_bytes(frame.cells))
        if outcome is Outcome.DECODED:
            self._line.send(Stop(self._federation, int(self._key[1])))
            self._explain(self._decoder)
        elif outcome is Outcome.LIE or self._decoder.taken >= RETRY_CELLS_MAX:
            self._end(Finding.LIE)
        elif frame.last:
            self._line.send(More(self._federation, int(self._key[1])))

    def name(self, record: RecordId) -> None:
        """Note the whole id of a record that the other side sent."""
        if self._coding is not None and self._unnamed:
            short = self._coding.short(record)
            if short in self._unnamed:
                self._unnamed.discard(short)
                self._named.append(record)

    def done(self, gone: tuple[RecordId, ...]) -> None:
        """Note the end of one KEYED WANT."""
        for record in gone:
            self.name(record)
        self._wants_open -= 1
        self._try_end()

    def _hashed(self, hashes: list[bytes]) -> None:
        self._mine = hashes
        self._choose()

    def _choose(self) -> None:
        if self._mine is None or self._theirs is None:
            return
        pairs = zip(self._mine, self._theirs, strict=True)
        differing = [bucket for bucket, (mine, theirs) in enumerate(pairs) if mine != theirs]
        if not differing:
            self._end(Finding.RACED)
            return
        count = max(1, self._their_count, self._line.snapshot(self._key).count)
        self._chosen = differing[: max(1, RETRY_IDS_MAX * BUCKETS // count)]
        self._is_whole = self._chosen == differing
        self._line.send(Keyed(self._federation, int(self._key[1]), buckets_to_bits(self._chosen)))
        assert self._coding is not None
        keyed = _Keyed(self._coding)
        self._line.chores.begin(self, self._key, keyed.read(self._chosen, self._keyed))

    def _end(self, finding: Finding) -> None:
        self._line.chores.end(self)
        self._on_end(finding)

    def _keyed(self, keyed: _Keyed) -> None:
        assert self._coding is not None
        self._ids = keyed.ids
        self._decoder = Decoder(keyed.cells, self._coding)
        early, self._early = self._early, []
        for frame in early:
            self.cells(frame)

    def _explain(self, decoder: Decoder) -> None:
        assert self._coding is not None and self._ids is not None
        lawful = self._line.lawful(self._key)
        lacking: list[bytes] = []
        for short in decoder.only_mine:
            record = self._ids.pop(short, None)
            if record is None:
                self._end(Finding.LIE)
                return
            if record not in lawful.mine:
                lacking.append(record)
        self._outbox.push(self._key, lacking)
        known = (*lawful.theirs, *lawful.delivered.values())
        refused = {self._coding.short(record): record for record in known}
        self._unnamed = set(decoder.only_theirs)
        for short in decoder.only_theirs:
            if short in refused:
                self.name(refused[short])
        wanted = sorted(self._unnamed)
        self.is_level = self._is_whole and not lacking and not wanted
        for start in range(0, len(wanted), WANT_SHORTS_MAX):
            self._wants_open += 1
            self._want(b"".join(wanted[start : start + WANT_SHORTS_MAX]))
        self._try_end()

    def _try_end(self) -> None:
        if self._wants_open:
            return
        if self._unnamed:
            self._end(Finding.RACED)
            return
        assert self._ids is not None
        found = tuple(self._ids.values()) + tuple(self._named)
        if any(record[0] not in self._chosen for record in found):
            self._end(Finding.LIE)
        else:
            explained = hash_buckets(found, self._chosen) == self._hashes
            self._end(Finding.EXPLAINED if explained else Finding.LIE)


class RetryAnswer:
    """The side that answers a retry, once a meeting."""

    def __init__(self, line: Line, federation: int, key: LaneKey, outbox: Outbox, frame: Salt) -> None:
        self._line = line
        self._federation = federation
        self._key = key
        self._outbox = outbox
        self._salt = line.rng.randbytes(SALT_HALF_BYTES)
        self._coding = Coding(frame.salt + self._salt)
        self._is_refused = not line.acquaintance.may_look(line.now_ms)
        self._is_ready = False
        self._is_keyed = False
        self._ids: dict[bytes, RecordId] = {}
        self._cells: list[int] = []
        self._sent = 0
        if self._is_refused:
            line.send(KeyedHashes(federation, int(key[1]), b""))
        else:
            line.chores.begin(self, key, _hash_all(line, key, self._hashed))

    def end(self) -> None:
        """Let go of what is still being read for it."""
        self._line.chores.end(self)

    def keyed(self, frame: Keyed) -> None:
        """Send keyed cells of some buckets.

        Raises:
            PeerFault: Out of turn, or more buckets than a retry looks into.
        """
        buckets = bits_to_buckets(frame.buckets)
        if not self._is_ready or self._is_keyed or not buckets:
            raise PeerFault("out_of_turn", "keyed cells are asked for once, after the hashes")
        expected = self._line.snapshot(self._key).count * len(buckets) // BUCKETS
        if len(buckets) > 1 and expected > 2 * RETRY_IDS_MAX:
            raise PeerFault("flooding", "a retry looks into fewer buckets of a set of this size")
        self._is_keyed = True
        self._line.chores.begin(self, self._key, _Keyed(self._coding).read(buckets, self._loaded))

    def more(self) -> None:
        """Send one more run of cells, as long as there are any."""
        if self._cells and self._sent < RETRY_CELLS_MAX:
            self._send(max(KEYED_CELLS_FIRST, self._sent // 4))

    def stop(self) -> None:
        """Send no more cells."""
        self._cells = []

    def want(self, frame: KeyedWant) -> None:
        """Send the records of these keyed short ids."""
        size = SHORT_ID_BYTES
        shorts = [frame.shorts[start : start + size] for start in range(0, len(frame.shorts), size)]
        self._outbox.want(self._key, [self._ids.get(short, NO_ID) for short in shorts])

    def _hashed(self, hashes: list[bytes]) -> None:
        self._is_ready = True
        self._line.send(Buckets(self._federation, int(self._key[1]), self._salt, b"".join(hashes)))

    def _loaded(self, keyed: _Keyed) -> None:
        self._line.send(KeyedHashes(self._federation, int(self._key[1]), b"".join(keyed.hashes)))
        self._ids, self._cells = keyed.ids, keyed.cells
        self._send(KEYED_CELLS_FIRST)

    def _send(self, count: int) -> None:
        end = min(RETRY_CELLS_MAX, self._sent + min(count, FRAME_CELLS_MAX))
        blob = cells_to_bytes(self._cells[self._sent : end])
        self._line.send(Cells(self._federation, int(self._key[1]), self._sent, True, blob))
        self._sent = end
