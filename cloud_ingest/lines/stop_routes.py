"""The routes of stops and alarms: lists, one of them, and what operators say of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.idempotency import Asked, IdempotencyKey, once
from cloud_ingest.access.needs import Needs, refuse_elsewhere
from cloud_ingest.access.pages import LIMIT, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_session
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.lines import alarm_deeds, stop_deeds
from cloud_ingest.lines import line_questions as questions
from cloud_ingest.lines.alarm_rules import Deed as AlarmDeed
from cloud_ingest.lines.events import LineKey
from cloud_ingest.lines.line_answers import (
    AlarmPage,
    AlarmRequest,
    ClassifyRequest,
    OneAlarm,
    OneStop,
    ShelfAnswer,
    ShelveRequest,
    SplitRequest,
    StopPage,
)
from cloud_ingest.lines.line_questions import Choice
from cloud_ingest.lines.line_reading import ns_of
from cloud_ingest.lines.line_routes import PROBLEMS, Line, LineQuery, Site, SiteQuery
from cloud_ingest.lines.model_types import CODE_PATTERN
from cloud_ingest.lines.standing import existing
from cloud_ingest.lines.stop_deeds import Deed
from connectors.commands.envelope import ULID_PATTERN
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row

StopId = Annotated[
    str, Path(pattern=ULID_PATTERN, description="Id of the stop", examples=["01JDV3W3Z8Q6C0V2B7N4M5K9XR"])
]
AlarmId = Annotated[
    str, Path(pattern=ULID_PATTERN, description="Id of the alarm", examples=["01JDV3W3Z8Q6C0V2B7N4M5K9XR"])
]
AlarmCode = Annotated[str, Path(pattern=CODE_PATTERN, description="Code of the alarm", examples=["oil-hot"])]
AfterId = Annotated[
    str, Query(pattern=f"^$|{ULID_PATTERN}", max_length=26, description="The 'next' of the page before")
]
Reader = Annotated[Principal, Depends(Needs(Permission.LINES_READ))]
Classifier = Annotated[Principal, Depends(Needs(Permission.STOPS_CLASSIFY))]
Handler = Annotated[Principal, Depends(Needs(Permission.ALARMS_HANDLE))]
Locked = tuple[UnitOfWork, Deed, Row, LineKey]


def stop_routes(database: Database, clock: Clock) -> APIRouter:
    """The routes below ``/api/v1/stops`` and ``/api/v1/alarms``, and those of the shelf of a line."""
    api = APIRouter(prefix="/api/v1", tags=["Lines"], responses=PROBLEMS, dependencies=[Depends(only_known_parameters)])
    _add_stops(api, database)
    _add_stop_deeds(api, database, clock)
    _add_alarms(api, database)
    _add_alarm_deeds(api, database, clock)
    _add_shelf(api, database, clock)
    return api


def _choice(principal: Principal, site: str | None, line: str | None, after: str, limit: int) -> Choice:
    return Choice(principal.tenant_id, site, line, principal.places(Permission.LINES_READ), after, limit + 1)


def _add_stops(api: APIRouter, database: Database) -> None:
    @api.get("/stops")
    async def stops(
        principal: Reader,
        site: SiteQuery = None,
        line: LineQuery = None,
        is_open: Annotated[bool | None, Query(alias="open", description="Only such that last, or have ended")] = None,
        classified: Annotated[bool | None, Query(description="Only such with a reason, or without")] = None,
        after: AfterId = "",
        limit: Limit = LIMIT,
    ) -> StopPage:
        """Stops, micro-stops too, the newest first, a page at a time."""
        choice = _choice(principal, site, line, after, limit)
        async with tenant_session(database, principal.tenant_id) as session:
            found = await questions.stops(session, choice, is_open=is_open, is_classified=classified)
        rows, following = page(found, limit, lambda row: str(row["stop_id"]))
        return StopPage.model_validate({"stops": [questions.stop_facts(row) for row in rows], "next": following})

    @api.get("/stops/{id}")
    async def stop(principal: Reader, id: StopId, response: Response) -> OneStop:  # noqa: A002  the name is the API's
        """One stop, and who has said what of it."""
        return await _shown_stop(database, principal, id, response)


async def _shown_stop(database: Database, principal: Principal, stop: str, response: Response) -> OneStop:
    async with tenant_session(database, principal.tenant_id) as session:
        found = await questions.one_stop(session, principal.tenant_id, stop)
    refuse_elsewhere(principal, Permission.LINES_READ, found["site"], found["line"])
    response.headers["ETag"] = etag(found["revision"])
    return OneStop.model_validate(found)


def _add_stop_deeds(api: APIRouter, database: Database, clock: Clock) -> None:
    @asynccontextmanager
    async def locked(principal: Principal, stop: str, if_match: str) -> AsyncIterator[Locked]:
        deed = Deed(principal.tenant_id, principal.name, clock.now_ns())
        async with unit_of_work(database, principal.tenant_id) as work:
            row, key = await stop_deeds.lock_stop(work.session, principal.tenant_id, stop)
            refuse_elsewhere(principal, Permission.STOPS_CLASSIFY, key.site, key.line)
            check_match(if_match, row["revision"])
            yield work, deed, row, key

    @api.post("/stops/{id}/classify")
    async def classify(
        principal: Classifier,
        id: StopId,  # noqa: A002
        request: ClassifyRequest,
        response: Response,
        if_match: IfMatch = "",
    ) -> OneStop:
        """Say why the line stood, now or afterwards. What was said before stays in the history."""
        async with locked(principal, id, if_match) as (work, deed, row, key):
            await stop_deeds.classify(work, deed, row, key, request.reason, request.note)
        return await _shown_stop(database, principal, id, response)

    @api.post("/stops/{id}/split", status_code=201)
    async def split(
        principal: Classifier,
        id: StopId,  # noqa: A002
        request: SplitRequest,
        response: Response,
        key: IdempotencyKey,
    ) -> OneStop:
        """Divide a stop that had two reasons. The answer is its later part, which is a stop of its own."""
        if request.at.tzinfo is None:
            raise RequestRefused(Why.INVALID, "no_zone", "'at' needs a time zone, such as 2026-11-22T08:05:00Z")
        asked = Asked(principal, f"POST /stops/{id}/split", key, request.model_dump(mode="json"))
        deed = Deed(principal.tenant_id, principal.name, clock.now_ns())
        async with unit_of_work(database, principal.tenant_id) as work:

            async def do() -> Any:
                row, line = await stop_deeds.lock_stop(work.session, principal.tenant_id, id)
                refuse_elsewhere(principal, Permission.STOPS_CLASSIFY, line.site, line.line)
                return await stop_deeds.split(work, deed, row, line, ns_of(request.at))

            later = await once(work.session, asked, do)
        return await _shown_stop(database, principal, str(later), response)

    @api.post("/stops/{id}/merge")
    async def merge(
        principal: Classifier,
        id: StopId,  # noqa: A002
        response: Response,
        if_match: IfMatch = "",
    ) -> OneStop:
        """Join a stop with the one that follows it at once, as after a split that was wrong."""
        async with locked(principal, id, if_match) as (work, deed, row, key):
            await stop_deeds.merge(work, deed, row, key)
        return await _shown_stop(database, principal, id, response)


def _add_alarms(api: APIRouter, database: Database) -> None:
    @api.get("/alarms")
    async def alarms(
        principal: Reader,
        site: SiteQuery = None,
        line: LineQuery = None,
        is_open: Annotated[
            bool | None, Query(alias="open", description="Only such that are not cleared, or are")
        ] = None,
        after: AfterId = "",
        limit: Limit = LIMIT,
    ) -> AlarmPage:
        """Alarms that were raised, the newest first, a page at a time."""
        choice = _choice(principal, site, line, after, limit)
        async with tenant_session(database, principal.tenant_id) as session:
            found = await questions.alarms(session, choice, is_open=is_open)
        rows, following = page(found, limit, lambda row: str(row["alarm_id"]))
        return AlarmPage.model_validate({"alarms": [questions.alarm_facts(row) for row in rows], "next": following})

    @api.get("/alarms/{id}")
    async def alarm(principal: Reader, id: AlarmId) -> OneAlarm:  # noqa: A002
        """One alarm, and what became of it."""
        return await _shown_alarm(database, principal, id)


async def _shown_alarm(database: Database, principal: Principal, alarm: str) -> OneAlarm:
    async with tenant_session(database, principal.tenant_id) as session:
        found = await questions.one_alarm(session, principal.tenant_id, alarm)
    refuse_elsewhere(principal, Permission.LINES_READ, found["site"], found["line"])
    return OneAlarm.model_validate(found)


def _add_alarm_deeds(api: APIRouter, database: Database, clock: Clock) -> None:
    async def act(principal: Principal, alarm: str, what: AlarmDeed, reason: str) -> OneAlarm:
        deed = Deed(principal.tenant_id, principal.name, clock.now_ns())
        async with unit_of_work(database, principal.tenant_id) as work:
            row, key = await alarm_deeds.lock_alarm(work.session, principal.tenant_id, alarm)
            refuse_elsewhere(principal, Permission.ALARMS_HANDLE, key.site, key.line)
            await alarm_deeds.act(work, deed, row, key, what, reason)
        return await _shown_alarm(database, principal, alarm)

    @api.post("/alarms/{id}/acknowledge")
    async def acknowledge(
        principal: Handler,
        id: AlarmId,  # noqa: A002
        request: AlarmRequest | None = None,
    ) -> OneAlarm:
        """Take note of an alarm. One whose condition has gone is cleared by it, unless it latches."""
        return await act(principal, id, "acknowledge", "" if request is None else request.reason)

    @api.post("/alarms/{id}/reset")
    async def reset(
        principal: Handler,
        id: AlarmId,  # noqa: A002
        request: AlarmRequest | None = None,
    ) -> OneAlarm:
        """Reset an alarm that latches, when its condition has gone and somebody has taken note of it."""
        return await act(principal, id, "reset", "" if request is None else request.reason)


def _add_shelf(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.get("/sites/{site}/lines/{line}/shelf")
    async def shelf(principal: Reader, site: Site, line: Line) -> list[ShelfAnswer]:
        """The alarms of a line that are put aside."""
        refuse_elsewhere(principal, Permission.LINES_READ, site, line)
        async with tenant_session(database, principal.tenant_id) as session:
            await existing(session, principal.tenant_id, site, line)
            found = await questions.shelves(session, principal.tenant_id, site, line)
        return [ShelfAnswer.model_validate(row) for row in found]

    @api.put("/sites/{site}/lines/{line}/shelf/{alarm}")
    async def shelve(
        principal: Handler, site: Site, line: Line, alarm: AlarmCode, request: ShelveRequest
    ) -> list[ShelfAnswer]:
        """Put an alarm aside for some time: nobody is told of it. If it is active then, it is raised."""
        refuse_elsewhere(principal, Permission.ALARMS_HANDLE, site, line)
        key, deed = LineKey(principal.tenant_id, site, line), Deed(principal.tenant_id, principal.name, clock.now_ns())
        async with unit_of_work(database, principal.tenant_id) as work:
            line_id = await alarm_deeds.lock_line(work.session, key, alarm)
            await alarm_deeds.shelve(work, deed, key, line_id, alarm, request.for_s, request.reason)
            found = await questions.shelves(work.session, principal.tenant_id, site, line)
        return [ShelfAnswer.model_validate(row) for row in found]

    @api.delete("/sites/{site}/lines/{line}/shelf/{alarm}")
    async def unshelve(principal: Handler, site: Site, line: Line, alarm: AlarmCode) -> list[ShelfAnswer]:
        """Take an alarm from the shelf before its time is up."""
        refuse_elsewhere(principal, Permission.ALARMS_HANDLE, site, line)
        key, deed = LineKey(principal.tenant_id, site, line), Deed(principal.tenant_id, principal.name, clock.now_ns())
        async with unit_of_work(database, principal.tenant_id) as work:
            line_id = await alarm_deeds.lock_line(work.session, key, alarm)
            await alarm_deeds.unshelve(work, deed, key, line_id, alarm)
            found = await questions.shelves(work.session, principal.tenant_id, site, line)
        return [ShelfAnswer.model_validate(row) for row in found]
