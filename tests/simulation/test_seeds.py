"""Every seed keeps what was promised, and plays the same story each time."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

from tests.simulation.seeds import replay_command, run_seed

SEEDS: Final = 60
PARTS: Final = 6


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_sample_is_lost_doubled_or_unexplained_whatever_goes_wrong(part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        outcome = run_seed(seed)
        assert outcome.violations == [], f"repeat with: {replay_command(seed)}"


@pytest.mark.slow
def test_a_seed_is_the_same_story_in_every_process() -> None:
    told = set()
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "tests.simulation", "--seed", "3", "--quiet"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        told.add(subprocess.run(command, capture_output=True, check=True, env=environment, timeout=120).stdout)
    assert len(told) == 1
    assert b"hash " in told.pop()
