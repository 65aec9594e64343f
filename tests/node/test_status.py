"""What people read about their neighbours: plain sentences, each of them true."""

from dataclasses import replace

import pytest

from node.status import PeerFacts, ago, at_time, peer_row, records, sentence
from node.transport.dialer import Reach
from protocol.ids import FederationId, TownId

NOW_MS = 1_790_000_000_000
VALLEY = FederationId(b"v" * 16)

UP = PeerFacts(
    town=TownId(b"\xc4" * 32),
    name="Charlieu",
    urls=("http://charlieu.example",),
    reach=Reach.UP,
    last_heard_ms=NOW_MS - 4_000,
    backlog_out=0,
    backlog_in=0,
    next_contact_ms=None,
    inbound_only=False,
    serves=(VALLEY,),
    shared=(VALLEY,),
    is_idle=True,
)
DOWN = replace(UP, reach=Reach.DOWN, serves=(), is_idle=False)
LONG_AGO = DOWN.last_heard_ms or 0


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (UP, "Charlieu: up to date, heard 4 s ago"),
        (replace(UP, name=""), "Town c4c4c4c4: up to date, heard 4 s ago"),
        (replace(UP, is_idle=False), "Charlieu: comparing with us, heard 4 s ago"),
        (replace(UP, backlog_out=12), "Charlieu: catching up, 12 records wait for it, heard 4 s ago"),
        (replace(UP, backlog_in=3), "Charlieu: sending us what we lack, heard 4 s ago"),
        (
            replace(UP, backlog_in=3, backlog_out=1),
            "Charlieu: catching up both ways, 1 record waits for it, heard 4 s ago",
        ),
        (replace(UP, serves=()), "Charlieu: linked, not yet agreed on a federation, heard 4 s ago"),
        (replace(UP, serves=(), shared=()), "Charlieu: linked, but in no federation with us, heard 4 s ago"),
        (
            replace(UP, reach=Reach.LATE, last_heard_ms=NOW_MS - 23_000),
            "Charlieu: no answer just now, heard 23 s ago; calling it",
        ),
        (
            replace(DOWN, backlog_out=12),
            f"Charlieu: not heard since {at_time(LONG_AGO, NOW_MS)}, 12 records wait for it; calling it",
        ),
        (
            replace(DOWN, next_contact_ms=NOW_MS + 42_000),
            f"Charlieu: not heard since {at_time(LONG_AGO, NOW_MS)}; the next call is in 42 s",
        ),
        (
            replace(DOWN, next_contact_ms=NOW_MS + 3_001, failure="connection refused"),
            f"Charlieu: not heard since {at_time(LONG_AGO, NOW_MS)}; "
            "calling it fails: connection refused; next try in 4 s",
        ),
        (
            replace(DOWN, next_contact_ms=NOW_MS, failure="no answer", last_heard_ms=None),
            "Charlieu: never heard yet; calling it fails: no answer; trying again now",
        ),
        (
            replace(UP, reach=Reach.LATE, last_heard_ms=NOW_MS - 125_000, failure="no answer"),
            "Charlieu: no answer just now, heard 2 min ago; calling it fails: no answer; trying again now",
        ),
        (
            replace(DOWN, last_heard_ms=NOW_MS - 3 * 86_400_000),
            f"Charlieu: not heard since {at_time(NOW_MS - 3 * 86_400_000, NOW_MS)}; calling it",
        ),
        (replace(DOWN, last_heard_ms=None), "Charlieu: never heard yet; calling it"),
        (
            replace(DOWN, last_heard_ms=None, urls=(), inbound_only=True),
            "Charlieu: never heard yet; inbound only: it calls us",
        ),
    ],
)
def test_the_sentence_says_how_a_neighbour_stands(facts: PeerFacts, says: str) -> None:
    assert sentence(facts, NOW_MS) == says


@pytest.mark.parametrize(
    ("ms", "says"),
    [
        (-5_000, "0 s ago"),
        (0, "0 s ago"),
        (59_999, "59 s ago"),
        (60_000, "1 min ago"),
        (7_200_000, "2 h ago"),
        (86_399_999, "23 h ago"),
        (3 * 86_400_000, f"on {at_time(NOW_MS - 3 * 86_400_000, NOW_MS)}"),
    ],
)
def test_how_long_ago_is_said_in_the_unit_that_people_would_use(ms: int, says: str) -> None:
    assert ago(NOW_MS - ms, NOW_MS) == says


def test_a_moment_of_another_day_says_its_day() -> None:
    assert len(at_time(NOW_MS, NOW_MS)) == len("06:10")
    assert len(at_time(NOW_MS - 3 * 86_400_000, NOW_MS)) == len("2026-07-31 06:10")


def test_one_record_waits_and_two_wait() -> None:
    assert (records(1), records(2), records(12_000)) == (
        "1 record waits",
        "2 records wait",
        "12,000 records wait",
    )


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (UP, "up"),
        (replace(UP, reach=Reach.LATE), "up"),
        (DOWN, "dialing"),
        (replace(DOWN, inbound_only=True), "down"),
    ],
)
def test_a_row_has_all_that_programs_rely_on(facts: PeerFacts, state: str) -> None:
    row = peer_row(facts, NOW_MS)
    assert row["state"] == state
    assert row.keys() == {
        "town",
        "name",
        "url",
        "state",
        "last_heard_ms",
        "backlog_out",
        "backlog_in",
        "next_contact_ms",
        "failing_url",
        "says",
    }
