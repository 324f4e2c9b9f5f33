"""A device that is dead, in whatever way, takes no poll from the others on its agent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from tests.servers.modbus import ModbusServer
from tests.system.edge_agent_steps import AgentProcess
from tests.system.sparkplug_host import PlayedHost, until

UNITS = 12
READS = 40


class Plant:
    """Units of their own, the first register of which goes up at each read: a number that is missing is a lost poll."""

    def __init__(self, folder: Path, broker: MosquittoBroker, units: list[ModbusServer]) -> None:
        self.units = units
        self.names = [f"unit{number}" for number in range(len(units))]
        for unit in units:
            unit.command("count holding 0 0 read")
        self.host = PlayedHost(broker.port)
        self.agent = AgentProcess(folder / "agent", broker, "".join(map(self._device, self.names, units)))

    def _device(self, name: str, unit: ModbusServer) -> str:
        timeout = "500ms" if unit is self.units[0] else "20s"  # the others lose no poll where the machine stands still
        return (
            f"  - name: {name}\n    driver: modbus\n    endpoint: {unit.endpoint}\n    poll: 100ms\n"
            f"    timeout: {timeout}\n    tags:\n      - {{name: reads, at: holding 0}}\n"
        )

    def reads(self, name: str) -> list[int]:
        return list(self.host.values(name, "reads"))

    def until_read(self, names: list[str]) -> None:
        """Wait until each of these was read so often since now."""
        before = {name: len(self.reads(name)) for name in names}
        for name in names:
            until(lambda name=name: len(self.reads(name)) >= before[name] + READS)  # type: ignore[misc]


@pytest.fixture
def plant(folder: Path, mosquitto: MosquittoBroker) -> Iterator[Plant]:
    with ExitStack() as stack:
        found = Plant(folder, mosquitto, [stack.enter_context(ModbusServer()) for _ in range(UNITS)])
        stack.callback(found.host.close)
        stack.callback(found.agent.stop)
        found.agent.start()
        until(lambda: all(found.reads(name) for name in found.names))
        yield found


@pytest.mark.parametrize("how", ["gone", "silent"])
def test_the_others_are_read_poll_by_poll_while_one_is_dead(plant: Plant, how: str) -> None:
    dead, *others = plant.names
    if how == "gone":
        plant.units[0].kill()
    else:
        os.kill(plant.units[0].pid, signal.SIGSTOP)
    try:
        until(lambda: plant.host.of("DDEATH", device=dead))
        plant.until_read(others)
    finally:
        if how == "silent":
            os.kill(plant.units[0].pid, signal.SIGCONT)
    for name in others:
        reads = plant.reads(name)
        assert reads == list(range(reads[0], reads[0] + len(reads))), f"a poll of {name} is missing"
        assert not plant.host.of("DDEATH", device=name)
    devices = plant.agent.command("status", "--json").json["devices"]
    assert {device["device"] for device in devices if device["online"]} >= set(others)
