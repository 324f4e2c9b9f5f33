"""Errors, as RFC 9457 has them: whatever goes wrong is said in one form, with the id of its request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from cloud_ingest.access.answers import FieldProblem, ProblemAnswer
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.span import QuestionInvalid
from cloud_ingest.gateway import queries
from connectors.model.errors import DatabaseUnavailable, StatementRefused

PROBLEM_TYPE: Final = "application/problem+json"
BAD_DATA: Final = "22"
CONFLICTING: Final = "40"
"""Two transactions wanted the same in different orders, and one of them was rolled back."""
CANCELLED: Final = "57014"
RETRY_AFTER_S: Final = 1
FIELDS_MAX: Final = 100
_NOTHING_THERE: Final = "/api/docs lists what can be asked"


def problem(
    scope: Scope,
    status: int,
    detail: str,
    code: str = "",
    *,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
    title: str = "",
) -> JSONResponse:
    """The answer to a request that went wrong."""
    document = ProblemAnswer(
        title=title or HTTPStatus(status).phrase.capitalize(),
        status=status,
        detail=detail,
        code=code,
        request_id=scope.get("state", {}).get("request_id", ""),
        errors=list(errors),
    )
    without = {name for name in ("code", "request_id", "errors") if not getattr(document, name)}
    body = document.model_dump(mode="json", exclude=without)
    return JSONResponse(body, status, dict(headers or {}), PROBLEM_TYPE)


def refused(scope: Scope, error: RequestRefused) -> JSONResponse:
    """The answer to a request that was refused."""
    headers = {}
    if error.why is Why.NO_TOKEN:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return problem(scope, error.why.value, str(error), error.code, headers=headers)


def handle_errors(app: FastAPI) -> None:
    """Have ``app`` answer so. What is raised beside these is a defect (``entry``)."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        fields = [_field(one) for one in error.errors()[:FIELDS_MAX]]
        detail = "; ".join(f"{one.field}: {one.message}" if one.field else one.message for one in fields)
        return problem(request.scope, 400, detail, errors=fields)

    @app.exception_handler(QuestionInvalid)
    async def bad_request(request: Request, error: QuestionInvalid) -> JSONResponse:
        return problem(request.scope, 400, str(error))

    @app.exception_handler(RequestRefused)
    async def not_done(request: Request, error: RequestRefused) -> JSONResponse:
        return refused(request.scope, error)

    @app.exception_handler(queries.NotFound)
    async def not_found(request: Request, error: queries.NotFound) -> JSONResponse:
        return problem(request.scope, 404, f"{error}; /api/v1/tags lists what there is")

    @app.exception_handler(DatabaseUnavailable)
    async def unavailable(request: Request, error: DatabaseUnavailable) -> JSONResponse:
        return problem(request.scope, 503, str(error), headers={"Retry-After": str(RETRY_AFTER_S)})

    @app.exception_handler(StatementRefused)
    async def statement_refused(request: Request, error: StatementRefused) -> JSONResponse:
        if error.sqlstate.startswith(BAD_DATA):
            return problem(request.scope, 400, f"the database does not take a value of this request: {error}")
        if error.sqlstate == queries.UNDEFINED_TABLE:
            return problem(request.scope, 503, queries.NOT_MIGRATED)
        if error.sqlstate.startswith(CONFLICTING) or error.sqlstate == CANCELLED:
            detail = "others have changed the same at the same time, and nothing was done: ask again"
            return problem(request.scope, 503, detail, "try_again", headers={"Retry-After": str(RETRY_AFTER_S)})
        raise error

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> JSONResponse:
        known = error.status_code in (404, 405) and error.detail == HTTPStatus(error.status_code).phrase
        detail = _NOTHING_THERE if known else str(error.detail)
        return problem(request.scope, error.status_code, detail, headers=error.headers)


def _field(error: Mapping[str, Any]) -> FieldProblem:
    where = ".".join(str(part) for part in error["loc"][1:])
    return FieldProblem(field=where, message=str(error["msg"]))
