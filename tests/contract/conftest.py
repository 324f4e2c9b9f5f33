"""Servers that only contract tests ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lineside.servers.child_process import ProgramMissing

from tests.contract.historian_steps import RawLog, RawLogOnKafka, RawLogOnPostgres
from tests.servers.modbus import ModbusServer
from tests.servers.opcua import OpcUaServer


@pytest.fixture
def modbus_unit() -> Iterator[ModbusServer]:
    """A fresh Modbus unit of libmodbus, all of whose registers are 0."""
    unit = ModbusServer()
    try:
        unit.start()
    except ProgramMissing as exc:
        pytest.fail(str(exc), pytrace=False)
    yield unit
    unit.stop()


@pytest.fixture
def opcua_server() -> Iterator[OpcUaServer]:
    """A fresh OPC UA server of open62541, without variables."""
    server = OpcUaServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def raw_log(request: pytest.FixtureRequest) -> RawLog:
    """The log that a historian reads, on each of the two engines."""
    if request.param == "postgres":
        return RawLogOnPostgres(request.getfixturevalue("database_dsn"))
    kafka = request.getfixturevalue("kafka_server")
    kafka.start()
    return RawLogOnKafka(kafka)
