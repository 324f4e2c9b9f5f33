"""Servers that only contract tests ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lineside.servers.child_process import ProgramMissing, ServerNotStarted

from tests.contract.documents_under_test import (
    LEAVES_SOCKETS,
    OpenDocuments,
    documents_in_mongo,
    documents_in_postgres,
)
from tests.contract.historian_steps import RawLog, RawLogOnKafka, RawLogOnPostgres
from tests.servers.modbus import ModbusServer
from tests.servers.mongo import MongoServer
from tests.servers.node_opcua import NodeOpcUaServer
from tests.servers.opcua import OpcUaServer
from tests.servers.sparkplug_peers import Peer, sparkplug_payload, tahu


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


@pytest.fixture(scope="module")
def node_opcua() -> Iterator[NodeOpcUaServer]:
    """A server of node-opcua without security, with the tests' types of data; shared: each test names its own nodes."""
    server = NodeOpcUaServer(nodesets=["press.NodeSet2.xml"])
    try:
        server.start()
    except (ProgramMissing, ServerNotStarted) as exc:
        pytest.fail(str(exc), pytrace=False)
    yield server
    server.close()


@pytest.fixture(params=["tahu", "sparkplug_payload"])
def sparkplug_peer(request: pytest.FixtureRequest) -> Peer:
    """Each of the two Sparkplug implementations of other people."""
    try:
        return tahu() if request.param == "tahu" else sparkplug_payload()
    except (ProgramMissing, ServerNotStarted) as exc:
        pytest.fail(str(exc), pytrace=False)


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def raw_log(request: pytest.FixtureRequest) -> RawLog:
    """The log that a historian reads, on each of the two engines."""
    if request.param == "postgres":
        return RawLogOnPostgres(request.getfixturevalue("database_dsn"))
    kafka = request.getfixturevalue("kafka_server")
    kafka.start()
    return RawLogOnKafka(kafka)


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """One stand-in for MongoDB for the whole run, or each of its processes."""
    try:
        server = MongoServer(tmp_path_factory.mktemp("mongo"))
        server.start()
    except (ProgramMissing, ServerNotStarted) as exc:
        pytest.fail(str(exc), pytrace=False)
    yield server
    server.stop()


@pytest.fixture(params=["postgres", pytest.param("mongo", marks=LEAVES_SOCKETS)])
def open_documents(request: pytest.FixtureRequest) -> OpenDocuments:
    """Each store of documents in turn, empty, with the tenants 1 and 2."""
    if request.param == "postgres":
        return documents_in_postgres(request.getfixturevalue("database_dsn"))
    return documents_in_mongo(request.getfixturevalue("mongo_server").url)
