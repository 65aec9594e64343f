"""Real things to share, for the demo, the benchmarks and the tests; and the towns that `init` knows.

The data lie in `data/` with their origins (`data/README.md`): a tool library's catalogue becomes things
to borrow, the items of a relief catalogue become surplus and needs, ESCO skills become skills, food guides
become practices. All towns get a different part, the same one every time. What the data do not say (how many
there are, who can teach) is drawn from a hash of the item.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import StringIO
from typing import Final

from node.demo.guides import practice
from protocol.encoding import Value
from protocol.kinds import KINDS
from protocol.kinds.bounds import TITLE_CHARS_MAX, WORD_CHARS_MAX
from protocol.text import write_decimal

RECORDS_OF_A_TOWN: Final = 300
"""Documents that a town begins the demo with: what a small town has on its board after a good year."""
RELIEF_SHARE: Final = 0.4
"""The least share of surplus and needs, half and half."""

_CATEGORIES: Final = {
    **dict.fromkeys(("AFOD", "FCAN", "FCER", "FDAI", "FNUT", "FOIL", "FPUL"), "food"),
    **dict.fromkeys(("AGAM",), "children"),
    **dict.fromkeys(("HCLS", "APRO"), "clothing"),
    **dict.fromkeys(("EBUI", "EHDW"), "building"),
    **dict.fromkeys(("ETOO", "EMAC"), "tools"),
    **dict.fromkeys(("EELE", "EGEN", "HHEA"), "energy"),
    **dict.fromkeys(("HCON", "HCOO", "HFUR", "HHYG", "HMAC", "KREL"), "household"),
    **dict.fromkeys(("ASTA",), "office"),
    **dict.fromkeys(("HSHE",), "shelter"),
    **dict.fromkeys(("KSAN",), "health"),
    **dict.fromkeys(("WWAT", "WWAK", "WNEH", "WPUH", "WMEA"), "water"),
}
"""The families of the relief catalogue that a town knows what to do with; the others come last."""
_ACRONYMS: Final = frozenset(
    (
        "AC", "DC", "PVC", "PE", "PP", "PU", "PET", "ABS", "LED", "USB", "HF", "VHF", "UHF", "GPS",
        "GSM", "LAN", "ICRC", "IFRC", "WHO", "MSF", "UNICEF", "HIV", "BNC", "RJ", "HP", "TV", "CD",
        "DVD", "FM", "AM", "UV", "LPG", "SIM", "PC", "HSS", "EU", "UK", "US", "II", "III", "IV",
        "VI", "CPR", "SDS", "DIN", "VA",
    )
)  # fmt: skip
"""Capitals that stay when the rest of a title is put into small letters."""
_CAPITALS: Final = re.compile(r"\b[^\W\d_]{2,}\b")
_BARE_COMMA: Final = re.compile(r",(?=[^\W\d])")
_LEAD: Final = re.compile(r"\(([^)]*)\),? *(.+)")
_LEVELS: Final = ("can_do", "can_do", "can_teach", "learning", "certified")


@dataclass(frozen=True, slots=True)
class Entry:
    """One document to post: its kind, and fields that pass the kind's check."""

    kind: str
    fields: dict[str, Value]


@dataclass(frozen=True, slots=True)
class TownPlace:
    """A town of the list: coordinates in 1e-5 degrees, population 0 where it is not known."""

    name: str
    country: str
    lat: int
    lon: int
    population: int


def corpus(
    town_index: int,
    *,
    town_count: int = 3,
    size: int | None = RECORDS_OF_A_TOWN,
    place: TownPlace | None = None,
) -> Iterator[Entry]:
    """Yield what one of `town_count` towns has to post, kinds well mixed.

    Args:
        town_index: Which town, from 0.
        town_count: Among how many the data are shared out; no two get the same item.
        size: How many documents at most, every kind in its share; None for everything (4,054 of 12,161).
        place: Where the town lies, to be written into offers and needs, rounded as for a person's.
    """
    if not 0 <= town_index < town_count:
        raise ValueError(f"there is no town {town_index} among {town_count}")
    mine = slice(town_index, None, town_count)
    where = _where(place)
    kinds = [
        [_lend(row, where) for row in _rows("tools.csv")[mine]],
        [_skill(row) for row in _rows("skills.csv")[mine]],
        [_entry("practice", **practice(text)) for text in _guides()[mine]],
    ]
    others = list(_mix(kinds))
    items = _relief_rows()[mine]
    if size is not None:
        items = items[: max(size - len(others), round(size * RELIEF_SHARE))]
        others = others[: size - len(items)]
    relief = [_relief(row, where, needed=bool(number % 2)) for number, row in enumerate(items)]
    return _mix([others, relief])


@cache
def towns() -> tuple[TownPlace, ...]:
    """Return the towns that we know the place of, in the order of the list."""
    return tuple(
        TownPlace(
            unicodedata.normalize("NFC", row["name"]),
            row["country"],
            _units(row["lat"]),
            _units(row["lon"]),
            int(row["population"]),
        )
        for row in _rows("towns.csv")
    )


def find_town(name: str) -> TownPlace | None:
    """Return the town of that name, or None; letter case, accents and hyphens aside; the largest wins."""
    wanted = _folded(name)
    named = [town for town in towns() if _folded(town.name) == wanted]
    return max(named, key=lambda town: town.population, default=None)


def _data() -> Traversable:
    return files("node.demo") / "data"


@cache
def _rows(file_name: str) -> tuple[dict[str, str], ...]:
    text = (_data() / file_name).read_bytes().decode()
    return tuple(csv.DictReader(StringIO(text, newline="")))


@cache
def _guides() -> tuple[str, ...]:
    found = sorted((_data() / "guides").iterdir(), key=lambda file: file.name)
    return tuple(file.read_text(encoding="utf-8") for file in found if file.name.endswith(".md"))


@cache
def _relief_rows() -> tuple[dict[str, str], ...]:
    """Return the relief items, what a town needs first, else in an order that mixes families."""
    useful = (row for row in _rows("relief_items.csv") if not row["description"].startswith(("MISC", "Misc")))
    named = (row for row in useful if len(row["description"]) >= 3)
    return tuple(sorted(named, key=lambda row: (row["code"][:4] not in _CATEGORIES, _draw(row["code"]))))


def _mix(lists: list[list[Entry]]) -> Iterator[Entry]:
    """Merge lists so that every beginning of the result holds each in its share."""
    placed = ((place + 0.5) / len(each) for each in lists for place in range(len(each)))
    entries = (entry for each in lists for entry in each)
    return (entry for _, entry in sorted(zip(placed, entries, strict=True), key=lambda pair: pair[0]))


def _lend(row: dict[str, str], where: dict[str, object]) -> Entry:
    """Make a thing to borrow of a tool."""
    size = row["size"].strip()
    title = f"{row['name']}, {size}" if size and size not in row["name"] else row["name"]
    says = [
        f"{row['quantity']} of them." if row["quantity"] not in ("", "1") else "",
        f"Model {row['model']}." if row["model"] else "",
        f"Power: {row['power_source'].replace('_', ', ')}." if row["power_source"] else "",
        f"Also called {row['other_names']}." if row["other_names"] else "",
        row["checkout_notice"],
    ]
    condition = {"maintenance": "", "retired": "worn", "pending": "new, not yet lent"}
    tags = [name[:WORD_CHARS_MAX] for name in _category_names(row["category_ids"].split())]
    return _entry(
        "item",
        title=title,
        text=" ".join(filter(None, (_tidy(part) for part in says))),
        category="tools",
        number=row["number"],
        brand=row["brand"],
        condition=condition.get(row["status"], "works well"),
        status="repair" if row["status"] == "maintenance" else "available",
        loan_days=7 + _draw(row["number"]) % 2 * 7,
        renewals=1,
        tags=tags,
        **where,
    )


def _category_names(ids: list[str]) -> list[str]:
    names = {row["id"]: row["name"] for row in _rows("tool_categories.csv")}
    return list(dict.fromkeys(names[each].replace(",", "").lower() for each in ids if each in names))


def _skill(row: dict[str, str]) -> Entry:
    """Make a skill; how well somebody has it is drawn."""
    level = _LEVELS[_draw(row["uri"]) % len(_LEVELS)]
    return _entry(
        "skill",
        name=row["label"][:1].upper() + row["label"][1:],
        code=row["uri"],
        level=level,
        mode="teach" if level == "can_teach" else "give",
        travel_km=5 + _draw(row["uri"]) % 4 * 10,
        crisis=any(word in row["label"] for word in ("first aid", "emergenc", "nurs")),
    )


def _relief(row: dict[str, str], where: dict[str, object], *, needed: bool) -> Entry:
    """Make a need or a surplus of a relief item; how much is drawn."""
    draw = _draw(row["code"])
    by_weight = row["description"].lower().endswith("per kg")
    weight = f" One weighs {row['weight_kg']} kg." if float(row["weight_kg"] or 0) > 0 else ""
    common: dict[str, object] = {
        "title": _readable(row["description"]),
        "text": f"Number {row['code']} of the relief catalogue.{weight}",
        "category": _CATEGORIES.get(row["code"][:4], "relief"),
        "quantity": f"{1 + draw % 40} {'kg' if by_weight else 'each'}",
    }
    if not needed:
        return _entry("offer", **common, item_type="good", terms="give", **where)
    urgency = "urgent" if draw % 16 == 0 else "soon" if draw % 4 == 0 else "normal"
    return _entry("need", **common, urgency=urgency, people=1 + draw % 9, **where)


def _entry(kind: str, **fields: object) -> Entry:
    """Return an entry of what is not empty, read as the API reads it, its title cut to the bound."""
    declared = KINDS[kind]
    title = fields[declared.title_field]
    assert isinstance(title, str)
    cut = {declared.title_field: _tidy(title)[:TITLE_CHARS_MAX].strip(), "lang": "en"}
    return Entry(kind, declared.from_json({name: value for name, value in fields.items() if value} | cut))


def _readable(description: str) -> str:
    """Turn `(pillow tank) GROUND SHEET, PVC` into `Ground sheet, PVC (pillow tank)`."""
    lead = _LEAD.fullmatch(_tidy(description))
    text = f"{lead[2]} ({lead[1]})" if lead is not None else _tidy(description)
    plain = _BARE_COMMA.sub(", ", _CAPITALS.sub(_small, text))
    return plain[:1].upper() + plain[1:]


def _small(word: re.Match[str]) -> str:
    return word[0].lower() if word[0].isupper() and word[0] not in _ACRONYMS else word[0]


def _where(place: TownPlace | None) -> dict[str, object]:
    if place is None:
        return {}
    lat, lon = write_decimal(place.lat, 5), write_decimal(place.lon, 5)
    return {"where": {"name": place.name, "lat": lat, "lon": lon}}


def _units(degrees: str) -> int:
    """Return degrees in units of 1e-5, exactly: the list has at most five decimals."""
    whole, _, rest = degrees.partition(".")
    units = int(whole.lstrip("-")) * 100_000 + int(f"{rest:0<5}")
    return -units if whole.startswith("-") else units


def _draw(text: str) -> int:
    """Return a number that looks drawn and is always the same."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")


def _tidy(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _folded(name: str) -> str:
    bare = (letter for letter in unicodedata.normalize("NFD", name) if not unicodedata.combining(letter))
    return " ".join("".join(bare).casefold().replace("-", " ").split())
