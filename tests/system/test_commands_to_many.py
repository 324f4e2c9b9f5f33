"""Many commands to many agents at once: each is done once, and the cloud knows of each that it was."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.commanded_cloud import CommandedCloud
from benchmarks.commanded_fleet import Fleet

AGENTS, COMMANDS_AN_AGENT = 10, 10
COMMANDS = AGENTS * COMMANDS_AN_AGENT


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_hundred_commands_to_ten_agents_are_each_written_once_and_known_to_have_succeeded(
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        cloud = CommandedCloud(tmp_path)
        stack.callback(cloud.stop)
        cloud.start()
        found = await Fleet(tmp_path, cloud, stack, AGENTS, COMMANDS_AN_AGENT).command_all()
    assert Counter(course.state for course in found.courses) == {"succeeded": COMMANDS}
    assert found.in_cloud == {"succeeded": COMMANDS}
    assert found.writes == dict.fromkeys(range(COMMANDS), 1)
    assert (found.wrong, found.doubled) == ([], [])
