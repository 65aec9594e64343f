"""The one door of every record: a resident's draft, a peer's bytes and a stick's come in here and nowhere
else.

Foreign bytes are opened, what is already known goes no further, the signature is verified, and `judge`
decides by headers, authority and time. Own drafts get their seq, stamp and signature inside the same writer's
turn. All of one batch is committed at once; only after the commit is it announced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from node.config import HOME_DOCUMENTS_MAX
from node.drafts import Desk, Draft, Drafts, check_home_room, check_standing, keep_stamp, last_stamp
from node.redating import Redating
from protocol.errors import BadSignature, BodyMissing, NewerVersion, ProtocolError
from protocol.ids import DeviceId, RecordId, TownId
from protocol.limits import RECORD_BYTES_MAX
from protocol.record import Record, audience_of, check_signature, open_record
from sync.admission import FUTURE, SUPERSEDED, Changes, State, Verdict, expire, judge
from sync.authority import AUTHORITY_KINDS, Authority, has_several_places
from sync.events import Committed, LaneChange, LinkId
from sync.line import header_of, id_of

if TYPE_CHECKING:
    from node.clock import Reading
    from node.seals import Seals
    from node.store.contract import Store, Transaction
    from protocol.identity import SigningKey

__all__ = ["Draft", "Intake", "Taken", "settle", "take_in"]

DOUBTED_AFTER: Final = "doubted_after"
"""Name under which the change is kept after which records were taken in while time was not sure."""
EXPIRE_RECORDS: Final = 500
"""Records that end in one turn of the writer; others get their turn in between."""


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
    sender: TownId | None = None,
    watch: Callable[[Transaction, Sequence[Record]], None] | None = None,
) -> Taken:
    """Take a batch of foreign bytes in; the simulator and the door share it.

    Args:
        tx: Of any store; everything happens inside it.
        raws: Records as they came; one bad record never blocks the others.
        now_ms: Node time.
        sure: Whether that time is sure.
        check: Raises BadSignature; the simulator remembers answers.
        sender: The town at the other end of the link; None if they came in another way.
        watch: Looks at those that are new and sound before they are judged.
    """
    names = [_name(raw) for raw in raws]
    known = dict(tx.known(names))
    opened = _open_new(raws, names, known)
    sound, forged = _verify(opened, check)
    if watch is not None:
        watch(tx, list(sound.values()))
    sound |= _held_in_part(tx, raws, names, known)
    taken = settle(tx, list(sound.values()), now_ms=now_ms, sure=sure, sender=sender)
    known.update((verdict.id, verdict) for verdict in taken.verdicts)
    if taken.authority is not None:
        # What was parked may be held by now, and what was held parked.
        known.update(tx.known([id for id in known if id not in sound]))
    verdicts = tuple(
        each if isinstance(each, Verdict) else forged.get(index) or known[name]
        for index, (name, each) in enumerate(zip(names, opened, strict=True))
    )
    return Taken(verdicts, taken.lanes, taken.change, taken.authority)


def settle(
    tx: Transaction, records: Sequence[Record], *, now_ms: int, sure: bool, sender: TownId | None = None
) -> Taken:
    """Judge records whose signatures are sound, and make the changes that follow."""
    if not records:
        return Taken((), (), tx.change(), None)
    changes = judge(records, tx, tx.authority(), now_ms, sure)
    return _apply(tx, changes, records, sure=sure, sender=sender)


class Intake:
    """The door of one node.

    Args:
        store: Where everything goes.
        key: The device's key.
        clock: Gives node time and whether it is sure.
        chance: Gives random bytes.
        seals: Seals those of our own drafts that are not for everybody.

    Attributes:
        device: The one that signs here.
        sign: Signs a message that is no record with its key; the message says what it is.
        announce: Called with `Committed` in the event loop's thread after each commit that changed something,
            in the order of the commits, before the callers of `accept` and `post` go on. It must not raise.
        watch: Looks at records that come from outside, new and sound, inside the writer's turn.
        told_again: Told of our own records that were issued again, inside the writer's turn.
        home_documents_max: How many documents of our own that never leave the town may be held.
    """

    def __init__(
        self,
        store: Store,
        key: SigningKey,
        clock: Callable[[], Reading],
        *,
        chance: Callable[[int], bytes],
        seals: Seals | None = None,
    ) -> None:
        self.announce: Callable[[Committed], None] = _nobody
        self.watch: Callable[[Transaction, Sequence[Record]], None] | None = None
        self.told_again: Callable[[Transaction, Sequence[Record]], None] | None = None
        self._store = store
        self.home_documents_max = HOME_DOCUMENTS_MAX
        self.device = DeviceId(key.public)
        self.sign = key.sign
        self._desk = Desk(key, chance, seals)
        self._redating = partial(Redating, key, chance=chance, seals=seals)
        self._clock = clock

    async def accept(
        self, raws: Sequence[bytes], source: LinkId | None = None, *, sender: TownId | None = None
    ) -> tuple[Verdict, ...]:
        """Take in records of others; return a verdict for each, in order, once they are committed.

        Args:
            raws: Records as they came.
            source: The link that they came on, which is not told of them again.
            sender: The town at its other end, which may have so much waiting here and no more.

        Raises:
            StorageUnavailable: Nothing was kept; the sender will offer them again.
        """

        def work(tx: Transaction) -> Taken:
            now = self._clock()
            return take_in(tx, raws, now_ms=now.now_ms, sure=now.sure, sender=sender, watch=self.watch)

        taken = await self._store.write(work, then=lambda taken: self._tell(taken, source))
        return taken.verdicts

    async def post(self, drafts: Drafts) -> list[Record]:
        """Stamp, sign and commit drafts of our own, all or none; return their records in order.

        Args:
            drafts: As they are, or how they are made inside the writer's turn.

        Raises:
            StaleEdit, NotFound, NotOurs, UnknownKind, InvalidRequest, LimitReached, NotCertified,
            NoSealingKey, StorageUnavailable, ProtocolError.
        """

        def work(tx: Transaction) -> tuple[list[Record], Taken | None]:
            now = self._clock()
            answers, fresh = self._desk.sign(tx, drafts, now_ms=now.now_ms, sure=now.sure)
            if not fresh:
                return answers, None
            authority = tx.authority()
            check_home_room(tx, authority.own_town, fresh, self.home_documents_max)
            changes = judge(fresh, tx, authority, now.now_ms, now.sure)
            check_standing(fresh, changes)
            return answers, _apply(tx, changes, fresh, sure=now.sure)

        answers, _ = await self._store.write(work, then=lambda done: self._tell(done[1], None))
        return answers

    async def reconsider(self) -> int:
        """Let go of what has ended and of what proves to lie ahead, if time is sure; return how many records
        that were. Called once in a while. What this device has dated ahead it issues again.

        Raises:
            StorageUnavailable: What is left over ends at the next call.
        """

        redating = self._redating(now_s=self._clock().now_ms // 1_000)

        def work(tx: Transaction) -> tuple[int, list[Taken]]:
            now = self._clock()
            after = tx.meta(DOUBTED_AFTER)
            changes = expire(
                tx, tx.authority(), now.now_ms, now.sure, EXPIRE_RECORDS,
                doubted_after=after if isinstance(after, int) else None,
            )  # fmt: skip
            if now.sure and not changes.remove:
                tx.tidy(now.now_ms // 1_000)
                if after is not None:
                    tx.set_meta(DOUBTED_AFTER, None)
            ahead = [id for id, _, cause, _ in changes.remove if cause == FUTURE]
            records = list(tx.records(ahead).values()) if ahead else []
            taken = [_apply(tx, changes, (), sure=now.sure)]
            if ahead and taken[0].authority is None:
                # What stood in the way of others is gone: they are welcome now, as when rights have moved.
                taken = [replace(taken[0], authority=tx.authority())]
            again = redating.issue(tx, records, now.now_ms)
            if again:
                taken.append(settle(tx, again, now_ms=now.now_ms, sure=now.sure))
                if self.told_again is not None:
                    self.told_again(tx, again)
            return len(changes.remove), taken

        def tell(done: tuple[int, list[Taken]]) -> None:
            for taken in done[1]:
                self._tell(taken, None)

        ended = 0
        while True:
            count, _ = await self._store.write(work, then=tell)
            ended += count
            if not count:
                return ended

    async def authority(self) -> Authority:
        """Return the authority of the last committed state."""
        return await self._store.read(lambda reader: reader.authority())

    def _tell(self, taken: Taken | None, source: LinkId | None) -> None:
        if taken is not None and (taken.lanes or taken.authority is not None):
            self.announce(Committed(taken.lanes, taken.change, source, taken.authority))


def _open_new(
    raws: Sequence[bytes], names: Sequence[RecordId], known: Mapping[RecordId, Verdict]
) -> list[Record | Verdict | None]:
    """Return the records of what is to be judged, a verdict on what cannot be, None for what is known.

    An id is the hash of the header, which has been checked if the id is known; so nothing else of it is read.
    """
    opened = [None if name in known else _open(raw, name) for raw, name in zip(raws, names, strict=True)]
    # New authority may turn what had been superseded; only then is a remembered drop heard again.
    if any(isinstance(each, Record) and each.header.kind in AUTHORITY_KINDS for each in opened):
        for index, name in enumerate(names):
            if name in known and known[name].cause == SUPERSEDED:
                opened[index] = _open(raws[index], name)
    return opened


def _open(raw: bytes, name: RecordId) -> Record | Verdict:
    """Return the record of these bytes, or why there is none."""
    try:
        return open_record(raw, name)
    except ProtocolError as error:
        # What only a newer program, or a whole copy, can tell is asked for again; the rest never.
        later = isinstance(error, NewerVersion | BodyMissing)
        return Verdict(name, State.NOT_NOW if later else State.DROPPED, error.code)


def _name(raw: bytes) -> RecordId:
    """Return the id that the sender knows these bytes by; bytes that have none get the hash of themselves."""
    id = id_of(raw) if len(raw) <= RECORD_BYTES_MAX else None
    return id if id is not None else RecordId(blake2b(raw, digest_size=32).digest())


def _verify(
    opened: Sequence[Record | Verdict | None], check: Callable[[Record], None]
) -> tuple[dict[RecordId, Record], dict[int, Verdict]]:
    """Return the records to judge, each once, and the verdicts on forged ones by their index."""
    sound: dict[RecordId, Record] = {}
    forged: dict[int, Verdict] = {}
    for index, record in enumerate(opened):
        if not isinstance(record, Record) or record.id in sound:
            continue
        try:
            check(record)
        except BadSignature as error:
            # Never remembered under the id: a forger could keep out the honest record that has it.
            forged[index] = Verdict(record.id, State.DROPPED, error.code)
        else:
            sound[record.id] = record
    return sound, forged


def _held_in_part(
    tx: Transaction, raws: Sequence[bytes], names: Sequence[RecordId], known: Mapping[RecordId, Verdict]
) -> Mapping[RecordId, Record]:
    """Return, as the store has them, records that are held but perhaps not in all of their places."""
    held = [
        name
        for raw, name in zip(raws, names, strict=True)
        if name in known and known[name].state is State.HELD
        if (header := header_of(raw)) is not None and has_several_places(*audience_of(header))
    ]
    return tx.records(held) if held else {}


def _apply(
    tx: Transaction,
    changes: Changes,
    records: Sequence[Record],
    *,
    sure: bool,
    sender: TownId | None = None,
) -> Taken:
    if not sure and changes.hold and tx.meta(DOUBTED_AFTER) is None:
        tx.set_meta(DOUBTED_AFTER, tx.change())
    lanes = tx.apply(changes, records, sender)
    # The own clock observes what certified devices of the own town wrote: only their stamps ever compete with
    # its own. Anybody can write a charter that names our town.
    own = tx.own_town
    headers = [record.header for record, _ in changes.hold if record.header.town == own]
    heard = [each.stamp for each in headers if tx.authority().is_certified(own, each.device)]
    stamp = max(heard, default=0)
    if stamp and stamp > last_stamp(tx):
        keep_stamp(tx, stamp)
    return Taken(changes.verdicts, tuple(lanes), tx.change(), changes.authority)


def _nobody(committed: Committed) -> None:
    """Announce to nobody: until the engine listens."""
