"""A message goes out by its channel once, and what came of it; the circuit breaker of the channel hears of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cloud_ingest.integrations.published import Line, note_try
from connectors.model.errors import LinesideError
from connectors.ports.clock import Clock
from connectors.ports.database import Session
from connectors.ports.notify import Channel, Message, NotTold
from connectors.ports.vendors import AccessRefused, CallRefused, CallUncertain, VendorUnavailable

WELL: Final = (
    "NOT EXISTS (SELECT FROM integration_circuit AS circuit WHERE circuit.port = {way} AND circuit.open_until > $1 "
    "AND circuit.account = coalesce((SELECT own.account FROM unnest($2::text[], $3::text[]) AS own (account, way) "
    "    JOIN tenant ON tenant.name = own.account WHERE tenant.tenant_id = {table}.tenant_id AND own.way = {way}), ''))"
)
"""Whether the channel of a row's tenant is not left alone at the time $1; $2 and $3 are ``Ways.arguments``."""


class Ways:
    """The channels to people: ``shared`` by their names in the settings, and ``own`` of tenants, by the tenants' names.

    A tenant's own comes before that of all with the same name.
    """

    def __init__(self, shared: Mapping[str, Channel], own: Mapping[str, Mapping[str, Channel]] | None = None) -> None:
        self._shared = shared
        self._own = own or {}

    def of(self, tenant: str) -> Mapping[str, Channel]:
        """The channels that a tenant has."""
        return {**self._shared, **self._own.get(tenant, {})}

    def line(self, tenant: str, way: str) -> Line:
        """The way on which what fails says nothing of another tenant's."""
        return Line(way, tenant if way in self._own.get(tenant, {}) else "")

    @property
    def lines(self) -> list[Line]:
        """All of them."""
        own = [Line(way, tenant) for tenant, mine in sorted(self._own.items()) for way in sorted(mine)]
        return [*(Line(way) for way in sorted(self._shared)), *own]

    @property
    def arguments(self) -> tuple[list[str], list[str]]:
        """For ``WELL``."""
        own = [line for line in self.lines if line.account]
        return [line.account for line in own], [line.port for line in own]


@dataclass(frozen=True, slots=True)
class Tried:
    """``reason``: why it was not sent, empty when it was. ``is_over``: trying again does not help.

    ``not_told`` are those of several recipients whom what was sent did not go to.
    """

    reason: str = ""
    is_over: bool = False
    not_told: Sequence[NotTold] = ()


async def tell(session: Session, clock: Clock, ways: Ways, tenant: str, way: str, message: Message) -> Tried:
    """Send ``message`` by the channel ``way`` of ``tenant``."""
    channels = ways.of(tenant)
    channel = channels.get(way)
    if channel is None:
        known = ", ".join(sorted(channels)) or "none"
        return Tried(f"the settings have no channel {way!r}; there are: {known}", True)
    error: LinesideError | None = None
    not_told: Sequence[NotTold] = ()
    try:
        not_told = await channel.send(message)
    except (CallRefused, VendorUnavailable, CallUncertain, AccessRefused) as exc:
        error = exc
    await note_try(session, ways.line(tenant, way), error, clock.now_ns())
    if error is None:
        return Tried(not_told=not_told)
    return Tried(str(error) or type(error).__name__, isinstance(error, CallRefused))


def now_of(clock: Clock) -> datetime:
    """The time as the database has it."""
    return datetime.fromtimestamp(clock.now_ns() / 1e9, UTC)
