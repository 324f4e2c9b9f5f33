"""How a device file names what a step of a command calls on an OPC UA server, taken apart without a library."""

from __future__ import annotations

from typing import Final

from connectors.opcua.browse_paths import is_path, parse_path
from connectors.opcua.node_ids import split_method

OF_CONDITIONS: Final = {"acknowledge": 9111, "confirm": 9113, "add_comment": 9029}
"""What a person does with an alarm (Part 9, 5.5.6 and 5.7.3), and its method, which all conditions have in common."""

PATH_NAMES_MIN: Final = 3
"""From Objects through an object to its method."""


def check_call(written: str) -> None:
    """Raises ``ValueError``, with what to write, when ``written`` can name no method."""
    if written in OF_CONDITIONS:
        return
    if not is_path(written):
        split_method(written)
    elif len(parse_path(written)) < PATH_NAMES_MIN:
        raise ValueError(
            f"{written!r} is no path through an object to its method; write it such as /Objects/2:Press/Start"
        )
