"""What makes a federation: its charter, who is admitted, who consents to join."""

from __future__ import annotations

from protocol.fields import Integer, Text
from protocol.ids import Lane, Op
from protocol.kinds.bounds import (
    MEMBERS_MAX,
    QUOTA_DOCUMENTS_MAX,
    STEWARDS_MAX,
    TITLE_CHARS_MAX,
    YEAR_S,
)
from protocol.kinds.common import NAME
from protocol.limits import QUOTA_EVERYDAY_DOCUMENTS, QUOTA_LIBRARY_DOCUMENTS, QUOTA_URGENT_DOCUMENTS
from protocol.notations import Bytes
from protocol.schema import Field, Kind
from protocol.structures import ListOf, Struct

_TOWN = Bytes(32, "the public key of a town")
_QUOTA = Integer(1, QUOTA_DOCUMENTS_MAX)

CHARTER = Kind(
    name="charter",
    label="A charter",
    plural="Charters",
    lane=Lane.URGENT,
    op=Op.ENTRY,
    lifetime_default_s=100 * YEAR_S,
    lifetime_max_s=100 * YEAR_S,
    audience_default="town",
    shown=False,
    title_field="name",
    fields=(
        Field(
            "name", Text(1, TITLE_CHARS_MAX), "Name of the federation", required=True, standard="schema:name"
        ),
        Field(
            "stewards",
            ListOf(_TOWN, STEWARDS_MAX),
            "Stewards",
            "Three or more let the others go on when one is lost",
            required=True,
        ),
        Field("members", ListOf(_TOWN, MEMBERS_MAX), "Members", required=True, standard="schema:member"),
        Field(
            "quotas",
            Struct(
                (
                    Field("urgent", _QUOTA, "Urgent documents of a town", f"Else {QUOTA_URGENT_DOCUMENTS:,}"),
                    Field(
                        "everyday",
                        _QUOTA,
                        "Everyday documents of a town",
                        f"Else {QUOTA_EVERYDAY_DOCUMENTS:,}",
                    ),
                    Field("library", _QUOTA, "Guides of a town", f"Else {QUOTA_LIBRARY_DOCUMENTS:,}"),
                )
            ),
            "Quotas",
        ),
    ),
)

ADMIT = Kind(
    name="federation.admit",
    label="An admission",
    plural="Admissions",
    lane=Lane.URGENT,
    op=Op.PUT,
    lifetime_default_s=100 * YEAR_S,
    lifetime_max_s=100 * YEAR_S,
    shown=False,
    title_field="name",
    fields=(Field("town", _TOWN, "Key of the town", required=True), NAME),
)

JOIN = Kind(
    name="federation.join",
    label="A consent to join",
    plural="Consents",
    lane=Lane.URGENT,
    op=Op.PUT,
    lifetime_default_s=100 * YEAR_S,
    lifetime_max_s=100 * YEAR_S,
    shown=False,
    title_field="name",
    fields=(NAME,),
)
