"""Who gets what: claims, the ledgers that answer them, and the keeper's work. See sync/ledger.py."""
