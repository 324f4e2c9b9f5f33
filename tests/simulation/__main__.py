"""Run seeds by hand: one with its trace, or many."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.seeds import replay_command, run_seed


def main() -> int:
    """0 when every seed kept what was promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and print what happened")
    parser.add_argument("--seeds", type=int, default=200, help="run so many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them")
    parser.add_argument("--quiet", action="store_true", help="with --seed: no trace")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _replay(asked.seed, quiet=asked.quiet)
    failed, begun_s = 0, time.perf_counter()
    for seed in range(asked.first, asked.first + asked.seeds):
        outcome = run_seed(seed)
        if outcome.violations:
            failed += 1
            print(f"{replay_command(seed)}\n  " + "\n  ".join(outcome.violations), flush=True)
    took_s = time.perf_counter() - begun_s
    print(f"{asked.seeds} seeds in {took_s:.1f} s ({asked.seeds / took_s:.1f} a second), {failed} failed")
    return 1 if failed else 0


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
