"""Stock: an append-only ledger of items, lots and serials, and what is made of what."""
