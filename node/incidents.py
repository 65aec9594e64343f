"""What people must know of and nobody can mend for them: kept in the store, said once, until put away.

An incident is a thing that was proved, such as two steps that one steward signed, so it is no line of a log:
it stays through restarts and is shown by `status` and by the page. Adding the same again says nothing new.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from node.store import Reader, Transaction

INCIDENTS_MAX: Final = 1_000
"""So many are kept, those that were put away among them; a town has a handful in a year."""
SHOWN_MAX: Final = 100
"""Newest ones that `list` gives: more than anybody reads at once."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that people must know of; `at_ms` is node time."""

    at_ms: int
    code: str
    says: str


class Incidents:
    """The incidents of one node.

    Args:
        now_ms: Node time.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms

    def add(self, tx: Transaction, code: str, says: str, about: bytes) -> bool:
        """Keep an incident; tell whether it is a new one.

        Args:
            code: Stable code.
            says: One plain sentence for the operator.
            about: What it is about: of (code, about) there is one incident.
        """
        sql = "INSERT OR IGNORE INTO incidents (at_ms, code, says, about) VALUES (?, ?, ?, ?)"
        if not tx.run(sql, self._now_ms(), code, says, about):
            return False
        tx.run("DELETE FROM incidents WHERE number <= (SELECT max(number) FROM incidents) - ?", INCIDENTS_MAX)
        return True

    def list(self, reader: Reader) -> list[Incident]:
        """Return what has not been put away, the newest last."""
        sql = "SELECT at_ms, code, says FROM incidents WHERE seen = 0 ORDER BY number DESC LIMIT ?"
        found = [Incident(*row) for row in reader.rows(sql, SHOWN_MAX)]  # type: ignore[arg-type]  # its columns
        return found[::-1]

    def put_away(self, tx: Transaction) -> int:
        """Note that the operator has seen all of them; return how many that were."""
        return tx.run("UPDATE incidents SET seen = 1 WHERE seen = 0")
