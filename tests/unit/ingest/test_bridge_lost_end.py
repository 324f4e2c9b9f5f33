"""A log that has lost its end gives offsets again: where the historian was before says nothing about them."""

from __future__ import annotations

import zlib

import pytest
from bridge_steps import FakeLog, Stage, eventually, quick_retries, settled

from cloud_ingest.event_log.topics import RAW, REPORTS
from cloud_ingest.ingest import intake as intake_module
from cloud_ingest.observability.metrics import LOG_ENDS_LOST
from connectors.commands.reports import CommandReport
from connectors.commands.states import CommandState
from connectors.model.datatypes import DataType
from connectors.ports.event_log import Record
from tests.played_agent import PlayedAgent, Sample, Wire

KEY = b"plant/line-1"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_retries(monkeypatch)


class Sent:
    """A stage that acknowledges what is projected, and an agent that sends one batch after the other."""

    def __init__(self) -> None:
        self.stage = Stage(acknowledge="projected", log=FakeLog(survives_power_loss=False))
        self.agent = PlayedAgent()
        self.agent.define("press", {"force": DataType.DOUBLE})

    def batch(self) -> Wire:
        return self.agent.samples("press", [Sample("force", self.agent.next, 1.0)])

    async def send(self, count: int = 1) -> None:
        """Send so many batches, each appended alone."""
        for _ in range(count):
            end = self.end
            self.stage.send(self.batch())
            await eventually(lambda end=end: self.end == end + 1)
        await settled(0.01)

    @property
    def end(self) -> int:
        topic = self.stage.log.server.topics.get(RAW)
        return 0 if topic is None else topic.partitions[self.partition].next_offset

    @property
    def partition(self) -> int:
        return self.partition_of("line-1")

    def partition_of(self, name: str) -> int:
        return zlib.crc32(f"plant/{name}".encode()) % 4

    def historian_at(self, place: int) -> None:
        self.stage.database.places = {self.partition: place}

    async def acknowledged(self, *batches: int) -> None:
        """Exactly these are acknowledged, now and after some time."""
        await eventually(lambda: len(self.stage.broker.acknowledged()[0]) >= len(batches))
        await settled()
        assert self.stage.broker.acknowledged() == (list(batches), {})


async def test_nothing_is_acknowledged_by_a_place_beyond_the_end_until_the_historian_is_set_back() -> None:
    sent = Sent()
    async with sent.stage.running():
        await sent.send(4)
        sent.historian_at(4)
        await sent.acknowledged(2, 3, 4, 5)
        counted = LOG_ENDS_LOST._value.get()
        sent.stage.log.lose_end(KEY, 1)
        await sent.send(2)
        await sent.acknowledged(2, 3, 4, 5)
        assert LOG_ENDS_LOST._value.get() == counted + 1
        sent.historian_at(3)  # set back to where the log ends
        await settled()
        await sent.send(1)
        await sent.acknowledged(2, 3, 4, 5)
        sent.historian_at(4)
        await sent.acknowledged(2, 3, 4, 5, 8)


async def test_what_was_appended_behind_the_historian_is_never_acknowledged_though_the_log_grows_past_it() -> None:
    sent = Sent()
    async with sent.stage.running():
        await sent.send(4)
        sent.historian_at(4)
        await sent.acknowledged(2, 3, 4, 5)
        sent.stage.log.lose_end(KEY, 1)
        sent.stage.send(*(sent.batch() for _ in range(5)))  # at 1 to 5, in one append
        await eventually(lambda: sent.end == 6)
        await sent.acknowledged(2, 3, 4, 5)
        sent.historian_at(6)  # it has read 4 and 5, and never 1 to 3
        await sent.acknowledged(2, 3, 4, 5, 9, 10)
        await sent.send(1)
        sent.historian_at(7)
        await sent.acknowledged(2, 3, 4, 5, 9, 10, 11)


async def test_what_was_lost_with_the_end_is_not_acknowledged_by_what_came_in_its_place() -> None:
    sent = Sent()
    async with sent.stage.running():
        sent.historian_at(0)
        await sent.send(4)
        sent.stage.log.lose_end(KEY, 1)
        await sent.send(2)
        sent.historian_at(3)
        await sent.acknowledged(2, 6, 7)


async def test_a_host_that_starts_after_the_loss_knows_the_place_before_it_appends() -> None:
    sent = Sent()
    await sent.stage.log.ensure(sent.stage.bridge._intake._topics[RAW])
    await sent.stage.log.append(RAW, [Record(KEY, b"", 1)] * 2)
    sent.historian_at(4)
    async with sent.stage.running():
        sent.stage.send(*(sent.batch() for _ in range(4)))
        await eventually(lambda: sent.end == 6)
        await settled()
        sent.historian_at(6)
        await sent.acknowledged(4, 5)


async def test_an_append_during_which_the_log_may_have_started_again_is_compared_with_the_place_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = Sent()
    async with sent.stage.running():
        await sent.send(1)
        sent.historian_at(1)
        await sent.acknowledged(2)
        monkeypatch.setattr(intake_module, "APPEND_S_CERTAIN", 0.0)
        sent.stage.log.open.clear()
        sent.stage.send(sent.batch())
        await settled()
        sent.historian_at(3)  # it has read what was lost: two records whose append was never answered
        sent.stage.log.open.set()
        await eventually(lambda: sent.end == 2)
        monkeypatch.undo()
        await sent.acknowledged(2)


async def test_what_waited_is_sent_again_after_an_append_that_may_have_hidden_the_loss_of_the_end() -> None:
    sent = Sent()
    async with sent.stage.running():
        sent.historian_at(0)
        await sent.send(3)
        sent.stage.log.lose_end(KEY, 0)
        sent.stage.log.answers_lost = 1
        sent.stage.send(*(sent.batch() for _ in range(3)))  # at 0 to 2, and nobody hears of it
        await eventually(lambda: sent.end == 3 and not sent.stage.log.server.available)
        sent.stage.log.server.available = True
        await eventually(lambda: sent.end == 6)
        sent.historian_at(6)
        await sent.acknowledged(5, 6, 7)


async def test_what_another_host_may_have_appended_in_its_place_acknowledges_nothing_that_waited() -> None:
    sent = Sent()
    async with sent.stage.running():
        sent.historian_at(0)
        await sent.send(2)
        connects = len(sent.stage.broker.wills)
        sent.stage.broker.lose()
        sent.stage.log.lose_end(KEY, 0)
        await sent.stage.log.append(RAW, [Record(KEY, b"", 1)] * 3)
        await eventually(lambda: len(sent.stage.broker.wills) > connects and sent.stage.bridge.is_online)
        sent.historian_at(3)
        await settled()
        await sent.send(1)
        sent.historian_at(4)
        await sent.acknowledged(4)


async def test_that_the_historian_stands_beyond_the_end_of_one_partition_is_seen_after_an_append_to_another() -> None:
    sent = Sent()
    names = (f"line-{number}" for number in range(2, 100))
    other = PlayedAgent(next(name for name in names if sent.partition_of(name) != sent.partition))
    other.define("press", {"force": DataType.DOUBLE})
    await sent.stage.log.ensure(sent.stage.bridge._intake._topics[RAW])
    await sent.stage.log.append(RAW, [Record(str(other.name).encode(), b"", 1)] * 2)
    sent.stage.database.places = {sent.partition: 0, sent.partition_of(other.name.name): 4}
    async with sent.stage.running():
        await sent.send(1)
        sent.stage.send(other.samples("press", [Sample("force", 1, 1.0)]))
        await eventually(lambda: len(sent.stage.log.records()) == 4)
        await settled()
        assert sent.stage.broker.acknowledged(str(other.name)) == ([], {})


async def test_while_the_places_are_not_known_batches_are_logged_and_left_to_their_agents() -> None:
    sent = Sent()
    async with sent.stage.running():
        sent.historian_at(0)
        sent.stage.database.available = False
        await sent.send(1)
        sent.stage.database.available = True
        await eventually(lambda: sent.stage.bridge.is_online)
        await sent.send(1)
        sent.historian_at(2)
        await sent.acknowledged(3)


async def test_a_topic_made_anew_under_a_connected_host_is_acknowledged_by_its_own_places() -> None:
    sent = Sent()
    async with sent.stage.running():
        await sent.send(3)
        old = sent.stage.log.server.topics[RAW]
        del sent.stage.log.server.topics[RAW]
        await sent.stage.log.ensure(sent.stage.bridge._intake._topics[RAW])
        new = sent.stage.log.server.topics[RAW]
        assert old.identity != new.identity
        sent.stage.database.identity = new.identity
        await sent.send(2)
        sent.historian_at(2)
        await sent.acknowledged(5, 6)
        assert len(sent.stage.broker.wills) == 1, "without another connection"


async def test_in_normal_operation_every_batch_is_acknowledged_without_being_sent_again() -> None:
    sent = Sent()
    async with sent.stage.running():
        for count in range(1, 30):
            sent.stage.send(sent.batch())
            await eventually(lambda count=count: sent.end == count)
            sent.historian_at(count)
        await sent.acknowledged(*range(2, 31))


async def test_a_report_that_was_lost_with_the_end_is_in_the_log_again_before_its_message_is_acknowledged() -> None:
    stage = Stage()
    agent = PlayedAgent()
    report = CommandReport(
        id="01JDV3W3Z8Q6C0V2B7N4M5K9XR", journal="ab" * 16, number=1, step=1, state=CommandState.RECEIVED, time_ms=1,
        actor="agent",
    )  # fmt: skip
    async with stage.running():
        stage.log.answers_lost = 1
        stage.send(agent.report(report))
        await eventually(lambda: not stage.log.server.available)
        assert len(stage.log.records(REPORTS)) == 1
        for partition in stage.log.server.topics[REPORTS].partitions:
            partition.records, partition.next_offset = [], 0
        stage.log.server.available = True
        await eventually(lambda: stage.broker.acknowledged()[0])
        assert len(stage.log.records(REPORTS)) == 1
