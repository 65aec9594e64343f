"""Asking and answering: claims sealed to two towns, and the ledger that answers them, on real stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from node.errors import NotFound, NotKeeper, NotOurs, Refused, TooMany
from node.promises import looking
from node.promises.codes import short_code
from node.promises.shelf import held_of
from node.promises.views import Stage
from protocol.errors import InvalidField
from sync.promises import Act, Word
from tests.node.conftest import START_MS
from tests.node.valley import BOXES, Valley, boxes, opened

DAY_S = 86_400
START_S = START_MS // 1_000


@pytest.fixture
async def valley(request: Any, tmp_path: Path) -> AsyncIterator[Valley]:
    """Roanne, Charlieu and Ambierle, with stores in memory unless a test asks for both sorts."""
    async for each in opened(tmp_path if getattr(request, "param", "") == "sqlite" else None):
        yield each


on_both_stores = pytest.mark.parametrize("valley", ["memory", "sqlite"], indirect=True)


async def offered(valley: Valley, **fields: Any) -> str:
    """Post an offer of 24 boxes in Roanne and let everybody hear of it."""
    given = {"title": "Boxes of apples", "quantity": BOXES, **fields}
    posted = await valley.sides[0].board.post("offer", given, by="alice")
    await valley.meet(*valley.sides)
    return posted.address


@on_both_stores
async def test_a_claim_is_asked_answered_and_handed_over_and_each_side_is_told(valley: Valley) -> None:
    roanne, charlieu, ambierle = valley.sides
    address = await offered(valley)
    charlieu.heard[roanne.town.id] = START_MS - 3_600_000
    claimed = await charlieu.claims.ask(
        address, quantity=boxes(2), reason="Four children", by="bob", contact="06 12", urgency="soon"
    )
    view = await charlieu.claims.show(claimed.address)
    assert (view.stage, view.waits_for, view.ours) == (Stage.ASKED, roanne.town.id, True)
    assert view.says.startswith("Waits for Roanne's node, last heard ")
    assert view.receipt_code == claimed.code
    await valley.meet(*valley.sides)
    with pytest.raises(NotFound):
        await ambierle.claims.show(claimed.address)
    there = await roanne.claims.show(claimed.address)
    assert (there.reason, there.contact, there.by, there.urgency) == ("Four children", "06 12", "bob", 1)
    assert (there.receipt_code, there.says) == ("", "Waits for an answer here.")
    accepted = await roanne.claims.accept(claimed.address, hold_until=START_S + DAY_S)
    assert accepted.says.startswith("Accepted: 2 boxes are kept for bob until ")
    await valley.meet(*valley.sides)
    assert (await charlieu.claims.show(claimed.address)).says.startswith("Accepted: 2 boxes are kept for you")
    ledger = await ambierle.claims.ledger_of(address)
    assert ledger is not None
    assert (ledger.free, ledger.promised, ledger.capacity, ledger.unit) == (22_000, 2_000, 24_000, "box")
    assert (ledger.claims, ledger.says) == ((), "22 of 24 boxes are free.")
    handed = await roanne.claims.hand_over(claimed.address, code=short_code(claimed.code))
    assert (handed.stage, handed.code) == (Stage.HANDED_OVER, "")
    await valley.meet(*valley.sides)
    received = await charlieu.claims.receive(claimed.address, ok="partly")
    assert (received.stage, received.received) == (Stage.HANDED_OVER, "partly")
    again = await charlieu.claims.receive(claimed.address, ok="yes")
    assert again.received == "yes"
    await valley.meet(*valley.sides)
    assert (await roanne.claims.show(claimed.address)).received == "yes"


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"quantity": {"milli": 0, "unit": "box"}}, "no_amount"),
        ({"quantity": boxes(25)}, "more_than_all"),
        ({"quantity": {"milli": 1_000, "unit": "kg"}}, "another_unit"),
        ({}, "no_amount"),
        ({"quantity": boxes(1), "start": START_S, "end": START_S + 60}, "counts_amounts"),
    ],
)
async def test_what_nobody_could_grant_is_refused_at_the_claimants_node(
    valley: Valley, wish: Any, code: str
) -> None:
    charlieu = valley.sides[1]
    address = await offered(valley)
    with pytest.raises(Refused) as refused:
        await charlieu.claims.ask(address, by="bob", **wish)
    assert refused.value.code == code
    assert "\n" not in refused.value.says
    assert await charlieu.claims.all() == []


async def test_a_household_may_have_no_less_and_no_more_than_the_offer_says(valley: Valley) -> None:
    charlieu = valley.sides[1]
    address = await offered(valley, claim_min=boxes(2), claim_max=boxes(4))
    for count, code in ((1, "too_little"), (5, "too_much_at_once")):
        with pytest.raises(Refused) as refused:
            await charlieu.claims.ask(address, quantity=boxes(count))
        assert refused.value.code == code
    await charlieu.claims.ask(address, quantity=boxes(8), share=True)
    await charlieu.claims.ask(address, quantity=boxes(3))


async def test_nothing_can_be_asked_of_what_is_not_there_or_over_or_no_such_thing(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    with pytest.raises(NotFound):
        await charlieu.claims.ask("000000000-0-0".replace("-", ""))
    posted = await roanne.board.post("skill", {"name": "Repair bicycles"})
    address = await offered(valley, until=START_S + DAY_S)
    with pytest.raises(Refused) as refused:
        await charlieu.claims.ask(posted.address)
    assert refused.value.code == "not_claimable"
    assert await charlieu.claims.ledger_of(posted.address) is None
    valley.clock.at_ms += 2 * DAY_S * 1_000
    with pytest.raises(Refused) as refused:
        await charlieu.claims.ask(address, quantity=boxes(1))
    assert refused.value.code == "ended"


async def test_the_same_person_asks_once_and_a_helper_for_many(valley: Valley) -> None:
    charlieu = valley.sides[1]
    address = await offered(valley)
    first = await charlieu.claims.ask(address, quantity=boxes(1), by="bob")
    with pytest.raises(Refused) as refused:
        await charlieu.claims.ask(address, quantity=boxes(1), by="Bob")
    assert (refused.value.code, refused.value.detail["address"]) == ("twice", first.address)
    with pytest.raises(Refused, match="asked for this already"):
        await charlieu.claims.ask(address, quantity=boxes(1), by="bob", nonce=bytes(8))
    for _ in range(2):
        await charlieu.claims.ask(address, quantity=boxes(1), by="bob", on_behalf_of=True)
    await charlieu.claims.withdraw(first.address)
    await charlieu.claims.ask(address, quantity=boxes(1), by="bob")


async def test_a_repeated_request_is_answered_with_the_first_claim_and_its_code(valley: Valley) -> None:
    charlieu = valley.sides[1]
    address = await offered(valley)
    first = await charlieu.claims.ask(address, quantity=boxes(1), by="bob", nonce=b"nonce-01")
    again = await charlieu.claims.ask(address, quantity=boxes(1), by="bob", nonce=b"nonce-01")
    assert again == first
    assert len(await charlieu.claims.all()) == 1


async def test_what_would_have_no_effect_is_refused_at_the_keepers_node(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    address = await offered(valley)
    big = await charlieu.claims.ask(address, quantity=boxes(20), by="bob")
    small = await charlieu.claims.ask(address, quantity=boxes(6), by="carol")
    await valley.meet(*valley.sides)
    with pytest.raises(NotOurs, match="only Roanne"):
        await charlieu.claims.accept(big.address)
    await roanne.claims.accept(big.address)
    acts = roanne.claims
    tries: list[tuple[Any, str]] = [
        (acts.accept(big.address), "accepted_already"),
        (acts.accept(small.address), "too_much"),
        (acts.accept(small.address, milli=7_000), "too_much"),
        (acts.hand_over(small.address), "not_accepted"),
        (acts.release(small.address), "not_accepted"),
        (acts.release(big.address, milli=21_000), "too_much"),
        (acts.decline(big.address), "accepted_already"),
        (acts.renew(small.address, until=START_S + 60), "not_accepted"),
        (acts.renew(big.address, until=START_S - 60), "window_over"),
    ]
    for trial, code in tries:
        with pytest.raises(Refused) as refused:
            await trial
        assert refused.value.code == code
    assert (await roanne.ledger(address)).n == 2
    assert (await acts.accept(small.address, milli=4_000)).milli == 4_000
    assert (await roanne.claims.ledger_of(address)).free == 0  # type: ignore[union-attr]


async def test_the_amount_is_never_lowered_below_what_is_promised(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    address = await offered(valley)
    claimed = await charlieu.claims.ask(address, quantity=boxes(20))
    await valley.meet(*valley.sides)
    await roanne.claims.accept(claimed.address)
    with pytest.raises(Refused, match="20 of it are promised") as refused:
        await roanne.board.edit(address, {"quantity": boxes(19)})
    assert refused.value.code == "below_promised"
    await roanne.board.edit(address, {"quantity": boxes(20)})
    assert (await roanne.ledger(address)).promises.free == 0


async def test_a_wrong_code_is_refused_and_few_are_tried(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    address = await offered(valley)
    claimed = await charlieu.claims.ask(address, quantity=boxes(2))
    await valley.meet(*valley.sides)
    await roanne.claims.accept(claimed.address)
    wrong = f"{(int(short_code(claimed.code)) + 1) % 10_000:04}"
    for _ in range(5):
        with pytest.raises(Refused) as refused:
            await roanne.claims.hand_over(claimed.address, code=wrong)
        assert refused.value.code == "wrong_code"
    with pytest.raises(TooMany):
        await roanne.claims.hand_over(claimed.address, code=claimed.code)
    valley.clock.at_ms += 3_600_001
    typed = f"{claimed.code[:4]}-{claimed.code[4:]}".lower()
    assert (await roanne.claims.hand_over(claimed.address, code=typed)).stage is Stage.HANDED_OVER


async def test_without_a_code_things_are_handed_over_too_and_the_ledger_says_so(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    address = await offered(valley)
    claimed = await charlieu.claims.ask(address, quantity=boxes(2))
    await valley.meet(*valley.sides)
    await roanne.claims.accept(claimed.address)
    await roanne.claims.hand_over(claimed.address, milli=1_000)
    ledger = await roanne.ledger(address)
    assert ledger.promises.promised == 1_000
    with pytest.raises(Refused) as refused:
        await charlieu.claims.receive(claimed.address)
    assert refused.value.code == "not_accepted"
    await valley.meet(*valley.sides)
    assert (await charlieu.claims.receive(claimed.address)).received == "yes"
    with pytest.raises(Refused) as refused:
        await charlieu.claims.withdraw(claimed.address)
    assert refused.value.code == "handed_over"
    with pytest.raises(NotOurs):
        await roanne.claims.receive(claimed.address)


async def test_a_reason_is_a_code_for_everybody_may_read_a_ledger(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    address = await offered(valley)
    claimed = await charlieu.claims.ask(address, quantity=boxes(2))
    await valley.meet(*valley.sides)
    with pytest.raises(Exception, match="one of declined") as refused:
        await roanne.claims.decline(claimed.address, reason="Bob never brings the boxes back")
    assert getattr(refused.value, "code", "") == "unknown_reason"
    declined = await roanne.claims.decline(claimed.address)
    assert declined.says == "Declined: it was given to others, or cannot be."
    doc, ledger = declined.doc, (await roanne.ledger(address)).doc
    other = await charlieu.claims.ask(address, quantity=boxes(1))
    charlieu.synced[roanne.town.id] = await charlieu.store.read(lambda reader: reader.change())
    there = (await charlieu.claims.show(other.address)).says
    assert there == "Is at Roanne: waits for an answer there."
    charlieu.synced[roanne.town.id] -= 1
    assert (await charlieu.claims.show(other.address)).says.startswith("Waits for Roanne's node")
    unknown = Word(Act.WAIT, doc, reason="call_this_number"), Word(Act.DECLINE, doc, reason="a_new_one")
    await roanne.claims.pen.write(ledger, lambda _, __: unknown)
    told = (await roanne.claims.show(claimed.address)).says
    assert told == "Declined: for a reason that this version of Hedgerow does not know."


async def test_a_thing_is_lent_in_times_that_do_not_overlap_with_days_between(valley: Valley) -> None:
    roanne, charlieu, ambierle = valley.sides
    posted = await roanne.board.post(
        "item", {"title": "Ladder", "loan_days": 7, "buffer_days": 1}, by="alice"
    )
    await valley.meet(*valley.sides)
    day = START_S // DAY_S * DAY_S + DAY_S

    async def ask(side: Any, first: int, last: int, by: str) -> str:
        claimed = await side.claims.ask(
            posted.address, start=day + first * DAY_S, end=day + last * DAY_S, by=by
        )
        return str(claimed.address)

    for wish, code in (((0, 8), "too_long"), ((3, 3), "no_window"), ((-9, -8), "window_over")):
        with pytest.raises(Refused) as refused:
            await ask(charlieu, *wish, by="x")
        assert refused.value.code == code
    with pytest.raises(Refused) as refused:
        await charlieu.claims.ask(posted.address, quantity=boxes(1))
    assert refused.value.code == "counts_windows"
    bob, carol, dora = [
        await ask(charlieu, 0, 3, "bob"),
        await ask(ambierle, 3, 5, "carol"),
        await ask(ambierle, 4, 6, "dora"),
    ]  # fmt: skip
    await valley.meet(*valley.sides)
    await roanne.claims.accept(bob)
    with pytest.raises(Refused) as refused:
        await roanne.claims.accept(carol)
    assert refused.value.code == "overlaps"
    await roanne.claims.accept(dora)
    with pytest.raises(Refused) as refused:
        await roanne.claims.renew(bob, until=day + 4 * DAY_S)
    assert refused.value.code == "overlaps"
    view = await roanne.claims.ledger_of(posted.address)
    assert view is not None
    assert [(each.start, each.end) for each in view.taken] == [
        (day, day + 3 * DAY_S), (day + 4 * DAY_S, day + 6 * DAY_S)
    ]  # fmt: skip
    assert (view.windows, view.capacity, view.says) == (True, 0, "Lent for a time: 2 times are promised.")
    assert (await roanne.claims.show(bob)).says.startswith("Accepted: it goes to bob from ")
    await roanne.claims.hand_over(bob)
    back = await roanne.claims.release(bob, reason="returned")
    assert back.says == "Given free: it was given back."
    renewed = await roanne.claims.renew(dora, until=day + 7 * DAY_S)
    assert renewed.end == day + 7 * DAY_S


async def test_a_need_is_answered_by_those_who_help_and_an_event_by_who_comes(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    need = await roanne.board.post("need", {"title": "Hands for the roof", "people": 2})
    event = await roanne.board.post(
        "event", {"title": "Sauerkraut", "start": "2027-01-02T18:30", "join": "approval"}
    )
    await valley.meet(*valley.sides)
    helper = await charlieu.claims.ask(need.address, by="bob")
    guest = await charlieu.claims.ask(event.address, by="bob")
    await valley.meet(*valley.sides)
    assert (await roanne.claims.accept(helper.address)).hold_until is None
    await roanne.claims.accept(guest.address)
    assert (await roanne.claims.ledger_of(need.address)).says == "1 of 2 is still needed."  # type: ignore[union-attr]
    seats = await roanne.claims.ledger_of(event.address)
    assert seats is not None and seats.says == "1 promised, room for more."


async def test_what_a_town_keeps_for_itself_is_asked_for_and_answered_at_home(valley: Valley) -> None:
    roanne = valley.sides[0]
    posted = await roanne.board.post("offer", {"title": "Bread"}, audience="town", by="alice")
    claimed = await roanne.claims.ask(posted.address, by="bob")
    view = await roanne.claims.accept(claimed.address)
    assert (view.ours, view.to_answer, view.says[:26]) == (True, True, "Accepted: 1 is kept for bo")
    assert await roanne.shared() and all(b"claim" not in raw[:200] for raw in await roanne.shared())


async def test_a_claim_on_what_is_not_known_yet_waits_and_says_so(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    posted = await roanne.board.post("offer", {"title": "Bread"})
    raws = [raw for raw in await roanne.shared() if b"\xa6ledger" not in raw]
    await charlieu.hear(raws)
    view = await charlieu.claims.ledger_of(posted.address)
    assert view is not None and not view.known
    assert view.says == "Not known yet: the first word of Roanne's node on it has not come."
    claimed = await charlieu.claims.ask(posted.address, by="bob")
    assert (await charlieu.claims.show(claimed.address)).stage is Stage.ASKED


@on_both_stores
async def test_a_share_is_given_away_by_its_town_and_no_more_than_that(valley: Valley) -> None:
    roanne, charlieu, ambierle = valley.sides
    address = await offered(valley)
    share = await charlieu.claims.ask(address, quantity=boxes(8), share=True, by="coordinator")
    fields: Any = {"title": "Apples from Roanne", "quantity": boxes(8)}
    with pytest.raises(Refused) as refused:
        await charlieu.claims.post_share(share.address, "offer", fields)
    assert refused.value.code == "no_share"
    await valley.meet(*valley.sides)
    accepted = await roanne.claims.accept(share.address)
    assert (accepted.says, accepted.hold_until) == (
        "Accepted: 8 boxes may be given away by Charlieu.", None
    )  # fmt: skip
    await valley.meet(*valley.sides)
    with pytest.raises(Refused) as refused:
        await charlieu.claims.post_share(share.address, "offer", fields | {"quantity": boxes(9)})
    assert refused.value.code == "more_than_all"
    child = await charlieu.claims.post_share(share.address, "offer", fields, nonce=b"nonce-01")
    assert await charlieu.claims.post_share(share.address, "offer", fields, nonce=b"nonce-01") == child
    with pytest.raises(Refused) as refused:
        await charlieu.claims.post_share(share.address, "offer", fields)
    assert refused.value.code == "shared_already"
    await valley.meet(*valley.sides)
    wanted = await ambierle.claims.ask(child.address, quantity=boxes(5), by="eve")
    await valley.meet(*valley.sides)
    await charlieu.claims.accept(wanted.address)
    await valley.meet(*valley.sides)
    for side in valley.sides:
        ledger = await side.ledger(child.address)
        assert (ledger.promises.promised, ledger.promises.free) == (5_000, 3_000)
    with pytest.raises(Refused) as refused:
        await roanne.claims.hand_over(share.address)
    assert refused.value.code == "a_share"
    with pytest.raises(Refused) as refused:
        await roanne.claims.release(share.address)
    assert refused.value.code == "share_in_use"
    with pytest.raises(Refused) as refused:
        await charlieu.board.edit(child.address, {"quantity": boxes(9)})
    assert refused.value.code == "more_than_all"
    await charlieu.board.edit(child.address, {"quantity": boxes(6)})
    await valley.meet(*valley.sides)
    back = await roanne.claims.release(share.address)
    assert back.milli == 6_000
    await valley.meet(*valley.sides)
    for side in valley.sides:
        assert (await side.ledger(child.address)).promises.promised == 5_000
        assert (await side.ledger(address)).promises.promised == 6_000


async def test_only_the_keepers_device_writes_and_it_names_its_successor(
    valley: Valley, tmp_path: Path
) -> None:
    roanne, charlieu, _ = valley.sides
    twin = await second_device(valley)
    address = await offered(valley)
    claimed = await charlieu.claims.ask(address, quantity=boxes(2))
    await valley.meet(*valley.sides, twin)
    assert (await twin.claims.show(claimed.address)).says.startswith("Waits for another device of this town")
    with pytest.raises(NotKeeper, match="another device of this town"):
        await twin.claims.accept(claimed.address)
    with pytest.raises(NotKeeper):
        await twin.board.edit(address, {"quantity": boxes(30)})
    await twin.board.edit(address, {"text": "Red ones"})
    with pytest.raises(Exception, match="no device of this town"):
        await roanne.claims.name_keeper(address, bytes(32))
    await roanne.claims.name_keeper(address, twin.intake.device)
    with pytest.raises(NotKeeper):
        await roanne.claims.accept(claimed.address)
    await valley.meet(*valley.sides, twin)
    await twin.claims.accept(claimed.address)
    await valley.meet(*valley.sides, twin)
    assert (await charlieu.claims.show(claimed.address)).stage is Stage.ACCEPTED


async def test_the_town_key_names_a_keeper_when_the_one_that_kept_is_lost(valley: Valley) -> None:
    charlieu = valley.sides[1]
    twin = await second_device(valley)
    address = await offered(valley)
    claimed = await charlieu.claims.ask(address, quantity=boxes(2))
    await valley.meet(*valley.sides, twin)
    await twin.claims.name_keeper(address, twin.intake.device, key=valley.towns[0].key)
    await twin.claims.accept(claimed.address)
    await valley.meet(*valley.sides, twin)
    assert (await charlieu.claims.show(claimed.address)).stage is Stage.ACCEPTED


async def test_a_node_whose_key_was_met_elsewhere_promises_nothing(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    address = await offered(valley, accept="auto")
    claimed = await charlieu.claims.ask(address, quantity=boxes(2))
    await valley.meet(*valley.sides)
    await roanne.store.write(lambda tx: tx.set_meta("clone", 1))
    with pytest.raises(NotKeeper) as refused:
        await roanne.claims.accept(claimed.address)
    assert refused.value.code == "clone"
    with pytest.raises(NotKeeper) as refused:
        await roanne.board.edit(address, {"quantity": boxes(30)})
    assert refused.value.code == "clone"
    await roanne.keep()
    assert (await roanne.ledger(address)).n == 1


@on_both_stores
async def test_a_ledger_that_has_grown_long_goes_on_in_another(
    valley: Valley, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.promises.pen.FULL", 5)
    roanne, charlieu, _ = valley.sides
    address = await offered(valley)
    addresses = [
        (await charlieu.claims.ask(address, quantity=boxes(1), by=f"r{number}")).address
        for number in range(12)
    ]
    await valley.meet(*valley.sides)
    for claim in addresses:
        await roanne.claims.accept(claim)
    await valley.meet(*valley.sides)
    for side in valley.sides:
        ledger = await side.ledger(address)
        assert ledger.promises.promised == 12_000
        assert ledger.goes_on_in != ledger.doc
        assert (ledger.void, ledger.beyond) == ({}, 0)
    assert (await charlieu.claims.show(addresses[0])).stage is Stage.ACCEPTED


async def second_device(valley: Valley) -> Any:
    """Begin a second device of Roanne."""
    from node.keys import town_record
    from protocol.identity import DeviceKey
    from tests.node.valley import Side

    town = valley.towns[0]
    key = DeviceKey(b"twin" * 8)
    certificate = town_record(town.key, "town.device", {"device": key.public}, START_MS - 50_000)
    twin = Side(town, valley.clock, None, key)
    await twin.hear([town.certificate.raw, certificate.raw])
    for side in valley.sides:
        await side.hear([certificate.raw])
    await valley.meet(*valley.sides, twin)
    await valley.meet(*valley.sides, twin)
    return twin


async def test_a_claim_that_its_kind_does_not_allow_is_refused(valley: Valley) -> None:
    address = await offered(valley)
    with pytest.raises(InvalidField):
        await valley.sides[1].claims.ask(address, quantity=boxes(1), reason="x" * 1_001)


async def test_when_a_keeper_was_heard_is_looked_up_once_for_all_claims_of_a_list(
    valley: Valley, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no link to its town, so the newest of its own words tells, and all of them are read."""
    _, charlieu, _ = valley.sides
    address = await offered(valley)
    for number in range(6):
        await charlieu.claims.ask(address, quantity=boxes(1), by=f"r{number}")
    ledger, read = (await charlieu.ledger(address)).doc, list[object]()

    def counted(reader: Any, doc: Any) -> Any:
        read.append(doc)
        return held_of(reader, doc)

    monkeypatch.setattr(looking, "held_of", counted)
    views = await charlieu.claims.all()
    assert [view.heard_ms for view in views] == [START_MS] * 6
    assert read == [ledger]
