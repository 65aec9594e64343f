"""Batches that come in on one link: put together, taken in, acknowledged after the commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.errors import MalformedFrame
from protocol.ids import LaneKey, RecordId
from protocol.limits import BAD_RECORDS_MAX, BATCHES_IN_FLIGHT_MAX
from protocol.wire import PARCEL_WIRE_BYTES_MAX, Ack, Records, open_parcel
from sync.admission import SUPERSEDED, State, Verdict
from sync.events import TakeIn
from sync.line import Line, PeerFault, id_of, is_whole

BAD_CAUSES: Final = frozenset({"malformed", "bad_signature", "limit_exceeded", "body_missing"})
"""Causes that only a faulty or a hostile node brings about."""


@dataclass(slots=True)
class _Batch:
    """A batch on its way into the store; no key for evidence."""

    key: LaneKey | None
    ids: tuple[RecordId | None, ...]


class Parcel:
    """A parcel of which the parts come in one after the other."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, part: bytes, *, last: bool) -> tuple[bytes, ...] | None:
        """Add a part; return the records after the last one.

        Raises:
            PeerFault: Too long, or not a parcel.
        """
        self._bytes += len(part)
        if self._bytes > PARCEL_WIRE_BYTES_MAX or not part:
            raise PeerFault(
                "limit_exceeded", f"a parcel has 1 to {PARCEL_WIRE_BYTES_MAX} bytes, in full parts"
            )
        self._parts.append(part)
        if not last:
            return None
        try:
            return open_parcel(b"".join(self._parts))
        except MalformedFrame as error:
            raise PeerFault(error.code, str(error)) from None


class Inbox:
    """Batches that come in on one link."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._parcel: Parcel | None = None
        self._open: tuple[int, LaneKey | None] | None = None
        self._batches: dict[int, _Batch] = {}
        self._arriving: dict[bytes, RecordId] = {}
        self._last_batch = 0

    @property
    def is_empty(self) -> bool:
        """Tell whether no batch is on its way."""
        return not self._batches and self._parcel is None

    @property
    def arriving_count(self) -> int:
        """Records on their way into the store."""
        return sum(len(batch.ids) for batch in self._batches.values())

    def find(self, short: bytes) -> RecordId | None:
        """Return the whole id of a record on its way into the store."""
        return self._arriving.get(short)

    def take(self, frame: Records, key: LaneKey | None) -> list[RecordId]:
        """Take one part of a batch; return the ids of the batch when it is whole.

        Raises:
            PeerFault: Parts in disorder, too many batches at once, or not a parcel.
        """
        if self._open is None:
            if frame.batch <= self._last_batch or len(self._batches) >= BATCHES_IN_FLIGHT_MAX:
                raise PeerFault("flooding", "batches come in order, and not before earlier ones are taken in")
            self._open = (frame.batch, key)
            self._parcel = Parcel()
            self._last_batch = frame.batch
        assert self._parcel is not None
        if self._open[0] != frame.batch:
            raise PeerFault("malformed_frame", "the parts of two batches are mixed")
        records = self._parcel.add(frame.part, last=frame.last)
        if records is None:
            return []
        self._parcel = None
        key, self._open = self._open[1], None
        ids = tuple(id_of(raw) for raw in records)
        self._batches[frame.batch] = _Batch(key, ids)
        named = [record for record in ids if record is not None]
        for record, raw in zip(ids, records, strict=True):
            if record is not None:
                self._line.acquaintance.show(record)
                if is_whole(raw):
                    self._arriving[record[:8]] = record
        self._line.ask(TakeIn(self._line.link, frame.batch, records))
        return named

    def taken_in(self, number: int, verdicts: tuple[Verdict, ...]) -> None:
        """Acknowledge a batch that is committed.

        Raises:
            PeerFault: Too many of its records were malformed or forged.
        """
        batch = self._batches.pop(number, None)
        if batch is None:
            return
        for record in batch.ids:
            if record is not None:
                self._arriving.pop(record[:8], None)
        dropped: list[int] = []
        not_now: list[int] = []
        for place, (record, verdict) in enumerate(zip(batch.ids, verdicts, strict=True)):
            if _is_final(verdict):
                dropped.append(place)
            elif verdict.state is not State.HELD:
                not_now.append(place)
            self._note(batch.key, record, verdict)
        self._line.send(Ack(number, tuple(dropped), tuple(not_now)))
        self._check_bad()

    def _note(self, key: LaneKey | None, record: RecordId | None, verdict: Verdict) -> None:
        if verdict.cause in BAD_CAUSES:
            self._line.conduct.note_bad(self._line.now_ms)
        if record is None or key is None:
            return
        lawful = self._line.lawful(key)
        if verdict.state is State.HELD:
            lawful.deliver(record, self._line.now_ms)
        else:
            lawful.refuse_theirs(record, final=_is_final(verdict), now_ms=self._line.now_ms)

    def _check_bad(self) -> None:
        if self._line.conduct.judge(self._line.now_ms):
            raise PeerFault("bad_records", f"more than {BAD_RECORDS_MAX} malformed or forged records")


def _is_final(verdict: Verdict) -> bool:
    """Tell whether nothing can change a refusal; what supersedes a record may still lose its right."""
    return verdict.state is State.DROPPED and verdict.cause != SUPERSEDED
