"""The kinds that we declare: laws that hold for each of them, and what is particular to some."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from protocol.encoding import Value, decode, encode
from protocol.errors import InvalidField
from protocol.fields import Choice, FieldType, Flag, Integer, Text
from protocol.ids import Lane, Op
from protocol.kinds import KINDS, kind_of
from protocol.kinds.repeats import Repeats
from protocol.kinds.steps import STEP, Steps
from protocol.limits import BODY_BYTES_MAX, KIND_CHARS_MAX, LIFETIME_S_MAX
from protocol.notations import Bytes, Degrees, Lang, LocalTime, Seconds, TimeZone, Url
from protocol.schema import Kind
from protocol.structures import UNITS, ListOf, Measure, Struct, Tags
from protocol.text import tidy

KEY = bytes(range(32))
LEAST: dict[str, dict[str, Value]] = {
    "offer": {"title": "Bread of the day"},
    "need": {"title": "Blankets"},
    "skill": {"name": "Repair bicycles"},
    "item": {"title": "Hedge trimmer"},
    "event": {"title": "Cider evening", "start": "2026-10-03T18:30"},
    "feedback": {"about": KEY[:16], "ok": "yes"},
    "claim": {"target": KEY[:16], "ledger": KEY[16:], "milli": 2_000, "unit": "kg"},
    "ledger": {"n": 1, "act": "capacity"},
    "receipt": {"ledger": KEY[:16], "claim": KEY[16:], "ok": "yes"},
    "practice": {"title": "Rice", "steps": [{"text": "Wash it."}]},
    "town.profile": {"name": "Roanne"},
    "town.device": {"device": KEY},
    "town.revoke": {"device": KEY},
    "town.keep": {"records": [KEY]},
    "town.rotate": {"succession": [KEY]},
    "charter": {"name": "Upper Loire", "stewards": [KEY], "members": [KEY]},
    "federation.step": {
        "parent": KEY,
        "round": 1,
        "name": "Upper Loire",
        "stewards": [KEY],
        "members": [KEY],
    },
    "federation.sign": {"step": KEY},
    "federation.admit": {"town": KEY},
    "federation.suspend": {"town": KEY},
    "federation.vouch": {"town": KEY},
    "federation.join": {},
}


def texts(type_: Text) -> SearchStrategy[Value]:
    """Return tidy text within the bounds, rich in what is awkward in steps and tags."""
    overrides = "\u202a\u202b\u202c\u202d\u202e"
    letters = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters=overrides)
    awkward = st.sampled_from(
        ["!", "\\", "(5 min)", " (0 min)", " (8 h)", "! ", "e\u0301", "\n", "\u00a0", "'"]
    )
    raw = st.lists(letters | awkward, min_size=type_.chars_min, max_size=type_.chars_min + 12).map("".join)
    tidied = raw.map(lambda text: str(type_.parse(tidy(text), "x")))
    return tidied.filter(lambda text: type_.chars_min <= len(text) <= type_.chars_max)


def held(type_: FieldType) -> SearchStrategy[Value]:
    """Return every sort of value that a type may hold."""
    match type_:
        case Text():
            return texts(type_)
        case Choice(labels=labels):
            return st.sampled_from(sorted(labels))
        case Integer(least=least, most=most):
            return st.integers(least, most)
        case Flag():
            return st.booleans()
        case Seconds():
            return st.integers(0, 253_402_300_799)
        case Lang():
            return st.sampled_from(["fr", "cy", "pt-BR", "zh-Hant-TW", "sl-rozaj"])
        case LocalTime():
            moments = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31))
            return moments.map(lambda moment: moment.isoformat(timespec="minutes"))
        case TimeZone():
            return st.sampled_from(["UTC", "Europe/Paris", "America/Argentina/Ushuaia", "Etc/GMT+12"])
        case Repeats():
            often = st.sampled_from(["DAILY", "WEEKLY;INTERVAL=2", "MONTHLY", "YEARLY;INTERVAL=10"])
            days = st.sampled_from(["", "", ";BYDAY=MO", ";BYDAY=1SA,-1SU"])
            return st.builds("FREQ={};COUNT={}{}".format, often, st.integers(1, 104), days)
        case Url():
            return st.sampled_from(["https://a.example/", "http://b.example/c?d=e#f"])
        case Bytes(size=size):
            return st.binary(min_size=size, max_size=size)
        case Degrees(most=most, step=step):
            return st.integers(-most * 100_000 // step, most * 100_000 // step).map(
                lambda units: units * step
            )
        case Measure():
            milli, unit = st.integers(1, 10**12), st.sampled_from(UNITS)
            return st.fixed_dictionaries({"milli": milli, "unit": unit})
        case Tags(word=word):
            words = (
                texts(word)
                .map(lambda text: " ".join(str(text).split()))
                .filter(lambda text: text and "," not in text)
            )
            return st.lists(words, min_size=1, max_size=3, unique=True).map(list[Value])
        case Steps():
            return st.lists(held(STEP), min_size=1, max_size=4)
        case ListOf(item=item):
            return st.lists(held(item), min_size=1, max_size=3)
        case Struct():
            return structures(type_)
    raise AssertionError(type_)


def structures(struct: Struct) -> SearchStrategy[Value]:
    """Return maps of the required fields and some of the others, never empty; coordinates come in pairs."""
    parts: dict[str, SearchStrategy[Value]] = {field.name: held(field.type) for field in struct.fields}
    required = {field.name: parts.pop(field.name) for field in struct.fields if field.required}

    def paired(value: dict[str, Value]) -> bool:
        return bool(value) and ("lat" in value) == ("lon" in value)

    return st.fixed_dictionaries(required, optional=parts).filter(paired)


@st.composite
def bodies(draw: Any, kind: Kind) -> dict[str, Value]:
    """Return fields that the kind accepts."""
    parts = {field.name: held(field.type) for field in kind.fields}
    required = {field.name: parts.pop(field.name) for field in kind.fields if field.required}
    fields: dict[str, Value] = draw(st.fixed_dictionaries(required, optional=parts))
    if kind.name == "offer":
        # What must agree is tested by name below.
        for name in ("claim_min", "claim_max", "available_from"):
            fields.pop(name, None)
    elif kind.name == "event":
        fields.pop("end", None)
    elif kind.name == "claim":
        fields |= {"milli": 2_000, "unit": "kg"}
        for name in ("start", "end", "code"):
            fields.pop(name, None)
    return fields


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_fields_go_through_a_form_and_through_the_api_unchanged(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    fields = data.draw(bodies(kind))
    kind.check(fields)
    assert decode(encode(fields), bytes_max=BODY_BYTES_MAX) == fields
    defaults = {field.name: field.default for field in kind.fields if field.default is not None}
    assert kind.from_text(kind.to_text(fields)) == defaults | fields
    assert kind.from_json(kind.to_json(fields)) == defaults | fields
    assert set(kind.to_text(fields)) <= set(kind.columns())


@pytest.mark.law
@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_value_of_a_hostile_body_makes_the_check_fail_otherwise_than_by_name(
    name: str, data: st.DataObject
) -> None:
    kind = KINDS[name]
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.text(max_size=9)
        | st.binary(max_size=40)
    )
    keys = st.sampled_from(["milli", "unit", "name", "lat", "lon", "text", "minutes", "vouches", "urgent"])
    values = st.recursive(
        leaves, lambda some: st.lists(some, max_size=3) | st.dictionaries(keys, some, max_size=3)
    )
    names = st.sampled_from([field.name for field in kind.fields])
    fields: dict[str, Value] = LEAST[name] | data.draw(st.dictionaries(names, values, max_size=4))
    try:
        kind.check(fields)
    except InvalidField as error:
        assert error.field.split(".")[0] in fields and error.says
        return
    # What passes the check can be shown.
    kind.to_json(fields)
    kind.to_text(fields)
    kind.title_of(fields)


@pytest.mark.parametrize("name", KINDS)
def test_the_least_body_of_a_kind_passes_and_lacking_any_required_field_it_does_not(name: str) -> None:
    kind = KINDS[name]
    kind.check(LEAST[name])
    for field in (each.name for each in kind.fields if each.required):
        with pytest.raises(InvalidField, match=f"{field}: is missing"):
            kind.check({key: value for key, value in LEAST[name].items() if key != field})


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_keeps_within_the_bounds_of_the_wire(kind: Kind) -> None:
    assert len(kind.name) <= KIND_CHARS_MAX
    assert 0 < kind.lifetime_default_s <= kind.lifetime_max_s <= LIFETIME_S_MAX
    assert kind.op in (Op.PUT, Op.ENTRY)
    assert kind.audience_default in ("federations", "town")
    assert kind.title_field in {field.name for field in kind.fields}
    names = [field.name for field in kind.fields]
    assert len(set(names)) == len(names)
    assert all(field.label for field in kind.fields)


def test_kinds_lie_in_the_lanes_and_live_as_long_as_the_design_says() -> None:
    day = 86_400
    said = {
        kind.name: (kind.lane, kind.op, kind.lifetime_default_s // day, kind.lifetime_max_s // day)
        for kind in KINDS.values()
    }
    assert said == {
        "offer": (Lane.EVERYDAY, Op.PUT, 30, 90),
        "need": (Lane.EVERYDAY, Op.PUT, 30, 180),
        "skill": (Lane.EVERYDAY, Op.PUT, 365, 730),
        "item": (Lane.EVERYDAY, Op.PUT, 365, 1_825),
        "event": (Lane.EVERYDAY, Op.PUT, 30, 1_095),
        "feedback": (Lane.EVERYDAY, Op.PUT, 365, 365),
        "claim": (Lane.EVERYDAY, Op.PUT, 60, 1_855),
        "ledger": (Lane.EVERYDAY, Op.ENTRY, 60, 1_855),
        "receipt": (Lane.EVERYDAY, Op.PUT, 60, 1_855),
        "practice": (Lane.LIBRARY, Op.ENTRY, 1_825, 3_650),
        "town.profile": (Lane.URGENT, Op.PUT, 3_650, 3_650),
        "town.device": (Lane.URGENT, Op.PUT, 3_650, 3_650),
        "town.revoke": (Lane.URGENT, Op.ENTRY, 36_500, 36_500),
        "town.keep": (Lane.URGENT, Op.ENTRY, 36_500, 36_500),
        "town.rotate": (Lane.URGENT, Op.ENTRY, 36_500, 36_500),
        "charter": (Lane.URGENT, Op.ENTRY, 36_500, 36_500),
        "federation.step": (Lane.URGENT, Op.ENTRY, 36_500, 36_500),
        "federation.sign": (Lane.URGENT, Op.ENTRY, 36_500, 36_500),
        "federation.admit": (Lane.URGENT, Op.PUT, 36_500, 36_500),
        "federation.suspend": (Lane.URGENT, Op.PUT, 36_500, 36_500),
        "federation.vouch": (Lane.URGENT, Op.PUT, 36_500, 36_500),
        "federation.join": (Lane.URGENT, Op.PUT, 36_500, 36_500),
    }


def test_only_what_people_share_has_a_page_and_a_need_stays_in_town_by_default() -> None:
    assert [kind.name for kind in KINDS.values() if kind.shown] == [
        "offer", "need", "item", "skill", "event", "practice", "feedback",
    ]  # fmt: skip
    assert [kind.name for kind in KINDS.values() if kind.sealed] == ["claim"]
    assert KINDS["need"].audience_default == "town"
    assert KINDS["offer"].audience_default == "federations"


def test_an_unknown_kind_has_no_declaration() -> None:
    assert kind_of("offer") is KINDS["offer"]
    assert kind_of("dance") is None


def test_the_coordinates_of_an_offer_are_rounded_and_those_of_a_town_are_exact() -> None:
    typed = {"where.name": "Roanne", "where.lat": "46.03624", "where.lon": "4.06802"}
    offer = KINDS["offer"].from_text({"title": "Bread", **typed})
    town = KINDS["town.profile"].from_text({"name": "Roanne", **typed})
    assert offer["where"] == {"name": "Roanne", "lat": 4_604_000, "lon": 407_000}
    assert town["where"] == {"name": "Roanne", "lat": 4_603_624, "lon": 406_802}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"quantity": "5 kg", "claim_min": "1 box"}, "claim_min: is in box, but quantity is in kg"),
        ({"quantity": "5 kg", "claim_max": "6 kg"}, "claim_max: is more than quantity"),
        ({"quantity": "5 kg", "claim_max": "2 kg", "claim_min": "3 kg"}, "claim_min: is more than claim_max"),
        ({"available_from": "2026-03-02", "until": "2026-03-01"}, "until: lies before available_from"),
    ],
)
def test_the_amounts_and_times_of_an_offer_agree(fields: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidField, match=says):
        KINDS["offer"].from_text({"title": "Flour", **fields})


def test_an_offer_whose_amounts_and_times_agree_is_accepted() -> None:
    amounts = {"quantity": "5 kg", "claim_max": "5 kg", "claim_min": "0.5 kg"}
    times = {"available_from": "2026-03-01", "until": "2026-03-01"}
    KINDS["offer"].from_text({"title": "Flour", **amounts, **times})


def test_steps_are_typed_one_a_line_with_time_behind_and_warning_below() -> None:
    typed = "Cut  thin. (20 min)\n\n  ! Mind your fingers.\r\nWait (3 days)\n"
    typed += "\\! is an exclamation mark\n(5 min)\nRest(0 min)\nSoak. (8 h)\nBake. (1 h 30 min)"
    practice = KINDS["practice"].from_text({"title": "Kraut", "steps": typed})
    assert practice["steps"] == [
        {"text": "Cut thin.", "minutes": 20, "warning": "Mind your fingers."},
        {"text": "Wait (3 days)"},
        {"text": "! is an exclamation mark"},
        {"text": "(5 min)"},
        {"text": "Rest"},
        {"text": "Soak.", "minutes": 480},
        {"text": "Bake.", "minutes": 90},
    ]
    assert practice["licence"] == "CC-BY-SA-4.0"
    assert KINDS["practice"].from_json({"title": "Kraut", "steps": typed}) == practice


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("! Hot\nBoil.", "begins with a warning"),
        ("Boil.\n! Hot\n! Heavy", "step 1 has two warnings; one is allowed"),
        ("Boil.\n!", "steps.1.warning: must have 1 to 300 characters, has 0"),
        ("Boil.\nWait. (100001 min)", r"steps.2.minutes: must be from 1 to 100,000, is 100,001"),
        ("a" * 1_001, "steps.1.text: must have 1 to 1,000 characters, has 1001"),
        ("\n".join("a" for _ in range(61)), "steps: must have 1 to 60 lines, has 61"),
    ],
)
def test_steps_that_are_not_steps_are_refused_by_their_number(steps: str, says: str) -> None:
    with pytest.raises(InvalidField, match=says):
        KINDS["practice"].from_text({"title": "Kraut", "steps": steps})


def test_the_schema_of_a_guide_describes_its_steps_and_the_form_gives_them_an_area() -> None:
    schema: Any = KINDS["practice"].json_schema()
    assert schema["properties"]["steps"]["items"]["required"] == ["text"]
    assert {each.name: each.widget for each in KINDS["practice"].inputs()}["steps"] == "textarea"
    assert "60 steps" in KINDS["practice"].as_markdown()


def test_a_coordinate_may_be_typed_with_a_comma_as_people_write_it() -> None:
    form = {"title": "Bread", "where.name": "Hall", "where.lat": "46,03", "where.lon": "-4,07"}
    where = KINDS["offer"].from_text(form)["where"]
    assert where == {"name": "Hall", "lat": 4_603_000, "lon": -407_000}
    with pytest.raises(InvalidField, match=r"where\.lat"):
        KINDS["offer"].from_text(form | {"where.lat": "46,03,1"})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"end": "2026-10-03T18:00"}, "end: lies before its start"),
        ({"start": "2026-02-30T18:00"}, "start: must be a date with a time"),
        ({"start": "2026-10-03T18:30:00"}, "start: must be a date with a time"),
        ({"start": "tomorrow"}, 'start: must be a date with a time .*, is "tomorrow"'),
        ({"tz": "here and there"}, "tz: must be the name of a time zone"),
        ({"rrule": "weekly"}, "rrule: must be words like"),
        ({"rrule": "weekly, 105 times"}, "rrule: .* at most 104 times"),
        ({"rrule": "FREQ=SECONDLY;COUNT=9"}, "rrule: must be"),
    ],
)
def test_the_times_of_an_event_are_minutes_on_the_spot_and_end(fields: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidField, match=says):
        KINDS["event"].from_text({"title": "Cider evening", "start": "2026-10-03T18:30", **fields})


@pytest.mark.parametrize(
    ("typed", "rule", "shown"),
    [
        ("weekly, 10 times", "FREQ=WEEKLY;COUNT=10", "weekly, 10 times"),
        ("Every 2 weeks 5 times", "FREQ=WEEKLY;INTERVAL=2;COUNT=5", "every 2 weeks, 5 times"),
        ("every month, 1 time", "FREQ=MONTHLY;COUNT=1", "monthly, 1 time"),
        (
            "freq=monthly;count=6;byday=1sa",
            "FREQ=MONTHLY;COUNT=6;BYDAY=1SA",
            "FREQ=MONTHLY;COUNT=6;BYDAY=1SA",
        ),
    ],
)
def test_an_event_repeats_in_words_and_is_held_as_a_calendar_takes_it(
    typed: str, rule: str, shown: str
) -> None:
    fields = KINDS["event"].from_text({"title": "Choir", "start": "2026-10-03 18:30", "rrule": typed})
    assert fields["rrule"] == rule
    assert KINDS["event"].to_text(fields)["rrule"] == shown


def test_the_api_is_told_what_a_time_a_zone_and_a_rule_look_like() -> None:
    schema: Any = KINDS["event"].json_schema()
    assert schema["properties"]["start"]["pattern"] == "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}$"
    assert "weekly, 10 times" in schema["properties"]["rrule"]["description"]
    assert schema["properties"]["tz"]["maxLength"] == 40


def test_an_event_is_over_when_its_last_time_is_over_on_the_whole_earth() -> None:
    ends, day = KINDS["event"].ends, 86_400
    noon_on_earth = 1_791_028_800 + day // 2  # 2026-10-03T12:00Z, and half a day for the furthest zone
    assert ends({"start": "2026-10-03T12:00"}) == noon_on_earth
    assert ends({"start": "2026-10-03T12:00", "end": "2026-10-04T12:00"}) == noon_on_earth + day
    weekly = {"start": "2026-10-03T12:00", "rrule": "FREQ=WEEKLY;INTERVAL=2;COUNT=3"}
    assert ends(weekly) == noon_on_earth + 6 * 7 * day
    assert ends({"start": "2026-10-03T12:00", "rrule": "often"}) == noon_on_earth
    assert ends({"start": 5}) is None
    assert KINDS["offer"].ends({"until": 5}) == 5
    assert KINDS["offer"].ends({"until": "soon"}) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "milli: either an amount or a window"),
        ({"milli": 1_000}, "unit: stands with an amount"),
        ({"unit": "kg"}, "unit: stands with an amount"),
        ({"start": 5}, "end: stands with a start"),
        ({"start": 5, "end": 5}, "end: must be later"),
        ({"milli": 1_000, "unit": "kg", "start": 5, "end": 6}, "milli: either an amount or a window"),
        ({"milli": 0, "unit": "kg"}, "milli: must be from 1"),
        ({"milli": 1_000, "unit": "kg", "code": "ABCDEFGU"}, "code: must be 8 of"),
        ({"milli": 1_000, "unit": "kg", "code": "ABC"}, "code: must have"),
    ],
)
def test_a_claim_asks_for_an_amount_or_for_a_window(fields: dict[str, Value], says: str) -> None:
    with pytest.raises(InvalidField, match=says):
        KINDS["claim"].check({"target": KEY[:16], "ledger": KEY[16:], **fields})


def test_a_claim_of_a_window_with_a_receipt_code_is_accepted() -> None:
    window: dict[str, Value] = {"start": 5, "end": 6, "code": "0ABCXYZ9"}
    KINDS["claim"].check({"target": KEY[:16], "ledger": KEY[16:], **window})
