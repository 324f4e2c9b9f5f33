"""What ``status`` says of the tags of one device: how many are not as they should be, and the first few by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from connectors.model.quality import code_of, name_of
from edge_agent.acquisition.device import DeviceAcquisition

NAMES_MAX: Final = 3
"""So many tags with the same quality are named."""


def not_good(device: DeviceAcquisition) -> list[dict[str, Any]]:
    """How many tags have which quality other than good, of those that have no problem which says more."""
    said = {str(problem.tag) for problem in device.problems if not problem.gives_values}
    found: dict[int, list[str]] = {}
    for index in np.flatnonzero(device.current.not_good()).tolist():
        current = device.current.of(index)
        if current is not None and device.tag_names[index] not in said:
            found.setdefault(current.quality, []).append(device.tag_names[index])
    by_count = sorted(found.items(), key=lambda entry: -len(entry[1]))
    return [
        {"quality": name_of(code), "code": code_of(code), "tags": len(names), "names": names[:NAMES_MAX]}
        for code, names in by_count
    ]


def without_value(device: DeviceAcquisition) -> dict[str, Any]:
    """How many tags are known and have never had a value, and the first of them."""
    types, has_value = device.current.types, device.current.has_value
    empty = [index for index in np.flatnonzero(~has_value).tolist() if types[index] is not None]
    problems = {str(problem.tag) for problem in device.problems if not problem.gives_values} if empty else set()
    names = [device.tag_names[index] for index in empty if device.tag_names[index] not in problems]
    return {"tags": len(names), "names": names[:NAMES_MAX]}


def bad_count(device: DeviceAcquisition) -> int:
    """How many tags have a problem, or a newest sample that is not good."""
    bad = device.current.not_good()
    if not device.problems:
        return int(np.count_nonzero(bad))
    indices: Mapping[str, int] = {name: index for index, name in enumerate(device.tag_names)}
    others = 0
    for problem in device.problems:
        if problem.tag in indices:
            bad[indices[problem.tag]] = True
        else:
            others += 1
    return int(np.count_nonzero(bad)) + others
