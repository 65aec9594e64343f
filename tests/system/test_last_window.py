"""The last pump and the last seat, with real daemons: three towns, cuts by silence, a keeper that is killed.

Roanne lends one pump and has five seats on a boat. People of all three towns ask for the pump at times that
overlap, and for more seats than there are, most of them while nobody hears anybody. At every moment, on every
node, and on any node that hears a part of what was said, no two have the pump at one time and no more than
five have a seat.
"""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from node.demo.line import Line, until
from node.demo.town import TownProcess
from node.promises.shelf import ledger_at
from node.store.memory import MemoryStore
from protocol.ids import DocId
from protocol.record import Record
from sync.promises import Mode
from tests.system.test_last_generator import node_that_heard, power_cut, told_by

SEATS = 5
SUBSETS = 300
HOUR_S = 3_600
DAY_S = 86_400


@pytest.mark.timeout(150)
async def test_no_window_is_lent_twice_and_no_seat_given_twice(line: Line) -> None:
    roanne, charlieu, ambierle = line.towns
    begins_s = (int(time.time()) // DAY_S + 3) * DAY_S
    pump = {"title": "Pump", "approval": "auto", "loan_days": "7"}
    boat = {"title": "Boat to the mill", "start": time.strftime("%Y-%m-%dT%H:%M", time.gmtime(begins_s)),
            "seats": str(SEATS)}  # fmt: skip
    item = str((await roanne.ask("post", kind="item", fields=pump))["address"])
    event = str((await roanne.ask("post", kind="event", fields=boat))["address"])
    await until("all have heard of it", line.equal)
    asked: list[tuple[TownProcess, str]] = []

    async def some_ask(first: int, last: int) -> None:
        for number in range(first, last):
            town = line.towns[number % 3]
            start_s = begins_s + number * 5 * HOUR_S
            times = {"start": start_s, "end": start_s + 12 * HOUR_S}
            for address, more in ((item, times), (event, {})):
                claim = await town.ask("claim", address=address, by=f"household {number}", **more)
                asked.append((town, str(claim["address"])))

    await some_ask(0, 3)
    await until("the first are answered", lambda: answered(asked))
    line.cut(0)
    line.cut(1)
    await some_ask(3, 9)
    await look(line)
    await power_cut(roanne)
    line.heal(0)
    await some_ask(9, 12)
    await power_cut(roanne)
    await look(line)
    line.heal(1)
    await power_cut(ambierle)
    await until("everybody is answered", lambda: answered(asked))
    await until("all hold the same", line.equal)
    # How many windows fit depends on who was heard first; that they are the same ones does not.
    [(seats, windows)] = {*await look(line)}
    assert seats == SEATS and windows >= 2
    own, basis, rest = await told_by(line, charlieu)
    chance = random.Random(5)
    known = set[tuple[int, int]]()
    for _ in range(SUBSETS):
        kept = chance.random()
        part = [each for each in rest if chance.random() < kept**0.1]
        chance.shuffle(part)
        known.add(promised(node_that_heard(own, basis, part), part))
    assert len(known) > 2, "these nodes know of more and of less"


async def answered(asked: list[tuple[TownProcess, str]]) -> bool:
    """Whether every claim has its answer, as its own town has heard."""
    for town in {town.name: town for town, _ in asked}.values():
        states = {each["address"]: each["state"] for each in (await town.ask("claims"))["claims"]}
        if any(states[address] == "asked" for one, address in asked if one is town):
            return False
    return True


async def look(line: Line) -> list[tuple[int, int]]:
    """Look at what every node that runs holds now; return what each knows to be promised."""
    found = []
    for town in line.towns:
        own, basis, rest = await told_by(line, town)
        found.append(promised(node_that_heard(own, basis, rest), rest))
    return found


def promised(store: MemoryStore, heard: list[Record]) -> tuple[int, int]:
    """How many seats and windows a node knows to be promised; never too many, nor two at one time."""
    seats = windows = 0
    for doc in {DocId(each.doc) for each in heard if each.header.kind == "ledger"}:
        ledger = ledger_at(store.state, doc)
        if ledger is None or not ledger.is_known:
            continue
        ones = ledger.promises.open_ones()
        if ledger.promises.mode is Mode.WINDOW:
            times = sorted((each.start or 0, each.end or 0) for each in ones)
            assert all(one[1] <= later[0] for one, later in pairwise(times)), times
            windows += len(times)
        else:
            assert sum(each.milli for each in ones) <= SEATS * 1_000
            seats += sum(each.milli for each in ones) // 1_000
    return seats, windows
