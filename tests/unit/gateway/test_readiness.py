"""What ``/readyz`` says: whether questions are answered, and what the rest of the process waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from cloud_ingest.gateway.app import make_app
from cloud_ingest.observability import events, ingest_events, steadiness
from cloud_ingest.observability.events import Fault, PartitionAssigned, PartitionLeft, StoreReached, StoreWaiting
from cloud_ingest.observability.ingest_events import Appended, AppendFailed, HostLost, HostOnline, HostStandby
from cloud_ingest.observability.obstacles import Obstacles
from connectors.model.back_off import BackOff
from connectors.model.errors import DatabaseUnavailable
from connectors.observability.events import Event

BROKER = "the broker mqtts://b:8883 cannot be reached: its name is not known"


@pytest.fixture
def obstacles(monkeypatch: pytest.MonkeyPatch) -> Obstacles:
    """Those that events change, empty at first."""
    fresh = Obstacles()
    for module in (events, ingest_events):
        monkeypatch.setattr(module, "OBSTACLES", fresh)
    return fresh


class FakeDatabase:
    def __init__(self, *, migrated: bool = True, away: str = "") -> None:
        self._migrated, self._away = migrated, away

    @asynccontextmanager
    async def session(self, tenant_id: int | None = None) -> AsyncIterator[FakeDatabase]:
        if self._away:
            raise DatabaseUnavailable(self._away)
        yield self

    async def fetch(self, _sql: str) -> list[dict[str, Any]]:
        return [{"there": self._migrated}]


async def readyz(obstacles: Obstacles, **database: Any) -> tuple[int, str, str]:
    there: Any = FakeDatabase(**database)
    transport = httpx.ASGITransport(make_app(there, CollectorRegistry(), obstacles))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud.example") as client:
        answer = await client.get("/readyz")
    return answer.status_code, answer.json()["status"], answer.json()["reason"]


async def test_what_another_part_waits_for_is_shown_and_questions_are_answered(obstacles: Obstacles) -> None:
    assert await readyz(obstacles) == (200, "ok", "")
    HostLost("mqtts://b:8883", BROKER, 1.0).measure()
    assert await readyz(obstacles) == (200, "degraded", f"ingest: {BROKER}")


async def test_without_its_database_a_process_is_not_ready(obstacles: Obstacles) -> None:
    assert await readyz(obstacles, away="PostgreSQL is away") == (503, "not ready", "PostgreSQL is away")
    assert (await readyz(obstacles, migrated=False))[2] == "the database has no tables yet; run 'cloud-ingest migrate'"
    StoreWaiting("start", "permission denied for schema public", 1.0).measure()
    assert (await readyz(obstacles, migrated=False))[2] == "permission denied for schema public"


async def test_a_reason_that_several_parts_have_is_said_once(obstacles: Obstacles) -> None:
    for task in ("historian partition 1", "historian partition 0"):
        StoreWaiting(task, "Kafka is away.", 1.0).measure()
    StoreWaiting("ingest", "PostgreSQL is away.", 1.0).measure()
    assert str(obstacles) == "historian partition 0, historian partition 1: Kafka is away. ingest: PostgreSQL is away."


@pytest.mark.parametrize(
    ("waits", "works"),
    [
        (StoreWaiting("start", "x", 1.0), StoreReached("start")),
        (StoreWaiting("historian", "x", 1.0), StoreReached("historian")),
        (StoreWaiting("historian partition 3", "x", 1.0), PartitionAssigned("t", 3, 0)),
        (StoreWaiting("historian partition 3", "x", 1.0), PartitionLeft("t", 3, "given away")),
        (StoreWaiting("ingest", "x", 1.0), HostOnline("lineside", "mqtts://b")),
        (HostLost("mqtts://b", "x", 1.0), HostOnline("lineside", "mqtts://b")),
        (HostLost("mqtts://b", "x", 1.0), HostStandby("lineside")),
        (AppendFailed("x", 1, 1.0), Appended(1, 1, 0.1)),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_obstacle_is_gone_when_its_part_works_again(waits: Event, works: Event, obstacles: Obstacles) -> None:
    waits.measure()
    assert str(obstacles).endswith(": x")
    works.measure()
    assert str(obstacles) == ""


async def test_a_task_that_has_a_fault_is_named_until_it_has_run_steadily(
    obstacles: Obstacles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steadiness, "STEADY_S", 0.02)
    monkeypatch.setattr(steadiness, "OBSTACLES", obstacles)
    Fault("historian partition 2", "IndexError: 7", "").measure()
    assert (await readyz(obstacles))[1:] == (
        "degraded",
        "historian partition 2 fault: a defect has ended it, and it was started again: IndexError: 7. Please report "
        "it, with the traceback from the log.",
    )
    back_off = BackOff(1.0, 60.0)
    back_off.next_s()
    async with steadiness.steadily("historian partition 2", back_off):
        await asyncio.sleep(0.05)
    assert await readyz(obstacles) == (200, "ok", "")
    assert back_off.next_s() <= 1.0, "and after a steady run it is started again at once"


async def test_the_fault_of_a_partition_goes_with_it_to_another_process(obstacles: Obstacles) -> None:
    Fault("historian partition 2", "IndexError: 7", "").measure()
    PartitionLeft("raw", 2, "it was given to another process").measure()
    assert await readyz(obstacles) == (200, "ok", "")


async def test_a_task_that_fails_at_once_is_not_taken_for_well(
    obstacles: Obstacles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steadiness, "STEADY_S", 0.02)
    monkeypatch.setattr(steadiness, "OBSTACLES", obstacles)
    Fault("ingest", "IndexError: 7", "").measure()
    async with steadiness.steadily("ingest", BackOff(1.0, 60.0)):
        pass
    await asyncio.sleep(0.05)
    assert (await readyz(obstacles))[1] == "degraded"
