"""The version of the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def lineside_version() -> str:
    """For example ``0.1.0``; ``unknown`` when the package is not installed."""
    try:
        return version("lineside")
    except PackageNotFoundError:
        return "unknown"
