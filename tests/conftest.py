"""Real servers for every test that asks for one, and coroutines as tests.

A server whose program is missing fails the test with the sentence that says what to install; no test is skipped.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lineside.servers.child_process import ProgramMissing
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

from tests import exploration, left_open, side_by_side
from tests.servers.databases import Databases
from tests.servers.kafka import KafkaServer

if TYPE_CHECKING:
    from tests.contract.logs_under_test import LogUnderTest

exploration.load_profile()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In a run of several processes, say which tests go together."""
    return side_by_side.SideBySide(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a run of several processes, say which tests begin."""
    if getattr(config.option, "loadgroup", False):
        side_by_side.in_order(items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Have the garbage collector look at nothing that is imported for the tests: all of it stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Have a test close what it opens; in unit tests, which open little, it shows later and costs less."""
    if not item.nodeid.startswith("tests/unit/"):
        left_open.fail_for_what_is_open()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names if name in pyfuncitem.funcargs}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run, or each of its processes. A test that stops or kills it starts it again."""
    try:
        server = PostgresServer(tmp_path_factory.mktemp("postgres"), settings={"max_connections": "200"})
    except ProgramMissing as exc:
        pytest.fail(str(exc), pytrace=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer) -> Databases:
    """For a test that needs several databases, one after the other."""
    return Databases(postgres_server)


@pytest.fixture
def database_dsn(databases: Databases) -> Iterator[str]:
    """A database of the test's own, with all tables of this version, and nothing in them."""
    with databases.with_tables() as dsn:
        yield dsn


@pytest.fixture
def empty_database_dsn(databases: Databases) -> Iterator[str]:
    """A database of the test's own without any table."""
    with databases.without_tables() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """One Kafka for the whole run, or each of its processes. A test that stops or kills it starts it again."""
    try:
        server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    except ProgramMissing as exc:
        pytest.fail(str(exc), pytrace=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["memory", "postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def log_server(request: pytest.FixtureRequest) -> Iterator[LogUnderTest]:
    """Every server of event logs in turn. A test that stops or kills it need not start it again."""
    from tests.contract import logs_under_test

    server: LogUnderTest
    if request.param == "memory":
        server = logs_under_test.MemoryUnderTest()
    elif request.param == "postgres":
        dsn = request.getfixturevalue("database_dsn")
        server = logs_under_test.PostgresUnderTest(request.getfixturevalue("postgres_server"), dsn)
    else:
        server = logs_under_test.KafkaUnderTest(request.getfixturevalue("kafka_server"))
    yield server
    server.start()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[MosquittoBroker]:
    """A fresh Mosquitto without TLS, which allows everything."""
    try:
        broker = MosquittoBroker(tmp_path / "mosquitto")
    except ProgramMissing as exc:
        pytest.fail(str(exc), pytrace=False)
    broker.start()
    yield broker
    broker.stop()
