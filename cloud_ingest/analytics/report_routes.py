"""The routes of reports: who gets which and when, those that were made, and their files."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from cloud_ingest.access.answers import Answer
from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.idempotency import Asked, IdempotencyKey, once
from cloud_ingest.access.needs import Needs, refuse_elsewhere
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_session
from cloud_ingest.analytics import reports
from cloud_ingest.analytics.report_formats import MEDIA_TYPES, Format
from cloud_ingest.analytics.report_rules import Period, Schedule
from cloud_ingest.analytics.reports import Plan, plan_of
from cloud_ingest.analytics.routes import CODE_PATTERN, is_zone
from cloud_ingest.event_log.announcing import unit_of_work
from connectors.commands.envelope import ULID_PATTERN
from connectors.commands.ulid import new_ulid
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row

MADE_MAX: Final = 400
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The request cannot be understood"},
    401: {"description": "There is no token, or it does not hold"},
    403: {"description": "The role is not good for this, or not there"},
    404: {"description": "There is no such thing"},
    409: {"description": "It cannot be done as things stand"},
    412: {"description": "It was changed since it was seen"},
    428: {"description": "If-Match is missing"},
    503: {"description": "The database cannot be reached or used now"},
}
_PRINTED: Final = r"^[^\x00-\x1f\x7f]+$"
"""No spreadsheet has control characters in a text."""
_MAIL: Final = r"^[^@\s,;<>]{1,64}@[^@\s,;<>]{1,190}$"

Reader = Annotated[Principal, Depends(Needs(Permission.ANALYTICS_READ))]
Editor = Annotated[Principal, Depends(Needs(Permission.REPORTS_EDIT))]
Id = Annotated[str, Path(pattern=ULID_PATTERN, description="Id of the report")]
Day = Annotated[date, Path(description="A day of the period, local to the report's zone", examples=["2026-11-28"])]


class ReportRequest(BaseModel):
    """A report, and who gets it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=120, pattern=_PRINTED, examples=["Line 3, every day"])]
    site: Annotated[str | None, Field(pattern=CODE_PATTERN, description="Of all sites unless said")] = None
    line: Annotated[str | None, Field(pattern=CODE_PATTERN, description="Of all lines of the site unless said")] = None
    period: Annotated[Literal["day", "week"], Field(description="Weeks begin on Monday")]
    zone: Annotated[str, Field(max_length=64, description="Where days begin", examples=["Europe/Berlin"])] = "UTC"
    at_minute: Annotated[
        int, Field(ge=0, le=1439, description="Minutes after midnight at which the period before is made")
    ] = 360
    formats: Annotated[list[Format], Field(min_length=1, max_length=4)] = ["html", "pdf"]
    recipients: Annotated[
        list[Annotated[str, Field(pattern=_MAIL, examples=["shift@plant-7.example"])]],
        Field(max_length=50, description="Who gets it by e-mail, each a mail of their own"),
    ] = []
    active: bool = True


class ReportAnswer(Answer):
    """A report, and who gets it."""

    id: str
    name: str
    site: str | None
    line: str | None
    period: str
    zone: str
    at_minute: int
    formats: list[str]
    recipients: list[str]
    active: bool
    revision: int


class ReportPage(Answer):
    """Reports, a page at a time."""

    reports: list[ReportAnswer]
    next: str | None


class MadeReport(Answer):
    """A report of one period."""

    day: Annotated[date, Field(description="The first day of the period")]
    begin: datetime
    end: datetime
    made: datetime
    edition: Annotated[int, Field(description="How often it was made")]
    formats: list[str]


class MailRequest(BaseModel):
    """To whom a report is sent once more."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"recipients": ["head@plant-7.example"]}]}
    )

    recipients: Annotated[
        list[Annotated[str, Field(pattern=_MAIL)]],
        Field(max_length=50, description="Unless said, those of the report"),
    ] = []


class ReportMailed(Answer):
    """A report that is on its way."""

    day: date
    recipients: list[str]


class MadeReports(Answer):
    """Reports that were made, the newest first."""

    made: list[MadeReport]


def report_routes(database: Database, clock: Clock) -> APIRouter:
    """The routes below ``/api/v1/reports``."""
    api = APIRouter(
        prefix="/api/v1/reports",
        tags=["Reports"],
        responses=_PROBLEMS,
        dependencies=[Depends(only_known_parameters)],
    )

    @api.get("")
    async def listed(principal: Reader, after: After = "", limit: Limit = LIMIT) -> ReportPage:
        """Reports, a page at a time."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await reports.plans(session, principal.tenant_id, after, limit + 1)
        found, following = page(rows, limit, lambda row: str(row["report_id"]))
        seen = [_answer(row) for row in found if _is_seen(principal, row)]
        return ReportPage(reports=seen, next=following)

    @api.post("", status_code=201)
    async def create(
        principal: Editor, request: ReportRequest, response: Response, key: IdempotencyKey
    ) -> ReportAnswer:
        """Have a report made each day or week, and announced. The first one is of the period that is running now."""
        _check(principal, request)
        asked = Asked(principal, "POST /reports", key, request.model_dump(mode="json"))
        now_ns = clock.now_ns()
        made = _plan(request, new_ulid(now_ns // 1_000_000), principal.tenant_id, _time(now_ns))
        async with unit_of_work(database, principal.tenant_id) as work:

            async def do() -> dict[str, Any]:
                await reports.insert(work.session, made, principal.name)
                row = await reports.plan(work.session, principal.tenant_id, made.report)
                return _answer(row).model_dump(mode="json")

            answer = ReportAnswer.model_validate(await once(work.session, asked, do))
        response.headers["Location"] = f"/api/v1/reports/{answer.id}"
        response.headers["ETag"] = etag(answer.revision)
        return answer

    _add_one(api, database)
    _add_made(api, database, clock)
    _add_mail(api, database, clock)
    return api


def _add_one(api: APIRouter, database: Database) -> None:
    @api.get("/{id}")
    async def one(principal: Reader, id: Id, response: Response) -> ReportAnswer:  # noqa: A002  the API's name
        """One report."""
        async with tenant_session(database, principal.tenant_id) as session:
            row = await reports.plan(session, principal.tenant_id, id)
        _see(principal, row)
        response.headers["ETag"] = etag(row["revision"])
        return _answer(row)

    @api.put("/{id}")
    async def change(
        principal: Editor,
        id: Id,  # noqa: A002
        request: ReportRequest,
        response: Response,
        if_match: IfMatch = "",
    ) -> ReportAnswer:
        """Change it. What was made before stays as it is."""
        _check(principal, request)
        async with unit_of_work(database, principal.tenant_id) as work:
            before = await reports.plan(work.session, principal.tenant_id, id, to_change=True)
            _see(principal, before)
            _edit(principal, before["site"], before["line"])
            check_match(if_match, before["revision"])
            changed = replace(
                _plan(request, id, principal.tenant_id, before["since"]), revision=int(before["revision"]) + 1
            )
            await reports.update(work.session, changed)
            row = await reports.plan(work.session, principal.tenant_id, id)
        response.headers["ETag"] = etag(row["revision"])
        return _answer(row)

    @api.delete("/{id}", status_code=204)
    async def remove(principal: Editor, id: Id, if_match: IfMatch = "") -> None:  # noqa: A002
        """Remove it, with all that was made of it."""
        async with unit_of_work(database, principal.tenant_id) as work:
            before = await reports.plan(work.session, principal.tenant_id, id, to_change=True)
            _see(principal, before)
            _edit(principal, before["site"], before["line"])
            check_match(if_match, before["revision"])
            await work.session.execute("DELETE FROM report_plan WHERE report_id = $1", id)


def _add_made(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.get("/{id}/made")
    async def made(
        principal: Reader,
        id: Id,  # noqa: A002
        limit: Annotated[int, Query(ge=1, le=MADE_MAX)] = 30,
    ) -> MadeReports:
        """Those that were made, the newest first."""
        async with tenant_session(database, principal.tenant_id) as session:
            _see(principal, await reports.plan(session, principal.tenant_id, id))
            rows = await reports.made_reports(session, principal.tenant_id, id, limit)
        found = [{**row, "begin": row["begin_time"], "end": row["end_time"]} for row in rows]
        return MadeReports.model_validate({"made": found})

    @api.post("/{id}/made/{day}", status_code=201)
    async def make(principal: Editor, id: Id, day: Day, key: IdempotencyKey) -> MadeReport:  # noqa: A002
        """Make the report of the period that ``day`` is in, now; one that is there already gets a new edition.

        So a report is brought up to date when data came late. It is announced again.
        """
        asked = Asked(principal, f"POST /reports/{id}/made", key, day.isoformat())
        now = _time(clock.now_ns())
        async with unit_of_work(database, principal.tenant_id) as work:
            row = await reports.plan(work.session, principal.tenant_id, id, to_change=True)
            _see(principal, row)
            _edit(principal, row["site"], row["line"])
            wanted = plan_of(row)
            one = reports.period_to_make(wanted, day, now)

            async def do() -> dict[str, Any]:
                await reports.make(work, wanted, one, now)
                rows = await reports.made_reports(work.session, principal.tenant_id, id, MADE_MAX)
                found = next(row for row in rows if row["day"] == one.day)
                told = {**found, "begin": found["begin_time"], "end": found["end_time"]}
                return MadeReport.model_validate(told).model_dump(mode="json")

            return MadeReport.model_validate(await once(work.session, asked, do))

    @api.get(
        "/{id}/made/{day}/{format}",
        response_class=Response,
        responses={200: {"content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()}}},
    )
    async def file(principal: Reader, id: Id, day: Day, format: Format) -> Response:  # noqa: A002
        """A file of a report."""
        async with tenant_session(database, principal.tenant_id) as session:
            row = await reports.plan(session, principal.tenant_id, id)
            _see(principal, row)
            content = await reports.file_of(session, principal.tenant_id, id, day, format)
        headers = {
            "Content-Disposition": f'attachment; filename="report-{day.isoformat()}.{format}"',
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        }
        return Response(content, media_type=MEDIA_TYPES[format], headers=headers)


def _add_mail(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.post("/{id}/made/{day}/mail", status_code=202)
    async def mail(principal: Editor, id: Id, day: Day, request: MailRequest, key: IdempotencyKey) -> ReportMailed:  # noqa: A002
        """Send a report that was made once more, as it is; ``day`` is the first one of its period."""
        asked = Asked(
            principal, f"POST /reports/{id}/made/{day.isoformat()}/mail", key, request.model_dump(mode="json")
        )
        async with unit_of_work(database, principal.tenant_id) as work:
            row = await reports.plan(work.session, principal.tenant_id, id)
            _see(principal, row)
            _edit(principal, row["site"], row["line"])

            async def do() -> dict[str, Any]:
                to = await reports.send_again(work, plan_of(row), day, request.recipients, _time(clock.now_ns()))
                return ReportMailed(day=day, recipients=to).model_dump(mode="json")

            return ReportMailed.model_validate(await once(work.session, asked, do))


def _check(principal: Principal, request: ReportRequest) -> None:
    """Raises ``RequestRefused`` when there can be no such report, or it is not theirs to have made."""
    if request.line is not None and request.site is None:
        raise RequestRefused(Why.INVALID, "no_site", "'line' needs its 'site'")
    if not is_zone(request.zone):
        why = f"there is no time zone {request.zone!r}; write one such as Europe/Berlin"
        raise RequestRefused(Why.INVALID, "no_zone", why)
    _edit(principal, request.site, request.line)


def _edit(principal: Principal, site: str | None, line: str | None) -> None:
    """Raises ``RequestRefused`` unless ``principal`` may say what reports of that place are like."""
    if site is not None:
        refuse_elsewhere(principal, Permission.REPORTS_EDIT, site, line)
    elif not principal.may(Permission.REPORTS_EDIT):
        why = "a report of all sites is made by somebody whose role holds for all of them: name a site"
        raise RequestRefused(Why.FORBIDDEN, "not_your_role", why)


def _is_seen(principal: Principal, row: Row) -> bool:
    if row["site"] is None:
        return principal.may(Permission.ANALYTICS_READ)
    return principal.may(Permission.ANALYTICS_READ, site=row["site"], line=row["line"])


def _see(principal: Principal, row: Row) -> None:
    if not _is_seen(principal, row):
        raise RequestRefused(Why.UNKNOWN, "unknown_report", f"there is no report {row['report_id']} that you may see")


def _plan(request: ReportRequest, report: str, tenant_id: int, since: datetime) -> Plan:
    return Plan(
        report,
        tenant_id,
        request.name,
        request.site,
        request.line,
        Schedule(Period(request.period), request.zone, request.at_minute),
        tuple(dict.fromkeys(request.formats)),
        tuple(dict.fromkeys(request.recipients)),
        request.active,
        since,
        1,
    )


def _answer(row: Row) -> ReportAnswer:
    found = plan_of(row)
    return ReportAnswer(
        id=found.report,
        name=found.name,
        site=found.site,
        line=found.line,
        period=found.schedule.period.value,
        zone=found.schedule.zone,
        at_minute=found.schedule.at_minute,
        formats=list(found.formats),
        recipients=list(found.recipients),
        active=found.is_active,
        revision=found.revision,
    )


def _time(now_ns: int) -> datetime:
    return datetime.fromtimestamp(now_ns / 1e9, UTC)
