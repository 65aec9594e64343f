"""What was written here under a wrong clock, said again once time is sure."""

from __future__ import annotations

from collections.abc import Sequence

from node.intake import Draft, Intake
from node.seals import Seals
from protocol.encoding import Value
from protocol.ids import Op
from protocol.record import Record, fields_of
from protocol.sealing import derive
from sync.ledger import fields_of_entry, fold, ledger_id, read
from sync.promises import Act, Word
from tests.node.stores import BEE, OWN, RIVER, offer
from tests.node.test_intake import Door, door

assert door
YEARS_MS = 10 * 365 * 86_400_000


async def test_what_a_board_acknowledged_under_a_wrong_clock_is_issued_again_once_time_is_sure(
    door: Door,
) -> None:
    """An edit and a withdrawal of what was born right, and a post with its ledger that was born years
    ahead; what others wrote is not ours to say again, and nothing is said twice."""
    bread, milk = await door.post(fields={"title": "Bread"}), await door.post(fields={"title": "Milk"})
    today_ms, told = door.now_ms, list[Sequence[Record]]()
    door.intake.told_again = lambda tx, again: told.append(again)
    door.sure, door.now_ms = False, today_ms + YEARS_MS
    await door.post(fields={"title": "Rye"}, doc=bread.doc, cites=(bread.id,))
    await door.post(fields=None, op=Op.DELETE, doc=milk.doc)
    gone = await door.post(fields={"title": "Gone"})
    await door.post(fields=None, op=Op.DELETE, doc=gone.doc)
    first = fields_of_entry(1, Word(Act.CAPACITY, milli=9_000, unit="each"))
    apples = await door.post(fields={"title": "Apples"}, nonce=b"apples!!", opens=first)
    ledger = ledger_id(apples.header)
    word = Word(Act.CAPACITY, milli=8_000)
    [head] = await door.store.read(lambda reader: reader.document_records(ledger))
    await door.post("ledger", fields_of_entry(2, word), op=Op.ENTRY, doc=ledger, cites=(head,))
    about = {"about": apples.doc, "ok": "yes"}
    opinion = await door.post("feedback", about, cites=(apples.id,))
    other = offer(OWN, "Eggs", device=2, stamp=door.now_ms << 16)
    await door.hold(other)
    door.sure, door.now_ms = True, today_ms + 60_000
    assert await door.intake.reconsider() == 8 and await door.intake.reconsider() == 0

    async def held(kind: str) -> list[Record]:
        found = await door.store.read(lambda reader: reader.records_of(OWN.id, kind))
        return sorted(found, key=lambda each: each.header.stamp)

    offers = await held("offer")
    assert [each.header.op for each in offers] == [Op.PUT, Op.DELETE, Op.PUT], "nothing acknowledged is lost"
    rye, withdrawn, again = offers
    assert (rye.doc, fields_of(rye), rye.header.cites) == (bread.doc, {"title": "Rye"}, (bread.id,))
    assert (withdrawn.doc, withdrawn.header.op) == (milk.doc, Op.DELETE)
    assert again.doc != apples.doc and again.body == apples.body and again.header.cites == (apples.id,)
    assert again.header.born == door.now_ms // 1_000
    assert again.header.expires - again.header.born == apples.header.expires - apples.header.born
    entries = await held("ledger")
    said_of_it = [entry for each in entries if (entry := read(each)) is not None]
    promised = fold(entries[0].doc, OWN.id, said_of_it, frozenset())
    assert (entries[0].doc, promised.n, promised.promises.capacity) == (ledger_id(again.header), 2, 8_000)
    [said] = await held("feedback")
    assert said.id != opinion.id and (fields_of(said) or {})["about"] == again.doc
    assert said.header.cites == (again.id, opinion.id)
    assert [len(each) for each in told] == [6]
    assert all(each.header.stamp >> 16 <= door.now_ms for each in (rye, withdrawn, again, *entries, said))
    assert (await door.post(fields={"title": "Apples"}, nonce=b"apples!!")).id == again.id


async def test_a_sealed_body_that_names_what_has_another_id_is_sealed_again(door: Door) -> None:
    """To the same towns; a claim on another town's offer keeps its bytes."""
    own, bee = derive(OWN.key.seed, 0), derive(BEE.key.seed, 0)
    for town, key in ((OWN, own), (BEE, bee)):
        fields: dict[str, Value] = {"name": "Town", "sealing_key": key.public}
        await door.hold(town.write("town.profile", "seals", fields=fields))
    seals = Seals(OWN.id, [own], chance=door._chance)
    intake = Intake(door.store, OWN.device(), door._read, chance=door._chance, seals=seals)
    theirs, today_ms = offer(BEE, "Bread"), door.now_ms
    await door.hold(theirs)
    door.sure, door.now_ms = False, today_ms + YEARS_MS
    ours = await door.post(fields={"title": "Apples"})
    asks: dict[str, Value] = {"ledger": bytes(16), "milli": 1_000, "unit": "each"}
    drafts = [
        Draft("claim", fields={**asks, "target": doc}, federations=(RIVER,), sealed_to=readers)
        for doc, readers in ((theirs.doc, (BEE.id,)), (ours.doc, ()))
    ]
    before = await intake.post(drafts)
    door.sure, door.now_ms = True, today_ms
    assert await intake.reconsider() == 3
    [again] = await door.store.read(lambda reader: reader.records_of(OWN.id, "offer"))
    claims = await door.store.read(lambda reader: reader.records_of(OWN.id, "claim"))
    claims = sorted(claims, key=lambda each: each.header.stamp)
    assert claims[0].body == before[0].body and seals.towns_of(claims[1]) == (OWN.id,)
    opened = [seals.open(each) or {} for each in claims]
    assert [each["target"] for each in opened] == [theirs.doc, again.doc]
