"""The demonstration: towns on one machine, filled with real data, cut apart, at work on both sides, healed.

Each town is a node in a process of its own; two neighbours are joined by a relay, and know each other by
the relay's address alone. The cut is silence: the relay discards what comes and says nothing, as a river
does with a cable. Nothing is counted that was not read from the processes: digests from their status,
documents from their lists, bytes from the relays.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from node.demo.corpus import RECORDS_OF_A_TOWN, corpus, find_town, towns
from node.demo.line import FEDERATION, Line, running, until
from node.demo.town import TownFailed, TownProcess
from protocol.kinds import KINDS

LINE: Final = ("Roanne", "Charlieu", "Ambierle")
"""Three real towns within 20 km of each other; more are taken from the list, in its order."""
IMPORT_LINES: Final = 100
SILENCE_S: Final = 25.0
"""How long the cut goes on after the work: long enough for both sides to notice by their own deadlines."""
CUT_LINK: Final = 1
"""The link between the second and the third town."""
PAGE_S_MAX: Final = 10.0
INTERRUPTED: Final = 130
RESIDENT: Final = ("demo", "246810")
"""An account for who looks at the open pages: they are on this machine only, and gone at the end."""
POSTS: Final = (
    ("offer", "Boat with room for six"),
    ("offer", "Dry wood for two stoves"),
    ("need", "Insulated boxes for the clinic"),
    ("need", "Two people to stack sandbags"),
)
"""What each town posts during the cut."""
EDITED: Final = 4
WITHDRAWN: Final = 2
_NTH: Final = ("first", "second", "third")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be shown.

    Attributes:
        towns: How many, in a line.
        stay: Leave the pages open until Ctrl-C.
        heal: Mend the cut; without it the copies must be found to differ.
        records: Documents to begin with in all; None: what the data give.
        as_json: Answer with one JSON object at the end, the account going to standard error.
    """

    towns: int = 3
    stay: bool = True
    heal: bool = True
    records: int | None = None
    as_json: bool = False
    silence_s: float = SILENCE_S


@dataclass(slots=True)
class Account:
    """The step-by-step account: said as it happens, kept for the answer in JSON."""

    as_json: bool
    began_s: float = field(default_factory=time.monotonic)
    figures: dict[str, Any] = field(default_factory=dict)
    number: int = 0

    def step(self, text: str) -> None:
        """Say that a new step begins."""
        self.number += 1
        self._say(f"\n{self.number}. {text}")

    def say(self, text: str) -> None:
        """Say what came of it."""
        self._say(f"   {time.monotonic() - self.began_s:6.1f} s  {text}")

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)


async def play(plan: Plan) -> int:
    """Show it all; the exit code is 0 only if in the end all digests and documents were equal."""
    account = Account(plan.as_json)
    leave = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    with tempfile.TemporaryDirectory(prefix="hedgerow-demo-") as folder:
        showing = asyncio.create_task(_show(plan, account, Path(folder), leave))
        leaving = asyncio.create_task(leave.wait())
        await asyncio.wait({showing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not showing.done() and "equal" not in account.figures:
            showing.cancel()
            await asyncio.wait({showing})
            return INTERRUPTED
        return 0 if await showing else 1


async def _show(plan: Plan, account: Account, folder: Path, leave: asyncio.Event) -> bool:
    names = _names(plan.towns)
    account.step(f"{len(names)} towns begin, each with a node of its own: {', '.join(names)}")
    async with running(names, folder) as line:
        for town, begun in zip(line.towns, line.begun, strict=True):
            account.say(f"{town.name:12} {town.url}  {begun['fingerprint']}")
        account.step(f"{line.towns[1].name} founds the federation {FEDERATION} and invites the others")
        for town, says in zip([line.towns[0], *line.towns[2:]], await line.federate(), strict=True):
            account.say(f"{town.name:12} {says}")
        await _fill(line, plan, account)
        await _await_equal(line, account, "all towns hold the same")
        await _post_and_look(line, account)
        await _cut_and_work(line, plan, account)
        if plan.heal:
            account.step("The cable is mended; nobody posts anything")
            line.heal(CUT_LINK)
            await _await_equal(line, account, "all towns hold the same again")
        equal = await _compare(line, account)
        account.figures["equal"] = equal
        if plan.as_json:
            print(json.dumps(account.figures), flush=True)
        if plan.stay:
            await _stay(line, account, leave)
        return equal


async def _post_and_look(line: Line, account: Account) -> None:
    """Post at one end of the line and read the page at the other, as a browser does."""
    here, there = line.towns[0], line.towns[-1]
    title = "Bread of the day, 24 loaves"
    began_s = time.monotonic()
    posted = await here.ask("post", kind="offer", fields={"title": title})

    async def is_there() -> bool:
        return title in await asyncio.to_thread(_read, f"{there.url}/d/{posted['address']}")

    await until(f"{there.name}'s page shows a post of {here.name}", is_there)
    took_s = time.monotonic() - began_s
    account.say(f"a post at {here.name} is on the page at {there.name} after {took_s:.2f} s")


def _read(url: str) -> str:
    """A page by a plain GET; a page that is not there yet is empty."""
    try:
        with contextlib.closing(urllib.request.urlopen(url, timeout=PAGE_S_MAX)) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        error.close()
        return ""


async def _cut_and_work(line: Line, plan: Plan, account: Account) -> None:
    left, right = line.towns[CUT_LINK], line.towns[CUT_LINK + 1]
    account.step(f"The cable between {left.name} and {right.name} is cut: bytes vanish, nothing is reset")
    line.cut(CUT_LINK)
    await _work(line, account)
    await asyncio.sleep(plan.silence_s)
    for town in (left, right):
        for peer in await town.ask("peer_list"):
            account.say(f"{town.name} knows: {peer['says']}")
    swallowed = sum(relay.discarded_bytes for relay in line.links[CUT_LINK])
    account.figures["swallowed_bytes"] = swallowed
    account.say(f"the cut has swallowed {_bytes(swallowed)}")


async def _fill(line: Line, plan: Plan, account: Account) -> None:
    """Let every town post its part of the real data, through its own door."""
    account.step("Every town posts what it has: tools, relief items, skills, guides")
    size = RECORDS_OF_A_TOWN if plan.records is None else max(1, plan.records // len(line.towns))
    began_bytes = line.carried_bytes
    counts = await asyncio.gather(
        *(_post_corpus(town, number, len(line.towns), size) for number, town in enumerate(line.towns))
    )
    for town, count in zip(line.towns, counts, strict=True):
        account.say(f"{town.name:12} posted {', '.join(f'{n} {kind}s' for kind, n in sorted(count.items()))}")
    account.figures["posted"] = sum(sum(count.values()) for count in counts)
    account.figures["fill_bytes"] = line.carried_bytes - began_bytes


async def _post_corpus(town: TownProcess, number: int, town_count: int, size: int) -> dict[str, int]:
    count: dict[str, int] = {}
    entries = corpus(number, town_count=town_count, size=size, place=find_town(town.name))
    while batch := list(itertools.islice(entries, IMPORT_LINES)):
        lines = [
            json.dumps({"kind": entry.kind, "fields": KINDS[entry.kind].to_json(entry.fields)})
            for entry in batch
        ]
        answer = await town.ask("import", lines=lines)
        if answer["refused"]:
            raise TownFailed(f"{town.name} refused a line of the data: {answer['lines'][0]['says']}")
        for entry in batch:
            count[entry.kind] = count.get(entry.kind, 0) + 1
    return count


async def _work(line: Line, account: Account) -> None:
    """Post, edit and withdraw on both sides of the cut; one document of each town more than once."""
    for town in line.towns[: CUT_LINK + 2]:
        own = (await town.ask("list", town=town.name, kind="offer", limit=EDITED + WITHDRAWN))["documents"]
        posted = [
            await town.ask(
                "post", kind=kind, fields={"title": title, "text": f"From {town.name}, while cut off."}
            )
            for kind, title in POSTS
        ]
        for number, document in enumerate(own[:EDITED]):
            for version in range(1 + (number == 0) * 2):
                text = f"{town.name} changed this while cut off, for the {_NTH[version]} time."
                await town.ask("edit", address=document["doc"], form={"text": text})
        for document in own[EDITED:]:
            await town.ask("withdraw", address=document["doc"])
        account.say(
            f"{town.name} posted {len(posted)}, edited {len(own[:EDITED])} (one of them three times), "
            f"withdrew {len(own[EDITED:])}"
        )


async def _compare(line: Line, account: Account) -> bool:
    """Read every document and digest from every process, and compare them field by field."""
    account.step("Every document is read from every town and compared, field by field")
    copies = await asyncio.gather(*(town.documents() for town in line.towns))
    digests = await asyncio.gather(*(town.digests() for town in line.towns))
    for town, copy, digest in zip(line.towns, copies, digests, strict=True):
        shown = " ".join(f"{name.partition('/')[2]} {value[:8]}" for name, value in digest.items())
        account.say(f"{town.name:12} {len(copy)} documents, {shown}")
    differing = sum(
        any(copy.get(doc) != copies[0].get(doc) for copy in copies[1:]) for doc in set().union(*copies)
    )
    equal = differing == 0 and all(digest == digests[0] for digest in digests) and bool(digests[0])
    account.figures |= {"documents": len(copies[0]), "differing": differing, "bytes": line.carried_bytes}
    account.say("all copies are equal" if equal else f"{differing} documents differ between the towns")
    return equal


async def _await_equal(line: Line, account: Account, says: str) -> None:
    """Wait until all digests are equal, and say how long it took and what it cost on the wire."""
    began_s, began_bytes = time.monotonic(), line.carried_bytes
    await until(says, line.equal)
    cost = line.carried_bytes - began_bytes
    account.say(f"{says}: after {time.monotonic() - began_s:.1f} s, {_bytes(cost)} over the relays")


async def _stay(line: Line, account: Account, leave: asyncio.Event) -> None:
    name, pin = RESIDENT
    account.step("The pages stay open until Ctrl-C")
    for town in line.towns:
        await town.ask("resident_add", name=name, pin=pin)
        account.say(f"{town.name:12} {town.url}")
    account.say(f"sign in as {name} with the PIN {pin} to post")
    await leave.wait()


def _names(count: int) -> list[str]:
    others = (town.name for town in towns() if town.name not in LINE)
    return [*LINE, *itertools.islice(others, count - len(LINE))]


def _bytes(count: int) -> str:
    return f"{count:,} bytes".replace(",", " ")
