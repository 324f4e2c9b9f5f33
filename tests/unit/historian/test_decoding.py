"""Batches decoded together give what each gives alone, and a message that cannot be read is refused alone."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_ingest.event_log.topics import raw_record
from cloud_ingest.historian.decoding import by_message, decode_batches
from cloud_ingest.historian.identities import DefinitionTags
from cloud_ingest.historian.incoming import Incoming, read_incoming
from cloud_ingest.historian.work import DeadLetter
from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.ports.event_log import LogRecord
from connectors.sparkplug.bulk_encode import encode_metrics, sub_millisecond_ticks
from tests.drawn_batches import batches, values
from tests.played_agent import ALIAS_FIRST, NOW_MS, PlayedAgent, Sample, Wire

TYPES = {datatype.label: datatype for datatype in DataType}
ALIASES = {datatype: ALIAS_FIRST + number for number, datatype in enumerate(TYPES.values())}
STEADY_NS = NOW_MS * 1_000_000
"""Most samples have times close together, as from a real machine: so that the fast paths are taken, too."""


def read(wire: Wire) -> Incoming | DeadLetter | None:
    record = raw_record("plant/line-1", wire.topic, wire.payload, NOW_MS)
    return read_incoming(LogRecord(0, record.key, record.value, record.time_ms, record.headers))


def incoming(wire: Wire) -> Incoming:
    found = read(wire)
    assert isinstance(found, Incoming)
    return found


def prepared() -> tuple[PlayedAgent, DefinitionTags]:
    agent = PlayedAgent()
    agent.define("press", TYPES)
    definition = agent.definitions["press"]
    return agent, DefinitionTags(definition, {metric.alias: metric.alias + 5 for metric in definition.metrics})


def rows(parts: Any) -> dict[DataType, list[tuple[Any, ...]]]:
    """Samples by type, in order; NaN compares as text."""
    found: dict[DataType, list[tuple[Any, ...]]] = {}
    for part in parts:
        kept = found.setdefault(part.datatype, [])
        kept += [(tag, time, repr(value), quality) for tag, time, value, quality in part.rows()]
    return found


def assert_as_each_alone(messages: list[Incoming], tags: DefinitionTags) -> None:
    alone = [decode_batches([message], tags) for message in messages]
    wanted = rows(batch for decoded in alone for batch in decoded.batches)
    together = decode_batches(messages, tags)
    assert rows(together.batches) == wanted
    assert [(id(message), reason) for message, reason in together.refused] == [
        (id(message), reason) for decoded in alone for message, reason in decoded.refused
    ]
    refused = {id(message) for message, _ in together.refused}
    good = [message for message in messages if id(message) not in refused]
    parts = by_message(good, together.batches, tags)
    for message, part in zip(good, parts, strict=True):
        assert rows(part) == rows(decode_batches([message], tags).batches)


@st.composite
def parts_of_a_message(draw: st.DrawFn) -> list[SampleBatch]:
    if draw(st.booleans()):
        datatype = draw(st.sampled_from([DataType.DOUBLE, DataType.INT32, DataType.BOOLEAN, DataType.STRING]))
        count = draw(st.integers(1, 60))
        value = draw(values(datatype))
        times = STEADY_NS + np.arange(count, dtype=np.int64) * draw(st.sampled_from([1_000_000, 1_234_500]))
        column = np.empty(count, object) if datatype is DataType.STRING else np.zeros(count, np.asarray(value).dtype)
        column[:] = value
        return [SampleBatch(datatype, np.full(count, ALIASES[datatype], np.int32), times, column)]
    drawn = draw(st.lists(batches(size_max=4), max_size=3, unique_by=lambda batch: batch.datatype))
    return [batch.with_tags(np.full(len(batch), ALIASES[batch.datatype], np.int32)) for batch in drawn]


@st.composite
def messages(draw: st.DrawFn) -> list[Incoming]:
    agent, _ = prepared()
    found = []
    for parts in draw(st.lists(parts_of_a_message(), min_size=1, max_size=5)):
        body = b"".join(encode_metrics(part) for part in parts)
        ticks = np.concatenate([sub_millisecond_ticks(part) for part in parts]) if parts else np.zeros(0, np.uint16)
        count = sum(len(part) for part in parts)
        match draw(st.sampled_from(["good", "good", "good", "count", "ticks", "cut", "byte"])):
            case "count":
                count = max(0, count + draw(st.sampled_from([-1, 1])))
            case "ticks":
                ticks = np.append(ticks, np.uint16(7)) if draw(st.booleans()) else ticks[:-1]
            case "cut":
                body = body[: draw(st.integers(0, len(body)))]
            case "byte" if body:
                at = draw(st.integers(0, len(body) - 1))
                body = body[:at] + bytes((draw(st.integers(0, 255)),)) + body[at + 1 :]
        message = read(agent.raw("press", body, count, ticks=ticks if ticks.any() else None))
        if isinstance(message, Incoming):  # one that is no payload at all is a dead letter before it is decoded
            found.append(message)
    return found


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(messages())
def test_together_is_as_each_alone(drawn: list[Incoming]) -> None:
    assert_as_each_alone(drawn, prepared()[1])


@pytest.mark.parametrize("kind", ["count", "ticks", "metric"])
def test_mistakes_that_cancel_out_are_refused_all_the_same(kind: str) -> None:
    """One message has a sample too many, the next one too few: together the number would be right."""
    agent, tags = prepared()

    def body(values: list[float]) -> bytes:
        count = len(values)
        alias = np.full(count, ALIASES[DataType.DOUBLE], np.int32)
        time_ns = np.full(count, STEADY_NS, np.int64)
        return encode_metrics(SampleBatch(DataType.DOUBLE, alias, time_ns, np.array(values)))

    whole = body([1.0, 2.0])
    if kind == "count":
        wires = [agent.raw("press", whole, 3), agent.raw("press", whole, 1)]
    elif kind == "ticks":
        ticks = np.array([1, 2, 3], np.uint16)
        wires = [agent.raw("press", whole, 2, ticks=ticks), agent.raw("press", whole, 2, ticks=ticks[:1])]
    else:
        wires = [agent.raw("press", whole[:-9], 2), agent.raw("press", whole[-9:] + whole, 2)]
    found = [incoming(wire) for wire in wires]
    assert len(decode_batches(found, tags).refused) == 2
    assert_as_each_alone(found, tags)


@pytest.mark.parametrize("count", [2, 100_000_000, (1 << 31) - 1])
def test_a_number_of_samples_that_its_bytes_cannot_hold_is_refused_before_room_is_made_for_it(count: int) -> None:
    agent, tags = prepared()
    column = np.array([1.0])
    body = encode_metrics(
        SampleBatch(DataType.DOUBLE, np.array([ALIASES[DataType.DOUBLE]], np.int32), np.array([STEADY_NS]), column)
    )
    ticked = agent.raw("press", body, 1, ticks=np.array([7], np.uint16))
    found = [incoming(wire) for wire in (ticked, agent.raw("press", body[:7], count), ticked)]
    tracemalloc.start()
    decoded = decode_batches(found, tags)
    _now, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [(message is found[1], reason) for message, reason in decoded.refused] == [
        (True, f"{count} samples were announced in 7 bytes")
    ]
    assert sum(len(batch) for batch in decoded.batches) == 2
    assert peak_bytes < 10_000_000


def test_an_unknown_alias_refuses_its_message_and_no_other() -> None:
    agent, tags = prepared()
    good = [agent.samples("press", [Sample("Double", STEADY_NS + n, float(n))]) for n in range(3)]
    alias, time = np.array([99], np.int32), np.array([0], np.int64)
    unknown = encode_metrics(SampleBatch(DataType.DOUBLE, alias, time, np.array([1.0])))
    found = [incoming(wire) for wire in (good[0], agent.raw("press", unknown, 1), *good[1:])]
    decoded = decode_batches(found, tags)
    assert [(message is found[1], reason) for message, reason in decoded.refused] == [(True, "unknown alias 99")]
    assert rows(decoded.batches)[DataType.DOUBLE] == [
        (ALIASES[DataType.DOUBLE], (STEADY_NS + n) // 100 * 100, repr(float(n)), 0) for n in range(3)
    ]


def test_tag_ids_stand_for_aliases() -> None:
    _, tags = prepared()
    aliases = np.array([ALIAS_FIRST + 3, ALIAS_FIRST, ALIAS_FIRST + 3], np.int32)
    assert tags.tag_ids(aliases).tolist() == [ALIAS_FIRST + 8, ALIAS_FIRST + 5, ALIAS_FIRST + 8]


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 5))
def test_no_bytes_whatever_do_more_than_be_refused(body: bytes, count: int) -> None:
    agent, tags = prepared()
    wire = agent.raw("press", body, count)
    record = raw_record("plant/line-1", wire.topic, wire.payload, NOW_MS)
    found = read_incoming(LogRecord(0, record.key, record.value, record.time_ms, record.headers))
    if isinstance(found, Incoming):
        decoded = decode_batches([found], tags)
        assert decoded.refused or sum(len(batch) for batch in decoded.batches) == count
