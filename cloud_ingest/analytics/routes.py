"""The routes of analytics: OEE, losses, cycle times, control charts."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, available_timezones

from fastapi import APIRouter, Depends, Query

from cloud_ingest.access.needs import Needs, refuse_elsewhere
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.span import asked_bucket, asked_span
from cloud_ingest.access.tenancy import TenantDatabase, tenant_session
from cloud_ingest.analytics import questions
from cloud_ingest.analytics.answers import ControlChart, CycleTimes, OeeAnswer, ParetoAnswer
from cloud_ingest.analytics.questions import By, Choice
from cloud_ingest.historian import intervals
from connectors.ports.database import Database

DAYS_UNLESS_SAID: Final = timedelta(days=7)
DAYS_MAX: Final = timedelta(days=3 * 366)
POINTS_MAX: Final = 1000
CODE_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"
ID_MAX: Final = (1 << 31) - 1
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The request cannot be understood"},
    401: {"description": "There is no token, or it does not hold"},
    403: {"description": "The role is not good for this, or not there"},
    404: {"description": "There is no such thing"},
    503: {"description": "The database cannot be reached or used now"},
}

Reader = Annotated[Principal, Depends(Needs(Permission.ANALYTICS_READ))]
Site = Annotated[str | None, Query(pattern=CODE_PATTERN, examples=["plant-7"])]
Line = Annotated[str | None, Query(pattern=CODE_PATTERN, description="With its site", examples=["line-3"])]
Product = Annotated[str | None, Query(max_length=64, examples=["pump-a"])]
From = Annotated[
    datetime | None,
    Query(alias="from", description="Whole hours; a week before 'to' unless said", examples=["2026-11-22T00:00:00Z"]),
]
To = Annotated[datetime | None, Query(alias="to", description="Now unless said", examples=["2026-11-29T00:00:00Z"])]
Zone = Annotated[
    str, Query(max_length=64, description="Where days, weeks and months begin", examples=["Europe/Berlin"])
]


def analytics_routes(database: Database) -> APIRouter:
    """The routes below ``/api/v1/analytics``."""
    api = APIRouter(
        prefix="/api/v1/analytics",
        tags=["Analytics"],
        responses=PROBLEMS,
        dependencies=[Depends(only_known_parameters)],
    )

    @api.get("/oee")
    async def oee(
        principal: Reader,
        site: Site = None,
        line: Line = None,
        product: Product = None,
        begin: From = None,
        end: To = None,
        by: Annotated[
            list[By] | None, Query(max_length=4, description="What to tell apart; several are combined")
        ] = None,
        zone: Zone = "UTC",
    ) -> OeeAnswer:
        """OEE and its parts: the sums of whole hours, divided. See the reference for what each of them is."""
        choice = _choice(principal, site, line, product, (begin, end), zone)
        apart: list[By] = list(dict.fromkeys(by)) if by else ["line"]
        if sum(one in ("hour", "day", "week", "month") for one in apart) > 1:
            raise RequestRefused(Why.INVALID, "two_times", "'by' takes one of hour, day, week and month")
        async with tenant_session(database, principal.tenant_id) as session:
            total, groups = await questions.oee(session, choice, apart)
            waiting = await questions.waiting(session, choice)
        if len(groups) >= questions.GROUPS_MAX:
            why = f"that would be more than {questions.GROUPS_MAX} groups: ask for less time, or tell less apart"
            raise RequestRefused(Why.TOO_LARGE, "too_many_groups", why)
        found = {"begin": choice.begin, "end": choice.end, "waiting": waiting, "total": total, "groups": groups}
        return OeeAnswer.model_validate(found)

    @api.get("/losses")
    async def losses(
        principal: Reader,
        site: Site = None,
        line: Line = None,
        product: Product = None,
        begin: From = None,
        end: To = None,
    ) -> ParetoAnswer:
        """What stops have taken, by reason, the largest first (Pareto); micro-stops are losses of speed."""
        choice = _choice(principal, site, line, product, (begin, end))
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await questions.losses(session, choice)
        return ParetoAnswer.model_validate({"begin": choice.begin, "end": choice.end, "losses": rows})

    @api.get("/cycle-times")
    async def cycle_times(
        principal: Reader,
        site: Site = None,
        line: Line = None,
        product: Product = None,
        begin: From = None,
        end: To = None,
    ) -> CycleTimes:
        """How cycle times are spread."""
        choice = _choice(principal, site, line, product, (begin, end))
        async with tenant_session(database, principal.tenant_id) as session:
            found = await questions.cycle_times(session, choice)
        return CycleTimes.model_validate({"begin": choice.begin, "end": choice.end, **found})

    _add_charts(api, database)
    return api


def _add_charts(api: APIRouter, database: Database) -> None:
    @api.get("/control-charts/rejects")
    async def rejects(
        principal: Reader,
        site: Site = None,
        line: Line = None,
        product: Product = None,
        begin: From = None,
        end: To = None,
        by: Annotated[By, Query(description="hour, day, week or month: what a point stands for")] = "hour",
        zone: Zone = "UTC",
    ) -> ControlChart:
        """The share of rejects as a p-chart, with the Western Electric rules."""
        if by not in ("hour", "day", "week", "month"):
            raise RequestRefused(Why.INVALID, "no_time", "'by' is hour, day, week or month here")
        choice = _choice(principal, site, line, product, (begin, end), zone)
        async with tenant_session(database, principal.tenant_id) as session:
            center, points = await questions.reject_chart(session, choice, by)
        found = {"begin": choice.begin, "end": choice.end, "center": center, "points": points}
        return ControlChart.model_validate(found)

    @api.get("/control-charts/tags/{tag_id}")
    async def of_tag(
        principal: Annotated[Principal, Depends(Needs(Permission.DATA_READ))],
        tag_id: int,
        begin: From = None,
        end: To = None,
        bucket: Annotated[str, Query(max_length=20, description="What a point stands for", examples=["15m"])] = "15m",
    ) -> ControlChart:
        """The means of a tag's samples as a control chart: limits by the moving range, Western Electric rules."""
        if not 0 < tag_id <= ID_MAX or not principal.may(Permission.DATA_READ):
            raise RequestRefused(Why.UNKNOWN, "unknown_tag", "there is no such tag, or it is not yours to see")
        start, stop = asked_span(begin, end)
        seen = TenantDatabase(database, principal.tenant_id)
        rows, more = await intervals.buckets(seen, tag_id, start, stop, asked_bucket(bucket), POINTS_MAX)
        if more is not None:
            why = f"that would be more than {POINTS_MAX} points: ask for less time, or longer intervals"
            raise RequestRefused(Why.TOO_LARGE, "too_many_points", why)
        means = [(row["time"], row["mean"], float(row["good"])) for row in rows if row["mean"] is not None]
        center, points = questions.value_chart(means)
        return ControlChart.model_validate({"begin": start, "end": stop, "center": center, "points": points})


def _choice(
    principal: Principal,
    site: str | None,
    line: str | None,
    product: str | None,
    asked: tuple[datetime | None, datetime | None],
    zone: str = "UTC",
) -> Choice:
    """What is asked for, cut to where ``principal`` may see it. Raises ``RequestRefused`` and ``QuestionInvalid``."""
    if line is not None and site is None:
        raise RequestRefused(Why.INVALID, "no_site", "'line' needs its 'site': two sites can have lines of one name")
    if not is_zone(zone):
        raise RequestRefused(Why.INVALID, "no_zone", f"there is no time zone {zone!r}; write one such as Europe/Berlin")
    if site is not None:
        refuse_elsewhere(principal, Permission.ANALYTICS_READ, site, line)
    begin, end = asked
    stop = end or datetime.now(UTC)
    start, stop = asked_span(begin or (stop - DAYS_UNLESS_SAID if stop.tzinfo is not None else None), stop)
    if stop - start > DAYS_MAX:
        raise RequestRefused(Why.TOO_LARGE, "too_long", f"{(stop - start).days} days are more than {DAYS_MAX.days}")
    places = principal.places(Permission.ANALYTICS_READ)
    return Choice(principal.tenant_id, _hour(start), stop, site, line, product, places, str(ZoneInfo(zone)))


@cache
def _zones() -> frozenset[str]:
    """Found once: it opens each of some hundred files."""
    return frozenset(available_timezones())


def is_zone(name: str) -> bool:
    """Whether there is such a time zone."""
    return name in _zones()


def _hour(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)
