"""What the agent loads when it starts: an edge box has little memory, and a line waits for the first sample."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = "import sys; import edge_agent.main; from edge_agent.drivers import built_in_drivers; built_in_drivers(); "


@pytest.mark.parametrize(
    "module",
    ["rich", "sqlite_utils", "asyncua", "pyarrow", "asyncpg", "aiokafka", "fastapi", "joserfc", "lark", "cloud_ingest"],
)
def test_an_agent_loads_nothing_that_it_does_not_need(module: str) -> None:
    program = _PROGRAM + f"print({module!r} in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "False"


def test_a_command_that_draws_can_load_rich_afterwards() -> None:
    program = _PROGRAM + "import rich.console; rich.console.Console().print('drawn')"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "drawn"
