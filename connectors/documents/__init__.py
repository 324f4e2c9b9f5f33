"""Stores of documents: PostgreSQL's JSONB, through the database's own port, and MongoDB."""
