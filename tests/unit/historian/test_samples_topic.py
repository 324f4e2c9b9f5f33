"""Records of ``lineside.samples.v1``, as anybody reads them who has the .proto file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_ingest.event_log.topics import SAMPLES, topic_specs
from cloud_ingest.historian import samples_pb2
from cloud_ingest.historian.samples_topic import SamplesTopic, encode_batch
from cloud_ingest.historian.work import DecodedBatch, KnownAgent, Work
from connectors.model.datatypes import DataType, ValueFamily, family_of
from connectors.model.delivery import AgentName
from connectors.model.errors import EventLogUnavailable
from connectors.model.samples import SampleBatch, batch_of_rows
from connectors.ports.memory_event_log import MemoryEventLog
from tests.drawn_batches import batches

AGENT = KnownAgent(7, 1, AgentName("plant", "line ü"))
VALUES = {
    ValueFamily.FLOAT: "double_values",
    ValueFamily.INT: "int_values",
    ValueFamily.UINT: "uint_values",
    ValueFamily.BOOL: "bool_values",
    ValueFamily.TEXT: "text_values",
    ValueFamily.BYTES: "bytes_values",
}
NAMES = {alias: f"tag/{alias} °C" for alias in range(10)}
ROW = tuple[str, int, Any, int]


def decoded_batch(parts: list[SampleBatch], *, device: str = "press", epoch: int = 5, batch: int = 9) -> DecodedBatch:
    return DecodedBatch(AGENT, device, epoch, batch, 1_700_000_000_000, tuple(parts), NAMES)


def rows_of_column(column: samples_pb2.Column) -> list[tuple[str, int, Any, int]]:
    """The samples of a column, after checking that its fields fit together."""
    count, family = len(column.tag), family_of(DataType(column.datatype))
    value = list(getattr(column, VALUES[family]))
    for name in VALUES.values():
        assert len(getattr(column, name)) == (count if name == VALUES[family] else 0)
    assert len(column.time_ns) == count
    assert len(column.quality) in (0, count)
    assert len(column.missing) in (0, count)
    quality = list(column.quality) or [0] * count
    missing = list(column.missing) or [False] * count
    assert sorted(set(column.tag)) == list(range(len(column.tag_names))), "every name is used"
    return [
        (column.tag_names[tag], time, None if gone else repr(item), code)
        for tag, time, item, code, gone in zip(column.tag, column.time_ns, value, quality, missing, strict=True)
    ]


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(st.lists(batches(tags=st.integers(0, 9)), max_size=4))
def test_a_record_reads_as_the_samples_that_were_decoded(parts: list[SampleBatch]) -> None:
    found = samples_pb2.SampleBatch.FromString(encode_batch(decoded_batch(parts)))
    assert (found.group, found.agent, found.device, found.epoch, found.batch) == ("plant", "line ü", "press", 5, 9)
    assert [column.datatype for column in found.columns] == [part.datatype for part in parts]
    for column, part in zip(found.columns, parts, strict=True):
        assert rows_of_column(column) == [
            (NAMES[tag], time, None if value is None else repr(value), quality)
            for tag, time, value, quality in part.rows()
        ]


def test_a_node_without_delivery_has_no_epoch_and_the_node_itself_no_device() -> None:
    found = samples_pb2.SampleBatch.FromString(encode_batch(decoded_batch([], device="", epoch=0, batch=0)))
    assert (found.device, found.epoch, found.batch, len(found.columns)) == ("", 0, 0, 0)


def test_the_largest_epoch_and_batch_fit() -> None:
    largest = (1 << 63) - 1
    found = samples_pb2.SampleBatch.FromString(encode_batch(decoded_batch([], epoch=largest, batch=largest)))
    assert (found.epoch, found.batch) == (largest, largest)


def work_with(*parts: SampleBatch) -> Work:
    work = Work(next_offset=1)
    work.decoded = [decoded_batch([part], batch=number) for number, part in enumerate(parts, 1)]
    return work


def doubles(count: int) -> SampleBatch:
    return batch_of_rows(DataType.DOUBLE, [(number % 10, number, float(number), 0) for number in range(count)])


async def published(log: MemoryEventLog) -> list[samples_pb2.SampleBatch]:
    found = []
    for partition in range(2):
        async with log.reader(SAMPLES, partition, 0) as reader:
            for record in await reader.read(0.0, 1_000_000):
                assert (record.key, record.time_ms) == ("plant/line ü".encode(), 1_700_000_000_000)
                found.append(samples_pb2.SampleBatch.FromString(record.value))
    return found


async def test_batches_are_published_under_the_name_of_their_agent_in_order() -> None:
    log = MemoryEventLog()
    await log.ensure(topic_specs(2, 3600)[SAMPLES])
    await SamplesTopic(log).publish(work_with(doubles(2), doubles(3)))
    found = await published(log)
    assert [(batch.batch, len(batch.columns[0].tag)) for batch in found] == [(1, 2), (2, 3)]
    await SamplesTopic(log).publish(Work(next_offset=2))
    assert len(await published(log)) == 2


async def test_a_batch_that_the_log_refuses_does_not_stop_the_others() -> None:
    """Names make a record larger than the message it came from."""
    log = MemoryEventLog(record_bytes_max=2_000)
    await log.ensure(topic_specs(2, 3600)[SAMPLES])
    await SamplesTopic(log).publish(work_with(doubles(5), doubles(1_000), doubles(7)))
    assert [(batch.batch, len(batch.columns[0].tag)) for batch in await published(log)] == [(1, 5), (3, 7)]


async def test_a_log_that_is_away_is_the_caller_s_to_wait_for() -> None:
    log = MemoryEventLog()
    await log.ensure(topic_specs(2, 3600)[SAMPLES])
    log.server.available = False
    with pytest.raises(EventLogUnavailable):
        await SamplesTopic(log).publish(work_with(doubles(1)))


def test_a_column_is_packed_as_it_lies_in_memory() -> None:
    part = SampleBatch(
        DataType.FLOAT,
        np.array([3, 3, 4], np.int32),
        np.array([1, 2, 3], np.int64),
        np.array([1.5, 2.5, 0], np.float32),
    )
    column = samples_pb2.SampleBatch.FromString(encode_batch(decoded_batch([part]))).columns[0]
    assert list(column.double_values) == [1.5, 2.5, 0.0]
    assert (list(column.tag), list(column.tag_names)) == ([0, 0, 1], [NAMES[3], NAMES[4]])
