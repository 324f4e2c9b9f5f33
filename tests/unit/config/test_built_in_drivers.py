"""The drivers that come with the agent are made from the settings of their devices."""

from __future__ import annotations

from connectors.modbus.driver import ModbusDriver
from connectors.opcua.driver import OpcUaDriver
from connectors.ports.clock import SystemClock
from edge_agent.drivers import LoadedLater, built_in_drivers


def test_a_driver_is_made_from_its_settings() -> None:
    made = {}
    entries = {
        "modbus": {"endpoint": "tcp://127.0.0.1", "tags": [{"name": "t", "at": "coil 1"}]},
        "opcua": {"endpoint": "opc.tcp://127.0.0.1", "insecure": True, "tags": [{"name": "t", "at": "i=1"}]},
    }
    for name, entry in entries.items():
        driver = built_in_drivers()[name]
        device = driver.settings.model_validate({"name": "x", "driver": name, **entry})
        made[name] = driver.create(device, SystemClock())
    assert isinstance(made["modbus"], ModbusDriver)
    assert isinstance(made["opcua"], LoadedLater)
    assert isinstance(made["opcua"]._make(), OpcUaDriver)
    assert made["opcua"].lag_s_max > 0
    assert made["opcua"].counts() == {}


def test_the_drivers_cannot_be_changed_by_who_asks_for_them() -> None:
    assert not hasattr(built_in_drivers(), "__setitem__")
