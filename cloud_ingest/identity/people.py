"""Users and programs as they are managed: made, changed, disabled, given links and secrets.

All of it works within a transaction of the caller, who writes the audit entries that it gets back as the last thing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloud_ingest.access.etags import check_match
from cloud_ingest.access.principal import Grant
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands.audit import Deed
from cloud_ingest.identity import rules
from cloud_ingest.identity.logins import end_all_of
from cloud_ingest.identity.secrets_kept import digest, new_secret
from connectors.commands.ulid import new_ulid
from connectors.ports.database import Session

LINK_S: Final = 24 * 3600

_ADMINS_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('lineside admins', $1))"


@dataclass(frozen=True, slots=True)
class By:
    """Who does it, for which tenant, when."""

    tenant_id: int
    actor: str
    now_ms: int

    def deed(self, action: str, subject: str, **details: Any) -> Deed:
        """Its entry in the audit log."""
        return Deed(self.now_ms, self.actor, action, subject, details)


@dataclass(frozen=True, slots=True)
class Person:
    """What is said of a user who is made or changed."""

    name: str
    grants: tuple[Grant, ...]
    customer: str | None = None
    is_disabled: bool = False


def _check_grants(grants: Collection[Grant], customer: str | None) -> None:
    if problem := rules.grants_problem(grants, customer):
        raise RequestRefused(Why.INVALID, "invalid_roles", problem)


async def add_user(session: Session, by: By, login_text: str, person: Person) -> tuple[str, str, Deed]:
    """A user without a password: id, the secret of the link that sets one, and the audit entry."""
    login = rules.login_of(login_text)
    if login is None:
        why = f"{login_text[:100]!r} is no login: an e-mail address, or a name of small letters, digits and . _ -"
        raise RequestRefused(Why.INVALID, "invalid_login", why)
    _check_grants(person.grants, person.customer)
    user_id = new_ulid(by.now_ms)
    made = await session.execute(
        "INSERT INTO identity_user (user_id, tenant_id, login, name, customer, created_by) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (login) DO NOTHING",
        user_id,
        by.tenant_id,
        login,
        person.name,
        person.customer,
        by.actor,
    )
    if not made:
        raise RequestRefused(Why.CONFLICT, "login_taken", f"somebody has the login {login!r} already")
    await _put_grants(session, by, f"user:{user_id}", person.grants)
    secret = await _new_link(session, by, user_id)
    texts = [rules.grant_text(grant) for grant in person.grants]
    return user_id, secret, by.deed("user created", login, roles=texts, customer=person.customer)


async def change_user(
    session: Session, by: By, user_id: str, person: Person, *, if_match: str | None
) -> tuple[int, Deed]:
    """Another name, other roles; whoever is disabled is logged out everywhere. The new revision, and the entry.

    ``if_match``: see ``check_match``; ``None`` for who changes what is there, whatever it is.
    """
    await session.fetch(_ADMINS_LOCK, by.tenant_id)
    row = await _locked_user(session, by, user_id)
    if if_match is not None:
        check_match(if_match, row["revision"])
    _check_grants(person.grants, person.customer)
    await session.execute(
        "UPDATE identity_user SET name = $2, customer = $3, revision = revision + 1, "
        "disabled = CASE WHEN $4 THEN coalesce(disabled, to_timestamp($5::bigint / 1000.0)) END WHERE user_id = $1",
        user_id,
        person.name,
        person.customer,
        person.is_disabled,
        by.now_ms,
    )
    await _put_grants(session, by, f"user:{user_id}", person.grants)
    if person.is_disabled:
        await end_all_of(session, user_id)
    await _check_admin_left(session, by)
    texts = [rules.grant_text(grant) for grant in person.grants]
    details = {"roles": texts, "customer": person.customer, "disabled": person.is_disabled}
    return int(row["revision"]) + 1, by.deed("user changed", str(row["login"]), **details)


async def new_link(session: Session, by: By, user_id: str) -> tuple[str, Deed]:
    """The secret of a one-time link by which the user sets a password, and the audit entry."""
    row = await _locked_user(session, by, user_id)
    if row["disabled"] is not None:
        raise RequestRefused(Why.CONFLICT, "user_disabled", f"{row['login']!r} is disabled: enable them first")
    return await _new_link(session, by, user_id), by.deed("link made", str(row["login"]))


async def user_id_of(session: Session, by: By, login: str) -> str:
    """The id behind a login. Raises ``RequestRefused``."""
    rows = await session.fetch(
        "SELECT user_id FROM identity_user WHERE tenant_id = $1 AND login = $2", by.tenant_id, login.strip().casefold()
    )
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_user", f"there is no user {login[:100]!r}")
    return str(rows[0]["user_id"])


@dataclass(frozen=True, slots=True)
class Program:
    """What is said of a service or an app that is made or changed."""

    name: str
    grants: tuple[Grant, ...] = ()
    redirect_uris: tuple[str, ...] = ()
    is_disabled: bool = False


def _check_program(kind: str, program: Program) -> None:
    if kind == "app":
        if program.grants:
            raise RequestRefused(Why.INVALID, "invalid_roles", "an app has no roles: who logs in by it has")
        if not program.redirect_uris:
            raise RequestRefused(Why.INVALID, "invalid_redirect", "an app needs the address that a login returns to")
        for uri in program.redirect_uris:
            if problem := rules.redirect_problem(uri):
                raise RequestRefused(Why.INVALID, "invalid_redirect", f"{uri[:200]!r} cannot be returned to: {problem}")
    elif program.redirect_uris:
        raise RequestRefused(Why.INVALID, "invalid_redirect", "a service has no address that a login returns to")
    _check_grants(program.grants, None)


async def add_client(session: Session, by: By, client_id: str, kind: str, program: Program) -> tuple[str | None, Deed]:
    """A service, with its secret, or an app, which has none (PKCE stands for it); and the audit entry."""
    _check_program(kind, program)
    secret = new_secret("lineside_secret_") if kind == "service" else None
    made = await session.execute(
        "INSERT INTO identity_client (client_id, tenant_id, kind, name, secret_sha256, redirect_uris, created_by) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (client_id) DO NOTHING",
        client_id,
        by.tenant_id,
        kind,
        program.name,
        None if secret is None else digest(secret),
        list(program.redirect_uris),
        by.actor,
    )
    if not made:
        raise RequestRefused(Why.CONFLICT, "client_taken", f"there is a client {client_id!r} already")
    await _put_grants(session, by, f"client:{client_id}", program.grants)
    texts = [rules.grant_text(grant) for grant in program.grants]
    details = {"kind": kind, "roles": texts, "redirect_uris": list(program.redirect_uris)}
    return secret, by.deed("client created", client_id, **details)


async def change_client(
    session: Session, by: By, client_id: str, program: Program, *, if_match: str | None
) -> tuple[int, Deed]:
    """Another name, other roles or addresses. The new revision, and the audit entry."""
    row = await _locked_client(session, by, client_id)
    if if_match is not None:
        check_match(if_match, row["revision"])
    _check_program(str(row["kind"]), program)
    await session.execute(
        "UPDATE identity_client SET name = $2, redirect_uris = $3, revision = revision + 1, "
        "disabled = CASE WHEN $4 THEN coalesce(disabled, to_timestamp($5::bigint / 1000.0)) END WHERE client_id = $1",
        client_id,
        program.name,
        list(program.redirect_uris),
        program.is_disabled,
        by.now_ms,
    )
    await _put_grants(session, by, f"client:{client_id}", program.grants)
    texts = [rules.grant_text(grant) for grant in program.grants]
    details = {"roles": texts, "redirect_uris": list(program.redirect_uris), "disabled": program.is_disabled}
    return int(row["revision"]) + 1, by.deed("client changed", client_id, **details)


async def new_client_secret(session: Session, by: By, client_id: str) -> tuple[str, Deed]:
    """Another secret of a service: the one before holds no more. And the audit entry."""
    row = await _locked_client(session, by, client_id)
    if row["kind"] != "service":
        raise RequestRefused(Why.CONFLICT, "no_secret", f"the app {client_id!r} has no secret: nobody could keep it")
    secret = new_secret("lineside_secret_")
    await session.execute(
        "UPDATE identity_client SET secret_sha256 = $2, revision = revision + 1 WHERE client_id = $1",
        client_id,
        digest(secret),
    )
    return secret, by.deed("client secret made", client_id)


async def grants_of(session: Session, tenant_id: int, subjects: Sequence[str]) -> dict[str, tuple[Grant, ...]]:
    """The roles of each of ``subjects``."""
    rows = await session.fetch(
        "SELECT subject, role, site, line FROM identity_grant WHERE tenant_id = $1 AND subject = ANY($2::text[]) "
        "ORDER BY subject, role, site, line",
        tenant_id,
        list(subjects),
    )
    found: dict[str, tuple[Grant, ...]] = dict.fromkeys(subjects, ())
    for row in rows:
        grant = rules.parse_grant(row["role"])
        found[row["subject"]] += (Grant(grant.role, row["site"] or None, row["line"] or None),)
    return found


async def _put_grants(session: Session, by: By, subject: str, grants: Collection[Grant]) -> None:
    await session.execute("DELETE FROM identity_grant WHERE tenant_id = $1 AND subject = $2", by.tenant_id, subject)
    await session.execute_many(
        "INSERT INTO identity_grant (tenant_id, subject, role, site, line) VALUES ($1, $2, $3, $4, $5)",
        [(by.tenant_id, subject, one.role.value, one.site or "", one.line or "") for one in dict.fromkeys(grants)],
    )


async def _new_link(session: Session, by: By, user_id: str) -> str:
    secret = new_secret()
    await session.execute(
        "DELETE FROM identity_link WHERE tenant_id = $1 AND expires < to_timestamp($2::bigint / 1000.0)",
        by.tenant_id,
        by.now_ms,
    )
    await session.execute(
        "INSERT INTO identity_link (sha256, tenant_id, user_id, expires, created_by) "
        "VALUES ($1, $2, $3, to_timestamp($4::bigint / 1000.0), $5)",
        digest(secret),
        by.tenant_id,
        user_id,
        by.now_ms + LINK_S * 1000,
        by.actor,
    )
    return secret


async def _locked_user(session: Session, by: By, user_id: str) -> Any:
    rows = await session.fetch(
        "SELECT * FROM identity_user WHERE user_id = $1 AND tenant_id = $2 FOR UPDATE", user_id, by.tenant_id
    )
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_user", f"there is no user {user_id[:100]!r}")
    return rows[0]


async def _locked_client(session: Session, by: By, client_id: str) -> Any:
    rows = await session.fetch(
        "SELECT * FROM identity_client WHERE client_id = $1 AND tenant_id = $2 FOR UPDATE", client_id, by.tenant_id
    )
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_client", f"there is no client {client_id[:100]!r}")
    return rows[0]


async def _check_admin_left(session: Session, by: By) -> None:
    """A tenant without an admin could be managed by nobody. Behind the lock: two cannot go at the same time."""
    rows = await session.fetch(
        "SELECT 1 FROM identity_grant JOIN identity_user ON subject = 'user:' || user_id "
        "WHERE identity_grant.tenant_id = $1 AND role = 'admin' AND site = '' AND disabled IS NULL LIMIT 1",
        by.tenant_id,
    )
    if not rows:
        raise RequestRefused(Why.CONFLICT, "last_admin", "this is the last admin: make another one first")
