"""Small broken configuration files: what they are made of, and all that is said of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.model.errors import ConfigInvalid
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers

Case = tuple[str, list[str]]

HEAD = """\
agent: {group: plant-7, name: line-3}
uplink: {brokers: [mqtts://broker:8883]}
"""
TAG = "{name: x, at: coil 1}"
OVEN = HEAD + "devices:\n  - {name: oven, driver: modbus, endpoint: tcp://oven, tags: [%s]}\n"
PRESS = """\
agent: {group: plant-7, name: line-3}
uplink: {brokers: [mqtts://broker:8883]}
devices:
  - name: press
    driver: opcua
    endpoint: opc.tcp://press
    tags:
      - {name: force, at: ns=2;i=1, %s}
    insecure: true
"""
UPLINK = "agent: {group: plant-7, name: line-3}\nuplink:\n  brokers: [mqtts://broker:8883]\n  %s\n"
DURATION = "Write a number with a unit, such as 100ms, 5s, 2m, 1h or 7d."
SECRET = "Write a reference to it: ${credential:NAME}, ${file:/path} or ${env:NAME}."


def said_of(text: str) -> list[str]:
    """What is said of ``agent.yaml`` with this text, in the current folder."""
    Path("agent.yaml").write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(Path("agent.yaml"), built_in_drivers(), environ={"MQTT_PASSWORD": "open sesame"})
    assert caught.value.__cause__ is None, "a chained error would print the library's words, and secrets"
    assert caught.value.__context__ is None
    return [str(problem) for problem in caught.value.problems]
