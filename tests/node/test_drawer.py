"""What the own town's records leave behind when they stand no more: kept for 30 days, and heard again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.store import shelves
from node.store.shelves import KEPT_S
from protocol.ids import Op
from tests.node.stores import BASIS, BEE, OWN, Bench, offer, open_bench
from tests.sync.world import NOW_S

HONEST = offer(OWN, "Bread", nonce="x")
THEFT = offer(OWN, "Gold", nonce="x", device=2, later_ms=9)
HARM = offer(OWN, "", nonce="y", device=2, op=Op.DELETE, later_ms=9)
SPOILT = offer(OWN, "Soup", nonce="y")
REVOKE = OWN.revoke(2)


@pytest.fixture(params=["sqlite", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Either store, with three towns in it."""
    made = open_bench(request.param, tmp_path)
    made.hold(*BASIS)
    yield made
    made.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Bench]:
    """The store that has bounds."""
    made = open_bench("sqlite", tmp_path)
    made.hold(*BASIS)
    yield made
    made.close()


def drawn(bench: Bench) -> set[bytes]:
    """Return the ids of what lies in the drawer."""
    return {each.id for each in bench.write(lambda tx: tx.drawer())}


def held(bench: Bench, *ids: bytes) -> bool:
    """Tell whether all of these are held."""
    return len(bench.read(lambda reader: reader.records(ids))) == len(ids)  # type: ignore[arg-type]


def test_what_was_superseded_stands_again_in_the_transaction_that_takes_the_right(bench: Bench) -> None:
    bench.take(HONEST, SPOILT)
    bench.take(THEFT, HARM)
    assert drawn(bench) == {HONEST.id, SPOILT.id}
    taken = bench.take(REVOKE)
    assert held(bench, HONEST.id, SPOILT.id, REVOKE.id) and not held(bench, THEFT.id)
    assert drawn(bench) == set()
    entered = {id for lane in taken.lanes for id in lane.added}
    assert {HONEST.id, SPOILT.id, REVOKE.id} <= entered


def test_what_comes_after_what_supersedes_it_lies_in_the_drawer_too(bench: Bench) -> None:
    bench.take(THEFT)
    bench.take(HONEST)
    assert drawn(bench) == {HONEST.id}
    bench.take(REVOKE)
    assert held(bench, HONEST.id)


def test_what_waited_and_is_superseded_when_it_may_stand_goes_to_the_drawer(bench: Bench) -> None:
    late = offer(OWN, "Old bread", nonce="x", device=3, later_ms=-5)
    bench.take(HONEST)
    bench.take(late)
    assert drawn(bench) == set()
    bench.take(OWN.certificate(3))
    assert drawn(bench) == {late.id}


def test_of_other_towns_nothing_is_kept_and_what_was_forgotten_is_welcome_again(bench: Bench) -> None:
    first, second = offer(BEE, "A", nonce="x"), offer(BEE, "B", nonce="x", device=2, later_ms=9)
    bench.take(first, second)
    assert drawn(bench) == set()
    bench.take(BEE.revoke(2))
    assert not held(bench, first.id)
    bench.take_raw(first.raw)
    assert held(bench, first.id)


def test_a_keep_list_brings_back_what_a_revocation_took(bench: Bench) -> None:
    bench.take(HONEST, THEFT, REVOKE)
    bench.take(OWN.keep(THEFT))
    assert held(bench, THEFT.id) and drawn(bench) == {HONEST.id}


def test_a_certificate_that_a_thief_of_the_town_key_withdrew_counts_again(bench: Bench) -> None:
    """Authority is resolved with what lies in the drawer, or the device would not be certified by it."""
    gone = OWN.certificate(1, op=Op.DELETE, stamp=5)
    bench.take(HONEST)
    bench.take(gone)
    assert OWN.certificate(1).id in drawn(bench) and not held(bench, HONEST.id)
    bench.take(OWN.rotate(), OWN.keep(OWN.certificate(1), key=OWN.later_key(1)))
    assert held(bench, OWN.certificate(1).id)
    assert bench.read(lambda reader: reader.authority()) == bench.write(lambda tx: tx.authority())
    assert bench.write(lambda tx: tx.authority()).rights_of(OWN.id).devices == {OWN.device(1).public}


def test_a_revocation_that_one_peer_sends_costs_nothing_of_what_loses_its_right(
    sqlite: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one town may have waiting here is what it sent, not what its news let wait."""
    monkeypatch.setattr(shelves, "PARKED_BYTES_MAX", 1_000)
    posts = [offer(OWN, f"Post {number}", device=2) for number in range(20)]
    sqlite.hold(*posts)
    from node.intake import take_in

    sqlite.write(lambda tx: take_in(tx, [REVOKE.raw], now_ms=NOW_S * 1_000, sure=True, sender=BEE.id))
    assert sqlite.read(lambda reader: reader.totals()).parked == 20
    sqlite.take(OWN.keep(*posts))
    assert held(sqlite, *(each.id for each in posts))


def test_the_drawer_and_what_waits_are_let_go_after_thirty_days_of_sure_time(sqlite: Bench) -> None:
    life_s = 2 * KEPT_S
    sqlite.take(offer(OWN, "Bread", nonce="x", life_s=life_s), offer(OWN, "Soup", nonce="y", life_s=life_s))
    sqlite.take(*(offer(OWN, "New", nonce=nonce, life_s=life_s, later_ms=9) for nonce in ("x", "y")))
    uncertified = offer(OWN, "Waits", device=9, life_s=life_s)
    sqlite.take(uncertified)
    sqlite.write(lambda tx: tx.tidy(NOW_S))
    sqlite.write(lambda tx: tx.tidy(NOW_S + KEPT_S - 1))
    assert len(drawn(sqlite)) == 2 and sqlite.read(lambda reader: reader.totals()).parked == 1
    sqlite.write(lambda tx: tx.tidy(NOW_S + KEPT_S))
    assert drawn(sqlite) == set() and sqlite.read(lambda reader: reader.totals()).parked == 0


def test_what_has_ended_leaves_the_drawer(sqlite: Bench) -> None:
    short = offer(OWN, "Short", nonce="x", life_s=60)
    sqlite.take(short, offer(OWN, "Short too", nonce="x", life_s=60, later_ms=9))
    assert drawn(sqlite) == {short.id}
    sqlite.write(lambda tx: tx.tidy(NOW_S + 60))
    assert drawn(sqlite) == set()


def test_the_drawer_is_bounded_and_the_oldest_go_first(
    sqlite: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(HONEST.raw)
    monkeypatch.setattr(shelves, "DRAWER_BYTES_MAX", 4 * size)
    versions = [offer(OWN, "Bread", nonce="x", later_ms=number) for number in range(9)]
    for each in versions:
        sqlite.take(each)
    left = drawn(sqlite)
    assert versions[7].id in left and versions[0].id not in left and len(left) <= 4


def test_every_cause_of_a_verdict_is_in_the_table() -> None:
    """What the rules give as a cause is data: state, memory, and what lifts it."""
    from sync import authority, verdict

    names = ["UNCERTIFIED", "NOT_MEMBER", "UNKNOWN_FEDERATION", "NOT_OURS", "CHARTER_STANDS", "ACT_STANDS"]
    names += ["NO_SUCCESSOR", "STEP_STANDS", "UNRESOLVED"]
    codes = {getattr(authority, name) for name in names}
    codes |= {verdict.SUPERSEDED, verdict.EXPIRED, verdict.FUTURE, verdict.QUOTA, verdict.HELD_NOW}
    assert codes <= {each.code for each in verdict.CAUSES}
    assert verdict.final_causes() == {
        authority.NOT_OURS, authority.CHARTER_STANDS, authority.STEP_STANDS, authority.ACT_STANDS,
        authority.NO_SUCCESSOR, verdict.EXPIRED,
    }  # fmt: skip
