"""The Unix socket by which the ``edge-agent`` command asks the running agent."""
