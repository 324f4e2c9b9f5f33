"""The routes of the API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.exceptions import HTTPException

from cloud_ingest.access.answers import ProblemAnswer
from cloud_ingest.access.needs import Needs
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.span import QuestionInvalid, asked_bucket, asked_span
from cloud_ingest.access.tenancy import TenantDatabase
from cloud_ingest.commands.enrolment import Enrolments
from cloud_ingest.commands.requests import Requests
from cloud_ingest.commands.tokens import TokenAuthenticator
from cloud_ingest.gateway import intervals, queries
from cloud_ingest.gateway import ledger as ledger_of
from cloud_ingest.gateway.answers import (
    AgentAnswer,
    DeadLetterPage,
    Health,
    LedgerAnswer,
    SamplePage,
    SettledAnswer,
    TagPage,
)
from cloud_ingest.gateway.body_limit import BodyLimit
from cloud_ingest.gateway.commands import command_routes
from cloud_ingest.gateway.device_files import device_file_routes
from cloud_ingest.gateway.documentation import ASSETS_PATH, assets, documentation
from cloud_ingest.gateway.enrolments import enrolment_routes
from cloud_ingest.gateway.releases import release_routes
from cloud_ingest.historian.dead_letters import letters
from cloud_ingest.observability.obstacles import START, Obstacles
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.version import lineside_version
from connectors.ports.clock import SystemClock
from connectors.ports.database import Database

PAGE_MAX: Final = 10_000
BODY_BYTES_MAX: Final = 256 * 1024
ID_MAX: Final = (1 << 31) - 1
BIGINT_MAX: Final = (1 << 63) - 1
_BAD_DATA: Final = "22"
_PROBLEM_TYPE: Final = "application/problem+json"
_TITLES: Final = {why.value: HTTPStatus(why.value).phrase.capitalize() for why in Why}
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ProblemAnswer, "description": "The request cannot be understood"},
    404: {"model": ProblemAnswer, "description": "There is no such thing"},
    503: {"model": ProblemAnswer, "description": "The database cannot be reached or used now"},
}

AgentQuery = Annotated[str | None, Query(description="group/name", examples=["plant-7/line-3"])]
TimeQuery = Annotated[
    datetime | None, Query(description="ISO 8601 with a time zone", examples=["2026-11-22T08:00:00Z"])
]
SeesData = Annotated[Principal, Depends(Needs(Permission.DATA_READ))]


def make_app(
    database: Database,
    registry: CollectorRegistry,
    obstacles: Obstacles,
    requests: Requests | None = None,
    platform: Sequence[APIRouter] = (),
) -> FastAPI:
    """The API on ``database``; ``/metrics`` shows ``registry``, and ``/readyz`` the ``obstacles``.

    Commands are taken by ``requests``; without them, with the settings' defaults. ``platform``: routes of its parts.
    """
    app = FastAPI(
        title="Lineside",
        version=lineside_version(),
        summary="Agents, tags, samples, the delivery ledger, and commands",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.authenticator = TokenAuthenticator(database)
    app.include_router(_api(database))
    app.add_middleware(BodyLimit, bytes_max=BODY_BYTES_MAX)
    app.include_router(command_routes(database, requests or Requests(database, SystemClock())))
    app.include_router(device_file_routes(database))
    app.include_router(enrolment_routes(Enrolments(database, SystemClock())))
    app.include_router(release_routes(database))
    for router in platform:
        app.include_router(router)
    app.include_router(_operations(database, registry, obstacles))
    app.include_router(documentation())
    app.mount(ASSETS_PATH, assets(), name="assets")
    _handle_errors(app)
    return app


def _api(database: Database) -> APIRouter:
    api = APIRouter(prefix="/api/v1", tags=["Data"], responses=_PROBLEMS, dependencies=[Depends(only_known_parameters)])

    def seen_by(principal: Principal) -> Database:
        return TenantDatabase(database, principal.tenant_id)

    @api.get("/agents")
    async def agents(principal: SeesData, agent: AgentQuery = None) -> list[AgentAnswer]:
        """Every agent and node that was ever seen, with its devices."""
        return [AgentAnswer.model_validate(row) for row in await queries.agents(seen_by(principal), agent)]

    @api.get("/tags")
    async def tags(
        principal: SeesData,
        agent: AgentQuery = None,
        device: str | None = None,
        search: Annotated[str | None, Query(description="Part of the name, in any case")] = None,
        after: Annotated[int, Query(ge=0, le=ID_MAX, description="The 'next' of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1000,
    ) -> TagPage:
        """Tags, a page at a time."""
        rows = await queries.tags(seen_by(principal), queries.TagChoice(agent, device, search, after, limit))
        following = rows[-1]["tag_id"] if len(rows) == limit else None
        return TagPage.model_validate({"tags": rows, "next": following})

    @api.get("/samples")
    async def samples(
        principal: SeesData,
        tag_id: Annotated[int | None, Query(ge=1, le=ID_MAX)] = None,
        agent: AgentQuery = None,
        device: str = "",
        tag: Annotated[str | None, Query(description="Name of the tag, with agent and device")] = None,
        begin: Annotated[TimeQuery, Query(alias="from")] = None,
        end: Annotated[TimeQuery, Query(alias="to")] = None,
        bucket: Annotated[str | None, Query(description="Interval to gather samples in, such as 1m")] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1000,
    ) -> SamplePage:
        """Samples of one tag (from <= time < to; the last hour unless said otherwise), or its intervals."""
        if tag_id is None and (agent is None or tag is None):
            raise QuestionInvalid("name the tag by 'tag_id', or by 'agent', 'device' and 'tag'")
        start, stop = asked_span(begin, end)
        seen = seen_by(principal)
        found = await queries.find_tag(seen, tag_id=tag_id, agent=agent, device=device, name=tag)
        if bucket is None:
            rows, following = await queries.samples(seen, found["tag_id"], start, stop, limit)
            return SamplePage.model_validate({"tag": found, "samples": rows, "next": following})
        rows, following = await intervals.buckets(seen, found["tag_id"], start, stop, asked_bucket(bucket), limit)
        return SamplePage.model_validate({"tag": found, "buckets": rows, "next": following})

    _add_ledger(api, database)
    return api


def _add_ledger(api: APIRouter, database: Database) -> None:
    """What of the data arrived, and what was set aside."""

    @api.get("/ledger")
    async def ledger(principal: SeesData, agent: AgentQuery = None) -> list[LedgerAnswer]:
        """What arrived of each agent, what was given up and why; 'missing' is what nothing explains."""
        seen = TenantDatabase(database, principal.tenant_id)
        return [LedgerAnswer.model_validate(row) for row in await ledger_of.ledger(seen, agent)]

    @api.get("/ledger/settled")
    async def settled(principal: SeesData) -> SettledAnswer:
        """Whether nothing is missing of any agent that is neither explained nor closed."""
        seen = TenantDatabase(database, principal.tenant_id)
        unassigned = await ledger_of.unassigned_dead_letters(seen)
        is_settled = ledger_of.is_settled(await ledger_of.ledger(seen), unassigned)
        return SettledAnswer(settled=is_settled, unassigned_dead_letters=unassigned)

    @api.get("/dead-letters")
    async def dead_letters(
        principal: SeesData,
        agent: AgentQuery = None,
        closed: Annotated[bool, Query(description="Also those that were closed or stored again")] = False,
        after: Annotated[int, Query(ge=0, le=BIGINT_MAX, description="The 'next' of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1000,
    ) -> DeadLetterPage:
        """Messages that could not be stored, without their bytes, a page at a time."""
        seen = TenantDatabase(database, principal.tenant_id)
        rows = await letters(seen, agent=agent, with_closed=closed, after=after, count_max=limit)
        following = rows[-1].number if len(rows) == limit else None
        return DeadLetterPage.model_validate({"dead_letters": [row.document() for row in rows], "next": following})


def _operations(database: Database, registry: CollectorRegistry, obstacles: Obstacles) -> APIRouter:
    operations = APIRouter(tags=["Operation"])

    @operations.get("/healthz")
    async def healthz() -> Health:
        """Whether the program runs."""
        return Health(status="ok")

    @operations.get("/readyz", responses={503: {"model": Health}})
    async def readyz(response: Response) -> Health:
        """Whether the program can answer: the database is there, and has its tables.

        It is "degraded" while another part of this process waits for something; questions are answered all the same.
        """
        try:
            if await queries.is_migrated(database):
                waiting = str(obstacles)
                return Health(status="degraded" if waiting else "ok", reason=waiting)
            reason = obstacles.reason(START) or queries.NOT_MIGRATED
        except DatabaseUnavailable as exc:
            reason = str(exc)
        response.status_code = 503
        return Health(status="not ready", reason=reason)

    @operations.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return operations


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        details = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        return _problem(400, "Bad request", details)

    @app.exception_handler(QuestionInvalid)
    async def bad_request(_request: Request, error: QuestionInvalid) -> JSONResponse:
        return _problem(400, "Bad request", str(error))

    @app.exception_handler(RequestRefused)
    async def not_done(_request: Request, error: RequestRefused) -> JSONResponse:
        answer = _problem(error.why.value, _TITLES[error.why.value], str(error), error.code)
        if error.why is Why.NO_TOKEN:
            answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    @app.exception_handler(queries.NotFound)
    async def not_found(_request: Request, error: queries.NotFound) -> JSONResponse:
        return _problem(404, "Not found", f"{error}; /api/v1/tags lists what there is")

    @app.exception_handler(DatabaseUnavailable)
    async def unavailable(_request: Request, error: DatabaseUnavailable) -> JSONResponse:
        return _problem(503, "Service unavailable", str(error))

    @app.exception_handler(StatementRefused)
    async def refused(_request: Request, error: StatementRefused) -> JSONResponse:
        if error.sqlstate.startswith(_BAD_DATA):
            return _problem(400, "Bad request", f"the database does not take a value of this request: {error}")
        if error.sqlstate == queries.UNDEFINED_TABLE:
            return _problem(503, "Service unavailable", queries.NOT_MIGRATED)
        raise error

    @app.exception_handler(HTTPException)
    async def no_route(_request: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail), "/api/docs lists what can be asked")


def _problem(status: int, title: str, detail: str, code: str = "") -> JSONResponse:
    document = ProblemAnswer(title=title, status=status, detail=detail, code=code)
    without = None if code else {"code"}
    return JSONResponse(document.model_dump(exclude=without), status_code=status, media_type=_PROBLEM_TYPE)
