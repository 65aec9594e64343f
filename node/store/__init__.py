"""What a node keeps: records, held sets, verdicts, documents and search, on SQLite or in memory."""

from node.store.contract import Cell, Reader, Store, Totals, TownFacts, Transaction
from node.store.documents import Document, Near, Page, Query, Version
from node.store.memory import MemoryStore, MemoryTransaction
from node.store.sqlite import SqliteStore, open_store

__all__ = [
    "Cell",
    "Document",
    "MemoryStore",
    "MemoryTransaction",
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
