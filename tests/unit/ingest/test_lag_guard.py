"""What is acknowledged is stored before the log deletes it: else batches are left with their agents."""

from __future__ import annotations

import pytest
from bridge_steps import Stage, eventually, quick_retries, settled

from cloud_ingest.ingest import lag_guard
from cloud_ingest.observability.obstacles import INGEST_LAG, OBSTACLES
from connectors.model.datatypes import DataType
from tests.played_agent import PlayedAgent, Sample, Wire


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_retries(monkeypatch)
    monkeypatch.setattr(lag_guard, "LAG_S", 0.01)


def batches(agent: PlayedAgent) -> list[Wire]:
    wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE})]
    return [*wires, *(agent.samples("press", [Sample("force", 1, 1.0)]) for _ in range(3))]


def later(stage: Stage, by_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the ingest goes ahead."""
    clock = stage.bridge._intake._clock
    now_ns = clock.now_ns() + by_s * 10**9
    monkeypatch.setattr(clock, "now_ns", lambda: now_ns, raising=False)


async def test_no_batch_is_taken_while_the_historian_is_as_far_behind_as_the_log_keeps_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log keeps an hour; what is acknowledged and not stored by then would be gone."""
    stage, agent = Stage(), PlayedAgent()
    async with stage.running():
        stage.send(*batches(agent))
        await eventually(lambda: stage.broker.acknowledged()[0] == [1, 2, 3, 4, 5])
        later(stage, 3000, monkeypatch)
        await eventually(lambda: stage.bridge._intake.guard.is_holding_back)
        stage.send(agent.samples("press", [Sample("force", 2, 2.0)]), agent.born(1))
        await eventually(lambda: len(stage.log.records()) == 6)
        await settled()
        assert stage.broker.acknowledged()[0] == [1, 2, 3, 4, 5], "but births are taken"
        stage.database.places = dict.fromkeys(range(4), 100)
        await eventually(lambda: not stage.bridge._intake.guard.is_holding_back)
        agent.next -= 1
        stage.send(agent.samples("press", [Sample("force", 2, 2.0)]))
        await eventually(lambda: stage.broker.acknowledged()[0] == [1, 2, 3, 4, 5, 6])


async def test_a_historian_that_is_a_minute_behind_is_named_though_batches_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage, agent = Stage(), PlayedAgent()
    async with stage.running():
        stage.send(batches(agent)[0])
        await eventually(lambda: stage.broker.acknowledged()[0] == [1])
        later(stage, 70, monkeypatch)
        await eventually(lambda: "the historian is 70 s behind" in OBSTACLES.reason(INGEST_LAG))
        assert not stage.bridge._intake.guard.is_holding_back
        stage.database.places = dict.fromkeys(range(4), 100)
        await eventually(lambda: not OBSTACLES.reason(INGEST_LAG))


async def test_a_log_that_keeps_less_than_it_was_told_to_counts_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, agent = Stage(), PlayedAgent()
    stage.log.keeps_s = 600.0
    async with stage.running():
        stage.send(batches(agent)[0])
        await eventually(lambda: stage.broker.acknowledged()[0] == [1])
        later(stage, 400, monkeypatch)
        await settled()
        assert not stage.bridge._intake.guard.is_holding_back
        later(stage, 100, monkeypatch)
        await eventually(lambda: stage.bridge._intake.guard.is_holding_back)


async def test_without_the_database_the_historian_is_as_far_behind_as_it_was_when_it_was_last_heard_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage, agent = Stage(shares=True), PlayedAgent()
    async with stage.running(online=False):
        await eventually(lambda: stage.bridge._sharing is not None and stage.bridge._sharing.broker_url)
        wires = batches(agent)
        for wire in wires[:4]:
            stage.shared.deliver(*wire)
        await eventually(lambda: len(stage.log.records()) == 4)
        stage.database.places = dict.fromkeys(range(4), 4)
        await eventually(lambda: stage.bridge._intake.guard._places)
        stage.database.available = False
        later(stage, 3000, monkeypatch)
        await settled()
        assert not stage.bridge._intake.guard.is_holding_back, "it had read all, and nothing has come since"
        stage.shared.deliver(*wires[4])
        await eventually(lambda: len(stage.log.records()) == 5)
        later(stage, 3000, monkeypatch)
        await eventually(lambda: stage.bridge._intake.guard.is_holding_back)
        stage.shared.deliver(*agent.samples("press", [Sample("force", 2, 2.0)]))
        await settled()
        assert len(stage.log.records()) == 5, "acknowledged, it might be deleted before it is stored"
        stage.database.available, stage.database.places = True, dict.fromkeys(range(4), 5)
        await eventually(lambda: not stage.bridge._intake.guard.is_holding_back)


async def test_a_historian_that_was_never_heard_of_counts_as_having_read_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage, agent = Stage(shares=True), PlayedAgent()
    stage.database.available = False
    async with stage.running(online=False):
        await eventually(lambda: stage.bridge._sharing is not None and stage.bridge._sharing.broker_url)
        stage.shared.deliver(*batches(agent)[0])
        await eventually(stage.log.records)
        later(stage, 3000, monkeypatch)
        await eventually(lambda: stage.bridge._intake.guard.is_holding_back)
