"""What a node writes by itself in the ledgers that it keeps: policies, times, withdrawals, forks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.errors import Refused, StorageUnavailable
from node.intake import Draft
from node.promises.pen import WORDS_MAX
from node.promises.shelf import held_of, ledger_at
from node.promises.views import Stage
from protocol.ids import Op
from sync.keeping import lot, lot_message
from sync.ledger import LEDGER, fields_of_entry, ledger_id
from sync.ledger import read as read_entry
from sync.promises import Act, Word
from tests.node.conftest import START_MS
from tests.node.valley import BOXES, Side, Valley, boxes, opened

DAY_S = 86_400
START_S = START_MS // 1_000


@pytest.fixture
async def valley() -> AsyncIterator[Valley]:
    """Roanne, Charlieu and Ambierle."""
    async for each in opened(None):
        yield each


async def offered(valley: Valley, **fields: Any) -> str:
    """Post an offer of 24 boxes in Roanne that its node answers by itself."""
    given = {"title": "Boxes of apples", "quantity": BOXES, "accept": "auto", **fields}
    posted = await valley.sides[0].board.post("offer", given, by="alice")
    await valley.meet(*valley.sides)
    return posted.address


async def ask(valley: Valley, address: str, count: int, by: str, town: int = 1, **more: Any) -> str:
    """Ask for boxes a second after the one before."""
    valley.clock.at_ms += 1_000
    claimed = await valley.sides[town].claims.ask(address, quantity=boxes(count), by=by, **more)
    return claimed.address


async def stages(side: Side, addresses: list[str]) -> list[str]:
    """How these claims stand at a node, as words."""
    return [(await side.claims.show(address)).stage.value for address in addresses]


async def test_who_comes_first_gets_it_and_the_others_wait_in_order_and_move_up(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    address = await offered(valley)
    claims = []
    for number in range(4):
        claims.append(await ask(valley, address, 10, f"r{number}", 1 + number % 2))
        await valley.settle(*valley.sides)
    assert await stages(roanne, claims) == ["accepted", "accepted", "waiting", "waiting"]
    waiting = await roanne.claims.show(claims[3])
    assert (waiting.place, waiting.says) == (2, "On the waiting list, place 2: only 4 boxes are free now.")
    entries = (await roanne.ledger(address)).n
    await valley.settle(*valley.sides)
    assert (await roanne.ledger(address)).n == entries, "nothing is written twice"
    await charlieu.claims.withdraw(claims[0])
    await valley.settle(*valley.sides)
    assert await stages(roanne, claims) == ["withdrawn", "accepted", "accepted", "waiting"]
    view = await valley.sides[2].claims.ledger_of(address)
    assert view is not None and (view.free, view.waiting) == (4_000, 1)


async def test_who_needs_it_most_gets_it_when_the_gathering_is_over(valley: Valley) -> None:
    roanne = valley.sides[0]
    address = await offered(valley, policy="need_first")
    claims = [
        await ask(valley, address, 14, f"r{at}", urgency=urgency)
        for at, urgency in enumerate(("normal", "life", "urgent"))
    ]
    await valley.settle(*valley.sides)
    assert await stages(roanne, claims) == ["asked", "asked", "asked"]
    valley.clock.at_ms += DAY_S * 1_000
    await valley.settle(*valley.sides)
    assert await stages(roanne, claims) == ["waiting", "accepted", "waiting"]
    late = await ask(valley, address, 10, "late")
    await valley.settle(*valley.sides)
    assert await stages(roanne, [late]) == ["accepted"]


async def test_the_lot_falls_the_same_for_who_looks_again(valley: Valley) -> None:
    roanne = valley.sides[0]
    address = await offered(valley, policy="draw")
    claims = [await ask(valley, address, 24, f"r{at}") for at in range(6)]
    await valley.settle(*valley.sides)
    assert await stages(roanne, claims) == ["asked"] * 6
    valley.clock.at_ms += DAY_S * 1_000
    await valley.settle(*valley.sides)
    drawn = await stages(roanne, claims)
    assert sorted(drawn) == ["accepted", *["waiting"] * 5]
    await valley.settle(*valley.sides)
    assert await stages(roanne, claims) == drawn


async def test_what_is_not_fetched_in_time_is_free_again_and_a_doubtful_clock_frees_nothing(
    valley: Valley,
) -> None:
    roanne = valley.sides[0]
    address = await offered(valley)
    claims = [await ask(valley, address, 24, "bob")]
    await valley.settle(*valley.sides)
    claims.append(await ask(valley, address, 24, "carol"))
    await valley.settle(*valley.sides)
    view = await roanne.claims.show(claims[0])
    assert view.hold_until is not None
    valley.clock.at_ms = view.hold_until * 1_000
    sure = valley.clock.read
    roanne.keeper._clock = lambda: replace(sure(), sure=False)
    await valley.settle(*valley.sides)
    assert await stages(roanne, claims) == ["accepted", "waiting"]
    roanne.keeper._clock = sure
    await valley.settle(*valley.sides)
    assert await stages(roanne, claims) == ["released", "accepted"]
    assert (await valley.sides[1].claims.show(claims[0])).says == (
        "Given free: it was not fetched by the time that was said."
    )


async def test_a_poster_who_decides_is_left_to_decide(valley: Valley) -> None:
    roanne = valley.sides[0]
    address = await offered(valley, accept="manual")
    claims = [await ask(valley, address, 10, f"r{number}") for number in range(2)]
    await valley.settle(*valley.sides)
    assert await stages(roanne, claims) == ["asked", "asked"]
    await roanne.claims.accept(claims[1])
    waiting = await roanne.claims.put_on_list(claims[0])
    assert waiting.stage is Stage.WAITING
    await valley.settle(*valley.sides)
    assert await stages(roanne, claims) == ["waiting", "accepted"]


async def test_a_share_is_never_given_by_a_node_alone(valley: Valley) -> None:
    roanne = valley.sides[0]
    address = await offered(valley)
    share = await ask(valley, address, 8, "coordinator", share=True)
    await valley.settle(*valley.sides)
    assert await stages(roanne, [share]) == ["asked"]


async def test_seats_of_an_event_are_promised_at_once_and_given_on(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    posted = await roanne.board.post(
        "event", {"title": "Sauerkraut", "start": "2027-01-02T18:30", "seats": 2}
    )
    await valley.meet(*valley.sides)
    claims = []
    for number in range(3):
        valley.clock.at_ms += 1_000
        claims.append((await charlieu.claims.ask(posted.address, by=f"r{number}")).address)
        await valley.settle(*valley.sides)
    assert await stages(charlieu, claims) == ["accepted", "accepted", "waiting"]
    await charlieu.claims.withdraw(claims[1])
    await valley.settle(*valley.sides)
    assert await stages(charlieu, claims) == ["accepted", "withdrawn", "accepted"]


@pytest.mark.parametrize("withdrawn", [False, True])
async def test_what_is_cancelled_or_withdrawn_is_promised_to_nobody_and_keeps_its_name(
    valley: Valley, withdrawn: bool
) -> None:
    roanne, charlieu, _ = valley.sides
    posted = await roanne.board.post(
        "event", {"title": "Sauerkraut", "start": "2027-01-02T18:30", "seats": 1}
    )
    await valley.meet(*valley.sides)
    claims = [(await charlieu.claims.ask(posted.address, by=f"r{number}")).address for number in range(2)]
    await valley.settle(*valley.sides)
    ledger = (await roanne.ledger(posted.address)).doc
    await roanne.keeper.concerned()
    if withdrawn:
        await roanne.board.withdraw(posted.address)
    else:
        await roanne.board.edit(posted.address, {"status": "cancelled"})
    assert await roanne.keeper.concerned() == {ledger}
    await valley.settle(*valley.sides)
    views = [await charlieu.claims.show(address) for address in claims]
    why = "what was asked for was withdrawn" if withdrawn else "it was cancelled"
    assert sorted(view.says for view in views) == [f"Declined: {why}.", f"Given free: {why}."]
    assert {view.target_title for view in views} == {"Sauerkraut"}
    assert {view.target_kind for view in await roanne.claims.all()} == {"event"}


async def test_a_thing_is_lent_at_once_where_its_owner_says_so_and_no_two_have_it(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    posted = await roanne.board.post("item", {"title": "Ladder", "approval": "auto"})
    await valley.meet(*valley.sides)
    claims = []
    for first, last in ((1, 3), (2, 4), (3, 5)):
        valley.clock.at_ms += 1_000
        asked = await charlieu.claims.ask(
            posted.address, start=START_S + first * DAY_S, end=START_S + last * DAY_S, by=f"r{first}"
        )
        claims.append(asked.address)
        await valley.settle(*valley.sides)
    assert await stages(charlieu, claims) == ["accepted", "waiting", "accepted"]


async def test_what_nobody_could_grant_is_declined_with_the_reason(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    address = await offered(valley, accept="manual")
    target = await charlieu.board.show(address)
    header = (await charlieu.store.read(lambda reader: held_of(reader, target.doc)))[0].header
    good: dict[str, Any] = {
        "target": target.doc, "ledger": ledger_id(header), "milli": 1_000, "unit": "box", "by": "mallory",
        "on_behalf_of": True,
    }  # fmt: skip

    async def write(federations: Any = (valley.federation,), **other: Any) -> None:
        fields = {name: value for name, value in {**good, **other}.items() if value is not None}
        draft = Draft("claim", Op.PUT, fields, federations, sealed_to=(roanne.town.id,))
        await charlieu.intake.post([draft])

    await write(unit="kg")
    await write(milli=25_000)
    await write(milli=None, unit=None, start=START_S, end=START_S + 60)
    await write(target=bytes(16))
    await write(on_behalf_of=None)
    valley.clock.at_ms += 1_000
    await write(on_behalf_of=None, by="Mallory")
    await valley.settle(*valley.sides)
    views = await roanne.claims.all()
    codes = sorted(view.code for view in views if view.stage is Stage.DECLINED)
    assert codes == ["another_unit", "counts_amounts", "ended", "more_than_all", "twice"]
    assert sum(view.stage is Stage.ASKED for view in views) == 1
    await write(federations=())
    await roanne.board.withdraw(address)
    await valley.settle(*valley.sides)
    [left] = [view for view in await roanne.claims.all() if view.code == "target_withdrawn"]
    assert left.says == "Declined: what was asked for was withdrawn."


async def test_a_claim_for_another_ledger_than_its_targets_is_declined_there(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    apples, pears = await offered(valley), await offered(valley, title="Pears")
    target = await charlieu.board.show(apples)
    other = await charlieu.board.show(pears)
    header = (await charlieu.store.read(lambda reader: held_of(reader, other.doc)))[0].header
    fields: Any = {"target": target.doc, "ledger": ledger_id(header), "milli": 1_000, "unit": "box"}
    draft = Draft("claim", Op.PUT, fields, (valley.federation,), sealed_to=(roanne.town.id,))
    await charlieu.intake.post([draft])
    await valley.settle(*valley.sides)
    assert [view.code for view in await roanne.claims.all()] == ["not_this_ledger"]


async def test_more_claims_than_fit_in_one_turn_are_all_answered(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    count = WORDS_MAX + 6
    address = await offered(valley, quantity=boxes(count))
    for number in range(count):
        await charlieu.claims.ask(address, quantity=boxes(1), by=f"r{number}", on_behalf_of=True)
    await valley.settle(*valley.sides)
    assert (await roanne.ledger(address)).promises.free == 0


async def fork(valley: Valley, folder: Path) -> tuple[str, str, str, Side]:
    """Copy Roanne's node, and let both promise the same 24 boxes, one to each of two claims."""
    roanne = valley.sides[0]
    address = await offered(valley, accept="manual")
    first = await ask(valley, address, 24, "bob", 1)
    second = await ask(valley, address, 24, "eve", 2)
    clone = Side(valley.towns[0], valley.clock, folder)
    await valley.meet(*valley.sides)
    home = await roanne.shared()
    await clone.hear(home)
    await clone.hear(home)
    await roanne.claims.accept(first)
    await clone.claims.accept(second)
    return address, first, second, clone


async def test_a_key_in_two_places_is_settled_alike_everywhere_and_told(
    valley: Valley, tmp_path: Path
) -> None:
    address, first, second, clone = await fork(valley, tmp_path)
    everybody = [*valley.sides, clone]
    await clone.claims.hand_over(second)
    await valley.sides[0].claims.hand_over(first)
    await valley.meet(*everybody)
    ledgers = [await side.ledger(address) for side in everybody]
    assert len({each.promises.promised for each in ledgers}) == 1
    assert all(len(each.forks) == 1 and each.promises.promised == 24_000 for each in ledgers)
    lost = (await valley.sides[0].claims.show(first)).stage is Stage.VOID
    void = (await valley.sides[0].claims.show(first if lost else second)).says
    assert void == "Void: Roanne's key was in two places; this promise does not count."
    for side in everybody:
        await side.keep()
    assert await valley.sides[0].told() == ["ledger_fork"]
    assert await valley.sides[1].told() == ["ledger_fork"]
    sources = await valley.sides[1].store.read(lambda reader: reader.rows("SELECT source FROM incidents"))
    assert sources == [(bytes(valley.sides[0].town.id),)], "forks of a town crowd out only its own"
    await valley.sides[0].keep()
    assert await valley.sides[0].told() == ["ledger_fork"], "it is told once"
    await valley.meet(*everybody)
    await valley.settle(*everybody)
    ledgers = [await side.ledger(address) for side in everybody]
    assert all(not each.unsettled for each in ledgers)
    await clone.store.close()


async def test_the_keeper_goes_on_by_itself_and_ends_when_it_is_told_to(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    address = await offered(valley)
    working = asyncio.create_task(roanne.keeper.run())
    answered = asyncio.Event()
    announce = roanne.intake.announce

    def listen(committed: Any) -> None:
        announce(committed)
        if any(change.added for change in committed.lanes):
            answered.set()

    claimed = await ask(valley, address, 2, "bob")
    raws = await charlieu.shared()
    await asyncio.sleep(0)
    await roanne.hear(raws)
    roanne.intake.announce = listen
    async with asyncio.timeout(20):
        await answered.wait()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert await stages(roanne, [claimed]) == ["accepted"]


async def test_another_device_of_the_town_keeps_its_hands_off(valley: Valley) -> None:
    from tests.node.test_claims import second_device

    twin = await second_device(valley)
    address = await offered(valley)
    await ask(valley, address, 2, "bob")
    await valley.meet(*valley.sides, twin)
    await twin.keep()
    assert (await twin.ledger(address)).n == 1
    document = await twin.board.show(address)
    header = (await twin.store.read(lambda reader: held_of(reader, document.doc)))[0].header
    ledger = await twin.ledger(address)
    forged = Draft(
        LEDGER,
        Op.ENTRY,
        fields_of_entry(2, Word(Act.CAPACITY, milli=99_000)),
        doc=ledger_id(header),
        cites=(ledger.head,),
    )
    await twin.intake.post([forged])
    await valley.meet(*valley.sides, twin)
    for side in (*valley.sides, twin):
        found = await side.store.read(lambda reader: ledger_at(reader, ledger_id(header)))
        assert found is not None
        assert (found.promises.capacity, list(found.void.values())) == (24_000, ["not_the_keeper"])
    await roanne_answers(valley)


async def roanne_answers(valley: Valley) -> None:
    """The keeper goes on beside what another device wrote in its place."""
    await valley.sides[0].keep()
    views = await valley.sides[0].claims.all()
    assert [view.stage for view in views] == [Stage.ACCEPTED]


async def test_what_has_no_effect_is_never_written(valley: Valley) -> None:
    roanne = valley.sides[0]
    address = await offered(valley, accept="manual")
    claims = [await ask(valley, address, 20, "bob"), await ask(valley, address, 20, "eve")]
    await valley.meet(*valley.sides)
    await roanne.claims.accept(claims[0])
    with suppress(Refused):
        await roanne.claims.accept(claims[1])
    assert (await roanne.ledger(address)).n == 2
    assert (await roanne.ledger(address)).void == {}


async def test_the_keeper_hears_of_what_a_page_has_looked_at_before_it(valley: Valley) -> None:
    roanne = valley.sides[0]
    address = await offered(valley)
    await roanne.keeper.all()
    await ask(valley, address, 2, "bob")
    await valley.meet(*valley.sides)
    assert len(await roanne.claims.all()) == 1
    ledger = await roanne.ledger(address)
    assert await roanne.keeper.concerned() == {ledger.doc}
    assert await roanne.keeper.concerned() == set()


async def test_a_share_that_is_not_wanted_any_more_is_free_when_its_town_has_let_go_of_it(
    valley: Valley,
) -> None:
    roanne, charlieu, _ = valley.sides
    address = await offered(valley)
    share = await ask(valley, address, 8, "coordinator", share=True)
    await valley.meet(*valley.sides)
    await roanne.claims.accept(share)
    await valley.meet(*valley.sides)
    fields: Any = {"title": "Apples of Roanne", "quantity": boxes(8)}
    child = await charlieu.claims.post_share(share, "offer", fields)
    await charlieu.claims.withdraw(share)
    await valley.settle(*valley.sides)
    assert (await roanne.ledger(address)).promises.promised == 8_000
    await charlieu.board.edit(child.address, {"quantity": boxes(2)})
    await valley.settle(*valley.sides)
    assert (await roanne.ledger(address)).promises.promised == 2_000


async def test_what_the_disk_refused_is_done_at_the_next_look(
    valley: Valley, monkeypatch: pytest.MonkeyPatch
) -> None:
    roanne = valley.sides[0]
    address = await offered(valley)
    claimed = await ask(valley, address, 2, "bob")
    await valley.meet(*valley.sides)

    async def refuse(*_: Any) -> int:
        raise StorageUnavailable("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(roanne.claims.pen, "write", refuse)
        await roanne.keeper._work(roanne.keeper.all)
    assert await stages(roanne, [claimed]) == ["asked"]
    await roanne.keeper._work(roanne.keeper.concerned)
    assert await stages(roanne, [claimed]) == ["accepted"]
    await roanne.keeper._work(roanne.keeper.concerned)
    assert await roanne.keeper.concerned() == set()


async def test_nobody_is_left_out_of_a_draw_or_hidden_behind_others_however_many_ask(
    valley: Valley, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three are opened at a look here instead of a hundred or a thousand, and many more ask."""
    roanne, charlieu, _ = valley.sides
    monkeypatch.setattr("node.promises.queue.OPENED_MAX", 3)
    monkeypatch.setattr("node.promises.queue.NEW_MAX", 3)
    drawn, needed, first = [
        await offered(valley, policy=each) for each in ("draw", "need_first", "first_come")
    ]
    for at in range(4):  # Whom nobody answers stands in nobody's way.
        await ask(valley, first, 1, f"s{at}", share=True)
        await charlieu.claims.withdraw(await ask(valley, first, 1, f"w{at}"))
    lots = [await ask(valley, drawn, 24, f"r{at}") for at in range(8)]
    pressing = [
        await ask(valley, needed, 24, f"r{at}", urgency="life" if at == 6 else "normal") for at in range(8)
    ]
    served = [await ask(valley, first, 20, f"r{at}") for at in range(8)]
    await valley.settle(*valley.sides)
    assert sorted(await stages(roanne, served)) == ["accepted", *["waiting"] * 7]
    valley.clock.at_ms += DAY_S * 1_000
    await valley.settle(*valley.sides)
    assert await stages(roanne, pressing) == [*["waiting"] * 6, "accepted", "waiting"]
    found = await stages(roanne, lots)
    assert sorted(found) == ["accepted", *["waiting"] * 7]
    ledger = await roanne.ledger(drawn)
    records = await roanne.store.read(lambda reader: held_of(reader, ledger.doc))
    entries = [entry for each in records if (entry := read_entry(each)) is not None]
    [word] = [entry.word for entry in entries if entry.n == 2]
    docs = [(await roanne.claims.show(each)).doc for each in lots]
    assert word.seed == roanne.device.sign(lot_message(ledger.doc, docs)), "all of them took part"
    assert docs[found.index("accepted")] == min(docs, key=lambda doc: lot(word.seed or b"", doc))


async def test_a_keeper_is_woken_by_what_the_other_side_of_a_share_writes(valley: Valley) -> None:
    roanne, charlieu, _ = valley.sides
    address = await offered(valley, accept="manual")
    share = await ask(valley, address, 8, "coordinator", share=True)
    await valley.settle(*valley.sides)
    await roanne.claims.accept(share)
    await valley.settle(*valley.sides)
    fields: Any = {"title": "Apples of Roanne", "quantity": boxes(8)}
    child = await charlieu.claims.post_share(share, "offer", fields)
    await valley.meet(*valley.sides)
    bob = await ask(valley, child.address, 8, "bob", 2)
    await valley.settle(*valley.sides)
    parent_doc, child_doc = (await roanne.ledger(address)).doc, (await charlieu.ledger(child.address)).doc
    await charlieu.claims.withdraw(share)
    await valley.settle(*valley.sides)
    for side in valley.sides:
        await side.keeper.concerned()
    await charlieu.board.edit(child.address, {"quantity": boxes(2)})
    await valley.meet(*valley.sides)
    assert await charlieu.keeper.concerned() >= {child_doc, parent_doc}
    concerned = await roanne.keeper.concerned()
    assert concerned >= {parent_doc}
    for ledger in concerned:
        await roanne.keeper.attend(ledger)
    assert (await roanne.ledger(address)).promises.promised == 2_000
    await valley.meet(*valley.sides)
    assert child_doc in await charlieu.keeper.concerned(), "and the share by its parent"
    assert await stages(charlieu, [bob]) == ["asked"]
