"""The topics of the event log, and what their records look like."""
