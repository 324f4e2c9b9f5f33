"""The routes of the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.exceptions import HTTPException

from cloud_ingest.gateway import queries
from cloud_ingest.gateway.answers import (
    AgentAnswer,
    Health,
    LedgerAnswer,
    ProblemAnswer,
    SamplePage,
    TagPage,
)
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.version import lineside_version
from connectors.ports.database import Database
from connectors.ports.settings import parse_duration

PAGE_MAX: Final = 10_000
BUCKET_S_MIN: Final = 0.001
BUCKET_S_MAX: Final = 10_000 * 86_400.0
ID_MAX: Final = (1 << 31) - 1
UNDEFINED_TABLE: Final = "42P01"
_BAD_DATA: Final = "22"
_PROBLEM_TYPE: Final = "application/problem+json"
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ProblemAnswer, "description": "The request cannot be understood"},
    404: {"model": ProblemAnswer, "description": "There is no such thing"},
    503: {"model": ProblemAnswer, "description": "The database cannot be reached now"},
}

AgentQuery = Annotated[str | None, Query(description="group/name", examples=["plant-7/line-3"])]
TimeQuery = Annotated[
    datetime | None, Query(description="ISO 8601 with a time zone", examples=["2026-11-22T08:00:00Z"])
]


class BadRequest(ValueError):
    """A request that cannot be understood, in a sentence."""


def make_app(database: Database, registry: CollectorRegistry) -> FastAPI:
    """The API on ``database``; ``/metrics`` shows ``registry``."""
    app = FastAPI(
        title="Lineside",
        version=lineside_version(),
        summary="Agents, tags, samples, and the delivery ledger",
        docs_url="/api/docs",
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.include_router(_api(database))
    app.include_router(_operations(database, registry))
    _handle_errors(app)
    return app


def _api(database: Database) -> APIRouter:
    api = APIRouter(prefix="/api/v1", responses=_PROBLEMS, dependencies=[Depends(_only_known_parameters)])

    @api.get("/agents")
    async def agents(agent: AgentQuery = None) -> list[AgentAnswer]:
        """Every agent and node that was ever seen, with its devices."""
        return [AgentAnswer.model_validate(row) for row in await queries.agents(database, agent)]

    @api.get("/tags")
    async def tags(
        agent: AgentQuery = None,
        device: str | None = None,
        search: Annotated[str | None, Query(description="Part of the name, in any case")] = None,
        after: Annotated[int, Query(ge=0, le=ID_MAX, description="The 'next' of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1000,
    ) -> TagPage:
        """Tags, a page at a time."""
        rows = await queries.tags(database, queries.TagChoice(agent, device, search, after, limit))
        following = rows[-1]["tag_id"] if len(rows) == limit else None
        return TagPage.model_validate({"tags": rows, "next": following})

    @api.get("/samples")
    async def samples(
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
            raise BadRequest("name the tag by 'tag_id', or by 'agent', 'device' and 'tag'")
        start, stop = _span(begin, end)
        found = await queries.find_tag(database, tag_id=tag_id, agent=agent, device=device, name=tag)
        if bucket is None:
            rows, following = await queries.samples(database, found["tag_id"], start, stop, limit)
            return SamplePage.model_validate({"tag": found, "samples": rows, "next": following})
        rows, following = await queries.buckets(database, found["tag_id"], start, stop, _bucket(bucket), limit)
        return SamplePage.model_validate({"tag": found, "buckets": rows, "next": following})

    @api.get("/ledger")
    async def ledger(agent: AgentQuery = None) -> list[LedgerAnswer]:
        """What arrived of each agent, what was given up and why; 'missing' is what nothing explains."""
        return [LedgerAnswer.model_validate(row) for row in await queries.ledger(database, agent)]

    return api


def _only_known_parameters(request: Request) -> None:
    """Refuse a request with a parameter that the route does not have: a misspelt one would be ignored silently."""
    known = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    if unknown := sorted(set(request.query_params) - known):
        raise BadRequest(f"there is no parameter {', '.join(unknown)} here; known are {', '.join(sorted(known))}")


def _operations(database: Database, registry: CollectorRegistry) -> APIRouter:
    operations = APIRouter()

    @operations.get("/healthz")
    async def healthz() -> Health:
        """Whether the program runs."""
        return Health(status="ok")

    @operations.get("/readyz", responses={503: {"model": Health}})
    async def readyz(response: Response) -> Health:
        """Whether the program can answer: the database is there, and has its tables."""
        try:
            if await queries.is_migrated(database):
                return Health(status="ok")
            reason = queries.NOT_MIGRATED
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

    @app.exception_handler(BadRequest)
    async def bad_request(_request: Request, error: BadRequest) -> JSONResponse:
        return _problem(400, "Bad request", str(error))

    @app.exception_handler(queries.NotFound)
    async def not_found(_request: Request, error: queries.NotFound) -> JSONResponse:
        return _problem(404, "Not found", str(error))

    @app.exception_handler(DatabaseUnavailable)
    async def unavailable(_request: Request, error: DatabaseUnavailable) -> JSONResponse:
        return _problem(503, "Service unavailable", str(error))

    @app.exception_handler(StatementRefused)
    async def refused(_request: Request, error: StatementRefused) -> JSONResponse:
        if error.sqlstate.startswith(_BAD_DATA):
            return _problem(400, "Bad request", f"the database does not take a value of this request: {error}")
        if error.sqlstate == UNDEFINED_TABLE:
            return _problem(503, "Service unavailable", queries.NOT_MIGRATED)
        raise error

    @app.exception_handler(HTTPException)
    async def no_route(_request: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail), "/api/docs lists what can be asked")


def _problem(status: int, title: str, detail: str) -> JSONResponse:
    document = ProblemAnswer(title=title, status=status, detail=detail).model_dump()
    return JSONResponse(document, status_code=status, media_type=_PROBLEM_TYPE)


def _span(begin: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    stop = end or datetime.now(UTC)
    if stop.tzinfo is None or (begin is not None and begin.tzinfo is None):
        raise BadRequest("'from' and 'to' need a time zone, such as 2026-11-22T08:00:00Z")
    try:
        start = begin or stop - timedelta(hours=1)
    except OverflowError as exc:
        raise BadRequest("'to' is too early") from exc
    if start > stop:
        raise BadRequest("'from' is later than 'to'")
    return start, stop


def _bucket(text: str) -> float:
    try:
        bucket_s = parse_duration(text)
    except ValueError as exc:
        raise BadRequest(f"bucket: {exc}") from exc
    if not BUCKET_S_MIN <= bucket_s <= BUCKET_S_MAX:
        raise BadRequest(f"bucket: {text} is not between 1ms and {BUCKET_S_MAX / 86_400:g}d")
    return bucket_s
