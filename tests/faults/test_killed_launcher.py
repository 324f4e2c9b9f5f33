"""The launcher is killed before each step that changes the disk; the next one ends where it would have ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.releases.switching import STARTS_MAX, State
from tests.unit.releases.fake_agent import CRASHES, GOOD, Box, until

STEPS_MAX = 60


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("does", "succeeds"), [(GOOD, True), (CRASHES, False)])
def test_the_launcher_is_killed_at_each_step_and_the_next_one_ends_the_same(
    tmp_path: Path, does: str, succeeds: bool
) -> None:
    kills = 0
    expected = "1.1-b" if succeeds else "1.0-a"
    for step in range(1, STEPS_MAX):
        folder = tmp_path / str(step)
        folder.mkdir()
        box = Box(folder)
        try:
            box.install("1.0-a", GOOD)
            box.install("1.1-b", does)
            box.folder.keep(State(current="1.0-a"))
            box.order("A", "1.1-b")
            process = box.launch(killed_at=step)
            until(lambda box=box, process=process: process.poll() is not None or box.has_ended(expected))
            is_over = process.poll() is None
            if not is_over:
                kills += 1
                box.launch()
            until(lambda box=box: box.has_ended(expected))
            assert box.outcome() == ("A", succeeds)
            assert box.starts().count("1.1-b") <= STARTS_MAX + 1
        finally:
            box.kill()
        if is_over:
            break
    assert 8 < kills < STEPS_MAX - 1, "each step was reached, and then one had none left"
