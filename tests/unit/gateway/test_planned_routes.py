"""A route whose parameters are looked at once answers as FastAPI does, whatever it is asked."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from pydantic import Field

from cloud_ingest.access.answers import long_answer
from cloud_ingest.access.needs import Needs
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.planned_routes import PlannedRoute
from cloud_ingest.access.principal import Principal
from cloud_ingest.gateway import queries
from cloud_ingest.gateway.app import make_app
from cloud_ingest.observability.obstacles import Obstacles
from connectors.commands.states import CommandState
from tests.unit.gateway.test_entry import ANNA, People

URL = "http://cloud.example/api/v1"
ASKED = (
    "/things/7",
    "/things/seven",
    "/things/7?limit=3&from=2026-11-22T08:00:00Z&state=sent&search=%C3%A4&broad=yes",
    "/things/7?from=2026-11-22T08:00:00%2B01:00&limit=0",
    "/things/0?limit=x&from=yesterday&state=gone&broad=perhaps",
    "/things/7?limit=",
    "/things/7?search=",
    "/things/7?limit=1&limit=2",
    "/things/7?begin=2026-11-22T08:00:00Z",
    "/things/7?lmit=1&limit=x",
)


def app_of(route_class: type[APIRoute]) -> FastAPI:
    dependencies = [Depends(only_known_parameters)]
    api = APIRouter(prefix="/api/v1/things", route_class=route_class, dependencies=dependencies)

    @api.get("/{number}", response_model=dict[str, Any])
    async def thing(
        request: Request,
        principal: Annotated[Principal, Depends(Needs(Permission.LINES_READ))],
        number: Annotated[int, Path(ge=1)],
        search: Annotated[str | None, Query(description="Part of the name")] = None,
        begin: Annotated[datetime | None, Query(alias="from")] = None,
        state: CommandState | None = None,
        limit: Annotated[int, Query(ge=1, le=10)] = 5,
        broad: bool = False,
    ) -> Response:
        path = request.url.path
        return long_answer(
            {"by": principal.name, "at": path, "is": [number, search, begin, state, limit, broad, str(type(state))]}
        )

    return make_app(None, CollectorRegistry(), Obstacles(), None, [api], authenticator=People(anna=ANNA))  # type: ignore[arg-type]


def client(app: FastAPI, token: str = "anna") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=("198.51.100.7", 1), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {token}", "X-Request-Id": "x"} if token else {"X-Request-Id": "x"}
    return httpx.AsyncClient(transport=transport, base_url=URL, headers=headers)


def by_fastapi(*_: Any, **__: Any) -> Any:
    raise AssertionError("FastAPI looked for the arguments")


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("token", ["anna", "nobody", ""])
async def test_it_answers_and_refuses_as_fastapi_does(monkeypatch: pytest.MonkeyPatch, path: str, token: str) -> None:
    async with client(app_of(APIRoute), token) as asking:
        expected = await asking.get(path)
    app = app_of(PlannedRoute)
    monkeypatch.setattr("fastapi.routing.solve_dependencies", by_fastapi)
    async with client(app, token) as asking:
        answer = await asking.get(path)
    found, known = dict(answer.headers), dict(expected.headers)
    assert found.pop("ratelimit").partition(";t=")[0] == known.pop("ratelimit").partition(";t=")[0]  # t counts seconds
    assert (answer.status_code, answer.content, found) == (expected.status_code, expected.content, known)
    assert answer.status_code in ((200, 400) if token == "anna" else (401, 400))


def test_it_is_documented_as_before() -> None:
    assert app_of(PlannedRoute).openapi() == app_of(APIRoute).openapi()


async def test_what_is_read_most_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    async def some(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(queries, "agents", some)
    monkeypatch.setattr(queries, "tags", some)
    monkeypatch.setattr("cloud_ingest.commands.questions.commands", some)
    app = make_app(None, CollectorRegistry(), Obstacles(), authenticator=People(anna=ANNA))  # type: ignore[arg-type]
    monkeypatch.setattr("fastapi.routing.solve_dependencies", by_fastapi)
    async with client(app) as asking:
        for path in ("/agents", "/tags", "/commands"):
            assert (await asking.get(path)).status_code == 200, path
        assert (await asking.get("/samples")).json()["detail"].startswith("name the tag")


async def test_a_route_of_another_shape_is_left_to_fastapi() -> None:
    api = APIRouter(prefix="/api/v1/others", route_class=PlannedRoute)

    @api.get("/header")
    async def header(if_match: Annotated[str, Header()] = "") -> Response:
        return Response(if_match)

    @api.get("/needed")
    async def needed(tag: str) -> Response:
        return Response(tag)

    @api.get("/several")
    async def several(tag: Annotated[list[str], Query()] = []) -> Response:  # noqa: B006  FastAPI copies it
        return Response(",".join(tag))

    @api.get("/made")
    async def made(tag: Annotated[str, Field(default_factory=lambda: "made")]) -> Response:
        return Response(tag)

    @api.get("/model")
    async def model() -> dict[str, int]:
        return {"one": 1}

    @api.get("/own")
    async def own(response: Response) -> Response:
        return Response(str(response.status_code))

    app = make_app(None, CollectorRegistry(), Obstacles(), None, [api])  # type: ignore[arg-type]
    async with client(app, "") as asking:
        asking.headers["If-Match"] = '"7"'
        answers = {
            "/header": '"7"',
            "/needed?tag=a": "a",
            "/several?tag=a&tag=b": "a,b",
            "/model": '{"one":1}',
            "/own": "None",
            "/made": "made",
        }
        for path, text in answers.items():
            assert (await asking.get(f"/others{path}")).text == text
        assert (await asking.get("/others/needed")).status_code == 400
