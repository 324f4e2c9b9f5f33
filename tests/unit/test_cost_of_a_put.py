"""What is asked at each batch of samples may not go through all tags of a device: thousands, ten times a second."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from connectors.modbus.driver import ModbusDriver
from connectors.modbus.settings import ModbusDevice
from connectors.opcua.driver import OpcUaDriver
from connectors.opcua.settings import OpcUaDevice
from connectors.ports.clock import SystemClock
from connectors.ports.device import DeviceDriver

TAGS = 500


def opcua() -> DeviceDriver:
    tags = [{"name": f"t{n}", "at": f"ns=1;i={n}", "sampling": "2s"} for n in range(TAGS)]
    place = {"driver": "opcua", "endpoint": "opc.tcp://press.example:4840", "insecure": True}
    return OpcUaDriver(OpcUaDevice.model_validate({"name": "press", **place, "tags": tags}), SystemClock())


def modbus() -> DeviceDriver:
    tags = [{"name": f"t{n}", "at": f"holding {n}", "poll": "2s"} for n in range(TAGS)]
    place = {"driver": "modbus", "endpoint": "tcp://oven.example"}
    return ModbusDriver(ModbusDevice.model_validate({"name": "oven", **place, "tags": tags}), SystemClock())


def calls_of(work: Callable[[], Any]) -> int:
    """How many calls and resumptions of Python functions ``work`` takes."""
    count = 0

    def note(_frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("make", [opcua, modbus])
def test_the_lag_of_a_device_is_not_found_anew_each_time(make: Callable[[], DeviceDriver]) -> None:
    driver = make()
    assert driver.lag_s_max >= 2.0
    assert calls_of(lambda: driver.lag_s_max) < 10
