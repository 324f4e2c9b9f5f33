"""Journal, crashes, replays and duplicates, in any order: a device is written at most once for an id, and what is said
of a command is what the device holds, or unknown. ``tests/simulation/test_broken_command_parts.py``: broken builds.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings

from edge_agent.commands.audit_log import chain_problems
from tests.exploration import histories
from tests.unit.commands.command_machine import CommandMachine
from tests.unit.commands.played_line import Line, running
from tests.virtual_time import run

TestCommands = CommandMachine.TestCase
TestCommands.settings = settings(max_examples=histories(60), stateful_step_count=8, deadline=None)


def test_the_audit_log_of_such_a_history_is_whole(tmp_path: Path) -> None:
    async def scene(start: int) -> None:
        line = Line(tmp_path, start=start)
        async with running(line):
            for value in range(5):
                await line.done(line.send(line.envelope("speed", value)).id)
            assert list(chain_problems(line.journal.journal._opened())) == []

    for start in (1, 2, 3):
        run(scene(start))
