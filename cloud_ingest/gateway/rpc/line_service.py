"""``lineside.v1.LineService``: how lines stand."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from cloud_ingest.access.elsewhere import refuse_elsewhere
from cloud_ingest.access.pages import LIMIT, LIMIT_MAX, page
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.gateway.live.hub import LiveHub
from cloud_ingest.gateway.live.subscription import NAMES_MAX, Subscribe
from cloud_ingest.gateway.rpc import bounds
from cloud_ingest.gateway.rpc.calls import Call, Served
from cloud_ingest.gateway.rpc.listening import listening
from cloud_ingest.gateway.rpc.method_table import GET_LINE, LIST_LINES, STREAM_LINES
from cloud_ingest.lines import published
from cloud_ingest.lines.published import LineStanding, exact
from connectors.lineside_api.v1.lines_pb2 import (
    GetLineRequest,
    Line,
    ListLinesRequest,
    ListLinesResponse,
    StreamLinesRequest,
    StreamLinesResponse,
)
from connectors.ports.database import Database

ALL: Final = "*"
ONE_BY_ONE_MAX: Final = 20
"""So many lines are looked up by themselves; more are picked out of all."""


class LineService:
    """See the module."""

    def __init__(self, database: Database, hub: LiveHub) -> None:
        self._database = database
        self._hub = hub

    def methods(self) -> list[Served]:
        """What the server serves."""
        return [
            Served(GET_LINE, GetLineRequest, answer=self.get_line),
            Served(LIST_LINES, ListLinesRequest, answer=self.list_lines),
            Served(STREAM_LINES, StreamLinesRequest, answers=self.stream_lines),
        ]

    async def get_line(self, call: Call, request: GetLineRequest) -> Line:
        """See the ``.proto`` file, as for all of these."""
        refuse_elsewhere(call.principal, Permission.LINES_READ, request.site, request.line)
        tenant = call.principal.tenant_id
        async with tenant_transaction(self._database, tenant) as session:
            return _line(await published.existing_line(session, tenant, request.site, request.line))

    async def list_lines(self, call: Call, request: ListLinesRequest) -> ListLinesResponse:
        """A page, as of REST."""
        limit = bounds.limit(request.limit, LIMIT, LIMIT_MAX)
        async with tenant_transaction(self._database, call.principal.tenant_id) as session:
            found = await published.seen_lines(session, call.principal, request.site or None, request.after, limit)
        rows, following = page(found, limit, _name)
        return ListLinesResponse(lines=[_line(row) for row in rows], next=following)

    async def stream_lines(self, call: Call, request: StreamLinesRequest) -> AsyncGenerator[StreamLinesResponse, None]:
        """First how all stand, then what the events of lines tell of, as it stands when the client takes it."""
        bounds.count("lines", request.lines, NAMES_MAX)
        asked = Subscribe(lines=tuple(request.lines), interval_ms=bounds.interval_ms(request.interval_ms))
        async with listening(self._hub, call.principal, asked) as listener:
            yield await self._first(call, asked.lines)
            while True:
                message = await listener.message()
                if message.get("missed"):
                    yield await (self._first(call, [ALL]) if ALL in asked.lines else self._standing(call, asked.lines))
                elif keys := list(dict.fromkeys(event["key"] for event in message["events"])):
                    yield await self._standing(call, keys)

    async def _first(self, call: Call, names: Sequence[str]) -> StreamLinesResponse:
        """Those that were asked for, which have to be there and theirs to see."""
        if ALL in names:
            async with tenant_transaction(self._database, call.principal.tenant_id) as session:
                found = await published.lines(session, call.principal.tenant_id)
            return StreamLinesResponse(lines=[_line(one) for one in found if _may_see(call, _name(one))])
        for name in names:
            site, _, line = name.partition("/")
            refuse_elsewhere(call.principal, Permission.LINES_READ, site, line)
        response = await self._standing(call, names)
        if response.removed:
            why = f"there is no line {response.removed[0]}; ListLines lists them"
            raise RequestRefused(Why.UNKNOWN, "no_such_line", why)
        return response

    async def _standing(self, call: Call, names: Sequence[str]) -> StreamLinesResponse:
        tenant = call.principal.tenant_id
        found: dict[str, LineStanding] = {}
        async with tenant_transaction(self._database, tenant) as session:
            if len(names) > ONE_BY_ONE_MAX:
                found = {_name(one): one for one in await published.lines(session, tenant)}
            else:
                for name in names:
                    site, _, line = name.partition("/")
                    if (one := await published.line_state(session, tenant, site, line)) is not None:
                        found[name] = one
        return StreamLinesResponse(
            lines=[_line(found[name]) for name in names if name in found],
            removed=[name for name in names if name not in found],
        )


def _may_see(call: Call, name: str) -> bool:
    site, _, line = name.partition("/")
    return call.principal.may(Permission.LINES_READ, site=site, line=line)


def _name(one: LineStanding) -> str:
    return f"{one.site}/{one.line}"


def _line(one: LineStanding) -> Line:
    return Line(
        site=one.site,
        line=one.line,
        name=one.name,
        area=one.area,
        state=f"LINE_STATE_{one.state.name}",
        since_ns=one.since_ns or None,
        reason=one.reason,
        good=exact(one.good),
        reject=exact(one.reject),
        energy_kwh=exact(one.energy_kwh),
        speed=None if one.speed is None else exact(one.speed),
        speed_unit=one.speed_unit,
        work_order=one.work_order,
        product=one.product,
        last_sample_ns=one.last_sample_ns or None,
    )
