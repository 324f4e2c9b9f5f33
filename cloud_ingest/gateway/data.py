"""The routes of what arrived: agents, tags, samples, the delivery ledger, dead letters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Response

from cloud_ingest.access.answers import long_answer
from cloud_ingest.access.needs import Needs, refuse_unless_everywhere
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.planned_routes import PlannedRoute
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.sight import Sight, sight_of
from cloud_ingest.access.span import QuestionInvalid, asked_bucket, asked_span
from cloud_ingest.access.tenancy import SameSession, TenantDatabase
from cloud_ingest.event_log.letters import event_letters as letters_of_events
from cloud_ingest.event_log.letters import open_letters
from cloud_ingest.gateway import ledger as ledger_of
from cloud_ingest.gateway import queries
from cloud_ingest.gateway.answers import (
    AgentAnswer,
    DeadLetterPage,
    EventLetterPage,
    LedgerAnswer,
    SamplePage,
    SettledAnswer,
    TagPage,
)
from cloud_ingest.historian import intervals
from cloud_ingest.historian.dead_letters import letters
from connectors.ports.database import Database

PAGE_MAX: Final = 10_000
ID_MAX: Final = (1 << 31) - 1
BIGINT_MAX: Final = (1 << 63) - 1
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The request cannot be understood"},
    404: {"description": "There is no such thing"},
    503: {"description": "The database cannot be reached or used now"},
}

Reader = Annotated[Principal, Depends(Needs(Permission.DATA_READ))]
AgentQuery = Annotated[str | None, Query(description="group/name", examples=["plant-7/line-3"])]
TimeQuery = Annotated[
    datetime | None, Query(description="ISO 8601 with a time zone", examples=["2026-11-22T08:00:00Z"])
]


def data_routes(database: Database) -> APIRouter:
    """Agents, tags, samples, the ledger, dead letters: what somebody sees of their tenant, sites and lines."""
    api = APIRouter(
        prefix="/api/v1",
        tags=["Data"],
        responses=_PROBLEMS,
        dependencies=[Depends(only_known_parameters)],
        route_class=PlannedRoute,
    )

    def seen_by(principal: Principal) -> Database:
        return TenantDatabase(database, principal.tenant_id)

    @api.get("/agents", response_model=list[AgentAnswer])
    async def agents(principal: Reader, agent: AgentQuery = None) -> Response:
        """Every agent and node that was ever seen, with its devices."""
        return long_answer(await queries.agents(seen_by(principal), agent, _sight(principal)))

    @api.get("/tags", response_model=TagPage)
    async def tags(
        principal: Reader,
        agent: AgentQuery = None,
        device: str | None = None,
        search: Annotated[str | None, Query(description="Part of the name, in any case")] = None,
        after: Annotated[int, Query(ge=0, le=ID_MAX, description="The 'next' of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1000,
    ) -> Response:
        """Tags, a page at a time."""
        choice = queries.TagChoice(agent, device, search, after, limit, _sight(principal))
        rows = await queries.tags(seen_by(principal), choice)
        following = rows[-1]["tag_id"] if len(rows) == limit else None
        return long_answer({"tags": rows, "next": following})

    @api.get("/samples", response_model=SamplePage)
    async def samples(
        principal: Reader,
        tag_id: Annotated[int | None, Query(ge=1, le=ID_MAX)] = None,
        agent: AgentQuery = None,
        device: str = "",
        tag: Annotated[str | None, Query(description="Name of the tag, with agent and device")] = None,
        begin: Annotated[TimeQuery, Query(alias="from")] = None,
        end: Annotated[TimeQuery, Query(alias="to")] = None,
        bucket: Annotated[str | None, Query(description="Interval to gather samples in, such as 1m")] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1000,
    ) -> Response:
        """Samples of one tag (from <= time < to; the last hour unless said otherwise), or its intervals."""
        if tag_id is None and (agent is None or tag is None):
            raise QuestionInvalid("name the tag by 'tag_id', or by 'agent', 'device' and 'tag'")
        start, stop = asked_span(begin, end)
        bucket_s = None if bucket is None else asked_bucket(bucket)
        async with seen_by(principal).session(plans_once=True) as session:
            one = SameSession(session)
            found = await queries.find_tag(
                one, tag_id=tag_id, agent=agent, device=device, name=tag, sight=_sight(principal)
            )
            if bucket_s is None:
                rows, following = await queries.samples(one, found["tag_id"], start, stop, limit)
            else:
                rows, following = await intervals.buckets(one, found["tag_id"], start, stop, bucket_s, limit)
        kind = "samples" if bucket_s is None else "buckets"
        return long_answer({"tag": found, "samples": [], "buckets": [], kind: rows, "next": following})

    _add_ledger(api, seen_by)
    return api


def _add_ledger(api: APIRouter, seen_by: Callable[[Principal], Database]) -> None:
    """What of the data arrived, and what was set aside."""

    @api.get("/ledger")
    async def ledger(principal: Reader, agent: AgentQuery = None) -> list[LedgerAnswer]:
        """What arrived of each agent, what was given up and why; 'missing' is what nothing explains."""
        rows = await ledger_of.ledger(seen_by(principal), agent, _sight(principal))
        return [LedgerAnswer.model_validate(row) for row in rows]

    @api.get("/ledger/settled")
    async def settled(principal: Reader) -> SettledAnswer:
        """Whether nothing is missing of any agent that is neither explained nor closed."""
        sight = _sight(principal)
        unassigned = await ledger_of.unassigned_dead_letters(seen_by(principal), sight)
        set_aside = await open_letters(seen_by(principal), principal.tenant_id)
        rows = await ledger_of.ledger(seen_by(principal), sight=sight)
        return SettledAnswer(
            settled=ledger_of.is_settled(rows, unassigned + set_aside),
            unassigned_dead_letters=unassigned,
            event_letters=set_aside,
        )

    @api.get("/dead-letters")
    async def dead_letters(
        principal: Reader,
        agent: AgentQuery = None,
        closed: Annotated[bool, Query(description="Also those that were closed or stored again")] = False,
        after: Annotated[int, Query(ge=0, le=BIGINT_MAX, description="The 'next' of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1000,
    ) -> DeadLetterPage:
        """Messages that could not be stored, without their bytes, a page at a time."""
        rows = await letters(
            seen_by(principal), agent=agent, with_closed=closed, after=after, count_max=limit, sight=_sight(principal)
        )
        following = rows[-1].number if len(rows) == limit else None
        return DeadLetterPage.model_validate({"dead_letters": [row.document() for row in rows], "next": following})

    @api.get("/event-letters")
    async def event_letters(
        principal: Reader,
        part: Annotated[
            str | None, Query(description="Only of this part", examples=["inventory"], max_length=100)
        ] = None,
        closed: Annotated[bool, Query(description="Also those that were taken after all, or closed")] = False,
        after: Annotated[int, Query(ge=0, le=BIGINT_MAX, description="The 'next' of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1000,
    ) -> EventLetterPage:
        """Events that a part of the platform could not take, a page at a time: what they tell of is missing there."""
        refuse_unless_everywhere(principal, Permission.DATA_READ, "events")
        rows = await letters_of_events(
            seen_by(principal),
            projection=part,
            with_closed=closed,
            after=after,
            count_max=limit,
            tenant_id=principal.tenant_id,
        )
        following = rows[-1].number if len(rows) == limit else None
        return EventLetterPage.model_validate({"event_letters": [row.document() for row in rows], "next": following})


def _sight(principal: Principal) -> Sight:
    return sight_of(principal, Permission.DATA_READ)
