"""What both stores find of ledgers and claims: by kind since a change, by share, and those in use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.store import applying, records
from protocol.ids import DocId, Op, RecordId
from protocol.record import Record
from sync.ledger import fields_of_entry
from sync.promises import Act, Word
from tests.node.stores import BASIS, BEE, OWN, SEA, Bench, open_bench, write


@pytest.fixture(params=["sqlite", "memory"])
def bench(request: Any, tmp_path: Path) -> Iterator[Bench]:
    """A store that knows the towns."""
    made = open_bench(request.param, tmp_path)
    made.hold(*BASIS)
    yield made
    made.close()


PARENT, CLAIM = DocId(b"p" * 16), DocId(b"c" * 16)
SHARE = fields_of_entry(1, Word(Act.CAPACITY, milli=8_000, parent=PARENT, parent_claim=CLAIM))
ALONE = fields_of_entry(1, Word(Act.CAPACITY, milli=8_000))


def test_the_ledgers_over_a_share_are_found_by_town_and_go_with_their_records(bench: Bench) -> None:
    mine = write(BEE, "ledger", "one", SHARE)
    rival = write(BEE, "ledger", "two", SHARE)
    other = write(SEA, "ledger", "three", SHARE)
    alone = write(BEE, "ledger", "four", ALONE)
    broken = write(BEE, "ledger", "five", {"n": "one", "act": "capacity", "parent": PARENT})
    bench.hold(mine, rival, other, alone, broken)
    found = bench.read(lambda reader: reader.shares_of(PARENT, CLAIM, BEE.id))
    assert found == sorted([mine.doc, rival.doc])
    assert bench.read(lambda reader: reader.shares_of(PARENT, CLAIM, SEA.id)) == [other.doc]
    assert bench.read(lambda reader: reader.shares_of(PARENT, PARENT, BEE.id)) == []
    kin = [(each.doc, PARENT) for each in (mine, rival, other)]
    assert bench.read(lambda reader: reader.shares()) == sorted(kin)
    bench.hold(write(BEE, "ledger", "one", None, op=Op.DELETE, later_ms=1))
    assert bench.read(lambda reader: reader.shares_of(PARENT, CLAIM, BEE.id)) == [rival.doc]


def test_own_ledgers_are_in_use_when_anything_was_said_after_their_first_entry(bench: Bench) -> None:
    first = write(OWN, "ledger", "one", ALONE)
    idle = write(OWN, "ledger", "two", ALONE)
    foreign = write(BEE, "ledger", "one", ALONE)
    more = fields_of_entry(2, Word(Act.CAPACITY, milli=9_000))
    second = write(OWN, "ledger", "one", more, cites=(first.id,), later_ms=1)
    bench.hold(first, idle, foreign, second)
    bench.hold(write(BEE, "ledger", "one", more, cites=(foreign.id,), later_ms=1))
    assert bench.read(lambda reader: reader.ledgers_in_use()) == [first.doc]


def test_records_of_a_kind_are_found_since_a_change(bench: Bench) -> None:
    first = write(BEE, "receipt", "one", {"ledger": PARENT, "claim": CLAIM, "ok": "yes"})
    bench.hold(first, write(BEE, "ledger", "one", ALONE))
    change = bench.read(lambda reader: reader.change())
    second = write(SEA, "receipt", "two", {"ledger": PARENT, "claim": CLAIM, "ok": "no"})
    bench.hold(second)
    everything = bench.read(lambda reader: reader.held_since("receipt", 0))
    assert [record.id for _, record in everything] == [first.id, second.id]
    [(since, newest)] = bench.read(lambda reader: reader.held_since("receipt", change))
    assert (since, newest.id) == (change + 1, second.id)
    mine = write(OWN, "offer", "one", {"title": "Apples"}, op=Op.PUT, later_ms=1)
    bench.hold(mine, write(BEE, "offer", "one", {"title": "Pears"}, op=Op.PUT, later_ms=1))
    found = bench.read(
        lambda reader: [reader.own_since(("offer", "need"), at) for at in (change, change + 2)]
    )
    assert [[record.id for record in each] for each in found] == [[mine.id], []]
    gone = write(SEA, "receipt", "two", None, op=Op.DELETE, later_ms=1)
    bench.hold(gone)
    assert [record.id for _, record in bench.read(lambda reader: reader.held_since("receipt", 0))] == [
        first.id,
        gone.id,
    ]


def test_one_more_entry_of_a_ledger_opens_none_of_those_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No page shows a ledger, so there is nothing to fold: a full one would cost 4,096 records each time."""
    entries = [write(BEE, "ledger", "one", ALONE, later_ms=at) for at in range(16)]
    bench.hold(*entries[:-1])
    opened, real = list[RecordId](), records.to_record

    def counted(parts: Any) -> Record:
        record = real(parts)
        opened.append(record.id)
        return record

    for module in (applying, records):
        monkeypatch.setattr(module, "to_record", counted)
    bench.hold(entries[-1])
    assert opened == []
    monkeypatch.undo()
    held = bench.read(lambda reader: reader.document_records(entries[0].doc))
    assert sorted(held) == sorted(each.id for each in entries)
