"""Towns of one federation with real doors, boards, claims and keepers, that meet only when a test says so."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

from node.board import Board
from node.incidents import Incidents
from node.intake import Draft, Intake
from node.keys import town_record
from node.promises.claims import Claims
from node.promises.keeper import Keeper
from node.promises.shelf import ledger_at
from node.seals import Seals
from node.store import Reader, open_store
from node.store.memory import MemoryStore
from protocol.encoding import Value
from protocol.identity import DeviceKey
from protocol.ids import FederationId, Op, RecordId, TownId
from protocol.record import open_record
from protocol.sealing import derive
from sync.authority import Authority
from sync.ledger import Ledger, ledger_id
from tests.node.conftest import START_MS, StillClock, Town

T = TypeVar("T")

BOXES: Any = {"milli": 24_000, "unit": "box"}


def boxes(count: int) -> Any:
    """So many boxes, as a measure."""
    return {"milli": count * 1_000, "unit": "box"}


class Side:
    """One device of a town: its store, door, board, claims and keeper.

    Args:
        directory: Of its store on SQLite; None: it is in memory.
        device: Its key, when it is not the town's first one.
    """

    def __init__(
        self, town: Town, clock: StillClock, directory: Path | None = None, device: DeviceKey | None = None
    ) -> None:
        self.town = town
        self.clock = clock
        self.device = device or town.device
        self.chance = _chance(self.device.public[:8])
        self.store: Any = (
            MemoryStore(town.id, epoch=self.chance(4))
            if directory is None
            else open_store(directory, town.id, chance=self.chance)
        )
        self.seals = Seals(town.id, [derive(town.key.seed, 0)], chance=self.chance)
        self.intake = Intake(self.store, self.device, clock.read, chance=self.chance, seals=self.seals)
        self.intake.announce = self._announce
        self._authority = Authority(town.id)
        self.board = Board(
            own_town=town.id,
            store=self.store,
            intake=self.intake,
            authority=lambda: self._authority,
            now_ms=clock.now_ms,
        )
        self.heard: dict[TownId, int] = {}
        self.synced: dict[TownId, int] = {}
        self.claims = Claims(
            own_town=town.id,
            store=self.store,
            intake=self.intake,
            board=self.board,
            seals=self.seals,
            authority=lambda: self._authority,
            now_ms=clock.now_ms,
            chance=self.chance,
            heard=self.heard.get,
            synced=lambda town: self.synced.get(town, 0),
        )
        self.incidents = Incidents(clock.now_ms)
        self.keeper = Keeper(self.claims, self.store, self.incidents, clock.read)

    async def hear(self, raws: list[bytes]) -> None:
        """Take records in as from a peer."""
        await self.intake.accept(raws)

    async def shared(self) -> list[bytes]:
        """Return the records that leave the town."""
        rows = await self.store.read(lambda reader: reader.export(0, 1_000_000))
        return [raw for _, raw in rows if _is_shared(raw)]

    async def keep(self) -> None:
        """Let the keeper do all that is due everywhere."""
        for ledger in await self.keeper.all():
            await self.keeper.attend(ledger)

    async def ledger(self, address: str) -> Ledger:
        """Return the folded ledger of a document."""
        document = await self.board.show(address)

        def read(reader: Reader) -> Ledger:
            [header] = {each.header.nonce: each.header for each in _held(reader, document.doc)}.values()
            found = ledger_at(reader, ledger_id(header))
            assert found is not None
            return found

        ledger: Ledger = await self.store.read(read)
        return ledger

    async def told(self) -> list[str]:
        """Return the codes of the incidents here."""
        return [each.code for each in await self.store.read(self.incidents.list)]

    def _announce(self, committed: Any) -> None:
        if committed.authority is not None:
            self._authority = committed.authority
        self.board.note(committed)
        self.keeper.note(committed)


class Valley:
    """Three towns of one federation."""

    def __init__(self, folder: Path | None = None) -> None:
        """Make the towns; `begin` federates them."""
        self.clock = StillClock()
        names = ((1, "Roanne"), (2, "Charlieu"), (3, "Ambierle"))
        self.towns = [Town(number, name, 4_600_000, 400_000 + number * 1_000) for number, name in names]
        self.sides = [
            Side(town, self.clock, None if folder is None else folder / town.name) for town in self.towns
        ]
        self.federation = FederationId(bytes(16))

    async def begin(self) -> None:
        """Let the first town found a federation, and the others join it."""
        first = self.sides[0]
        for side in self.sides:
            await side.hear([side.town.certificate.raw, profile(side.town)])
        members: list[Value] = [town.id for town in self.towns]
        charter: dict[str, Value] = {"name": "Cote roannaise", "stewards": members[:1], "members": members}
        [record] = await first.intake.post([Draft("charter", Op.ENTRY, charter)])
        self.federation = FederationId(RecordId(record.id)[:16])
        for side in self.sides[1:]:
            await side.hear([first.town.certificate.raw, record.raw])
            await side.intake.post([Draft("federation.join", Op.PUT, {}, (self.federation,))])
        await self.meet(*self.sides)

    async def meet(self, *sides: Side) -> None:
        """Let these tell each other all that they hold."""
        told = [raw for side in sides for raw in await side.shared()]
        for side in sides:
            await side.hear(told)

    async def settle(self, *sides: Side) -> None:
        """Let these meet, their keepers work, and meet again."""
        await self.meet(*sides)
        for side in sides:
            await side.keep()
        await self.meet(*sides)

    async def close(self) -> None:
        """Close the stores."""
        for side in self.sides:
            await side.store.close()


async def opened(folder: Path | None) -> AsyncIterator[Valley]:
    """A valley that is closed after the test."""
    valley = Valley(folder)
    await valley.begin()
    yield valley
    await valley.close()


def profile(town: Town) -> bytes:
    """The profile of a town that tells its sealing key."""
    fields: dict[str, Value] = {"name": town.name, "sealing_key": derive(town.key.seed, 0).public}
    return town_record(town.key, "town.profile", fields, START_MS - 30_000).raw


def _held(reader: Reader, doc: Any) -> list[Any]:
    return list(reader.records(reader.document_records(doc)).values())


def _is_shared(raw: bytes) -> bool:
    header = open_record(raw).header
    return bool(header.federations) or header.kind.startswith("town.") or header.kind == "charter"


def _chance(salt: bytes) -> Any:
    from hashlib import blake2b

    counter = itertools.count()

    def give(size: int) -> bytes:
        return blake2b(next(counter).to_bytes(8, "big"), digest_size=size, key=salt).digest()

    return give
