"""Running seeds."""

from __future__ import annotations

import gc
import signal
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.simulation.database import Heard
from tests.simulation.plan import drawn_plan
from tests.simulation.plant import Outcome, simulate
from tests.simulation.trace import Trace

CPU_S_MAX: Final = 60.0
"""A seed that computes for longer goes round in a circle in which no simulated time passes."""
COLLECT_EVERY: Final = 50
"""Looking for cycles of garbage took a quarter of the time of a seed, nearly all of it in vain."""
MEMORY: Final = Path("/dev/shm")


class TookTooLong(KeyboardInterrupt):
    """No supervisor of the product takes this for an error of its own."""


def run_seed(seed: int, heard: Heard = lambda said: None) -> Outcome:
    """Run ``seed``, in the main thread; its files are in memory, and gone afterwards. ``heard``: see ``simulate``."""
    where = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lineside-", dir=where) as folder:
        trace = Trace(folder)
        try:
            with _no_longer_than(CPU_S_MAX):
                return simulate(drawn_plan(seed), Path(folder), trace, heard)
        except TookTooLong as exc:
            where_it_was = "".join(traceback.format_tb(exc.__traceback__)[-12:])
            return Outcome(seed, [f"it has not ended after {CPU_S_MAX:g} s of computing:\n{where_it_was}"], trace, 0.0)


@contextmanager
def _no_longer_than(cpu_s: float) -> Iterator[None]:
    def end(_number: int, _frame: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def run_seeds(seeds: Iterable[int]) -> Iterator[Outcome]:
    """Run one seed after the other; garbage is collected now and then between two of them."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for count, seed in enumerate(seeds, 1):
            yield run_seed(seed)
            if count % COLLECT_EVERY == 0:
                gc.collect()
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def replay_command(seed: int) -> str:
    """What a person types to see what happened."""
    return f".venv/bin/python -m tests.simulation --seed {seed}"
