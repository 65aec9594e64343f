"""What the board shows: the fold of held records, and lists that every store gives alike."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import InvalidRequest
from node.intake import settle
from node.store import Document, Near, Page, Query, SqliteStore
from node.store import documents as documents_module
from node.store.documents import distance_km, fold
from protocol.encoding import Value
from protocol.ids import DocId, Lane, Op, RecordId, TownId, address, address_range, home_id
from protocol.record import Record, fields_of, make_body
from tests.node.stores import BASIS, BEE, OWN, RIVER, SEA, Bench, guide, offer, open_bench, write
from tests.sync.world import NOW_S, Town

ROANNE = (46.0362, 4.068)


@pytest.fixture(params=["sqlite", "memory"])
def bench(request: Any, tmp_path: Path) -> Iterator[Bench]:
    """A store with three towns in one federation."""
    made = open_bench(request.param, tmp_path)
    made.hold(*BASIS)
    yield made
    made.close()


def titles(bench: Bench, query: Query, now_s: int = NOW_S) -> list[Any]:
    """Return the titles of a page."""
    return [
        each.fields["title"] for each in bench.read(lambda reader: reader.documents(query, now_s)).documents
    ]


def counted(bench: Bench, query: Query, now_s: int) -> dict[str, int]:
    """Return how many documents of each kind a query names."""
    return dict(bench.read(lambda reader: reader.kind_counts(query, now_s)))


def show(bench: Bench, record: Record, now_s: int = NOW_S) -> Document:
    """Return the document of a record, whole."""
    found = bench.read(lambda reader: reader.document(record.doc, now_s))
    assert found is not None
    return found


# The fold.


def test_the_fold_of_a_guide_is_the_same_in_every_order() -> None:
    root = guide(BEE, "g", "Cut")
    left = guide(BEE, "g", "Cut well", cites=[root.id], later_ms=1)
    right = guide(BEE, "g", "Cut fast", cites=[root.id], later_ms=2)
    merge = guide(BEE, "g", "Cut well and fast", cites=[left.id, right.id], later_ms=0)
    broken = guide(BEE, "g", "?", cites=[merge.id], later_ms=9, body=make_body(bytes(16), {"title": "x"}))

    def heads(*records: Record) -> list[RecordId]:
        folds = {
            tuple(shown.record.id for shown in folded.heads)
            for order in permutations(records)
            if (folded := fold(order)) is not None
        }
        assert len(folds) == 1
        return list(folds.pop())

    assert heads(root) == [root.id]
    assert heads(root, left, right) == [right.id, left.id], "two heads stand side by side, the greatest first"
    assert heads(root, left, right, merge) == [merge.id]
    assert heads(left, right) == [right.id, left.id], "the root may be missing"
    assert heads(root, left, right, merge, broken) == [merge.id], "what cannot be read follows nothing"
    gone = write(BEE, "practice", "g", None, op=Op.DELETE)
    assert fold([root, left, gone]) is None


def test_a_guide_of_many_large_entries_is_folded_by_its_headers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more entry costs a few bodies read, not all; eight heads are shown, and how many more there are."""
    entries = [guide(BEE, "g", f"Way {number}", later_ms=number) for number in range(120)]
    for start in range(0, 120, 40):
        bench.hold(*entries[start : start + 40])
    opened: list[Record] = []

    def look(record: Record) -> Any:
        opened.append(record)
        return fields_of(record)

    monkeypatch.setattr(documents_module, "fields_of", look)
    last = guide(BEE, "g", "One more way", cites=[entries[5].id], later_ms=500)
    bench.hold(last)
    if isinstance(bench.store, SqliteStore):
        assert len(opened) == documents_module.HEADS_MAX
    [listed] = bench.read(lambda reader: reader.documents(Query(), NOW_S)).documents
    assert [each.id for each in listed.versions] == [last.id, *(each.id for each in entries[:112:-1])]
    assert (len(listed.versions), listed.more_heads, listed.id) == (8, 120 - 8, last.id)
    whole = bench.read(lambda reader: reader.document(last.doc, NOW_S))
    assert whole is not None
    assert (len(whole.versions), whole.more_heads) == (documents_module.VERSIONS_MAX, 120 - 8)
    assert whole.versions[-1].id == entries[0].id, "it tells who began"
    assert all(each.fields["title"] == "Guide g" for each in whole.versions)
    bench.hold(guide(BEE, "g", "At last", cites=[entry.id for entry in entries[-8:]], later_ms=501))
    [listed] = bench.read(lambda reader: reader.documents(Query(), NOW_S)).documents
    assert listed.more_heads == 113 - 8


def test_unreadable_followers_do_not_hide_a_document(bench: Bench) -> None:
    """Neither many of them, nor a chain: what they follow is shown in their place."""
    first = guide(BEE, "g", "Cut")
    bad = make_body(bytes(16), {"title": 7})
    chain = [first]
    for number in range(1, 20):
        chain.append(guide(BEE, "g", "", cites=[chain[-1].id], later_ms=number, body=bad))
    bench.hold(*chain)
    assert titles(bench, Query()) == ["Guide g"]
    bread = offer(BEE, "Bread", nonce="b")
    notes = [write(BEE, "offer", "b", {"title": "Note"}, op=Op.ENTRY, later_ms=n) for n in range(1, 90)]
    bench.hold(bread, *notes)
    assert set(titles(bench, Query())) == {"Guide g", "Bread"}


BAD: list[dict[str, Any]] = [
    {"body": b"\x01"},
    {"body": make_body(bytes(16), {"title": 7})},
    {"body": make_body(bytes(16), {})},
    {"fields": {}, "body": b"\x92\xc4\x01x\x80"},
    {"lane": Lane.LIBRARY},
    {"op": Op.ENTRY},
    {"life_s": 10_000 * 86_400},
]


@pytest.mark.parametrize("more", BAD)
def test_what_cannot_be_read_or_is_not_as_declared_is_held_and_not_shown(bench: Bench, more: Any) -> None:
    fields = more.get("fields", {"title": "Bread"})
    record = write(
        BEE, "offer", "n", fields, **{key: value for key, value in more.items() if key != "fields"}
    )
    bench.hold(record)
    assert bench.read(lambda reader: reader.raws([record.id])) == {record.id: record.raw}
    assert bench.read(lambda reader: reader.document(record.doc, NOW_S)) is None
    assert titles(bench, Query()) == []
    assert bench.read(lambda reader: reader.totals()).documents == 0


def test_a_document_shows_the_newest_put_and_is_gone_when_withdrawn(bench: Bench) -> None:
    where: dict[str, Value] = {"name": "Roanne", "lat": 4_603_000, "lon": 407_000}
    fields = {"where": where, "from_the_future": [1, {"a": None}]}
    first = offer(BEE, "Bread", nonce="n", fields=fields)
    bench.hold(offer(OWN, "Milk", later_ms=5), first)
    shown = show(bench, first)
    assert (shown.address, shown.doc, shown.id, shown.kind) == (
        address(first.doc),
        first.doc,
        first.id,
        "offer",
    )
    assert (shown.town, shown.town_name, shown.lane) == (BEE.id, "", Lane.EVERYDAY)
    assert (shown.federations, shown.own, shown.stamp) == ((RIVER,), False, first.header.stamp)
    assert (shown.born, shown.expires) == (first.header.born, first.header.expires)
    assert shown.fields == {"title": "Bread", **fields}
    assert titles(bench, Query()) == ["Milk", "Bread"]
    second = offer(BEE, "More bread", nonce="n", later_ms=9)
    bench.hold(second)
    assert [each.id for each in show(bench, first).versions] == [second.id]
    assert titles(bench, Query()) == ["More bread", "Milk"], "what has changed comes first"
    assert titles(bench, Query(text="bread")) == ["More bread"]
    bench.hold(write(BEE, "offer", "n", None, op=Op.DELETE, later_ms=1))
    assert titles(bench, Query()) == ["Milk"]
    assert titles(bench, Query(text="bread")) == []
    assert bench.read(lambda reader: reader.document(first.doc, NOW_S)) is None
    assert bench.read(lambda reader: reader.kind_counts(Query(), NOW_S)) == {"offer": 1}


def test_a_guide_shows_its_heads_in_lists_and_all_its_versions_on_its_page(bench: Bench) -> None:
    root = guide(BEE, "g", "Cut the cabbage")
    left = guide(BEE, "g", "Slice the cabbage", cites=[root.id], later_ms=1)
    right = guide(BEE, "g", "Grate the cabbage", cites=[root.id], later_ms=2)
    for record in (left, root, right):
        bench.hold(record)
    [listed] = bench.read(lambda reader: reader.documents(Query(), NOW_S)).documents
    assert [(each.id, each.is_head) for each in listed.versions] == [(right.id, True), (left.id, True)]
    whole = show(bench, root)
    assert [(each.id, each.is_head) for each in whole.versions] == [
        (right.id, True), (left.id, True), (root.id, False),
    ]  # fmt: skip
    assert whole.versions[1].fields["steps"] == [{"text": "Slice the cabbage"}]
    assert whole.versions[1].cites == (root.id,)
    assert whole.id == right.id
    assert [len(titles(bench, Query(text=word))) for word in ("slice", "grate", "cut")] == [1, 1, 0]
    merge = guide(BEE, "g", "Slice or grate", cites=[left.id, right.id], later_ms=3)
    bench.hold(merge)
    assert [each.id for each in show(bench, root).versions if each.is_head] == [merge.id]


# Lists.


def test_what_has_ended_is_hidden_at_that_second_also_from_counts(bench: Bench) -> None:
    until = offer(BEE, "Soup until ten", fields={"until": NOW_S + 10})
    bench.hold(until, offer(BEE, "Soup", life_s=20), offer(BEE, "Bread"))
    for second, expected in ((9, 3), (10, 2), (19, 2), (20, 1)):
        now_s = NOW_S + second
        assert len(titles(bench, Query(), now_s)) == expected
        assert counted(bench, Query(), now_s) == {"offer": expected}
        assert counted(bench, Query(own=False), now_s) == {"offer": expected}
    assert titles(bench, Query(text="soup"), NOW_S + 10) == ["Soup"]
    assert show(bench, until, NOW_S + 10).fields["title"] == "Soup until ten", "its page says that it is over"
    bench.end(NOW_S + 20)
    assert bench.read(lambda reader: reader.kind_counts(Query(), NOW_S)) == {"offer": 2}


def test_an_address_finds_its_document_and_no_other(bench: Bench) -> None:
    records = [offer(BEE, f"Thing {number}") for number in range(50)]
    bench.hold(*records)
    for record in records[:5]:
        found = between(bench, *address_range(address(record.doc)))
        assert [each.doc for each in found] == [record.doc]
    assert len(between(bench, DocId(bytes(16)), DocId(b"\xff" * 16))) == 16


def between(bench: Bench, low: DocId, high: DocId) -> list[Document]:
    """Return the documents whose ids lie there."""
    return bench.read(lambda reader: reader.documents_between(low, high, NOW_S))


def test_near_is_a_circle_on_the_ground_and_a_document_without_place_lies_in_its_town(bench: Bench) -> None:
    def at(lat: float, lon: float) -> dict[str, Value]:
        return {"where": {"name": "there", "lat": round(lat * 1e5), "lon": round(lon * 1e5)}}

    profile: dict[str, Value] = {"name": "Bee", **at(46.1, 4.2)}
    bench.hold(
        write(BEE, "town.profile", "p", profile, federations=()),
        offer(BEE, "In the town", later_ms=4),
        offer(BEE, "Elsewhere", fields=at(48.0, 2.0), later_ms=3),
        offer(SEA, "Close by", fields=at(46.0, 4.0), later_ms=2),
        offer(SEA, "Nobody knows", later_ms=1),
        offer(SEA, "Corner of the box", fields=at(46.0362 + 0.13, 4.068 + 0.19), later_ms=0),
    )
    near = Near(*ROANNE, km=15.0)
    page = bench.read(lambda reader: reader.documents(Query(near=near, count=True), NOW_S))
    assert [each.fields["title"] for each in page.documents] == ["In the town", "Close by"]
    assert page.total == 2
    assert all(each.distance_km is not None and each.distance_km <= 15 for each in page.documents)
    assert page.documents[0].town_name == "Bee"
    assert bench.read(lambda reader: reader.kind_counts(Query(near=near), NOW_S)) == {"offer": 2}
    fiji = offer(SEA, "Over the date line", fields=at(-17.0, -179.99))
    bench.hold(fiji)
    assert titles(bench, Query(near=Near(-17.0, 179.99, 5.0))) == ["Over the date line"]


def test_distances_are_those_of_the_map() -> None:
    assert distance_km(*ROANNE, *ROANNE) == 0
    assert 66.5 < distance_km(*ROANNE, 45.764, 4.8357) < 67.0  # Lyon, as the crow flies
    assert 19_900 < distance_km(0, 0, 0, 180) < 20_100


def test_a_cursor_that_is_none_of_ours_is_refused(bench: Bench) -> None:
    for cursor in ("", "xyz", "-1", "f" * 40):
        with pytest.raises(InvalidRequest):
            titles(bench, Query(cursor=cursor))


def test_the_place_of_one_more_document_of_a_stamp_is_found_without_trying_each(bench: Bench) -> None:
    """Whoever sends thousands of one stamp does not make the writer ask thousands of times."""
    if not isinstance(bench.store, SqliteStore):
        pytest.skip("not meant: in memory places are worked out at each asking")
    for start in range(0, 400, 100):
        bench.hold(*(offer(BEE, f"Thing {number}", stamp=7) for number in range(start, start + 100)))
    asked: list[str] = []

    def take(tx: Any) -> None:
        tx.connection.set_trace_callback(asked.append)
        newcomers = [offer(BEE, "One more", stamp=7), offer(BEE, "And one", stamp=8)]
        settle(tx, newcomers, now_ms=NOW_S * 1_000, sure=True)
        tx.connection.set_trace_callback(None)

    bench.write(take)
    assert len([each for each in asked if "place" in each]) < 20
    assert titles(bench, Query(limit=3)) == ["And one", "One more", "Thing 399"]


def test_documents_of_one_stamp_each_have_a_place(bench: Bench) -> None:
    records = [offer(town, f"Thing {number}", stamp=5) for number in range(20) for town in (BEE, SEA)]
    for start in range(0, 40, 7):
        bench.hold(*records[start : start + 7])
    seen = pages(bench, Query(limit=3))
    assert Counter(seen) == Counter(record.doc for record in records)


def test_extreme_stamps_keep_their_order(bench: Bench) -> None:
    stamps = [0, 1, 2**62 - 1, 2**62, 2**62 + 8, 2**63, 2**64 - 9, 2**64 - 1]
    records = [offer(BEE, f"Thing {stamp}", stamp=stamp) for stamp in stamps]
    random.Random(1).shuffle(records)
    for record in records:
        bench.take(record, sure=False)
    found = bench.read(lambda reader: reader.documents(Query(), NOW_S)).documents
    assert [each.stamp for each in found] == sorted(stamps, reverse=True)


def pages(bench: Bench, query: Query, now_s: int = NOW_S) -> list[bytes]:
    """Walk all pages of a query; return the documents in order."""
    from dataclasses import replace

    found: list[bytes] = []
    while True:
        page = bench.read(lambda reader: reader.documents(query, now_s))  # noqa: B023
        found += [each.doc for each in page.documents]
        if page.cursor is None:
            return found
        assert query.limit is not None and len(page.documents) == query.limit
        query = replace(query, cursor=page.cursor)


KINDS = ("offer", "need", "skill", "practice")
TOWNS = (OWN, BEE, SEA)
WORDS = ("bread", "ladder", "école", "repairing", "the")


def shelf(seed: int) -> list[Record]:
    """Return many documents with edits, deletes and ends."""
    chance = random.Random(seed)
    found: list[Record] = []
    for number in range(60):
        town, kind = chance.choice(TOWNS), chance.choice(KINDS)
        text = " ".join(chance.sample(WORDS, 2))
        fields: dict[str, Value] = {"lang": chance.choice(["en", "fr"])}
        if chance.random() < 0.3:
            fields["until"] = NOW_S + 30
        if chance.random() < 0.5:
            fields["where"] = {"name": "x", "lat": chance.choice([4_603_000, 4_900_000]), "lon": 407_000}
        fields["name" if kind == "skill" else "title"] = f"{text} {number}"
        if kind == "practice":
            fields = {"title": f"{text} {number}", "steps": [{"text": "Begin"}], "lang": "en"}
        elif kind in ("skill",):
            fields.pop("where", None)
        fields = {name: value for name, value in fields.items() if name in _known(kind)}
        audience = () if town is OWN and chance.random() < 0.4 else (RIVER,)
        life_s = chance.choice([40, 100_000])
        nonce = str(number)
        for version in range(chance.choice([1, 1, 2])):
            found.append(
                write(town, kind, nonce, fields, later_ms=chance.randrange(50) + 60 * version,
                      federations=audience, life_s=life_s)
            )  # fmt: skip
        if chance.random() < 0.1:
            found.append(write(town, kind, nonce, None, op=Op.DELETE, federations=audience, life_s=life_s))
    chance.shuffle(found)
    return found


def _known(kind: str) -> set[str]:
    from protocol.kinds import KINDS as DECLARED

    return {each.name for each in DECLARED[kind].fields}


def queries() -> st.SearchStrategy[Query]:
    """Return every combination of what a page may ask."""
    return st.builds(
        Query,
        kinds=st.sampled_from([(), ("offer",), ("need", "practice"), ("skill", "offer", "need")]),
        town=st.sampled_from([None, None, BEE.id, OWN.id, TownId(bytes(32))]),
        federation=st.sampled_from([None, None, RIVER, home_id(OWN.id), home_id(BEE.id)]),
        text=st.sampled_from(["", "", "bread", "ecole ", "repair", "the lad", "brea lad", "?!", "breads "]),
        near=st.sampled_from([None, None, None, Near(*ROANNE, 20.0)]),
        own=st.sampled_from([None, None, True, False]),
        home=st.booleans(),
        limit=st.sampled_from([1, 3, 7, 1_000]),
        count=st.booleans(),
    )


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32), asked=st.lists(queries(), min_size=8, max_size=8))
def test_both_stores_list_alike_whatever_is_asked(
    tmp_path_factory: Any, seed: int, asked: Sequence[Query]
) -> None:
    """Pages together are the whole, no document twice; counts are what the pages hold."""
    from dataclasses import replace

    benches = [open_bench(which, tmp_path_factory.mktemp("store")) for which in ("sqlite", "memory")]
    try:
        records = shelf(seed)
        for bench in benches:
            bench.hold(*BASIS)
            for start in range(0, len(records), 13):
                bench.take(*records[start : start + 13])
        for query in asked:
            for now_s in (NOW_S, NOW_S + 30, NOW_S + 40):
                whole = replace(query, limit=None, count=True, cursor=None)
                answers = [bench.read(lambda r: r.documents(whole, now_s)) for bench in benches]  # noqa: B023
                assert _by_doc(answers[0]) == _by_doc(answers[1])
                assert len(answers[0].documents) == answers[0].total == answers[1].total
                stamps = [each.stamp for each in answers[0].documents]
                assert stamps == sorted(stamps, reverse=True)
                counts = [bench.read(lambda r: r.kind_counts(query, now_s)) for bench in benches]  # noqa: B023
                assert counts[0] == counts[1]
                kinds = Counter(each.kind for each in answers[0].documents)
                assert {k: n for k, n in counts[0].items() if k in (query.kinds or KINDS)} == kinds
            assert pages(benches[0], query) == [each.doc for each in listed(benches[0], query)]
    finally:
        for bench in benches:
            bench.close()


def _by_doc(page: Page) -> dict[DocId, Document]:
    return {each.doc: each for each in page.documents}


def listed(bench: Bench, query: Query) -> tuple[Document, ...]:
    """Return all that a query names."""
    from dataclasses import replace

    whole = replace(query, limit=None, cursor=None)
    return bench.read(lambda reader: reader.documents(whole, NOW_S)).documents


def test_every_list_goes_along_an_index(tmp_path: Path) -> None:
    """However many documents there are, no page sorts or walks through all of them."""
    bench = open_bench("sqlite", tmp_path)
    bench.hold(*BASIS, *(offer(BEE, f"Thing {number}", later_ms=number) for number in range(300)))
    plans: list[str] = []
    for query in (
        Query(), Query(kinds=("offer",)), Query(kinds=("offer", "need")), Query(town=BEE.id), Query(own=True),
        Query(own=False, kinds=("offer",)), Query(text="thing"), Query(federation=RIVER), Query(home=False),
    ):  # fmt: skip
        statements: list[str] = []

        def look(reader: Any, query: Query = query, statements: list[str] = statements) -> None:
            reader.connection.set_trace_callback(statements.append)
            reader.documents(query, NOW_S)
            reader.connection.set_trace_callback(None)
            for statement in statements:
                if "documents" in statement:
                    plans.extend(str(row[3]) for row in reader.rows(f"EXPLAIN QUERY PLAN {statement}"))

        bench.read(look)
    assert plans
    bad = [
        plan
        for plan in plans
        if plan.startswith("SCAN") and "VIRTUAL TABLE" not in plan and "INDEX" not in plan
    ]
    assert bad == []
    assert [plan for plan in plans if "TEMP B-TREE FOR ORDER BY" in plan] == []
    bench.close()


def test_a_town_that_nobody_heard_of_has_no_documents(bench: Bench) -> None:
    assert titles(bench, Query(town=Town("nowhere").id)) == []
