"""What people must know of and nobody can mend for them: kept in the store, said once, until put away.

An incident is a thing that was proved, such as two steps that one steward signed, so it is no line of a log:
it stays through restarts and is shown by `status` and by the page. Adding the same again says nothing new.
What was noticed on links is no proof and is kept in memory only.

Others are the cause of both, so both are bounded for each source and code: whoever makes many makes room
for its own next one, and never pushes what somebody else is the cause of out of sight.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from node.store import Reader, Transaction
    from protocol.ids import TownId

INCIDENTS_MAX: Final = 1_000
"""So many are kept, those that were put away among them; a town has a handful in a year."""
SHOWN_MAX: Final = 100
"""Ones that `list` gives: more than anybody reads at once."""
OF_ONE_SHOWN: Final = 3
"""Of one source and code the newest are shown; of the others it is said how many there are."""
NOTICED_OF_ONE: Final = 10
"""So many of one source and code are kept in memory."""
_ADD: Final = "INSERT OR IGNORE INTO incidents (at_ms, code, says, about, source) VALUES (?, ?, ?, ?, ?)"
_MAKE_ROOM: Final = """
    DELETE FROM incidents WHERE number = (
        SELECT min(number) FROM incidents GROUP BY source, code ORDER BY count(*) DESC, min(number) LIMIT 1)
"""
_LIST: Final = """
    SELECT number, at_ms, code, says, place, count FROM (
        SELECT number, at_ms, code, says, count(*) OVER (PARTITION BY source, code) AS count,
            row_number() OVER (PARTITION BY source, code ORDER BY number DESC) AS place
        FROM incidents WHERE seen = 0)
    WHERE place <= ? ORDER BY place, number DESC LIMIT ?
"""
_UNKNOWN: Final = re.compile(r"\bTown ([0-9a-f]{8})\b")


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that people must know of; `at_ms` is node time."""

    at_ms: int
    code: str
    says: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was noticed on a link; `at_ms` is node time."""

    at_ms: int
    town: TownId | None
    code: str
    says: str


class Incidents:
    """The incidents of one node.

    Args:
        now_ms: Node time.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms

    def add(self, tx: Transaction, code: str, says: str, about: bytes, *, source: bytes = b"") -> bool:
        """Keep an incident; tell whether it is a new one.

        Args:
            code: Stable code.
            says: One plain sentence for the operator; towns stand in it as `town_words` says.
            about: What it is about: of (code, about) there is one incident.
            source: The id of the town or federation that is the cause; none: this board.
        """
        if not tx.run(_ADD, self._now_ms(), code, says, about, source):
            return False
        if tx.rows("SELECT count(*) FROM incidents") > [(INCIDENTS_MAX,)]:
            tx.run(_MAKE_ROOM)
        return True

    def list(self, reader: Reader) -> list[Incident]:
        """Return what has not been put away, the newest last; `OF_ONE_SHOWN` of one source and code."""
        found = sorted(reader.rows(_LIST, OF_ONE_SHOWN, SHOWN_MAX))
        return [_incident(*row) for row in found]  # type: ignore[arg-type]  # its columns

    def put_away(self, tx: Transaction) -> int:
        """Note that the operator has seen all of them; return how many that were."""
        return tx.run("UPDATE incidents SET seen = 1 WHERE seen = 0")


class Noticed:
    """What was noticed on links since the start, until it is put away.

    There are as many sources as the operator has approved towns, and one for all others; codes are our own.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._seen: dict[tuple[bytes, str], deque[Seen]] = {}

    def add(self, seen: Seen, *, source: bytes) -> None:
        """Keep it; the oldest of the same source and code makes room."""
        self._seen.setdefault((source, seen.code), deque(maxlen=NOTICED_OF_ONE)).append(seen)

    def __iter__(self) -> Iterator[Seen]:
        """Give all of them, the newest last."""
        return iter(sorted((each for of in self._seen.values() for each in of), key=lambda each: each.at_ms))

    def clear(self) -> None:
        """Put all of them away."""
        self._seen.clear()


def town_words(town: bytes, name: str | None = None) -> str:
    """Return how a sentence calls a town: by its name, or so that `named` can put it in later."""
    return name or f"Town {town.hex()[:8]}"


def named(says: str, names: Mapping[TownId, str]) -> str:
    """Return a sentence with the names of towns that were not known when it was written."""

    def name(found: re.Match[str]) -> str:
        known = [each for town, each in names.items() if each and town.hex().startswith(found[1])]
        return known[0] if len(known) == 1 else found[0]

    return _UNKNOWN.sub(name, says)


def _incident(_: int, at_ms: int, code: str, says: str, place: int, count: int) -> Incident:
    more = f" (and {count - OF_ONE_SHOWN:,} more like it)" if place == 1 and count > OF_ONE_SHOWN else ""
    return Incident(at_ms, code, says + more)
