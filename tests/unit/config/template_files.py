"""Files with a template of a press, in the current folder: what they become, and all that is said of one."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from connectors.model.errors import ConfigInvalid
from edge_agent.config.load import load_config
from edge_agent.config.models import AgentConfig
from edge_agent.drivers import built_in_drivers

HEAD = "agent: {group: plant-7, name: line-3}\nuplink: {brokers: [mqtts://broker]}\n"
PRESS = """\
templates:
  press:
    parameters:
      host: text
      port: {type: integer, default: 4840, min: 1, max: 65535}
      line: {type: text, choices: [A, B], default: A, description: Which of the two lines}
    device:
      driver: opcua
      endpoint: opc.tcp://$(host):$(port)
      insecure: true
      tags:
        - {name: ram/force, at: ns=2;s=$(line).Ram.Force, unit: kN}
        - {name: ram/position, at: ns=2;s=$(line).Ram.Position, unit: mm}
"""


def load(text: str, **files: str) -> AgentConfig:
    Path("agent.yaml").write_text(HEAD + textwrap.dedent(text))
    for name, content in files.items():
        Path(f"{name}.yaml").write_text(textwrap.dedent(content))
    return load_config(Path("agent.yaml"), built_in_drivers(), environ={"SECRET": "open sesame"})


def said_of(text: str, **files: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load(text, **files)
    return [str(problem) for problem in caught.value.problems]
