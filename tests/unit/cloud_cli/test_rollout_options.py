"""``cloud-ingest rollout start`` takes no more than a command to an agent can say."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cloud_ingest.cli.releases import rollout


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--health", "15m", "from 5 s to 600 s"),
        ("--health", "4s", "from 5 s to 600 s"),
        ("--expires", "31d", "from 1 s to"),
        ("--soak", "soon", "not a length of time"),
    ],
)
def test_a_time_that_no_agent_could_be_sent_is_refused_before_anything_is_asked(
    option: str, value: str, said: str
) -> None:
    result = CliRunner().invoke(rollout, ["start", "1.1.0", "--group", "plant/*", option, value])
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
