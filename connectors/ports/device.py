"""The port to the machines: one driver a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from connectors.model.samples import SampleBatch
from connectors.model.tags import TagName, TagType


@dataclass(frozen=True, slots=True)
class TagProblem:
    """Why one tag gives no values, in a sentence; its neighbours are not affected.

    ``quality`` is the upper half of the OPC UA status code that fits best.
    """

    tag: TagName
    reason: str
    quality: int


class Acquisition(Protocol):
    """What a driver reports to while it is connected: the acquisition of its device."""

    async def online(self, types: Sequence[TagType], problems: Sequence[TagProblem]) -> None:
        """The device is connected and these tags are known with their types; the others have a problem.

        Called after each connect, before the first sample, and again when tags have become known or have got a
        problem since. Returns when the definition is on disk.
        """
        ...

    async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        """Hand over samples (``tag`` holds the index of ``TagType``).

        Waits while the acquisition is full: that is how back-pressure reaches the device. ``committed`` is called,
        in the event loop, when the samples are on disk.
        """
        ...


class DeviceDriver(Protocol):
    """One connection to one OPC UA server or Modbus unit, by its one owner.

    Delivery: at least what the device offers. A driver never drops a sample that it has received; what the device
    itself lost (queue overflow) is marked in the quality.
    """

    async def acquire(self, acquisition: Acquisition) -> None:
        """Connect, report ``online``, then hand over samples until cancelled.

        Raises ``DeviceUnavailable`` when the device cannot be reached or the connection is lost, with a sentence for
        the operator; the caller waits and calls again. A cancellation closes the connection in an orderly way. One
        wrong tag is a ``TagProblem``, never an exception.
        """
        ...
