"""What every page of a node needs: the node's parts, the names of the towns, the state of the links."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Protocol, TypeVar

from aiohttp import web

from node.accounts import OPERATOR, Accounts, Session
from node.board import Board
from node.clock import NodeClock
from node.config import Settings
from node.errors import InvalidRequest, NotAllowed, NotOurs
from node.promises.claims import Claims
from node.promises.views import ClaimView, Whose
from node.store import Document, Store, TownFacts
from node.web.render import Pressed
from node.web.tally import Tallies
from protocol.ids import Op, RecordId, TownId
from protocol.kinds import kind_of
from sync.authority import Authority

T = TypeVar("T")

REFRESH_S: Final = 1.0
"""Names of towns and the state of links on a page are at most so old."""


class Node(Protocol):
    """The parts of a daemon that pages and the API use."""

    settings: Settings
    clock: NodeClock
    store: Store
    board: Board
    accounts: Accounts
    claims: Claims

    @property
    def town(self) -> TownId:
        """The own town."""

    def authority(self) -> Authority:
        """Return the present resolved authority."""

    async def status(self) -> dict[str, Any]:
        """Return what `status --json` prints."""

    async def put_away(self) -> None:
        """Forget what the operator has seen of incidents."""


BOARDS_KEPT: Final = 64
"""About 12 kB each."""
CARDS_KEPT: Final = 2_048
"""Cards that are kept as HTML, about 1 kB each: a hundred pages of the board."""


@dataclass(frozen=True, slots=True)
class News:
    """One sentence on the neighbours above the board, and how much it should catch the eye."""

    css: str
    first: str
    rest: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a node knew of itself and its neighbours a moment ago."""

    town_name: str
    towns: Mapping[TownId, TownFacts]
    own: TownFacts | None
    news: News | None
    status: Mapping[str, Any]
    mark: str
    """Differs when names, places or the news differ; stands in ETags."""


class Site:
    """The pages of one node: its parts, and what is remembered between two pages."""

    def __init__(self, node: Node) -> None:
        """Stand over a node; asks nothing of it yet."""
        self.node = node
        self.boot = secrets.token_hex(4)
        """Stands in every ETag: a node that starts again may have other templates."""
        self.direction = "ltr"
        self.kept: OrderedDict[str, Pressed] = OrderedDict()
        """Boards as they were last sent, by ETag, which names all that they show."""
        self.cards: dict[tuple[RecordId, str, float | None, int], str] = {}
        """Cards as HTML, by version, name of the town, distance and minute, which say all that they show."""
        self.tallies = Tallies(node)
        self._around: Surroundings | None = None
        self._asked_s = 0.0
        self._asking = asyncio.Lock()

    async def around(self) -> Surroundings:
        """Return town names and the state of the links, at most `REFRESH_S` old."""
        if self._around is None or time.monotonic() - self._asked_s > REFRESH_S:
            async with self._asking:
                if self._around is None or time.monotonic() - self._asked_s > REFRESH_S:
                    self._around = await self._ask()
                    self._asked_s = time.monotonic()
        return self._around

    def look_again(self) -> None:
        """Ask for everything at the next page: who has just answered a request sees that it is answered."""
        self.tallies.look_again()
        self._asked_s = 0.0

    def keep(self, etag: str, page: Pressed) -> None:
        """Keep a board; the one that was asked for longest ago makes room."""
        self.kept[etag] = page
        while len(self.kept) > BOARDS_KEPT:
            self.kept.popitem(last=False)

    @property
    def town_name(self) -> str:
        """The own town's name as far as it is known without asking."""
        return self._around.town_name if self._around else "Hedgerow"

    async def _ask(self) -> Surroundings:
        towns = await self.node.board.towns()
        status = await self.node.status()
        own = towns.get(self.node.town)
        name = (own.name if own else "") or str(status.get("town", {}).get("name") or "") or "This town"
        news = news_of(status.get("peers", []))
        await self.tallies.look()
        said = repr((name, sorted(towns.items()), news, self.tallies.mark))
        mark = blake2b(said.encode(), digest_size=8).hexdigest()
        return Surroundings(name, towns, own, news, status, mark)


SITE: Final = web.AppKey("site", Site)
"""Where an application keeps its site."""
SESSION: Final = web.RequestKey("session", Session)
"""Where a request keeps who is signed in; absent if nobody is."""


def session_of(request: web.Request) -> Session | None:
    """Return who is signed in, if anybody is."""
    return request.get(SESSION)


async def read_body(body: Awaitable[T], says: str) -> T:
    """Return the body of a request as it was sent.

    Raises:
        InvalidRequest: It is not what its headers say: `says`.
    """
    try:
        return await body
    except (web.HTTPException, OSError):
        raise  # Too large, too slow, or gone: these have answers of their own.
    except Exception as error:
        # aiohttp and the codecs have a dozen exceptions for broken parts, charsets and packings; the fault
        # is the sender's in each.
        raise InvalidRequest(says) from error


def refuse_halves(given: object, says: str) -> None:
    """Refuse text with half of a surrogate pair in it, which JSON can escape but no encoding can hold.

    Raises:
        InvalidRequest: `says`.
    """
    try:
        json.dumps(given, ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError):
        raise InvalidRequest(says) from None


def poster_of(request: web.Request) -> str | None:
    """Return the name that stands under what somebody posts; None for the operator, who may give another."""
    session = session_of(request)
    return session.name if session is not None and session.name != OPERATOR else None


def may_change(request: web.Request, found: Document, *, revise: bool = False) -> bool:
    """Tell whether who asks may change and withdraw a document, or with `revise` add a revision to a guide.

    Only its poster and the operator may; a guide is everybody's work, so all who are signed in may revise it.
    """
    session = session_of(request)
    if session is None or not found.own:
        return False
    kind = kind_of(found.kind)
    if session.name == OPERATOR or (revise and kind is not None and kind.op is Op.ENTRY):
        return True
    return poster(found).casefold() == session.name.casefold()


def whose_claims(request: web.Request, found: Document) -> Whose:
    """Return whose claims on a document somebody may see any of: a stranger may look as often as they like,
    and sees none."""
    if session_of(request) is None:
        return Whose.NOBODYS
    return Whose.ALL if may_change(request, found) else Whose.OURS


def must_be_theirs(request: web.Request, found: Document, *, revise: bool = False) -> None:
    """Let nobody else change a document.

    Raises:
        NotOurs: It is another town's.
        NotAllowed: It is somebody else's; says whose.
    """
    if not found.own:
        raise NotOurs(f"that was posted in {found.town_name}; only that town can change it")
    if not may_change(request, found, revise=revise):
        name = poster(found)
        who = f"{name} and the operator" if name else "the operator"
        raise NotAllowed(f"that was posted by {name or 'the operator'}; only {who} can change or withdraw it")


@dataclass(frozen=True, slots=True)
class Part:
    """What somebody has to do with a claim.

    Attributes:
        asks: They asked, or run the node of the town that did.
        answers: They posted what is asked for, or run the node of that town.
    """

    asks: bool
    answers: bool


def part_of(session: Session | None, claim: ClaimView, posted_by: str) -> Part:
    """Return what somebody has to do with a claim on what `posted_by` posted."""
    if session is None:
        return Part(False, False)
    operator, name = session.name == OPERATOR, session.name.casefold()
    asks = claim.ours and (operator or claim.by.casefold() == name)
    return Part(asks, claim.to_answer and (operator or posted_by.casefold() == name))


def poster(found: Document) -> str:
    """Return the name of who began a document; nothing for what the operator posted."""
    by = found.versions[-1].fields.get("by")
    return by if isinstance(by, str) else ""


def news_of(peers: list[Mapping[str, Any]]) -> News | None:
    """Return what a reader of the board should know of the links: who is away, and that nothing is lost."""
    if not peers:
        return None
    away = [peer for peer in peers if peer.get("state") != "up"]
    near = [_name(peer) for peer in peers if peer.get("state") == "up"]
    if not away:
        return News(
            "", f"{_listed(near)} {_is(near)} connected.", "What is posted there or here arrives at once."
        )
    waiting = max(int(peer.get("backlog_out") or 0) for peer in away)
    names = [_name(peer) for peer in away]
    waits = (
        f"{waiting} record{' from here waits' if waiting == 1 else 's from here wait'}." if waiting else ""
    )
    rest = [
        waits,
        "What you post is kept and goes on when the link is back.",
        f"{_listed(near)} {_is(near)} connected." if near else "",
    ]
    return News(
        "warn", f"{_listed(names)} {_is(names)} not connected.", " ".join(part for part in rest if part)
    )


def _name(peer: Mapping[str, Any]) -> str:
    return str(peer.get("name") or str(peer.get("town", ""))[:8])


def _listed(names: list[str]) -> str:
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
