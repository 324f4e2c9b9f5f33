"""The pages: login, first password by a one-time link, one's own account. Forms, without scripts."""

from __future__ import annotations

from datetime import UTC
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.commands import audit
from cloud_ingest.identity import clients, pages, rules
from cloud_ingest.identity.brands import Brand, brand_of, logo_of
from cloud_ingest.identity.browsers import Browser, FieldsInvalid, asker, fields
from cloud_ingest.identity.clients import Client
from cloud_ingest.identity.logins import LINK_OVER, LoggedIn
from cloud_ingest.identity.own_sessions import OpenSession, end_own, sessions_of
from cloud_ingest.identity.server import AuthorizationServer

_NO_STORE: Final = {"Cache-Control": "no-store"}
_NOT_THE_SAME: Final = "the two new passwords are not the same"


def login_routes(server: AuthorizationServer) -> APIRouter:
    """The pages of ``server``."""
    api = APIRouter(include_in_schema=False)
    browser = Browser(server)

    async def login_page(request: Request, place: str, login: str = "", said: str = "", status: int = 200) -> Response:
        form = browser.form_token(request)
        brand, targets = await _around(server, place)
        body = pages.login_form(form, place, login, said)
        answer = pages.page("Log in", body, brand, status=status, form_targets=targets)
        browser.keep(answer, form)
        return answer

    @api.get("/login")
    async def ask(request: Request) -> Response:
        return await login_page(request, rules.return_place(request.query_params.get("return", "")))

    @api.post("/login")
    async def log_in(request: Request) -> Response:
        try:
            form = await fields(request)
            browser.check(request, form)
        except (FieldsInvalid, RequestRefused) as exc:
            return await login_page(request, "/account", said=str(exc), status=403)
        place, login = rules.return_place(form.get("return", "")), form.get("login", "")
        try:
            known = server.known.place(browser.known(request), rules.login_of(login) or "")
            secret, who = await server.logins.log_in(login, form.get("password", ""), asker(request), known)
        except RequestRefused as exc:
            answer = await login_page(request, place, login[:200], str(exc), exc.why.value)
            if exc.retry_after_s is not None:
                answer.headers["Retry-After"] = f"{exc.retry_after_s:g}"
            return answer
        answer = RedirectResponse(place, 303, _NO_STORE)
        browser.log_in(request, answer, secret, who.login)
        return answer

    _add_set_up(api, server, browser)
    _add_account(api, server, browser)

    @api.get("/brand/{tenant}/logo")
    async def logo(tenant: str) -> Response:
        found = await logo_of(server.database, tenant) if "\x00" not in tenant else None
        if found is None:
            return Response(status_code=404)
        headers = {
            "Cache-Control": "public, max-age=300",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(found[0], media_type=found[1], headers=headers)

    return api


def _add_set_up(api: APIRouter, server: AuthorizationServer, browser: Browser) -> None:
    async def set_up_page(request: Request, token: str, said: str = "", status: int = 200) -> Response:
        login = await server.logins.link_of(token) if len(token) <= rules.PASSWORD_CHARS_MAX else None
        brand = await brand_of(server.database)
        if login is None:
            return pages.page("This link is over", pages.problem(LINK_OVER), brand, status=410)
        form = browser.form_token(request)
        answer = pages.page("Set your password", pages.set_up_form(form, token, login, said), brand, status=status)
        browser.keep(answer, form)
        return answer

    @api.get("/setup")
    async def look(request: Request) -> Response:
        return await set_up_page(request, request.query_params.get("token", ""))

    @api.post("/setup")
    async def set_up(request: Request) -> Response:
        try:
            form = await fields(request)
        except FieldsInvalid as exc:
            return await set_up_page(request, "", str(exc), 400)
        token = form.get("token", "")
        try:
            browser.check(request, form)
            if form.get("password") != form.get("again"):
                return await set_up_page(request, token, _NOT_THE_SAME, 400)
            login = await server.logins.use_link(token, form.get("password", ""), asker(request))
        except RequestRefused as exc:
            return await set_up_page(request, token, str(exc), exc.why.value)
        answer = RedirectResponse("/login", 303, _NO_STORE)
        browser.know(request, answer, login)
        return answer


def _add_account(api: APIRouter, server: AuthorizationServer, browser: Browser) -> None:
    async def account_page(
        request: Request, who: LoggedIn, said: str = "", done: str = "", status: int = 200
    ) -> Response:
        form = browser.form_token(request)
        rows = await sessions_of(server.database, who.user_id)
        told = [(row.session, _told(row), row.session == who.session_id) for row in rows]
        body = pages.account(form, f"{who.name} ({who.login})", told, said, done)
        answer = pages.page(
            "Your account", body, await brand_of(server.database, who.tenant_id), status=status, wide=True
        )
        browser.keep(answer, form)
        return answer

    @api.get("/account")
    async def look(request: Request) -> Response:
        who = await browser.who(request)
        return RedirectResponse("/login", 303, _NO_STORE) if who is None else await account_page(request, who)

    @api.post("/account/password")
    @api.post("/account/end")
    @api.post("/logout")
    async def change(request: Request) -> Response:
        who = await browser.who(request)
        if who is None:
            return RedirectResponse("/login", 303, _NO_STORE)
        try:
            form = await fields(request)
            browser.check(request, form)
            if request.url.path == "/logout":
                return await _log_out(server, browser, who)
            if request.url.path == "/account/end":
                await end_own(server.database, server.clock, who, form.get("session", ""))
                return RedirectResponse("/account", 303, _NO_STORE)
            if form.get("password") != form.get("again"):
                return await account_page(request, who, _NOT_THE_SAME, status=400)
            await server.logins.change_password(
                who.tenant_id, who.user_id, form.get("old", ""), form.get("password", ""), keeps=who.session_id,
                asker=asker(request),
            )  # fmt: skip
        except FieldsInvalid as exc:
            return await account_page(request, who, str(exc), status=400)
        except RequestRefused as exc:
            return await account_page(request, who, str(exc), status=exc.why.value)
        return await account_page(request, who, done="The password was changed. Everywhere else you are logged out.")


async def _log_out(server: AuthorizationServer, browser: Browser, who: LoggedIn) -> Response:
    await server.logins.log_out(who)
    server.principals.forget()
    answer = RedirectResponse("/login", 303, _NO_STORE)
    browser.log_out(answer)
    return answer


async def _around(server: AuthorizationServer, place: str) -> tuple[Brand, str]:
    """Whose login it is, by the app that wants it, and where that app may have the form lead to."""
    asked = dict(parse_qsl(urlsplit(place).query))
    app: Client | None = None
    if client_id := asked.get("client_id", "").replace("\x00", ""):
        app = await clients.client(server.database, client_id)
    brand = await brand_of(server.database, audit.TENANT if app is None else app.tenant_id)
    uri = asked.get("redirect_uri", "")
    if app is None or not rules.redirect_fits(app.redirect_uris, uri):
        return brand, ""
    parts = urlsplit(uri)
    return brand, f" {parts.scheme}://{parts.netloc}"


def _told(row: OpenSession) -> str:
    kinds = {"Firefox": "Firefox", "Edg": "Edge", "Chrome": "Chrome", "Safari": "Safari", "curl": "curl"}
    kind = next((shown for name, shown in kinds.items() if name in row.browser), "a program")
    return f"since {row.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {kind}, from {row.address or 'nowhere'}"


def link(issuer: str, secret: str) -> str:
    """The address of a one-time link."""
    return f"{issuer}/setup?{urlencode({'token': secret})}"
