"""The trial of a release, seen from inside: whether this agent does what the one before did, so that it may stay.

Healthy is: connected to the cloud, something acknowledged by it, and every device read that was read before. It has to
be so twice in a row. The launcher gives up when it is not said in time; what is missing then stands in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, Protocol

from connectors.observability.events import emit
from edge_agent.observability.release_events import ReleaseHealthy, ReleaseNotHealthyYet
from edge_agent.releases.layout import ENV_FOLDER, ENV_RELEASE, ENV_TRIAL, ReleaseFolder
from edge_agent.releases.switching import State

LOOK_S: Final = 0.5
LOOKS: Final = 2
TELL_EVERY: Final = 20
"""Looks between two lines in the log."""


class Releases:
    """The releases of this box, as the agent in one of them sees them; without a launcher there are none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.folder = ReleaseFolder(Path(environ[ENV_FOLDER])) if environ.get(ENV_FOLDER) else None
        self.name = environ.get(ENV_RELEASE, "")
        self.trial = environ.get(ENV_TRIAL, "") if self.folder is not None else ""

    def state(self) -> State:
        """What the launcher knows."""
        return State() if self.folder is None else self.folder.state()

    async def prove(self, missing: Callable[[frozenset[str]], str]) -> None:
        """In a trial: say that this agent is healthy, once it is; else return at once.

        ``missing`` says what is missing yet, given the devices that were read before. Raises ``OSError``.
        """
        folder, order = self.folder, self.state().trial
        if folder is None or not self.trial or order is None or order.order != self.trial:
            return
        looks = good = 0
        while good < LOOKS:
            await asyncio.sleep(LOOK_S)
            said = missing(frozenset(order.devices))
            good = 0 if said else good + 1
            if said and looks % TELL_EVERY == 0:
                emit(ReleaseNotHealthyYet(self.name, said))
            looks += 1
        folder.say_healthy(order.order)
        emit(ReleaseHealthy(self.name))


class Device(Protocol):
    """As much of a device as is looked at."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def is_read(self) -> bool:
        """Whether it is read."""
        ...


class Sending(Protocol):
    """As much of the state of the uplink as is looked at."""

    phase: str
    acknowledged: int
    sent: int


def missing_of(devices: Collection[Device], uplink: Sending, born: str) -> Callable[[frozenset[str]], str]:
    """What is missing for this agent to be healthy, given the devices that were read before.

    A device that the agent's file has no more is none of them.
    """

    def missing(before: frozenset[str]) -> str:
        if uplink.phase != born:
            return f"it is not connected to the cloud ({uplink.phase})"
        away = [str(each.name) for each in devices if each.name in before and not each.is_read]
        if away:
            return f"not read, as they were before: {', '.join(away[:10])}"
        return "" if uplink.acknowledged else "nothing that it has sent is acknowledged"

    return missing
