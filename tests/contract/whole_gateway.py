"""The whole API as it is served, on a real database with something of everything in it, and its own examples to ask."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.config import CloudConfig
from cloud_ingest.gateway.examples import example_of
from cloud_ingest.observability.obstacles import Obstacles
from cloud_ingest.platform import make_gateway
from connectors.model.delivery import AgentName
from connectors.ports.database import Database
from tests.contract.command_steps import office

SECRET: Final = "LINESIDE_SECRET_OF_TESTS"
URL: Final = "http://cloud.example"
AGENT: Final = AgentName("plant-7", "line-3")
"""The one that the examples of the API are about."""
THERE: Final = {
    "agent": str(AGENT),
    "device": "press",
    "tag": "setpoint",
    "tag_id": 1,
    "item": "SCREW-M4",
    "lot": "L-2026-118",
    "location": "plant-7",
}
"""What questions can name."""
_WRITES: Final = ("post", "put", "patch")


class Roles:
    """An authenticator to whom the name of a role is the token of somebody who has it everywhere."""

    async def principal(self, token: str | None) -> Principal:
        if token is None:
            raise RequestRefused(Why.NO_TOKEN, "no_token", "nobody is known without a token")
        if token not in set(Role):
            raise RequestRefused(Why.NO_TOKEN, "unknown_token", "this token is none")
        role = Role(token)
        customer = "acme" if role is Role.CUSTOMER else None
        return Principal(1, f"user:{role}", str(role), "user", (Grant(role),), customer)


def whole_app(database: Database, **gateway: Any) -> FastAPI:
    """The app that the program serves, with ``gateway`` as its settings; tokens are the names of roles."""
    limits = {"per_principal": None, "per_address": None}
    os.environ.setdefault(SECRET, "of tests, and of nothing else: 0123456789")
    config = CloudConfig.model_validate(
        {
            "ingest": {"brokers": ["mqtt://127.0.0.1"], "insecure": True},
            "database": {"insecure": True},
            "gateway": {"rate_limits": limits, **gateway},
            "identity": {"issuer": "http://127.0.0.1:8080", "secret": f"${{env:{SECRET}}}"},
        }
    )
    app = make_gateway(config, database, CollectorRegistry(), Obstacles())
    app.state.authenticator = Roles()
    return app


@asynccontextmanager
async def whole_gateway(dsn: str, **gateway: Any) -> AsyncIterator[FastAPI]:
    """See ``whole_app``; its database has an agent, and whatever the examples of the API make."""
    async with office(dsn) as here:
        await here.prepare(AGENT)
        app = whole_app(here.database, **gateway)
        app.state.made = {"/api/v1/commands": {"id": await here.ask(agent=str(AGENT))}}
        async with asking(app) as client:
            for _ in range(3):  # what one makes, another one may need
                for path, method, _operation in operations(app):
                    if method in _WRITES:
                        await _make(app, client, path, method)
        yield app


async def _make(app: FastAPI, client: httpx.AsyncClient, path: str, method: str) -> None:
    answer = await client.request(**request_of(app, path, method), headers=headers_of(Role.ADMIN, f"seed {path}"))
    if answer.status_code == 412:  # there is nothing yet that it could have seen
        headers = {"Authorization": f"Bearer {Role.ADMIN}"}
        answer = await client.request(**request_of(app, path, method), headers=headers)
    assert answer.status_code < 500, f"{method} {path}: {answer.text}"
    if answer.is_success and answer.headers.get("content-type") == "application/json":
        made = answer.json()
        if isinstance(made, dict):
            app.state.made[path] = made


def asking(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=URL, timeout=60)


def headers_of(role: Role | None, key: str) -> dict[str, str]:
    """Of a request by ``role``."""
    token = {} if role is None else {"Authorization": f"Bearer {role}"}
    return {"Idempotency-Key": f"{key}-{role}", "If-Match": "*", **token}


def operations(app: FastAPI) -> list[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation of everything in the API's document."""
    return [
        (path, method, operation) for path, item in app.openapi()["paths"].items() for method, operation in item.items()
    ]


def request_of(app: FastAPI, path: str, method: str) -> dict[str, Any]:
    """The request that the API's document gives as its example."""
    document = app.openapi()
    operation = document["paths"][path][method]
    filled, params = path, {}
    for parameter in operation.get("parameters", ()):
        value = example(parameter, document)
        if parameter["in"] == "path":
            known = there_is(app, path, parameter["name"])
            filled = filled.replace(f"{{{parameter['name']}}}", quote(str(value if known is None else known), safe=""))
        elif parameter["in"] == "query" and parameter.get("required"):
            params[parameter["name"]] = value
    asked: dict[str, Any] = {"method": method.upper(), "url": filled, "params": params}
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        asked["json"] = example(content["application/json"], document)
    elif "application/x-www-form-urlencoded" in content:
        asked["data"] = example(content["application/x-www-form-urlencoded"], document)
    return asked


def there_is(app: FastAPI, path: str, name: str) -> Any:
    """What the parameter ``name`` of ``path`` has to be to name something that was made; ``None`` where none was."""
    made = getattr(app.state, "made", {}).get(path.partition(f"/{{{name}}}")[0], {})
    return next((made[key] for key in (name, "id", "code") if made.get(key)), None)


def example(of: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    if "example" in of:
        return of["example"]
    if of.get("examples"):
        first = next(iter(of["examples"].values())) if isinstance(of["examples"], dict) else of["examples"][0]
        return first["value"] if isinstance(first, dict) and "value" in first else first
    return example_of(of["schema"], document["components"]["schemas"])


def code_of(answer: httpx.Response) -> str:
    """The code of a problem; empty where there is none."""
    try:
        return str(answer.json().get("code", ""))
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
        return ""
