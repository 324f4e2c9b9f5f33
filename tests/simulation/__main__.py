"""Run seeds by hand: one with its trace, or many."""

from __future__ import annotations

import argparse
import gc
import sys
import time

from tests.simulation.processes import run_in_processes
from tests.simulation.seeds import replay_command, run_seed, run_seeds

ALLOCATIONS_UNTIL_COLLECTED = 50_000
"""A seed makes many small objects and few circles: looking for those at every 700th takes a fifth of the time."""


def main() -> int:
    """0 when every seed kept what was promised."""
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_UNTIL_COLLECTED)
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and print what happened")
    parser.add_argument("--seeds", type=int, default=200, help="run so many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them")
    parser.add_argument("--step", type=int, default=1, help="from one of them to the next")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share them")
    parser.add_argument("--quiet", action="store_true", help="with --seed: no trace")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _replay(asked.seed, quiet=asked.quiet)
    seeds = range(asked.first, asked.first + asked.seeds * asked.step, asked.step)
    begun_s = time.perf_counter()
    if asked.jobs > 1:
        failures = run_in_processes([seeds], asked.jobs)
        print("".join(failures), end="")
        said = "some failed" if failures else "none failed"
    else:
        failed = _run(seeds)
        said, failures = f"{failed} failed", ["failed"] * failed
    took_s = time.perf_counter() - begun_s
    print(f"{asked.seeds} seeds in {took_s:.1f} s ({asked.seeds / took_s:.1f} a second), {said}")
    return 1 if failures else 0


def _run(seeds: range) -> int:
    """How many have failed; each is printed, with the command that repeats it."""
    failed = 0
    for outcome in run_seeds(seeds):
        if outcome.violations:
            failed += 1
            print(f"{replay_command(outcome.seed)}\n  " + "\n  ".join(outcome.violations), flush=True)
    return failed


def _replay(seed: int, *, quiet: bool) -> int:
    outcome = run_seed(seed)
    if not quiet:
        for line in outcome.trace.lines():
            print(line)
    print(
        f"seed {seed}: {len(outcome.trace.entries)} entries, hash {outcome.trace.hash()}, "
        f"ended at {outcome.ended_s:.1f} s"
    )
    for violation in outcome.violations:
        print(f"VIOLATION {violation}")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
