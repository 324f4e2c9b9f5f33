"""A gateway with logins on a real PostgreSQL, a browser, and apps."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import SecretStr

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant
from cloud_ingest.commands import audit
from cloud_ingest.gateway.app import make_app
from cloud_ingest.identity import people
from cloud_ingest.identity.part import identity
from cloud_ingest.identity.passwords import Passwords
from cloud_ingest.identity.people import By, Person, Program
from cloud_ingest.observability.obstacles import Obstacles
from cloud_ingest.settings.identity import IdentitySettings
from cloud_ingest.store.migrate import migrate
from connectors.postgres.database import PostgresDatabase, open_database
from tests.contract.command_steps import SetClock

ISSUER: Final = "https://lineside.plant.example"
BACK: Final = "https://ui.plant.example/back"
SECRET: Final = "a secret of thirty-two characters or more"
PASSWORD: Final = "blue presses hum at night"
APP: Final = "ui"
ME: Final = "/api/v1/identity/me"


@dataclass(frozen=True)
class Tokens:
    access: str
    refresh: str
    answer: dict[str, Any]


class House:
    """A database with a gateway before it, whose clock can be set."""

    def __init__(self, database: PostgresDatabase, clock: SetClock, settings: IdentitySettings) -> None:
        self.database, self.clock, self.settings = database, clock, settings
        cheap = Passwords(Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1))
        routers, authenticator = identity(settings, database, clock, cheap)
        self.app: FastAPI = make_app(
            database, CollectorRegistry(), Obstacles(), platform=routers, authenticator=authenticator
        )

    def browser(self, address: str = "192.0.2.7") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 50_000))
        return httpx.AsyncClient(transport=transport, base_url=ISSUER)

    async def user(self, login: str, *grants: Grant, customer: str | None = None, tenant_id: int = 1) -> str:
        """A user whose password is ``PASSWORD``: their id."""
        by = By(tenant_id, "test", self.clock.now_ms())
        async with self.database.transaction() as session:
            user_id, secret, deed = await people.add_user(
                session, by, login, Person(login.title(), grants or (Grant(Role.OPERATOR),), customer)
            )
            await audit.tell(session, tenant_id, deed)
        async with self.browser() as browser:
            page = await browser.get("/setup", params={"token": secret})
            answer = await browser.post(
                "/setup", data={**form_of(page), "token": secret, "password": PASSWORD, "again": PASSWORD}
            )
            assert answer.status_code == 303, answer.text
        return user_id

    async def client(self, client_id: str = APP, *, kind: str = "app", tenant_id: int = 1, **more: Any) -> str | None:
        """An app, or a service: its secret."""
        uris = (BACK,) if kind == "app" else ()
        async with self.database.transaction() as session:
            program = Program(client_id, more.get("grants", ()), more.get("redirect_uris", uris))
            secret, _ = await people.add_client(
                session, By(tenant_id, "test", self.clock.now_ms()), client_id, kind, program
            )
        return secret

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        async with self.database.session() as session:
            return list(await session.fetch(sql, *args))

    async def ask(self, token: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**more.pop("headers", {})}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.browser() as browser:
            return await browser.request(method, path, headers=headers, **more)

    async def post(self, path: str, address: str = "192.0.2.7", **form: str) -> httpx.Response:
        async with self.browser(address) as browser:
            return await browser.post(path, data=form)

    async def tokens(self, login: str, *, scope: str = "openid", client: str = APP) -> Tokens:
        """Log in by the app, all the way."""
        async with self.browser() as browser:
            asked, verifier = authorization(scope=scope, client_id=client)
            code = await self.code(browser, asked, login)
            answer = await self.redeem(code, verifier, client)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        return Tokens(found["access_token"], found["refresh_token"], found)

    async def code(self, browser: httpx.AsyncClient, asked: dict[str, str], login: str) -> str:
        answer = await browser.get("/oauth/authorize", params=asked)
        assert answer.status_code == 303, answer.text
        if answer.headers["location"].startswith("/login"):
            page = await browser.get(answer.headers["location"])
            answer = await log_in(browser, page, login)
            assert answer.status_code == 303, answer.text
            answer = await browser.get(answer.headers["location"])
        return given(answer)["code"]

    async def redeem(self, code: str, verifier: str, client: str = APP, **more: str) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier, "redirect_uri": BACK}
        return await self.post("/oauth/token", **{**form, "client_id": client, **more})

    async def refresh(self, token: str, client: str = APP, **more: str) -> httpx.Response:
        return await self.post(
            "/oauth/token", grant_type="refresh_token", refresh_token=token, client_id=client, **more
        )


async def log_in(
    browser: httpx.AsyncClient, page: httpx.Response, login: str, password: str = PASSWORD
) -> httpx.Response:
    """Fill in the form of a login page, as a browser does."""
    return await browser.post("/login", data={**form_of(page), "login": login, "password": password})


def form_of(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of a page."""
    from html import unescape

    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
    return {name: unescape(value) for name, value in fields}


def given(answer: httpx.Response) -> dict[str, str]:
    """What an app is given in the address that the browser comes back to."""
    place = urlsplit(answer.headers["location"])
    assert f"{place.scheme}://{place.netloc}{place.path}" == BACK, answer.headers["location"]
    return {name: values[0] for name, values in parse_qs(place.query).items()}


def authorization(**more: str) -> tuple[dict[str, str], str]:
    """What an app asks for, and its verifier."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": APP,
        "redirect_uri": BACK,
        "state": "of the app",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "scope": "openid",
    }
    return {**asked, **more}, verifier


@asynccontextmanager
async def house(dsn: str, **settings: Any) -> AsyncIterator[House]:
    database = await open_database(dsn, connections_max=8, application_name="tests")
    try:
        await migrate(database)
        given_settings = IdentitySettings(issuer=ISSUER, secret=SecretStr(SECRET), **settings)
        yield House(database, SetClock(), given_settings)
    finally:
        await database.close()
