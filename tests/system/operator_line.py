"""The line that operators' commands are tried on: a press by OPC UA, an oven by Modbus, and a robot that is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lineside.servers.child_process import free_port
from lineside.servers.mosquitto import MosquittoBroker

from tests.servers.modbus import ModbusServer
from tests.servers.opcua import OpcUaServer
from tests.system.edge_agent_steps import EDGE_AGENT, NAMESPACE, AgentProcess
from tests.system.sparkplug_host import PlayedHost, until
from tests.system.terminal import COLUMNS, LINES, Terminal

DEVICES = """
  - name: press
    driver: opcua
    endpoint: {press}
    insecure: true
    publishing: 50ms
    sampling: 0s
    timeout: 20s
    tags:
      - {{name: force, at: 'nsu={namespace};s=force', unit: kN}}
      - {{name: forec, at: 'nsu={namespace};s=forec'}}
      - {{name: sensor, at: 'nsu={namespace};s=sensor', unit: °C}}
      - {{name: state, at: 'nsu={namespace};s=state'}}
      - name: speed
        at: 'nsu={namespace};s=speed'
        unit: 1/min
        description: strokes of the ram
        writable: {{min: 0, max: 100, readback: 0.01}}
    derived: [{{name: work, value: force * speed, unit: kW}}]
  - name: oven
    driver: modbus
    endpoint: {oven}
    poll: 50ms
    timeout: 20s
    tags:
      - {{name: zone, at: holding 0, scale: 0.1, unit: °C}}
      - {{name: setpoint, at: holding 1, writable: {{min: 0, max: 250}}}}
  - {{name: robot, driver: modbus, endpoint: 'tcp://127.0.0.1:{nobody}', tags: [{{name: x, at: coil 1}}]}}
"""
BAD_SENSOR = 0x808C0000  # BadSensorFailure, OPC UA part 6, annex A
WITHOUT_VALUE = ("forec", "sensor", "x")
REASONS = ("the server has no such node", "BadSensorFailure", "refused the connection")


class OperatorLine(NamedTuple):
    """A running line, and the cloud that acknowledges what it sends."""

    agent: AgentProcess
    host: PlayedHost
    press: OpcUaServer
    oven: ModbusServer

    def terminal(
        self, *words: str, columns: int = COLUMNS, lines: int = LINES, env: dict[str, str] | None = None
    ) -> Terminal:
        """An ``edge-agent`` command on a terminal."""
        return Terminal(EDGE_AGENT, *words, "-c", str(self.agent.config), columns=columns, lines=lines, env=env)

    def wait_until_seen(self) -> None:
        """Wait until each device has been tried, and each tag read: what is good has a value, and the rest a reason."""
        until(lambda: all(self._has_come(tag) for tag in self.agent.command("tags", "--json").json))
        until(lambda: all(reason in self.agent.command("status", "--json").out for reason in REASONS))

    @staticmethod
    def _has_come(tag: dict[str, Any]) -> bool:
        return tag["value"] is not None or tag["tag"] in WITHOUT_VALUE


@contextmanager
def operator_line(folder: Path) -> Iterator[OperatorLine]:
    """A line that has delivered its first values, until the ``with`` is left."""
    broker, press, oven = MosquittoBroker(folder / "mosquitto"), OpcUaServer(), ModbusServer()
    broker.start()
    press.start()
    oven.start()
    oven.set("holding", 0, 1805, 180)
    press.add("force", "Double", 12.5)
    press.add("state", "String", "running")
    press.add("speed", "Double", 40.0, writable=True)
    press.add("sensor", "Double", 80.0)
    press.write("sensor", "Double", 80.0, status=BAD_SENSOR)
    host = PlayedHost(broker.port)
    devices = DEVICES.format(press=press.endpoint, oven=oven.endpoint, namespace=NAMESPACE, nobody=free_port())
    agent = AgentProcess(folder, broker, devices)
    agent.start()
    try:
        line = OperatorLine(agent, host, press, oven)
        line.wait_until_seen()
        until(lambda: all(host.values(*tag) for tag in (("oven", "zone"), ("press", "force"), ("press", "state"))))
        yield line
    finally:
        agent.stop()
        host.close()
        oven.stop()
        press.kill()
        broker.stop()
