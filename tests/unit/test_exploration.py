"""What a run of the tests draws: in ``make test`` the same each time, whatever else has changed."""

from __future__ import annotations

import os
import subprocess
import sys

_DRAWING = """
import sys
from tests import exploration
exploration.load_profile()
for module in sys.argv[1:]:
    __import__(module)
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

@settings(max_examples=150)
@given(st.integers() | st.text())
def draw(drawn):
    print(ascii(drawn))

class Machine(RuleBasedStateMachine):
    @rule(drawn=st.integers() | st.text())
    def draw(self, drawn):
        print(ascii(drawn))

draw()
run_state_machine_as_test(Machine, settings=settings(max_examples=15, stateful_step_count=10, deadline=None))
"""


def drawn(profile: str, *loaded: str) -> str:
    run = [sys.executable, "-c", _DRAWING, *loaded]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": profile}
    return subprocess.run(run, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


def test_make_test_draws_the_same_whatever_the_product_s_code_is_and_whatever_was_loaded_before() -> None:
    alone = drawn("quick")
    assert len(alone.splitlines()) > 200
    assert drawn("quick", "edge_agent.main", "cloud_ingest.config") == alone
