"""Decoded samples for other people's systems: the topic ``lineside.samples.v1`` (samples.proto).

The columns are written as packed fields straight from memory; the protobuf library, which would take each value as an
object, is only used by the tests, and by those who read the topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cloud_ingest.event_log.topics import SAMPLES
from cloud_ingest.historian.work import DecodedBatch, Work
from cloud_ingest.observability.events import SamplesNotPublished
from connectors.model.datatypes import ValueFamily, family_of
from connectors.model.errors import RecordRefused
from connectors.model.samples import SampleBatch
from connectors.observability.events import emit
from connectors.ports.event_log import EventLog, Record
from connectors.sparkplug.bulk_encode import varint

NAMES_REMEMBERED: Final = 65_536
_PACKED: Final = {
    ValueFamily.FLOAT: (7, "<f8"),
    ValueFamily.INT: (8, "<i8"),
    ValueFamily.UINT: (9, "<u8"),
    ValueFamily.BOOL: (10, "u1"),
}
_REPEATED: Final = {ValueFamily.TEXT: 11, ValueFamily.BYTES: 12}


class SamplesTopic:
    """Publishes what the historian is about to store; a crash in between publishes it again (at least once)."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def publish(self, work: Work) -> None:
        """Append the decoded batches of ``work``. Raises ``EventLogUnavailable``.

        A batch that the log refuses is left out: it is in the store all the same.
        """
        records = [
            Record(str(batch.agent.name).encode(), encode_batch(batch), batch.received_ms) for batch in work.decoded
        ]
        try:
            if records:
                await self._log.append(SAMPLES, records)
        except RecordRefused:
            for record in records:
                await self._append_alone(record)

    async def _append_alone(self, record: Record) -> None:
        try:
            await self._log.append(SAMPLES, [record])
        except RecordRefused as exc:
            emit(SamplesNotPublished(record.key.decode(), len(record.value), str(exc)))


def encode_batch(decoded: DecodedBatch) -> bytes:
    """A ``lineside.v1.SampleBatch``."""
    agent = decoded.agent.name
    parts = [_text(1, agent.group), _text(2, agent.name)]
    if decoded.device:
        parts.append(_text(3, decoded.device))
    if decoded.epoch:
        parts += [b"\x20", varint(decoded.epoch), b"\x28", varint(decoded.batch)]
    parts += [_bytes(6, _column(part, decoded.names)) for part in decoded.parts]
    return b"".join(parts)


def _column(part: SampleBatch, names: Mapping[int, str]) -> bytes:
    used, index = np.unique(part.tag, return_inverse=True)
    fields = [b"\x08" + varint(part.datatype), _packed(2, index.astype("<u4"))]
    fields += [_tag_name(names[alias]) for alias in used.tolist()]
    fields.append(_packed(4, part.time_ns.astype("<i8", copy=False)))
    if part.quality is not None:
        fields.append(_packed(5, part.quality.astype("<u4")))
    if part.null is not None:
        fields.append(_packed(6, part.null.astype("u1")))
    family = family_of(part.datatype)
    if family in _PACKED:
        number, dtype = _PACKED[family]
        fields.append(_packed(number, part.value.astype(dtype, copy=False)))
    else:
        number = _REPEATED[family]
        fields += [_bytes(number, value if isinstance(value, bytes) else value.encode()) for value in part.value]
    return b"".join(fields)


def _packed(number: int, values: NDArray[Any]) -> bytes:
    return _bytes(number, values.tobytes())


@lru_cache(maxsize=NAMES_REMEMBERED)
def _tag_name(name: str) -> bytes:
    return _text(3, name)


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode("utf-8", "replace"))


def _bytes(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data
