"""What the operator can have done, by name: the acts behind the commands, as the control socket offers them.

Each is a few lines that read the arguments, call the board, the peers or the federations, and shape the
answer as `--json` prints it. Long answers are asked for in pages and long imports come in batches, so
none is unbounded.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from node.accounts import LINK_MS
from node.arguments import Arguments
from node.arguments import find_among as _find
from node.arguments import hex_or_none as _hex
from node.arguments import text_of as _text
from node.arguments import text_or_none as _text_or_none
from node.arguments import whole_or_none as _whole
from node.board import head_ids
from node.errors import HedgerowError, InvalidRequest, NotFound, StaleEdit
from node.exchange import document_json, each_shown, plain
from node.profile import change_profile, profile_of
from node.promises.telling import claim_json
from node.promises.views import Whose
from node.status import why_away
from node.store.documents import Document, Near, Query
from node.transport.dialer import Reach
from node.transport.interfaces import network_addresses
from protocol.errors import ProtocolError
from protocol.ids import RecordId, TownId
from protocol.kinds import KINDS, kind_of

if TYPE_CHECKING:
    from node.board import Audience
    from node.daemon import Daemon
    from protocol.encoding import Value
    from protocol.schema import Kind

PAGE_DOCUMENTS_MAX: Final = 1_000
"""Documents in one answer; commands ask again from the cursor."""
NETWORK_URLS_MAX: Final = 3
"""A board has one or two networks; what a machine for programmers has beside them is nothing to type."""
KM_MAX: Final = 20_040
"""Half way around the earth: nothing is further."""

Act = Callable[["Daemon", Arguments], Awaitable[object]]

ACTS: dict[str, Act] = {}
"""Filled by `act` below."""


def act(function: Act) -> Act:
    """Declare an act under its function's name."""
    ACTS[function.__name__.strip("_")] = function
    return function


@act
async def status(daemon: Daemon, arguments: Arguments) -> object:
    """How the node is and what it knows of its neighbours; with `seen` its incidents are put away after."""
    state = await daemon.status()
    if arguments.get("seen"):
        await daemon.put_away()
    return state


@act
async def post(daemon: Daemon, arguments: Arguments) -> object:
    """Post a document of the own town."""
    kind = _kind(_text(arguments, "kind"))
    share = _text_or_none(arguments, "parent")
    post_it = daemon.board.post if share is None else partial(daemon.claims.post_share, share)
    posted = await post_it(
        kind.name,
        _fields(kind, await daemon.board.with_ids(kind, _form(arguments)), arguments),
        by=_text_or_none(arguments, "by"),
        audience=_audience(daemon, _text_or_none(arguments, "audience")),
        nonce=_hex(arguments, "nonce"),
        until=_whole(arguments, "until"),
    )
    return {"address": posted.address, "id": posted.id.hex()}


@act
async def edit(daemon: Daemon, arguments: Arguments) -> object:
    """Change fields of an own document."""
    document = await daemon.board.show(_text(arguments, "address"))
    heads = head_ids(document)
    seen = _hex(arguments, "based_on")
    based_on = RecordId(seen) if seen else heads[0] if len(heads) == 1 else None
    kind = _kind(document.kind)
    form = await daemon.board.with_ids(kind, _form(arguments))
    fields = _edited(kind, document, form, arguments)
    by = _text_or_none(arguments, "by")
    try:
        posted = await daemon.board.edit(document.doc.hex(), fields, based_on=based_on, replace=True, by=by)
    except StaleEdit as error:
        says = f"{error.says.rstrip('.')}: look with hedgerow show, then edit again"
        raise StaleEdit(says, code=error.code, status=error.status, detail=error.detail) from None
    return {"address": posted.address, "id": posted.id.hex()}


@act
async def withdraw(daemon: Daemon, arguments: Arguments) -> object:
    """Withdraw an own document for good; with `look` only say how many promises stand."""
    ledger = await daemon.claims.ledger_of(_text(arguments, "address"), Whose.NOBODYS)
    standing = ledger.standing if ledger is not None else 0
    if arguments.get("look"):
        return {"standing": standing}
    posted = await daemon.board.withdraw(_text(arguments, "address"))
    return {"address": posted.address, "id": posted.id.hex(), "standing": standing}


@act
async def show(daemon: Daemon, arguments: Arguments) -> object:
    """One document, if that is asked with its fields as the form has them, for people to read."""
    address = _text(arguments, "address")
    try:
        document = await daemon.board.show(address)
    except NotFound as error:
        try:
            return {"claim": claim_json(await daemon.claims.show(address))}
        except NotFound:
            raise error from None
    shown = document_json(document)
    kind = kind_of(document.kind)
    if kind is None or not arguments.get("form"):
        return shown
    others = kind.unknown(document.fields)
    return shown | {"form": kind.to_text(document.fields) | {name: plain(others[name]) for name in others}}


@act
async def list_(daemon: Daemon, arguments: Arguments) -> object:
    """One page of the documents that the arguments name."""
    page = await daemon.board.list(await _query(daemon, arguments))
    return {"documents": each_shown(page.documents, document_json), "cursor": page.cursor}


@act
async def import_(daemon: Daemon, arguments: Arguments) -> object:
    """Take in a batch of lines: records as from a peer, documents as posts of the own town."""
    lines = arguments.get("lines")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise InvalidRequest("lines must be a list of lines of JSON")
    typed = [_typed(line) for line in lines]
    return (await daemon.board.import_(typed, by=_text_or_none(arguments, "by"))).as_json()


@act
async def sealing_key(daemon: Daemon, arguments: Arguments) -> object:
    """Tell the town's sealing key, or a new one, in its profile."""
    new = arguments.get("new") is True
    return {"index": await daemon.tell_sealing_key(_text(arguments, "passphrase"), new=new)}


@act
async def town(daemon: Daemon, arguments: Arguments) -> object:
    """What this town says of itself; said anew with the fields of a form, if there are any."""
    form = _form(arguments)
    if not form:
        return await profile_of(daemon.store)
    key = await daemon.custody.open_town_key(_text(arguments, "passphrase"))
    now_ms = daemon.clock.now_ms()
    return await change_profile(form, key, store=daemon.store, intake=daemon.intake, now_ms=now_ms)


@act
async def invite(daemon: Daemon, arguments: Arguments) -> object:
    """Make an invitation for one town."""
    federation = daemon.federations.find(_text_or_none(arguments, "federation"))
    code, expires = await daemon.invitations.invite(federation, _text_or_none(arguments, "url"))
    return {"code": code, "expires": expires}


@act
async def join(daemon: Daemon, arguments: Arguments) -> object:
    """Take an invitation."""
    return await daemon.join(_text(arguments, "code").strip())


@act
async def join_cancel(daemon: Daemon, arguments: Arguments) -> object:
    """Give up an invitation that came to nothing yet, or all of them."""
    return {"cancelled": await daemon.joinings.cancel((_text_or_none(arguments, "code") or "").strip())}


@act
async def federations(daemon: Daemon, arguments: Arguments) -> object:
    """The federations of this town."""
    return daemon.federations.list()


@act
async def peer_add(daemon: Daemon, arguments: Arguments) -> object:
    """Call a node and say who answers; approve it if that is asked."""
    return await daemon.add_peer(_text(arguments, "url"), approve=bool(arguments.get("approve")))


@act
async def peer_list(daemon: Daemon, arguments: Arguments) -> object:
    """The peers and how each stands."""
    return (await daemon.status())["peers"]


@act
async def peer_remove(daemon: Daemon, arguments: Arguments) -> object:
    """Approve a peer no longer."""
    town, name = _find_peer(daemon, _text(arguments, "town"))
    await daemon.peers.remove(town)
    return {"town": town.hex(), "name": name}


@act
async def sync(daemon: Daemon, arguments: Arguments) -> object:
    """Call the peers now, or one of them, and compare; a named one that is not reached is a refusal."""
    named = _text_or_none(arguments, "peer")
    if named is None:
        return await daemon.sync()
    town, name = _find_peer(daemon, named)
    answer = await daemon.sync(town)
    if daemon.links.reach(town) is not Reach.UP:
        says = f"{name or 'Town ' + town.hex()[:8]} cannot be reached: {_why_away(daemon, town)}"
        raise HedgerowError(says, code="unreachable", status=502)
    return answer


@act
async def token(daemon: Daemon, arguments: Arguments) -> object:
    """A bearer token, a sign-in link, or the end of the tokens of a name."""
    name = _text(arguments, "name")
    if arguments.get("revoke"):
        revoked = await daemon.accounts.revoke_token(name)
        if not revoked:
            raise NotFound(f"no token has the name “{name[:40]}”")
        return {"revoked": revoked}
    if arguments.get("page"):
        link = await daemon.accounts.make_link()
        signs_in = f"/sign-in?token={link}"
        return {
            "url": page_url(daemon) + signs_in,
            "network_urls": [url + signs_in for url in network_urls(daemon)],
            "valid_s": LINK_MS // 1_000,
        }
    return {"token": await daemon.accounts.make_token(name)}


@act
async def resident_add(daemon: Daemon, arguments: Arguments) -> object:
    """Make an account for the page, or give one that is there a new PIN if that is asked."""
    name, pin = _text(arguments, "name"), _text(arguments, "pin")
    return {"name": await daemon.accounts.add(name, pin, new_pin=bool(arguments.get("new_pin")))}


def page_url(daemon: Daemon) -> str:
    """Return where the operator's own browser finds the page: the public URL, else this machine."""
    if daemon.settings.web.public_url:
        return daemon.settings.web.public_url.rstrip("/")
    host, port = daemon.address
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def network_urls(daemon: Daemon) -> list[str]:
    """Return where others in the local networks find the page: none, if it is served to this machine only or
    has a public URL.
    """
    host, port = daemon.address
    if daemon.settings.web.public_url or host not in ("0.0.0.0", "", "::"):
        return []
    return [f"http://{address}:{port}" for address in network_addresses()[:NETWORK_URLS_MAX]]


def _why_away(daemon: Daemon, town: TownId) -> str:
    peer, failure = daemon.peers.get(town), daemon.dialer.failure(town)
    if peer is None or not peer.urls:
        return "no address of it is known here; it calls this node"
    if not daemon.settings.links.dial:
        return "this node calls nobody (links.dial is off)"
    if failure is None:
        return "no answer yet; this node goes on calling"
    return f"{why_away(failure)} ({failure.detail.get('url')})"


def _kind(name: str) -> Kind:
    kind = kind_of(name)
    if kind is not None and kind.shown:
        return kind
    known = ", ".join(each.name for each in KINDS.values() if each.shown)
    raise InvalidRequest(f"there is no kind “{name[:40]}”; there are {known}", code="unknown_kind")


def _fields(kind: Kind, form: Mapping[str, str], arguments: Arguments) -> dict[str, Value]:
    """The fields of a post: JSON, or a form, or both, the form over the JSON."""
    if not form:
        return kind.from_json(arguments.get("fields") or {})
    if not arguments.get("fields"):
        return kind.from_text(form)
    return kind.from_text({**kind.to_text(kind.from_json(arguments["fields"])), **form})


def _edited(
    kind: Kind, document: Document, form: Mapping[str, str], arguments: Arguments
) -> dict[str, Value]:
    """The whole fields after an edit: those of the version shown, with the given ones in their place.

    An empty text or a JSON null takes a field away.
    """
    given = arguments.get("fields") or {}
    if not isinstance(given, dict):
        raise InvalidRequest("fields must be a JSON object")
    fields = kind.from_json(kind.to_json(document.fields) | given)
    return kind.from_text({**kind.to_text(fields), **form}) if form else fields


def _form(arguments: Arguments) -> dict[str, str]:
    form = arguments.get("form") or {}
    if not isinstance(form, dict) or not all(isinstance(value, str) for value in form.values()):
        raise InvalidRequest("form must be an object of texts")
    return form


def _typed(line: str) -> str:
    """A line whose document is a form (from CSV) as the line of JSON that it means; others as they are."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(entry, dict) or not isinstance(entry.get("form"), dict):
        return line
    kind = kind_of(str(entry.get("kind")))
    if kind is None:
        return line
    try:
        fields = kind.to_json(kind.from_text(_form(entry)))
    except ProtocolError:
        # The door says what is wrong with it, and at which line, when it reads the same texts as JSON.
        fields = dict(_form(entry))
    return json.dumps({"kind": kind.name, "fields": fields})


def _audience(daemon: Daemon, name: str | None) -> Audience | None:
    if name in (None, "town", "federations"):
        return name  # type: ignore[return-value]  # mypy does not narrow by `in`
    return (daemon.federations.find(name),)


async def _query(daemon: Daemon, arguments: Arguments) -> Query:
    kind, town = _text_or_none(arguments, "kind"), _text_or_none(arguments, "town")
    federation, near = _text_or_none(arguments, "federation"), _text_or_none(arguments, "near")
    return Query(
        kinds=(_kind(kind).name,) if kind else (),
        town=await _find_town(daemon, town) if town else None,
        federation=daemon.federations.find(federation) if federation else None,
        text=_text_or_none(arguments, "q") or "",
        near=_near(near) if near else None,
        limit=min(_whole(arguments, "limit") or PAGE_DOCUMENTS_MAX, PAGE_DOCUMENTS_MAX),
        cursor=_text_or_none(arguments, "cursor"),
    )


def _near(text: str) -> Near:
    try:
        lat, lon, km = (float(part) for part in text.split(","))
    except ValueError:
        raise InvalidRequest(f"near: “{text[:40]}” is not LAT,LON,KM, such as 46.03,4.07,20") from None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180 and 0 < km <= KM_MAX):
        raise InvalidRequest(f"near: degrees to 90 and 180, kilometres above 0 and to {KM_MAX}")
    return Near(lat, lon, km)


async def _find_town(daemon: Daemon, text: str) -> TownId:
    names = await daemon.store.read(
        lambda reader: {town: facts.name for town, facts in reader.towns().items()}
    )
    return _find(text, {**names, daemon.town: names.get(daemon.town, "")})[0]


def _find_peer(daemon: Daemon, text: str) -> tuple[TownId, str]:
    name_of = daemon.federations.name_of
    return _find(text, {peer.town: name_of(peer.town) or peer.name for peer in daemon.peers.all()})
