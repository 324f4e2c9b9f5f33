"""The routes of lines as they stand, and of what was: states, counts, shifts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Path, Query

from cloud_ingest.access.needs import Needs, refuse_elsewhere
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.span import asked_span
from cloud_ingest.access.tenancy import tenant_session
from cloud_ingest.lines import line_questions as questions
from cloud_ingest.lines import published
from cloud_ingest.lines.line_answers import (
    CountAnswer,
    LineAnswer,
    LinePage,
    OneLine,
    ShiftAnswer,
    StateAnswer,
)
from cloud_ingest.lines.line_reading import ns_of, time_of
from cloud_ingest.lines.model_types import CODE_PATTERN
from cloud_ingest.lines.standing import existing, seen
from cloud_ingest.lines.work_order_events import exact
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

SPAN_MAX: Final = timedelta(days=100)
LISTED_MAX: Final = 10_000
T = TypeVar("T")
_MEANING: Final = {
    400: "The request cannot be understood, or asks for something that cannot be",
    401: "There is no token, or it does not hold",
    403: "The role is not good for this, or not on this line",
    404: "There is no such thing",
    409: "It cannot be done as things stand; the detail says why",
    412: "It was changed since it was seen",
    428: "If-Match is missing",
    503: "The database cannot be used now",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": meaning} for status, meaning in _MEANING.items()
}
Site = Annotated[str, Path(pattern=CODE_PATTERN, description="Code of the site", examples=["plant-7"])]
Line = Annotated[str, Path(pattern=CODE_PATTERN, description="Code of the line", examples=["press-1"])]
SiteQuery = Annotated[str | None, Query(pattern=CODE_PATTERN, description="Of this site alone", examples=["plant-7"])]
LineQuery = Annotated[str | None, Query(pattern=CODE_PATTERN, description="Of this line alone", examples=["press-1"])]
Reader = Annotated[Principal, Depends(Needs(Permission.LINES_READ))]
From = Annotated[
    datetime | None,
    Query(
        alias="from", description="With a time zone; an hour before 'to' unless said", examples=["2026-11-22T08:00:00Z"]
    ),
]
To = Annotated[
    datetime | None, Query(description="With a time zone; now unless said", examples=["2026-11-22T09:00:00Z"])
]


def line_routes(database: Database, clock: Clock) -> APIRouter:
    """The routes of lines, without those that change anything."""
    api = APIRouter(prefix="/api/v1", tags=["Lines"], responses=PROBLEMS, dependencies=[Depends(only_known_parameters)])
    _add_lists(api, database, clock)
    _add_history(api, database)
    return api


def _add_lists(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.get("/lines")
    async def lines(principal: Reader, site: SiteQuery = None, after: After = "", limit: Limit = LIMIT) -> LinePage:
        """Lines and how they stand, by site and code."""
        async with tenant_session(database, principal.tenant_id) as session:
            found = await seen(session, principal, site, after, limit)
        rows, following = page(found, limit, lambda one: f"{one.site}/{one.line}")
        answers = [LineAnswer.model_validate(questions.line_facts(one)) for one in rows]
        return LinePage(lines=answers, next=following)

    @api.get("/sites/{site}/lines/{line}")
    async def line(principal: Reader, site: Site, line: Line) -> OneLine:
        """One line: its state, its counts, and what needs somebody."""
        refuse_elsewhere(principal, Permission.LINES_READ, site, line)
        async with tenant_session(database, principal.tenant_id) as session:
            found = await existing(session, principal.tenant_id, site, line)
            more = await questions.attention(session, principal.tenant_id, site, line, clock.now_ns())
        return OneLine.model_validate({**questions.line_facts(found), **more})


def _add_history(api: APIRouter, database: Database) -> None:
    @api.get("/sites/{site}/lines/{line}/states")
    async def states(principal: Reader, site: Site, line: Line, begin: From = None, to: To = None) -> list[StateAnswer]:
        """Its states between two times, in order; they follow each other without a hole."""
        start, stop = _span(begin, to)
        async with _of_line(database, principal, site, line) as session:
            now_ns = ns_of(stop)
            found = await published.states_between(session, principal.tenant_id, site, line, ns_of(start), now_ns)
        return [
            StateAnswer(state=one.state, begin=time_of(one.begin_ns), end=time_of(one.end_ns), reason=one.reason)
            for one in _all_of(found)
        ]

    @api.get("/sites/{site}/lines/{line}/counts")
    async def counts(principal: Reader, site: Site, line: Line, begin: From = None, to: To = None) -> list[CountAnswer]:
        """What was counted between two times, by the minute and work order; corrected by all that came late."""
        start, stop = _span(begin, to)
        async with _of_line(database, principal, site, line) as session:
            found = await published.counts_between(session, principal.tenant_id, site, line, ns_of(start), ns_of(stop))
        return [
            CountAnswer(
                begin=time_of(one.begin_ns),
                end=time_of(one.end_ns),
                good=exact(one.good),
                reject=exact(one.reject),
                energy_kwh=exact(one.energy_kwh),
                work_order=one.work_order,
                product=one.product,
            )
            for one in _all_of(found)
        ]

    @api.get("/sites/{site}/lines/{line}/shifts")
    async def shifts(principal: Reader, site: Site, line: Line, begin: From = None, to: To = None) -> list[ShiftAnswer]:
        """Shifts that touch the time, whole, in order. A line without a calendar has none: all time is planned."""
        start, stop = _span(begin, to)
        async with _of_line(database, principal, site, line) as session:
            found = await published.shifts_between(session, principal.tenant_id, site, line, start, stop)
        return [
            ShiftAnswer.model_validate(
                {
                    "shift": one.shift,
                    "day": one.day,
                    "begin": one.begin,
                    "end": one.end,
                    "breaks": [{"begin": first, "end": last} for first, last in one.breaks],
                }
            )
            for one in found
        ]


@asynccontextmanager
async def _of_line(database: Database, principal: Principal, site: str, line: str) -> AsyncIterator[Session]:
    """A session of the asker's tenant, if they may see the line and there is one."""
    refuse_elsewhere(principal, Permission.LINES_READ, site, line)
    async with tenant_session(database, principal.tenant_id) as session:
        await existing(session, principal.tenant_id, site, line)
        yield session


def _all_of(found: Sequence[T]) -> Sequence[T]:
    """Raises ``RequestRefused`` when it is too much: who adds up what was cut off would not see it."""
    if len(found) > LISTED_MAX:
        why = f"that would be {len(found)} entries, and no more than {LISTED_MAX} are told at once: ask for less time"
        raise RequestRefused(Why.TOO_LARGE, "too_many_entries", why)
    return found


def _span(begin: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    start, stop = asked_span(begin, end)
    earliest, latest = datetime(1971, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
    if stop - start > SPAN_MAX or start < earliest or stop > latest:
        why = f"'from' and 'to' are more than {SPAN_MAX.days} days apart, or not between 1971 and 2200: ask for less"
        raise RequestRefused(Why.INVALID, "span_too_long", why)
    return start, stop
