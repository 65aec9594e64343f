"""What a store promises, whatever it stands on: SQLite in a node, plain dictionaries in the simulator.

A *reader* sees one committed state. A *transaction* is a reader of the state that it is itself changing, and
a `sync.admission.View` for the rules; whatever runs in one is committed as a whole or not at all. A *store*
gives both: reads run beside each other, writes one after another, and a write has returned only when it is on
the disk.

Change numbers: each `apply` that changes a held set takes the next number. They only grow, mean nothing to
another node, and say "everything up to here" in snapshots of held sets and in what a peer is known to have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from sync.admission import View

if TYPE_CHECKING:
    from node.store.documents import Document, Page, Query
    from protocol.ids import DocId, FederationId, LaneKey, RecordId, TownId
    from protocol.record import Record
    from sync.admission import Changes
    from sync.authority import Authority
    from sync.events import LaneChange
    from sync.held import HeldSet

T = TypeVar("T")

Cell: TypeAlias = "int | float | str | bytes | None"
"""What one column of one row holds."""


@dataclass(frozen=True, slots=True)
class TownFacts:
    """What the board knows of a town from its profile; degrees as floats, None where it does not say."""

    name: str
    lat: float | None
    lon: float | None


@dataclass(frozen=True, slots=True)
class Totals:
    """How much a store holds: held records, shown documents, parked records and their bytes, remembered
    drops."""

    records: int
    documents: int
    parked: int
    parked_bytes: int
    dropped: int


class Reader(Protocol):
    """One committed state, to look at."""

    own_town: TownId

    def authority(self) -> Authority:
        """Return the resolved authority of this state."""

    def change(self) -> int:
        """Return the number of the last change."""

    def records(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Record]:
        """Return the held records among these ids."""

    def raws(self, ids: Sequence[RecordId]) -> Mapping[RecordId, bytes]:
        """Return the exact bytes of the held records among these ids."""

    def raws_by_prefix(
        self, key: LaneKey, prefixes: Sequence[bytes], bytes_max: int
    ) -> tuple[tuple[bytes, ...], bool]:
        """Return the records held in a lane whose ids begin so, newest first, and whether some had no room.

        Args:
            prefixes: 1 to 32 bytes each.
            bytes_max: Of all raw records together; the first is given whatever its size.
        """

    def ids_by_prefix(self, key: LaneKey, prefixes: Sequence[bytes], limit: int) -> list[RecordId]:
        """Return the ids held in a lane that begin with one of these prefixes, newest first, at most
        `limit`."""

    def ids_in_buckets(self, key: LaneKey, buckets: Sequence[int]) -> list[RecordId]:
        """Return the ids held in a lane whose first byte is one of these, newest first."""

    def evidence(
        self, federation: FederationId, town: TownId, after: RecordId | None = None
    ) -> tuple[tuple[bytes, ...], bool]:
        """Return the records that show this town as a member: charter, steps, acts, joins and certificates
        concerned; as many behind `after` as one may show at once, and whether there are more."""

    def records_of(self, town: TownId, kind: str) -> Sequence[Record]:
        """Return the records of one kind that this town wrote, held or parked."""

    def backlog(self, change: int, federations: Sequence[FederationId]) -> int:
        """Return how many records held in these federations came after a change."""

    def held_sets(self) -> dict[LaneKey, HeldSet]:
        """Return the held sets: the snapshots that were saved, brought forward to this state."""

    def totals(self) -> Totals:
        """Return how much is held."""

    def documents(self, query: Query, now_s: int) -> Page:
        """Return one page of shown documents, the newest first."""

    def document(self, doc: DocId, now_s: int) -> Document | None:
        """Return one shown document with all versions that are held, or None."""

    def document_records(self, doc: DocId) -> Sequence[RecordId]:
        """Return the held records of a document, shown or not."""

    def held_since(self, kind: str, after: int) -> list[tuple[int, Record]]:
        """Return (change, record) of the records of one kind that are held since a change, in order of
        change; 0: all of them."""

    def own_since(self, kinds: Sequence[str], after: int) -> list[Record]:
        """Return the records of the own town's documents of these kinds that are held since a change."""

    def shares_of(self, parent: DocId, claim: DocId, town: TownId) -> list[DocId]:
        """Return the ledgers of a town that open as the share of `parent` that was accepted by a claim,
        ascending; at most 64."""

    def shares(self) -> list[tuple[DocId, DocId]]:
        """Return each ledger that opens as a share, with the ledger of which it is one, ascending."""

    def ledgers_in_use(self) -> list[DocId]:
        """Return the documents of the own town that are ledgers of more than one entry, ascending."""

    def documents_between(self, low: DocId, high: DocId, now_s: int) -> list[Document]:
        """Return the shown documents whose ids lie in [low, high]: those of one address; at most 16."""

    def kind_counts(self, query: Query, now_s: int) -> Mapping[str, int]:
        """Return how many documents of each kind the query names when its `kinds` are left out."""

    def towns(self) -> Mapping[TownId, TownFacts]:
        """Return what is known of the towns that have a profile here."""

    def changed_documents(self, after: int, limit: int, *, home: bool = True) -> list[tuple[int, DocId]]:
        """Return (change, document) of the documents last touched after a change, in order of change.

        Only of kinds that have a page, withdrawn ones among them; those of the home set only with `home`.
        """

    def export(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return (row, raw record) of held records in the order of their taking in, from above row
        `after`."""

    def meta(self, name: str) -> Cell:
        """Return a value kept under a name, or None."""

    def rows(self, sql: str, *values: Cell) -> list[tuple[Cell, ...]]:
        """Return the rows of a query on the tables of peers, invitations, residents and the like."""


class Transaction(Reader, View, Protocol):
    """The state inside a writer's turn, which is what the rules ask about, and what changes it."""

    def apply(
        self, changes: Changes, batch: Sequence[Record] = (), source: TownId | None = None
    ) -> list[LaneChange]:
        """Make these changes: records, held sets, verdicts, documents and search, and number them.

        Args:
            changes: What `judge`, `expire` or `review` gave for this state.
            batch: The records that were judged, one for each verdict, in order.
            source: The town that sent them: what one town has waiting is bounded. None: no town did.
        """

    def save_held_sets(self, sets: Mapping[LaneKey, HeldSet]) -> None:
        """Keep snapshots of held sets, so that the next start needs no walk over all ids; forget what they
        replace."""

    def tidy(self, now_s: int) -> None:
        """Forget drops whose records have long ended, and what has waited, or lain in the drawer, for 30
        days of sure time."""

    def next_seq(self) -> tuple[bytes, int]:
        """Return the epoch of this store and the next counter of this device in it; never the same twice."""

    def known_nonce(self, kind: str, nonce: bytes) -> Record | None:
        """Return the newest held record of the own town's document of this kind and nonce."""

    def set_meta(self, name: str, value: Cell) -> None:
        """Keep a value under a name; None takes it away."""

    def run(self, sql: str, *values: Cell) -> int:
        """Run one statement on the tables of peers, invitations and the like; return how many rows it
        touched."""


class Store(Protocol):
    """A node's memory. `write` and `read` may be called from the event loop's thread only."""

    own_town: TownId

    async def write(self, work: Callable[[Transaction], T], *, then: Callable[[T], None] | None = None) -> T:
        """Run `work` in the writer's turn and return its result once it is committed.

        Args:
            work: May be run beside other waiting work in one transaction; what it raises is undone and raised
                here.
            then: Called in the event loop's thread after the commit and before this returns, in the order of
                the commits, also when the caller has been cancelled meanwhile.

        Raises:
            StorageUnavailable: The disk is full or fails; nothing of it was kept.
        """

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run `work` on the last committed state and return its result."""

    def disk_bytes(self) -> int:
        """Return how much room the store takes on the disk."""

    async def close(self) -> None:
        """Finish the writes that wait and let go of the files."""
