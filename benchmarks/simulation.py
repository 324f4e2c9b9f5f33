"""``simulation``: what a seed of the simulation costs (``make simulate``), in CPU-seconds.

Two thousand seeds on two cores within two minutes are 0.12 CPU-seconds a seed. One process computes at a time: what two
threads of one core do to each other depends on the machine. Each round has the same seeds, and the median counts.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.report import Figure, report
from tests.simulation.seeds import run_seeds

SEEDS = 200
ROUNDS = 5
GOAL_CPU_S = 2 * 120.0 / 2000


def main() -> None:
    """Run all rounds; a seed that fails ends the benchmark."""
    costs, simulated_s = [], 0.0
    for _ in range(ROUNDS):
        begun_s = time.process_time()
        outcomes = list(run_seeds(range(SEEDS)))
        costs.append((time.process_time() - begun_s) / SEEDS)
        simulated_s = sum(outcome.ended_s for outcome in outcomes) / SEEDS
        failed = [outcome.seed for outcome in outcomes if outcome.violations]
        if failed:
            raise SystemExit(f"seeds that failed: {failed}; 'make simulate SEED={failed[0]}' shows what happened")
    report(
        "simulation",
        [
            Figure("a seed", statistics.median(costs), "CPU-s", GOAL_CPU_S, at_least=False),
            Figure("a seed, the cheapest round", min(costs), "CPU-s"),
            Figure("simulated time of a seed", simulated_s, "s"),
        ],
    )
