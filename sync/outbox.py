"""What waits to go out on one link, and in which order.

The urgent lane first; in a lane what is new, then what was asked for, then what a meeting found
missing. Only the beginnings of ids wait here. Records are read from the store a batch at a time, while
fewer than two batches are unacknowledged, so a slow link costs no memory. Whether the other town may
read a lane is asked again at the moment of sending. WANTs are answered in their order; each ends with
DONE, which names what is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from protocol.ids import FederationId, LaneKey, RecordId
from protocol.limits import BATCH_BYTES_MAX, BATCH_RECORDS_MAX, BATCHES_IN_FLIGHT_MAX, OUTBOX_IDS_MAX
from protocol.wire import EVIDENCE, Ack, Done, Records, cut_parcel, pack_parcel
from sync.line import Line, PeerFault, Then, id_of

LOAD_PREFIXES_MAX: Final = 512
"""Records asked of the store at once; about a batch of ordinary ones."""
WANTED_MAX: Final = 131_072
"""Records that the other side may want at once: both halves of the greatest decodable difference."""
JOBS_MAX: Final = 64
"""WANTs of one lane that are not yet answered."""
GONE_MAX: Final = 1_800
"""Ids that one DONE can name."""
NO_ID: Final = RecordId(bytes(32))
"""Stands for an id that is not known; no record has it."""


@dataclass(slots=True)
class _Job:
    """One WANT that is being answered."""

    left: int
    gone: list[RecordId] = field(default_factory=list)


@dataclass(slots=True)
class _Queue:
    """What waits in one lane. `again`: what a reading left over, whatever it was; goes first."""

    live: dict[bytes, _Job | None] = field(default_factory=dict)
    wanted: dict[bytes, _Job | None] = field(default_factory=dict)
    todo: dict[bytes, _Job | None] = field(default_factory=dict)
    again: dict[bytes, _Job | None] = field(default_factory=dict)
    jobs: deque[_Job] = field(default_factory=deque)
    loading: int = 0

    @property
    def is_over(self) -> bool:
        """Tell whether nothing of it is left to do."""
        return not (self.loading or self.jobs or self.count())

    def count(self) -> int:
        return len(self.live) + len(self.wanted) + len(self.todo) + len(self.again)

    def take(self, most: int) -> dict[bytes, _Job | None]:
        """Take out what goes next."""
        taken: dict[bytes, _Job | None] = {}
        for waiting in (self.again, self.live, self.wanted, self.todo):
            for prefix in list(islice(waiting, most - len(taken))):
                taken[prefix] = waiting.pop(prefix)
        return taken


@dataclass(slots=True)
class _Flight:
    """A batch that was sent and not yet acknowledged; no key for evidence, and `then` once it is."""

    key: LaneKey | None
    ids: list[RecordId]
    then: Then | None = None


class Outbox:
    """What waits to go out on one link.

    Args:
        place: Gives the number of a federation on this link while its lanes may be told to the other side.
        on_sent: Told of each id of a batch as it is sent.
    """

    def __init__(
        self,
        line: Line,
        place: Callable[[FederationId], int | None],
        on_sent: Callable[[LaneKey, RecordId], None],
    ) -> None:
        self._line = line
        self._place = place
        self._on_sent = on_sent
        self._queues: dict[LaneKey, _Queue] = {}
        self._evidence: deque[tuple[tuple[bytes, ...], Then]] = deque()
        self._flights: dict[int, _Flight] = {}
        self._flying: dict[bytes, RecordId] = {}
        self._loading = 0
        self._batch = 0

    @property
    def waiting_count(self) -> int:
        """Records known to wait for the other side on this link, those in flight included."""
        waiting = sum(queue.count() + queue.loading for queue in self._queues.values())
        return waiting + sum(len(flight.ids) for flight in self._flights.values())

    @property
    def is_empty(self) -> bool:
        """Tell whether all is sent and acknowledged and no WANT is open."""
        return not (self._flights or self._loading or self._evidence) and not any(
            queue.count() or queue.jobs for queue in self._queues.values()
        )

    def find(self, short: bytes) -> RecordId | None:
        """Return the whole id of a record that is in flight to the other side."""
        return self._flying.get(short)

    def is_pushing(self, key: LaneKey) -> bool:
        """Tell whether anything of a lane still waits to be read and sent."""
        queue = self._queues.get(key)
        return queue is not None and bool(queue.count() or queue.loading)

    def todo_count(self, key: LaneKey) -> int:
        """Return how much of what a meeting found missing still waits in a lane."""
        queue = self._queues.get(key)
        return len(queue.todo) if queue is not None else 0

    def push_live(self, key: LaneKey, ids: Iterable[RecordId]) -> bool:
        """Let new records go out; False if too many wait, which are then forgotten: meet again instead."""
        queue = self._queue(key)
        queue.live.update(dict.fromkeys(ids))
        if len(queue.live) <= OUTBOX_IDS_MAX:
            return True
        queue.live.clear()
        return False

    def push(self, key: LaneKey, prefixes: Iterable[bytes]) -> None:
        """Let records go out that a meeting found missing at the other side."""
        queue = self._queue(key)
        going = {record[:8] for record in queue.live}
        queue.todo.update((prefix, None) for prefix in prefixes if prefix not in going)

    def want(self, key: LaneKey, prefixes: Sequence[bytes]) -> None:
        """Answer a WANT.

        Raises:
            PeerFault: Nothing is wanted, or more at once than a meeting can show.
        """
        if not prefixes:
            raise PeerFault("malformed_frame", "a WANT names what is wanted")
        queue = self._queue(key)
        if len(queue.jobs) >= JOBS_MAX:
            raise PeerFault("flooding", f"more than {JOBS_MAX} wants are open in one lane")
        if sum(len(each.wanted) for each in self._queues.values()) + len(prefixes) > WANTED_MAX:
            raise PeerFault("flooding", f"more than {WANTED_MAX} records are wanted at once")
        # What is in flight was sent before this answer; what is new goes out as part of it.
        flying = {short[:5] for short in self._flying}
        fresh = [
            prefix
            for prefix in dict.fromkeys(prefixes)
            if prefix not in flying and prefix not in queue.wanted and prefix not in queue.again
        ]
        wanted = set(fresh)
        for record in [record for record in queue.live if record[:5] in wanted]:
            del queue.live[record]
        job = _Job(left=len(fresh))
        queue.wanted.update(dict.fromkeys(fresh, job))
        queue.jobs.append(job)
        self._end_jobs(key, queue)

    def present(self, records: tuple[bytes, ...], then: Then) -> None:
        """Let evidence go out, before anything else; go on once it is taken in at the other side."""
        if records:
            self._evidence.append((records, then))

    def forget(self, federation: FederationId) -> None:
        """Forget all that waits in the lanes of a federation that is not told to the other side any more."""
        for key in [key for key in self._queues if key[0] == federation]:
            del self._queues[key]

    def fill(self) -> None:
        """Ask the store for what goes next, as far as the batches in flight allow."""
        while (self._evidence or self._queues) and len(self._flights) + self._loading < BATCHES_IN_FLIGHT_MAX:
            if self._evidence:
                records, after = self._evidence.popleft()
                self._send(None, EVIDENCE, records, [id_of(raw) or NO_ID for raw in records], after)
                continue
            if not self._load_next():
                return

    def acknowledged(self, ack: Ack) -> None:
        """Note that a batch is committed at the other side, or refused in part.

        Raises:
            PeerFault: No such batch or place was sent.
        """
        flight = self._flights.pop(ack.batch, None)
        if flight is None:
            raise PeerFault("unknown_batch", f"batch {ack.batch} was not sent or is acknowledged already")
        for record in flight.ids:
            self._flying.pop(record[:8], None)
        for places, final in ((ack.dropped, True), (ack.not_now, False)):
            for place in places:
                if place >= len(flight.ids):
                    raise PeerFault("unknown_batch", f"batch {ack.batch} has no place {place}")
                if flight.key is not None:
                    lawful = self._line.lawful(flight.key)
                    lawful.refuse_mine(flight.ids[place], final=final, now_ms=self._line.now_ms)
        if flight.then is not None:
            flight.then()

    def _queue(self, key: LaneKey) -> _Queue:
        return self._queues.setdefault(key, _Queue())

    def _load_next(self) -> bool:
        """Begin one reading; False if nothing waits."""
        line = self._line
        places = {key: self._place(key[0]) for key, queue in self._queues.items() if queue.count()}
        for key in sorted(places, key=lambda key: (key[1], places[key] or 0, key[0])):
            queue = self._queues[key]
            if places[key] is None:
                continue
            asked = queue.take(LOAD_PREFIXES_MAX)
            queue.loading += len(asked)
            self._loading += 1

            def then(
                records: tuple[bytes, ...],
                more: bool,
                key: LaneKey = key,
                queue: _Queue = queue,
                asked: dict[bytes, _Job | None] = asked,
            ) -> None:
                self._loaded(key, queue, asked, records, more)

            line.load(key, tuple(asked), BATCH_BYTES_MAX, then)
            return True
        return False

    def _loaded(
        self,
        key: LaneKey,
        queue: _Queue,
        asked: dict[bytes, _Job | None],
        records: tuple[bytes, ...],
        more: bool,
    ) -> None:
        """Send what was read, and put back what did not fit."""
        self._loading -= 1
        queue.loading -= len(asked)
        if self._queues.get(key) is not queue:
            return
        place = self._place(key[0])
        batch = records[:BATCH_RECORDS_MAX]
        ids: list[RecordId] = []
        found: set[bytes] = set()
        for raw in batch:
            record = id_of(raw)
            assert record is not None, "the store gives whole records"
            ids.append(record)
            found.update((record, record[:8], record[:5]))
        left = {prefix: job for prefix, job in asked.items() if prefix not in found}
        if (more or len(records) > BATCH_RECORDS_MAX) and batch:
            queue.again.update(left)
            left = {}
        if batch and place is not None:
            self._send(key, place, batch, ids)
        for prefix, job in asked.items():
            if job is not None and prefix not in queue.again:
                job.left -= 1
                if prefix in left:
                    gone = self._line.find_gone(key, prefix)
                    job.gone += [gone] if gone is not None else []
        self._end_jobs(key, queue)
        if queue.is_over:
            del self._queues[key]

    def _send(
        self,
        key: LaneKey | None,
        place: int,
        batch: tuple[bytes, ...],
        ids: list[RecordId],
        then: Then | None = None,
    ) -> None:
        """Send one batch in parts."""
        self._batch += 1
        self._flights[self._batch] = _Flight(key, ids, then)
        parts = cut_parcel(pack_parcel(batch))
        lane = int(key[1]) if key is not None else 0
        for index, part in enumerate(parts):
            self._line.send(Records(self._batch, place, lane, index == len(parts) - 1, part))
        if key is not None:
            for record in ids:
                self._flying[record[:8]] = record
                self._on_sent(key, record)

    def _end_jobs(self, key: LaneKey, queue: _Queue) -> None:
        """Say DONE for each WANT that is answered, in their order."""
        while queue.jobs and not queue.jobs[0].left:
            job = queue.jobs.popleft()
            place = self._place(key[0])
            if place is not None:
                self._line.send(Done(place, int(key[1]), b"".join(job.gone[:GONE_MAX])))
