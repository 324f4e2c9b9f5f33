"""Events of rollouts of releases."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.observability.events import Event


@dataclass(frozen=True, slots=True)
class RolloutSent(Event):
    """An agent was asked to install a release; ``refused`` says why that could not be asked for."""

    rollout: int
    agent: str
    command: str
    refused: str


@dataclass(frozen=True, slots=True)
class RolloutEnded(Event):
    """A rollout is done, or has halted by itself, and why."""

    rollout: int
    state: str
    reason: str
