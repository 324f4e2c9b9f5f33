"""PostgreSQL by asyncpg: the relational store, and the event log of a small plant."""
