"""An incident is said once, stays through a restart, and goes when it is put away."""

from pathlib import Path

import pytest

from node.incidents import INCIDENTS_MAX, SHOWN_MAX, Incident, Incidents
from node.store import Transaction
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


def test_incidents_are_bounded(tmp_path: Path) -> None:
    """The oldest go first; of the rest the newest are shown."""
    bench = open_bench("memory", tmp_path)

    def fill(tx: Transaction) -> None:
        for number in range(INCIDENTS_MAX + 5):
            INCIDENTS.add(tx, "odd", str(number), number.to_bytes(2, "big"))

    bench.write(fill)
    assert bench.read(lambda reader: reader.rows("SELECT count(*) FROM incidents")) == [(INCIDENTS_MAX,)]
    shown = bench.read(INCIDENTS.list)
    assert (len(shown), shown[-1].says) == (SHOWN_MAX, str(INCIDENTS_MAX + 4))
    bench.close()
