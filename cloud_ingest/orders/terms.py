"""How long everything about an order may take. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Terms:
    """Times in seconds; see ``cloud_ingest.settings.orders`` for what each is about."""

    quote_s: float = 14 * _DAY_S
    payment_s: float = 7 * _DAY_S
    retry_first_s: float = 60.0
    retry_longest_s: float = 3600.0
    attempts_max: int = 5
    close_s: float = 30 * _DAY_S
    return_s: float = 60 * _DAY_S
    grace_s: float = 60.0
    """So long goods that were counted may need to be booked into stock."""
    pack_at_once: bool = False
    """What is complete is packed without anybody's saying so."""
