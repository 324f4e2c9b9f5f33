"""Events of the configuration while the agent runs: reloads, and whether its files say what it runs with.

The names are part of the product: alerts depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from connectors.observability.events import Event
from edge_agent.observability.metrics import CONFIG_IN_SYNC, RELOADS


@dataclass(frozen=True, slots=True)
class ConfigurationReloaded(Event):
    """Changed files are in use; ``by`` is who has asked for that. ``restart``: settings that wait for a restart.

    ``changed`` are devices that were connected anew, ``adjusted`` those that went on with other settings.
    """

    by: str
    added: str
    removed: str
    changed: str
    adjusted: str
    settings: str
    restart: str
    seconds: float

    def measure(self) -> None:
        """See ``Event``."""
        RELOADS.labels("done").inc()


@dataclass(frozen=True, slots=True)
class ConfigurationNotReloaded(Event):
    """Changed files cannot be used, and the agent goes on with what it had; ``first`` is the first of ``reasons``."""

    level: ClassVar[str] = "error"
    by: str
    reasons: int
    first: str

    def measure(self) -> None:
        """See ``Event``."""
        RELOADS.labels("failed").inc()


@dataclass(frozen=True, slots=True)
class ConfigurationOutOfSync(Event):
    """Files of the configuration were changed and are not in use; ``edge-agent reload`` uses them."""

    level: ClassVar[str] = "warning"
    files: str


@dataclass(frozen=True, slots=True)
class ConfigurationInSync(Event):
    """The files say again what the agent runs with."""


@dataclass(frozen=True, slots=True)
class ConfigurationLooked(Event):
    """Whether the files say what the agent runs with was looked at."""

    level: ClassVar[str] = ""
    in_sync: bool

    def measure(self) -> None:
        """See ``Event``."""
        CONFIG_IN_SYNC.set(self.in_sync)
