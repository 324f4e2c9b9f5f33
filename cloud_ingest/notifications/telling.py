"""A message goes out by its channel once, and what came of it; the circuit breaker of the channel hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cloud_ingest.integrations.published import note_try
from connectors.model.errors import LinesideError
from connectors.ports.clock import Clock
from connectors.ports.database import Session
from connectors.ports.notify import Channel, Message
from connectors.ports.vendors import AccessRefused, CallRefused, CallUncertain, VendorUnavailable

WELL: Final = (
    "NOT EXISTS (SELECT FROM integration_circuit AS circuit WHERE circuit.port = {way} AND circuit.open_until > $1)"
)
"""Whether a channel is not left alone at the time $1."""


@dataclass(frozen=True, slots=True)
class Tried:
    """``reason``: why it was not sent, empty when it was. ``is_over``: trying again does not help."""

    reason: str = ""
    is_over: bool = False


async def tell(session: Session, clock: Clock, channels: Mapping[str, Channel], way: str, message: Message) -> Tried:
    """Send ``message`` by the channel ``way``."""
    channel = channels.get(way)
    if channel is None:
        known = ", ".join(sorted(channels)) or "none"
        return Tried(f"the settings have no channel {way!r}; there are: {known}", True)
    error: LinesideError | None = None
    try:
        await channel.send(message)
    except (CallRefused, VendorUnavailable, CallUncertain, AccessRefused) as exc:
        error = exc
    await note_try(session, way, error, clock.now_ns())
    return Tried() if error is None else Tried(str(error) or type(error).__name__, isinstance(error, CallRefused))


def now_of(clock: Clock) -> datetime:
    """The time as the database has it."""
    return datetime.fromtimestamp(clock.now_ns() / 1e9, UTC)
