"""A town's board is copied, restored and robbed: one end in every order of arrival, on real stores.

Every order in which eight acts can come in is walked through: from each state that a store can be in after
some of them, each of the others. States that are equal in all that later verdicts rest on are walked on from
once, so that what would be 8! orders for each of four nodes are some thousand steps. What a board in another
town let go of, it gets again from the robbed town's own board, as by any meeting; whatever came when, it
then holds the same bytes. So do four nodes that hear of it all in four different orders.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from node.clock import Reading
from node.clones import CLONE, Clones
from node.incidents import Incidents
from node.intake import take_in
from node.promises.shelf import ledger_at
from node.store import Query, Transaction
from node.store.transaction import SqliteTransaction
from protocol.encoding import encode_list
from protocol.identity import SigningKey
from protocol.ids import DeviceId, LaneKey, Op
from protocol.record import Record, make, make_body
from sync.ledger import LEDGER, OUTLIVES_S, fields_of_entry, ledger_id
from sync.promises import Act, Word
from tests.node.stores import BASIS, BEE, OWN, RIVER, SEA, Bench, offer, open_bench, write
from tests.simulation.village import Signatures
from tests.sync.specified import specified
from tests.sync.world import NOW_S, Town

BOARD, STOLEN = 1, 2
"""The robbed town's devices: the one that stays, and the thief's, which keeps a ledger."""
NOW_MS: Final = (NOW_S + 60) * 1_000
SIGNATURES: Final = Signatures()
_HELD: Final = (
    "SELECT l.federation, l.lane, r.header, r.signature, r.body FROM held h"
    " JOIN lanes l ON l.number = h.lane JOIN records r ON r.row = h.record"
)
LATE: Final = 50
"""So many milliseconds after all honest words a thief dates his."""


def word(
    first: Record, key: SigningKey, later_ms: int, *, title: str = "", op: Op = Op.PUT, epoch: bytes = b"test"
) -> Record:
    """Return another record of a document."""
    header = first.header
    return make(
        key, town=header.town, epoch=epoch, counter=later_ms, stamp=header.stamp + (later_ms << 16),
        kind=header.kind, lane=header.lane, federations=header.federations, born=header.born,
        expires=header.expires, nonce=header.nonce, op=op,
        body=None if op is Op.DELETE else make_body(bytes(16), {"title": title}),
    )  # fmt: skip


def entry(n: int, said: Word, after: Record | None, key: SigningKey) -> Record:
    """Return an entry of the ledger of the loaves."""
    header = LOAVES.header
    return make(
        key, town=header.town, epoch=b"test", counter=n, stamp=header.stamp + n, kind=LEDGER,
        lane=header.lane, federations=header.federations, born=header.born,
        expires=header.expires + OUTLIVES_S, nonce=header.nonce, op=Op.ENTRY,
        cites=() if after is None else (after.id,), body=make_body(bytes(16), fields_of_entry(n, said)),
    )  # fmt: skip


def claim(town: Town, nonce: str, device: int = BOARD) -> Record:
    """Return a claim; what it says is for two towns only."""
    return write(town, "claim", nonce, None, device=device, body=make_body(bytes(16), {}))


BREAD, SOUP = offer(OWN, "Bread"), offer(OWN, "Soup")
NOTE = offer(OWN, "Only ours", federations=())
LOAVES = offer(OWN, "Ten loaves", device=STOLEN)
HONEST_CLAIM = claim(BEE, "two loaves")
OPENED = entry(1, Word(Act.CAPACITY, milli=10_000), None, OWN.device(STOLEN))
PROMISED = entry(2, Word(Act.ACCEPT, HONEST_CLAIM.doc, 2_000), OPENED, OWN.device(STOLEN))
BEFORE = [*BASIS, BEE.join(RIVER), SEA.join(RIVER), BREAD, SOUP, NOTE, LOAVES, HONEST_CLAIM, OPENED, PROMISED]
"""What all four hold before anything happens."""

THIEFS_CLAIM = claim(OWN, "everything", STOLEN)
CLONED = word(BREAD, OWN.device(BOARD), 3, title="Rye bread, by the clone", epoch=b"twin")
RESTORED = word(SOUP, OWN.device(BOARD), 2, title="Bean soup, after the restore", epoch=b"back")
NEW_AT_CLONE = offer(OWN, "New at the clone", later_ms=4)
NEW_AFTER_RESTORE = offer(OWN, "New after the restore", later_ms=5)
WRITTEN_AGAIN = word(NOTE, OWN.device(BOARD), 2 * LATE, title="Only ours, written again")
GRABBED = entry(3, Word(Act.ACCEPT, THIEFS_CLAIM.doc, 8_000), PROMISED, OWN.device(STOLEN))
FORKED = entry(2, Word(Act.ACCEPT, THIEFS_CLAIM.doc, 9_000), OPENED, OWN.device(STOLEN))
NEXT_KEEPER = entry(
    3, Word(Act.KEEPER, device=OWN.device(BOARD).public), PROMISED, OWN.key
)  # by the town key
ACTS: Final[dict[str, list[Record]]] = {
    "the clone writes": [CLONED, NEW_AT_CLONE],
    "the restored board writes": [RESTORED, NEW_AFTER_RESTORE],
    "the thief edits": [
        word(BREAD, OWN.device(STOLEN), LATE, title="Send money"),
        word(NOTE, OWN.device(STOLEN), LATE, title="Spoilt at home"),
    ],
    "the thief deletes": [word(SOUP, OWN.device(STOLEN), LATE, op=Op.DELETE)],
    "the thief claims": [THIEFS_CLAIM],
    "the thief accepts": [GRABBED, FORKED],
    "the town takes back and keeps": [
        OWN.revoke(STOLEN, stamp=NOW_S * 1_000 << 16),
        OWN.keep(LOAVES, OPENED, PROMISED, stamp=NOW_S * 1_000 << 16),
        NEXT_KEEPER,
    ],
    "the town writes again": [WRITTEN_AGAIN],
}
HONEST = [CLONED, RESTORED, NEW_AT_CLONE, NEW_AFTER_RESTORE, WRITTEN_AGAIN, LOAVES, OPENED, PROMISED]
"""Of what was acknowledged, that which nothing honest stands in the place of."""
Done = frozenset[str]
Shelf = dict[LaneKey, frozenset[bytes]]


class Store:
    """A node's store, in the writer's turn, and who watches for clones there."""

    def __init__(self, tx: SqliteTransaction, town: Town) -> None:
        self.tx = tx
        self.town = town
        self.steps = 0

    def take(self, records: Sequence[Record]) -> None:
        """Take records in through the door."""
        incidents = Incidents(lambda: NOW_S * 1_000)
        device = DeviceId(self.town.device(BOARD).public)
        clones = Clones(None, device, lambda: Reading(NOW_S * 1_000, True), incidents)  # type: ignore[arg-type]
        raws = [record.raw for record in records]
        take_in(self.tx, raws, now_ms=NOW_MS, sure=True, check=SIGNATURES.check, watch=clones.watch)
        self.tx.flush()

    def held(self) -> Shelf:
        """Return the bytes of every held set."""
        found = defaultdict[LaneKey, set[bytes]](set)
        for federation, lane, *raw in self.tx.rows(_HELD):
            found[federation, lane].add(encode_list(raw))  # type: ignore[index]  # its columns
        return {key: frozenset(raws) for key, raws in found.items()}

    def state(self) -> tuple[object, ...]:
        """Return all that later verdicts rest on, with no trace of the order in which it came."""
        parked = self.tx.rows("SELECT id, cause FROM parked")
        dropped = self.tx.rows("SELECT id, cause, because FROM dropped")
        drawn = self.tx.rows("SELECT id FROM drawer")
        held = frozenset((key, frozenset(raws)) for key, raws in self.held().items())
        return held, frozenset(parked), frozenset(dropped), frozenset(drawn), self.tx.meta(CLONE) is not None

    def shown(self) -> tuple[object, ...]:
        """Return what people of the federation are shown."""
        page = self.tx.documents(Query(limit=None, federation=RIVER), NOW_S)
        ledger = ledger_at(self.tx, ledger_id(LOAVES.header))
        assert ledger is not None
        promised = {claim: each.milli for claim, each in ledger.promises.claims.items()}
        titles = sorted(str(each.fields["title"]) for each in page.documents)
        return titles, promised, ledger.promises.free, ledger.keeper

    def walk(self, done: Done, look: Callable[[Store, Done], None], seen: set[object]) -> None:
        """Go through every order in which what is not done yet can come, and look at each state once."""
        here = (done, self.state())
        if here in seen:
            return
        seen.add(here)
        look(self, done)
        for act in ACTS.keys() - done:
            self.aside(partial(self._go_on, act, done, look, seen))

    def _go_on(self, act: str, done: Done, look: Callable[[Store, Done], None], seen: set[object]) -> None:
        self.take(ACTS[act])
        self.steps += 1
        self.walk(done | {act}, look, seen)

    def aside(self, work: Callable[[], None]) -> None:
        """Do something, and let it be as if it had not been."""
        authority = self.tx.authority()
        self.tx.savepoint()
        work()
        self.tx.undo()
        self.tx.set_authority(authority)


def every_order(
    bench: Bench, town: Town, epochs: Sequence[bytes], look: Callable[[Store, Done], None]
) -> int:
    """Walk through every order on one node; return in how many states it was.

    Args:
        epochs: Those that the node opened itself.
    """

    def work(tx: Transaction) -> int:
        assert isinstance(tx, SqliteTransaction)
        tx.set_meta("begun", (NOW_S - 1) * 1_000)
        for epoch in epochs:
            tx.run("INSERT INTO epochs (epoch) VALUES (?)", epoch)
        store, seen = Store(tx, town), set[object]()
        store.take(BEFORE)
        store.walk(frozenset(), look, seen)
        assert store.steps > len(ACTS) * 2 ** (len(ACTS) - 1) - 1
        return len(seen)

    return bench.write(work)


def river_of(held: Shelf) -> Shelf:
    """Return what is held in the federation."""
    return {key: raws for key, raws in held.items() if key[0] == RIVER}


def test_in_every_order_four_nodes_end_with_the_same_bytes_and_nothing_honest_is_lost(tmp_path: Path) -> None:
    """Takes some 20 s."""
    ends, seen = dict[Done, Shelf](), dict[Done, tuple[object, ...]]()

    def look_at_home(store: Store, done: Done) -> None:
        held = store.held()
        if done not in ends:
            records = [*BEFORE, *(each for act in done for each in ACTS[act])]
            raws = {record.id: record.raw for record in records}
            expected = specified(OWN.id, records)
            assert held == {key: frozenset(raws[id] for id in ids) for key, ids in expected.items()}, done
            ends[done], seen[done] = held, store.shown()
        assert (held, store.shown()) == (ends[done], seen[done]), sorted(done)

    def look_abroad(store: Store, done: Done) -> None:
        def meet() -> None:
            offered = [raw for raws in river_of(ends[done]).values() for raw in sorted(raws)]
            take_in(store.tx, offered, now_ms=NOW_MS, sure=True, check=SIGNATURES.check)
            assert (river_of(store.held()), store.shown()) == (river_of(ends[done]), seen[done]), sorted(done)
            assert store.tx.meta(CLONE) is None

        store.aside(meet)

    states = dict[str, int]()
    for name, town, epochs, look in (
        ("board", OWN, (b"test", b"back"), look_at_home),
        ("twin", OWN, (b"test", b"twin"), look_at_home),
        ("bee", BEE, (b"test",), look_abroad),
        ("sea", SEA, (b"test",), look_abroad),
    ):
        bench = open_bench("sqlite", tmp_path / name, town.id)
        states[name] = every_order(bench, town, epochs, look)
        bench.close()
    print(states)
    assert len(ends) == 2 ** len(ACTS)
    everything = frozenset(ACTS)
    held = {raw for raws in ends[everything].values() for raw in raws}
    assert {record.raw for record in HONEST} <= held
    titles, promised, free, keeper = seen[everything]
    assert titles == sorted(str(name) for name in (
        "Rye bread, by the clone", "Bean soup, after the restore", "Ten loaves", "New at the clone",
        "New after the restore",
    ))  # fmt: skip
    assert (promised, free, keeper) == ({HONEST_CLAIM.doc: 2_000}, 8_000, OWN.device(BOARD).public)
