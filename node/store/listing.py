"""Listing and searching documents on SQLite: what every page asks, so every way goes along an index.

The board's order is `place`, newest first, and a page continues below the last place it had. Of several
kinds, each is asked along its own index and the answers are merged, so a rare kind never makes a page walk
over a common one. A search walks the word index in the same order. What is counted without words and distance
is summed from the table of what is shown, never counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from heapq import nlargest
from itertools import chain
from math import cos, radians
from typing import Any, Final

from node.errors import InvalidRequest
from node.store.contract import TownFacts
from node.store.documents import Document, Near, Page, Query, Version, distance_km, fold
from node.store.records import ALL, LEAN_COLUMNS, OWN_TOWN, RecordReads, marks, to_record
from node.store.search import match
from protocol.encoding import Value, decode_list
from protocol.ids import DocId, FederationId, Lane, RecordId, TownId, address, home_id
from protocol.kinds import KINDS
from protocol.limits import BODY_BYTES_MAX

ADDRESS_CHOICES_MAX: Final = 16
"""Documents that one address may name before nobody can choose any more."""
KM_A_DEGREE: Final = 111.2
"""Along a meridian."""

_LANES: Final = tuple(Lane)
_SHOWN_KINDS: Final = tuple(name for name, kind in KINDS.items() if kind.shown)
_CARD: Final = (
    "SELECT d.place, d.number, d.doc, d.kind, t.town, coalesce(t.name, ''), d.lane, a.federations, d.born,"
    " d.expires, r.id, r.header, r.body, d.heads, d.town, coalesce(d.lat, t.lat), coalesce(d.lon, t.lon)"
    " FROM documents d JOIN records r ON r.row = d.head JOIN towns t ON t.number = d.town"
    " JOIN audiences a ON a.number = d.audience"
)


class DocumentReads(RecordReads):
    """Documents as the board shows them."""

    def documents(self, query: Query, now_s: int) -> Page:
        """Return one page of shown documents, the newest first.

        Raises:
            InvalidRequest: A cursor that is none of ours.
        """
        limit = query.limit if query.limit is not None else ALL - 1
        places = self._places_of(query, now_s, parse_cursor(query.cursor), limit + 1)
        documents = self._cards(places[:limit], query.near)
        cursor = format(places[limit - 1], "x") if len(places) > limit and limit else None
        total = sum(self.kind_counts(query, now_s, kinds=query.kinds).values()) if query.count else None
        return Page(tuple(documents), cursor, total)

    def document(self, doc: DocId, now_s: int) -> Document | None:
        """Return one shown document with all versions that are held, or None."""
        found = self.documents_between(doc, doc, now_s)
        return found[0] if found else None

    def documents_between(self, low: DocId, high: DocId, now_s: int) -> list[Document]:
        """Return the shown documents whose ids lie in [low, high], whole; at most 16."""
        sql = (
            "SELECT place FROM documents"
            " WHERE doc BETWEEN ? AND ? AND place IS NOT NULL AND expires > ? LIMIT ?"
        )
        rows = self._db.execute(sql, (low, high, now_s, ADDRESS_CHOICES_MAX))
        return self._cards([place for (place,) in rows], None, whole=True)

    def kind_counts(self, query: Query, now_s: int, *, kinds: Sequence[str] = ()) -> Mapping[str, int]:
        """Return how many documents of each kind the query names when its `kinds` are left out."""
        conditions, values = self._conditions(query)
        only, names = _in("d.kind", kinds or _SHOWN_KINDS)
        if not query.text and query.near is None:
            return self._summed([*conditions, only], [*values, *names], now_s)
        if query.text:
            expression = match(query.text, self.languages())
            source = "search s CROSS JOIN documents d ON d.place = s.rowid"
            conditions.append("search MATCH ?")
            values.append(expression or '""')
        else:
            source = "documents d"
            conditions.append("d.place IS NOT NULL")
        sql = (
            f"SELECT d.kind, count(*) FROM {source} WHERE {' AND '.join([*conditions, only])}"
            " AND d.ends > ? GROUP BY d.kind"
        )
        return dict(self._db.execute(sql, [*values, *names, now_s]))

    def towns(self) -> Mapping[TownId, TownFacts]:
        """Return what is known of the towns that have a profile here."""
        rows = self._db.execute("SELECT town, name, lat, lon FROM towns WHERE name IS NOT NULL")
        return {TownId(town): TownFacts(name, _degrees(lat), _degrees(lon)) for town, name, lat, lon in rows}

    def changed_documents(self, after: int, limit: int, *, home: bool = True) -> list[tuple[int, DocId]]:
        """Return (change, document) of what was written after a change, each once, by its last change, in
        order.

        About `limit` of them, and never a part of a change: so the last number is where the next asking
        begins. Only of kinds that have a page; those of the home set only with `home`.
        """
        shown, kinds = _in("d.kind", _SHOWN_KINDS)
        shared = "" if home else " AND a.federations <> x''"
        some = (
            "SELECT h.change, d.doc FROM held h JOIN records r ON r.row = h.record"
            " JOIN documents d ON d.number = r.document JOIN audiences a ON a.number = d.audience"
            f" WHERE h.lane = ? AND h.change BETWEEN ? AND ? AND {shown}{shared} ORDER BY h.change LIMIT ?"
        )

        def walk(to: int, most: int) -> list[tuple[int, DocId]]:
            asked = [(lane, after + 1, to, *kinds, most) for lane in self._lane_keys()]
            return [row for each in asked for row in self._db.execute(some, each)]

        found = walk(ALL, limit)
        if len(found) >= limit:
            found = walk(sorted(found)[limit - 1][0], ALL)
        newest = {doc: change for change, doc in sorted(found)}
        return sorted((change, doc) for doc, change in newest.items())

    def languages(self) -> tuple[str, ...]:
        """Return the languages whose stems the index has."""
        found = self.meta("languages")
        return tuple(found.split()) if isinstance(found, str) else ()

    # Below here: how.

    def _places_of(self, query: Query, now_s: int, below: int, limit: int) -> list[int]:
        """Return the places of a page, descending."""
        conditions, values = self._conditions(query)
        if query.text:
            expression = match(query.text, self.languages())
            if expression is None:
                return []
            only, names = _in("d.kind", query.kinds or _SHOWN_KINDS)
            sql = (
                "SELECT s.rowid FROM search s CROSS JOIN documents d ON d.place = s.rowid"
                f" WHERE search MATCH ? AND s.rowid < ? AND {' AND '.join([*conditions, only])}"
                " AND d.ends > ?"
                " ORDER BY s.rowid DESC LIMIT ?"
            )
            rows = self._db.execute(sql, [expression, below, *values, *names, now_s, limit])
            return [place for (place,) in rows]
        kinds = query.kinds or _SHOWN_KINDS
        if not query.kinds and query.town is None and query.own is not True:
            return self._walk("documents_place", conditions, values, now_s, below, limit)
        index = "documents_town" if query.town is not None or query.own is True else "documents_kind"
        walks = [
            self._walk(index, ["d.kind = ?", *conditions], [kind, *values], now_s, below, limit)
            for kind in kinds
        ]
        return walks[0] if len(walks) == 1 else nlargest(limit, chain.from_iterable(walks))

    def _walk(
        self, index: str, conditions: list[str], values: list[Any], now_s: int, below: int, limit: int
    ) -> list[int]:
        sql = (
            f"SELECT d.place FROM documents d INDEXED BY {index}"
            f" WHERE {' AND '.join(['d.place < ?', *conditions])} AND d.place IS NOT NULL AND d.ends > ?"
            " ORDER BY d.place DESC LIMIT ?"
        )
        return [place for (place,) in self._db.execute(sql, [below, *values, now_s, limit])]

    def _conditions(self, query: Query) -> tuple[list[str], list[Any]]:
        """Return what a query asks besides kinds, words, place and time, as SQL about `d`."""
        conditions: list[str] = []
        values: list[Any] = []
        if query.town is not None:
            conditions.append("d.town = ?")
            values.append(self.town_number(query.town))
        if query.own is not None:
            conditions.append("d.town = ?" if query.own else "d.town <> ?")
            values.append(OWN_TOWN)
        if query.federation is not None or not query.home:
            chosen, numbers = _in("d.audience", self._audiences_of(query))
            conditions.append(chosen)
            values += numbers
        if query.near is not None:
            condition, bounds = self._within(query.near)
            conditions.append(condition)
            values += bounds
        return conditions, values

    def _audiences_of(self, query: Query) -> list[int]:
        """Return the numbers of the audiences that a query allows."""
        rows = self._db.execute("SELECT number, federations FROM audiences").fetchall()
        if query.federation is None:
            return [number for number, joined in rows if joined]
        if query.federation == home_id(self.own_town):
            return [number for number, joined in rows if not joined and query.home]
        return [number for number, joined in rows if query.federation in _split(joined)]

    def _within(self, near: Near) -> tuple[str, list[Any]]:
        """Return the condition of lying near: exact in the distance, quick by a box around it."""
        north = near.km / KM_A_DEGREE
        east = north / max(0.01, cos(radians(near.lat)))
        box = [
            round(1e5 * bound)
            for bound in (near.lat - north, near.lat + north, near.lon - east, near.lon + east)
        ]
        if near.lon - east < -180 or near.lon + east > 180:
            # Over the date line the box would have two halves; the distance alone decides there.
            box[2:] = [-18_000_000, 18_000_000]
        point = [near.lat, near.lon, near.km]
        towns = [
            number
            for number, lat, lon in self._db.execute(
                "SELECT number, lat, lon FROM towns WHERE lat IS NOT NULL"
            )
            if distance_km(near.lat, near.lon, lat / 1e5, lon / 1e5) <= near.km
        ]
        here = (
            "d.lat BETWEEN ? AND ? AND d.lon BETWEEN ? AND ?"
            " AND distance_km(?, ?, d.lat / 1e5, d.lon / 1e5) <= ?"
        )
        there, numbers = _in("d.town", towns)
        return f"(({here}) OR (d.lat IS NULL AND {there}))", [*box, *point, *numbers]

    def _summed(self, conditions: list[str], values: list[Any], now_s: int) -> Mapping[str, int]:
        """Return counts from the table of what is shown, less what has ended since."""
        where = " AND ".join(conditions)
        counts = Counter(
            dict(
                self._db.execute(
                    f"SELECT kind, sum(documents) FROM shown d WHERE {where} GROUP BY kind", values
                )
            )
        )
        # What people see end before it expires has an index of its own; the rest ends as it expires.
        for ended in (
            "documents_ends WHERE ends <= ? AND ends < expires",
            "documents_expires WHERE expires <= ? AND ends = expires",
        ):
            sql = (
                f"SELECT kind, count(*) FROM documents d INDEXED BY {ended} AND place IS NOT NULL"
                f" AND {where} GROUP BY kind"
            )
            counts.subtract(dict(self._db.execute(sql, [now_s, *values])))
        return {kind: count for kind, count in counts.items() if count > 0}

    def _cards(self, places: Sequence[int], near: Near | None, *, whole: bool = False) -> list[Document]:
        """Return the documents at these places, the greatest place first."""
        rows = sorted(self.select_in(f"{_CARD} WHERE d.place IN", places), reverse=True)
        many = [row[1] for row in rows if row[13] > 1 or (whole and KINDS[row[3]].op != 0)]
        versions = self._versions(many, whole=whole) if many else {}
        return [self._card(row, versions.get(row[1]), near) for row in rows]

    def _card(self, row: Sequence[Any], versions: tuple[Version, ...] | None, near: Near | None) -> Document:
        (
            _,
            _,
            doc,
            kind,
            town,
            name,
            lane,
            audience,
            born,
            expires,
            id,
            header,
            body,
            heads,
            number,
            lat,
            lon,
        ) = row
        fields = _fields(body)
        stamp, cites = _stamp_and_cites(header)
        only = (Version(id, stamp, fields, cites, True),) if versions is None else versions
        distance = (
            distance_km(near.lat, near.lon, lat / 1e5, lon / 1e5)
            if near is not None and lat is not None
            else None
        )
        return Document(
            address(doc), doc, id, kind, town, name, _LANES[lane], _split(audience), fields, born, expires,
            stamp, only, number == OWN_TOWN, distance, heads - sum(each.is_head for each in only),
        )  # fmt: skip

    def _versions(self, numbers: Sequence[int], *, whole: bool) -> Mapping[int, tuple[Version, ...]]:
        """Return the versions of documents that have several: the newest of them, or the heads."""
        records: dict[int, list[Any]] = defaultdict(list)
        for number, *parts in self.select_in(f"SELECT d.number, {LEAN_COLUMNS} WHERE d.number IN", numbers):
            records[number].append(to_record(parts))
        found: dict[int, tuple[Version, ...]] = {}
        for number, held in records.items():
            folded = fold(held, whole=whole, read=self.with_body)
            if folded is not None:
                heads = {shown.record.id for shown in folded.heads}
                found[number] = tuple(
                    Version(
                        each.record.id,
                        each.record.header.stamp,
                        each.fields,
                        each.record.header.cites,
                        each.record.id in heads,
                    )
                    for each in folded.versions
                )
        return found


def parse_cursor(text: str | None) -> int:
    """Return the place below which a page begins."""
    if text is None:
        return ALL
    try:
        place = int(text, 16)
    except ValueError:
        place = -1
    if not 0 <= place <= ALL:
        raise InvalidRequest("that cursor is none of ours; begin again without one")
    return place


def _fields(body: bytes) -> dict[str, Value]:
    """Return the fields of a body that was found readable when it was folded."""
    fields: dict[str, Value] = decode_list(body, bytes_max=BODY_BYTES_MAX)[1]
    return fields


def _stamp_and_cites(header_bytes: bytes) -> tuple[int, tuple[RecordId, ...]]:
    header = decode_list(header_bytes, bytes_max=len(header_bytes))
    return header[4], tuple(header[12])


def _split(joined: bytes) -> tuple[FederationId, ...]:
    return tuple(FederationId(joined[start : start + 16]) for start in range(0, len(joined), 16))


def _in(column: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    if not values:
        # Nothing is like NULL. SQLite finds no way through a plain IN () when it is told which index to take.
        return f"{column} IN (NULL)", []
    return f"{column} IN ({marks(len(values))})", list(values)


def _degrees(hundred_thousandths: int | None) -> float | None:
    return None if hundred_thousandths is None else hundred_thousandths / 1e5
