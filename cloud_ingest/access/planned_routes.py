"""Routes whose parameters and dependencies are looked at once, where FastAPI looks at them with each request.

That took half of the time of a short answer. What is done is what FastAPI does, by its own validators, in its order
and with its errors; a route of another shape than ``_plan`` knows is left to it. For ``APIRouter(route_class=…)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

_PLAIN: Final = (str, int, float, datetime, NoneType)
_LEFT_TO_FASTAPI: Final = (
    "header_params",
    "cookie_params",
    "body_params",
    "websocket_param_name",
    "response_param_name",
    "background_tasks_param_name",
    "security_scopes_param_name",
    "concurrency",
)


class PlannedRoute(APIRoute):
    """See the module. Only endpoints that are annotated to return a ``Response``, and take no body, are planned."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See ``APIRoute``."""
        by_fastapi = super().get_route_handler()
        endpoint = self.endpoint
        if self.body_field is not None or inspect.signature(endpoint, eval_str=True).return_annotation is not Response:
            return by_fastapi
        plan = _plan(self.dependant)
        if plan is None:
            return by_fastapi

        async def handle(request: Request) -> Response:
            errors: list[Any] = []
            values = await plan.values(request, errors)
            if errors:
                raise RequestValidationError(errors)
            answer: Response = await endpoint(**values)
            return answer

        return handle


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One of the query or the path; ``field`` is FastAPI's."""

    where: str
    name: str
    alias: str
    field: Any
    default: Any

    def value(self, given: Mapping[str, Any], errors: list[Any]) -> Any:
        """What the endpoint gets; what is wrong with it is added to ``errors``."""
        text = given.get(self.alias)
        if text is None:
            return self.default
        value, wrong = self.field.validate(text, {}, loc=(self.where, self.alias))
        errors += wrong
        return value


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the arguments of a function are found."""

    call: Callable[..., Any]
    needs: tuple[tuple[str | None, _Plan], ...]
    of_path: tuple[_Parameter, ...]
    of_query: tuple[_Parameter, ...]
    request_names: tuple[str, ...]

    async def values(self, request: Request, errors: list[Any]) -> dict[str, Any]:
        """The arguments; what is wrong with them is added to ``errors``."""
        found: dict[str, Any] = {}
        for argument, need in self.needs:
            before = len(errors)
            arguments = await need.values(request, errors)
            if len(errors) > before:
                continue
            value = await need.call(**arguments)
            if argument is not None:
                found[argument] = value
        for parameter in self.of_path:
            found[parameter.name] = parameter.value(request.path_params, errors)
        if self.of_query:
            given = request.query_params
            for parameter in self.of_query:
                found[parameter.name] = parameter.value(given, errors)
        for name in self.request_names:
            found[name] = request
        return found


def _plan(dependant: Dependant) -> _Plan | None:
    """How the arguments of ``dependant`` are found; ``None`` where FastAPI has to find them."""
    call = dependant.call
    if call is None or not _is_coroutine(call) or any(getattr(dependant, name) for name in _LEFT_TO_FASTAPI):
        return None
    needs = [(one.name, _plan(one)) for one in dependant.dependencies]
    of_path, of_query = _parameters("path", dependant.path_params), _parameters("query", dependant.query_params)
    known = tuple((name, plan) for name, plan in needs if plan is not None)
    if len(known) < len(needs) or of_path is None or of_query is None:
        return None
    names = (dependant.request_param_name, dependant.http_connection_param_name)
    return _Plan(call, known, of_path, of_query, tuple(name for name in names if name is not None))


def _is_coroutine(call: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


def _parameters(where: str, fields: Iterable[Any]) -> tuple[_Parameter, ...] | None:
    """``None`` where one is not a single plain value, or has to be given in the query."""
    found = []
    for field in fields:
        info = field.field_info
        if not _is_plain(info.annotation) or info.validate_default or info.default_factory is not None:
            return None
        if where == "query" and info.is_required():
            return None
        default = None if info.is_required() else info.default
        found.append(_Parameter(where, field.name, field.validation_alias or field.alias, field, default))
    return tuple(found)


def _is_plain(annotation: Any) -> bool:
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return all(isinstance(kind, type) and issubclass(kind, _PLAIN) for kind in kinds)
