"""What can be read on a device that nobody has described yet: found for an engineer who is about to describe it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from connectors.ports.device import Value


@dataclass(frozen=True, slots=True)
class SurveyedVariable:
    """One variable: the names on the way to it, where it is as a device file writes it, and what it has now.

    ``type`` is what a person calls it, such as ``Double`` or ``Int32[]``; ``quality`` is the name of its
    quality where that is not good, and ``problem`` what that means.
    """

    path: tuple[str, ...]
    name: str
    at: str
    type: str
    value: Value | None = None
    unit: str = ""
    description: str = ""
    is_writable: bool = False
    quality: str = ""
    problem: str = ""
    is_readable: bool = True


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found at ``endpoint`` below ``under``; ``left_out``: so many variables were too many."""

    endpoint: str
    under: str
    variables: tuple[SurveyedVariable, ...] = field(default=())
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class SurveyedNode:
    """One node, as what is above it lists it: a variable with what it has now, or an object, which may have more below.

    ``path`` are the names on the way from where the survey began, ``at`` is where it is as a device file writes it.
    """

    path: tuple[str, ...]
    at: str
    variable: SurveyedVariable | None = None
    description: str = ""


class NodeRefused(Exception):
    """The device does not say what was asked of one node; why, in a sentence. Others may be asked for."""


class LiveSurvey(Protocol):
    """A device that is looked at node by node, for as long as somebody looks.

    All of it raises ``DeviceUnavailable``, with what to check, once the connection is lost: then it is over.
    """

    @property
    def begins_at(self) -> str:
        """The node below which the paths begin, as a device file writes it."""

    def pages(self, node: SurveyedNode | None) -> AsyncGenerator[Sequence[SurveyedNode], None]:
        """What is right below ``node``, or where the survey begins; asked for page by page, in the device's order.

        Raises ``NodeRefused`` when the device does not list it, or lists more than is taken: the pages before count.
        """

    async def read(self, nodes: Sequence[SurveyedNode]) -> Sequence[SurveyedVariable]:
        """What the variables among ``nodes`` are and have now, with units, in their order; each has a name of its own.

        Raises ``NodeRefused`` when the device refuses the whole of it.
        """

    async def watch(self) -> None:
        """Keep the connection, until cancelled."""
