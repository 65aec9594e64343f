"""Towns in a line: their processes, the relays between neighbours, one federation. For demo and tests.

The second town founds the federation, since its neighbours on both sides reach it. Towns further down the
line come to its place to join, and then go home and talk to their neighbours only. Every town knows the
others by the addresses of relays alone, so that each link can be cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from node.demo.corpus import find_town
from node.demo.relay import Relay
from node.demo.town import TownFailed, TownProcess

FEDERATION: Final = "Roannais"
EQUAL_WITHIN_S: Final = 90.0
"""When waiting is given up; on a laptop it takes a second or two."""
LOOK_EVERY_S: Final = 0.05
DEGREE_UNITS: Final = 100_000
"""The list of towns has its coordinates in 1e-5 degrees."""


@dataclass(slots=True)
class Line:
    """The towns in a line, and for each two neighbours the relays between them.

    Attributes:
        links: `links[i]` joins `towns[i]` and `towns[i + 1]`.
        begun: What `init` answered for each town.
    """

    towns: list[TownProcess]
    links: list[list[Relay]] = field(default_factory=list)
    begun: list[dict[str, Any]] = field(default_factory=list)

    @property
    def relays(self) -> list[Relay]:
        """The relays of all links."""
        return [relay for link in self.links for relay in link]

    @property
    def carried_bytes(self) -> int:
        """Bytes that all relays have forwarded."""
        return sum(relay.carried_bytes for relay in self.relays)

    def cut(self, link: int) -> None:
        """Silence one link, both ways."""
        for relay in self.links[link]:
            relay.cut()

    def heal(self, link: int) -> None:
        """Mend one link."""
        for relay in self.links[link]:
            relay.heal()

    async def federate(self) -> list[str]:
        """Join the towns in a line, in one federation; return what each guest was told."""
        founder = self.towns[1]
        await founder.ask("found", name=FEDERATION)
        meeting = await relay_to(founder)
        doors = [await relay_to(founder) for _ in self.towns[:3:2]]
        self.links += [[door] for door in doors]
        guests = [self.towns[0], *self.towns[2:]]
        said = []
        for guest, door in zip(guests, [*doors, *[meeting] * len(guests)], strict=False):
            invitation = await founder.ask("invite", url=door.url)
            said.append(str((await guest.ask("join", code=invitation["code"]))["says"]))
        await until("every town knows every member", self._all_members)
        ids = {town.name: begun["town"]["id"] for town, begun in zip(self.towns, self.begun, strict=True)}
        for home, guest in itertools.pairwise(self.towns[2:]):
            self.links.append([await relay_to(home), await relay_to(guest)])
            to_home, to_guest = self.links[-1]
            await guest.ask("peer_add", url=to_home.url, approve=True)
            await home.ask("peer_add", url=to_guest.url, approve=True)
            await guest.ask("peer_remove", town=ids[founder.name])
            await founder.ask("peer_remove", town=ids[guest.name])
        await meeting.close()
        return said

    async def equal(self) -> bool:
        """Tell whether all towns show the same digest for every lane."""
        digests = [await town.digests() for town in self.towns]
        return bool(digests[0]) and all(digest == digests[0] for digest in digests)

    async def _all_members(self) -> bool:
        federations = [await town.ask("federations") for town in self.towns]
        return all(each and each[0]["members"] == len(self.towns) for each in federations)


@contextlib.asynccontextmanager
async def running(names: Sequence[str], folder: Path) -> AsyncIterator[Line]:
    """Towns that run, not yet joined; all processes and relays are ended at the end, whatever happens."""
    line = Line([TownProcess(name, folder / _folder_name(name)) for name in names])
    try:
        line.begun += await asyncio.gather(*(town.init(*_place(town.name)) for town in line.towns))
        await asyncio.gather(*(town.start() for town in line.towns))
        yield line
    finally:
        await asyncio.gather(*(town.stop() for town in line.towns), return_exceptions=True)
        await asyncio.gather(*(relay.close() for relay in line.relays), return_exceptions=True)


async def until(what: str, holds: Callable[[], Awaitable[bool]], within_s: float = EQUAL_WITHIN_S) -> None:
    """Look again and again until something holds.

    Raises:
        TownFailed: It did not in time.
    """
    try:
        async with asyncio.timeout(within_s):
            while not await holds():
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise TownFailed(f"waited {within_s:.0f} s in vain until {what}") from None


async def relay_to(town: TownProcess) -> Relay:
    """Return a whole relay in front of a town's node."""
    relay = Relay(*town.address)
    await relay.start()
    return relay


def _folder_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def _place(name: str) -> list[str]:
    place = find_town(name)
    if place is None:
        return []
    lat, lon = place.lat / DEGREE_UNITS, place.lon / DEGREE_UNITS
    return [
        "--lat",
        f"{lat:.5f}",
        "--lon",
        f"{lon:.5f}",
        "--language",
        "fr" if place.country == "FR" else "en",
    ]
