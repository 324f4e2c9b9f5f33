"""What can be read on a device that nobody has described yet: found for an engineer who is about to describe it."""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found at ``endpoint`` below ``under``; ``left_out``: so many variables were too many."""

    endpoint: str
    under: str
    variables: tuple[SurveyedVariable, ...] = field(default=())
    left_out: int = 0
