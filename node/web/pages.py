"""The pages that are read: the board, one document, a guide and its revisions, about."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from node.errors import NotFound, NotSignedIn
from node.exchange import each_shown, record_json
from node.promises.shelf import CLAIMABLE
from node.promises.views import Stage
from node.store import Document, Near, Query, TownFacts
from node.store.documents import distance_km, ends_of
from node.web import present, promised
from node.web.render import Pressed, card_html, html, render
from node.web.site import (
    CARDS_KEPT,
    SITE,
    Site,
    Surroundings,
    may_change,
    part_of,
    poster,
    session_of,
    whose_claims,
)
from protocol.identity import fingerprint
from protocol.ids import Op, TownId, parse_address, show_address
from protocol.kinds import KINDS, kind_of

DISTANCES_KM: Final = (5, 10, 20, 50)
"""On foot, by bicycle, by bus, by car."""
SHOWN_KINDS: Final = tuple(kind for kind in KINDS.values() if kind.shown)
EXCHANGED: Final = frozenset({"offer", "need", "item", "event"})
"""Kinds of what passes between people: afterwards they may say how it went."""
SELDOM: Final = frozenset({"item", "event", "feedback"})
"""Kinds that many towns have none of: the board offers to look at them alone where there are some."""
IN_ONE_LINE: Final = frozenset({"start", "end", "tz", "rrule"})
"""What the page of an event says in the line below its title."""
REQUESTED_SHOWN: Final = 3
"""Own claims that the page of a document names: the newest; the others are on the page of requests."""
WORDS_CHARS_MAX: Final = 200
"""More than anybody searches for."""


async def board(request: web.Request) -> web.Response:
    """The board: what is there and what is needed, in all towns that this one shares with."""
    site = request.app[SITE]
    must_read(request)
    around = await site.around()
    now_s = site.node.clock.now_ms() // 1000
    # What a board shows follows from the commits, the minute, the neighbours and who asks; its ETag says all.
    etag = _etag(request, site.node.board.told, now_s // 60, around)
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    if etag in site.kept:
        site.kept.move_to_end(etag)
        return html(request, site.kept[etag], etag=etag)
    asked = _Asked.of(request, around)
    look = await site.node.board.look(asked.query)
    pressed = {kind.name: kind.name in asked.query.kinds for kind in SHOWN_KINDS}
    chips = [("Everything", asked.link(kind=None), sum(look.kinds.values()), not asked.query.kinds)]
    chips += [
        (kind.plural, asked.link(kind=kind.name), look.kinds.get(kind.name, 0), pressed[kind.name])
        for kind in SHOWN_KINDS
        if pressed[kind.name] or look.kinds.get(kind.name) or kind.name not in SELDOM
    ]
    values = shell(request, around, "guides" if asked.kind == "practice" else "board") | {
        "asked": asked,
        "chips": chips,
        "cards": each_shown(look.page.documents, lambda each: _card(site, each, now_s, _km(each, around))),
        "more": asked.link(cursor=look.page.cursor) if look.page.cursor else "",
        "found": look.kinds.get(asked.kind, 0) if asked.kind else sum(look.kinds.values()),
        "towns": sorted(
            ((town.hex(), facts.name) for town, facts in around.towns.items()), key=lambda each: each[1]
        ),
        "distances": DISTANCES_KM if around.own and around.own.lat is not None else (),
        "news": around.news,
        "withdrawn": session_of(request) is not None and "withdrawn" in request.query,
    }
    page = Pressed(render("board.html", values))
    site.keep(etag, page)
    return html(request, page, etag=etag)


def _card(site: Site, document: Document, now_s: int, km: float | None) -> str:
    """Return a card as HTML, the one of this minute if there is one: the same few stand on most pages."""
    shown = (document.id, document.town_name, km, now_s // 60)
    card = site.cards.get(shown)
    if card is None:
        if len(site.cards) >= CARDS_KEPT:
            site.cards.clear()
        card = site.cards[shown] = card_html(present.card(document, now_s, km))
    return card


async def document(request: web.Request) -> web.Response:
    """One document: what it says, and what this node knows about it."""
    site = request.app[SITE]
    found = await find(request)
    around = await site.around()
    kind = kind_of(found.kind)
    if kind is None:
        raise NotFound("this program does not know how to show that document")
    now_s = site.node.clock.now_ms() // 1000
    values = shell(request, around, "guides" if found.kind == "practice" else "board") | {
        "document": found,
        "title": present.title(found),
        "address": show_address(found.address),
        "kind": kind,
        "word": present.ONE.get(found.kind, kind.label),
        "card": present.card(found, now_s, _km(found, around)),
        "known": _known(found),
        "until": present.date_text(
            ends_of(found.kind, found.fields, found.expires), whole_day=False, clock=False
        ),
        "done": _done(request),
        "device": fingerprint((await site.node.board.record(found)).header.device),
        "may_edit": may_change(request, found, revise=True),
        "may_withdraw": may_change(request, found),
        "poster": poster(found),
        "is_exchanged": found.kind in EXCHANGED,
    }
    if kind.op is Op.ENTRY:
        chosen = request.query.get("revision", "")
        heads = [version for version in found.versions if version.is_head]
        old = [version for version in found.versions if version.id.hex() == chosen and not version.is_head]
        values |= {
            "guides": [present.guide(version, kind, now_s) for version in (old or heads)],
            "is_old": bool(old),
            "revisions": [
                (present.guide(each, kind, now_s), each.is_head, present.changed(each, found.versions, kind))
                for each in found.versions
            ],
        }
        return html(request, render("guide.html", values))
    values |= await _promised(request, found)
    values |= {
        "when": promised.when(found.fields) if found.kind == "event" else "",
        "text": present.text_of(found.fields, "text"),
        "facts": present.facts(kind, found.fields, present.SAID_ELSEWHERE | IN_ONE_LINE),
        "tags": [str(tag) for tag in tags] if isinstance(tags := found.fields.get("tags"), list) else [],
        "lang": present.text_of(found.fields, "lang"),
    }
    return html(request, render("document.html", values))


async def _promised(request: web.Request, found: Document) -> dict[str, object]:
    """Return what there is of a document, and what whoever looks has to do with its claims."""
    site, session = request.app[SITE], session_of(request)
    if found.kind not in CLAIMABLE:
        return {"free": None}
    ledger = await site.node.claims.ledger_of(found.doc.hex(), whose_claims(request, found))
    if ledger is None:
        return {"free": None}
    parts = [(part_of(session, each, poster(found)), each) for each in ledger.claims]
    mine = [each for part, each in parts if part.asks and each.stage is not Stage.WITHDRAWN]
    return {
        "free": promised.free(found, ledger, site.node.clock.now_ms()),
        "requested": mine[-REQUESTED_SHOWN:],
        "to_answer": sum(part.answers and each.is_unanswered for part, each in parts),
    }


async def record(request: web.Request) -> web.Response:
    """The record itself: what was signed, for those who want to see it or check it."""
    site = request.app[SITE]
    found = await find(request)
    signed = record_json(await site.node.board.record(found))
    decoded = signed.pop("decoded")
    assert isinstance(decoded, dict)
    fields = decoded.pop("fields")
    values = shell(request, await site.around(), "board") | {
        "document": found,
        "title": present.title(found),
        "address": show_address(found.address),
        "parts": [(name, _plainly(value)) for name, value in {**decoded, **signed}.items()],
        "fields": [(name, _plainly(value)) for name, value in (fields or {}).items()],
    }
    return html(request, render("record.html", values))


async def about(request: web.Request) -> web.Response:
    """What this is, which version, and whose data it came with."""
    around = await request.app[SITE].around()
    values = shell(request, around, "about") | {"notice": NOTICE, "version": around.status.get("version", "")}
    return html(request, render("about.html", values))


def shell(request: web.Request, around: Surroundings, section: str) -> dict[str, object]:
    """Return what the frame of every page shows."""
    return {
        "section": section,
        "session": session_of(request),
        "requests": request.app[SITE].tallies.of(session_of(request)),
        "town_name": around.town_name,
        "dir": request.app[SITE].direction,
        "as_of": present.date_text(request.app[SITE].node.clock.now_ms() // 1000, whole_day=False),
    }


def must_read(request: web.Request) -> None:
    """Let nobody read without a sign-in where the operator wants that.

    Raises:
        NotSignedIn: It is wanted, and nobody is signed in.
    """
    if session_of(request) is None and not request.app[SITE].node.settings.web.public_reading:
        raise NotSignedIn("This town shows its board to those who are signed in.")


async def find(request: web.Request) -> Document:
    """Return the document of the address in the path.

    Raises:
        NotSignedIn: As `must_read`.
        NotFound: It is not there; or it stays in this town, and nobody is signed in: both answers are the
            same.
        AmbiguousAddress, InvalidAddress: As `Board.show`.
    """
    must_read(request)
    is_known = session_of(request) is not None
    try:
        return await request.app[SITE].node.board.show(request.match_info["address"], home=is_known)
    except NotFound as error:
        if is_known:
            raise
        raise NotFound(f"{error.says}. If it was posted for this town only, sign in to see it") from None


async def find_by_number(request: web.Request) -> web.Response:
    """Lead from an address that somebody typed to its page."""
    raise web.HTTPSeeOther(f"/d/{parse_address(request.query.get('number', ''))}")


def distance(around: Surroundings, town_hex: str) -> str:
    """Return how far away a town is, where both places are known."""
    try:
        other = around.towns.get(TownId(bytes.fromhex(town_hex)))
    except ValueError:
        return ""
    km = _between(around.own, other.lat, other.lon) if other else None
    return "" if km is None else f"{km:.0f} km"


def _km(found: Document, around: Surroundings) -> float | None:
    """Return how far away a document is: by its own place, else by that of its town."""
    if found.distance_km is not None:
        return found.distance_km
    where = found.fields.get("where")
    lat, lon = (where.get("lat"), where.get("lon")) if isinstance(where, dict) else (None, None)
    if isinstance(lat, int) and isinstance(lon, int):
        return _between(around.own, lat / 100_000, lon / 100_000)
    town = None if found.own else around.towns.get(found.town)
    return _between(around.own, town.lat, town.lon) if town else None


def _between(own: TownFacts | None, lat: float | None, lon: float | None) -> float | None:
    if own is None or own.lat is None or own.lon is None or lat is None or lon is None:
        return None
    return distance_km(own.lat, own.lon, lat, lon)


_ODD: Final = {"kind": "that kind", "town": "that town", "km": "that distance"}


class _Asked:
    """What the address of the board asks for; what makes no sense is passed over."""

    def __init__(self, given: Mapping[str, str], around: Surroundings, *, home: bool) -> None:
        self.kind = (
            given.get("kind", "") if given.get("kind", "") in {kind.name for kind in SHOWN_KINDS} else ""
        )
        self.words = " ".join(given.get("q", "").split())[:WORDS_CHARS_MAX]
        town = given.get("town", "")
        self.town = town if len(town) == 64 and all(letter in "0123456789abcdef" for letter in town) else ""
        km = given.get("km", "")
        own = around.own
        has_place = own is not None and own.lat is not None and own.lon is not None
        self.km = int(km) if has_place and re.fullmatch("[1-9][0-9]{0,4}", km) and int(km) < 20_000 else 0
        self.cursor = given.get("cursor", "")[:WORDS_CHARS_MAX]
        near = None
        if self.km and own is not None and own.lat is not None and own.lon is not None:
            near = Near(own.lat, own.lon, float(self.km))
        told = {"kind": self.kind, "town": self.town, "km": self.km}
        self.odd = [_ODD[name] for name, read in told.items() if given.get(name) and not read]
        """What was asked for and not understood, in words: it is left out and said so."""
        self.query = Query(
            kinds=(self.kind,) if self.kind else (),
            town=TownId(bytes.fromhex(self.town)) if self.town else None,
            text=self.words,
            near=near,
            home=home,
            cursor=self.cursor or None,
        )

    @classmethod
    def of(cls, request: web.Request, around: Surroundings) -> _Asked:
        """Read the query of a request."""
        return cls(request.query, around, home=session_of(request) is not None)

    @property
    def is_narrowed(self) -> bool:
        """Whether more than a kind was asked for."""
        return bool(self.words or self.town or self.km)

    def link(self, **changes: str | None) -> str:
        """Return the address of the board with something else asked for; a new question begins at the top."""
        now: dict[str, str | None] = {
            "kind": self.kind,
            "q": self.words,
            "town": self.town,
            "km": str(self.km) if self.km else "",
        }
        said = {name: value for name, value in {**now, **changes}.items() if value}
        return "/?" + urlencode(said) if said else "/"


def _etag(request: web.Request, told: int, minute: int, around: Surroundings) -> str:
    session = session_of(request)
    parts = [
        request.app[SITE].boot, str(told), str(minute), request.rel_url.raw_path_qs,
        session.form_token if session else "", around.mark,
    ]  # fmt: skip
    return '"' + blake2b("\0".join(parts).encode(), digest_size=9).hexdigest() + '"'


def _done(request: web.Request) -> str:
    """Return what was just done, for the page to which a form leads."""
    if session_of(request) is None:
        return ""
    return "Posted." if "posted" in request.query else "Saved." if "changed" in request.query else ""


def _known(found: Document) -> list[tuple[str, str]]:
    """Return the history of a document in sentences, newest first, as far as this node knows it."""
    lines = []
    born = present.date_text(found.born, whole_day=False)
    changed_ms = found.stamp >> 16
    if changed_ms // 1000 > found.born + 1:
        lines.append(
            (present.date_text(changed_ms // 1000, whole_day=False), f"changed by {found.town_name}")
        )
    by = present.text_of(found.fields, "by")
    lines.append((born, f"posted in {found.town_name}" + (f" by {by}" if by else "")))
    return lines


def _plainly(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(item, dict) for item in value):
        return ", ".join(map(_plainly, value)) or "none"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _notice() -> str:
    """Return the attributions of the data: NOTICE as it was installed, or as it lies in a checkout."""
    from importlib.metadata import PackageNotFoundError, distribution

    beside = Path(str(files("node"))).parent / "NOTICE"
    if beside.is_file():
        return beside.read_text("utf-8")
    try:
        found = [file for file in distribution("hedgerow").files or () if file.name == "NOTICE"]
    except PackageNotFoundError:
        found = []
    return found[0].read_text("utf-8") if found else ""


NOTICE: Final = _notice()
