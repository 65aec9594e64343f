"""Every bound of the kinds that we know, and why; what travels as bytes is bounded in `limits.py`."""

from __future__ import annotations

from typing import Final

DAY_S: Final = 86_400
"""A day; lifetimes are counted in days of this length."""
YEAR_S: Final = 365 * DAY_S
"""A year of a lifetime."""

TITLE_CHARS_MIN: Final = 3
"""So that others can find it."""
TITLE_CHARS_MAX: Final = 120
"""One line of a card, two on a phone."""
TEXT_CHARS_MAX: Final = 4_000
"""A printed page: more is a guide."""
LINE_CHARS_MAX: Final = 160
"""A line of a list or a short remark; the length of a text message."""
WORD_CHARS_MAX: Final = 40
"""A tag, a category, a handle."""
TAGS_MAX: Final = 12
"""Beyond that a tag no longer tells anything."""
PLACE_NOTE_CHARS_MAX: Final = 300
"""How to find a place."""
PLACE_STEP: Final = 1_000
"""In 1e-5 degrees: the coordinates of a person are rounded to 1e-2 degrees, about a kilometre."""
PEOPLE_MAX: Final = 1_000_000
"""People whom something is for."""
SKILLS_WANTED_MAX: Final = 20
"""Skills that one need may name."""
LANGUAGES_MAX: Final = 20
"""Languages of a person or a town."""
KEPT_IDS_MAX: Final = 900
"""Ids in one keep list: as many as a body holds, and a little room."""
TRAVEL_KM_MAX: Final = 500
"""How far somebody comes to help."""
URL_CHARS_MAX: Final = 256
"""As for the addresses of a device."""
URLS_MAX: Final = 4
"""As for the addresses of a device."""

NUMBER_CHARS_MAX: Final = 16
"""The number that is painted on a tool."""
LOAN_DAYS_MAX: Final = 366
"""Longer than a year is no loan."""
RENEWALS_MAX: Final = 99
"""How often a loan may be renewed."""
BUFFER_DAYS_MAX: Final = 30
"""Days between two loans, for cleaning and the way back."""
REPEATS_MAX: Final = 104
"""A weekly evening for two years."""
SEATS_MAX: Final = 100_000
"""More people than any hall of a town holds."""
REASON_CODE_CHARS_MAX: Final = 32
"""A stable code, of a-z and _: why a keeper wrote an entry."""
REASON_CHARS_MAX: Final = 1_000
"""Why somebody asks: more is a letter."""
CODE_CHARS: Final = 8
"""A receipt code: 40 bits, said over a counter and never guessed there."""
LEDGER_N_MAX: Final = 10**9
"""Entries of a ledger with all that were opened after it."""

STEPS_MAX: Final = 60
"""Steps of a guide; longer ones are two guides."""
STEP_CHARS_MAX: Final = 1_000
"""One step; longer ones are two."""
WARNING_CHARS_MAX: Final = 300
"""What must not go wrong in a step."""
STEP_MINUTES_MAX: Final = 100_000
"""Cheese ripens for two months: about 69 days."""
GUIDE_MINUTES_MAX: Final = 1_000_000
"""Nearly two years: compost, coppice, cider."""
SUMMARY_CHARS_MAX: Final = 500
"""What a card shows of a guide."""
TOOLS_MAX: Final = 40
"""Tools of a guide."""
SUPPLIES_MAX: Final = 60
"""Supplies of a guide."""

QUOTA_DOCUMENTS_MAX: Final = 1_000_000
"""The most that a charter or a step may allow one town in one lane."""
PROFILE_LINES_MAX: Final = 20
"""Lines of a list in a town's profile."""
