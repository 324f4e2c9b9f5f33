"""A connection to a Kafka cluster: aiokafka's client, with attempts repeated until a deadline.

Records are appended and fetched with requests of our own on that client, and not with aiokafka's producer and consumer:
its idempotent producer tries for ever, so that it can neither be stopped while Kafka is away nor go on after the broker
has refused a record; its consumer says nothing while Kafka is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from connectors.configuration.tls_files import TlsFileUnusable
from connectors.kafka.refusals import brokers, elsewhere, refusal, why_unreachable
from connectors.kafka.settings import KafkaLog
from connectors.model.errors import EventLogUnavailable

RETRY_S: Final = 0.1
REFRESH_TIMEOUT_S: Final = 3.0
CLOSE_S_MAX: Final = 2.0
LEAVE_S_MAX: Final = 1.0
"""How long a caller that is cancelled waits for what it has just begun."""

_new_client: Final[Any] = AIOKafkaClient  # it has no annotations

_Answer = TypeVar("_Answer")


def client_options(settings: KafkaLog, name: str) -> dict[str, Any]:
    """What every client of aiokafka is given. Raises ``EventLogUnavailable`` when a file for TLS cannot be used."""
    login = settings.login
    try:
        context = settings.tls.context() if settings.tls else None
    except TlsFileUnusable as exc:
        raise EventLogUnavailable(f"the TLS files for Kafka cannot be used: {exc.message} {exc.suggestion}") from exc
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.brokers),
        "client_id": name,
        "request_timeout_ms": round(settings.timeout_s * 1000),
        "security_protocol": ("SASL_" if login else "") + ("SSL" if settings.tls else "PLAINTEXT"),
        "ssl_context": context,
    }
    if login is not None:
        options["sasl_mechanism"] = login.mechanism
        options["sasl_plain_username"] = login.user
        options["sasl_plain_password"] = login.password.get_secret_value()
    return options


class KafkaConnection:
    """Connections to the brokers of a cluster, opened when they are needed and again when they were lost.

    A broker answers the requests of one client in their order: who lets it wait, as a reader does, has a
    ``KafkaConnection`` of its own.
    """

    def __init__(self, settings: KafkaLog, name: str) -> None:
        self._settings = settings
        self._name = name
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def until_served(self, what: str, attempt: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """The answer of ``attempt``, repeated while it fails in a way that passes.

        ``attempt`` raises aiokafka's ``KafkaError``. Raises ``EventLogUnavailable`` with ``what`` could not be done and
        why: when no broker can be reached, when the time of the settings is up, or when trying again will not help.
        """
        failure: Exception | None = None
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                while True:
                    try:
                        return await attempt()
                    except KafkaError as exc:
                        failure = exc
                        if not exc.retriable:
                            reason = refusal(exc, self._settings)
                            raise EventLogUnavailable(
                                f"Kafka at {brokers(self._settings)} could not {what}: {reason}"
                            ) from exc
                    await asyncio.sleep(RETRY_S)
                    await self._refresh()
        except TimeoutError as exc:
            reason = elsewhere(failure, self._settings, self._advertised()) or refusal(failure or exc, self._settings)
            await self._drop(self._client)  # whatever its connections are waiting for, nobody waits for it any more
            raise EventLogUnavailable(
                f"Kafka at {brokers(self._settings)} could not {what} within {self._settings.timeout_s:g} s: {reason}"
            ) from exc

    async def reach(self) -> None:
        """Hear of any broker, which needs no permission. Raises as ``to_any``."""
        await self.to_any(MetadataRequest([]))

    async def to_leader(self, topic: str, partition: int, request: Any) -> Any:
        """The answer of the broker that leads ``partition``. Raises ``KafkaError``, and as ``to_any``."""
        client = await self._open()
        await client.add_topic(topic)
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        if leader is None or leader < 0:
            raise LeaderNotAvailableError(f"{topic}-{partition} has no leader now")
        return await client.send(leader, request)

    async def to_any(self, request: Any) -> Any:
        """The answer of any broker. Raises ``KafkaError``; ``EventLogUnavailable`` when none can be reached."""
        client = await self._open()
        node = client.get_random_node()
        if node is None:
            raise NodeNotReadyError("no broker is known")
        return await client.send(node, request)

    async def close(self) -> None:
        """Close all connections; what waits for an answer fails. The next request opens them again. Never raises."""
        await self._drop(self._client)

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:
                options = client_options(self._settings, self._name)
                client = _new_client(**options)
                try:
                    await to_its_end(client.bootstrap())
                except BaseException as exc:
                    await _closed(client)
                    if not isinstance(exc, KafkaError):
                        raise
                    reason = await why_unreachable(self._settings, options)
                    raise EventLogUnavailable(f"no broker of Kafka can be reached, or lets us in. {reason}") from exc
                self._client = client
            return self._client

    def _advertised(self) -> list[str]:
        """Where the brokers can be reached, as they say themselves."""
        return [] if self._client is None else [f"{one.host}:{one.port}" for one in self._client.cluster.brokers()]

    async def _refresh(self) -> None:
        """Learn anew who leads what; when no known broker answers, begin again from the addresses in the settings."""
        client = self._client
        if client is None:
            return
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_S):
                learned = await client.force_metadata_update()
        except TimeoutError:
            learned = False
        if not learned:
            await self._drop(client)

    async def _drop(self, client: Any) -> None:
        if client is not None and client is self._client:
            self._client = None
            await _closed(client)


async def _closed(client: Any) -> None:
    """Close ``client``. A broker that stands still keeps nobody waiting for longer than ``CLOSE_S_MAX``.

    An orderly end sends first what is to be sent, which such a broker would not take for as long as it stands still.
    """
    writers = [connection._writer for connection in client._conns.values()]  # noqa: SLF001  closing, it forgets them
    try:
        async with asyncio.timeout(CLOSE_S_MAX):
            await to_its_end(client.close())
    except TimeoutError:
        for writer in writers:
            if writer is not None:
                writer.transport.abort()


async def to_its_end(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """The result of ``work``, which is not cancelled with its caller: it is given ``LEAVE_S_MAX`` to come to its end.

    aiokafka takes a cancellation that comes while it closes for that of its own task, and passes it over: who closes
    something would go on as if nobody had stopped it. And one between a question and its answer would leave a
    connection open until it is collected.
    """
    working = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working], timeout=LEAVE_S_MAX)
        raise
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
