"""Events of the agent as a program: its start and end, what it serves, and faults.

The names are part of the product: alerts depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from connectors.observability.events import Event
from edge_agent.observability.metrics import FAULTS


@dataclass(frozen=True, slots=True)
class AgentStarted(Event):
    """The agent runs; ``epoch`` is the identity of this start."""

    agent: str
    version: str
    epoch: str
    devices: int
    tags: int


@dataclass(frozen=True, slots=True)
class AgentStopping(Event):
    """The agent was asked to stop."""

    signal: str


@dataclass(frozen=True, slots=True)
class AgentStopped(Event):
    """The agent has stopped; what was acquired is on disk, except for ``samples_lost``."""

    samples_lost: int


@dataclass(frozen=True, slots=True)
class SocketUnavailable(Event):
    """The socket that ``edge-agent`` commands speak to cannot be made; the agent works without it."""

    level: ClassVar[str] = "warning"
    path: str
    reason: str
    retry_s: float


@dataclass(frozen=True, slots=True)
class MetricsUnavailable(Event):
    """The metrics cannot be served at their address, because another program has it, say; the agent works without."""

    level: ClassVar[str] = "warning"
    address: str
    reason: str
    retry_s: float


@dataclass(frozen=True, slots=True)
class Fault(Event):
    """An unexpected error of a supervised task, which is started again."""

    level: ClassVar[str] = "error"
    task: str
    error: str
    traceback: str

    def measure(self) -> None:
        """See ``Event``."""
        FAULTS.labels(self.task).inc()
