"""Event letters for a person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cloud_ingest.cli.ledger_screens import facts_table, letter_screen
from cloud_ingest.cli.screens import plain, table_of, time_text
from cloud_ingest.event_log.letters import TAKEN


def event_letters_screen(letters: Sequence[dict[str, Any]]) -> RenderableType:
    """Event letters for a person."""
    if not letters:
        return Text("every part of the platform has taken every event")
    table = table_of("number", "part", "topic", "about", "set aside (UTC)", "state", "reason")
    for letter in letters:
        table.add_row(
            str(letter["number"]),
            letter["projection"],
            letter["topic"],
            Text(plain(letter["key"])),
            time_text(letter["received"]),
            Text(letter_state(letter), "dim" if letter["closed"] else "yellow"),
            Text(plain(letter["retry_failure"] or letter["reason"])),
        )
    return table


def letter_state(letter: dict[str, Any]) -> str:
    """How an event letter stands, in few words."""
    if letter["closed"]:
        return "taken" if letter["closed_reason"] == TAKEN else "closed"
    if letter["retry_asked"]:
        return "to be taken"
    return f"open, tried {letter['retries']} times" if letter["retries"] else "open"


def event_letter_screen(letter: dict[str, Any], value: bytes) -> RenderableType:
    """One event letter for a person: an event as JSON, else the beginning of its bytes."""
    try:
        shown = json.dumps(json.loads(value), indent=2, ensure_ascii=False)
    except ValueError:
        return letter_screen(letter, value, "event-letters")
    return Group(facts_table(letter), Text("\n".join(plain(line) for line in shown.split("\n"))))
