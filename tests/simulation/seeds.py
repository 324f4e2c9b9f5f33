"""Running seeds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from tests.simulation.plan import drawn_plan
from tests.simulation.plant import Outcome, simulate

MEMORY: Final = Path("/dev/shm")


def run_seed(seed: int) -> Outcome:
    """Run ``seed``; its files are in memory, and gone afterwards."""
    where = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lineside-", dir=where) as folder:
        return simulate(drawn_plan(seed), Path(folder))


def replay_command(seed: int) -> str:
    """What a person types to see what happened."""
    return f"python -m tests.simulation --seed {seed}"
