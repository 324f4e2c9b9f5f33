"""Of the files that were read nothing stays in memory: a start collects no garbage, and what is in a circle stays."""

from __future__ import annotations

import gc
from pathlib import Path

from connectors.modbus.settings import ModbusDevice
from edge_agent.config.load import load_with_origins
from edge_agent.drivers import built_in_drivers


def test_no_circle_keeps_what_was_read_of_the_files(tmp_path: Path) -> None:
    tags = "".join(f"      - {{name: t{at}, at: holding {at}}}\n" for at in range(500))
    path = tmp_path / "agent.yaml"
    path.write_text(
        "agent: {group: g, name: a, data_dir: data}\nuplink: {brokers: ['mqtts://broker']}\n"
        f"devices:\n  - name: oven\n    driver: modbus\n    endpoint: tcp://127.0.0.1\n    tags:\n{tags}"
    )
    drivers = built_in_drivers()
    load_with_origins(path, drivers)  # what is loaded once for all files
    gc.collect()
    gc.disable()
    try:
        loaded = load_with_origins(path, drivers)
        left = gc.collect()
    finally:
        gc.enable()
    assert isinstance(loaded.config.devices[0], ModbusDevice)
    assert left < 500, "a node of each tag would be more"
