"""An incident is said once, stays through a restart, and goes when it is put away."""

from pathlib import Path

import pytest

from node.incidents import (
    INCIDENTS_MAX,
    NOTICED_OF_ONE,
    OF_ONE_SHOWN,
    Incident,
    Incidents,
    Noticed,
    Seen,
    named,
    town_words,
)
from node.store import Transaction
from protocol.ids import TownId
from tests.node.stores import open_bench

NOW_MS = 1_790_000_000_000
INCIDENTS = Incidents(lambda: NOW_MS)
SIGNED_TWICE = Incident(NOW_MS, "double_signer", "Bee signed two steps")


@pytest.mark.parametrize("which", ["sqlite", "memory"])
def test_an_incident_is_said_once_for_each_thing_that_it_is_about(which: str, tmp_path: Path) -> None:
    """Whatever is said the second time; another thing is another incident."""
    bench = open_bench(which, tmp_path)

    def add(tx: Transaction) -> list[bool]:
        said = ((b"a", "Bee signed two steps"), (b"a", "again"), (b"b", "Sea did"))
        return [INCIDENTS.add(tx, "double_signer", says, about) for about, says in said]

    assert bench.write(add) == [True, False, True]
    assert [each.says for each in bench.read(INCIDENTS.list)] == ["Bee signed two steps", "Sea did"]
    bench.close()


def test_an_incident_stays_until_it_is_put_away(tmp_path: Path) -> None:
    """Also through a restart; what was put away does not come back when it is noticed again."""

    def add(tx: Transaction) -> bool:
        return INCIDENTS.add(tx, SIGNED_TWICE.code, SIGNED_TWICE.says, b"a")

    bench = open_bench("sqlite", tmp_path)
    assert bench.write(add)
    bench.close()
    again = open_bench("sqlite", tmp_path)
    assert again.read(INCIDENTS.list) == [SIGNED_TWICE]
    assert again.write(INCIDENTS.put_away) == 1
    assert not again.write(add)
    assert again.read(INCIDENTS.list) == []
    again.close()


def test_whoever_is_the_cause_of_many_incidents_crowds_out_its_own_only(tmp_path: Path) -> None:
    """Of one source and code the oldest go first, the newest are shown, and the others are counted."""
    bench = open_bench("memory", tmp_path)
    extra = 5

    def fill(tx: Transaction) -> None:
        INCIDENTS.add(tx, SIGNED_TWICE.code, SIGNED_TWICE.says, b"a", source=b"bee")
        for number in range(INCIDENTS_MAX + extra):
            INCIDENTS.add(tx, "odd", str(number), number.to_bytes(2, "big"), source=b"evil")
        INCIDENTS.add(tx, "odd", "of Sea", b"sea", source=b"sea")

    bench.write(fill)
    assert bench.read(lambda reader: reader.rows("SELECT count(*) FROM incidents")) == [(INCIDENTS_MAX,)]
    shown = bench.read(INCIDENTS.list)
    last = INCIDENTS_MAX + extra - 1
    more = f"{INCIDENTS_MAX - 2 - OF_ONE_SHOWN} more like it"
    assert [each.says for each in shown] == [
        SIGNED_TWICE.says, str(last - 2), str(last - 1), f"{last} (and {more})", "of Sea"
    ]  # fmt: skip
    bench.close()


def test_what_was_noticed_is_bounded_for_each_source_and_code() -> None:
    noticed = Noticed()
    noticed.add(Seen(1, None, "bad_records", "of a neighbour"), source=b"bee")
    for number in range(NOTICED_OF_ONE + 1):
        noticed.add(Seen(2 + number, None, "invitation_unknown", str(number)), source=b"")
    assert [each.says for each in noticed] == [
        "of a neighbour",
        *map(str, range(1, NOTICED_OF_ONE + 1)),
    ]
    noticed.clear()
    assert list(noticed) == []


def test_a_town_whose_name_came_later_is_named_when_the_incident_is_shown() -> None:
    bee, sea = TownId(b"b" * 32), TownId(b"s" * 32)
    says = f"{town_words(bee)}'s key was in two places; {town_words(sea, 'Sea')} did nothing"
    assert named(says, {}) == says
    assert named(says, {bee: "Bee", sea: "Sea"}) == "Bee's key was in two places; Sea did nothing"
    twin = TownId(b"b" * 31 + b"x")
    assert named(says, {bee: "Bee", twin: "Twin"}) == says, "no name is guessed"
