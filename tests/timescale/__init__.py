"""TimescaleDB, by a target of its own: `make timescale`."""
