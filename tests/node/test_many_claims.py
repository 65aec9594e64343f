"""A neighbour, member of the federation, that asks without end: what its claims cost stays in bounds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from node.incidents import Incidents
from node.promises import asked, looking
from node.promises import keeper as keepers
from node.promises.keeper import TURNS_AT_ONCE, Keeper
from node.promises.pen import WORDS_MAX
from node.promises.trouble import FORK_FOUND
from node.promises.views import ClaimView, Stage
from node.store import records as rows
from protocol.encoding import Value
from protocol.ids import DocId, Lane, Op, RecordId
from protocol.record import Record, make
from protocol.sealing import derive, seal
from sync.ledger import LEDGER, fields_of_entry, ledger_id
from sync.promises import Act, Promises, Word
from tests.node.conftest import START_MS
from tests.node.programs import Program
from tests.node.valley import boxes

START_S = START_MS // 1_000
COUNT = itertools.count(1)


def asks(target: DocId, ledger: DocId, **more: Value) -> dict[str, Value]:
    """What a claim of one box says."""
    return {"target": target, "ledger": ledger, "milli": 1_000, "unit": "box", "code": "00000000", **more}


def sealed_claim(node: Any, fields: dict[str, Value], expires: int = START_S + 60 * 86_400) -> Record:
    """A claim of the neighbour that is sealed to our town, as another program would make it."""
    number, key = next(COUNT), derive(node.own.key.seed, 0)
    salt, chance = number.to_bytes(16, "big"), number.to_bytes(32, "big")
    reader = [(node.own.id, key.public)]
    return make(
        node.neighbour.device,
        town=node.neighbour.id,
        epoch=b"many",
        counter=number,
        stamp=(START_MS - 3_600_000 + number) << 16,
        kind="claim",
        lane=Lane.EVERYDAY,
        federations=[node.federation],
        born=START_S - 3_600,
        expires=expires,
        nonce=number.to_bytes(8, "big"),
        op=Op.PUT,
        body=seal(fields, reader, town=node.neighbour.id, kind="claim", salt=salt, chance=chance),
    )


async def offered(node: Any, **more: Value) -> tuple[DocId, DocId]:
    """Post an offer of Bob; return it and its ledger."""
    fields = {"title": "Boxes of apples", "quantity": boxes(24), **more}
    document = await node.board.show((await node.board.post("offer", fields, by="bob")).address)
    return document.doc, ledger_id((await node.board.record(document)).header)


def keeper_of(node: Any) -> Keeper:
    """The keeper at work in this node."""
    return Keeper(node.claims, node.store, Incidents(node.clock.now_ms), node.clock.read)


async def unanswered(node: Any) -> list[ClaimView]:
    """The claims that nobody has answered."""
    return [each for each in await node.claims.all() if each.stage is Stage.ASKED]


async def heard(node: Any) -> list[tuple[bytes]]:
    """The claims of which it is kept on the disk when they were heard of."""
    return list(await node.store.read(lambda reader: reader.rows("SELECT claim FROM claims_heard")))


class Counted:
    """How often something was called, which goes on doing what it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.calls = 0
        real = getattr(owner, name)

        def counted(*given: Any, **named: Any) -> Any:
            self.calls += 1
            return real(*given, **named)

        monkeypatch.setattr(owner, name, counted)


async def test_what_nobody_could_grant_is_looked_at_a_few_times_and_holds_up_no_other_ledger(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target, ledger), (other, beside) = await offered(node), await offered(node, accept="auto")
    much = asks(target, ledger) | {"milli": 10**9}
    count = (TURNS_AT_ONCE + 1) * WORDS_MAX
    await node.hear(*(sealed_claim(node, much) for _ in range(count)))
    one = sealed_claim(node, asks(other, beside))
    await node.hear(one)
    fault, opened = Counted(monkeypatch, keepers, "fault"), Counted(monkeypatch, node.seals, "open")
    read = Counted(monkeypatch, rows, "to_record")
    keeper = keeper_of(node)
    await keeper._work(keeper.all)
    costs = [(fault.calls, opened.calls, read.calls)]
    assert (await node.claims.show(one.doc.hex())).stage is Stage.ACCEPTED
    assert len(await unanswered(node)) == WORDS_MAX
    fault.calls = opened.calls = read.calls = 0
    await keeper._work(keeper.concerned)
    costs.append((fault.calls, opened.calls, read.calls))
    assert await unanswered(node) == []
    looks, openings, readings = (sum(each) / count for each in zip(*costs, strict=True))
    assert looks <= 2 and openings <= 3 and readings <= 32, costs


async def test_claims_that_have_ended_are_remembered_neither_in_memory_nor_on_the_disk(node: Any) -> None:
    target, ledger = await offered(node)
    soon, register = START_S + 90, node.claims.register
    lasting = sealed_claim(node, asks(target, ledger))
    brief = [
        sealed_claim(node, asks(target, DocId(at.to_bytes(16, "big"))), expires=soon) for at in range(1, 9)
    ]
    receipts = [
        node.neighbour.record(
            "receipt", {"ledger": ledger, "claim": each.doc, "ok": "yes"}, [node.federation]
        )
        for each in (lasting, brief[0])
    ]
    await node.hear(lasting, *brief, *receipts)
    keeper = keeper_of(node)
    await keeper.all()
    assert len(register.ledgers()) == 9 and len(await heard(node)) == 9
    node.clock.at_ms = soon * 1_000
    assert await node.intake.reconsider() == len(brief)
    await keeper.concerned()
    assert await heard(node) == [(lasting.doc,)]
    assert (register.ledgers(), register.claims_of(ledger)) == ([ledger], (lasting.doc,))
    assert {register.ledger_of(each.doc) for each in brief} == {None}
    assert register.receipts_of(lasting.doc, node.neighbour.id) == (receipts[0].doc,)


async def test_receipts_of_other_towns_for_a_claim_are_not_looked_at(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, ledger = await offered(node)
    ours = await node.claims.ask(target.hex(), quantity=boxes(1), by="carol")
    theirs = sealed_claim(node, asks(target, ledger))
    claim = (await node.claims.show(ours.address)).doc

    def received(claim: DocId, ok: str) -> Record:
        fields: dict[str, Value] = {"ledger": ledger, "claim": claim, "ok": ok}
        record: Record = node.neighbour.record("receipt", fields, [node.federation])
        return record

    await node.hear(theirs, *(received(claim, "no") for _ in range(32)))
    await node.hear(*(received(theirs.doc, "partly") for _ in range(32)))
    held = Counted(monkeypatch, asked, "held_of")
    assert (await node.claims.show(ours.address)).received == ""
    assert held.calls <= 1
    assert (await node.claims.show(theirs.doc.hex())).received == "partly"
    assert held.calls <= 4


async def test_of_many_claims_no_more_are_opened_than_who_asks_may_see_and_those_first_that_count(
    node: Any, browser: Any, stranger: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, ledger = await offered(node)
    promised, *others = [sealed_claim(node, asks(target, ledger)) for _ in range(24)]
    elsewhere = [sealed_claim(node, asks(target, DocId(bytes([at]) * 16), urgency="life")) for at in range(8)]
    await node.hear(*elsewhere, *others, promised)
    await node.claims.accept(promised.doc.hex())
    for each in others[:2]:
        await node.claims.put_on_list(each.doc.hex())
    carols = await node.claims.ask(target.hex(), quantity=boxes(1), by="carol")
    carol = Program(browser.client, await node.accounts.make_token("carol"))
    bob = Program(browser.client, await node.accounts.make_token("bob"))
    await node.claims.register.catch_up()
    monkeypatch.setattr(looking, "OPENED_MAX", 8)
    opened = Counted(monkeypatch, node.seals, "open")
    waiting = Counted(monkeypatch, Promises, "waiting")
    seen = dict[str, tuple[int, int, int]]()
    for name, program in (("stranger", stranger), ("carol", carol), ("bob", bob)):
        opened.calls = waiting.calls = 0
        status, told, _ = await program.call("GET", f"/api/v1/documents/{target.hex()}/claims")
        seen[name] = (status, opened.calls, len(told["claims"]))
    assert seen == {"stranger": (200, 0, 0), "carol": (200, 1, 1), "bob": (200, 9, 9)}
    found = await node.claims.all()
    assert len(found) == 9 and {carols.address} < {each.address for each in found}
    first = {promised.doc, others[0].doc, others[1].doc}
    assert first < {each.doc for each in found} and {each.place for each in found} == {0, 1, 2}
    assert {each.doc for each in found}.isdisjoint(each.doc for each in elsewhere)
    assert waiting.calls <= 4, "places are counted out once a look"


async def test_a_neighbour_that_forks_its_own_ledger_again_and_again_is_one_incident(node: Any) -> None:
    """Its claim, sealed to us, names that ledger: so our keeper looks at it."""

    def entry(n: int, word: Word, cites: tuple[RecordId, ...], after: Record | None) -> Record:
        record: Record = node.neighbour.record(
            LEDGER, fields_of_entry(n, word), [node.federation], follows=after, cites=cites
        )
        return record

    first = head = entry(1, Word(Act.CAPACITY, milli=1_000), (), None)
    for n in range(2, 10):
        word = Word(Act.WAIT, DocId(bytes([n]) * 16))
        pair = [entry(n, word, (head.id,), first) for _ in range(2)]
        await node.hear(*pair, *([first] if n == 2 else []))
        head = min(pair, key=lambda each: each.id)
    await node.hear(sealed_claim(node, asks(DocId(bytes(16)), first.doc)))
    incidents, keeper = Incidents(node.clock.now_ms), keeper_of(node)
    for each in await keeper.all():
        await keeper.attend(each)
    told = await node.store.read(incidents.list)
    assert [each.code for each in told] == [FORK_FOUND]
