"""The fields that many kinds share, declared once."""

from __future__ import annotations

from protocol.fields import Choice, Flag, Text
from protocol.kinds.bounds import (
    LINE_CHARS_MAX,
    PLACE_NOTE_CHARS_MAX,
    PLACE_STEP,
    TAGS_MAX,
    TEXT_CHARS_MAX,
    TITLE_CHARS_MAX,
    TITLE_CHARS_MIN,
    WORD_CHARS_MAX,
)
from protocol.notations import Lang, Seconds
from protocol.structures import Field, Tags, where

TITLE = Field(
    "title",
    Text(TITLE_CHARS_MIN, TITLE_CHARS_MAX),
    "In a few words",
    "What it is, so that others find it",
    required=True,
    standard="schema:name",
)
TEXT = Field(
    "text",
    Text(1, TEXT_CHARS_MAX, lines=True),
    "More about it",
    "What others should know before they come",
    standard="schema:description",
)
_TAGS = Tags(TAGS_MAX, Text(1, WORD_CHARS_MAX))
TAGS = Field("tags", _TAGS, "Tags", "Words parted by commas", standard="schema:keywords")
UNTIL = Field(
    "until", Seconds(day_end=True), "Until when?", "That day included", standard="schema:validThrough"
)
WHERE = Field(
    "where",
    where(name_chars_max=TITLE_CHARS_MAX, note_chars_max=PLACE_NOTE_CHARS_MAX, step=PLACE_STEP),
    "Where?",
    "Latitude and longitude are rounded to about a kilometre",
    standard="schema:location",
)
PLACE = Field(
    "where",
    where(name_chars_max=TITLE_CHARS_MAX, note_chars_max=PLACE_NOTE_CHARS_MAX, step=1),
    "Where?",
    "The exact place",
    standard="schema:location",
)
LANG = Field("lang", Lang(), "Language", "Of this text: fr, cy, en", standard="schema:inLanguage")
BY = Field(
    "by", Text(1, WORD_CHARS_MAX), "Posted by", "A name that this town knows you by", standard="vf:provider"
)
ON_BEHALF_OF = Field("on_behalf_of", Flag(), "Typed in for somebody else", "By a helper")
URGENCY = Field(
    "urgency",
    Choice({"normal": "When it suits", "soon": "Soon", "urgent": "Urgent", "life": "A life is at stake"}),
    "How urgent is it?",
    default="normal",
)
OK = Field("ok", Choice({"yes": "Yes", "partly": "Partly", "no": "No"}), "Did it go well?", required=True)
NAME = Field("name", Text(1, TITLE_CHARS_MAX), "Name", standard="schema:name")


def category(*suggestions: str) -> Field:
    """Return the field for a category: free text, with the usual ones suggested.

    A closed list would hide what a newer program or another country files under a word of its own.
    """
    words = Text(2, WORD_CHARS_MAX, suggestions=suggestions)
    return Field("category", words, "Category", standard="schema:category")


def line(name: str, label: str, hint: str = "", standard: str = "") -> Field:
    """Return an optional field for one line of text."""
    return Field(name, Text(1, LINE_CHARS_MAX), label, hint, standard=standard)
