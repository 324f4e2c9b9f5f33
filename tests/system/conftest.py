"""Servers that system tests ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.modbus import ModbusServer
from tests.servers.opcua import OpcUaServer


@pytest.fixture
def opcua_server() -> Iterator[OpcUaServer]:
    """A fresh OPC UA server of open62541, without variables."""
    server = OpcUaServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short path: that of a socket has at most 107 bytes."""
    return tmp_path_factory.mktemp("a")


@pytest.fixture
def modbus_unit() -> Iterator[ModbusServer]:
    """A fresh Modbus unit of libmodbus, all of whose registers are 0."""
    unit = ModbusServer()
    unit.start()
    yield unit
    unit.stop()
