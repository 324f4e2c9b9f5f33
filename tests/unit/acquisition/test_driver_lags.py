"""How far one tag may be behind another while nothing is wrong, as the device file of each driver has it."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.modbus.driver import ModbusDriver
from connectors.modbus.settings import ModbusDevice
from connectors.opcua.driver import OpcUaDriver
from connectors.opcua.settings import OpcUaDevice
from connectors.ports.clock import SystemClock

OPCUA = {"name": "press", "driver": "opcua", "endpoint": "opc.tcp://press", "insecure": True}
MODBUS = {"name": "oven", "driver": "modbus", "endpoint": "tcp://oven", "poll": "2s"}


@pytest.mark.parametrize(("sampling", "lag_s"), [(["100ms"], 1.6), ([None], 2.0), (["0s", None, "1m"], 61.5)])
def test_an_opcua_server_is_as_slow_as_its_publishing_and_its_slowest_sampling(
    sampling: list[str | None], lag_s: float
) -> None:
    tags = [_tag(number, f"i={number}", "sampling", interval) for number, interval in enumerate(sampling)]
    settings = OpcUaDevice.model_validate({**OPCUA, "publishing": "1500ms", "sampling": "500ms", "tags": tags})
    assert OpcUaDriver(settings, SystemClock()).lag_s_max == pytest.approx(lag_s)


@pytest.mark.parametrize(("poll", "lag_s"), [(["100ms"], 0.1), ([None], 2.0), (["1s", None, "1m"], 60.0)])
def test_a_modbus_unit_is_as_slow_as_its_slowest_poll(poll: list[str | None], lag_s: float) -> None:
    tags = [_tag(number, f"holding {number}", "poll", interval) for number, interval in enumerate(poll)]
    assert ModbusDriver(ModbusDevice.model_validate({**MODBUS, "tags": tags}), SystemClock()).lag_s_max == lag_s


def _tag(number: int, at: str, key: str, interval: str | None) -> dict[str, Any]:
    tag: dict[str, Any] = {"name": f"t{number}", "at": at}
    return tag if interval is None else {**tag, key: interval}
