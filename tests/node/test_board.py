"""What people do on the board: on a real store and through the real door."""

from __future__ import annotations

import json
from typing import Any

import pytest

from node.board import Post, head_ids
from node.errors import (
    InvalidRequest,
    LimitReached,
    NoFederation,
    NotFound,
    NotOurs,
    Refused,
    StaleEdit,
    UnknownKind,
)
from node.exchange import raw_of_line, record_json
from node.promises.shelf import ledger_at
from node.store import Query
from protocol.errors import InvalidAddress, InvalidField
from protocol.ids import FederationId, Op, show_address
from protocol.record import check_signature, open_record
from sync.ledger import ledger_id
from tests.node.conftest import StillClock, Town
from tests.node.valley import Side

STEPS: list[Any] = [{"text": "Cut the cabbage"}, {"text": "Salt it", "minutes": 20}]


async def test_a_post_is_shown_with_what_was_said_and_shared_with_all_federations(node: Any) -> None:
    posted = await node.board.post("offer", {"title": "Twenty loaves"}, by="alice")
    shown = await node.board.show(show_address(posted.address).lower())
    assert shown.id == posted.id
    assert shown.fields == {"title": "Twenty loaves", "by": "alice"}
    assert shown.federations == (node.federation,)
    assert shown.own
    assert shown.town_name == "Roanne"


async def test_a_need_too_is_shared_unless_its_poster_says_otherwise(node: Any) -> None:
    shared = await node.board.post("need", {"title": "Blankets for the hall"})
    kept = await node.board.post("need", {"title": "Company in the evening"}, audience="town")
    assert (await node.board.show(shared.address)).federations == (node.federation,)
    assert (await node.board.show(kept.address)).federations == ()


async def test_an_audience_that_this_town_is_not_in_is_refused(node: Any) -> None:
    with pytest.raises(NoFederation):
        await node.board.post("offer", {"title": "Bread"}, audience=(FederationId(b"x" * 16),))
    assert await node.all() == []


async def test_what_a_town_keeps_for_itself_is_bounded_and_what_it_shares_is_not(node: Any) -> None:
    node.intake.home_documents_max = 2
    kept = await node.board.post("need", {"title": "Company"}, audience="town", nonce=bytes(8))
    posts = [Post("skill", {"name": f"Skill {number}"}, audience="town") for number in range(2)]
    with pytest.raises(LimitReached, match="2 documents for itself"):
        await node.board.post_many(posts)
    await node.board.post_many(posts[:1])
    await node.board.withdraw(kept.address)
    with pytest.raises(LimitReached):
        await node.board.post("offer", {"title": "Bread"}, audience="town")
    await node.board.post("offer", {"title": "Bread"})
    mended = (await node.all(text="skill"))[0]
    await node.board.edit(mended.address, {"name": "Skill, mended"})


async def test_a_repeated_post_is_answered_where_no_other_has_room(node: Any) -> None:
    node.intake.home_documents_max = 1
    first = await node.board.post("need", {"title": "Company"}, audience="town", nonce=bytes(8))
    again = await node.board.post("need", {"title": "Company"}, audience="town", nonce=bytes(8))
    assert again == first


async def test_the_same_nonce_gives_the_same_document_and_writes_nothing(node: Any) -> None:
    first = await node.board.post("offer", {"title": "Bread"}, nonce=b"nonce-01")
    node.clock.at_ms += 60_000
    second = await node.board.post("offer", {"title": "Bread"}, nonce=b"nonce-01")
    assert second == first
    assert len(await node.all()) == 1


async def test_of_several_posts_with_a_bad_one_none_is_written(node: Any) -> None:
    with pytest.raises(InvalidField):
        await node.board.post_many([Post("offer", {"title": "Bread"}), Post("offer", {"title": "x"})])
    assert await node.all() == []


@pytest.mark.parametrize("kind", ["charter", "town.profile", "no-such-kind"])
async def test_what_people_do_not_post_is_an_unknown_kind(node: Any, kind: str) -> None:
    with pytest.raises(UnknownKind):
        await node.board.post(kind, {"name": "x"})


async def test_until_lengthens_the_life_of_a_document_up_to_what_its_kind_allows(node: Any) -> None:
    born = node.clock.at_ms // 1000
    posted = await node.board.post("offer", {"title": "Bread"}, until=born + 60 * 86_400)
    assert (await node.board.show(posted.address)).expires == born + 60 * 86_400
    with pytest.raises(InvalidField, match="until"):
        await node.board.post("offer", {"title": "Bread"}, until=born + 91 * 86_400)


@pytest.mark.parametrize(("kind", "field"), [("offer", "until"), ("need", "until"), ("need", "needed_by")])
async def test_a_day_that_is_over_is_refused_for_nobody_would_see_the_post(
    node: Any, kind: str, field: str
) -> None:
    now_s = node.clock.now_ms() // 1000
    with pytest.raises(InvalidField, match=f"{field}: that day is over"):
        await node.board.post(kind, {"title": "Bread", field: now_s})
    posted = await node.board.post(kind, {"title": "Bread", field: now_s + 1})
    with pytest.raises(InvalidField, match=f"{field}: that day is over"):
        await node.board.edit(posted.address, {field: now_s - 86_400})


async def test_an_edit_leaves_a_day_alone_that_was_to_come_when_it_was_typed(node: Any) -> None:
    now_s = node.clock.now_ms() // 1000
    posted = await node.board.post("need", {"title": "Bread", "needed_by": now_s + 1})
    node.clock.at_ms += 5_000
    await node.board.edit(posted.address, {"title": "Rye bread"})
    assert (await node.board.show(posted.address)).fields["needed_by"] == now_s + 1


async def test_an_edit_sets_and_takes_away_fields_and_keeps_the_address(node: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread", "text": "Rye", "condition": "fresh"})
    edited = await node.board.edit(posted.address, {"title": "Rye bread", "condition": None})
    shown = await node.board.show(posted.address)
    assert edited.address == posted.address
    assert shown.id == edited.id
    assert shown.fields == {"title": "Rye bread", "text": "Rye"}
    record = await node.board.record(shown)
    assert record.header.op is Op.PUT
    assert record.header.cites == (posted.id,)


async def test_replacing_keeps_what_a_newer_program_wrote(node: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread", "text": "Rye", "from-2031": 7})
    await node.board.edit(posted.address, {"title": "Rye bread"}, replace=True)
    assert (await node.board.show(posted.address)).fields == {"title": "Rye bread", "from-2031": 7}


async def test_an_edit_of_a_version_that_is_gone_is_refused_and_says_what_changed(node: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    await node.board.edit(posted.address, {"title": "Rye bread"})
    with pytest.raises(StaleEdit) as refused:
        await node.board.edit(posted.address, {"title": "White bread"}, based_on=posted.id)
    assert refused.value.detail["heads"] == [(await node.board.show(posted.address)).id.hex()]
    assert (await node.board.show(posted.address)).fields["title"] == "Rye bread"


async def test_an_edit_that_makes_no_sense_is_refused(node: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    with pytest.raises(InvalidField, match="title"):
        await node.board.edit(posted.address, {"title": None})
    with pytest.raises(InvalidField, match="until"):
        await node.board.edit(posted.address, {"until": node.clock.at_ms // 1000 + 31 * 86_400})


async def test_every_revision_of_a_guide_stands_and_the_last_one_is_shown(node: Any) -> None:
    posted = await node.board.post("practice", {"title": "Sauerkraut", "steps": STEPS})
    edited = await node.board.edit(posted.address, {"title": "Sauerkraut without power"})
    shown = await node.board.show(posted.address)
    assert shown.id == edited.id
    assert [version.is_head for version in shown.versions] == [True, False]
    assert shown.versions[0].cites == (posted.id,)
    assert {version.fields["title"] for version in shown.versions} == {
        "Sauerkraut",
        "Sauerkraut without power",
    }


async def test_two_revisions_side_by_side_are_brought_together_by_one_that_cites_both(node: Any) -> None:
    posted = await node.board.post("practice", {"title": "Sauerkraut", "steps": STEPS})
    first = await node.board.record(await node.board.show(posted.address))
    branch = node.own.record(
        "practice",
        {"title": "Cold cellars", "steps": STEPS},
        [node.federation],
        born=first.header.born,
        later_ms=5_000,
        follows=first,
        cites=[posted.id],
    )
    await node.board.edit(posted.address, {"title": "Warm kitchens"})
    await node.hear(branch)
    heads = head_ids(await node.board.show(posted.address))
    assert len(heads) == 2
    with pytest.raises(StaleEdit, match="side by side") as refused:
        await node.board.edit(posted.address, {"title": "Both"})
    assert refused.value.code == "revisions_differ"
    merged = await node.board.edit(posted.address, {"title": "Both"}, based_on=heads)
    shown = await node.board.show(posted.address)
    assert head_ids(shown) == (merged.id,)
    assert set(shown.versions[0].cites) == set(heads)


async def test_what_was_withdrawn_is_gone_and_stays_gone(node: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    old = await node.board.record(await node.board.show(posted.address))
    await node.board.withdraw(posted.address)
    await node.intake.accept([old.raw])
    with pytest.raises(NotFound):
        await node.board.show(posted.address)
    with pytest.raises(NotFound):
        await node.board.withdraw(posted.address)


async def test_withdrawing_a_version_that_is_gone_is_refused(node: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    await node.board.edit(posted.address, {"title": "Rye bread"})
    with pytest.raises(StaleEdit):
        await node.board.withdraw(posted.address, based_on=posted.id)


async def test_only_the_town_that_posted_may_change_or_withdraw(node: Any) -> None:
    record = await node.hear_offer("Ladders of Charlieu")
    with pytest.raises(NotOurs, match="Charlieu"):
        await node.board.edit(record.doc.hex(), {"title": "Our ladders"})
    with pytest.raises(NotOurs):
        await node.board.withdraw(record.doc.hex())


async def test_an_address_with_a_slip_is_told_from_one_that_is_unknown(node: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    slip = ("0" if posted.address[0] != "0" else "1") + posted.address[1:]
    with pytest.raises(InvalidAddress):
        await node.board.show(slip)
    with pytest.raises(NotFound):
        await node.board.show("00000000000")
    with pytest.raises(NotFound):
        await node.board.show("00" * 16)


async def test_an_address_names_for_strangers_only_what_is_shared(node: Any) -> None:
    kept = await node.board.post("need", {"title": "Company"}, audience="town")
    shared = await node.board.post("need", {"title": "Blankets"})
    assert (await node.board.show(shared.address, home=False)).address == shared.address
    for address in (kept.address, (await node.board.show(kept.address)).doc.hex()):
        with pytest.raises(NotFound):
            await node.board.show(address, home=False)


async def test_a_look_counts_every_kind_and_lists_the_one_that_was_asked_for(node: Any) -> None:
    await node.board.post("offer", {"title": "Bread"})
    await node.board.post("offer", {"title": "Bread pans"})
    await node.board.post("need", {"title": "Flour for bread"})
    await node.board.post("skill", {"name": "Mend bicycles"})
    look = await node.board.look(Query(kinds=("need",), text="bread"))
    assert [document.kind for document in look.page.documents] == ["need"]
    assert {kind: count for kind, count in look.kinds.items() if count} == {"offer": 2, "need": 1}
    await node.board.post("need", {"title": "Bread for Sunday"})
    assert (await node.board.look(Query(kinds=("need",), text="bread"))).kinds["need"] == 2


async def test_what_is_exported_verifies_and_comes_in_again_elsewhere(node: Any) -> None:
    await node.hear_offer("Ladders of Charlieu")
    posted = await node.board.post("offer", {"title": "Bread"})
    lines = [line async for line in node.board.export()]
    for line in lines:
        entry = json.loads(line)
        record = open_record(raw_of_line(entry))
        check_signature(record)
        assert entry["id"] == record.id.hex()
    titles = [(json.loads(line)["decoded"]["fields"] or {}).get("title") for line in lines]
    assert {"Bread", "Ladders of Charlieu"} <= set(titles)
    again = await node.board.import_(lines)
    assert (again.held, again.already, again.refused_count) == (0, len(lines), 0)
    assert (await node.board.show(posted.address)).id == posted.id


async def test_an_import_takes_the_good_lines_and_names_the_bad_ones(node: Any) -> None:
    good = node.neighbour.record("offer", {"title": "Ladders"}, [node.federation])
    other = node.neighbour.record("offer", {"title": "Saws"}, [node.federation])
    forged = record_json(other) | {"signature": record_json(node.own.certificate)["signature"]}
    lines = [
        json.dumps(record_json(good)),
        "",
        "not json",
        json.dumps({"kind": "offer", "fields": {"title": "Bread"}}),
        json.dumps({"kind": "offer", "fields": {"title": "x"}}),
        json.dumps({"kind": "no-kind", "fields": {}}),
        json.dumps([1, 2]),
        json.dumps({"header": "!!", "signature": "", "body": None}),
        json.dumps({"header": "", "signature": "", "body": None}),
        json.dumps({"kind": "skill", "fields": {"name": "Mend bicycles"}, "audience": "town"}),
        json.dumps(forged),
        json.dumps({"kind": "offer", "fields": {"title": "Bread"}, "audience": "everybody"}),
    ]
    report = await node.board.import_([*lines, lines[0]], by="alice")
    assert (report.held, report.already) == (1, 1)
    assert report.posted == 2
    assert [(each.line, each.code) for each in report.refused] == [
        (3, "malformed_line"),
        (5, "invalid_field"),
        (6, "unknown_kind"),
        (7, "malformed_line"),
        (8, "malformed_line"),
        (9, "malformed"),
        (11, "bad_signature"),
        (12, "malformed_line"),
    ]
    assert report.as_json()["refused"] == 8


async def test_an_import_names_in_their_order_also_lines_that_may_be_taken_later(node: Any) -> None:
    headless = record_json(node.neighbour.record("offer", {"title": "Saws"}, [node.federation]))
    elsewhere = node.neighbour.record("offer", {"title": "Rakes"}, [FederationId(b"elsewhere" + bytes(7))])
    late = node.neighbour.record("offer", {"title": "Hoes"}, [node.federation], later_ms=9 * 86_400_000)
    lines = [
        json.dumps({"kind": "offer", "fields": {"title": "x"}}),
        json.dumps(headless | {"body": None}),
        json.dumps({"kind": "offer", "fields": {"title": "Bread"}}),
        json.dumps(record_json(elsewhere)),
        "not json",
        json.dumps(record_json(late)),
    ]
    report = await node.board.import_(lines)
    assert [(each.line, each.code) for each in report.refused] == [
        (1, "invalid_field"),
        (2, "body_missing"),
        (4, "unknown_federation"),
        (5, "malformed_line"),
        (6, "future"),
    ]
    assert all(each.says for each in report.refused)
    assert (report.posted, report.waiting) == (1, 0)


async def test_an_imported_post_with_a_nonce_is_written_once(node: Any) -> None:
    line = json.dumps({"kind": "offer", "fields": {"title": "Bread"}, "nonce": "0011223344556677"})
    await node.board.import_([line])
    await node.board.import_([line, line])
    assert len(await node.all()) == 1


@pytest.mark.parametrize(
    ("kind", "fields", "capacity"),
    [
        ("offer", {"title": "Bread", "quantity": {"milli": 24_000, "unit": "portion"}}, 24_000),
        ("offer", {"title": "A generator"}, 1_000),
        ("need", {"title": "Hands", "people": 4}, 4_000),
        ("event", {"title": "Sauerkraut", "start": "2027-01-02T18:30", "seats": 12}, 12_000),
        ("event", {"title": "Market", "start": "2027-01-02T18:30"}, 1_000_000_000),
        ("item", {"title": "Ladder", "buffer_days": 1}, 1_000),
    ],
)
async def test_what_can_be_claimed_is_posted_together_with_the_first_entry_of_its_ledger(
    node: Any, kind: str, fields: Any, capacity: int
) -> None:
    posted = await node.board.post(kind, fields)
    shown = await node.board.show(posted.address)
    header = (await node.board.record(shown)).header
    ledger = await node.store.read(lambda reader: ledger_at(reader, ledger_id(header)))
    assert ledger.keeper == node.intake.device
    assert ledger.promises.capacity == capacity
    assert ledger.n == 1


async def test_an_edit_of_the_amount_moves_the_ledger_and_any_other_leaves_it(node: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread", "quantity": {"milli": 24_000, "unit": "box"}})
    header = (await node.board.record(await node.board.show(posted.address))).header

    async def ledger() -> Any:
        return await node.store.read(lambda reader: ledger_at(reader, ledger_id(header)))

    await node.board.edit(posted.address, {"title": "Rye bread"})
    assert (await ledger()).n == 1
    await node.board.edit(posted.address, {"quantity": {"milli": 8_000, "unit": "box"}})
    assert ((await ledger()).n, (await ledger()).promises.capacity) == (2, 8_000)
    with pytest.raises(Refused, match="counted in box"):
        await node.board.edit(posted.address, {"quantity": {"milli": 8_000, "unit": "kg"}})
    assert (await node.board.show(posted.address)).fields["quantity"]["unit"] == "box"


async def test_one_key_for_two_kinds_in_one_second_opens_no_ledger_for_two(node: Any) -> None:
    await node.board.post("offer", {"title": "Bread"}, nonce=b"nonce-01")
    with pytest.raises(InvalidRequest, match="same key"):
        await node.board.post("need", {"title": "Bread"}, nonce=b"nonce-01")
    node.clock.at_ms += 1_000
    await node.board.post("need", {"title": "Bread"}, nonce=b"nonce-01")


async def test_a_nonce_in_the_open_header_tells_nobody_who_repeats_a_key() -> None:
    sides = [Side(Town(number, name, 0, 0), StillClock()) for number, name in enumerate(("Own", "Bee"))]
    nonces = [side.board.nonce_of("bob", "1") for side in sides for _ in range(2)]
    assert nonces[0] == nonces[1]
    assert nonces[2] == nonces[3]
    assert nonces[0] != nonces[2], "it follows from what everybody can guess, and from nothing else"
    assert nonces[0] != sides[0].board.nonce_of("bob", "2") != sides[0].board.nonce_of("alice", "2")
    for side in sides:
        await side.store.close()
