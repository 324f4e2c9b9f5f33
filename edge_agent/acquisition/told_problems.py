"""What is told of tags that something is wrong with: of each problem once, and of many only how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connectors.model.tags import DeviceName
from connectors.observability.events import emit
from connectors.ports.device import TagProblem
from edge_agent.observability.device_events import DeviceReached, TagDoubted, TagRefused, TagsBound

PROBLEMS_LOGGED_MAX: Final = 20


def tell_problems(device: DeviceName, before: Sequence[TagProblem], problems: Sequence[TagProblem]) -> None:
    """Tell how many ``problems`` there are, and those that were not there, or not for this reason, ``before``."""
    emit(TagsBound(device, sum(not problem.gives_values for problem in problems)))
    known = {problem.tag: problem.reason for problem in before}
    fresh = [problem for problem in problems if known.get(problem.tag) != problem.reason]
    for problem in fresh[:PROBLEMS_LOGGED_MAX]:
        event = TagDoubted if problem.gives_values else TagRefused
        emit(event(device, problem.tag, problem.reason))
    if len(fresh) > PROBLEMS_LOGGED_MAX:
        more = f"{len(fresh) - PROBLEMS_LOGGED_MAX} more tags have a problem; `edge-agent tags` lists them"
        emit(TagRefused(device, "…", more))


def tell_place(device: str, before: str, place: str) -> None:
    """Say at which of its servers a device is reached, when it is another than before."""
    if place != before:
        emit(DeviceReached(device, place))
