"""Every seed keeps what was promised, and plays the same story each time."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

from tests.simulation.processes import run_in_processes

SEEDS: Final = 2000
"""The same in every run: it is a change that is judged, not the luck of a draw. ``make simulate`` takes others."""
TOLD: Final = 20


@pytest.mark.slow
@pytest.mark.timeout(900)  # two minutes on two quiet cores; a busy machine is no failure
def test_no_sample_is_lost_doubled_or_unexplained_whatever_goes_wrong() -> None:
    failures = run_in_processes([range(SEEDS)], len(os.sched_getaffinity(0)))
    assert not failures, "\n".join(failures)


@pytest.mark.slow
def test_a_seed_is_the_same_story_in_every_process() -> None:
    told = [_told(hash_seed) for hash_seed in ("1", "2")]
    assert [line for line in told[0] if line not in told[1]] == []
    assert len(told[0]) == TOLD


def _told(hash_seed: str) -> list[str]:
    """A line a seed, with the hash of what happened."""
    code = (
        "from tests.simulation.seeds import run_seeds\n"
        f"for outcome in run_seeds(range({TOLD})): print(outcome.seed, outcome.trace.hash(), outcome.ended_s)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, check=True, env=environment, text=True, timeout=110).stdout
    return said.splitlines()
