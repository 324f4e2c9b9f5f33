"""How much the tests explore: little in ``make check``, more in ``make test``, and for hours in ``make explore``.

The profile of Hypothesis says how many examples a property gets. A history of a state machine is worth many of them,
and takes as long; ``histories`` keeps their number apart, as does ``steps`` that of one long history: ``make check``
stays quick, and ``make test`` goes far.

``make test`` draws the same examples with each run, so that it refuses no change for an example that was drawn by
chance and has nothing to do with it. ``make check`` and ``make explore`` draw others each time, and find what is new.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "quick")
_EXAMPLES: Final = {"check": 10, "quick": 40, "thorough": 1200}
_HISTORIES_PERCENT: Final = {"check": 6, "quick": 100, "thorough": 3000}
_REPEATED: Final = "quick"


def load_profile() -> None:
    """Make the profile that the environment names the one of every test, and of all settings that are made later."""
    for name, examples in _EXAMPLES.items():
        settings.register_profile(
            name,
            max_examples=examples,
            deadline=None,
            derandomize=name == _REPEATED,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],  # on a busy machine everything is
        )
    settings.load_profile(PROFILE)
    if PROFILE == _REPEATED:
        _draw_no_constants_of_the_product()


def histories(in_make_test: int) -> int:
    """How many histories a state machine is to get now, when ``make test`` is to give it so many."""
    return max(1, in_make_test * _HISTORIES_PERCENT[PROFILE] // 100)


def steps(in_make_test: int) -> int:
    """How many steps one long history is to have now, when ``make test`` is to give it so many."""
    return histories(in_make_test)


def _draw_no_constants_of_the_product() -> None:
    """Hypothesis also draws numbers and words that stand in the modules that are loaded so far.

    So a word that changes anywhere, or another test that ran before, would change the examples of every property.
    """
    none = providers.Constants()
    providers._get_local_constants = lambda: none
