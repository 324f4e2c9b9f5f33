"""Users and programs of a tenant, for those who manage them (``/api/v1/identity``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Response

from cloud_ingest.access.etags import IfMatch, etag
from cloud_ingest.access.idempotency import Asked, IdempotencyKey, once
from cloud_ingest.access.needs import Needs
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_session, tenant_transaction
from cloud_ingest.commands import audit
from cloud_ingest.identity import people
from cloud_ingest.identity.answers import (
    CODE_PATTERN,
    ClientAnswer,
    ClientChange,
    ClientPage,
    MadeClient,
    MadeUser,
    NewClient,
    NewUser,
    RoleAt,
    UserAnswer,
    UserChange,
    UserPage,
)
from cloud_ingest.identity.login_routes import link
from cloud_ingest.identity.people import By
from connectors.commands.envelope import ULID_PATTERN
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

PREFIX: Final = "/api/v1/identity"
_MEANING: Final = {
    400: "The request cannot be understood",
    401: "There is no token, or it does not hold",
    403: "The asker may not do this",
    404: "There is no such thing",
    409: "It cannot be done as things stand",
    412: "It was changed since it was seen",
    428: "The request does not say what was seen (If-Match)",
    503: "The database cannot be used now, or logins are not set up",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": meaning} for status, meaning in _MEANING.items()
}
_USERS: Final = (
    "SELECT user_id, login, name, customer, disabled IS NOT NULL AS disabled, password_hash IS NOT NULL "
    "AS has_password, created, revision FROM identity_user WHERE tenant_id = $1 AND "
)
_CLIENTS: Final = (
    "SELECT client_id, kind, name, redirect_uris, disabled IS NOT NULL AS disabled, created, revision "
    "FROM identity_client WHERE tenant_id = $1 AND "
)
UserId = Annotated[str, Path(pattern=ULID_PATTERN, description="Id of the user")]
ClientPath = Annotated[str, Path(pattern=CODE_PATTERN, description="Id of the program")]


async def manager(principal: Annotated[Principal, Depends(Needs(Permission.IDENTITY_MANAGE))]) -> Principal:
    """Who manages a whole tenant: an admin of one site alone would give themselves the others."""
    if not principal.may(Permission.IDENTITY_MANAGE):
        why = f"{principal.name!r} is admin at some sites, and whom the tenant lets in is for admins of all of it"
        raise RequestRefused(Why.FORBIDDEN, "not_your_role", why)
    return principal


Manager = Annotated[Principal, Depends(manager)]


def by_of(principal: Principal, clock: Clock) -> By:
    """As whom changes are written down."""
    return By(principal.tenant_id, principal.subject, clock.now_ns() // 1_000_000)


def management_routes(database: Database, clock: Clock, issuer: str | None, forget: Callable[[], None]) -> APIRouter:
    """The routes below ``/users`` and ``/clients``; ``issuer``: where links to set a password lead, if to anywhere.

    ``forget`` has this process look everybody up anew: what was taken away is gone with the answer.
    """
    api = APIRouter(prefix=PREFIX, tags=["Identity"], responses=PROBLEMS, dependencies=[Depends(only_known_parameters)])
    _add_users(api, database, clock, issuer)
    _add_user(api, database, clock, issuer, forget)
    _add_clients(api, database, clock)
    _add_client(api, database, clock, forget)
    return api


def _link(issuer: str | None, secret: str | None) -> str | None:
    return None if secret is None or issuer is None else link(issuer, secret)


def _need_logins(issuer: str | None) -> None:
    if issuer is None:
        why = "users log in at the OpenID provider, or not at all: 'identity.issuer' is not configured"
        raise RequestRefused(Why.CONFLICT, "no_logins", why)


def _add_users(api: APIRouter, database: Database, clock: Clock, issuer: str | None) -> None:
    @api.get("/users")
    async def users(principal: Manager, after: After = "", limit: Limit = LIMIT) -> UserPage:
        """The users of the tenant, by login, a page at a time."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await _users(session, principal.tenant_id, "login > $2 ORDER BY login LIMIT $3", after, limit + 1)
        shown, following = page(rows, limit, lambda row: row.login)
        return UserPage(users=tuple(shown), next=following)

    @api.post("/users", status_code=201)
    async def add(principal: Manager, user: NewUser, key: IdempotencyKey, response: Response) -> MadeUser:
        """Make a user, who sets a password by the link in the answer. A repeated request gets no link."""
        _need_logins(issuer)
        by = by_of(principal, clock)
        secrets: list[str] = []
        async with tenant_transaction(database, principal.tenant_id) as session:

            async def make() -> dict[str, str]:
                user_id, secret, deed = await people.add_user(session, by, user.login, user.person())
                secrets.append(secret)
                await audit.tell(session, by.tenant_id, deed)
                return {"user": user_id, "login": user.login.strip().casefold()}

            made = await once(session, Asked(principal, "identity.users", key, user.model_dump(mode="json")), make)
        response.headers["Location"] = f"{PREFIX}/users/{made['user']}"
        return MadeUser(**made, link=_link(issuer, secrets[0] if secrets else None))


def _add_user(api: APIRouter, database: Database, clock: Clock, issuer: str | None, forget: Callable[[], None]) -> None:
    @api.get("/users/{user}")
    async def one(principal: Manager, user: UserId, response: Response) -> UserAnswer:
        """One user."""
        async with tenant_session(database, principal.tenant_id) as session:
            found = await _users(session, principal.tenant_id, "user_id = $2", user)
        if not found:
            raise RequestRefused(Why.UNKNOWN, "unknown_user", f"there is no user {user!r}")
        response.headers["ETag"] = etag(found[0].revision)
        return found[0]

    @api.put("/users/{user}")
    async def change(
        principal: Manager, user: UserId, wanted: UserChange, response: Response, if_match: IfMatch = ""
    ) -> UserAnswer:
        """Give a user another name or other roles, or disable them: then they are logged out everywhere."""
        by = by_of(principal, clock)
        async with tenant_transaction(database, principal.tenant_id) as session:
            revision, deed = await people.change_user(session, by, user, wanted.person(), if_match=if_match)
            (found,) = await _users(session, principal.tenant_id, "user_id = $2", user)
            await audit.tell(session, by.tenant_id, deed)
        forget()
        response.headers["ETag"] = etag(revision)
        return found

    @api.post("/users/{user}/link")
    async def new_link(principal: Manager, user: UserId) -> MadeUser:
        """Make a link by which the user sets a new password, once, within a day. The old password holds until then."""
        _need_logins(issuer)
        by = by_of(principal, clock)
        async with tenant_transaction(database, principal.tenant_id) as session:
            secret, deed = await people.new_link(session, by, user)
            await audit.tell(session, by.tenant_id, deed)
        return MadeUser(user=user, login=deed.subject, link=_link(issuer, secret))


def _add_clients(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.get("/clients")
    async def clients(principal: Manager, after: After = "", limit: Limit = LIMIT) -> ClientPage:
        """Services and apps of the tenant, by id, a page at a time."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await _clients(
                session, principal.tenant_id, "client_id > $2 ORDER BY client_id LIMIT $3", after, limit + 1
            )
        shown, following = page(rows, limit, lambda row: row.client)
        return ClientPage(clients=tuple(shown), next=following)

    @api.post("/clients", status_code=201)
    async def add(principal: Manager, client: NewClient, key: IdempotencyKey, response: Response) -> MadeClient:
        """Make a service known, whose secret the answer has, or an app. A repeated request gets no secret."""
        by = by_of(principal, clock)
        secrets: list[str | None] = []
        async with tenant_transaction(database, principal.tenant_id) as session:

            async def make() -> dict[str, str]:
                secret, deed = await people.add_client(session, by, client.client, client.kind, client.program())
                secrets.append(secret)
                await audit.tell(session, by.tenant_id, deed)
                return {"client": client.client}

            made = await once(session, Asked(principal, "identity.clients", key, client.model_dump(mode="json")), make)
        response.headers["Location"] = f"{PREFIX}/clients/{made['client']}"
        return MadeClient(**made, secret=secrets[0] if secrets else None)


def _add_client(api: APIRouter, database: Database, clock: Clock, forget: Callable[[], None]) -> None:
    @api.get("/clients/{client}")
    async def one(principal: Manager, client: ClientPath, response: Response) -> ClientAnswer:
        """One service or app."""
        async with tenant_session(database, principal.tenant_id) as session:
            found = await _clients(session, principal.tenant_id, "client_id = $2", client)
        if not found:
            raise RequestRefused(Why.UNKNOWN, "unknown_client", f"there is no client {client!r}")
        response.headers["ETag"] = etag(found[0].revision)
        return found[0]

    @api.put("/clients/{client}")
    async def change(
        principal: Manager, client: ClientPath, wanted: ClientChange, response: Response, if_match: IfMatch = ""
    ) -> ClientAnswer:
        """Give a program another name, other roles or addresses, or disable it: its tokens hold no more."""
        by = by_of(principal, clock)
        async with tenant_transaction(database, principal.tenant_id) as session:
            revision, deed = await people.change_client(session, by, client, wanted.program(), if_match=if_match)
            (found,) = await _clients(session, principal.tenant_id, "client_id = $2", client)
            await audit.tell(session, by.tenant_id, deed)
        forget()
        response.headers["ETag"] = etag(revision)
        return found

    @api.post("/clients/{client}/secret")
    async def new_secret(principal: Manager, client: ClientPath) -> MadeClient:
        """Another secret for a service; the one before holds no more."""
        by = by_of(principal, clock)
        async with tenant_transaction(database, principal.tenant_id) as session:
            secret, deed = await people.new_client_secret(session, by, client)
            await audit.tell(session, by.tenant_id, deed)
        return MadeClient(client=client, secret=secret)


async def _users(session: Session, tenant_id: int, where: str, *arguments: Any) -> list[UserAnswer]:
    rows = await session.fetch(_USERS + where, tenant_id, *arguments)
    grants = await people.grants_of(session, tenant_id, [f"user:{row['user_id']}" for row in rows])
    return [
        UserAnswer(
            user=row["user_id"],
            roles=tuple(RoleAt.of(grant) for grant in grants[f"user:{row['user_id']}"]),
            **{name: row[name] for name in ("login", "name", "customer", "disabled", "has_password", "created")},
            revision=row["revision"],
        )
        for row in rows
    ]


async def _clients(session: Session, tenant_id: int, where: str, *arguments: Any) -> list[ClientAnswer]:
    rows = await session.fetch(_CLIENTS + where, tenant_id, *arguments)
    grants = await people.grants_of(session, tenant_id, [f"client:{row['client_id']}" for row in rows])
    return [
        ClientAnswer(
            client=row["client_id"],
            roles=tuple(RoleAt.of(grant) for grant in grants[f"client:{row['client_id']}"]),
            redirect_uris=tuple(row["redirect_uris"]),
            **{name: row[name] for name in ("kind", "name", "disabled", "created", "revision")},
        )
        for row in rows
    ]
