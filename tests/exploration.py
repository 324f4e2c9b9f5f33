"""How much the tests explore: little in ``make check``, more in ``make test``, and for hours in ``make explore``.

The profile of Hypothesis says how many examples a property gets. A history of a state machine is worth many of them,
and takes as long; ``histories`` keeps their number apart: ``make check`` stays quick, and ``make test`` goes far.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "quick")
_EXAMPLES: Final = {"check": 15, "quick": 40, "thorough": 1200}
_HISTORIES_PERCENT: Final = {"check": 6, "quick": 100, "thorough": 3000}


def load_profile() -> None:
    """Make the profile that the environment names the one of every test."""
    for name, examples in _EXAMPLES.items():
        settings.register_profile(name, max_examples=examples, deadline=None)
    settings.load_profile(PROFILE)


def histories(in_make_test: int) -> int:
    """How many histories a state machine is to get now, when ``make test`` is to give it so many."""
    return max(1, in_make_test * _HISTORIES_PERCENT[PROFILE] // 100)
