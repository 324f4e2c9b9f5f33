"""Topics of a Kafka cluster: what they are, and making them."""

from __future__ import annotations

import asyncio
import math
import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from connectors.kafka.connection import RETRY_S, KafkaConnection
from connectors.kafka.producer import BATCH_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES
from connectors.kafka.refusals import brokers, not_made
from connectors.kafka.settings import KafkaLog
from connectors.model.errors import EventLogUnavailable
from connectors.ports.event_log import Cleanup, TopicSpec

_KEY_AND_HEADERS_BYTES: Final = 4096
"""What a record of the largest size may have beside its value."""
_TOPIC_RESOURCE: Final = 2
_MS_PER_S: Final = 1000
_SETTINGS: Final = ("min.insync.replicas", "max.message.bytes", "cleanup.policy", "retention.ms", "retention.bytes")


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """A topic as the cluster has it. ``identity`` is Kafka's own topic id, of which each topic made gets a new one.

    ``retention_s`` is infinite where nothing is deleted for its age, ``bytes_max`` ``None`` where nothing is for
    the size of a partition.
    """

    identity: str
    partitions: int
    replication: int
    in_sync_min: int
    batch_bytes_max: int
    retention_s: float
    bytes_max: int | None


class _Uuid(AbstractType[uuid.UUID]):
    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


class _DescribeResponse(Response):
    """Metadata, version 12: the first whose answer names the ids of topics (KIP-516) has the version 10."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )
    topics: list[Any]


class _DescribeStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _DescribeResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _DescribeRequest(Request[_DescribeStruct]):
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_DescribeStruct]) -> _DescribeStruct:
        return request_struct_class([(uuid.UUID(int=0), self._topic, {})], False, False, {})


async def find_topic(connection: KafkaConnection, name: str) -> KafkaTopic | None:
    """The topic ``name``, or ``None``. Raises ``KafkaError``; a retriable one while it has no leaders yet."""
    answer = await connection.to_any(_DescribeRequest(name))
    ((code, _name, topic_id, _internal, partitions, *_rest),) = answer.topics
    error: type[KafkaError] = for_code(code)
    if error is UnknownTopicOrPartitionError:
        return None
    if error is not NoError:
        raise error
    replication = []
    for _code, _partition, leader, _epoch, replicas, *_rest in partitions:
        if leader < 0:
            raise LeaderNotAvailableError(f"{name} has partitions without a leader")
        replication.append(len(replicas))
    limits = await _configuration(connection, name, _SETTINGS)
    deletes = Cleanup.DELETE.value in limits["cleanup.policy"].split(",")
    retention_ms, bytes_max = int(limits["retention.ms"]), int(limits["retention.bytes"])
    return KafkaTopic(
        topic_id.hex,
        len(partitions),
        min(replication),
        int(limits["min.insync.replicas"]),
        int(limits["max.message.bytes"]),
        retention_ms / _MS_PER_S if deletes and retention_ms >= 0 else math.inf,
        bytes_max if deletes and bytes_max >= 0 else None,
    )


async def create_topic(connection: KafkaConnection, spec: TopicSpec, settings: KafkaLog) -> None:
    """Make ``spec``, unless it exists. Raises ``KafkaError``, and ``EventLogUnavailable`` with what Kafka says."""
    configuration = {
        "cleanup.policy": spec.cleanup.value,
        "min.insync.replicas": str(settings.in_sync_min),
        "unclean.leader.election.enable": "false",
        "max.message.bytes": str(
            settings.record_bytes_max + _KEY_AND_HEADERS_BYTES + RECORD_OVERHEAD_BYTES + BATCH_OVERHEAD_BYTES
        ),
    }
    if spec.cleanup is Cleanup.DELETE:
        configuration["retention.ms"] = str(round(spec.retention_s * _MS_PER_S))
    topic: Any = (spec.name, spec.partitions, settings.replication, [], list(configuration.items()))
    answer = await connection.to_any(CreateTopicsRequest([topic], round(settings.timeout_s * _MS_PER_S), False))
    ((_name, code, *message),) = answer.topic_errors
    error: type[KafkaError] = for_code(code)
    if error in (NoError, TopicAlreadyExistsError):
        return
    if getattr(error, "retriable", False):
        raise error
    said = message[0] if message and message[0] else error.__name__
    if error is InvalidReplicationFactorError:
        raise EventLogUnavailable(
            f"Kafka at {brokers(settings)} does not make the topic {spec.name} with {settings.replication} copies: "
            f"{said} Let more brokers join, or lower 'replication' and 'in_sync' of 'kafka' under 'event_log'."
        )
    raise EventLogUnavailable(not_made(spec, settings, configuration, said))


async def ensure_topic(connection: KafkaConnection, spec: TopicSpec, settings: KafkaLog) -> KafkaTopic:
    """The topic, made if there was none. An existing one is left as the operators of the cluster have it.

    Raises ``KafkaError`` and ``EventLogUnavailable``.
    """
    found = await find_topic(connection, spec.name)
    if found is None:
        await create_topic(connection, spec, settings)
    while found is None:  # within the time that the caller allows: every broker hears of a new topic soon
        await asyncio.sleep(RETRY_S)
        found = await find_topic(connection, spec.name)
    return found


async def _configuration(connection: KafkaConnection, topic: str, names: tuple[str, ...]) -> dict[str, str]:
    answer = await connection.to_any(DescribeConfigsRequest([(_TOPIC_RESOURCE, topic, list(names))]))
    ((code, _message, _type, _name, entries),) = answer.resources
    error: type[KafkaError] = for_code(code)
    if error is not NoError:
        raise error
    return {name: str(value) for name, value, *_rest in entries}
