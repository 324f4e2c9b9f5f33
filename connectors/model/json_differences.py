"""Where two values in JSON differ: arrays and structures, which tags have as texts. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

FLOAT32_PART: Final = 1e-6
"""A 32-bit float holds no value more exactly than this part of it."""
NOTHING: Final = object()
"""In place of what one of the two does not have."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place, such as ``Corners[1].Y``, and what is there before and afterwards, or ``NOTHING``."""

    path: str
    before: Any
    after: Any

    @property
    def texts(self) -> tuple[str, str]:
        """Both as people read them."""
        return _text(self.before), _text(self.after)


def read_json(text: object) -> Any:
    """The array or object that ``text`` is in JSON; ``NOTHING`` for what is neither."""
    if not isinstance(text, str) or not text.lstrip().startswith(("[", "{")):
        return NOTHING
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return NOTHING


def differences(before: Any, after: Any, tolerance: float = 0.0, path: str = "") -> Iterator[Difference]:
    """Where ``after`` is not ``before``, field by field and element by element, in the order of ``before``.

    Numbers are the same however they are written, and within ``tolerance``; those of which one is a fraction also
    within what 32 bits hold. Times are the same in whatever way ISO 8601 writes them.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            there = f"{path}.{name}" if path else name
            yield from differences(before.get(name, NOTHING), after.get(name, NOTHING), tolerance, there)
    elif isinstance(before, list) and isinstance(after, list):
        for number in range(max(len(before), len(after))):
            first, second = (each[number] if number < len(each) else NOTHING for each in (before, after))
            yield from differences(first, second, tolerance, f"{path}[{number}]")
    elif not _is_same(before, after, tolerance):
        yield Difference(path, before, after)


def _is_same(first: Any, second: Any, tolerance: float) -> bool:
    if _is_number(first) and _is_number(second):
        is_whole = isinstance(first, int) and isinstance(second, int)
        return bool(abs(first - second) <= max(tolerance, 0.0 if is_whole else abs(first) * FLOAT32_PART))
    if isinstance(first, str) and isinstance(second, str):
        return first == second or (_time(first) is not None and _time(first) == _time(second))
    return type(first) is type(second) and bool(first == second)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _time(text: str) -> datetime | None:
    if "T" not in text or ":" not in text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _text(value: Any) -> str:
    return "nothing" if value is NOTHING else json.dumps(value, ensure_ascii=False)
