"""Commands go out to agents that are born, until they have them; by one process at a time; on a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

from cloud_ingest.commands import audit, dispatcher, keys, outgoing, questions, role
from cloud_ingest.commands.dispatcher import Dispatcher, DispatcherOptions
from cloud_ingest.commands.role import Commands
from cloud_ingest.event_log import patience
from cloud_ingest.event_log.topics import COMMANDS, REPORTS, topic_specs
from connectors.commands.states import CommandState
from connectors.model.delivery import AgentName
from connectors.model.errors import DatabaseUnavailable
from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.ports.event_log import EventLog, Record
from connectors.postgres.database import open_database
from tests.contract.command_ears import Ears, ears
from tests.contract.command_steps import JOURNAL, TENANT, Office, log_record, office, reports_log
from tests.contract.historian_steps import RawLog, RawLogOnPostgres, eventually
from tests.patience import WAIT_S_MAX
from tests.played_agent import Commanded, Wire

WAY = (CommandState.RECEIVED, CommandState.EXECUTING, CommandState.SUCCEEDED)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that no test is about are short."""
    monkeypatch.setattr(dispatcher, "LOOK_S", 0.1)
    monkeypatch.setattr(dispatcher, "KEY_S", 0.1)
    monkeypatch.setattr(dispatcher, "FOLLOW_S", 0.1)
    monkeypatch.setattr(dispatcher, "RETRY_LONGEST_S", 0.5)
    monkeypatch.setattr(patience, "STAND_BY_S", 0.1)
    monkeypatch.setattr(role, "END_S", 0.1)


class Sender:
    """Processes with the role ``commands``."""

    def __init__(self, here: Office, broker: MosquittoBroker, log: EventLog, key_file: Path) -> None:
        self.here, self.broker, self.log, self.key_file = here, broker, log, key_file
        self.options = DispatcherOptions((broker.url,), "lineside", key_file)

    @asynccontextmanager
    async def running(self, name: str = "one", *, sends: bool = True) -> AsyncIterator[Dispatcher]:
        database = await open_database(self.here.dsn, connections_max=8, application_name=name)
        session = MqttSession(MqttOptions(f"commands-{name}"))
        made = Dispatcher(database, session, self.here.clock, self.options)
        topics = topic_specs(2, 7 * 86_400)
        commands = Commands(database, self.log, self.here.clock, topics, made if sends else None)
        task = asyncio.create_task(commands.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.wait([task])
            await database.close()

    async def say(self, *wires: Wire) -> None:
        """What the ingest appends of an agent's reports."""
        records = [log_record(wire, 0) for wire in wires]
        await self.log.append(REPORTS, [Record(one.key, one.value, one.time_ms, one.headers) for one in records])


@asynccontextmanager
async def plant(folder: Path, broker: MosquittoBroker, raw_log: RawLog, dsn: str) -> AsyncIterator[tuple[Sender, Ears]]:
    key_file = folder / "signing.jwk"
    async with office(dsn) as here, reports_log(raw_log) as log:
        await here.fetch("DELETE FROM signing_key RETURNING 1")
        await keys.create(here.database, here.clock, key_file, by="test")
        async with ears(broker, await keys.trusted(here.database)) as heard:
            yield Sender(here, broker, log, key_file), heard


async def states(here: Office, command: str, *wanted: str) -> bool:
    return await here.states(command) == list(wanted)


def is_in(here: Office, command: str, state: str) -> Callable[[], Coroutine[Any, Any, object]]:
    async def holds() -> object:
        return await here.state(command) == state

    return holds


async def test_a_command_goes_to_its_agent_and_back_and_every_state_to_the_topic(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str
) -> None:
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard), sender.running():
        here = sender.here
        await sender.say(here.agent.hello(JOURNAL, number=3))
        await heard.hear(lambda: any(one.time for _, one in heard.heard()))
        command = await here.ask(precondition="press/state == idle", correlation="mine")
        await heard.hear(heard.ids)
        (topic, message) = next(one for one in heard.heard() if one[1].command)
        assert (topic, message.plain) == ("spBv1.0/plant/DCMD/line-1/press", {"setpoint": 120.0})
        envelope = message.command
        assert envelope is not None
        assert (envelope.id, envelope.agent, envelope.journal, envelope.number, envelope.correlation) == (
            command, "plant/line-1", JOURNAL, 3, "mine",
        )  # fmt: skip
        assert envelope.precondition == "press/state == idle"
        await sender.say(*(here.report(command, state) for state in WAY))
        await eventually(is_in(here, command, "succeeded"))
        assert await here.states(command) == ["requested", "sent", *WAY]
        told = await published(sender.log, 5)
        assert [(one["state"], one["id"], one["agent"]) for one in told] == [
            (state, command, "plant/line-1") for state in ("requested", "sent", *WAY)
        ]
        cursors = [one["cursor"] for one in told]
        assert cursors == sorted(cursors)


async def published(log: EventLog, count: int) -> list[dict[str, Any]]:
    """The first ``count`` states in the topic; the agent's partition has them all."""
    number = log.partition_of(COMMANDS, b"plant/line-1")
    found: list[dict[str, Any]] = []
    async with log.reader(COMMANDS, number, 0) as reader, asyncio.timeout(WAIT_S_MAX):
        while len(found) < count:
            found += [json.loads(record.value) for record in await reader.read(1.0, 1_000_000)]
    return found


async def test_an_agent_that_is_offline_gets_it_when_it_comes_back_if_its_time_is_not_up(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str
) -> None:
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard), sender.running():
        here = sender.here
        await here.prepare(online=False)
        offline, short = await here.ask("one", expires_s=3 * 86_400), await here.ask("two", expires_s=86_400)
        await here.prepare(AgentName("plant", "line-2"))
        other = await here.ask("three", agent="plant/line-2")
        await heard.hear(heard.ids)
        assert heard.ids() == [other]
        here.clock.ahead_ms = 2 * 86_400_000  # two days later
        await eventually(is_in(here, short, "expired"))
        assert await here.states(offline) == ["requested"]
        await here.prepare()
        await heard.hear(lambda: offline in heard.ids())
        assert short not in heard.ids()


async def test_an_agent_that_was_just_born_is_told_the_time_before_any_command(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str
) -> None:
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard), sender.running():
        here = sender.here
        await here.fetch("UPDATE agent SET online_changed = now() + interval '0.5 seconds' RETURNING 1")
        command = await here.ask()
        await asyncio.sleep(1.0)  # it is about what does not happen
        assert heard.heard() == []
        await sender.say(here.agent.hello(JOURNAL))
        await heard.hear(lambda: command in heard.ids())
        assert [bool(one.time) for _, one in heard.heard()] == [True, False]


async def test_it_is_sent_again_the_same_until_the_agent_has_it(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "resend_after_ms", lambda _sends, _jitter: 100)
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard):
        here = sender.here
        async with sender.running("one"):
            command = await here.ask(expires_s=600)
            await heard.hear(lambda: len(heard.ids()) >= 3)
        async with sender.running("two"):  # another process goes on with what the first one has signed
            before = len(heard.ids())
            await heard.hear(lambda: len(heard.ids()) >= before + 2)
            assert len({one.command for _, one in heard.heard()}) == 1
            await sender.say(here.report(command, WAY[0]))
            await eventually(is_in(here, command, "received"))
            await heard.falls_silent()
            count = len(heard.ids())
            await asyncio.sleep(0.5)
            assert len(heard.ids()) == count
        assert (await questions.command(here.database, command))["sends"] == count


async def test_what_is_to_be_taken_back_is_not_sent_again_and_its_cancellation_is(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "resend_after_ms", lambda _sends, _jitter: 100)
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard), sender.running():
        here = sender.here
        command = await here.ask(expires_s=600)
        await heard.hear(heard.ids)
        await here.requests.cancel(command, tenant_id=TENANT, actor="berta", reason="wrong press")
        cancels: list[dict[str, Any]] = []

        def asked_three_times() -> bool:
            cancels[:] = [one.cancel for _, one in heard.heard() if one.cancel]
            return len(cancels) >= 3

        await heard.hear(asked_three_times)
        heard.messages.clear()
        await heard.hear(asked_three_times)
        assert heard.ids() == []
        about = {key: cancels[0][key] for key in ("agent", "id", "issuer", "reason")}
        assert about == {"agent": "plant/line-1", "id": command, "issuer": "berta", "reason": "wrong press"}
        await sender.say(here.report(command, CommandState.CANCELLED))
        await eventually(is_in(here, command, "cancelled"))
        await heard.falls_silent()
        heard.messages.clear()
        await asyncio.sleep(0.5)
        assert heard.heard() == []


async def test_what_was_sent_and_never_reported_is_unknown_and_sent_no_more(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str
) -> None:
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard), sender.running():
        here = sender.here
        command = await here.ask(expires_s=60)
        await heard.hear(heard.ids)
        here.clock.ahead_ms = 91_000
        await eventually(is_in(here, command, "unknown"))
        await sender.say(here.report(command, CommandState.EXPIRED, code="expired"))
        await eventually(is_in(here, command, "expired"))
        assert await here.states(command) == ["requested", "sent", "unknown", "expired"]


async def test_a_node_of_another_maker_is_sent_the_plain_metric_once(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "resend_after_ms", lambda _sends, _jitter: 50)
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard), sender.running():
        here = sender.here
        await here.prepare(AgentName("plant", "other"), acknowledges=False)
        command = await here.ask(agent="plant/other", plain=True)
        await eventually(is_in(here, command, "unknown"))
        await heard.hear(heard.heard)
        await asyncio.sleep(0.5)  # it is about what does not happen
        assert heard.heard() == [("spBv1.0/plant/DCMD/other/press", Commanded({"setpoint": 120.0}))]
        assert await here.states(command) == ["requested", "sent", "unknown"]


async def test_one_process_sends_and_when_it_ends_another_does(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "resend_after_ms", lambda _sends, _jitter: 60_000)
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard), sender.running("two") as second:
        here = sender.here
        await heard.hear(lambda: second.broker_url)
        async with sender.running("one") as first:
            commands = [await here.ask(str(number)) for number in range(40)]
            for command in commands:
                await sender.say(here.report(command, WAY[0]), here.report(command, WAY[2]))
            await heard.hear(lambda: set(heard.ids()) == set(commands))
            assert not first.broker_url
            assert sorted(heard.ids()) == sorted(commands)  # each once
            await here.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'two' "
                "AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
            )
            await heard.hear(lambda: first.broker_url or second.broker_url)
            last = await here.ask("last")
            await heard.hear(lambda: last in heard.ids())


async def test_a_broker_that_goes_and_comes_costs_no_command(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str
) -> None:
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, _), sender.running() as made:
        here = sender.here
        mosquitto.kill()
        command = await here.ask()
        await asyncio.sleep(0.3)
        mosquitto.start()
        async with ears(mosquitto, await keys.trusted(here.database)) as heard:
            await heard.hear(lambda: command in heard.ids())
        assert made.broker_url == mosquitto.url


async def test_a_key_that_is_not_usable_is_waited_for_and_a_new_one_is_used_from_then_on(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str
) -> None:
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard):
        here, sender_key = sender.here, sender.key_file
        old = keys.read_key(sender_key)
        sender_key.chmod(0o644)
        async with sender.running():
            first = await here.ask("one")
            await asyncio.sleep(0.5)  # it is about what does not happen
            assert heard.heard() == []
            sender_key.chmod(0o600)
            await heard.hear(lambda: first in heard.ids())
            fresh = tmp_path / "fresh.jwk"
            new = await keys.create(here.database, here.clock, fresh, by="test", voucher=sender_key)
            heard.trusted = await keys.trusted(here.database)  # as the agents learn it
            fresh.replace(sender_key)
            await asyncio.sleep(0.5)
            await keys.retire(here.database, here.clock, old.key_id, by="test")
            second = await here.ask("two")
            await heard.hear(lambda: second in heard.ids())
            heard.trusted = await keys.trusted(here.database)
            heard.messages = heard.messages[-1:]
            assert heard.ids() == [second]  # the new key alone is enough
            assert new in heard.trusted


async def test_of_many_commands_to_many_agents_none_is_lost_and_none_is_doubled(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "resend_after_ms", lambda _sends, _jitter: 60_000)
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard):
        here = sender.here
        names = [AgentName("plant", f"line-{number}") for number in range(10)]
        for name in names:
            await here.prepare(name)
        async with sender.running():
            asked = [await here.ask(f"{name} {number}", agent=str(name)) for name in names for number in range(20)]
            await heard.hear(lambda: len(heard.ids()) >= len(asked))
            assert sorted(heard.ids()) == sorted(asked)
            assert {await here.state(command) for command in asked} == {"sent"}


async def test_an_agent_has_a_bounded_number_of_commands_under_way(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "resend_after_ms", lambda _sends, _jitter: 60_000)
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard):
        here = sender.here
        asked = [await here.ask(str(number)) for number in range(40)]
        async with sender.running():
            await heard.hear(lambda: len(heard.ids()) >= 32)
            await asyncio.sleep(0.5)  # it is about what does not happen
            assert sorted(heard.ids()) == sorted(asked)[:32]
            await sender.say(*(here.report(command, WAY[2]) for command in heard.ids()[:8]))
            await heard.hear(lambda: len(heard.ids()) == 40)


async def test_without_a_key_reports_are_read_states_are_told_and_time_ends_what_was_not_sent(
    tmp_path: Path, mosquitto: MosquittoBroker, raw_log: RawLog, database_dsn: str
) -> None:
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard), sender.running(sends=False):
        here = sender.here
        command = await here.ask("one", expires_s=1)
        local = "01JDV3W3Z8Q6C0V2B7N4M5K9XR"
        await sender.say(here.report(local, WAY[2], actor="otto"))
        await eventually(is_in(here, command, "expired"))
        told = await published(sender.log, 3)
        assert {(one["id"], one["state"], one["origin"]) for one in told} == {
            (command, "requested", "cloud"), (command, "expired", "cloud"), (local, "succeeded", "agent"),
        }  # fmt: skip
        assert heard.heard() == []


async def test_a_database_that_is_killed_and_comes_again_costs_no_command_and_no_report(
    tmp_path: Path, mosquitto: MosquittoBroker, postgres_server: PostgresServer, database_dsn: str
) -> None:
    log = RawLogOnPostgres(database_dsn)
    async with plant(tmp_path, mosquitto, log, database_dsn) as (sender, heard), sender.running():
        here = sender.here
        first = await here.ask("one")
        await heard.hear(lambda: first in heard.ids())
        for _ in range(2):
            postgres_server.kill()
            await asyncio.sleep(0.3)
            postgres_server.start()

        async def asked() -> object:
            try:
                return await here.ask("two")
            except DatabaseUnavailable:
                return None

        await eventually(asked)
        second = await here.ask("two")
        await heard.hear(lambda: second in heard.ids())
        await sender.say(here.report(first, WAY[2]), here.report(second, WAY[2]))
        await eventually(is_in(here, second, "succeeded"))
        assert await here.states(first) == ["requested", "sent", "succeeded"]
        assert (await audit.verify(here.database))[1] == []
