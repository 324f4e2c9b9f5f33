"""One's own account, and the sessions of a tenant."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request

from cloud_ingest.access.needs import Needs
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_session, tenant_transaction
from cloud_ingest.commands import audit
from cloud_ingest.identity.answers import Myself, PasswordChange, RoleAt, SessionAnswer, SessionPage
from cloud_ingest.identity.browsers import asker
from cloud_ingest.identity.logins import end_sessions
from cloud_ingest.identity.own_sessions import COLUMNS, open_session
from cloud_ingest.identity.routes import PREFIX, PROBLEMS, Manager, by_of
from cloud_ingest.identity.server import AuthorizationServer
from connectors.commands.envelope import ULID_PATTERN
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

Own = Annotated[Principal, Depends(Needs(Permission.ACCOUNT_OWN))]
SessionId = Annotated[str, Path(pattern=ULID_PATTERN, description="Id of the session")]
_LIST: Final = f"SELECT {COLUMNS} AND identity_session.tenant_id = $1 AND session_id > $2 "


def account_routes(database: Database, clock: Clock, server: AuthorizationServer | None) -> APIRouter:
    """The routes below ``/me`` and ``/sessions``."""
    api = APIRouter(prefix=PREFIX, tags=["Identity"], responses=PROBLEMS, dependencies=[Depends(only_known_parameters)])

    @api.get("/me")
    async def me(principal: Own) -> Myself:
        """Who the API takes the asker for, and what they may do."""
        async with tenant_session(database, principal.tenant_id) as session:
            (row,) = await session.fetch("SELECT name FROM tenant WHERE tenant_id = $1", principal.tenant_id)
        return Myself(
            tenant=row["name"],
            subject=principal.subject,
            name=principal.name,
            kind=principal.kind,
            roles=tuple(RoleAt.of(grant) for grant in principal.grants),
            permissions=tuple(one.value for one in Permission if principal.may_somewhere(one)),
            customer=principal.customer,
        )

    @api.get("/me/sessions")
    async def mine(principal: Own, after: After = "", limit: Limit = LIMIT) -> SessionPage:
        """Where the asker is logged in."""
        login = _own_login(principal)
        async with tenant_session(database, principal.tenant_id) as session:
            return await _page(session, principal, after, limit, login)

    @api.delete("/me/sessions/{session}", status_code=204)
    async def end_mine(principal: Own, session: SessionId) -> None:
        """Log out there."""
        login = _own_login(principal)
        await _end(database, clock, principal, session, login)

    @api.post("/me/password", status_code=204)
    async def password(principal: Own, wanted: PasswordChange, request: Request) -> None:
        """Another password for the asker, who is logged out everywhere by it."""
        login = _own_login(principal)
        if server is None:
            raise RequestRefused(Why.CONFLICT, "no_logins", "there are no logins here: 'identity.issuer' is not set")
        async with tenant_transaction(database, principal.tenant_id) as session:
            rows = await session.fetch("SELECT user_id FROM identity_user WHERE login = $1", login)
        if not rows:
            raise RequestRefused(Why.UNKNOWN, "unknown_user", "there is no such user any more")
        await server.logins.change_password(
            principal.tenant_id, rows[0]["user_id"], wanted.old, wanted.new, keeps=None, asker=asker(request)
        )

    _add_sessions(api, database, clock)
    return api


def _add_sessions(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.get("/sessions")
    async def sessions(principal: Manager, after: After = "", limit: Limit = LIMIT) -> SessionPage:
        """Who of the tenant is logged in, and where."""
        async with tenant_session(database, principal.tenant_id) as session:
            return await _page(session, principal, after, limit, None)

    @api.delete("/sessions/{session}", status_code=204)
    async def end(principal: Manager, session: SessionId) -> None:
        """Log somebody out: the session and all tokens that came of it end."""
        await _end(database, clock, principal, session, None)


def _own_login(principal: Principal) -> str:
    """Raises ``RequestRefused`` when the asker has no login here."""
    kind, _, login = principal.subject.partition(":")
    if kind != "user":
        why = f"{principal.name!r} has no password here: this is for who logs in with login and password"
        raise RequestRefused(Why.CONFLICT, "no_password", why)
    return login


async def _page(session: Session, principal: Principal, after: str, limit: int, login: str | None) -> SessionPage:
    rows = await session.fetch(
        _LIST + "AND ($3::text IS NULL OR login = $3) ORDER BY session_id LIMIT $4",
        principal.tenant_id,
        after,
        login,
        limit + 1,
    )
    shown, following = page([open_session(row) for row in rows], limit, lambda one: one.session)
    found = tuple(
        SessionAnswer(
            session=one.session, login=one.login, since=one.since, expires=one.expires, address=one.address,
            browser=one.browser,
        )
        for one in shown
    )  # fmt: skip
    return SessionPage(sessions=found, next=following)


async def _end(database: Database, clock: Clock, principal: Principal, session_id: str, login: str | None) -> None:
    by = by_of(principal, clock)
    async with tenant_transaction(database, principal.tenant_id) as session:
        rows = await session.fetch(
            "SELECT login FROM identity_session JOIN identity_user USING (user_id) WHERE session_id = $1 "
            "AND ($2::text IS NULL OR login = $2)",
            session_id,
            login,
        )
        if not rows:
            raise RequestRefused(Why.UNKNOWN, "unknown_session", f"there is no session {session_id!r}")
        await end_sessions(session, [session_id])
        await audit.tell(session, by.tenant_id, by.deed("session ended", session_id, login=rows[0]["login"]))
