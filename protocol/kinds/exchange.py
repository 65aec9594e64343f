"""What people give, need and can: offer, need, skill."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from protocol.encoding import Value
from protocol.errors import InvalidField
from protocol.fields import Choice, Flag, Integer, Text
from protocol.ids import Lane, Op
from protocol.kinds.bounds import (
    DAY_S,
    LANGUAGES_MAX,
    PEOPLE_MAX,
    SKILLS_WANTED_MAX,
    TITLE_CHARS_MAX,
    TITLE_CHARS_MIN,
    TRAVEL_KM_MAX,
    URL_CHARS_MAX,
    YEAR_S,
)
from protocol.kinds.common import (
    BY,
    LANG,
    ON_BEHALF_OF,
    TAGS,
    TEXT,
    TITLE,
    UNTIL,
    URGENCY,
    WHERE,
    category,
    line,
)
from protocol.notations import Bytes, Lang, Seconds, Url
from protocol.schema import Field, Kind
from protocol.structures import ListOf, Measure

_CATEGORY = category(
    "food", "tools", "shelter", "clothing", "water", "household", "garden", "building", "energy", "transport",
    "health", "children", "learning", "company",
)  # fmt: skip


def _amounts_agree(fields: Mapping[str, Value]) -> None:
    """A claim is counted in the unit of the offer, and its bounds leave room between them."""
    amounts = [(name, fields[name]) for name in ("quantity", "claim_max", "claim_min") if name in fields]
    for (name, larger), (other, smaller) in pairwise(amounts):
        assert isinstance(larger, dict) and isinstance(smaller, dict)
        if larger["unit"] != smaller["unit"]:
            raise InvalidField(other, f"is in {smaller['unit']!s}, but {name} is in {larger['unit']!s}")
        if _milli(smaller) > _milli(larger):
            raise InvalidField(other, f"is more than {name}")


def _milli(amount: Mapping[str, Value]) -> int:
    milli = amount["milli"]
    assert isinstance(milli, int)
    return milli


def _begins_before_it_ends(fields: Mapping[str, Value]) -> None:
    begins, ends = fields.get("available_from"), fields.get("until")
    if isinstance(begins, int) and isinstance(ends, int) and ends < begins:
        raise InvalidField("until", "lies before available_from")


OFFER = Kind(
    name="offer",
    label="Something to give or lend",
    plural="Offers",
    lane=Lane.EVERYDAY,
    op=Op.PUT,
    lifetime_default_s=30 * DAY_S,
    lifetime_max_s=90 * DAY_S,
    standard="schema:Offer, vf:Intent",
    agreements=(_amounts_agree, _begins_before_it_ends),
    fields=(
        TITLE,
        TEXT,
        _CATEGORY,
        Field(
            "item_type",
            Choice(
                {
                    "good": "A thing",
                    "service": "A service",
                    "space": "Room",
                    "transport": "A ride or a load",
                    "energy": "Energy",
                }
            ),
            "What is it?",
            standard="schema:itemOffered",
        ),
        Field(
            "terms",
            Choice({"give": "To give away", "lend": "To lend", "swap": "To swap", "at_cost": "At cost"}),
            "On what terms?",
            default="give",
            standard="vf:action",
        ),
        Field(
            "quantity",
            Measure(),
            "How much?",
            "For example 24, 2.5 kg or 3 boxes",
            standard="vf:resourceQuantity",
        ),
        Field("claim_min", Measure(), "At least, for one household", standard="schema:eligibleQuantity"),
        Field("claim_max", Measure(), "At most, for one household", standard="schema:eligibleQuantity"),
        Field("best_before", Seconds(day_end=True), "Best before"),
        Field("available_from", Seconds(), "From when?", standard="schema:availabilityStarts"),
        UNTIL,
        WHERE,
        line("delivery", "Can it be brought?", "For example: within 5 km", "schema:availableDeliveryMethod"),
        line("condition", "Condition", "For example: used, works well", "schema:itemCondition"),
        line("allergens", "Allergens", "Of food: nuts, milk, gluten"),
        Field(
            "policy",
            Choice({"first_come": "Who comes first", "need_first": "Who needs it most", "draw": "By lot"}),
            "If several ask",
        ),
        Field("accept", Choice({"manual": "By hand", "auto": "At once"}), "How requests are accepted"),
        TAGS,
        LANG,
        BY,
        ON_BEHALF_OF,
    ),
)

NEED = Kind(
    name="need",
    label="Something we need",
    plural="Needs",
    lane=Lane.EVERYDAY,
    op=Op.PUT,
    lifetime_default_s=30 * DAY_S,
    lifetime_max_s=180 * DAY_S,
    audience_default="town",
    standard="schema:Demand, vf:Intent",
    fields=(
        TITLE,
        TEXT,
        _CATEGORY,
        Field(
            "quantity",
            Measure(),
            "How much?",
            "For example 24, 2.5 kg or 3 boxes",
            standard="vf:resourceQuantity",
        ),
        Field("needed_by", Seconds(day_end=True), "Needed by", standard="vf:due"),
        URGENCY,
        Field("people", Integer(1, PEOPLE_MAX), "For how many people?"),
        Field(
            "skills",
            ListOf(Text(TITLE_CHARS_MIN, TITLE_CHARS_MAX), SKILLS_WANTED_MAX),
            "Skills wanted",
            "One on each line",
            standard="schema:skills",
        ),
        Field(
            "contact",
            Choice({"via_node": "Through this page", "by_coordinator": "Through a coordinator"}),
            "How to answer",
        ),
        Field("welfare_check", Flag(), "Please look whether somebody is safe"),
        Field("duplicate_of", Bytes(16, "the id of a document"), "The same as"),
        line("in_hand_by", "In hand by", "A coordinator's note"),
        UNTIL,
        WHERE,
        TAGS,
        LANG,
        BY,
        ON_BEHALF_OF,
    ),
)

SKILL = Kind(
    name="skill",
    label="A skill",
    plural="Skills",
    lane=Lane.EVERYDAY,
    op=Op.PUT,
    lifetime_default_s=YEAR_S,
    lifetime_max_s=2 * YEAR_S,
    standard="schema:DefinedTerm, ESCO skill",
    title_field="name",
    fields=(
        Field(
            "name",
            Text(TITLE_CHARS_MIN, TITLE_CHARS_MAX),
            "What can you do?",
            "For example: repair bicycles",
            required=True,
            standard="schema:name",
        ),
        TEXT,
        Field(
            "code", Url(URL_CHARS_MAX), "Code", "The address of the skill in ESCO", standard="schema:termCode"
        ),
        Field(
            "level",
            Choice(
                {
                    "learning": "I am learning it",
                    "can_do": "I can do it",
                    "can_teach": "I can teach it",
                    "certified": "I have a certificate",
                }
            ),
            "How well?",
            default="can_do",
            standard="schema:educationalLevel",
        ),
        Field(
            "mode",
            Choice({"give": "As a gift", "paid": "For pay", "teach": "I teach it"}),
            "How do you share it?",
            default="give",
        ),
        Field("travel_km", Integer(0, TRAVEL_KM_MAX), "How far do you come? (km)"),
        line("availability", "When?", "For example: Saturdays, after 18:00", "schema:hoursAvailable"),
        Field(
            "languages",
            ListOf(Lang(), LANGUAGES_MAX),
            "Languages you speak",
            "One on each line: fr, cy, en",
            standard="schema:knowsLanguage",
        ),
        Field("crisis", Flag(), "You may call me in an emergency"),
        UNTIL,
        WHERE,
        TAGS,
        LANG,
        BY,
        ON_BEHALF_OF,
    ),
)
