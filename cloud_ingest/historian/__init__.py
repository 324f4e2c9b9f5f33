"""The historian: from the raw log to typed samples in PostgreSQL, each stored exactly once, and the delivery ledger."""
