"""Every route of the real gateway, asked by every role and by nobody, on a real database: as the table says."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from cloud_ingest.access.permissions import Role
from cloud_ingest.gateway.route_table import PUBLIC, SOCKET, RouteNeeds, routes_of
from docs import permissions_page
from tests.contract.whole_gateway import asking, code_of, headers_of, operations, request_of, whole_app, whole_gateway


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The whole app, for what it says of itself."""
    nothing: Any = None
    return whole_app(nothing)


async def test_every_route_is_open_to_the_roles_that_the_table_names_and_to_nobody_else(database_dsn: str) -> None:
    async with whole_gateway(database_dsn, login="required") as app:
        assert routes_of(app) == permissions_page.whole_gateway(), "the documentation is of this app"
        wrong = []
        for route in routes_of(app):
            for role in (None, *Role):
                expected = bool(not route.permissions or (role is not None and route.allows(role)))
                status, code = await asked(app, route, role)
                refused = status == 401 if role is None else (status, code) == (403, "not_your_role")
                if status >= 500 or refused is expected:
                    wrong.append(f"{route.method} {route.path} by {role}: {status} {code}")
        assert wrong == []


async def asked(app: FastAPI, route: RouteNeeds, role: Role | None) -> tuple[int, str]:
    if route.method == SOCKET:
        return await connected(app, route.path, role)
    async with asking(app) as client:
        request = request_of(app, route.path, route.method.lower())
        answer = await client.request(**request, headers=headers_of(role, "table"))
    return answer.status_code, code_of(answer)


async def connected(app: FastAPI, path: str, role: Role | None) -> tuple[int, str]:
    """How a WebSocket ends whose client says little and goes: with 1008 (RFC 6455: policy), if it was refused."""
    headers = [] if role is None else [(b"authorization", f"Bearer {role}".encode())]
    coming = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "{}"},  # some look at a token that comes with the first message
        {"type": "websocket.disconnect", "code": 1000},
    ]
    sent: list[Any] = []
    scope = {"type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers,
             "scheme": "ws", "server": ("cloud.example", 80), "client": ("127.0.0.1", 1), "subprotocols": [],
             "root_path": "", "asgi": {"version": "3.0"}}  # fmt: skip

    async def receive() -> Any:
        return coming.pop(0) if len(coming) > 1 else coming[0]

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if any(message["type"] == "websocket.close" and message.get("code") == 1008 for message in sent):
        return (401, "no_token") if role is None else (403, "not_your_role")
    return 101, ""


def test_a_route_that_needs_nothing_says_why() -> None:
    assert {route.path for route in permissions_page.whole_gateway() if not route.permissions} == set(PUBLIC)


def test_every_route_has_an_example_that_its_schema_takes_and_says_what_it_does(app: FastAPI) -> None:
    document = app.openapi()
    Draft202012Validator.check_schema({"$defs": document["components"]["schemas"]})
    wrong = []
    for path, method, operation in operations(app):
        place = f"{method} {path}"
        if not operation.get("description") or not operation.get("tags") or not operation.get("summary"):
            wrong.append(f"{place}: no description or tag")
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for body in (*bodies, *operation["responses"].values()):
            for media in body.get("content", {}).values():
                wrong += [f"{place}: {problem}" for problem in problems(media, document)]
    assert wrong == []


def problems(media: Any, document: Any) -> list[str]:
    """What is wrong with the examples of ``media``."""
    if not media.get("schema"):
        return []
    validator = Draft202012Validator({**media["schema"], "components": document["components"]})
    examples = [media["example"]] if "example" in media else []
    examples += [one["value"] for one in media.get("examples", {}).values()]
    found = [f"{error.json_path}: {error.message}" for one in examples for error in validator.iter_errors(one)]
    return found if examples else ["no example"]


def test_what_needs_a_token_says_so_in_the_document(app: FastAPI) -> None:
    needed = {(route.method.lower(), route.path): route.permissions for route in routes_of(app)}
    for path, method, operation in operations(app):
        names = [permission.value for permission in needed[method, path]]
        assert operation.get("security", []) == ([{"token": names}] if names else []), (method, path)
        assert set(operation["responses"]) >= ({"400", "401", "403", "429"} if names else {"400", "429"})
        assert "422" not in operation["responses"]
