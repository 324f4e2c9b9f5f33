"""Certificates of applications: our own, those of servers that people here have accepted, and how one is judged."""

from typing import Final

FOLDER: Final = "opcua"
"""The trust list and the agent's own pair, in its data folder."""
