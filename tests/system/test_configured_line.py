"""What an engineer's files can say beyond tags that are read, on real machines: tags that are calculated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from tests.servers.modbus import ModbusServer
from tests.system.edge_agent_steps import AgentProcess, oven
from tests.system.sparkplug_host import PlayedHost, until

DERIVED = """\
      - {name: status, at: holding 1, type: uint16}
    derived:
      - {name: zone/fahrenheit, value: zone * 1.8 + 32, unit: °F}
      - {name: fault, value: "bit(status, 3) or zone > 300", lane: alarms}
      - {name: state, value: "if(fault, broken, fine)"}
"""


@pytest.fixture
def broker(folder: Path) -> Iterator[MosquittoBroker]:
    broker = MosquittoBroker(folder / "mosquitto")
    broker.start()
    yield broker
    broker.stop()


def test_tags_that_are_calculated_reach_the_cloud_and_the_operator(
    folder: Path, broker: MosquittoBroker, modbus_unit: ModbusServer
) -> None:
    modbus_unit.set("holding", 0, 1000, 1 << 3)
    host = PlayedHost(broker.port)
    agent = AgentProcess(folder, broker, oven(modbus_unit) + DERIVED)
    agent.start()
    try:
        until(lambda: host.values("oven", "state") == ["broken"])
        modbus_unit.set("holding", 1, 0)
        until(lambda: host.values("oven", "state") == ["broken", "fine"])
        modbus_unit.set("holding", 0, 1805)
        until(lambda: host.values("oven", "zone/fahrenheit")[-1:] == [pytest.approx(356.9)])
        assert host.values("oven", "fault") == [True, False]
        shown = {tag["tag"]: tag for tag in agent.command("tags", "--json").json}
        assert shown["state"]["value"] == "fine"
        assert shown["zone/fahrenheit"]["unit"] == "°F"
        refused = agent.command("write", "oven/state", "broken", "--reason", "a test")
        assert refused.code != 0
        assert "calculated from other tags" in refused.out + refused.err
    finally:
        agent.stop()
        host.close()
