"""A log line as it is kept: who said what, when. Pure: no I/O, no clock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from connectors.ports.documents import Entry

Level = Literal["debug", "info", "warning", "error"]
Source = Literal["application", "agent", "device"]
LEVELS: Final[tuple[Level, ...]] = ("debug", "info", "warning", "error")
TEXT_CHARS_MAX: Final = 4000
FIELDS_MAX: Final = 50
FIELD_CHARS_MAX: Final = 1000
FUTURE_NS_MAX: Final = 60 * 1_000_000_000
"""A line whose clock is further ahead is kept by the time at which it came: else it would be the newest for ever."""
_ID_DIGITS: Final = 24


@dataclass(frozen=True, slots=True)
class Line:
    """``event`` is what happened, in one word; ``text`` in a sentence; ``fields`` is what else is known of it."""

    time_ns: int
    level: Level
    source: Source
    event: str
    text: str = ""
    agent: str = ""
    device: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


def at_least(level: Level) -> tuple[Level, ...]:
    """``level``, and what is worse."""
    return LEVELS[LEVELS.index(level) :]


def entry_of(line: Line, now_ns: int) -> tuple[Entry, str]:
    """The entry of ``line``, and the text that it is found by. Of two lines that say the same, it is the same one."""
    time_ns = min(line.time_ns, now_ns) if line.time_ns > now_ns + FUTURE_NS_MAX else line.time_ns
    body = {
        "level": line.level,
        "source": line.source,
        "event": clean(line.event)[:FIELD_CHARS_MAX],
        "text": clean(line.text)[:TEXT_CHARS_MAX],
        "agent": clean(line.agent)[:FIELD_CHARS_MAX],
        "device": clean(line.device)[:FIELD_CHARS_MAX],
        "fields": [[clean(name)[:100], clean(value)[:FIELD_CHARS_MAX]] for name, value in line.fields.items()][
            :FIELDS_MAX
        ],
    }
    said = json.dumps([line.time_ns, body], sort_keys=True).encode()
    words = " ".join([line.event, line.text, line.agent, line.device, *(str(v) for v in line.fields.values())])
    return Entry(hashlib.sha256(said).hexdigest()[:_ID_DIGITS], time_ns, body), words


def clean(text: str) -> str:
    """``text`` without what a store does not take: U+0000, and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def text_of(value: Any) -> str:
    """A field's value as text."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
