"""Which part of a value a tag is: ``Origin.X``, ``[3]``, ``Corners[1].Y``."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

Part: TypeAlias = tuple[str | int, ...]
STEPS_MAX: Final = 50
_STEP: Final = re.compile(r"(?:\A|(?!\A)\.)([^.\[\]]+)|\[([0-9]{1,9})\]")


def parse_part(text: str) -> Part:
    """The names of fields and the places in arrays, from the outside in. Raises ``ValueError`` with what to write."""
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            break
        steps.append(found[1] if found[2] is None else int(found[2]))
        at = found.end()
    if not steps or at < len(text):
        raise ValueError(f"{text!r} is no part of a value; write it such as Origin.X, [3] or Corners[1].Y")
    if len(steps) > STEPS_MAX:
        raise ValueError(f"{text!r} goes {len(steps)} steps into a value, and {STEPS_MAX} are allowed")
    return tuple(steps)


def part_text(part: Part) -> str:
    """``part`` as it is written."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in part).removeprefix(".")


def wrong(at: Part, said: str) -> ValueError:
    """``said`` of the field in the place ``at``."""
    return ValueError(f"{part_text(at)}: {said}" if at else said)


def part_of(tree: Any, part: Part) -> Any:
    """The part of a value of structures (dictionaries) and arrays (lists); ``None`` where it is not there now."""
    for step in part:
        if isinstance(step, int):
            if not isinstance(tree, list) or step >= len(tree):
                return None
            tree = tree[step]
        else:
            tree = tree.get(step) if isinstance(tree, dict) else None
        if tree is None:
            return None
    return tree
