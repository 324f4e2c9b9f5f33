"""Tags and samples by gRPC: what is read, page by page and all of it, and what is told as it comes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloud_ingest.access.permissions import Role
from cloud_ingest.gateway.rpc import data_service
from cloud_ingest.gateway.rpc.instants import ns_of
from cloud_ingest.historian.identities import Identities, TagKey
from connectors.lineside_api.v1.data_pb2 import (
    LastSeen,
    ListTagsRequest,
    ReadIntervalsRequest,
    ReadSampleRangeRequest,
    ReadSamplesRequest,
    ReadTagsRequest,
    StreamSamplesRequest,
    TagName,
    TagRef,
)
from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName
from tests.contract.command_steps import Office, office
from tests.contract.rpc_steps import SMALL_WINDOW, Api, all_of, by, first, refused, served
from tests.contract.whole_gateway import asking, headers_of
from tests.patience import WAIT_S_MAX

SETPOINT = TagRef(name=TagName(agent="plant/line-1", device="press", tag="setpoint"))
NONE = TagRef(id=999)
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
BEGIN_NS = ns_of(BEGIN)


@asynccontextmanager
async def api(dsn: str, **settings: Any) -> AsyncIterator[tuple[Office, Api]]:
    async with office(dsn) as here, served(here.database, **settings) as one:
        yield here, one


async def store(here: Office, column: str, *samples: tuple[float, Any], tag_id: int = 1, quality: int = 0) -> None:
    """Samples of a tag: seconds since ``BEGIN``, and values."""
    async with here.database.session() as session:
        await session.execute_many(
            f"INSERT INTO sample (time, value_{column}, tag_id, tenant_id, quality) VALUES ($1, $2, $3, 1, $4)",
            [(BEGIN + timedelta(seconds=at), value, tag_id, quality) for at, value in samples],
        )


def times(columns: Any) -> list[float]:
    return [(time_ns - BEGIN_NS) / 1e9 for time_ns in columns.time_ns]


async def test_tags_come_a_page_at_a_time_with_what_is_known_of_them(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        identities = Identities(here.database)
        known = await identities.agent(AgentName("plant", "line-1"))
        names = [TagKey("press", f"zone{at}", DataType.DOUBLE) for at in range(4)]
        await identities.tags(known, [*names, TagKey("", "uptime", DataType.INT64)])
        found, after, pages = [], 0, 0
        while after is not None:
            page = await program.data.ListTags(ListTagsRequest(limit=2, after=after), **by())
            found += [tag.tag for tag in page.tags]
            after, pages = page.next if page.HasField("next") else None, pages + 1
        assert sorted(found) == ["setpoint", "uptime", *(key.name for key in names)]
        assert pages == 4
        of_agent = await program.data.ListTags(ListTagsRequest(agent="plant/line-1", device=""), **by())
        assert [(tag.agent, tag.device, tag.tag, tag.type) for tag in of_agent.tags] == [
            ("plant/line-1", "", "uptime", "Int64")
        ]
        searched = await program.data.ListTags(ListTagsRequest(search="ZONE3"), **by())
        assert [tag.tag for tag in searched.tags] == ["zone3"]
        for token in ("stranger", "elsewhere"):
            assert not (await program.data.ListTags(ListTagsRequest(), **by(token))).tags
        assert await refused(program.data.ListTags(ListTagsRequest(limit=10_001), **by())) == (
            "INVALID_ARGUMENT",
            "out_of_bounds",
        )


async def test_samples_come_in_columns_with_exact_times_a_page_at_a_time(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        await store(here, "double", (0, 1.5), (0.000001, float("inf")), (3, None), (4, 4.5))
        await store(here, "double", (2, 2.5), quality=0x8000)
        asked = ReadSamplesRequest(tag=SETPOINT, from_ns=BEGIN_NS, to_ns=BEGIN_NS + 4_000_000_000, limit=3)
        page = await program.data.ReadSamples(asked, **by())
        (columns,) = page.columns
        assert (page.tag.id, page.tag.type) == (1, "Double")
        assert list(columns.time_ns) == [BEGIN_NS, BEGIN_NS + 1000, BEGIN_NS + 2_000_000_000]
        assert list(columns.double_values) == [1.5, float("inf"), 2.5]
        assert list(columns.quality) == [0, 0, 0x8000]
        assert not columns.missing
        asked.from_ns = page.next_ns
        page = await program.data.ReadSamples(asked, **by())
        (columns,) = page.columns
        assert (list(columns.missing), times(columns), list(columns.quality)) == ([True], [3.0], [])
        assert not page.HasField("next_ns")
        exact = ReadSamplesRequest(tag=TagRef(id=1), from_ns=BEGIN_NS + 1, to_ns=BEGIN_NS + 1001)
        (columns,) = (await program.data.ReadSamples(exact, **by())).columns
        assert list(columns.time_ns) == [BEGIN_NS + 1000], "from this nanosecond on, and before that one"


async def test_intervals_come_in_columns_as_rest_tells_them_a_page_at_a_time(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        await store(here, "double", (0, 1.0), (0.5, 3.0), (0.7, None), (4, float("inf")), (6, 5.0))
        await store(here, "double", (4.5, 99.0), quality=0x8000)
        asked = ReadIntervalsRequest(tag=SETPOINT, from_ns=BEGIN_NS, to_ns=BEGIN_NS + 10**10, bucket_ms=1000, limit=2)
        page = await program.data.ReadIntervals(asked, **by())
        found, pages = [page.columns], 1
        while page.HasField("next_ns"):
            asked.from_ns = page.next_ns
            page, pages = await program.data.ReadIntervals(asked, **by()), pages + 1
            found.append(page.columns)
        names = ("count", "good", "mean", "min", "max", "first", "last")
        told = {name: [value for columns in found for value in getattr(columns, name)] for name in names}
        began = [at for columns in found for at in times(columns)]
        async with asking(one.app) as client:
            span = {"from": BEGIN.isoformat(), "to": (BEGIN + timedelta(seconds=10)).isoformat()}
            answer = await client.get(
                "/api/v1/samples", params={"tag_id": 1, "bucket": "1s", **span}, headers=headers_of(Role.ADMIN, "k")
            )
        buckets = answer.json()["buckets"]
        assert [datetime.fromisoformat(bucket["time"]) for bucket in buckets] == [
            BEGIN + timedelta(seconds=at) for at in began
        ]
        for name in names:
            shown = [None if math.isnan(one) else one for one in told[name]]
            assert shown == [bucket[name] for bucket in buckets], name
        assert (told["count"], told["good"], pages) == ([3, 2, 1], [3, 1, 1], 2)
        assert math.isnan(told["mean"][1]), "infinity is no number, and what is bad is not good"
        for bucket_ms in (0, -1, 864_000_000_001):
            asked.bucket_ms = bucket_ms
            assert await refused(program.data.ReadIntervals(asked, **by())) == ("INVALID_ARGUMENT", "out_of_bounds")
        asked.bucket_ms = 1000
        assert await refused(program.data.ReadIntervals(asked, **by("stranger"))) == ("NOT_FOUND", "unknown_tag")


async def test_a_tag_that_has_changed_its_type_comes_in_columns_that_follow_each_other(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        await store(here, "int", (0, 1), (1, -2))
        await store(here, "text", (2, "three"))
        await store(here, "bytes", (3, b"\x00\xff"))
        page = await program.data.ReadSamples(ReadSamplesRequest(tag=SETPOINT, from_ns=BEGIN_NS), **by())
        assert [times(columns) for columns in page.columns] == [[0.0, 1.0], [2.0], [3.0]]
        assert list(page.columns[0].int_values) == [1, -2]
        assert list(page.columns[1].text_values) == ["three"]
        assert list(page.columns[2].bytes_values) == [b"\x00\xff"]


async def test_a_range_is_whole_and_goes_on_from_any_chunk(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_service, "CHUNK_SAMPLES", 3)
    monkeypatch.setattr(data_service, "CHUNK_BYTES", 40)
    async with api(database_dsn) as (here, one), one.program() as program:
        at = [0, 1, 2, 3, 3, 3, 3, 3, 4, 5]
        await store(here, "text", *((second, f"v{number:02}") for number, second in enumerate(at)))
        asked = ReadSampleRangeRequest(tags=[SETPOINT], from_ns=BEGIN_NS, to_ns=BEGIN_NS + 10**10)
        chunks = await all_of(program.data.ReadSampleRange(asked, **by()))
        assert [second for chunk in chunks for second in times(chunk.columns)] == at
        assert sorted(text for chunk in chunks for text in chunk.columns.text_values) == [f"v{n:02}" for n in range(10)]
        assert [chunk.is_last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert [chunk.HasField("tag") for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
        for number, chunk in enumerate(chunks):
            if chunk.HasField("next_ns"):
                asked.from_ns = chunk.next_ns
                rest = await all_of(program.data.ReadSampleRange(asked, **by()))
                before = [second for one in chunks[: number + 1] for second in times(one.columns)]
                assert before + [second for again in rest for second in times(again.columns)] == at
        empty = ReadSampleRangeRequest(tags=[SETPOINT], from_ns=0, to_ns=1)
        (chunk,) = await all_of(program.data.ReadSampleRange(empty, **by()))
        assert (chunk.tag.id, chunk.is_last, list(chunk.columns.time_ns)) == (1, True, [])


async def test_what_cannot_be_read_is_refused_with_a_code(database_dsn: str) -> None:
    day = 86_400 * 10**9
    async with api(database_dsn) as (_, one), one.program() as program:
        data = program.data
        assert await refused(data.ReadSamples(ReadSamplesRequest(tag=NONE), **by())) == ("NOT_FOUND", "unknown_tag")
        for token in ("stranger", "elsewhere"):
            for ref in (SETPOINT, TagRef(id=1)):
                theirs = data.ReadSamples(ReadSamplesRequest(tag=ref), **by(token))
                assert await refused(theirs) == ("NOT_FOUND", "unknown_tag")
        ranged = ReadSampleRangeRequest(tags=[SETPOINT, NONE])
        assert await refused(data.ReadSampleRange(ranged, **by())) == ("NOT_FOUND", "unknown_tag")
        long = ReadSampleRangeRequest(tags=[SETPOINT], from_ns=BEGIN_NS - 401 * day)
        assert await refused(data.ReadSampleRange(long, **by())) == ("INVALID_ARGUMENT", "span_too_long")
        turned = ReadSamplesRequest(tag=SETPOINT, from_ns=5, to_ns=-5000)
        assert await refused(data.ReadSamples(turned, **by())) == ("INVALID_ARGUMENT", "span_reversed")
        for call in (
            data.ReadTags(ReadTagsRequest(), **by()),
            data.ReadTags(ReadTagsRequest(tags=[SETPOINT] * 201), **by()),
            data.StreamSamples(StreamSamplesRequest(tags=[SETPOINT], interval_ms=49), **by()),
        ):
            assert await refused(call) == ("INVALID_ARGUMENT", "out_of_bounds")
        odd = TagRef(name=TagName(agent="a/b", tag="nul\0"))
        assert (await refused(data.ReadTags(ReadTagsRequest(tags=[odd]), **by())))[0] == "INVALID_ARGUMENT"


async def test_the_newest_values_are_read_and_what_is_not_there_is_named(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        await store(here, "double", (0, 1.5), (1, 2.5))
        found = await program.data.ReadTags(ReadTagsRequest(tags=[SETPOINT, TagRef(id=1), NONE]), **by())
        assert [tag.tag for tag in found.tags] == ["setpoint"]
        assert [(sample.tag_id, sample.value.double_value) for sample in found.samples] == [(1, 2.5)]
        assert list(found.unknown) == [NONE]
        theirs = await program.data.ReadTags(ReadTagsRequest(tags=[SETPOINT]), **by("stranger"))
        assert (list(theirs.tags), list(theirs.samples), list(theirs.unknown)) == ([], [], [SETPOINT])


async def values(stream: Any, last: float) -> list[float]:
    """The values up to ``last``."""
    found: list[float] = []
    while last not in found:
        found += [sample.value.double_value for sample in (await first(stream)).samples]
    return found


async def test_a_stream_has_the_value_now_and_whenever_it_changes_and_goes_on_after_a_lost_connection(
    database_dsn: str,
) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        await store(here, "double", (0, 1.5))
        stream = program.data.StreamSamples(StreamSamplesRequest(tags=[SETPOINT, NONE], interval_ms=50), **by())
        begun = await first(stream)
        assert ([tag.id for tag in begun.tags], list(begun.unknown)) == ([1], [NONE])
        assert await values(stream, 1.5) == [1.5]
        await store(here, "double", (1, 2.5))
        assert await values(stream, 2.5) == [2.5]
        stream.cancel()
        seen = [LastSeen(tag_id=1, time_ns=BEGIN_NS + 10**9)]
        again = program.data.StreamSamples(StreamSamplesRequest(tags=[SETPOINT], last_seen=seen), **by())
        await first(again)
        await store(here, "double", (2, 3.5))
        assert await values(again, 3.5) == [3.5], "not what it has already"
        theirs = program.data.StreamSamples(StreamSamplesRequest(tags=[SETPOINT]), **by("stranger"))
        assert list((await first(theirs)).unknown) == [SETPOINT]


async def test_a_client_that_does_not_read_gets_the_newest_value_and_no_queue(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program(SMALL_WINDOW) as slow, one.program() as fast:
        asked = StreamSamplesRequest(tags=[SETPOINT], interval_ms=50)
        unread, read = (program.data.StreamSamples(asked, **by()) for program in (slow, fast))
        await first(unread)
        await first(read)
        count = 40
        for number in range(count):
            await store(here, "text", (number, f"v{number:02}" + "x" * 100_000))
            await newest(read, f"v{number:02}")
        taken = await newest(unread, f"v{count - 1:02}")
        assert taken == sorted(set(taken)), "in order, and nothing twice"
        assert len(taken) < count / 2


async def newest(stream: Any, last: str) -> list[str]:
    """The beginnings of the values up to the one that begins with ``last``."""
    found: list[str] = []
    while last not in found:
        found += [sample.value.text_value[:3] for sample in (await first(stream)).samples]
    return found


async def test_streams_end_with_a_word_when_the_gateway_stops(database_dsn: str) -> None:
    async with api(database_dsn) as (_, one), one.program() as program:
        streams = [program.data.StreamSamples(StreamSamplesRequest(tags=[SETPOINT]), **by()) for _ in range(3)]
        for stream in streams:
            await first(stream)
        async with asyncio.timeout(WAIT_S_MAX):
            await one.server.stop()
        assert [await refused(stream) for stream in streams] == [("UNAVAILABLE", "stopping")] * 3
        assert one.app.state.live.count() == 0
