"""Every part is killed (kill -9) in turn under load; each number that reached the agent is stored exactly once.

What the machines counted while the agent was dead lies in gaps that the agent declared; nothing else is absent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
from lineside.servers.postgres import PostgresServer

from tests.faults.accounting import explains, holes
from tests.faults.counting_plant import COUNTERS, REGISTERS, CountingPlant
from tests.servers.kafka import KafkaServer

UNDER_LOAD_S = 2.0
DEAD_S = 2.0
RECOVERY_S_MAX = 180.0
GAP_MARGIN_S, START_S = 10.0, 60.0
"""A declared gap may begin a second early, and ends with the first sample after the start; later on a slow machine."""


@pytest.fixture(params=["postgresql", pytest.param("kafka", marks=pytest.mark.kafka)])
def plant(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer, database_dsn: str
) -> CountingPlant:
    """A plant at each of the two event logs."""
    kafka: KafkaServer | None = None
    if request.param == "kafka":
        kafka = request.getfixturevalue("kafka_server")
        kafka.start()
    return CountingPlant(tmp_path, postgres_server, database_dsn.rpartition("/")[2], kafka)


def kill_and_start(plant: CountingPlant, kill: Callable[[], None], start: Callable[[], None]) -> tuple[float, float]:
    """Kill a part under load, start it again, wait until samples arrive again; between which times it was dead."""
    time.sleep(UNDER_LOAD_S)
    killed_s = time.time()
    kill()
    time.sleep(DEAD_S)
    start()
    started_s = time.time()
    plant.wait_until_stored(plant.stored() + COUNTERS, RECOVERY_S_MAX)
    return killed_s, started_s


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_of_each_part_in_turn_under_load(plant: CountingPlant) -> None:
    dead: list[tuple[float, float]] = []
    with plant:
        plant.wait_until_stored(10 * COUNTERS, RECOVERY_S_MAX)
        parts: list[tuple[str, Callable[[], None], Callable[[], None]]] = [
            ("broker", plant.broker.kill, plant.broker.start),
            ("ingest", plant.ingest.kill, plant.start_ingest),
            ("agent", plant.agent.kill, plant.start_agent),
            ("historian", plant.historian.kill, plant.start_historian),
            ("PostgreSQL", plant.postgres.kill, plant.postgres.start),
        ]
        if plant.kafka is not None:
            parts.insert(2, ("Kafka", plant.kafka.kill, plant.kafka.start))
        parts.append(("agent", plant.agent.kill, plant.start_agent))
        for name, kill, start in parts:
            times = kill_and_start(plant, kill, start)
            if name == "agent":
                dead.append(times)
        last = plant.stand_still()
        plant.wait_until_delivered(RECOVERY_S_MAX)

        numbers, gaps, ledger = plant.numbers(), plant.gaps(), plant.ledger()

    assert len([tag for tag in numbers if tag[0] == "counters"]) == COUNTERS
    assert len([tag for tag in numbers if tag[0] == "registers"]) == REGISTERS
    for (device, tag), rows in numbers.items():
        assert [n for n, same in groupby(number for number, _ in rows) if len(list(same)) > 1] == [], (device, tag)
        assert rows[-1][0] == last[device], (device, tag)
    deaths = [gap for gap in gaps if gap.reason == "agent_not_running"]
    assert [gap.device for gap in deaths].count("counters") == len(dead)
    assert [gap.device for gap in deaths].count("registers") == len(dead)
    for gap in deaths:
        assert any(
            killed_s - GAP_MARGIN_S < gap.first_s < killed_s < killed_s + DEAD_S < gap.last_s < started_s + START_S
            for killed_s, started_s in dead
        ), (gap, dead)
    # On a slow machine a server's queue may not hold everything, and a poll may come late; that is declared, too.
    assert {gap.reason for gap in gaps} <= {"agent_not_running", "device_overflow", "polled_late"}
    found = holes(numbers)
    counting_on = {hole.tag for hole in found if hole.device == "counters"}
    assert len(counting_on) == COUNTERS, "the machine went on while the agent was dead"
    for hole in found:
        assert explains(gaps, hole, margin_s=0.0), (hole, gaps)
    assert ledger["missing"] == 0
    assert ledger["dead_letters"] == 0
    assert len(ledger["epochs"]) == 1 + len(dead)
