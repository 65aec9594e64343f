"""What a node keeps: records, held sets, verdicts, documents and search.

The twin in memory is imported from `node.store.memory` by whoever tests with it; no node loads it.
"""

from node.store.contract import Cell, Reader, Store, Totals, TownFacts, Transaction
from node.store.documents import Document, Near, Page, Query, Version
from node.store.sqlite import SqliteStore, open_store

__all__ = [
    "Cell",
    "Document",
    "Near",
    "Page",
    "Query",
    "Reader",
    "SqliteStore",
    "Store",
    "Totals",
    "TownFacts",
    "Transaction",
    "Version",
    "open_store",
]
