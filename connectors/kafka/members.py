"""Who reads which partition: membership in a Kafka consumer group that fetches and commits nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaConnectionError, KafkaError

from connectors.kafka.connection import client_options, to_its_end
from connectors.kafka.refusals import brokers, refusal, why_unreachable
from connectors.kafka.settings import KafkaLog
from connectors.model.errors import EventLogUnavailable

HEARTBEAT_S: Final = 1.0
_STOP_TIMEOUT_S: Final = 5.0
_MS_PER_S: Final = 1000
_NEVER_MS: Final = (1 << 31) - 1

_new_consumer: Final[Any] = AIOKafkaConsumer  # it has no annotations


class _Assignments(ConsumerRebalanceListener):
    """Keeps the newest assignment, and lets the consumer fetch nothing of it."""

    def __init__(self, consumer: Any, settings: KafkaLog) -> None:
        self._consumer = consumer
        self._settings = settings
        self._changed = asyncio.Event()
        self._newest: frozenset[int] | None = None

    def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        """Another assignment follows at once."""

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        self._consumer.pause(*assigned)
        self._newest = frozenset(place.partition for place in assigned)
        self._changed.set()

    async def changes(self) -> AsyncGenerator[frozenset[int], None]:
        told: frozenset[int] | None = None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await self._consumer.getmany(timeout_ms=0)
            except KafkaError as exc:
                reason = refusal(exc, self._settings)
                raise EventLogUnavailable(f"the membership in a group on Kafka is lost: {reason}") from exc
            if self._newest is not None and self._newest != told:
                told = self._newest
                yield told


@asynccontextmanager
async def membership(
    settings: KafkaLog, name: str, topic: str, group: str
) -> AsyncIterator[AsyncIterator[frozenset[int]]]:
    """The partitions of ``topic`` that this member of ``group`` is to read, as the port has it.

    Kafka's group is called ``<group>.<topic>``, so that what happens to one topic disturbs no readers of another.
    """
    options = client_options(settings, name)
    # A join is answered when all members have joined, or those that have died are given up.
    options["request_timeout_ms"] += round(settings.session_timeout_s * _MS_PER_S)
    consumer = _new_consumer(
        group_id=f"{group}.{topic}",
        enable_auto_commit=False,
        partition_assignment_strategy=(StickyPartitionAssignor,),
        session_timeout_ms=round(settings.session_timeout_s * _MS_PER_S),
        heartbeat_interval_ms=round(HEARTBEAT_S * _MS_PER_S),
        max_poll_interval_ms=_NEVER_MS,
        **options,
    )
    assignments = _Assignments(consumer, settings)
    try:
        consumer.subscribe([topic], listener=assignments)
        try:
            async with asyncio.timeout(settings.timeout_s + settings.session_timeout_s):
                await consumer.start()
        except (KafkaError, TimeoutError) as exc:
            away = isinstance(exc, KafkaConnectionError)
            reason = await why_unreachable(settings, options) if away else refusal(exc, settings)
            raise EventLogUnavailable(
                f"Kafka at {brokers(settings)} could not take us into the group {group}.{topic}: {reason}"
            ) from exc
        async with aclosing(assignments.changes()) as changes:
            yield changes
    finally:
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await to_its_end(consumer.stop())
