"""What is promised and given: a claim, the keeper's ledger, the receipt, and what people say after.

Only `claim` carries people; its body is sealed to the keeper's town and the claimant's own. A ledger shows
amounts and times, never people: all may read it, for it must be folded alike everywhere (sync/ledger.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from protocol.encoding import Value
from protocol.errors import InvalidField
from protocol.fields import Choice, Flag, Integer, Text
from protocol.ids import ALPHABET, Lane, Op
from protocol.kinds.bounds import (
    CODE_CHARS,
    DAY_S,
    LEDGER_N_MAX,
    LINE_CHARS_MAX,
    REASON_CHARS_MAX,
    REASON_CODE_CHARS_MAX,
    TITLE_CHARS_MAX,
    YEAR_S,
)
from protocol.kinds.common import BY, LANG, OK, ON_BEHALF_OF, TEXT, URGENCY
from protocol.notations import Bytes, Seconds
from protocol.schema import Field, Kind
from protocol.structures import MILLI_MAX, UNITS

_LIFETIME_MAX_S: Final = 5 * YEAR_S + 30 * DAY_S
"""As long as what is claimed may live, and 30 days more."""
_LIFETIME_S: Final = 60 * DAY_S
"""Only what a draft gets that names no end: the board ends all three with their target."""

_DOC = Bytes(16, "the id of a document")
_KEY = Bytes(32, "a public key")
_UNIT = Field("unit", Choice({unit: unit for unit in UNITS}), "Unit")
_MILLI = Field("milli", Integer(0, MILLI_MAX), "How much, in thousandths of the unit")
_START = Field("start", Seconds(), "From")
_END = Field("end", Seconds(), "Until")
_HOLD = Field("hold_until", Seconds(), "Kept until", "What is not fetched by then may be released")


def _code(fields: Mapping[str, Value]) -> None:
    """A receipt code is printed and said: it has the letters of an address."""
    code = fields.get("code")
    if isinstance(code, str) and not set(code) <= set(ALPHABET):
        raise InvalidField("code", f"must be {CODE_CHARS} of {ALPHABET}")


def _amount_or_window(fields: Mapping[str, Value]) -> None:
    """Whoever claims says how much or how long: an amount has a unit, a window two ends."""
    if ("milli" in fields) != ("unit" in fields):
        raise InvalidField("unit", "stands with an amount, and an amount with it")
    if ("start" in fields) != ("end" in fields):
        raise InvalidField("end", "stands with a start, and a start with it")
    if ("milli" in fields) == ("start" in fields):
        raise InvalidField("milli", "either an amount or a window is asked for, one of them")
    start, end = fields.get("start"), fields.get("end")
    if isinstance(start, int) and isinstance(end, int) and end <= start:
        raise InvalidField("end", "must be later than the start")


CLAIM = Kind(
    name="claim",
    label="A request",
    plural="Requests",
    lane=Lane.EVERYDAY,
    op=Op.PUT,
    lifetime_default_s=_LIFETIME_S,
    lifetime_max_s=_LIFETIME_MAX_S,
    standard="vf:Commitment",
    shown=False,
    sealed=True,
    title_field="reason",
    agreements=(_amount_or_window, _code),
    fields=(
        Field("target", _DOC, "What is asked for", required=True),
        Field("ledger", _DOC, "The ledger that answers", required=True),
        Field("title", Text(1, TITLE_CHARS_MAX), "What that was called then"),
        Field("milli", Integer(1, MILLI_MAX), "How much, in thousandths of the unit"),
        _UNIT,
        _START,
        _END,
        Field("reason", Text(1, REASON_CHARS_MAX, lines=True), "Why you ask"),
        URGENCY,
        Field("contact", Text(1, LINE_CHARS_MAX), "How to reach you"),
        Field("code", Text(CODE_CHARS, CODE_CHARS), "Receipt code"),
        Field("share", Flag(), "A share that our town may give away"),
        BY,
        ON_BEHALF_OF,
    ),
)

LEDGER = Kind(
    name="ledger",
    label="A ledger",
    plural="Ledgers",
    lane=Lane.EVERYDAY,
    op=Op.ENTRY,
    lifetime_default_s=_LIFETIME_S,
    lifetime_max_s=_LIFETIME_MAX_S,
    standard="vf:EconomicEvent",
    shown=False,
    title_field="act",
    fields=(
        Field("n", Integer(1, LEDGER_N_MAX), "Number of the entry", required=True),
        Field(
            "act",
            Choice(
                {
                    "capacity": "There is so much",
                    "accept": "Promised",
                    "wait": "On the waiting list",
                    "decline": "Declined",
                    "release": "Free again",
                    "renew": "Renewed",
                    "handover": "Handed over",
                    "checkpoint": "Carried over",
                    "keeper": "Another keeper",
                    "moved": "Goes on elsewhere",
                }
            ),
            "What is done",
            required=True,
        ),
        Field("claim", _DOC, "The claim that is answered"),
        _MILLI,
        _UNIT,
        Field("mode", Choice({"quantity": "Amounts", "window": "Windows of time"}), "What is counted"),
        Field("buffer_s", Integer(0, YEAR_S), "Seconds between two windows"),
        _START,
        _END,
        _HOLD,
        Field("share", _KEY, "Town that may give it away"),
        Field("parent", _DOC, "Ledger that this one has its share of"),
        Field("parent_claim", _DOC, "Claim by which it has it"),
        Field("child", Bytes(32, "the id of a record"), "Entry of the child's ledger"),
        Field("device", _KEY, "Device that keeps from here on"),
        Field("moved_to", _DOC, "Ledger that goes on"),
        Field("seed", Bytes(64, "the keeper's signature"), "What a draw rests on"),
        Field("reason", Text(1, REASON_CODE_CHARS_MAX), "Reason", "A code, never words about people"),
    ),
)

RECEIPT = Kind(
    name="receipt",
    label="A receipt",
    plural="Receipts",
    lane=Lane.EVERYDAY,
    op=Op.PUT,
    lifetime_default_s=_LIFETIME_S,
    lifetime_max_s=_LIFETIME_MAX_S,
    standard="vf:EconomicEvent",
    shown=False,
    title_field="ok",
    fields=(
        Field("ledger", _DOC, "Ledger", required=True),
        Field("claim", _DOC, "Claim", required=True),
        _MILLI,
        OK,
    ),
)

FEEDBACK = Kind(
    name="feedback",
    label="How an exchange went",
    plural="Feedback",
    lane=Lane.EVERYDAY,
    op=Op.PUT,
    lifetime_default_s=YEAR_S,
    lifetime_max_s=YEAR_S,
    standard="schema:Review",
    title_field="reason",
    fields=(
        Field(
            "about",
            _DOC,
            "What it is about",
            "The number of an offer, a need, a thing to borrow or an event",
            required=True,
            standard="schema:itemReviewed",
        ),
        Field(
            "side",
            Choice({"receiver": "I received", "giver": "I gave"}),
            "Which side were you on?",
            standard="vf:provider, vf:receiver",
        ),
        OK,
        Field("reason", Text(1, LINE_CHARS_MAX), "In a few words"),
        TEXT,
        LANG,
        BY,
        ON_BEHALF_OF,
    ),
)
