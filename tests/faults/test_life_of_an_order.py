"""The whole life of an order on each of the two logs, with every role killed in the middle of one: it ends the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from tests.contract.historian_steps import RawLogOnKafka
from tests.faults.order_factory import PRODUCT, ROLES, SCREW, WANTED, OrderFactory
from tests.servers.modbus import ModbusServer


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def factory(
    request: pytest.FixtureRequest, tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str
) -> Iterator[OrderFactory]:
    kafka = ""
    if request.param == "kafka":
        server = request.getfixturevalue("kafka_server")
        server.start()
        asyncio.run(RawLogOnKafka(server).clear())
        kafka = server.bootstrap
    with ModbusServer() as machine:
        here = OrderFactory(tmp_path, mosquitto, database_dsn, machine, kafka)
        try:
            here.start()
            yield here
        finally:
            here.stop()


def nothing() -> None:
    """Nobody is killed."""


@pytest.mark.slow
@pytest.mark.timeout(900)  # two minutes on a quiet machine
def test_the_life_of_an_order_ends_the_same_whichever_role_is_killed_in_the_middle(factory: OrderFactory) -> None:
    undisturbed = factory.life("undisturbed", nothing, nothing)
    assert undisturbed["state"] == "shipped"
    assert undisturbed["problem"] is None, "nobody has to do anything"
    assert undisturbed["paid"] == 0, "the whole sum, once"
    assert undisturbed["work orders"] == [("complete", str(WANTED), "1")]
    assert undisturbed["stock"] == {PRODUCT: 0, SCREW: -2 * (WANTED + 1)}, (
        "made and shipped; the reject has used screws"
    )
    for role in ROLES:

        def killed(role: str = role) -> None:
            factory.kill(role)

        found: dict[str, Any] = factory.life(f"{role} killed", killed, killed)
        assert found == undisturbed, f"{role} was killed when it was placed, and while it was made"
