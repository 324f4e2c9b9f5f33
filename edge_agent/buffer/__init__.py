"""The outbox: what was acquired stays on this disk until the cloud's event log has it."""
