"""What only the event log on Kafka has: its settings, the producer's numbers, and topics that others have made."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import RequestTimedOutError
from lineside.servers.throwaway_authority import ThrowawayAuthority
from pydantic import SecretStr, ValidationError

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.event_log import KafkaEventLog, open_event_log
from connectors.kafka.settings import KafkaLog
from connectors.model.errors import EventLogUnavailable, RecordRefused
from connectors.ports.event_log import Record, TopicSpec
from tests.contract.logs_under_test import kafka_settings
from tests.patience import WAIT_S_MAX
from tests.servers.kafka import KafkaServer

pytestmark = pytest.mark.kafka

PLAIN_LOGIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"
_numbers: Final = count(1)
new_client: Any = AIOKafkaProducer
new_consumer: Any = AIOKafkaConsumer
new_admin: Any = AIOKafkaAdminClient
new_kafka_topic: Any = NewTopic


@asynccontextmanager
async def opened(server: KafkaServer, **changes: Any) -> AsyncIterator[KafkaEventLog]:
    log = await open_event_log(kafka_settings(server.bootstrap, **changes), name="tests")
    try:
        yield log
    finally:
        await log.close()


async def make_topic(server: KafkaServer, partitions: int, **configuration: str) -> str:
    """A topic as an operator makes one."""
    topic = f"foreign.{next(_numbers)}"
    admin = new_admin(bootstrap_servers=server.bootstrap)
    await admin.start()
    await admin.create_topics([new_kafka_topic(topic, partitions, 1, topic_configs=configuration)])
    await admin.close()
    return topic


async def values(log: KafkaEventLog, topic: str, partition: int = 0) -> list[bytes]:
    end = (await log.end_offsets(topic))[partition]
    found: list[Any] = []
    async with log.reader(topic, partition, 0) as reader:
        while not found or found[-1].offset + 1 < end:
            found += await reader.read(2.0, 1 << 20)
    return [record.value for record in found]


async def test_an_existing_topic_is_taken_as_it_is(kafka_server: KafkaServer) -> None:
    topic = await make_topic(kafka_server, 3, **{"max.message.bytes": "20000", "min.insync.replicas": "1"})
    async with opened(kafka_server) as log:
        state = await log.ensure(TopicSpec(topic, 1))
        assert (state.partitions, state.survives_power_loss) == (3, False)
        with pytest.raises(RecordRefused, match="20000"):
            await log.append(topic, [Record(b"k", bytes(20_000), 1)])
        await log.append(topic, [Record(b"k", bytes(6_000), 1)] * 10)  # split below the topic's limit
        assert len(await values(log, topic, log.partition_of(topic, b"k"))) == 10


async def test_a_topic_that_deletes_by_size_or_too_early_is_known_and_the_command_is_said(
    kafka_server: KafkaServer,
) -> None:
    topic = await make_topic(kafka_server, 1, **{"retention.ms": "3600000", "retention.bytes": "50000000"})
    async with opened(kafka_server) as log:
        state = await log.ensure(TopicSpec(topic, 1, retention_s=86_400))
    assert (state.retention_s, state.bytes_max) == (3600, 50_000_000)
    assert state.advice.endswith(
        f"kafka-configs.sh --bootstrap-server {kafka_server.bootstrap} --alter --entity-type topics "
        f"--entity-name {topic} --add-config retention.ms=86400000,retention.bytes=-1"
    )


async def test_more_copies_than_brokers_are_refused_with_a_sentence(kafka_server: KafkaServer) -> None:
    async with opened(kafka_server, replication=3, in_sync=2) as log:
        with pytest.raises(EventLogUnavailable, match=r"with 3 copies: .*replication"):
            await log.ensure(TopicSpec(f"foreign.{next(_numbers)}", 1))


async def test_a_cancelled_beginning_leaves_no_connection_open(kafka_server: KafkaServer) -> None:
    settings = kafka_settings(kafka_server.bootstrap)
    with warnings.catch_warnings(record=True, action="always", category=ResourceWarning) as seen:
        for cancelled_after_s in (0.0002 * number for number in range(100)):
            connection = KafkaConnection(settings, "tests")
            asking = asyncio.create_task(connection.reach())
            await asyncio.sleep(cancelled_after_s)
            asking.cancel()
            await asyncio.wait([asking])
            await connection.close()
        gc.collect()
    assert [str(one.message) for one in seen] == []


async def test_keys_go_where_other_clients_put_them(kafka_server: KafkaServer) -> None:
    topic = await make_topic(kafka_server, 7)
    keys = [f"plant-{n}/line".encode() for n in range(40)] + [b"", b"\xff\x00\xfe"]
    client = new_client(bootstrap_servers=kafka_server.bootstrap)
    await client.start()
    async with opened(kafka_server) as log:
        await log.ensure(TopicSpec(topic, 7))
        for key in keys:
            placed = await client.send_and_wait(topic, b"value", key=key)
            assert placed.partition == log.partition_of(topic, key)
    await client.stop()


async def test_records_of_other_clients_are_read(kafka_server: KafkaServer) -> None:
    topic = await make_topic(kafka_server, 1)
    client = new_client(bootstrap_servers=kafka_server.bootstrap, transactional_id=topic, compression_type="gzip")
    await client.start()
    async with client.transaction():
        await client.send(topic, None, key=b"deleted", timestamp_ms=5)
        await client.send(topic, b"compressed" * 1_000, timestamp_ms=6, headers=[("h", b"1")])
    await client.stop()
    async with opened(kafka_server) as log, log.reader(topic, 0, 0) as reader:
        found = await reader.read(WAIT_S_MAX, 1 << 20)
        assert [(one.offset, one.key, one.value, one.time_ms) for one in found] == [
            (0, b"deleted", b"", 5),
            (1, b"", b"compressed" * 1_000, 6),
        ]
        assert found[1].header("h") == b"1"
        while (await log.end_offsets(topic))[0] < 3:  # noqa: ASYNC110  the broker writes the marker after it has said that it commits
            await asyncio.sleep(0.05)
        (position,) = await log.append(topic, [Record(b"k", b"after the commit marker", 1)])
        assert position.next_offset == 4
        assert [one.offset for one in await reader.read(WAIT_S_MAX, 1 << 20)] == [3]


async def test_other_clients_read_our_records(kafka_server: KafkaServer) -> None:
    async with opened(kafka_server) as log:
        topic = f"foreign.{next(_numbers)}"
        await log.ensure(TopicSpec(topic, 1))
        await log.append(topic, [Record(b"k", b"v", 1_700_000_000_000, (("h", b"1"),))])
    consumer = new_consumer(topic, bootstrap_servers=kafka_server.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    one = await consumer.getone()
    await consumer.stop()
    assert (one.key, one.value, one.timestamp, one.headers) == (b"k", b"v", 1_700_000_000_000, (("h", b"1"),))


async def test_a_batch_that_the_broker_refuses_does_not_disturb_the_next(
    kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await make_topic(kafka_server, 1, **{"max.message.bytes": "20000"})
    monkeypatch.setattr("connectors.kafka.event_log.refuse_too_large", lambda *_: None)
    async with opened(kafka_server) as log:
        for number in range(3):
            await log.append(topic, [Record(b"k", str(number).encode(), 1)])
            with pytest.raises(RecordRefused, match="larger"):
                await log.append(topic, [Record(b"k", bytes(30_000), 1)])
        with pytest.raises(RecordRefused, match="time"):
            await log.append(topic, [Record(b"k", b"from the future", 9_000_000_000_000)])
        await log.append(topic, [Record(b"k", b"3", 1)])
        assert await values(log, topic) == [b"0", b"1", b"2", b"3"]


async def test_an_answer_that_was_lost_makes_no_duplicate(
    kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(kafka_server) as log:
        topic = f"foreign.{next(_numbers)}"
        await log.ensure(TopicSpec(topic, 1))
        connection = log._producer._connection
        to_leader, lose = connection.to_leader, iter([False, True, True, False, True])

        async def lossy(topic: str, partition: int, request: Any) -> Any:
            answer = await to_leader(topic, partition, request)
            if next(lose, False):
                raise RequestTimedOutError
            return answer

        monkeypatch.setattr(connection, "to_leader", lossy)
        for number in range(3):
            (position,) = await log.append(topic, [Record(b"k", str(number).encode(), 1)])
            assert position.next_offset == number + 1
        monkeypatch.undo()
        assert await values(log, topic) == [b"0", b"1", b"2"]


async def test_a_producer_whose_numbers_the_broker_does_not_accept_is_replaced(kafka_server: KafkaServer) -> None:
    async with opened(kafka_server) as log:
        topic = f"foreign.{next(_numbers)}"
        await log.ensure(TopicSpec(topic, 1))
        await log.append(topic, [Record(b"k", b"0", 1)])
        identity = log._producer._identity
        assert identity is not None
        identity.sequences[topic, 0] += 7
        with pytest.raises(EventLogUnavailable):
            await log.append(topic, [Record(b"k", b"1", 1)])
        await log.append(topic, [Record(b"k", b"1", 1)])
        assert log._producer._identity is not identity
        assert await values(log, topic) == [b"0", b"1"]


async def test_a_reader_beyond_the_end_is_told(kafka_server: KafkaServer) -> None:
    async with opened(kafka_server) as log:
        topic = f"foreign.{next(_numbers)}"
        await log.ensure(TopicSpec(topic, 1))
        await log.append(topic, [Record(b"k", b"0", 1)])
        async with log.reader(topic, 0, 5) as reader:
            with pytest.raises(EventLogUnavailable, match="ends before offset 5"):
                await reader.read(1.0, 1 << 20)


async def test_no_broker_at_all_is_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    settings = kafka_settings("127.0.0.1:1", timeout="10m")
    async with asyncio.timeout(WAIT_S_MAX):
        with pytest.raises(EventLogUnavailable, match=r"no broker of Kafka can be reached.* 127\.0\.0\.1:1: nothing"):
            await open_event_log(settings, name="tests")


async def test_tls_and_a_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    authority = ThrowawayAuthority(tmp_path / "authority")
    own = authority.issue("kafka", hosts=("127.0.0.1",))
    key_and_certificate = tmp_path / "kafka.pem"
    key_and_certificate.write_bytes(own.key.read_bytes() + own.certificate.read_bytes())
    users = 'required username="kafka" password="own" user_kafka="own" user_lineside="secret";'
    server = KafkaServer(
        tmp_path / "kafka",
        protocol="SASL_SSL",
        settings={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(key_and_certificate),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(authority.certificate),
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{PLAIN_LOGIN} {users}",
        },
    )
    server.start()
    try:
        tls = {"authority": authority.certificate}
        login = {"mechanism": "PLAIN", "user": "lineside", "password": SecretStr("secret")}
        async with opened(server, insecure=False, tls=tls, login=login) as log:
            topic = f"foreign.{next(_numbers)}"
            await log.ensure(TopicSpec(topic, 1))
            await log.append(topic, [Record(b"k", b"v", 1)])
            assert await values(log, topic) == [b"v"]
            async with log.assigned(topic, "readers") as changes, asyncio.timeout(WAIT_S_MAX):
                assert await anext(changes) == {0}
        strangers = ThrowawayAuthority(tmp_path / "strangers")
        for wrong in (
            {"tls": {"authority": strangers.certificate}, "login": login},
            {"tls": tls, "login": {**login, "password": SecretStr("wrong")}},
            {"tls": tls},
        ):
            with pytest.raises(EventLogUnavailable, match="lets us in"):
                await open_event_log(kafka_settings(server.bootstrap, timeout="2s", **wrong), name="tests")
    finally:
        server.stop()


def test_a_connection_without_tls_has_to_be_meant() -> None:
    with pytest.raises(ValidationError, match="insecure: true"):
        KafkaLog.model_validate({"brokers": ["kafka:9093"]})
    assert KafkaLog.model_validate({"brokers": ["kafka:9093"], "tls": {}}).replication == 3


def test_settings_that_cannot_work_are_refused() -> None:
    secured: dict[str, Any] = {"brokers": ["kafka:9093"], "tls": {}}
    with pytest.raises(ValidationError, match="can never be reached"):
        KafkaLog.model_validate({**secured, "replication": 1})
    with pytest.raises(ValidationError, match="host:9093"):
        KafkaLog.model_validate({**secured, "brokers": ["kafka"]})
    with pytest.raises(ValidationError, match="a secret does not stand in this file"):
        KafkaLog.model_validate({**secured, "login": {"user": "u", "password": "plain"}})
    login = {"user": "u", "password": SecretStr("hidden")}
    assert "hidden" not in repr(KafkaLog.model_validate({**secured, "login": login}))


async def test_tls_files_that_are_not_there_are_said(tmp_path: Path) -> None:
    settings = KafkaLog.model_validate({"brokers": ["127.0.0.1:1"], "tls": {"authority": tmp_path / "missing.pem"}})
    with pytest.raises(EventLogUnavailable, match="TLS files"):
        await open_event_log(settings, name="tests")


async def test_a_reader_that_is_cancelled_while_it_closes_does_not_go_on(
    kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await make_topic(kafka_server, 1)
    closes = AIOKafkaClient.close
    working: asyncio.Task[None] | None = None

    async def open_and_close(log: KafkaEventLog) -> None:
        while True:
            async with log.reader(topic, 0, 0) as reader:
                await reader.read(0, 1)

    async def cancelled_while_it_closes(client: Any) -> None:
        if working is not None:
            asyncio.get_running_loop().call_soon(working.cancel)
        await closes(client)

    monkeypatch.setattr(AIOKafkaClient, "close", cancelled_while_it_closes)
    async with opened(kafka_server) as log:
        working = asyncio.create_task(open_and_close(log))
        await asyncio.wait([working], timeout=WAIT_S_MAX)
        assert working.done(), "it goes on"
        assert working.cancelled()
