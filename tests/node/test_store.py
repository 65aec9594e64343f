"""Both stores keep the promises of the contract: the same judged records leave the same state in each."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.intake import settle
from node.store import Query, Reader, Transaction, shelves
from node.store.sqlite import SqliteStore
from node.store.transaction import SqliteTransaction
from protocol.encoding import Value
from protocol.ids import DeviceId, FederationId, Lane, LaneKey, Op, RecordId, TownId, home_id
from protocol.limits import EVIDENCE_BYTES_MAX
from protocol.record import Record
from sync.admission import EXPIRED, SUPERSEDED, State
from sync.authority import resolve
from sync.held import HeldSet
from tests.node.stores import BASIS, BEE, CHARTER, OWN, RIVER, SEA, Bench, guide, offer, open_bench, write
from tests.sync.world import FAR_S, NOW_S, Town, World, federation_of

EVERYDAY: LaneKey = (RIVER, Lane.EVERYDAY)
SMALL = BEE.charter("On the hill", [OWN, BEE], quotas=(2, 2, 1))
HILL = federation_of(SMALL)


@pytest.fixture(params=["sqlite", "memory"])
def bench(request: Any, tmp_path: Path) -> Iterator[Bench]:
    """A store with three towns in one federation."""
    made = open_bench(request.param, tmp_path)
    made.hold(*BASIS)
    yield made
    made.close()


def pool() -> list[Record]:
    """Return records that interfere in every way: quotas, deletes, equal stamps, rights that come and go."""
    found = [*BASIS, SMALL, OWN.join(HILL), OWN.join(HILL, op=Op.DELETE), BEE.admit(HILL, SEA)]
    found += [BEE.certificate(2, op=Op.DELETE), SEA.write("town.profile", "p", stamp=1)]
    for town in (OWN, BEE, SEA):
        for number, audience in enumerate(([RIVER], [HILL], [RIVER, HILL], [])):
            for age in (0, 5, 9):
                name = f"{number} {age}"
                for device, op, stamp in (
                    (1, Op.PUT, 0),
                    (2, Op.PUT, 7),
                    (2, Op.DELETE, 3),
                    (1, Op.ENTRY, 2),
                ):
                    found.append(
                        town.write(
                            "offer", name, federations=audience, lane=Lane.EVERYDAY, born=NOW_S - age,
                            stamp=stamp, device=device, op=op, expires=FAR_S if age else NOW_S + 50,
                            fields=None if op is Op.DELETE else {"title": f"jar{number} of{age} by{stamp}"},
                        )
                    )  # fmt: skip
    return found


POOL = pool()


@settings(max_examples=60, deadline=None)
@given(chosen=st.lists(st.sampled_from(POOL), max_size=60), seed=st.integers(0, 2**32))
@pytest.mark.parametrize("which", ["sqlite", "memory"])
def test_every_history_leaves_what_the_plainest_state_says(
    which: str, tmp_path_factory: Any, chosen: list[Record], seed: int
) -> None:
    """The oracle is `tests/sync/world.py`, whose state the rules themselves are tested on."""
    chance = random.Random(seed)
    world, bench = World(OWN.id), open_bench(which, tmp_path_factory.mktemp("store"))
    try:
        seen = [*chosen, *BASIS, SMALL]
        chance.shuffle(seen)
        while seen:
            batch = [seen.pop() for _ in range(min(len(seen), chance.choice([1, 1, 2, 5, 30])))]
            expected = world.take(*batch)
            taken = bench.take(*batch)
            assert [(each.id, each.state) for each in taken.verdicts] == [(e.id, e.state) for e in expected]
            if chance.random() < 0.2:
                bench.write(lambda tx: tx.save_held_sets(tx.held_sets()))
            if chance.random() < 0.1:
                compare(bench, world)
        compare(bench, world)
        world.now_s += 60
        world.end()
        bench.end(world.now_s)
        compare(bench, world)
    finally:
        bench.close()


def compare(bench: Bench, world: World) -> None:
    """Hold the whole view of a store against the plain world's."""
    ids = [record.id for record in POOL]
    docs = list({record.doc for record in POOL})
    towns = [OWN.id, BEE.id, SEA.id]
    lanes, parked = world.state()

    def look(tx: Transaction) -> None:
        assert tx.lanes(ids) == {id: world.held.get(id, frozenset()) for id in ids}
        known = tx.known(ids)
        assert {id: each.state for id, each in known.items()} == {
            id: each.state for id, each in world.known(ids).items()
        }
        assert {id for id, each in known.items() if each.state is State.PARKED} == parked
        mine, theirs = tx.facts(docs), world.facts(docs)
        assert {doc: sorted(facts) for doc, facts in mine.items()} == {
            d: sorted(f) for d, f in theirs.items()
        }
        for key in lanes:
            for town in towns:
                assert tx.document_count(key, town) == world.document_count(key, town)
                assert tx.oldest_documents(key, town, 3) == world.oldest_documents(key, town, 3)
        assert {each.id for each in tx.held_records(towns)} == {e.id for e in world.held_records(towns)}
        assert {each.id for each in tx.parked(towns)} == parked
        assert tx.authority() == world.authority
        assert resolve(OWN.id, tx.authority_records()) == world.authority
        assert {key: held.count for key, held in tx.held_sets().items() if held.count} == {
            key: len(held) for key, held in lanes.items()
        }
        if isinstance(bench.store, SqliteStore):
            counted = tx.rows("SELECT federation, lane, records FROM lanes WHERE records > 0")
            assert {(name, lane): count for name, lane, count in counted} == {
                (name, int(lane)): len(held) for (name, lane), held in lanes.items()
            }
            shown = [set(str(words).split()) for (words,) in tx.rows("SELECT words FROM documents")]
            assert searched(tx) == dict(Counter(word for words in shown for word in words))
        for key, held in tx.held_sets().items():
            assert held.digest() == HeldSet.of(lanes.get(key, ())).digest()
            assert held.count == len(lanes.get(key, ()))
        assert {record.id for _, raw in tx.export(0, 10_000) for record in [_opened(raw)]} == set(world.held)

    bench.write(look)


def titles(reader: Reader, word: str) -> list[Any]:
    """Return the titles of what a word finds."""
    return [each.fields["title"] for each in reader.documents(Query(text=word), NOW_S).documents]


def searched(tx: Transaction) -> dict[str, Any]:
    """Return in how many documents the index has each word."""
    assert isinstance(tx, SqliteTransaction)
    tx.flush()
    tx.run("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab (main, search, row)")
    found = {str(term): count for term, count in tx.rows("SELECT term, doc FROM vocabulary")}
    tx.run("DROP TABLE vocabulary")
    return found


def _opened(raw: bytes) -> Record:
    from protocol.record import open_record

    return open_record(raw)


@pytest.mark.parametrize("story", ["parked, then certified", "all in one batch", "certified first"])
def test_a_superseded_record_stands_again_when_its_rival_loses_its_right(bench: Bench, story: str) -> None:
    """However it was superseded: its town must be known to the memory of it."""
    newcomer = Town("newcomer")
    first = offer(newcomer, "Bread", nonce="b")
    second = offer(newcomer, "More bread", nonce="b", later_ms=5, device=2)
    certificates = [newcomer.certificate(1), newcomer.certificate(2)]
    bench.hold(OWN.admit(RIVER, newcomer))
    for batch in {
        "parked, then certified": [[first], [second], certificates],
        "all in one batch": [[*certificates, first, second]],
        "certified first": [certificates, [first], [second]],
    }[story]:
        bench.take(*batch)
    assert bench.write(lambda tx: tx.known([first.id]))[first.id].because == second.id
    bench.hold(newcomer.certificate(2, op=Op.DELETE, stamp=9))
    bench.hold(first)


def test_a_document_returns_to_a_lane_that_has_room_again_when_peers_bring_it(bench: Bench) -> None:
    """All its records do, through the very door, though each was held elsewhere all the while."""
    bench.take(SMALL)
    bench.hold(OWN.join(HILL))
    first, second = (
        guide(BEE, "g", f"Step {n}", later_ms=n, federations=[RIVER, HILL], born=NOW_S - 9) for n in (1, 2)
    )
    library: LaneKey = (HILL, Lane.LIBRARY)
    bench.hold(guide(BEE, "newer", "Step", federations=[HILL], life_s=10))
    bench.hold(first, second)
    [newer] = bench.read(lambda reader: reader.ids_in_buckets(library, range(256)))
    assert newer not in (first.id, second.id)
    bench.end(NOW_S + 10)
    taken = bench.take_raw(second.raw, now_s=NOW_S + 10)
    assert [(each.key, set(each.added)) for each in taken.lanes] == [(library, {first.id, second.id})]
    again = bench.take_raw(first.raw, second.raw, now_s=NOW_S + 10)
    assert ([each.cause for each in again.verdicts], again.lanes) == (["known", "known"], ())


def test_what_one_device_wrote_is_found_among_all_of_its_town(bench: Bench) -> None:
    """So that a lost certificate moves the records of its own device, and no others are looked at."""
    mine = [offer(BEE, f"Thing {number}", device=2) for number in range(3)]
    bench.hold(*mine, offer(BEE, "Other"), offer(SEA, "Third", device=2))
    ours = DeviceId(BEE.device(2).public)
    found = bench.write(lambda tx: tx.signed_records(BEE.id, [ours, DeviceId(bytes(32))]))
    assert {each.id for each in found} == {each.id for each in mine}
    assert bench.write(lambda tx: tx.signed_records(SEA.id, [ours])) == []
    looked_at: list[TownId] = []

    def look(towns: Iterable[TownId]) -> list[Record]:
        looked_at.extend(towns)
        return []

    def take(tx: Any) -> None:
        tx.held_records = look
        settle(tx, [BEE.certificate(2, op=Op.DELETE, stamp=9)], now_ms=NOW_S * 1_000, sure=True)
        del tx.held_records

    bench.write(take)
    assert looked_at == []
    assert {each.id for each in bench.write(lambda tx: tx.parked([BEE.id]))} == {each.id for each in mine}


def test_lane_changes_say_exactly_what_entered_and_left(bench: Bench) -> None:
    first = offer(BEE, "Bread", nonce="b")
    second = offer(BEE, "More bread", nonce="b", later_ms=5)
    taken = bench.hold(first)
    assert [(each.key, each.added, each.removed) for each in taken.lanes] == [(EVERYDAY, (first.id,), ())]
    after = bench.hold(second)
    assert [(each.key, each.added, each.removed) for each in after.lanes] == [
        (EVERYDAY, (second.id,), (first.id,))
    ]
    assert after.change == taken.change + 1
    again = bench.take(second, first)
    assert (again.lanes, again.change) == ((), after.change)
    assert [each.cause for each in again.verdicts] == ["known", SUPERSEDED]


def test_held_sets_are_brought_forward_from_any_saved_moment(bench: Bench) -> None:
    chance = random.Random(3)
    held: dict[int, Record] = {}
    for step in range(120):
        number = chance.randrange(30)
        op = Op.DELETE if chance.random() < 0.2 else Op.PUT
        record = write(BEE, "offer", str(number), {"title": f"Thing {number}"}, stamp=step, op=op)
        bench.take(record)
        held[number] = record
        if chance.random() < 0.1:
            bench.write(lambda tx: tx.save_held_sets(tx.held_sets()))
    found = bench.read(lambda reader: reader.held_sets())[EVERYDAY]
    ids = bench.read(lambda reader: reader.ids_in_buckets(EVERYDAY, range(256)))
    assert found.digest() == HeldSet.of(ids).digest()
    assert found.count == len(ids)


def test_ids_come_by_prefix_and_bucket_the_newest_first(bench: Bench) -> None:
    records = [offer(SEA, f"Thing {number}") for number in range(60)]
    for record in records:
        bench.hold(record)
    newest = [record.id for record in reversed(records)]

    def ids(prefixes: list[bytes], limit: int = 99) -> list[RecordId]:
        return bench.read(lambda reader: reader.ids_by_prefix(EVERYDAY, prefixes, limit))

    assert ids([id[:5] for id in newest]) == newest
    assert ids([newest[3], newest[9][:7], newest[9][:5]]) == [newest[3], newest[9]]
    assert ids([id[:5] for id in newest], 2) == newest[:2]
    assert ids([b"\xff" * 5]) == []
    assert bench.read(lambda reader: reader.ids_by_prefix((RIVER, Lane.LIBRARY), [newest[0][:5]], 9)) == []
    buckets = list(range(128))
    assert bench.read(lambda reader: reader.ids_in_buckets(EVERYDAY, buckets)) == [
        id for id in newest if id[0] < 128
    ]


def test_raw_records_come_within_the_bytes_allowed_and_at_least_one(bench: Bench) -> None:
    records = [offer(SEA, f"Thing {number}") for number in range(5)]
    bench.hold(*records)
    prefixes = [record.id[:5] for record in records]
    size = len(records[0].raw)

    def load(bytes_max: int) -> tuple[tuple[bytes, ...], bool]:
        return bench.read(lambda reader: reader.raws_by_prefix(EVERYDAY, prefixes, bytes_max))

    raws, more = load(10 * size)
    assert sorted(raws) == sorted(record.raw for record in records)
    assert not more
    assert [len(load(bytes_max)[0]) for bytes_max in (0, size, 2 * size + 1)] == [1, 1, 2]
    assert load(0)[1]
    assert bench.read(lambda reader: reader.raws([records[2].id])) == {records[2].id: records[2].raw}


def test_the_backlog_counts_each_record_once_whatever_lanes_it_is_in(bench: Bench) -> None:
    bench.take(SMALL)
    bench.hold(OWN.join(HILL))
    before = bench.read(lambda reader: reader.change())
    bench.hold(offer(BEE, "Bread", federations=[RIVER, HILL]), offer(BEE, "Milk"))
    assert bench.read(lambda reader: reader.backlog(before, [RIVER, HILL])) == 2
    assert bench.read(lambda reader: reader.backlog(before, [HILL])) == 1
    assert bench.read(lambda reader: reader.backlog(before, [])) == 0
    assert bench.read(lambda reader: reader.backlog(before + 1, [RIVER])) == 0


def test_the_records_of_a_town_and_kind_are_found_held_and_parked_and_no_others(bench: Bench) -> None:
    bench.hold(offer(SEA, "Fish"), offer(BEE, "Bread"))
    stranger = Town("stranger")
    bench.take(stranger.certificate())

    def found(town: Town, kind: str) -> list[RecordId]:
        return [record.id for record in bench.read(lambda reader: reader.records_of(town.id, kind))]

    assert found(SEA, "offer") == [offer(SEA, "Fish").id]
    assert found(SEA, "need") == []
    assert found(stranger, "town.device") == [stranger.certificate().id]
    assert found(Town("nobody"), "town.device") == []


def test_evidence_begins_with_the_charter_and_shows_both_towns(bench: Bench) -> None:
    bench.take(SMALL)
    bench.hold(OWN.join(HILL), BEE.admit(HILL, SEA), SEA.join(HILL))
    found = [_opened(raw) for raw in bench.read(lambda reader: reader.evidence(HILL, SEA.id))[0]]
    assert found[0].id == SMALL.id
    kinds = [(each.header.kind, each.header.town) for each in found[1:]]
    assert ("federation.admit", BEE.id) in kinds
    assert ("federation.join", SEA.id) in kinds
    assert ("federation.join", OWN.id) in kinds
    assert {town for kind, town in kinds if kind == "town.device"} == {OWN.id, BEE.id, SEA.id}
    assert sum(len(each.raw) for each in found) <= EVIDENCE_BYTES_MAX
    unknown, _ = bench.read(lambda reader: reader.evidence(FederationId(b"?" * 16), SEA.id))
    assert {_opened(raw).header.kind for raw in unknown} == {"town.device"}


def test_work_that_raises_is_undone_alone(bench: Bench) -> None:
    bread, milk = offer(BEE, "Bread"), offer(BEE, "Milk")

    def spoiled(tx: Transaction) -> None:
        from node.intake import settle

        settle(tx, [bread], now_ms=NOW_S * 1_000, sure=True)
        tx.set_meta("note", 7)
        tx.run("INSERT INTO peers (town, approved_ms) VALUES (?, ?)", bytes(SEA.id), 5)
        tx.next_seq()
        raise LookupError("on purpose")

    before = bench.write(lambda tx: tx.next_seq())
    with pytest.raises(LookupError, match="on purpose"):
        bench.write(spoiled)
    assert bench.read(lambda reader: reader.records([bread.id])) == {}
    assert bench.read(lambda reader: reader.meta("note")) is None
    assert bench.read(lambda reader: reader.rows("SELECT * FROM peers")) == []
    assert bench.write(lambda tx: tx.next_seq()) == (before[0], before[1] + 1)
    bench.hold(milk, bread)
    assert bench.read(lambda reader: reader.totals()).documents == 2


@pytest.mark.parametrize("looks", [False, True])
def test_a_turn_forgets_what_it_searched_only_of_the_work_that_raised(bench: Bench, looks: bool) -> None:
    """Its pieces share one commit; the second takes the first one's post away and adds one, then raises."""
    bread, milk, honey = offer(BEE, "Bread"), offer(BEE, "Milk"), offer(BEE, "Honey")

    def taking(record: Record, error: type[Exception] | None = None) -> Callable[[Transaction], None]:
        def work(tx: Transaction) -> None:
            settle(tx, [record], now_ms=NOW_S * 1_000, sure=True)
            if error is not None:
                settle(tx, [offer(BEE, "Bread", op=Op.DELETE)], now_ms=NOW_S * 1_000, sure=True)
                if looks:
                    assert titles(tx, "milk") == ["Milk"]
                    assert titles(tx, "bread") == []
                raise error("on purpose")

        return work

    queued = threading.Event()

    def wait(tx: Transaction) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert queued.wait(10)

    async def one_turn() -> list[Any]:
        work = [wait, taking(bread), taking(milk, LookupError), taking(honey)]
        jobs = [asyncio.ensure_future(bench.store.write(each)) for each in work]
        await asyncio.sleep(0)  # Each of them has come as far as the queue.
        queued.set()
        return await asyncio.gather(*jobs, return_exceptions=True)

    nothing = type(None)
    assert [type(each) for each in bench.run(one_turn())] == [nothing, nothing, LookupError, nothing]
    words = ("bread", "milk", "honey")
    assert bench.read(lambda reader: [titles(reader, word) for word in words]) == [["Bread"], [], ["Honey"]]


async def test_a_caller_that_gave_up_loses_neither_its_write_nor_its_announcement(tmp_path: Path) -> None:
    for which in ("sqlite", "memory"):
        store = open_bench(which, tmp_path).store
        told: list[int] = []

        async def patient() -> int:
            return await store.write(lambda tx: _count_up(tx), then=told.append)  # noqa: B023

        tasks = [asyncio.ensure_future(patient()) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await store.write(lambda tx: None)
        assert told == list(range(1, 21)), "in the order of the commits, each once"
        assert [each for each in results if isinstance(each, int)] == sorted(set(told) & set(results))
        assert await store.read(lambda reader: reader.meta("count")) == 20
        await store.close()


def _count_up(tx: Transaction) -> int:
    now = tx.meta("count") or 0
    assert isinstance(now, int)
    tx.set_meta("count", now + 1)
    return now + 1


def test_own_documents_are_found_by_their_nonce(bench: Bench) -> None:
    first = offer(OWN, "Bread", nonce="n")
    second = offer(OWN, "Bread and butter", nonce="n", later_ms=9)
    foreign = offer(BEE, "Bread", nonce="other")
    bench.hold(first)
    bench.hold(second, foreign)

    def ask(tx: Transaction) -> list[RecordId | None]:
        found = [tx.known_nonce(kind, each.header.nonce) for kind, each in asked]
        return [each.id if each else None for each in found]

    asked = [("offer", first), ("need", first), ("offer", foreign)]
    assert bench.write(ask) == [second.id, None, None]


def test_what_is_parked_is_bounded_and_the_oldest_goes_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(bench.store, "path"):
        pytest.skip("not meant: the simulator's store forgets nothing")
    monkeypatch.setattr(shelves, "PARKED_BYTES_TOTAL_MAX", 20_000)
    strangers = [
        write(BEE, "offer", str(number), {"title": f"T {number}"}, device=9) for number in range(100)
    ]
    taken = bench.take(*strangers)
    assert {each.state for each in taken.verdicts} == {State.PARKED}
    totals = bench.read(lambda reader: reader.totals())
    assert 10_000 < totals.parked_bytes <= 20_000
    waiting = bench.write(lambda tx: tx.known([record.id for record in strangers]))
    assert [record.id in waiting for record in strangers] == sorted(
        record.id in waiting for record in strangers
    )
    bench.hold(BEE.certificate(9))
    assert bench.read(lambda reader: reader.totals()).parked == 0
    assert bench.read(lambda reader: reader.totals()).documents == totals.parked


def test_one_town_has_so_much_waiting_and_takes_no_room_from_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest that it sent itself go first; what others sent stays."""
    if not hasattr(bench.store, "path"):
        pytest.skip("not meant: the simulator's store forgets nothing")
    monkeypatch.setattr(shelves, "PARKED_BYTES_MAX", 10_000)
    honest, flood = offer(BEE, "Bread", device=9), [Town(f"stranger {n}").certificate() for n in range(90)]

    def send(records: list[Record], sender: Town) -> None:
        bench.write(lambda tx: settle(tx, records, now_ms=NOW_S * 1_000, sure=True, sender=sender.id))

    send([honest], SEA)
    for record in flood:
        send([record], BEE)
    totals = bench.read(lambda reader: reader.totals())
    assert 5_000 < totals.parked_bytes <= 10_000 + len(honest.raw)
    waiting = bench.write(lambda tx: tx.known([honest.id, *(record.id for record in flood)]))
    assert honest.id in waiting and flood[-1].id in waiting and flood[0].id not in waiting


def test_what_strangers_have_waiting_is_not_read_when_authority_moves(bench: Bench) -> None:
    """Their certificates, acts and charters count only once somebody who counts names them."""
    stranger, other = Town("stranger"), Town("other")
    charter = stranger.charter("Far away", [stranger], [OWN])
    away = federation_of(charter)
    forged = OWN.join(away, device=77)
    bench.take(
        stranger.certificate(), other.certificate(), charter, other.charter("Else", [other], [OWN]),
        stranger.admit(away, other), forged, OWN.admit(RIVER, other, device=78),
    )  # fmt: skip
    if hasattr(bench.store, "path"):
        read = bench.write(lambda tx: {record.id for record in tx.authority_records()})
        assert read == {record.id for record in BASIS}
    assert set(bench.write(lambda tx: tx.authority()).rights) == {OWN.id, BEE.id, SEA.id}
    bench.hold(OWN.join(away))
    authority = bench.write(lambda tx: tx.authority())
    assert authority.federations[away].members == {stranger.id, OWN.id, other.id}
    assert authority.is_certified(other.id, DeviceId(other.device().public))


def test_remembered_drops_are_bounded_and_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(bench.store, "path"):
        pytest.skip("not meant: the simulator's store forgets nothing")
    monkeypatch.setattr(shelves, "DROPPED_MAX", 40)
    puts = [write(BEE, "offer", "n", {"title": f"Title {number}"}, later_ms=number) for number in range(100)]
    for start in range(0, 100, 10):
        bench.take(*puts[start : start + 10])
    dropped = bench.read(lambda reader: reader.totals()).dropped
    assert 30 < dropped <= 50
    assert puts[98].id in bench.write(lambda tx: tx.known([puts[98].id])), "the newest are remembered"
    bench.write(lambda tx: tx.tidy(NOW_S + 1_000_000))
    assert bench.read(lambda reader: reader.totals()).dropped == dropped, "not before they would end"
    bench.write(lambda tx: tx.tidy(NOW_S + 1_000_000 + shelves.DROPPED_KEPT_S))
    assert bench.read(lambda reader: reader.totals()).dropped == 0


def test_changed_documents_come_in_order_and_no_change_is_cut_apart(bench: Bench) -> None:
    start = bench.read(lambda reader: reader.change())
    batches = [[offer(BEE, f"Thing {batch} {each}") for each in range(4)] for batch in range(3)]
    for batch in batches:
        bench.hold(*batch)
    again = offer(BEE, "Thing 0 0 once more", nonce="Thing 0 0", later_ms=9)
    bench.hold(again)

    def asked(after: int, limit: int) -> list[tuple[int, Any]]:
        return bench.read(lambda reader: reader.changed_documents(after, limit))

    whole = asked(start, 99)
    assert [change - start for change, _ in whole] == [1] * 3 + [2] * 4 + [3] * 4 + [4]
    assert whole[-1][1] == again.doc
    some = asked(start, 5)
    assert [change - start for change, _ in some] == [1] * 3 + [2] * 4
    assert some + asked(some[-1][0], 99) == whole
    assert asked(start + 4, 99) == []


def test_changed_documents_are_those_of_the_board_and_for_strangers_none_of_the_home_set(
    bench: Bench,
) -> None:
    start = bench.read(lambda reader: reader.change())
    home, shared = offer(OWN, "For ourselves", federations=()), offer(OWN, "For all")
    gone = offer(OWN, "Once for ourselves", federations=())
    withdrawal = write(OWN, "offer", "Once for ourselves", None, federations=(), op=Op.DELETE, later_ms=9)
    assert withdrawal.doc == gone.doc
    bench.hold(home, shared, gone, write(SEA, "town.profile", "p", {"name": "Sea"}, federations=()))
    bench.hold(withdrawal)

    def told(home: bool) -> set[Any]:
        found = bench.read(lambda reader: reader.changed_documents(start, 99, home=home))
        return {doc for _, doc in found}

    assert told(home=True) == {home.doc, shared.doc, gone.doc}
    assert told(home=False) == {shared.doc}
    assert bench.read(lambda reader: reader.changed_documents(0, 99, home=False))[0][1] == shared.doc


def test_a_document_leaves_with_its_last_record_and_its_drop_is_remembered(bench: Bench) -> None:
    short = offer(BEE, "Soup", life_s=50)
    bench.hold(short, offer(BEE, "Bread"))
    bench.end(NOW_S + 49)
    assert bench.read(lambda reader: reader.totals()).records == len(BASIS) + 2
    bench.end(NOW_S + 50)
    totals = bench.read(lambda reader: reader.totals())
    assert (totals.records, totals.documents) == (len(BASIS) + 1, 1)
    verdict = bench.write(lambda tx: tx.known([short.id]))[short.id]
    assert (verdict.state, verdict.cause) == (State.DROPPED, EXPIRED)
    assert bench.write(lambda tx: tx.facts([short.doc])) == {}


def test_towns_have_the_name_and_place_of_their_newest_profile(bench: Bench) -> None:
    where: dict[str, Value] = {"name": "Ambierle", "lat": 4_610_000, "lon": 390_000}
    old = write(SEA, "town.profile", "p", {"name": "Old name"}, federations=())
    new = write(SEA, "town.profile", "p", {"name": "Ambierle", "where": where}, federations=(), later_ms=9)
    bench.hold(old)
    assert bench.read(lambda reader: reader.towns())[SEA.id].name == "Old name"
    bench.hold(new)
    facts = bench.read(lambda reader: reader.towns())[SEA.id]
    assert (facts.name, facts.lat, facts.lon) == ("Ambierle", 46.1, 3.9)
    bench.hold(write(SEA, "town.profile", "p", None, federations=(), op=Op.DELETE, later_ms=10))
    assert SEA.id not in bench.read(lambda reader: reader.towns())


def test_records_of_the_home_set_and_of_guides_are_kept_as_they_were_signed(bench: Bench) -> None:
    home = offer(OWN, "For ourselves", federations=())
    first = guide(BEE, "g", "Cut it")
    second = guide(BEE, "g", "Cut it well", cites=[first.id], later_ms=1)
    bench.hold(home, first, second, CHARTER)
    held = bench.read(lambda reader: reader.records([home.id, first.id, second.id]))
    assert {record.raw for record in held.values()} == {home.raw, first.raw, second.raw}
    assert bench.write(lambda tx: tx.lanes([home.id]))[home.id] == {(home_id(OWN.id), Lane.EVERYDAY)}
    assert sorted(bench.write(lambda tx: tx.document_records(first.doc))) == sorted([first.id, second.id])
