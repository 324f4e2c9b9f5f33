"""Which tests of a run in several processes stay together, and which of them begin.

A test goes to whichever process is free, on its own, except for two kinds:

- Tests that share something of their file (a fixture of the module) go together, and in the order in which they stand
  there: each process would make it anew otherwise.
- Tests on Kafka go together, except for those that are marked as slow: a Kafka of its own for each process costs more
  than it saves.

What takes long begins, so that no process is left alone with it at the end: Kafka, then what is marked as slow.
"""

from __future__ import annotations

from typing import Final

import pytest

KAFKA: Final = "kafka"
LAST: Final = 2


def order_and_group(items: list[pytest.Item]) -> None:
    """Put ``items`` in the order in which they are given out, and mark those that go together."""
    groups = {item: _group_of(item) for item in items}
    turns: dict[str, int] = {}
    for item, group in groups.items():
        if item.get_closest_marker("xdist_group") is None and group != item.nodeid:
            item.add_marker(pytest.mark.xdist_group(group))
        turns[group] = min(turns.get(group, LAST), _turn(item))
    items.sort(key=lambda item: turns[groups[item]])


def _group_of(item: pytest.Item) -> str:
    """The name of the group; of a test that goes alone, its own."""
    if (marked := item.get_closest_marker("xdist_group")) is not None:
        return str(marked.args[0])
    if _shares_its_module(item):
        return item.nodeid.partition("::")[0]
    is_short_on_kafka = item.get_closest_marker("kafka") is not None and item.get_closest_marker("slow") is None
    return KAFKA if is_short_on_kafka else item.nodeid


def _shares_its_module(item: pytest.Item) -> bool:
    known = getattr(item, "_fixtureinfo", None)
    if known is None:
        return False
    fixtures = [found[-1] for name, found in known.name2fixturedefs.items() if name in item.fixturenames]  # type: ignore[attr-defined]
    return any(fixture.scope in ("module", "package", "class") for fixture in fixtures)


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("kafka") is not None:
        return 0
    return 1 if item.get_closest_marker("slow") is not None else LAST
