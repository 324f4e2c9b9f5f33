"""Builds that break what is promised are found, each by what it breaks; the same seeds are clean without it."""

from __future__ import annotations

from itertools import count, islice
from typing import Final

import pytest

from tests.simulation.broken import BUILDS
from tests.simulation.plan import Kind, Plan, drawn_plan
from tests.simulation.seeds import replay_command, run_seeds

SEEDS_MAX: Final = 40
LOST: Final = "committed, and neither stored nor given up"
OTHER_REASONS: Final = ("s after the last fault", "has caught a defect", "has not ended", "ended with", "Traceback")
"""Violations that say that the build does not work at all: that would be no proof of anything."""

FOUND: Final[dict[str, tuple[str, set[Kind]]]] = {
    "delete_before_acknowledgement": (LOST, {"line cut", "broker restart", "weather", "log fails", "log away"}),
    "acknowledge_before_the_log_has_it": (LOST, {"log fails", "log away", "log loses end", "crash"}),
    "no_deduplication": ("stored twice", {"log fails", "weather", "line cut"}),
    "epoch_used_again": ("neither stored nor", {"backup comes back"}),
    "gap_dropped": ("said, and neither stored nor in a gap", {"crash", "machine away"}),
}
"""By build: what is said of it, and the faults of which a day must have one for it to matter."""


def test_every_broken_build_is_looked_for() -> None:
    assert FOUND.keys() == BUILDS.keys()


def _is_delivery_alone(plan: Plan) -> bool:
    """Commands do not end where their reports are lost, which would be found as well."""
    return not plan.has_commands


@pytest.mark.slow
@pytest.mark.timeout(600)  # some seconds on a quiet machine
@pytest.mark.parametrize("name", BUILDS)
def test_a_broken_build_is_found_by_what_it_breaks(name: str) -> None:
    said, faults = FOUND[name]
    plans = (drawn_plan(seed) for seed in count())
    fitting = (
        plan.seed for plan in plans if _is_delivery_alone(plan) and any(one.kind in faults for one in plan.faults)
    )
    tried: list[int] = []
    found: list[str] = []
    with BUILDS[name]():
        for outcome in run_seeds(islice(fitting, SEEDS_MAX)):
            tried.append(outcome.seed)
            found = [violation for violation in outcome.violations if said in violation]
            others = [each for each in outcome.violations if any(reason in each for reason in OTHER_REASONS)]
            assert others == [], f"{replay_command(outcome.seed)} with {name}"
            if found:
                break
    assert found, f"{name} was not found in the seeds {tried}"
    for outcome in run_seeds(tried):
        assert outcome.violations == [], replay_command(outcome.seed)
