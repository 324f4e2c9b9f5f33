"""What the driver counts is a metric of its device."""

from __future__ import annotations

from typing import Any, cast

from connectors.modbus.driver import ModbusDriver
from connectors.modbus.settings import ModbusDevice
from connectors.model.tags import DeviceName
from connectors.ports.clock import SystemClock
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.observability.metrics import REGISTRY

UNUSED = cast(Any, None)


def metric(device: str, event: str) -> float | None:
    return REGISTRY.get_sample_value("lineside_driver_events_total", {"device": device, "event": event})


def test_what_the_driver_counts_is_a_metric_from_the_start_and_grows_with_it() -> None:
    driver = ModbusDriver(
        ModbusDevice.model_validate(
            {"name": "x", "driver": "modbus", "endpoint": "tcp://127.0.0.1", "tags": [{"name": "t", "at": "coil 1"}]}
        ),
        SystemClock(),
    )
    device = DeviceAcquisition(
        DeviceName("counted oven"), [], driver, {},
        writer=UNUSED, feed=UNUSED, collector=UNUSED, listener=UNUSED, clock=SystemClock(),
    )  # fmt: skip
    assert metric("counted oven", "late_replies") is None
    device.measure_driver()
    assert (metric("counted oven", "late_replies"), metric("counted oven", "requests")) == (0, 0)
    driver.counters.late_replies += 3
    device.measure_driver()
    driver.counters.late_replies += 1
    driver.counters.time_outs += 2
    device.measure_driver()
    device.measure_driver()
    assert (metric("counted oven", "late_replies"), metric("counted oven", "time_outs")) == (4, 2)
    assert metric("counted oven", "requests") == 0
