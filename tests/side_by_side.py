"""Which tests of a run in several processes stay together, and which of them begin (``--dist loadgroup``).

A test goes to whichever process is free, on its own, except for two kinds:

- Those of a file that has fixtures of its module, or asks for a server that is shared by a module, go together, in the
  order in which they stand there: each process would make it anew otherwise.
- Those on Kafka go together: a Kafka of its own for each process costs more than it saves.

What takes long begins, so that no process is left alone with it at the end: Kafka, then what is marked as slow.

The groups are told by the names of tests: of ``xdist_group`` marks xdist 3.8 learns nothing under pytest 9.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling

_CHECKOUT: Final = Path(__file__).parents[1]
_SHARED: Final = re.compile(r'scope="module"|\bnode_opcua\b')
_TESTS: Final = re.compile(r"^(?:async )?def test_", re.MULTILINE)
_ALONE: Final = "tests/faults/"
"""They take minutes each."""
_LAST: Final = 2


class SideBySide(LoadScopeScheduling):
    """Gives out tests, or groups of them, in the order in which the processes have collected them."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def in_order(items: list[pytest.Item]) -> None:
    """Put ``items`` in the order in which they are to be given out."""
    turns: dict[str, int] = {}
    for item in items:
        group = group_of(item.nodeid)
        turns[group] = min(turns.get(group, _LAST), _turn(item))
    items.sort(key=lambda item: turns[group_of(item.nodeid)])


def group_of(nodeid: str) -> str:
    """The name of a test's group: its own where it goes alone."""
    file = nodeid.partition("::")[0]
    if not nodeid.startswith(_ALONE) and ("kafka" in nodeid or _is_on_kafka(file)):
        return "kafka"
    return file if _shares(file) else nodeid


@functools.cache
def _shares(file: str) -> bool:
    return bool(_SHARED.search((_CHECKOUT / file).read_text("utf-8")))


@functools.cache
def _is_on_kafka(file: str) -> bool:
    """Whether each test of a file is, though their names do not say it."""
    text = (_CHECKOUT / file).read_text("utf-8")
    return 0 < text.count("@pytest.mark.kafka\n") == len(_TESTS.findall(text))


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("kafka") is not None:
        return 0
    return 1 if item.get_closest_marker("slow") is not None else _LAST
