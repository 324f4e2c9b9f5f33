"""Events of releases: how one is installed, and its trial.

The names are part of the product: alerts depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from connectors.observability.events import Event


@dataclass(frozen=True, slots=True)
class ReleaseInstalled(Event):
    """A release is installed beside the one that runs; the launcher is about to try it."""

    release: str


@dataclass(frozen=True, slots=True)
class ReleaseNotInstalled(Event):
    """A release could not be brought here, or must not be used; nothing has changed."""

    level: ClassVar[str] = "warning"
    sha256: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReleaseNotHealthyYet(Event):
    """This release is on trial, and something that the one before had is missing yet."""

    release: str
    missing: str


@dataclass(frozen=True, slots=True)
class ReleaseHealthy(Event):
    """This release is on trial, and does what the one before did: it stays."""

    release: str
