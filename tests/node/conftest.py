"""A town with a real store and a real door, and a neighbour that signs records of its own."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from node.accounts import Accounts
from node.board import Board
from node.clock import Reading
from node.config import Settings
from node.intake import Draft, Intake
from node.keys import town_record
from node.promises.claims import Claims
from node.seals import Seals
from node.store import Document, Query
from node.store.sqlite import SqliteStore, open_store
from node.web.app import make_app
from protocol.encoding import Value
from protocol.identity import DeviceKey, TownKey
from protocol.ids import FederationId, Op, RecordId, TownId
from protocol.kinds import KINDS
from protocol.record import Record, make, make_body
from protocol.sealing import derive
from sync.authority import Authority
from tests.node.programs import Program

START_MS = 1_790_000_000_000
"""Some day in 2026: no test looks at the real clock."""


class Town:
    """A town's keys, and records made with them, as another node would make them."""

    def __init__(self, number: int, name: str, lat: int, lon: int) -> None:
        """Make keys from a number, so that two runs are equal."""
        self.key = TownKey(bytes([number]) * 32)
        self.device = DeviceKey(bytes([number + 100]) * 32)
        self.id = TownId(self.key.public)
        self.name = name
        self.certificate = town_record(
            self.key, "town.device", {"device": self.device.public}, START_MS - 60_000
        )
        where: Value = {"name": name, "lat": lat, "lon": lon}
        sealing: Value = derive(self.key.seed, 0).public
        self.profile = town_record(
            self.key,
            "town.profile",
            {"name": name, "where": where, "sealing_key": sealing},
            START_MS - 60_000,
        )
        self._counter = itertools.count(1)

    def renamed(self, fields: Mapping[str, Value], number: int) -> Record:
        """Return another profile of this town, later with each number."""
        return town_record(self.key, "town.profile", fields, START_MS + number * 1_000)

    def record(
        self,
        kind: str,
        fields: Mapping[str, Value],
        federations: Sequence[FederationId],
        *,
        born: int = START_MS // 1000 - 7_200,
        later_ms: int = 0,
        follows: Record | None = None,
        cites: Sequence[RecordId] = (),
    ) -> Record:
        """Return a record of this town; with `follows` of the same document."""
        count = next(self._counter)
        declared = KINDS[kind]
        header = follows.header if follows else None
        return make(
            self.device,
            town=self.id,
            epoch=b"test",
            counter=count,
            stamp=(born * 1000 + later_ms + count) << 16,
            kind=kind,
            lane=declared.lane,
            federations=federations,
            born=header.born if header else born,
            expires=header.expires if header else born + declared.lifetime_default_s,
            nonce=header.nonce if header else count.to_bytes(8, "big"),
            op=declared.op,
            cites=cites,
            body=make_body(bytes(16), fields),
        )


class StillClock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        """Begin at `START_MS`."""
        self.at_ms = START_MS

    def read(self) -> Reading:
        """Return the time that was set, sure."""
        return Reading(self.at_ms, True)

    def now_ms(self) -> int:
        """Return the time that was set."""
        return self.at_ms


class TestNode:
    """The parts of a daemon that pages and API use: real store, door, board and accounts."""

    __test__ = False

    def __init__(self, directory: Path) -> None:
        """Open the store; `begin` fills it with town and federation."""
        self.own = Town(1, "Roanne", 4_603_624, 406_800)
        self.neighbour = Town(2, "Charlieu", 4_615_000, 417_000)
        self.settings = Settings()
        self.clock: Any = StillClock()
        self.store: Any = open_store(directory, self.own.id, chance=_chance())
        self.seals = Seals(self.own.id, [derive(self.own.key.seed, 0)], chance=_chance())
        self.intake = Intake(self.store, self.own.device, self.clock.read, chance=_chance(), seals=self.seals)
        self._authority = Authority(self.own.id)
        self.board = Board(
            own_town=self.own.id,
            store=self.store,
            intake=self.intake,
            authority=self.authority,
            now_ms=self.clock.now_ms,
        )
        self.intake.announce = self.board.note
        self.claims = Claims(
            own_town=self.own.id,
            store=self.store,
            intake=self.intake,
            board=self.board,
            seals=self.seals,
            authority=self.authority,
            now_ms=self.clock.now_ms,
            chance=_chance(),
            heard={self.neighbour.id: START_MS - 3_600_000}.get,
        )
        self.accounts = Accounts(directory / "accounts.sqlite", self.clock.now_ms)
        self.peers: list[dict[str, Any]] = []
        self.incidents: list[dict[str, Any]] = []
        self.federation = FederationId(bytes(16))

    @property
    def town(self) -> TownId:
        """The own town."""
        return self.own.id

    async def begin(self) -> None:
        """Found a federation with the neighbour in it and open the accounts."""
        await self.intake.accept([self.own.certificate.raw, self.own.profile.raw])
        towns: list[Value] = [self.own.id, self.neighbour.id]
        charter: dict[str, Value] = {"name": "Cote roannaise", "stewards": towns[:1], "members": towns}
        record = (await self.intake.post([Draft("charter", Op.ENTRY, charter)]))[0]
        self.federation = FederationId(record.id[:16])
        self._authority = await self.intake.authority()
        await self.hear(self.neighbour.certificate, self.neighbour.profile)
        await self.accounts.open()

    async def hear(self, *records: Record) -> None:
        """Take records in as from a peer; all must be held."""
        verdicts = await self.intake.accept([record.raw for record in records])
        assert [verdict.cause for verdict in verdicts if verdict.state.value != "held"] == []

    async def hear_offer(self, title: str, **fields: Value) -> Record:
        """Take in an offer of the neighbour."""
        record = self.neighbour.record("offer", {"title": title, **fields}, [self.federation])
        await self.hear(record)
        return record

    async def all(self, **asked: Any) -> list[Document]:
        """Return all documents that a query names."""
        return list((await self.board.list(Query(**asked, limit=None))).documents)

    async def close(self) -> None:
        """Close the files."""
        await self.accounts.close()
        await self.store.close()

    def authority(self) -> Authority:
        """Return the authority as of `begin`."""
        return self._authority

    async def status(self) -> dict[str, Any]:
        """Return a status of the shape that the daemon gives."""
        totals = await self.store.read(lambda reader: reader.totals())
        lanes = {name: {"records": 3, "digest": "ab" * 16} for name in ("urgent", "everyday", "library")}
        federation = {"id": self.federation.hex(), "name": "Cote roannaise", "members": 2, "lanes": lanes}
        return {
            "town": {"id": self.own.id.hex(), "name": self.own.name},
            "version": "0.1.0",
            "clock": {"now_ms": self.clock.now_ms(), "sure": True},
            "records": totals.records,
            "documents": totals.documents,
            "disk_bytes": 4_096,
            "federations": [federation],
            "peers": self.peers,
            "incidents": self.incidents,
        }

    async def put_away(self) -> None:
        """Forget what the operator has seen."""
        self.incidents = []


class Browser:
    """A client of the pages that keeps its cookies and sends what a browser sends."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        """Stand over a test client."""
        self.client = client
        self.origin = {"Origin": f"http://{client.host}:{client.port}", "Sec-Fetch-Site": "same-origin"}

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Return status and text of a page."""
        async with self.client.get(path, headers=headers, allow_redirects=False) as response:
            return response.status, await response.text()

    async def post(self, path: str, form: Mapping[str, str], **headers: str) -> tuple[int, str, str]:
        """Send a form; return status, text and where it leads."""
        async with self.client.post(
            path, data=form, headers=self.origin | headers, allow_redirects=False
        ) as response:
            return response.status, await response.text(), response.headers.get("Location", "")

    @staticmethod
    def form(page: str) -> dict[str, str]:
        """Return the hidden fields of the form of a page."""
        return dict(
            re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.split("<main", 1)[1])
        )

    async def sign_in(self, node: TestNode) -> str:
        """Sign in by a link; return the token that forms carry."""
        status, _, _ = await self.post("/sign-in", {"token": await node.accounts.make_link()})
        assert status == 303
        return self.form_token(node)

    def form_token(self, node: TestNode) -> str:
        """Return the token of the session that this browser has."""
        cookies = self.client.session.cookie_jar.filter_cookies(self.client.make_url("/"))
        session = node.accounts.session(cookies["hedgerow_session"].value)
        assert session is not None
        return session.form_token


def _chance() -> Any:
    counter = itertools.count()
    return lambda size: next(counter).to_bytes(size, "big")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[TestNode]:
    """A town, Roanne, federated with a neighbour, Charlieu."""
    made = TestNode(tmp_path)
    await made.begin()
    yield made
    await made.close()


@pytest.fixture
async def browser(node: TestNode) -> AsyncIterator[Browser]:
    """Somebody who opens the pages of that town."""
    server = TestServer(make_app(node))
    client: TestClient[Any, Any] = TestClient(server, cookie_jar=aiohttp.CookieJar(unsafe=True))
    await client.start_server()
    yield Browser(client)
    await client.close()


__all__ = ["Browser", "SqliteStore", "TestNode", "Town"]


@pytest.fixture
async def program(node: Any, browser: Any) -> Program:
    """A program with a token."""
    return Program(browser.client, await node.accounts.make_token("test"))


@pytest.fixture
async def stranger(browser: Any) -> Program:
    """A program without one."""
    return Program(browser.client)
