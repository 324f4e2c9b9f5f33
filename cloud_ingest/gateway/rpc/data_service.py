"""``lineside.v1.DataService``: tags and samples."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.sight import Sight, sight_of
from cloud_ingest.access.span import BUCKET_S_MAX
from cloud_ingest.access.tenancy import TenantDatabase
from cloud_ingest.gateway import queries
from cloud_ingest.gateway.live import feeds
from cloud_ingest.gateway.live.hub import LiveHub
from cloud_ingest.gateway.live.subscription import Subscribe
from cloud_ingest.gateway.rpc import bounds
from cloud_ingest.gateway.rpc.calls import Call, Served
from cloud_ingest.gateway.rpc.instants import asked_span, ns_of
from cloud_ingest.gateway.rpc.listening import listening
from cloud_ingest.gateway.rpc.method_table import (
    LIST_TAGS,
    READ_INTERVALS,
    READ_SAMPLE_RANGE,
    READ_SAMPLES,
    READ_TAGS,
    STREAM_SAMPLES,
)
from cloud_ingest.gateway.rpc.values import columns_of, interval_columns, live_sample, typed, value_message
from cloud_ingest.historian import intervals
from connectors.lineside_api.v1.data_pb2 import (
    ListTagsRequest,
    ListTagsResponse,
    ReadIntervalsRequest,
    ReadIntervalsResponse,
    ReadSampleRangeRequest,
    ReadSamplesRequest,
    ReadSamplesResponse,
    ReadTagsRequest,
    ReadTagsResponse,
    Sample,
    SampleChunk,
    StreamSamplesRequest,
    StreamSamplesResponse,
    Tag,
    TagRef,
)
from connectors.ports.database import Database

PAGE: Final = 1000
PAGE_MAX: Final = 10_000
TAGS_MAX: Final = 200
CHUNK_SAMPLES: Final = 5000
CHUNK_BYTES: Final = 1 << 20
SPAN_MAX: Final = timedelta(days=400)
BUCKET_MS_MAX: Final = int(BUCKET_S_MAX * 1000)


class DataService:
    """See the module."""

    def __init__(self, database: Database, hub: LiveHub) -> None:
        self._database = database
        self._hub = hub

    def methods(self) -> list[Served]:
        """What the server serves."""
        return [
            Served(LIST_TAGS, ListTagsRequest, answer=self.list_tags),
            Served(READ_TAGS, ReadTagsRequest, answer=self.read_tags),
            Served(READ_SAMPLES, ReadSamplesRequest, answer=self.read_samples),
            Served(READ_INTERVALS, ReadIntervalsRequest, answer=self.read_intervals),
            Served(READ_SAMPLE_RANGE, ReadSampleRangeRequest, answers=self.read_sample_range),
            Served(STREAM_SAMPLES, StreamSamplesRequest, answers=self.stream_samples),
        ]

    async def list_tags(self, call: Call, request: ListTagsRequest) -> ListTagsResponse:
        """See the ``.proto`` file, as for all of these."""
        limit = bounds.limit(request.limit, PAGE, PAGE_MAX)
        choice = queries.TagChoice(
            request.agent or None,
            request.device if request.HasField("device") else None,
            request.search or None,
            bounds.between("after", request.after, 0, (1 << 31) - 1),
            limit,
            _sight(call.principal),
        )
        rows = await queries.tags(self._seen_by(call), choice)
        following = rows[-1]["tag_id"] if len(rows) == limit else None
        return ListTagsResponse(tags=[_tag(row) for row in rows], next=following)

    async def read_tags(self, call: Call, request: ReadTagsRequest) -> ReadTagsResponse:
        """The newest values that the live stream would tell first."""
        tags, unknown = await self._known(call, request.tags)
        first = datetime.now(UTC) - feeds.FIRST_LOOK
        types = {tag.id: tag.type for tag in tags}
        found = await feeds.newest(self._database, dict.fromkeys(types, first))
        samples = [
            Sample(
                tag_id=one.tag_id,
                time_ns=ns_of(one.time),
                value=value_message(typed(one.value, types[one.tag_id])),
                quality=one.quality,
            )
            for one in sorted(found, key=lambda one: one.tag_id)
        ]
        return ReadTagsResponse(tags=tags, samples=samples, unknown=unknown)

    async def read_samples(self, call: Call, request: ReadSamplesRequest) -> ReadSamplesResponse:
        """A page of samples of one tag."""
        limit = bounds.limit(request.limit, PAGE, PAGE_MAX)
        start, stop = asked_span(*_asked_times(request))
        seen = self._seen_by(call)
        found = await _find(seen, request.tag, _sight(call.principal))
        rows, following = await queries.stored_samples(seen, found["tag_id"], start, stop, limit)
        columns = [columns for columns, _ in columns_of(rows)]
        next_ns = None if following is None else ns_of(following)
        return ReadSamplesResponse(tag=_tag(found), columns=columns, next_ns=next_ns)

    async def read_intervals(self, call: Call, request: ReadIntervalsRequest) -> ReadIntervalsResponse:
        """A page of intervals of one tag, as the parameter ``bucket`` of REST has them."""
        limit = bounds.limit(request.limit, PAGE, PAGE_MAX)
        bucket_ms = bounds.between("bucket_ms", request.bucket_ms, 1, BUCKET_MS_MAX)
        start, stop = asked_span(*_asked_times(request))
        seen = self._seen_by(call)
        found = await _find(seen, request.tag, _sight(call.principal))
        rows, following = await intervals.buckets(seen, found["tag_id"], start, stop, bucket_ms / 1000, limit)
        next_ns = None if following is None else ns_of(following)
        return ReadIntervalsResponse(tag=_tag(found), columns=interval_columns(rows), next_ns=next_ns)

    async def read_sample_range(self, call: Call, request: ReadSampleRangeRequest) -> AsyncGenerator[SampleChunk, None]:
        """Page by page: nothing of the database is held while the client takes a chunk."""
        start, stop = asked_span(*_asked_times(request), SPAN_MAX)
        tags, unknown = await self._known(call, request.tags)
        if unknown:
            await _find(self._seen_by(call), unknown[0], _sight(call.principal))  # says which one
        for tag in tags:
            is_first = True
            async for chunk in self._chunks(call, tag.id, start, stop):
                if is_first:
                    chunk.tag.CopyFrom(tag)
                    is_first = False
                yield chunk

    async def _chunks(
        self, call: Call, tag_id: int, start: datetime, stop: datetime
    ) -> AsyncGenerator[SampleChunk, None]:
        following: datetime | None = start
        while following is not None:
            database = self._seen_by(call)
            rows, following = await queries.stored_samples(database, tag_id, following, stop, CHUNK_SAMPLES)
            at = 0
            for columns, count in columns_of(rows, CHUNK_BYTES):
                at += count
                chunk = SampleChunk(tag_id=tag_id, columns=columns)
                if at < len(rows):
                    if rows[at]["time"] > rows[at - 1]["time"]:
                        chunk.next_ns = ns_of(rows[at]["time"])
                elif following is not None:
                    chunk.next_ns = ns_of(following)
                chunk.is_last = at == len(rows) and following is None
                yield chunk
            if not rows and following is None:
                yield SampleChunk(tag_id=tag_id, is_last=True)

    async def stream_samples(
        self, call: Call, request: StreamSamplesRequest
    ) -> AsyncGenerator[StreamSamplesResponse, None]:
        """What the live stream tells of tags, but for what the client has already."""
        asked = Subscribe(interval_ms=bounds.interval_ms(request.interval_ms))
        tags, unknown = await self._known(call, request.tags)
        yield StreamSamplesResponse(tags=tags, unknown=unknown)
        types = {tag.id: tag.type for tag in tags}
        seen = {one.tag_id: one.time_ns for one in request.last_seen}
        known = await feeds.known_tags(self._database, call.principal, list(types))
        async with listening(self._hub, call.principal, asked, known) as listener:
            while True:
                message = await listener.message()
                samples = [live_sample(told, types[told["id"]]) for told in message["tags"]]
                if newer := [one for one in samples if one.tag_id not in seen or one.time_ns > seen[one.tag_id]]:
                    yield StreamSamplesResponse(samples=newer)

    def _seen_by(self, call: Call) -> Database:
        return TenantDatabase(self._database, call.principal.tenant_id)

    async def _known(self, call: Call, refs: Sequence[TagRef]) -> tuple[list[Tag], list[TagRef]]:
        """The tags that ``refs`` name, in the order of their ids, and those that name none for who asks."""
        bounds.count("tags", refs, TAGS_MAX)
        asked = [_asked(ref) for ref in refs]
        rows = await queries.named_tags(self._seen_by(call), asked, _sight(call.principal))
        there = {row["tag_id"] for row in rows} | {(row["agent"], row["device"], row["tag"]) for row in rows}
        return [_tag(row) for row in rows], [ref for ref, one in zip(refs, asked, strict=True) if one not in there]


def _asked(ref: TagRef) -> int | tuple[str, str, str]:
    if ref.WhichOneof("by") == "name":
        return ref.name.agent, ref.name.device, ref.name.tag
    return int(ref.id)


def _asked_times(
    request: ReadSamplesRequest | ReadIntervalsRequest | ReadSampleRangeRequest,
) -> tuple[int | None, int | None]:
    return (
        request.from_ns if request.HasField("from_ns") else None,
        request.to_ns if request.HasField("to_ns") else None,
    )


async def _find(database: Any, ref: TagRef, sight: Sight) -> dict[str, Any]:
    asked = _asked(ref)
    if isinstance(asked, int):
        return await queries.find_tag(database, tag_id=asked, agent=None, device="", name=None, sight=sight)
    agent, device, tag = asked
    return await queries.find_tag(database, tag_id=None, agent=agent, device=device, name=tag, sight=sight)


def _tag(row: dict[str, Any]) -> Tag:
    """A tag as REST tells it, too."""
    return Tag(
        id=row["tag_id"],
        agent=row["agent"],
        device=row["device"],
        tag=row["tag"],
        type=row["type"],
        unit=row["unit"],
        description=row["description"],
        properties=ParseDict(row["properties"], Struct()) if row["properties"] else None,
        stale=row["stale"],
    )


def _sight(principal: Principal) -> Sight:
    return sight_of(principal, Permission.DATA_READ)
