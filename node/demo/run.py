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
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from node.demo.corpus import RECORDS_OF_A_TOWN, corpus, find_town, towns
from node.demo.relay import Relay
from node.demo.town import TownFailed, TownProcess
from protocol.kinds import KINDS

LINE: Final = ("Roanne", "Charlieu", "Ambierle")
"""Three real towns within 20 km of each other; more are taken from the list, in its order."""
FEDERATION: Final = "Roannais"
IMPORT_LINES: Final = 100
EQUAL_WITHIN_S: Final = 90.0
"""When the demo gives up waiting; on a laptop it takes a second or two."""
LOOK_EVERY_S: Final = 0.2
SILENCE_S: Final = 8.0
"""How long the cut goes on after the work: long enough for both sides to notice by their own deadlines."""
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
DEGREE_UNITS: Final = 100_000
"""The list of towns has its coordinates in 1e-5 degrees."""


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


@dataclass(slots=True)
class Line:
    """The towns in a line, and for each two neighbours the relays between them.

    Attributes:
        links: `links[i]` joins `towns[i]` and `towns[i + 1]`.
    """

    towns: list[TownProcess]
    links: list[list[Relay]]
    account: Account

    @property
    def carried_bytes(self) -> int:
        """Bytes that all relays have forwarded."""
        return sum(relay.carried_bytes for relay in self.relays)

    @property
    def relays(self) -> list[Relay]:
        """The relays of all links."""
        return [relay for link in self.links for relay in link]


async def play(plan: Plan) -> int:
    """Show it all; the exit code is 0 only if in the end all digests and documents were equal."""
    account = Account(plan.as_json)
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leave.set)
    with tempfile.TemporaryDirectory(prefix="hedgerow-demo-") as folder:
        async with _line(plan, Path(folder), account) as line:
            showing = asyncio.ensure_future(_show(plan, line))
            leaving = asyncio.ensure_future(leave.wait())
            await asyncio.wait({showing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not showing.done():
                showing.cancel()
                await asyncio.wait({showing})
                return 130
            leaving.cancel()
            equal = showing.result()
            account.figures["equal"] = equal
            if plan.as_json:
                print(json.dumps(account.figures), flush=True)
            if plan.stay:
                await _stay(line, leave)
            return 0 if equal else 1


async def _show(plan: Plan, line: Line) -> bool:
    say, step = line.account.say, line.account.step
    await _federate(line)
    await _fill(line, plan)
    await _await_equal(line, "all towns hold the same")
    link, left, right = line.links[1], line.towns[1], line.towns[2]
    step(f"The cable between {left.name} and {right.name} is cut: bytes vanish, nothing is reset")
    for relay in link:
        relay.cut()
    await _work(line)
    await asyncio.sleep(plan.silence_s)
    for town in (left, right):
        for peer in await town.ask("peer_list"):
            say(f"{town.name} says: {peer['says']}")
    say(f"the cut has swallowed {_bytes(sum(relay.discarded_bytes for relay in link))}")
    if plan.heal:
        step("The cable is mended; nobody posts anything")
        for relay in link:
            relay.heal()
        await _await_equal(line, "all towns hold the same again")
    return await _compare(line)


@contextlib.asynccontextmanager
async def _line(plan: Plan, folder: Path, account: Account) -> AsyncIterator[Line]:
    """Towns that run, not yet joined; all processes and relays are ended at the end, whatever happens."""
    names = _names(plan.towns)
    line = Line([TownProcess(name, folder / _folder_name(name)) for name in names], [], account)
    account.step(f"{len(names)} towns begin, each with a node of its own: {', '.join(names)}")
    try:
        made = await asyncio.gather(*(town.init(*_place(town.name)) for town in line.towns))
        await asyncio.gather(*(town.start() for town in line.towns))
        for town, answer in zip(line.towns, made, strict=True):
            account.say(f"{town.name:12} {town.url}  {answer['fingerprint']}")
        yield line
    finally:
        await asyncio.gather(*(town.stop() for town in line.towns), return_exceptions=True)
        await asyncio.gather(*(relay.close() for relay in line.relays), return_exceptions=True)


async def _federate(line: Line) -> None:
    """Join the towns in a line.

    The second town founds, since its neighbours on both sides reach it. Towns further down the line come
    to its place to join, and then go home and talk to their neighbours only.
    """
    founder = line.towns[1]
    line.account.step(f"{founder.name} founds the federation {FEDERATION} and invites the others")
    await founder.ask("found", name=FEDERATION)
    meeting = await _relay_to(founder)
    doors = [await _relay_to(founder) for _ in line.towns[:3:2]]
    line.links += [[door] for door in doors]
    guests = [line.towns[0], *line.towns[2:]]
    for guest, door in zip(guests, [*doors, *[meeting] * len(guests)], strict=False):
        invitation = await founder.ask("invite", url=door.url)
        joined = await guest.ask("join", code=invitation["code"])
        line.account.say(f"{guest.name}: {joined['says']}")
    await _until("every town knows every member", lambda: _all_members(line))
    for home, guest in itertools.pairwise(line.towns[2:]):
        line.links.append([await _relay_to(home), await _relay_to(guest)])
        to_home, to_guest = line.links[-1]
        await guest.ask("peer_add", url=to_home.url, approve=True)
        await home.ask("peer_add", url=to_guest.url, approve=True)
        await guest.ask("peer_remove", town=founder.name)
        await founder.ask("peer_remove", town=guest.name)
    await meeting.close()
    line.account.say(f"{len(line.towns)} towns in a line, {len(line.links)} links, one federation")


async def _fill(line: Line, plan: Plan) -> None:
    """Let every town post its part of the real data, through its own door."""
    line.account.step("Every town posts what it has: tools, relief items, skills, guides")
    size = RECORDS_OF_A_TOWN if plan.records is None else max(1, plan.records // len(line.towns))
    began_bytes = line.carried_bytes
    counts = await asyncio.gather(
        *(_post_corpus(town, number, len(line.towns), size) for number, town in enumerate(line.towns))
    )
    for town, count in zip(line.towns, counts, strict=True):
        line.account.say(
            f"{town.name:12} posted {', '.join(f'{n} {kind}s' for kind, n in sorted(count.items()))}"
        )
    line.account.figures["posted"] = sum(sum(count.values()) for count in counts)
    line.account.figures["fill_bytes"] = line.carried_bytes - began_bytes


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


async def _work(line: Line) -> None:
    """Post, edit and withdraw on both sides of the cut; one document of each town more than once."""
    for town in (line.towns[0], line.towns[1], line.towns[2]):
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
        line.account.say(
            f"{town.name} posted {len(posted)}, edited {len(own[:EDITED])} (one of them three times), "
            f"withdrew {len(own[EDITED:])}"
        )


async def _compare(line: Line) -> bool:
    """Read every document and digest from every process, and compare them field by field."""
    line.account.step("Every document is read from every town and compared, field by field")
    copies = await asyncio.gather(*(town.documents() for town in line.towns))
    digests = await asyncio.gather(*(town.digests() for town in line.towns))
    for town, copy, digest in zip(line.towns, copies, digests, strict=True):
        shown = " ".join(f"{name.partition('/')[2]} {value[:8]}" for name, value in digest.items())
        line.account.say(f"{town.name:12} {len(copy)} documents, {shown}")
    differing = sum(
        any(copy.get(doc) != copies[0].get(doc) for copy in copies[1:]) for doc in set().union(*copies)
    )
    equal = differing == 0 and all(digest == digests[0] for digest in digests) and bool(digests[0])
    line.account.figures |= {"documents": len(copies[0]), "differing": differing, "bytes": line.carried_bytes}
    line.account.say("all copies are equal" if equal else f"{differing} documents differ between the towns")
    return equal


async def _await_equal(line: Line, says: str) -> None:
    """Wait until all digests are equal, and say how long it took and what it cost on the wire."""
    began_s, began_bytes = time.monotonic(), line.carried_bytes
    await _until(says, lambda: _equal(line))
    cost = line.carried_bytes - began_bytes
    line.account.say(f"{says}: after {time.monotonic() - began_s:.1f} s, {_bytes(cost)} over the relays")


async def _until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    try:
        async with asyncio.timeout(EQUAL_WITHIN_S):
            while not await holds():
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise TownFailed(f"waited {EQUAL_WITHIN_S:.0f} s in vain until {what}") from None


async def _equal(line: Line) -> bool:
    digests = [await town.digests() for town in line.towns]
    return bool(digests[0]) and all(digest == digests[0] for digest in digests)


async def _all_members(line: Line) -> bool:
    federations = [await town.ask("federations") for town in line.towns]
    return all(each and each[0]["members"] == len(line.towns) for each in federations)


async def _stay(line: Line, leave: asyncio.Event) -> None:
    name, pin = RESIDENT
    line.account.step("The pages stay open until Ctrl-C")
    for town in line.towns:
        await town.ask("resident_add", name=name, pin=pin)
        line.account.say(f"{town.name:12} {town.url}")
    line.account.say(f"sign in as {name} with the PIN {pin} to post")
    await leave.wait()


async def _relay_to(town: TownProcess) -> Relay:
    relay = Relay(*town.address)
    await relay.start()
    return relay


def _names(count: int) -> list[str]:
    others = (town.name for town in towns() if town.name not in LINE)
    return [*LINE, *itertools.islice(others, count - len(LINE))]


def _folder_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def _place(name: str) -> list[str]:
    place = find_town(name)
    assert place is not None
    lat, lon = place.lat / DEGREE_UNITS, place.lon / DEGREE_UNITS
    return [
        "--lat",
        f"{lat:.5f}",
        "--lon",
        f"{lon:.5f}",
        "--language",
        "fr" if place.country == "FR" else "en",
    ]


def _bytes(count: int) -> str:
    return f"{count:,} bytes".replace(",", " ")
