"""The last generator, with real daemons: three towns, cuts by silence, a keeper that is killed at its work.

Roanne has 24 generators and sets eight of them aside for Charlieu, which gives these away itself. Forty
households of Charlieu and Ambierle ask, most of them while nobody hears anybody. At every moment, on every
node, what is promised is no more than what there is; at the end everybody is answered, the same everywhere.
"""

from __future__ import annotations

import asyncio
import json
import random
from functools import partial

import pytest

from node.cli.client import lines
from node.demo.line import Line, until
from node.demo.town import TownProcess
from node.exchange import raw_of_line
from node.intake import take_in
from node.promises.shelf import ledger_at
from node.store import Transaction
from node.store.memory import MemoryStore
from protocol.ids import DocId, TownId
from protocol.record import Record, open_record
from sync.authority import AUTHORITY_KINDS
from tests.canary import traces, traces_in
from tests.tap import Tap, is_websocket, traces_on_wire

GENERATORS, SHARE = 24, 8
OF_ROANNE, OF_CHARLIEU = 28, 12
"""Households that ask for one of Roanne's, and for one of the share; more than there are of either."""
SUBSETS = 500
KILLS = 3


CODES: list[str] = []
"""The receipt codes of this run."""


async def ask(town: TownProcess, address: str, who: str) -> str:
    """Ask for one, with words that nobody else may read."""
    claimed = await town.ask(
        "claim", address=address, by=who, reason=f"Wagtail reason of {who}", contact=f"Kestrel call {who}"
    )
    CODES.append(claimed["code"])
    return str(claimed["address"])


async def promised(town: TownProcess, address: str) -> int:
    """How many a node knows to be promised, after a look at whether that can be."""
    ledger = await town.ask("claims", address=address)
    if not ledger["known"]:
        return 0
    counts = {name: int(ledger[name]["amount"]) for name in ("capacity", "promised", "free")}
    assert 0 <= counts["promised"] <= counts["capacity"] <= GENERATORS, town.name
    return counts["promised"]


async def look(line: Line, address: str, child: str) -> None:
    """Look at every node that runs: nowhere is more promised than there is."""
    for town in line.towns:
        both = [await promised(town, each) for each in (address, child)]
        assert both[0] <= GENERATORS and both[1] <= SHARE, town.name


@pytest.fixture(autouse=True)
def tapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the relays between the towns keep what they carry."""
    monkeypatch.setattr("node.demo.line.Relay", Tap)


@pytest.mark.timeout(150)
async def test_no_node_ever_promises_the_last_generator_twice(line: Line) -> None:
    roanne, charlieu, ambierle = line.towns
    fields = {"title": "Generator", "quantity": "24", "accept": "auto"}
    address = str((await roanne.ask("post", kind="offer", fields=fields))["address"])
    await until("all have heard of it", line.equal)
    share = json.loads(
        await charlieu.command(
            "claim", address, "--share", "--quantity", str(SHARE), "--by", "coordinator", "--json"
        )
    )
    await until("Roanne has heard of that", line.equal)
    assert "may be given away by Charlieu" in await roanne.command("accept", share["address"])
    await until("Charlieu has heard of its share", line.equal)
    posted = await charlieu.command(
        "post", "offer", "-f", "title=A share of generators", "-f", f"quantity={SHARE}", "-f", "accept=auto",
        "--parent", share["address"],
    )  # fmt: skip
    child = posted.strip()
    await until("all have heard of both", line.equal)
    asked: dict[str, list[str]] = {charlieu.name: [], ambierle.name: []}

    async def some_ask(first: int, last: int, first_of_share: int, last_of_share: int) -> None:
        for number in range(first, last):
            town = (charlieu, ambierle)[number % 2]
            asked[town.name].append(await ask(town, address, f"household {number}"))
        for number in range(first_of_share, last_of_share):
            asked[ambierle.name].append(await ask(ambierle, child, f"shared {number}"))

    await some_ask(0, 4, 0, 2)
    await until("the first are answered", lambda: answered(line, asked))
    line.cut(0)
    line.cut(1)
    await some_ask(4, 12, 2, 8)
    await look(line, address, child)
    view = await charlieu.ask("claim_show", address=asked[charlieu.name][-1])
    assert (view["state"], view["says"].split(",")[0]) == ("asked", "Waits for Roanne's node")
    line.heal(0)
    # A node that wakes calls everybody at once: nobody has to wait until a silence is noticed.
    await power_cut(roanne)
    for number in range(KILLS):
        await kill_at_work(roanne, address)
        await look(line, address, child)
        await some_ask(12 + 2 * number, 14 + 2 * number, 0, 0)
    await some_ask(12 + 2 * KILLS, OF_ROANNE, 8, OF_CHARLIEU)
    line.heal(1)
    await power_cut(ambierle)
    await until("everybody is answered", lambda: answered(line, asked))
    await until("all hold the same", line.equal)
    await look(line, address, child)
    await the_end_is_one(line, address, child, asked)
    await asyncio.to_thread(nobody_else_reads, line, asked)
    await subsets_promise_no_more(line, address)


async def answered(line: Line, asked: dict[str, list[str]]) -> bool:
    """Whether every claim has its answer, as its own town has heard."""
    for town in line.towns[1:]:
        states = {each["address"]: each["state"] for each in (await town.ask("claims"))["claims"]}
        if any(states[address] == "asked" for address in asked[town.name]):
            return False
    return True


async def kill_at_work(keeper: TownProcess, address: str) -> None:
    """Kill the keeper as soon as it has promised something more, whoever has heard of that."""
    before = await promised(keeper, address)

    async def is_at_it() -> bool:
        return await promised(keeper, address) > before

    await until("the keeper is at work", is_at_it)
    await power_cut(keeper)


async def power_cut(town: TownProcess) -> None:
    """Kill a node and start it again."""
    await town.kill()
    await town.start()


async def the_end_is_one(line: Line, address: str, child: str, asked: dict[str, list[str]]) -> None:
    """Every generator is promised once, and everybody says the same."""
    for each in (address, child):
        told = [await town.ask("claims", address=each) for town in line.towns]
        amounts = [
            {name: ledger[name] for name in ("promised", "free", "waiting", "says")} for ledger in told
        ]
        assert amounts[0] == amounts[1] == amounts[2]
        assert amounts[0]["free"]["amount"] == "0"
    states: list[str] = []
    for town in line.towns[1:]:
        views = {each["address"]: each["state"] for each in (await town.ask("claims"))["claims"]}
        states += [views[each] for each in asked[town.name]]
    assert states.count("accepted") == GENERATORS
    assert states.count("waiting") == OF_ROANNE + OF_CHARLIEU - GENERATORS


def nobody_else_reads(line: Line, asked: dict[str, list[str]]) -> None:
    """What households say is nowhere in clear: on no wire, no disk in between or of the two, in no log and no
    export."""
    assert all(asked.values())
    private = ["Wagtail reason", "Kestrel call", *CODES]
    for town in line.towns:
        assert (town.data / "node.log").stat().st_size
        assert traces_in(town.data, private) == {}, town.name
        exported = "\n".join(lines(town.data, "export", {})).encode()
        assert traces(exported, [*private, "share of generators"]) == {"share of generators"}
    taps = [relay for relay in line.relays if isinstance(relay, Tap)]
    assert sum(is_websocket(bytes(stream)) for tap in taps for stream in tap.streams) >= 4
    assert traces_on_wire(taps, [*private, "Generator"]) == (set(), set())


async def subsets_promise_no_more(line: Line, address: str) -> None:
    """500 nodes that hear a part of all that was said know of no promise too many."""
    own, basis, rest = await told_by(line, line.towns[0])
    ledgers = {each.doc for each in rest if each.header.kind == "ledger"}
    chance = random.Random(24)
    most = 0
    for _ in range(SUBSETS):
        kept = chance.random()
        part = [each for each in rest if chance.random() < kept**0.1]
        chance.shuffle(part)
        store = node_that_heard(own, basis, part)
        most = max(most, to_people(store, ledgers))
    assert most > SHARE, "some of these nodes know of many promises"


async def told_by(line: Line, town: TownProcess) -> tuple[TownId, list[Record], list[Record]]:
    """Return the first town, and of what a node exports that by which towns may write, and the rest."""
    told = await asyncio.to_thread(lambda: list(lines(town.data, "export", {})))
    records = [open_record(raw_of_line(json.loads(text))) for text in told]
    own = TownId(bytes.fromhex(line.begun[0]["town"]["id"]))
    return (
        own,
        [each for each in records if _is_basis(each)],
        [each for each in records if not _is_basis(each)],
    )


def node_that_heard(own: TownId, basis: list[Record], part: list[Record]) -> MemoryStore:
    """Return a fresh node that heard this in this order, and half of it twice."""
    store = MemoryStore(own)
    for batch in (basis, part, part[: len(part) // 2]):
        store.turn(partial(_take, batch))
    return store


def to_people(store: MemoryStore, ledgers: set[DocId]) -> int:
    """How many a node knows to be promised to people; it is never too many."""
    found = [ledger for doc in ledgers if (ledger := ledger_at(store.state, doc)) is not None]
    total = sum(
        each.milli
        for ledger in found
        if ledger.is_known
        for each in ledger.promises.open_ones()
        if each.share is None
    )
    assert total <= GENERATORS * 1_000
    assert all(ledger.promises.promised <= ledger.promises.capacity for ledger in found)
    return total // 1_000


def _take(batch: list[Record], tx: Transaction) -> None:
    now_ms = max(each.header.stamp >> 16 for each in batch) + 1_000 if batch else 1
    take_in(tx, [each.raw for each in batch], now_ms=now_ms, sure=True, check=lambda _: None)


def _is_basis(record: Record) -> bool:
    kind = record.header.kind
    return kind in AUTHORITY_KINDS or kind.startswith("town.")
