"""A command part that is broken on purpose is found by what it breaks, in the days that Hypothesis draws for it."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.broken_commands import BUILDS
from tests.unit.commands.command_machine import CommandMachine

HISTORIES_MAX: Final = 2000
"""Each is found in the first hundreds of them."""
FOUND: Final = {
    "write_before_the_journal": "a command was written twice|what was refused was not written",
    "recovery_writes_again": "a command was written twice|what was refused was not written",
    "no_replay_check": "a command was written twice|a state has gone back",
    "no_read_back": "what is said to be held was held",
    "locks_are_not_looked_at": "it was written although an operator has locked the line",
}


def test_every_broken_build_is_looked_for() -> None:
    assert FOUND.keys() == BUILDS.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)  # some seconds on a quiet machine
@pytest.mark.parametrize("name", BUILDS)
def test_a_broken_build_is_found_by_what_it_breaks(name: str) -> None:
    explored = settings(
        max_examples=HISTORIES_MAX, stateful_step_count=8, deadline=None, derandomize=True, database=None,
        phases=(Phase.generate,), report_multiple_bugs=False,
    )  # fmt: skip
    with BUILDS[name](), pytest.raises(AssertionError, match=FOUND[name]):
        run_state_machine_as_test(CommandMachine, settings=explored)
