"""A thing to borrow: it comes back, so it is lent in windows of time and not in amounts."""

from __future__ import annotations

from protocol.fields import Choice, Integer, Text
from protocol.ids import Lane, Op
from protocol.kinds.bounds import (
    BUFFER_DAYS_MAX,
    LINE_CHARS_MAX,
    LOAN_DAYS_MAX,
    NUMBER_CHARS_MAX,
    RENEWALS_MAX,
    TOOLS_MAX,
    WORD_CHARS_MAX,
    YEAR_S,
)
from protocol.kinds.common import BY, LANG, ON_BEHALF_OF, TAGS, TEXT, TITLE, UNTIL, WHERE, category, line
from protocol.schema import Field, Kind
from protocol.structures import ListOf

ITEM = Kind(
    name="item",
    label="A thing to borrow",
    plural="To borrow",
    lane=Lane.EVERYDAY,
    op=Op.PUT,
    lifetime_default_s=YEAR_S,
    lifetime_max_s=5 * YEAR_S,
    standard="schema:Product, vf:EconomicResource",
    fields=(
        TITLE,
        TEXT,
        category(
            "tools", "garden", "kitchen", "building", "transport", "camping", "games", "books", "health"
        ),
        Field(
            "number",
            Text(1, NUMBER_CHARS_MAX),
            "Its number",
            "As it is painted on it",
            standard="schema:sku",
        ),
        Field("brand", Text(1, WORD_CHARS_MAX), "Make", standard="schema:brand"),
        Field(
            "accessories",
            ListOf(Text(1, LINE_CHARS_MAX), TOOLS_MAX),
            "What comes with it",
            "One on each line",
            standard="schema:isAccessoryOrSparePartFor",
        ),
        line("condition", "Condition", "For example: used, works well", "schema:itemCondition"),
        Field(
            "status",
            Choice({"available": "Can be borrowed", "repair": "Being repaired", "lost": "Lost"}),
            "How is it?",
            default="available",
            standard="schema:availability",
        ),
        Field("loan_days", Integer(1, LOAN_DAYS_MAX), "For how many days at most?"),
        Field("renewals", Integer(0, RENEWALS_MAX), "How often may a loan be renewed?"),
        Field(
            "approval",
            Choice({"manual": "By hand", "auto": "At once"}),
            "How requests are accepted",
            default="manual",
        ),
        Field("buffer_days", Integer(0, BUFFER_DAYS_MAX), "Days between two loans"),
        UNTIL,
        WHERE,
        TAGS,
        LANG,
        BY,
        ON_BEHALF_OF,
    ),
)
