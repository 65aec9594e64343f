"""What makes a federation: its charter and steps, what stewards and members do, who consents to join."""

from __future__ import annotations

from protocol.fields import Integer, Text
from protocol.ids import Lane, Op
from protocol.kinds.bounds import (
    QUOTA_DOCUMENTS_MAX,
    TITLE_CHARS_MAX,
    YEAR_S,
)
from protocol.kinds.common import NAME
from protocol.limits import (
    DECIDED_MAX,
    MEMBERS_MAX,
    QUOTA_EVERYDAY_DOCUMENTS,
    QUOTA_LIBRARY_DOCUMENTS,
    QUOTA_URGENT_DOCUMENTS,
    ROUNDS_MAX,
    SPLIT_MAX,
    STEWARDS_MAX,
)
from protocol.notations import Bytes
from protocol.schema import Field, Kind
from protocol.structures import ListOf, Struct

_TOWN = Bytes(32, "the public key of a town")
_RECORD = Bytes(32, "the id of a record")
_QUOTA = Integer(1, QUOTA_DOCUMENTS_MAX)

_STATE = (
    Field("name", Text(1, TITLE_CHARS_MAX), "Name of the federation", required=True, standard="schema:name"),
    Field(
        "stewards",
        ListOf(_TOWN, STEWARDS_MAX),
        "Stewards",
        "Three or more let the others go on when one is lost",
        required=True,
    ),
    Field("members", ListOf(_TOWN, MEMBERS_MAX), "Members", required=True, standard="schema:member"),
    Field(
        "rules",
        Struct(
            (
                Field(
                    "vouches",
                    Integer(1, MEMBERS_MAX),
                    "Vouches that let a town in",
                    "Else only stewards admit towns",
                ),
            )
        ),
        "Rules",
    ),
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
)
"""The whole of what may be decided: a charter says it first, and every step says all of it again."""

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
    fields=_STATE,
)

STEP = Kind(
    name="federation.step",
    label="A step of a federation",
    plural="Steps",
    lane=Lane.URGENT,
    op=Op.ENTRY,
    lifetime_default_s=100 * YEAR_S,
    lifetime_max_s=100 * YEAR_S,
    shown=False,
    title_field="name",
    fields=(
        Field("parent", _RECORD, "The step before", required=True),
        Field("round", Integer(1, ROUNDS_MAX), "Round", "1, unless the vote was split", required=True),
        Field("decides", ListOf(_RECORD, DECIDED_MAX), "Acts that it decides"),
        Field("split", ListOf(_RECORD, SPLIT_MAX), "Signatures that show the split of the round before"),
        *_STATE,
    ),
)

SIGN = Kind(
    name="federation.sign",
    label="A steward's signature",
    plural="Signatures",
    lane=Lane.URGENT,
    op=Op.ENTRY,
    lifetime_default_s=100 * YEAR_S,
    lifetime_max_s=100 * YEAR_S,
    shown=False,
    title_field="step",
    fields=(Field("step", _RECORD, "The step that is signed", required=True),),
)


def _act(name: str, label: str, plural: str) -> Kind:
    """Declare an act of a device about one town; it cites the step that it rests on."""
    return Kind(
        name=name,
        label=label,
        plural=plural,
        lane=Lane.URGENT,
        op=Op.PUT,
        lifetime_default_s=100 * YEAR_S,
        lifetime_max_s=100 * YEAR_S,
        shown=False,
        title_field="name",
        fields=(Field("town", _TOWN, "Key of the town", required=True), NAME),
    )


ADMIT = _act("federation.admit", "An admission", "Admissions")
SUSPEND = _act("federation.suspend", "A suspension", "Suspensions")
VOUCH = _act("federation.vouch", "A vouch", "Vouches")

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
