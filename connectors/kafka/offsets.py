"""The offsets at which the partitions of a topic begin and end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.offset import OffsetRequest

from connectors.kafka.connection import KafkaConnection

LATEST: Final = -1
EARLIEST: Final = -2
_READ_UNCOMMITTED: Final = 0
_NO_REPLICA: Final = -1


async def partition_offsets(
    connection: KafkaConnection, topic: str, partitions: Iterable[int], which: int
) -> dict[int, int]:
    """By partition, the offset of the oldest record (``EARLIEST``), or of the next one to come (``LATEST``).

    Raises ``KafkaError``.
    """
    offsets = {}
    for partition in partitions:
        request = OffsetRequest(_NO_REPLICA, _READ_UNCOMMITTED, [(topic, [(partition, which)])])
        answer = await connection.to_leader(topic, partition, request)
        ((_topic, ((_partition, code, _time, offset, *_rest),)),) = answer.topics
        error: type[KafkaError] = for_code(code)
        if error is not NoError:
            raise error
        offsets[partition] = int(offset)
    return offsets
