"""What the uplink is to do, and how it is doing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from connectors.model.delivery import AgentName
from connectors.sparkplug.birth import NodeProperty
from connectors.sparkplug.device_command import CommandReceived, SignedReceived
from connectors.sparkplug.edge_session import Phase


class Delivery(Enum):
    """Which promise holds."""

    ACKNOWLEDGED = "acknowledged"
    """A batch is kept and sent until the cloud says that its event log has it."""
    SPARKPLUG = "sparkplug"
    """A batch is kept until it has left for a broker on which the primary host is online: store and forward."""


class CommandListener(Protocol):
    """Who takes what the agent is asked to do. Every method returns at once."""

    def received(self, message: CommandReceived) -> None:
        """A command has come."""
        ...

    def signed(self, message: SignedReceived) -> None:
        """A signed document for the agent itself has come: the time, or that a command is taken back."""
        ...

    def connected(self) -> None:
        """The births are out: the cloud can be asked for its time."""
        ...


@dataclass(frozen=True, slots=True)
class UplinkOptions:
    """Settings of the uplink; see ``UplinkSettings`` in the configuration."""

    agent: AgentName
    brokers: tuple[str, ...]
    delivery: Delivery
    host: str
    wait_for_host: bool
    properties: tuple[NodeProperty, ...]
    window_batches_max: int
    window_bytes_max: int
    resend_after_s: float
    backlog_bytes_per_s_max: float | None = None
    packet_bytes_max: int = 256 * 1024


@dataclass(slots=True)
class UplinkState:
    """The uplink in numbers, for people."""

    broker: str = ""
    phase: str = Phase.OFFLINE.value
    reason: str = "not connected yet"
    host_online: bool | None = None
    sent: int = 0
    resent: int = 0
    acknowledged: int = 0
    refused: int = 0
    previews: int = 0
    lag_ms: int = 0
    """How old samples are when they leave; the newest values are previewed while it is long."""
