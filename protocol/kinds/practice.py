"""A guide: how something is done well. Every revision stands; its parents are what the record cites."""

from __future__ import annotations

from protocol.fields import Choice, Integer, Text
from protocol.ids import Lane, Op
from protocol.kinds.bounds import (
    GUIDE_MINUTES_MAX,
    LINE_CHARS_MAX,
    PEOPLE_MAX,
    SUMMARY_CHARS_MAX,
    SUPPLIES_MAX,
    TEXT_CHARS_MAX,
    TOOLS_MAX,
    WORD_CHARS_MAX,
    YEAR_S,
)
from protocol.kinds.common import BY, LANG, ON_BEHALF_OF, TAGS, TITLE, category, line
from protocol.kinds.steps import Steps
from protocol.schema import Field, Kind
from protocol.structures import ListOf

PRACTICE = Kind(
    name="practice",
    label="A guide",
    plural="Guides",
    lane=Lane.LIBRARY,
    op=Op.ENTRY,
    lifetime_default_s=5 * YEAR_S,
    lifetime_max_s=10 * YEAR_S,
    standard="schema:HowTo",
    fields=(
        TITLE,
        Field(
            "summary",
            Text(1, SUMMARY_CHARS_MAX, lines=True),
            "Summary",
            "What one gets, and for whom it is",
            standard="schema:abstract",
        ),
        Field(
            "context",
            Text(1, TEXT_CHARS_MAX, lines=True),
            "Where and when it works",
            "What it rests on: climate, season, people, what was tried",
            standard="schema:description",
        ),
        category(
            "food", "water", "energy", "building", "garden", "repair", "health", "organising", "learning"
        ),
        Field(
            "steps",
            Steps(),
            "Steps",
            "One step a line. Put (20 min) or (8 h) at its end for the time. "
            "A line that begins with ! is a warning.",
            required=True,
            standard="schema:step",
        ),
        Field(
            "tools",
            ListOf(Text(1, LINE_CHARS_MAX), TOOLS_MAX),
            "Tools",
            "One on each line",
            standard="schema:tool",
        ),
        Field(
            "supplies",
            ListOf(Text(1, LINE_CHARS_MAX), SUPPLIES_MAX),
            "Supplies",
            "One on each line, with its amount",
            standard="schema:supply",
        ),
        Field("people", Integer(1, PEOPLE_MAX), "For or by how many people?", standard="schema:yield"),
        Field("minutes", Integer(1, GUIDE_MINUTES_MAX), "Minutes in all", standard="schema:totalTime"),
        line("cost", "Cost", "For example: about 3 EUR a jar", "schema:estimatedCost"),
        Field(
            "safety",
            Text(1, TEXT_CHARS_MAX, lines=True),
            "Safety",
            "What may go wrong, and what to do then",
            standard="schema:safetyConsideration",
        ),
        Field(
            "licence",
            Text(2, WORD_CHARS_MAX, suggestions=("CC-BY-SA-4.0", "CC-BY-4.0", "CC0-1.0")),
            "Licence",
            "Its SPDX name",
            default="CC-BY-SA-4.0",
            standard="schema:license, SPDX",
        ),
        Field(
            "relation",
            Choice(
                {
                    "revision": "A better version of it",
                    "adaptation": "Adapted to another place",
                    "translation": "In another language",
                    "merge": "Several versions brought together",
                }
            ),
            "What this is to the version before",
            standard="schema:isBasedOn",
        ),
        TAGS,
        LANG,
        BY,
        ON_BEHALF_OF,
    ),
)
