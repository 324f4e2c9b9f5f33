"""Values, times and amounts as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def value_text(value: Any, datatype: str | None = None) -> str:
    """A value for a column, in one line; what a terminal could take for a command is replaced.

    ``datatype``: the label of its type, where it is known. A DateTime is milliseconds since 1970, and shown as a time.
    """
    if value is None:
        return "-"
    if datatype == "DateTime" and isinstance(value, int):
        return clock_time(value * 1_000_000)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "".join(char if char.isprintable() else "·" for char in str(value))


def quality_text(name: str, code: str) -> str:
    """The name of a quality with its code: manuals list the one or the other."""
    return name if code in name else f"{name} ({code})"


def clock_time(time_ns: int | None) -> str:
    """A time of today as hours to milliseconds, another day with its date; in UTC, which the heading has to say."""
    if time_ns is None:
        return "-"
    try:
        when = datetime.fromtimestamp(time_ns / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        return "out of range"
    text = when.strftime("%H:%M:%S.") + f"{when.microsecond // 1000:03d}"
    return text if when.date() == datetime.now(UTC).date() else f"{when:%Y-%m-%d} {text}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 12 s, 3 min, 5 h, 2 d."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86_400:.1f} d"


def size(count: float) -> str:
    """Bytes as a person says them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def shortened(text: str, width: int) -> str:
    """``text`` in at most ``width`` characters: what is left out is in the middle, as names differ at their ends."""
    if len(text) <= width:
        return text
    head = max(0, width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}" if width > 1 else "…"
