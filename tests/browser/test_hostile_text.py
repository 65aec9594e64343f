"""What people and strangers type is text and never anything else: payloads in every text field of every kind.

The policy that forbids scripts is switched off here: it is the escaping that is tested, not the net below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from node.errors import InvalidRequest
from protocol.encoding import Value
from protocol.fields import Choice, FieldType, Text
from protocol.kinds import KINDS
from protocol.kinds.steps import STEP, Steps
from protocol.notations import Bytes, LocalTime, Url
from protocol.structures import ListOf, Struct, Tags

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Forty characters at most, so that they fit into every field.
PAYLOADS = [
    "<script>ran()</script>",
    '"><img src=x onerror=ran()>',
    "'><svg onload=ran()>",
    "</title><script>ran()</script>",
    "</textarea><svg onload=ran()>",
    "</option></select><img src=x onerror=ran()>"[:40],
    '" autofocus onfocus=ran() x="',
    "javascript:ran()",
    "{{ran()}}${ran()}<%=ran()%>",
    "<a href=javascript:ran() autofocus>x</a>",
    "&lt;script&gt;ran()&lt;/script&gt;",
    "<style>@import'//x'</style><b onclick=ran()>"[:40],
    "<iframe srcdoc='<script>ran()//'>",
    "\u202a<script>ran()</script>"[1:],
]


# Elements that no page of ours has, and attributes through which a script could run.
SUSPICIOUS = r"""
() => [...document.querySelectorAll('*')].filter(element =>
    ['SCRIPT', 'IFRAME', 'IMG', 'STYLE', 'OBJECT', 'BASE'].includes(element.tagName)
    || [...element.attributes].some(attribute =>
        attribute.name.startsWith('on')
        || (['href', 'src', 'action', 'formaction'].includes(attribute.name)
            && /^\s*javascript:/i.test(attribute.value)))
).map(element => element.outerHTML.slice(0, 200))
"""


def filled(kind: str, payload: str) -> dict[str, Value]:
    """Return the fields of a kind with the payload wherever there is room for text."""
    fields: dict[str, Value] = {}
    for each in KINDS[kind].fields:
        value = dressed(each.type, payload)
        if value is not None:
            fields[each.name] = value
        elif each.default is not None:
            fields[each.name] = each.default
        elif each.required:
            assert isinstance(each.type, Choice)
            fields[each.name] = next(iter(each.type.labels))
    return fields


def dressed(field: FieldType, payload: str) -> Value:
    """Return the payload as a field of this type holds it; None where there is no room for text."""
    match field:
        case Text():
            return payload[: field.chars_max]
        case LocalTime():
            return "2026-10-03T18:30"
        case Bytes(size=size):
            return bytes(size)
        case Tags():
            return [payload.replace(",", "")[: field.word.chars_max]]
        case Url():
            return "https://x/" + payload.replace("<", "").replace(">", "").replace('"', "").replace(" ", "")
        case Steps():
            return [dressed(STEP, payload)]
        case ListOf():
            item = dressed(field.item, payload)
            return None if item is None else [item]
        case Struct():
            parts = {each.name: dressed(each.type, payload) for each in field.fields}
            return {name: value for name, value in parts.items() if value is not None}
    return None


def texts(value: Value) -> Iterator[str]:
    """Yield every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)


async def look_at(context: Any, paths: list[str]) -> list[str]:
    """Open pages and return those on which something ran, or looked as if it could."""
    ran = []
    page = await context.new_page()
    for path in paths:
        await page.goto(path)  # Until the load event: images have failed and handlers have run by then.
        await page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        handlers = await page.evaluate(SUSPICIOUS)
        if await page.evaluate("window.didRun === true") or handlers:
            ran.append(f"{path}: {handlers}")
    await page.close()
    return ran


def paths_of(address: str, kind: str) -> list[str]:
    """Return every page on which a document's text stands; those that are alike for all kinds, for two."""
    paths = [f"/d/{address}", f"/d/{address}/edit"]
    if kind in ("offer", "practice"):
        paths += [f"/d/{address}/record", f"/d/{address}/withdraw"]
    return paths


async def open_context(served: Any) -> Any:
    """Return a browser without the policy, in which `ran()` leaves a mark."""
    context = await served.context(signed_in=True, bypass_csp=True)
    await context.add_init_script("window.ran = () => { window.didRun = true }")
    return context


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS.values() if kind.shown])
async def test_no_payload_in_any_text_field_of_a_kind_runs(served: Any, kind: str) -> None:
    context = await open_context(served)
    paths = []
    for payload in PAYLOADS:
        fields = filled(kind, payload)
        assert len([text for text in texts(fields) if payload[:16] in text]) >= 3
        paths += paths_of((await served.node.board.post(kind, fields)).address, kind)
    assert await look_at(context, ["/", f"/?kind={kind}", *paths]) == []


async def test_no_payload_in_a_name_or_a_question_runs(served: Any) -> None:
    from urllib.parse import quote

    context = await open_context(served)
    node = served.node
    for number, payload in enumerate(PAYLOADS):
        with suppress(InvalidRequest):  # Two of them differ in large and small letters only: one name.
            await node.accounts.add(payload, "123456")
        node.peers.append(
            {"town": "cc" * 32, "name": payload, "state": "down", "says": f"{payload}: {payload}"}
        )
        await node.intake.accept([node.neighbour.renamed({"name": payload, "text": payload}, number).raw])
        served.site._around = None
        asked = quote(payload)
        paths = [
            "/",
            "/people",
            "/neighbours",
            "/federations",
            f"/?q={asked}",
            f"/?town={asked}",
            f"/?kind={asked}",
            f"/d/{asked}",
        ]
        paths += [f"/sign-in?next={asked}", f"/sign-in?token={asked}", f"/post?kind={asked}", f"/{asked}"]
        assert await look_at(context, paths) == []


async def test_no_payload_in_a_request_runs(served: Any) -> None:
    context = await open_context(served)
    node = served.node
    paths: list[str] = []
    for payload in PAYLOADS:
        title = f"{payload} {len(paths)}"
        offer = await node.board.post("offer", {"title": title, "quantity": {"milli": 2_000, "unit": "box"}})
        claim = await node.claims.ask(
            offer.address, quantity={"milli": 1_000, "unit": "box"},
            reason=f"{payload}\n{payload}", contact=payload, by=payload,
        )  # fmt: skip
        paths += [f"/d/{offer.address}", f"/c/{claim.address}"]
    await node.claims.accept(claim.address)
    assert await look_at(context, ["/claims", *paths, f"/c/{claim.address}/feedback"]) == []


async def test_no_payload_in_a_form_that_comes_back_runs(served: Any) -> None:
    context = await open_context(served)
    offer = await served.node.board.post("offer", {"title": "Boxes"})
    claim = await served.node.claims.ask(offer.address)
    await served.node.claims.accept(claim.address)
    page = await context.new_page()
    for number in range(0, len(PAYLOADS), 3):
        three = [PAYLOADS[(number + more) % len(PAYLOADS)] for more in range(3)]
        for path, button, fields in (
            (f"/d/{offer.address}/ask", "main button", ("quantity", "reason", "contact")),
            (f"/c/{claim.address}", "main button[value=handover]", ("code",)),
        ):
            await page.goto(path)
            for name, payload in zip(fields, three, strict=False):
                await page.fill(f"[name={name}]", payload)
            await page.locator(button).first.click()
            assert await page.input_value(f"[name={fields[0]}]") == three[0]
            assert await page.evaluate(SUSPICIOUS) == []
            assert await page.evaluate("window.didRun") is None


async def test_a_body_that_is_not_as_its_kind_declares_harms_nobody(served: Any) -> None:
    context = await open_context(served)
    node = served.node
    bodies: list[dict[str, Any]] = [
        {"name": "Mend", "code": "javascript:ran()"},
        {"name": ["<script>ran()</script>"]},
        {"name": {"a": 1}, "text": 7},
        {},
        {"name": "x" * 3_000},
        {"name": "Mend", "languages": ["<script>ran()</script>"], "travel_km": -1},
    ]
    paths = ["/", "/?kind=skill"]
    for body in bodies:
        record = node.neighbour.record("skill", body, [node.federation])
        await node.hear(record)
        paths.append(f"/d/{record.doc.hex()}")
    assert await look_at(context, paths) == []


async def test_the_policy_stops_a_script_even_if_one_stood_in_a_page(served: Any) -> None:
    context = await served.context()
    page = await context.new_page()
    await page.goto("/")
    await page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.didRun = true';"
        " document.body.append(s) }"
    )
    assert await page.evaluate("window.didRun") is None
