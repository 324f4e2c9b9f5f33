"""The ``edge-agent`` command: for the operator at the line and the engineer beside it."""
