"""What a request may ask for, checked before anything is done. Everything raises ``RequestRefused`` with a sentence."""

from __future__ import annotations

from collections.abc import Sized
from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.gateway.live.subscription import INTERVAL_MS

INTERVAL_MS_MIN: Final = 50
INTERVAL_MS_MAX: Final = 60_000


def limit(asked: int, unless_said: int, most: int) -> int:
    """How many at most; 0 is ``unless_said``."""
    return between("limit", asked, 0, most) or unless_said


def interval_ms(asked_ms: int) -> int:
    """How far two messages of a stream are apart at least; 0 is as it is for the live stream."""
    return between("interval_ms", asked_ms or INTERVAL_MS, INTERVAL_MS_MIN, INTERVAL_MS_MAX)


def between(name: str, value: int, least: int, most: int) -> int:
    """``value``, which is in its bounds."""
    if not least <= value <= most:
        raise RequestRefused(Why.INVALID, "out_of_bounds", f"{name} is between {least} and {most}, and not {value}")
    return value


def count(name: str, things: Sized, most: int) -> None:
    """There are some ``things``, and not too many."""
    if not 1 <= len(things) <= most:
        raise RequestRefused(Why.INVALID, "out_of_bounds", f"{name} has between 1 and {most}, and not {len(things)}")
