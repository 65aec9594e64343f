"""The types of fields, and what follows from a declaration: check, text, JSON, form, columns, schema."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from protocol.encoding import Value
from protocol.errors import InvalidField
from protocol.fields import Choice, FieldType, Flag, Integer, Text
from protocol.ids import Lane, Op
from protocol.notations import Bytes, Degrees, Lang, Seconds, Url
from protocol.schema import Field, Kind
from protocol.structures import ListOf, Measure, Struct, Tags, where
from protocol.text import decimal, held_type, json_type, shown, tidy, write_decimal

PLACE = where(name_chars_max=20, note_chars_max=20, step=1_000)
PAIR = Struct((Field("a", Integer(0, 9), "A", required=True), Field("b", Integer(0, 9), "B", "The second")))


def kind(*fields: Field, **more: object) -> Kind:
    """Return a kind with these fields, the rest as plain as can be."""
    given: dict[str, object] = {"name": "thing", "label": "A thing", "plural": "Things", **more}
    return Kind(
        lane=Lane.EVERYDAY,
        op=Op.PUT,
        lifetime_default_s=1,
        lifetime_max_s=2,
        fields=fields,
        **given,  # type: ignore[arg-type]  # the keywords differ in type
    )


def refused(type_: FieldType, value: Value) -> str:
    """Return what the type says against a held value."""
    with pytest.raises(InvalidField) as error:
        type_.check(value, "x")
    assert error.value.code == "invalid_field"
    assert str(error.value) == f"{error.value.field}: {error.value.says}"
    return str(error.value)


def unreadable(type_: FieldType, text: str) -> str:
    """Return what the type says against typed text."""
    with pytest.raises(InvalidField) as error:
        type_.check(type_.parse(tidy(text), "x"), "x")
    return str(error.value)


@pytest.mark.parametrize(
    ("type_", "text", "value", "again"),
    [
        (Text(1, 9), " two \t words ", "two words", "two words"),
        (Text(1, 9, lines=True), "a\r\nb\rc", "a\nb\nc", "a\nb\nc"),
        (Text(1, 9), "cafe\u0301", "caf\u00e9", "caf\u00e9"),
        (Choice({"give": "To give", "at_cost": "At cost"}), "AT COST", "at_cost", "at_cost"),
        (Choice({"give": "To give"}), "Give", "give", "give"),
        (Integer(-5, 99), "-3", -3, "-3"),
        (Flag(), "On", True, "yes"),
        (Flag(), "no", False, "no"),
        (Seconds(), "2026-03-01", 1_772_323_200, "2026-03-01"),
        (Seconds(day_end=True), "2026-03-01", 1_772_409_599, "2026-03-01"),
        (Seconds(day_end=True), "2026-03-01 18:30", 1_772_389_800, "2026-03-01T18:30:00Z"),
        (Seconds(), "9999-12-31T23:59:59Z", 253_402_300_799, "9999-12-31T23:59:59Z"),
        (Lang(), "ZH-hant-tw", "zh-Hant-TW", "zh-Hant-TW"),
        (Lang(), "Sl-Rozaj", "sl-rozaj", "sl-rozaj"),
        (Url(40), "https://a.example/b", "https://a.example/b", "https://a.example/b"),
        (Bytes(2), "0aFF", b"\x0a\xff", "0aff"),
        (Degrees(90), "46.03624", 4_603_624, "46.03624"),
        (Degrees(180, 1_000), "-4.06802", -407_000, "-4.07"),
        (Degrees(180), "-0.5", -50_000, "-0.5"),
        (Measure(), "2.5 kg", {"milli": 2_500, "unit": "kg"}, "2.5 kg"),
        (Measure(), "2,5kg", {"milli": 2_500, "unit": "kg"}, "2.5 kg"),
        (Measure(), "24", {"milli": 24_000, "unit": "each"}, "24"),
        (Measure(), "3 Boxes", {"milli": 3_000, "unit": "box"}, "3 box"),
        (Measure(), "10 m²", {"milli": 10_000, "unit": "m2"}, "10 m2"),
        (Measure(), ".001 kWh", {"milli": 1, "unit": "kWh"}, "0.001 kWh"),
        (Tags(3, Text(1, 9)), "a, b  c,\nA,a,,", ["a", "b c", "A"], "a, b c, A"),
        (ListOf(Lang(), 3), "FR\n\n  cy ", ["fr", "cy"], "fr\ncy"),
    ],
)
def test_what_people_type_is_read_and_written_back(
    type_: FieldType, text: str, value: Value, again: str
) -> None:
    parsed = type_.parse(tidy(text), "x")
    assert parsed == value and type(parsed) is type(value)
    type_.check(parsed, "x")
    assert type_.write(parsed) == again
    assert type_.parse(again, "x") == value
    assert type_.read_json(type_.write_json(value), "x") == value
    assert type_.read_json(text, "x") == value


@pytest.mark.parametrize(
    ("type_", "value", "says"),
    [
        (Text(3, 9), "ab", "x: must have 3 to 9 characters, has 2"),
        (Text(3, 9), "a" * 10, "x: must have 3 to 9 characters, has 10"),
        (Text(3, 9), "   ", "x: must have 3 to 9 characters, has only blanks"),
        (Text(3, 9), b"abc", "x: must be text, is bytes"),
        (Text(3, 9), "abc\n", "x: must not hold the control character U+000A"),
        (Text(3, 9, lines=True), "abc\x1b", "x: must not hold the control character U+001B"),
        (Text(3, 9), "a\u202ebc", "x: must not hold the control character U+202E"),
        (Choice({"a": "A", "b": "B", "c": "C"}), "d", 'x: must be a, b or c, is "d"'),
        (Choice({"a": "A"}), 1, "x: must be a, is 1"),
        (Choice({"a": "A"}), {"a": 1}, "x: must be a, is a map"),
        (Integer(1, 2000), 2001, "x: must be from 1 to 2,000, is 2,001"),
        (Integer(1, 2), True, "x: must be a whole number, is yes or no"),
        (Integer(1, 2), None, "x: must be a whole number, is nothing"),
        (Flag(), 1, "x: must be yes or no, is 1"),
        (Seconds(), "2026-03-01", "x: must be a time in seconds, is text"),
        (Seconds(), -1, "x: must lie in the years 1970 to 9999, is -1 seconds"),
        (Seconds(), 2**40, "x: must lie in the years 1970 to 9999, is 1,099,511,627,776 seconds"),
        (Lang(), "french please", 'x: must be a language tag like fr, cy or pt-BR, is "french please"'),
        (Lang(), "a" * 8 + "-abcdefgh" * 4, "x: must be a language tag like fr, cy or pt-BR"),
        (Lang(), [], "x: must be a language tag like fr, cy or pt-BR, is a list"),
        (Url(30), "javascript:alert(1)", "x: must be an address that begins with http:// or https://"),
        (Url(30), "https://a.example/" + "a" * 20, "x: must be an address"),
        (Url(30), 3, "x: must be an address"),
        (Bytes(32, "a key"), b"abc", "x: must be a key, 32 bytes, has 3 bytes"),
        (Bytes(32, "a key"), "abc", "x: must be a key, 32 bytes, is text"),
        (Degrees(90), 9_000_001, "x: must be degrees from -90 to 90, is 90.00001"),
        (Degrees(90), "1", "x: must be in hundred-thousandths of a degree, is text"),
        (Measure(), "2.5 kg", "x: must be an amount with its unit, is text"),
        (Measure(), {"milli": 0, "unit": "kg"}, "x: must be more than 0 and at most 1,000,000,000, is 0"),
        (Measure(), {"milli": 10**12 + 1, "unit": "kg"}, "at most 1,000,000,000, is 1000000000.001"),
        (Measure(), {"milli": True, "unit": "kg"}, "is yes or no"),
        (Measure(), {"unit": "kg"}, "is nothing"),
        (Measure(), {"milli": 1, "unit": "stone"}, 'x: has the unit "stone"; known are each, kg,'),
        (Measure(), {"milli": 1, "unit": ["kg"]}, "x: has the unit a list; known are each, kg,"),
        (Tags(2, Text(1, 3)), "a", "x: must be a list, is text"),
        (Tags(2, Text(1, 3)), [], "x: must be 1 to 2 words, are 0"),
        (Tags(2, Text(1, 3)), ["a", "b", "c"], "x: must be 1 to 2 words, are 3"),
        (Tags(2, Text(1, 3)), ["abcd"], "x: must have 1 to 3 characters, has 4"),
        (Tags(2, Text(1, 3)), ["a,b"], 'x: a word holds a comma: "a,b"'),
        (Tags(2, Text(1, 3)), ["a", "a"], 'x: a word stands there twice: "a"'),
        (ListOf(Lang(), 2), "fr", "x: must be a list, is text"),
        (ListOf(Lang(), 2), [], "x: must have 1 to 2 lines, has 0"),
        (ListOf(Lang(), 2), ["fr", "cy", "en"], "x: must have 1 to 2 lines, has 3"),
        (ListOf(Lang(), 2), ["fr", "!"], 'x.2: must be a language tag like fr, cy or pt-BR, is "!"'),
        (PAIR, "a", "x: must have parts, is text"),
        (PAIR, {}, "x.a: is missing"),
        (PAIR, {"a": 10}, "x.a: must be from 0 to 9, is 10"),
        (ListOf(PAIR, 2), [{"a": 1}, {"a": 1, "b": -1}], "x.2.b: must be from 0 to 9, is -1"),
        (PLACE, {"name": "a", "lat": 1}, "x.lon: is missing; x.lat is there"),
        (PLACE, {"name": "a", "lon": 1}, "x.lat: is missing; x.lon is there"),
        (PLACE, {"lat": 1, "lon": 1}, "x.name: is missing"),
    ],
)
def test_a_held_value_outside_its_declaration_is_refused_with_value_and_limit(
    type_: FieldType, value: Value, says: str
) -> None:
    assert says in refused(type_, value)


@pytest.mark.parametrize(
    ("type_", "text", "says"),
    [
        (Choice({"a": "A"}), "b", 'x: must be a, is "b"'),
        (Integer(1, 9), "1.5", 'x: must be a whole number from 1 to 9, is "1.5"'),
        (Integer(1, 9), "\u0661", "x: must be a whole number from 1 to 9"),
        (Flag(), "perhaps", 'x: must be yes or no, is "perhaps"'),
        (Seconds(), "tomorrow", 'x: must be a date like 2026-03-01, is "tomorrow"'),
        (Seconds(), "2026-02-30", 'x: there is no such day or time as "2026-02-30"'),
        (Seconds(), "2026-02-03T25:00", 'x: there is no such day or time as "2026-02-03T25:00"'),
        (Seconds(), "1969-12-31", "x: must lie in the years 1970 to 9999, is -86,400 seconds"),
        (Bytes(2), "0a0", 'x: must be bytes, 2 bytes in hex digits, is "0a0"'),
        (Degrees(90), "north", 'x: must be degrees from -90 to 90, like 46.03624, is "north"'),
        (Degrees(90), "1e5", "x: must be degrees from -90 to 90"),
        (Degrees(90), "100000", "x: must be degrees from -90 to 90"),
        (Degrees(90), "90.1", "x: must be degrees from -90 to 90, is 90.1"),
        (Measure(), "a lot", 'x: must be an amount like 24 or 2.5 kg, is "a lot"'),
        (Measure(), "24 loaves", 'x: has the unit "loaves"; known are each, kg, g, l, m, m2, hour,'),
        (Measure(), "2,500 kg", 'x: must be an amount like 1000 or 2.5, is "2,500"'),
        (Measure(), "1.2.3", 'x: must be an amount like 1000 or 2.5, is "1.2.3"'),
        (Measure(), "0", "x: must be more than 0"),
        (Measure(), "-1 kg", "x: must be more than 0 and at most 1,000,000,000, is -1"),
        (Measure(), "0.0001 kg", 'x: is counted in thousandths at most, is "0.0001"'),
        (Measure(), "999999999999999", "x: must be at most 1,000,000,000"),
        (Measure(), "1000000001", "x: must be more than 0 and at most 1,000,000,000, is 1000000001"),
        (PAIR, "1", "x: has parts: x.a, x.b"),
    ],
)
def test_text_that_cannot_be_read_is_refused_with_an_example_of_what_can(
    type_: FieldType, text: str, says: str
) -> None:
    assert says in unreadable(type_, text)


@pytest.mark.parametrize(
    ("type_", "given", "value"),
    [
        (Integer(0, 9), 7, 7),
        (Flag(), True, True),
        (Degrees(90), 46.03624, 4_603_624),
        (Degrees(90), 46, 4_600_000),
        (Degrees(90, 1_000), "46.03624", 4_604_000),
        (Measure(), {"amount": "2.5", "unit": "kg"}, {"milli": 2_500, "unit": "kg"}),
        (Tags(2, Text(1, 9)), [" a ", "b\tc"], ["a", "b c"]),
        (Tags(2, Text(1, 9)), [], None),
        (ListOf(Text(1, 9), 2), ["a  b"], ["a b"]),
        (ListOf(Text(1, 9), 2), [], None),
        (PAIR, {"a": 1, "b": None}, {"a": 1}),
        (PAIR, {"b": ""}, None),
    ],
)
def test_the_api_takes_what_json_has_for_it(type_: FieldType, given: object, value: Value) -> None:
    assert type_.read_json(given, "x") == value


@pytest.mark.parametrize(
    ("type_", "given", "says"),
    [
        (Text(1, 9), 3, "x: must be a string, is a number"),
        (Text(1, 9), 3.5, "x: must be a string, is a number"),
        (Integer(1, 9), True, "x: must be a string, is a boolean"),
        (Flag(), None, "x: must be a string, is null"),
        (Seconds(), [1], "x: must be a string, is a list"),
        (Degrees(90), True, "x: must be a string, is a boolean"),
        (Degrees(90), float("nan"), 'x: must be degrees from -90 to 90, like 46.03624, is "nan"'),
        (Measure(), {"amount": 2.5, "unit": "kg"}, 'x: must be text like "2.5 kg", or {"amount"'),
        (Measure(), {"amount": "2.5"}, 'x: must be text like "2.5 kg", or {"amount"'),
        (Measure(), {"amount": "1", "unit": "kg", "milli": 1}, 'x: must be text like "2.5 kg", or'),
        (Tags(2, Text(1, 9)), [1], "x: must be a list of strings, holds a number"),
        (ListOf(Text(1, 9), 2), ["a", {}], "x.2: must be a string, is an object"),
        (PAIR, [1], "x: must be an object, is a list"),
        (PAIR, {"c": 1}, "x.c: there is no such field; the fields are a, b"),
    ],
)
def test_the_api_refuses_what_json_should_not_have_there(type_: FieldType, given: object, says: str) -> None:
    with pytest.raises(InvalidField) as error:
        type_.read_json(given, "x")
    assert says in str(error.value)


EVERYTHING = kind(
    Field("title", Text(3, 20), "Title", "A few words", required=True, standard="schema:name"),
    Field("terms", Choice({"give": "To give", "lend": "To lend"}), "Terms", default="give"),
    Field("count", Integer(1, 9), "Count | number", default=1),
    Field("ready", Flag(), "Ready"),
    Field("until", Seconds(day_end=True), "Until"),
    Field("place", PLACE, "Place"),
    Field("amount", Measure(), "Amount"),
    Field("tags", Tags(3, Text(1, 9)), "Tags"),
    Field("langs", ListOf(Lang(), 3), "Languages"),
    Field("note", Text(1, 99, lines=True), "Note"),
    Field("word", Text(1, 9, suggestions=("one", "two")), "Word"),
    Field("pair", PAIR, "Pair"),
)


def test_empty_controls_mean_absent_and_defaults_fill_the_gaps() -> None:
    form = {"title": "Bread", "terms": " ", "amount": "", "place.name": "", "tags": " , ", "_token": "abc"}
    assert EVERYTHING.from_text(form) == {"title": "Bread", "terms": "give", "count": 1}


def test_a_form_and_the_api_give_the_same_fields_and_take_them_back() -> None:
    form = {
        "title": "Bread",
        "terms": "lend",
        "count": "2",
        "ready": "on",
        "until": "2026-03-01",
        "place.name": "Mill",
        "place.lat": "46.04",
        "place.lon": "4.07",
        "amount": "2,5 kg",
        "tags": "a,b",
        "langs": "fr\ncy",
        "note": "a\nb",
        "pair.a": "3",
    }
    fields = EVERYTHING.from_text(form)
    assert fields["place"] == {"name": "Mill", "lat": 4_604_000, "lon": 407_000}
    assert fields["pair"] == {"a": 3}
    assert EVERYTHING.from_text(EVERYTHING.to_text(fields)) == fields
    assert EVERYTHING.from_json(EVERYTHING.to_json(fields)) == fields
    assert PLACE.write(fields["place"]) == "Mill"
    assert PAIR.write(fields["pair"]) == "3"


def test_an_unknown_name_is_a_slip_in_a_form_and_in_the_api_and_the_nearest_is_named() -> None:
    for read in (EVERYTHING.from_text, EVERYTHING.from_json):
        with pytest.raises(InvalidField, match="titel: there is no such field; did you mean title"):
            read({"titel": "Bread"})
    with pytest.raises(InvalidField, match=r"place: has parts: place\.name, place\.lat"):
        EVERYTHING.from_text({"title": "Bread", "place": "Mill"})


def test_the_api_wants_an_object() -> None:
    with pytest.raises(InvalidField, match="fields: must be a JSON object"):
        EVERYTHING.from_json(["title"])


def test_unknown_fields_of_a_newer_program_pass_the_check_and_are_not_shown() -> None:
    fields: dict[str, Value] = {
        "title": "Bread",
        "colour": [1, {"deep": b"x"}],
        "place": {"name": "a", "z": 1},
    }
    EVERYTHING.check(fields)
    assert EVERYTHING.unknown(fields) == {"colour": [1, {"deep": b"x"}]}
    assert EVERYTHING.to_text(fields) == {"title": "Bread", "place.name": "a"}
    assert EVERYTHING.to_json(fields) == {"title": "Bread", "place": {"name": "a"}}


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidField, match="title: is missing"):
        EVERYTHING.check({"count": 1})
    with pytest.raises(InvalidField, match="title: is missing"):
        EVERYTHING.from_text({})


def test_what_is_said_of_a_kind_is_checked_across_fields() -> None:
    def agree(fields: Mapping[str, Value]) -> None:
        if fields["a"] == fields["b"]:
            raise InvalidField("b", "is the same as a")

    both = kind(Field("a", Flag(), "A"), Field("b", Flag(), "B"), agreements=(agree,))
    both.check({"a": True, "b": False})
    with pytest.raises(InvalidField, match="b: is the same as a"):
        both.check({"a": True, "b": True})


def test_the_title_is_the_field_that_the_kind_names_and_empty_without_it() -> None:
    assert EVERYTHING.title_of({"title": "Bread"}) == "Bread"
    assert EVERYTHING.title_of({"title": 3}) == ""
    assert kind(Field("name", Text(1, 9), "Name"), title_field="name").title_of({"name": "Ann"}) == "Ann"


def test_the_form_has_a_control_for_each_part() -> None:
    inputs = {each.name: each for each in EVERYTHING.inputs()}
    assert tuple(inputs) == EVERYTHING.columns()
    assert (
        inputs["title"].required and inputs["title"].chars_max == 20 and inputs["title"].hint == "A few words"
    )
    assert inputs["terms"].choices == (("give", "To give"), ("lend", "To lend"))
    assert inputs["terms"].default == "give" and inputs["count"].default == "1"
    assert (inputs["count"].least, inputs["count"].most) == (1, 9)
    assert inputs["word"].suggestions == ("one", "two")
    # A part of an optional structure cannot be required by itself.
    assert inputs["place.lat"].label == "Latitude" and not inputs["place.name"].required
    widgets = [inputs[name].widget for name in ("title", "terms", "count", "ready", "until", "langs", "note")]
    assert widgets == ["text", "select", "number", "checkbox", "date", "textarea", "textarea"]


def test_the_json_schema_has_every_field_and_names_the_required_ones() -> None:
    schema = EVERYTHING.json_schema()
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert list(properties) == [each.name for each in EVERYTHING.fields]
    assert schema["required"] == ["title"] and schema["additionalProperties"] is False
    assert properties["title"] == {
        "title": "Title",
        "type": "string",
        "minLength": 3,
        "maxLength": 20,
        "description": "A few words",
    }
    assert properties["terms"]["enum"] == ["give", "lend"]
    assert properties["pair"]["properties"]["b"]["maximum"] == 9
    assert Url(9).json_schema() == {"type": "string", "format": "uri", "maxLength": 9}
    assert Bytes(2).json_schema() == {"type": "string", "pattern": "^[0-9A-Fa-f]{4}$"}


def test_the_table_of_the_documentation_has_a_row_for_each_field() -> None:
    rows = EVERYTHING.as_markdown().splitlines()
    assert len(rows) == 2 + len(EVERYTHING.fields)
    assert rows[2] == "| **`title`** | Title | 3 to 20 characters | schema:name |"
    assert rows[4] == "| `count` | Count \\| number | from 1 to 9 |  |"
    for each in EVERYTHING.fields:
        assert each.type.describe()


def test_messages_quote_values_short_and_without_control_characters() -> None:
    assert shown("a" * 50) == '"' + "a" * 39 + '…"'
    assert shown("a\x1b") == '"a\\x1b"'
    assert shown(b"abc") == "bytes"
    assert held_type({}) == "a map" and json_type(1.5) == "a number"


def test_decimals_are_read_and_written_exactly_or_not_at_all() -> None:
    assert str(decimal("+2.50")) == "2.50"
    assert [decimal(text) for text in ("", ".", "1e3", "1_000", "nan", "\u0663", "1" * 16)] == [None] * 7
    assert write_decimal(-5, 3) == "-0.005" and write_decimal(1_000, 3) == "1" and write_decimal(0, 5) == "0"
