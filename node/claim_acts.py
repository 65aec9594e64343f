"""The acts on claims and ledgers, by name: what `claim accept decline release ...` have done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.acts import act
from node.arguments import Arguments
from node.arguments import hex_or_none as _hex
from node.arguments import text_of as _text
from node.arguments import text_or_none as _text_or_none
from node.arguments import whole_or_none as _whole
from node.errors import InvalidRequest, NotFound
from node.promises.codes import short_code
from node.promises.telling import claim_json, ledger_json
from protocol.structures import Measure
from protocol.text import tidy

if TYPE_CHECKING:
    from node.daemon import Daemon
    from protocol.encoding import Value


@act
async def claim(daemon: Daemon, arguments: Arguments) -> object:
    """Ask for something."""
    claimed = await daemon.claims.ask(
        _text(arguments, "address"),
        quantity=_measure(arguments, "quantity"),
        start=_whole(arguments, "start"),
        end=_whole(arguments, "end"),
        reason=_text_or_none(arguments, "reason") or "",
        urgency=_text_or_none(arguments, "urgency") or "normal",
        by=_text_or_none(arguments, "by"),
        contact=_text_or_none(arguments, "contact") or "",
        share=bool(arguments.get("share")),
        on_behalf_of=bool(arguments.get("on_behalf_of")),
        nonce=_hex(arguments, "nonce"),
    )
    short = short_code(claimed.code) if claimed.code else ""
    return {"address": claimed.address, "id": claimed.id.hex(), "code": claimed.code, "digits": short}


@act
async def claims(daemon: Daemon, arguments: Arguments) -> object:
    """The claims that can be read here, one of them, or what there is of a document and who asked for it."""
    address = _text_or_none(arguments, "address")
    if address is None:
        return {"claims": [claim_json(view) for view in await daemon.claims.all()]}
    try:
        ledger = await daemon.claims.ledger_of(address)
    except NotFound as error:
        try:
            view = await daemon.claims.show(address)
        except NotFound:
            raise error from None
        return {"says": view.says, "claims": [claim_json(view)]}
    if ledger is None:
        raise NotFound("nothing of that sort can be asked for, so it has no claims", code="not_claimable")
    return ledger_json(ledger)


@act
async def claim_show(daemon: Daemon, arguments: Arguments) -> object:
    """One claim."""
    return claim_json(await daemon.claims.show(_text(arguments, "address")))


@act
async def accept(daemon: Daemon, arguments: Arguments) -> object:
    """Promise what is claimed."""
    milli, hold_until = _milli(arguments), _whole(arguments, "hold_until")
    view = await daemon.claims.accept(_text(arguments, "address"), milli=milli, hold_until=hold_until)
    return claim_json(view)


@act
async def decline(daemon: Daemon, arguments: Arguments) -> object:
    """Say no to a claim."""
    reason = _text_or_none(arguments, "reason") or "declined"
    return claim_json(await daemon.claims.decline(_text(arguments, "address"), reason=reason))


@act
async def wait(daemon: Daemon, arguments: Arguments) -> object:
    """Put a claim on the waiting list."""
    return claim_json(await daemon.claims.put_on_list(_text(arguments, "address")))


@act
async def release(daemon: Daemon, arguments: Arguments) -> object:
    """Give free what was promised."""
    reason = _text_or_none(arguments, "reason") or "released"
    view = await daemon.claims.release(_text(arguments, "address"), milli=_milli(arguments), reason=reason)
    return claim_json(view)


@act
async def handover(daemon: Daemon, arguments: Arguments) -> object:
    """Note that somebody has fetched what was promised."""
    code = _text_or_none(arguments, "code")
    view = await daemon.claims.hand_over(_text(arguments, "address"), code=code, milli=_milli(arguments))
    return claim_json(view)


@act
async def renew(daemon: Daemon, arguments: Arguments) -> object:
    """Let somebody keep a thing for longer, or keep something for longer; of what is another town's, ask."""
    until = _whole(arguments, "until")
    if until is None:
        raise InvalidRequest("until is missing")
    view = await daemon.claims.show(_text(arguments, "address"))
    renewing = daemon.claims.renew if view.to_answer else daemon.claims.ask_longer
    return claim_json(await renewing(view.doc.hex(), until=until))


@act
async def receive(daemon: Daemon, arguments: Arguments) -> object:
    """Say that what was claimed has been received."""
    ok = _text_or_none(arguments, "ok") or "yes"
    view = await daemon.claims.receive(_text(arguments, "address"), ok=ok, milli=_milli(arguments))
    return claim_json(view)


@act
async def unclaim(daemon: Daemon, arguments: Arguments) -> object:
    """Take a claim of our own back."""
    return claim_json(await daemon.claims.withdraw(_text(arguments, "address")))


@act
async def keeper(daemon: Daemon, arguments: Arguments) -> object:
    """Let another device of this town keep a ledger; with the town key whoever keeps it now."""
    address = _text(arguments, "address")
    device = await daemon.custody.find(_text(arguments, "device"))
    secret = _text_or_none(arguments, "secret")
    key = await daemon.custody.open_town_key(secret) if secret is not None else None
    await daemon.claims.name_keeper(address, device, key=key)
    return {"address": address, "keeper": device.hex()}


def _measure(arguments: Arguments, name: str) -> dict[str, Value] | None:
    text = _text_or_none(arguments, name)
    if text is None:
        return None
    value = Measure().parse(tidy(text), name)
    assert isinstance(value, dict), "a measure is {milli, unit}"
    return value


def _milli(arguments: Arguments) -> int | None:
    """The amount of an act on a claim: a number, counted in the unit of the claim whatever unit is typed."""
    value = _measure(arguments, "quantity")
    milli = value["milli"] if value is not None else None
    return milli if isinstance(milli, int) else None
