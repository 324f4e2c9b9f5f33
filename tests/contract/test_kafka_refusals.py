"""What is said when Kafka does not serve us: which broker, why, and commands that really mend it."""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest
from lineside.servers.child_process import LOOPBACK, free_port
from lineside.servers.throwaway_authority import ThrowawayAuthority
from pydantic import SecretStr

from connectors.kafka.connection import client_options
from connectors.kafka.event_log import KafkaEventLog, open_event_log
from connectors.kafka.settings import KafkaLog
from connectors.model.errors import EventLogUnavailable
from connectors.ports.event_log import Cleanup, Record, TopicSpec
from tests.contract.logs_under_test import kafka_settings
from tests.patience import WAIT_S_MAX
from tests.servers.kafka import KafkaServer

pytestmark = pytest.mark.kafka

PLAIN_LOGIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"
RESOURCES: Final = {"topic": 2, "group": 3}
PATTERNS: Final = {"literal": 3, "prefixed": 4}
OPERATIONS: Final = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
ALLOW: Final = 3
DESCRIBE: Final = 8
new_admin: Any = AIOKafkaAdminClient
new_acl: Any = CreateAclsRequest
_numbers: Final = count(1)


@dataclass(frozen=True)
class Guarded:
    """A Kafka with TLS, logins and an access list, on which only its own user may do anything."""

    server: KafkaServer
    authority: Path
    stranger: Path

    def settings(self, user: str = "lineside", **changes: Any) -> KafkaLog:
        password = "own" if user == "kafka" else "secret"
        login = {"mechanism": "PLAIN", "user": user, "password": SecretStr(password)}
        chosen = {"tls": {"authority": self.authority}, "login": login, "timeout": "3s", **changes}
        return kafka_settings(self.server.bootstrap, **chosen)

    async def allow(self, command: str) -> None:
        """Carry out ``kafka-acls.sh``: its words are read here, as its Java classes are not among the tests' jars."""
        words = shlex.split(command)
        assert words[:4] == ["kafka-acls.sh", "--bootstrap-server", self.server.bootstrap, "--add"]
        options = list(zip(words[4::2], words[5::2], strict=True))
        given = dict(options)
        (kind,) = RESOURCES.keys() & {name.removeprefix("--") for name in given}
        for operation in (value for name, value in options if name == "--operation"):
            await self.acl(kind, given[f"--{kind}"], OPERATIONS[operation], given["--allow-principal"],
                           PATTERNS[given["--resource-pattern-type"]])  # fmt: skip

    async def acl(self, kind: str, name: str, operation: int, principal: str, pattern: int) -> None:
        admin = new_admin(**client_options(self.settings("kafka"), "admin"))
        await admin.start()
        try:
            request = new_acl(RESOURCES[kind], name, pattern, principal, "*", operation, ALLOW)
            client = admin._client
            ((code, message),) = (await client.send(client.get_random_node(), request)).creation_responses
            assert code == 0, message
        finally:
            await admin.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority = ThrowawayAuthority(folder / "authority")
    own = authority.issue("kafka", hosts=(LOOPBACK,))
    both = folder / "kafka.pem"
    both.write_bytes(own.key.read_bytes() + own.certificate.read_bytes())
    users = " ".join(f'user_{name}="secret"' for name in ("lineside", "reader", "maker", "member"))
    server = KafkaServer(
        folder / "kafka",
        protocol="SASL_SSL",
        settings={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(authority.certificate),
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": (
                f'{PLAIN_LOGIN} required username="kafka" password="own" user_kafka="own" {users};'
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:kafka;User:ANONYMOUS",
        },
    )
    server.start()
    yield Guarded(server, authority.certificate, ThrowawayAuthority(folder / "stranger").certificate)
    server.stop()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@asynccontextmanager
async def opened(settings: KafkaLog) -> AsyncIterator[KafkaEventLog]:
    log = await open_event_log(settings, name="tests")
    try:
        yield log
    finally:
        await log.close()


async def refusal(settings: KafkaLog) -> str:
    """What is said of a cluster that does not let us in."""
    with pytest.raises(EventLogUnavailable) as caught:
        await open_event_log(settings, name="tests")
    said = str(caught.value)
    assert "secret" not in said
    return said


async def test_why_no_broker_lets_us_in(guarded: Guarded, kafka_server: KafkaServer) -> None:
    kafka_server.start()
    place, plain = guarded.server.bootstrap, kafka_server.bootstrap
    login = {"mechanism": "PLAIN", "user": "lineside", "password": SecretStr("wrong")}
    scram = {"mechanism": "SCRAM-SHA-512", "user": "lineside", "password": SecretStr("secret")}
    for settings, where, why in (
        (guarded.settings(login=login), place, "it refuses the user 'lineside' or the password. Check 'login'"),
        (guarded.settings(login=scram), place, "it does not offer the login SCRAM-SHA-512. Write one that it offers"),
        (guarded.settings(login=None), place, "it closed the connection. Is that its port for TLS, does it want a 'l"),
        (guarded.settings(tls=None), place, "it closed the connection. Does this port want TLS (then write 'tls: {}'"),
        (guarded.settings(tls={"authority": guarded.stranger}), place, "its certificate is not trusted (unable to get"),
        (kafka_settings(plain, login=login), plain, "this port takes no login. Name the port that does, or remove"),
        (kafka_settings("kafka.example:9093"), "kafka.example:9093", "this machine does not know the name. Check"),
        (kafka_settings(f"{LOOPBACK}:1"), f"{LOOPBACK}:1", "nothing listens there. Is Kafka running, and is the"),
    ):
        said = await refusal(settings)
        assert said.startswith(f"no broker of Kafka can be reached, or lets us in. {where}: {why}"), said


async def test_every_broker_is_named_with_its_own_reason() -> None:
    said = await refusal(kafka_settings(f"{LOOPBACK}:1", brokers=(f"{LOOPBACK}:1", "kafka.example:9093")))
    assert f"{LOOPBACK}:1: nothing listens there." in said
    assert "kafka.example:9093: this machine does not know the name." in said


async def test_a_silent_port_is_said_with_its_address() -> None:
    release = asyncio.Event()

    async def says_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    async with await asyncio.start_server(says_nothing, LOOPBACK, 0) as server:
        place = f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        said = await refusal(kafka_settings(place, timeout="1s"))
        release.set()
    assert said.startswith(f"Kafka at {place} could not be reached within 1 s: no answer in time.")


async def test_a_topic_that_is_not_allowed_is_allowed_as_the_message_says(guarded: Guarded) -> None:
    topic = TopicSpec(f"lineside.allowed.{next(_numbers)}", 1)
    async with opened(guarded.settings("lineside")) as log:
        with pytest.raises(EventLogUnavailable) as caught:
            await log.ensure(topic)
        said = str(caught.value)
        assert f"Kafka at {guarded.server.bootstrap} could not give the topic {topic.name}: the user 'lineside'" in said
        await guarded.allow(said[said.index("kafka-acls.sh") :])
        await log.ensure(topic)
        await log.append(topic.name, [Record(b"k", b"v", 1)])
        async with log.reader(topic.name, 0, 0) as reader:
            assert [record.value for record in await reader.read(WAIT_S_MAX, 1000)] == [b"v"]
        assert await log.end_offsets(topic.name) == {0: 1}


async def test_a_group_that_is_not_allowed_is_allowed_as_the_message_says(guarded: Guarded) -> None:
    topic = TopicSpec(f"lineside.group.{next(_numbers)}", 1)
    async with opened(guarded.settings("member")) as log:
        for operation in OPERATIONS.values():
            await guarded.acl("topic", "lineside.", operation, "User:member", PATTERNS["prefixed"])
        await log.ensure(topic)

        async def join() -> frozenset[int]:
            async with asyncio.timeout(WAIT_S_MAX), log.assigned(topic.name, "lineside.historian") as changes:
                return await anext(changes)

        with pytest.raises(EventLogUnavailable) as caught:
            await join()
        said = str(caught.value)
        assert "the user 'member' may not read as a member of this group" in said
        await guarded.allow(said[said.index("kafka-acls.sh") :])
        assert await join() == {0}


@pytest.mark.parametrize("cleanup", Cleanup)
async def test_a_topic_that_we_may_not_make_comes_with_the_command_that_makes_it(
    guarded: Guarded, cleanup: Cleanup
) -> None:
    topic = TopicSpec(f"lineside.unmade.{next(_numbers)}", 3, cleanup, 86_400.0)
    await guarded.acl("topic", topic.name, DESCRIBE, "User:reader", PATTERNS["literal"])
    async with opened(guarded.settings("reader")) as log:
        with pytest.raises(EventLogUnavailable) as caught:
            await log.ensure(topic)
    said = str(caught.value)
    assert f"Kafka at {guarded.server.bootstrap} has no topic {topic.name}, and does not let us make it" in said
    command = re.search(r"with: (kafka-topics\.sh .*?)   ", said)
    assert command is not None
    words = shlex.split(command[1])
    assert words[:6] == ["kafka-topics.sh", "--bootstrap-server", guarded.server.bootstrap, "--create", "--topic",
                         topic.name]  # fmt: skip
    settings = [word.partition("=")[::2] for word in words if "=" in word]
    assert ("--partitions", "3") in list(pairwise(words))
    assert dict(settings)["cleanup.policy"] == cleanup.value
    assert dict(settings).get("retention.ms") == ("86400000" if cleanup is Cleanup.DELETE else None)
    assert "or allows us to, with: kafka-acls.sh" in said


async def test_a_cluster_that_names_addresses_which_lead_nowhere_is_told(tmp_path: Path) -> None:
    elsewhere = f"{LOOPBACK}:{free_port()}"
    server = KafkaServer(tmp_path / "kafka", settings={"advertised.listeners": f"PLAINTEXT://{elsewhere}"})
    server.start()
    try:
        said = await refusal(kafka_settings(server.bootstrap, timeout="2s"))
        for _ in range(10):
            if "its brokers do not answer" not in said:
                break  # one that has just been started does not know its own address yet
            said = await refusal(kafka_settings(server.bootstrap, timeout="2s"))
    finally:
        server.stop()
    assert f"Kafka at {server.bootstrap} could not be reached within 2 s: it answers, and names its brokers" in said
    assert f"{elsewhere}, which cannot be reached from here. Check advertised.listeners" in said
