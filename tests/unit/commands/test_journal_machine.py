"""Journal, crashes, replays and duplicates, in any order: a device is written at most once for an id, and what is said
of a command is what the device holds, or unknown. Each broken build is found by what it breaks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from edge_agent.commands.audit_log import chain_problems
from tests.broken_commands import BUILDS
from tests.exploration import histories
from tests.unit.commands.command_machine import CommandMachine
from tests.unit.commands.played_line import Line, running
from tests.virtual_time import run

HISTORIES_MAX: Final = 400
"""Each is found in the first hundred of them."""
FOUND: Final = {
    "write_before_the_journal": "a command was written twice|what was refused was not written",
    "recovery_writes_again": "a command was written twice|what was refused was not written",
    "no_replay_check": "a command was written twice|a state has gone back",
    "no_read_back": "what is said to be held was held",
    "locks_are_not_looked_at": "it was written although an operator has locked the line",
}

TestCommands = CommandMachine.TestCase
TestCommands.settings = settings(max_examples=histories(60), stateful_step_count=8, deadline=None)


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


def test_the_audit_log_of_such_a_history_is_whole(tmp_path: Path) -> None:
    async def scene(start: int) -> None:
        line = Line(tmp_path, start=start)
        async with running(line):
            for value in range(5):
                await line.done(line.send(line.envelope("speed", value)).id)
            assert list(chain_problems(line.journal.journal._opened())) == []

    for start in (1, 2, 3):
        run(scene(start))
