"""Whatever a kind allows can be shown: in every zone, at every bound, and with members unknown to us."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from node.exchange import document_json
from node.store import Document, Version
from node.web import present
from node.web.render import card_html
from protocol.encoding import Value
from protocol.fields import Choice, FieldType, Flag, Integer, Text
from protocol.ids import DocId, FederationId, RecordId, TownId
from protocol.kinds import KINDS
from protocol.kinds.repeats import Repeats
from protocol.kinds.steps import STEP, Steps
from protocol.notations import SECONDS_SHOWN_MAX, Bytes, Degrees, Lang, LocalTime, Seconds, TimeZone, Url
from protocol.schema import Kind
from protocol.structures import ListOf, Measure, Struct, Tags

SHOWN = [kind for kind in KINDS.values() if kind.shown]
STRANGE: dict[str, Value] = {"of_later": {"bytes": b"\xff\x00", "list": [None, -(2**63), 2**64 - 1]}}
"""What a newer program may have put beside what we know."""
ZONES = ["UTC", "Europe/Paris", "Pacific/Kiritimati", "Etc/GMT+12", "America/St_Johns"]


def bounds(type_: FieldType) -> Iterator[Value]:
    """Yield the least and the greatest value of a type, and some in between."""
    match type_:
        case Text(chars_min=least, chars_max=most):
            yield from ("<" * max(1, least), "\u0645" * most, "\U0001f33e" * max(1, least))
        case Choice(labels=labels):
            yield from labels
        case Integer(least=least, most=most):
            yield from (least, most, max(least, 1))
        case Flag():
            yield from (True, False)
        case Seconds():
            yield from (0, 86_399, 1, SECONDS_SHOWN_MAX, SECONDS_SHOWN_MAX - 600, SECONDS_SHOWN_MAX - 86_399)
        case Lang():
            yield from ("fr", "sl-rozaj", "abcdefgh")
        case LocalTime():
            yield from ("1970-01-01T00:00", "9999-12-31T23:59")
        case TimeZone():
            yield from ("UTC", "America/Argentina/Ushuaia")
        case Repeats():
            yield from ("FREQ=DAILY;COUNT=1", "FREQ=YEARLY;INTERVAL=99;COUNT=104;BYDAY=-1SU,1MO")
        case Url(chars_max=most):
            yield from ("https://a", "http://[", "http://a/".ljust(most, "x"))
        case Bytes(size=size):
            yield bytes(size)
        case Degrees(most=most):
            yield from (-most * 100_000, most * 100_000, 0)
        case Measure():
            yield {"milli": 1, "unit": "kg"}
            yield {"milli": 10**12, "unit": "each", **STRANGE}
        case Tags(count_max=count, word=word):
            yield [str(number).rjust(word.chars_min, "x") for number in range(count)]
        case Steps():
            yield from ([value] for value in bounds(STEP))
        case ListOf(item=item):
            yield from ([value] for value in bounds(item))
        case Struct(fields=fields):
            for number in range(3):
                parts = {each.name: list(bounds(each.type)) for each in fields}
                yield {name: values[number % len(values)] for name, values in parts.items()} | STRANGE
        case _:
            raise AssertionError(type_)


def bodies(kind: Kind) -> Iterator[dict[str, Value]]:
    """Yield bodies that the kind accepts, in which one field after another stands at a bound."""
    least = {each.name: next(bounds(each.type)) for each in kind.fields if each.required}
    for each in kind.fields:
        for value in bounds(each.type):
            fields = {**least, each.name: value, **STRANGE}
            if each.name.startswith("claim"):
                fields["quantity"] = {"milli": 10**12, "unit": "kg"}
                fields[each.name] = {"milli": 1, "unit": "kg"}
            kind.check(fields)
            yield fields


def document(kind: Kind, fields: dict[str, Value], born: int = 0) -> Document:
    """Return a document with these fields as the store folds it."""
    version = Version(RecordId(bytes(32)), (2**48 - 1) << 16, fields, (RecordId(b"\xff" * 32),), True)
    return Document(
        "00000000000", DocId(bytes(16)), version.id, kind.name, TownId(bytes(32)), "", kind.lane,
        (FederationId(bytes(16)),), fields, born, 2**41, version.stamp, (version,), False,
    )  # fmt: skip


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The clock of a node somewhere on earth."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: kind.name)
def test_every_body_that_a_kind_accepts_can_be_shown_in_every_zone(zone: str, kind: Kind) -> None:
    for fields in bodies(kind):
        made = document(kind, fields)
        assert "card" in card_html(present.card(made, 0, 12_345.6))
        assert present.facts(kind, fields) is not None
        assert present.guide(made.versions[0], kind, 2**38).id
        assert kind.to_text(fields)
        assert json.dumps(document_json(made)).encode("utf-8")


@pytest.mark.parametrize("seconds", [0, 1, SECONDS_SHOWN_MAX - 600, SECONDS_SHOWN_MAX, 2**41])
def test_every_moment_of_a_header_can_be_said_in_every_zone(zone: str, seconds: int) -> None:
    for whole_day in (True, False):
        for clock in (True, False):
            assert present.date_text(seconds, whole_day=whole_day, clock=clock)
    assert present.age(seconds * 1000, 2**47)


async def test_a_neighbours_offer_at_the_end_of_the_calendar_stands_on_the_board(
    zone: str, node: Any, browser: Any
) -> None:
    record = await node.hear_offer("Ladders", until=SECONDS_SHOWN_MAX - 600)
    for path in ("/", f"/d/{record.doc.hex()}", "/api/v1/documents"):
        status, page = await browser.get(path)
        assert status == 200
        assert "Ladders" in page


async def test_a_document_that_cannot_be_shown_is_left_out_and_takes_no_page_along(
    node: Any, browser: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad = await node.hear_offer("Odd")
    await node.hear_offer("Ladders")

    def failing(whole: Any) -> Any:
        def show(found: Document, *more: Any) -> Any:
            if found.doc == bad.doc:
                raise OverflowError("date value out of range")
            return whole(found, *more)

        return show

    monkeypatch.setattr("node.web.present.card", failing(present.card))
    monkeypatch.setattr("node.web.api.document_json", failing(document_json))
    for path in ("/", "/api/v1/documents"):
        caplog.clear()
        status, page = await browser.get(path)
        assert status == 200
        assert "Ladders" in page
        assert "Odd" not in page
        assert [each.getMessage() for each in caplog.records if bad.doc.hex() in each.getMessage()] != []
