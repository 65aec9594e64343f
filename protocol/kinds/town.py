"""What town keys say: who the town is, which devices may speak for it, and what of that is taken back."""

from __future__ import annotations

from protocol.fields import Text
from protocol.ids import Lane, Op
from protocol.kinds.bounds import (
    KEPT_IDS_MAX,
    LANGUAGES_MAX,
    LINE_CHARS_MAX,
    PROFILE_LINES_MAX,
    TITLE_CHARS_MAX,
    URL_CHARS_MAX,
    URLS_MAX,
    YEAR_S,
)
from protocol.kinds.common import NAME, PLACE, TEXT
from protocol.limits import SUCCESSORS_MAX
from protocol.notations import Bytes, Lang, Url
from protocol.schema import Field, Kind
from protocol.structures import ListOf

_LINES = ListOf(Text(1, LINE_CHARS_MAX), PROFILE_LINES_MAX)

PROFILE = Kind(
    name="town.profile",
    label="A town",
    plural="Towns",
    lane=Lane.URGENT,
    op=Op.PUT,
    lifetime_default_s=10 * YEAR_S,
    lifetime_max_s=10 * YEAR_S,
    audience_default="town",
    standard="schema:City",
    shown=False,
    title_field="name",
    fields=(
        Field("name", Text(1, TITLE_CHARS_MAX), "Name of the town", required=True, standard="schema:name"),
        PLACE,
        TEXT,
        Field(
            "languages",
            ListOf(Lang(), LANGUAGES_MAX),
            "Languages",
            "One on each line: fr, cy, en",
            standard="schema:knowsLanguage",
        ),
        Field("known_for", _LINES, "Known for", "One on each line", standard="schema:knowsAbout"),
        Field("looking_for", _LINES, "Looking for", "One on each line", standard="schema:seeks"),
        Field("open_to", _LINES, "Open to", "One on each line: visits, swaps, workshops"),
        Field(
            "helplines",
            _LINES,
            "Helplines",
            "One on each line: name and number",
            standard="schema:contactPoint",
        ),
        Field("urls", ListOf(Url(URL_CHARS_MAX), URLS_MAX), "Addresses in the web", standard="schema:url"),
        Field("sealing_key", Bytes(32, "a public X25519 key"), "Key for what only this town may read"),
    ),
)

DEVICE = Kind(
    name="town.device",
    label="A device of a town",
    plural="Devices",
    lane=Lane.URGENT,
    op=Op.PUT,
    lifetime_default_s=10 * YEAR_S,
    lifetime_max_s=10 * YEAR_S,
    audience_default="town",
    shown=False,
    title_field="name",
    fields=(
        Field("device", Bytes(32, "the public key of a device"), "Key of the device", required=True),
        NAME,
    ),
)

REVOKE = Kind(
    name="town.revoke",
    label="A device taken back",
    plural="Devices taken back",
    lane=Lane.URGENT,
    op=Op.ENTRY,
    lifetime_default_s=100 * YEAR_S,
    lifetime_max_s=100 * YEAR_S,
    audience_default="town",
    shown=False,
    title_field="name",
    fields=(
        Field("device", Bytes(32, "the public key of a device"), "Key of the device", required=True),
        NAME,
    ),
)

KEEP = Kind(
    name="town.keep",
    label="A list of what stays valid",
    plural="Lists of what stays valid",
    lane=Lane.URGENT,
    op=Op.ENTRY,
    lifetime_default_s=100 * YEAR_S,
    lifetime_max_s=100 * YEAR_S,
    audience_default="town",
    shown=False,
    title_field="name",
    fields=(
        Field(
            "records",
            ListOf(Bytes(32, "the id of a record"), KEPT_IDS_MAX),
            "Records that stay valid",
            required=True,
        ),
        NAME,
    ),
)

ROTATE = Kind(
    name="town.rotate",
    label="The next town key takes over",
    plural="Town keys that took over",
    lane=Lane.URGENT,
    op=Op.ENTRY,
    lifetime_default_s=100 * YEAR_S,
    lifetime_max_s=100 * YEAR_S,
    audience_default="town",
    shown=False,
    title_field="name",
    fields=(
        Field(
            "succession",
            ListOf(Bytes(32, "a point of the curve"), 2 * SUCCESSORS_MAX - 1),
            "Proof that this key follows from the town's id",
            required=True,
        ),
        NAME,
    ),
)
