"""Brand and audit log of a tenant; and tenants, for who runs the cloud."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.idempotency import Asked, IdempotencyKey, once
from cloud_ingest.access.needs import Needs
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import TenantDatabase, tenant_session, tenant_transaction
from cloud_ingest.commands import audit
from cloud_ingest.identity.answers import (
    CODE_PATTERN,
    AuditAnswer,
    AuditPage,
    BrandAnswer,
    BrandChange,
    MadeUser,
    NewTenant,
    TenantAnswer,
    TenantPage,
)
from cloud_ingest.identity.brands import LOGO_BYTES_MAX, Brand, brand_in, image_kind
from cloud_ingest.identity.login_routes import link
from cloud_ingest.identity.routes import PREFIX, PROBLEMS, Manager, by_of
from cloud_ingest.identity.tenants import add_tenant, give_group
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

TenantPath = Annotated[str, Path(pattern=CODE_PATTERN, description="Name of the tenant")]
GroupPath = Annotated[
    str, Path(min_length=1, max_length=200, pattern=r"^[^+#/\x00-\x1f\x7f]+$", description="Sparkplug group")
]
OwnAccount = Annotated[Principal, Depends(Needs(Permission.ACCOUNT_OWN))]
Auditor = Annotated[Principal, Depends(Needs(Permission.AUDIT_READ))]
_NUMBER_MAX: Final = (1 << 63) - 1


async def operator(principal: Manager) -> Principal:
    """Who runs the cloud: admins of the first tenant."""
    if principal.tenant_id != audit.TENANT:
        raise RequestRefused(Why.FORBIDDEN, "not_your_tenant", "tenants are made by who runs this installation")
    return principal


Operator = Annotated[Principal, Depends(operator)]


def tenant_routes(database: Database, clock: Clock, issuer: str | None) -> APIRouter:
    """The routes of what a tenant is, has and looks like."""
    api = APIRouter(prefix=PREFIX, tags=["Identity"], responses=PROBLEMS, dependencies=[Depends(only_known_parameters)])
    _add_brand(api, database, clock)
    _add_tenants(api, database, clock, issuer)

    @api.get("/audit")
    async def entries(
        principal: Auditor,
        after: Annotated[int, Query(ge=0, le=_NUMBER_MAX, description="The 'next' of the page before")] = 0,
        limit: Limit = LIMIT,
    ) -> AuditPage:
        """The audit log of the tenant: logins, and who changed what. ``cloud-ingest audit verify`` checks the chain."""
        await check_auditor(principal)
        found: list[AuditAnswer] = []
        seen = TenantDatabase(database, principal.tenant_id)
        async for entry in audit.entries(seen, after, principal.tenant_id):
            if len(found) > limit:
                break
            time = datetime.fromtimestamp(entry.time_ms / 1000, UTC)
            told = (entry.number, time, entry.actor, entry.action, entry.subject, dict(entry.details), entry.hash)
            found.append(AuditAnswer.model_validate(dict(zip(AuditAnswer.model_fields, told, strict=True))))
        shown, following = page(found, limit, lambda one: str(one.number))
        return AuditPage(entries=tuple(shown), next=following)

    return api


async def check_auditor(principal: Principal) -> None:
    """The log is that of the whole tenant, so that a role at one site does not show it."""
    if not principal.may(Permission.AUDIT_READ):
        raise RequestRefused(Why.FORBIDDEN, "not_your_role", "the audit log is for admins of the whole tenant")


def _add_brand(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.get("/brand")
    async def shown(principal: OwnAccount, response: Response) -> BrandAnswer:
        """What the tenant of the asker looks like."""
        async with tenant_session(database, principal.tenant_id) as session:
            brand = await brand_in(session, tenant_id=principal.tenant_id) or Brand("")
        return _branded(brand, response)

    @api.put("/brand")
    async def change(
        principal: Manager, wanted: BrandChange, response: Response, if_match: IfMatch = ""
    ) -> BrandAnswer:
        """Give the tenant a title and colours; an empty text is the product's own."""
        by = by_of(principal, clock)
        async with tenant_transaction(database, principal.tenant_id) as session:
            check_match(if_match, await _locked_brand(session, by.tenant_id))
            await session.execute(
                "UPDATE tenant_brand SET title = $2, primary_color = $3, accent_color = $4, revision = revision + 1, "
                "changed = now() WHERE tenant_id = $1",
                by.tenant_id,
                wanted.title,
                wanted.primary_color,
                wanted.accent_color,
            )
            brand = await brand_in(session, tenant_id=by.tenant_id) or Brand("")
            await audit.tell(session, by.tenant_id, by.deed("brand changed", brand.tenant, **wanted.model_dump()))
        return _branded(brand, response)

    @api.put("/brand/logo", openapi_extra=_IMAGE)
    async def logo(principal: Manager, request: Request, response: Response) -> BrandAnswer:
        """Give the tenant a logo: PNG, JPEG or WebP, at most 100 kB. An empty body takes it away."""
        data = await request.body()
        kind = image_kind(data)
        if data and (kind is None or len(data) > LOGO_BYTES_MAX):
            why = f"a logo is PNG, JPEG or WebP of at most {LOGO_BYTES_MAX} bytes"
            raise RequestRefused(Why.INVALID, "invalid_logo", why)
        by = by_of(principal, clock)
        async with tenant_transaction(database, principal.tenant_id) as session:
            await _locked_brand(session, by.tenant_id)
            await session.execute(
                "UPDATE tenant_brand SET logo = $2, logo_type = $3, revision = revision + 1, changed = now() "
                "WHERE tenant_id = $1",
                by.tenant_id,
                data or None,
                kind,
            )
            brand = await brand_in(session, tenant_id=by.tenant_id) or Brand("")
            await audit.tell(session, by.tenant_id, by.deed("logo changed", brand.tenant, bytes=len(data)))
        return _branded(brand, response)


_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_IMAGE: Final = {
    "requestBody": {"content": dict.fromkeys(("image/png", "image/jpeg", "image/webp"), _BINARY), "required": True}
}


async def _locked_brand(session: Session, tenant_id: int) -> int:
    """The revision of the tenant's brand, which nobody else changes until the end of the transaction."""
    await session.execute(
        "INSERT INTO tenant_brand (tenant_id, revision) VALUES ($1, 0) ON CONFLICT DO NOTHING", tenant_id
    )
    (row,) = await session.fetch("SELECT revision FROM tenant_brand WHERE tenant_id = $1 FOR UPDATE", tenant_id)
    return int(row["revision"])


def _branded(brand: Brand, response: Response) -> BrandAnswer:
    response.headers["ETag"] = etag(brand.revision)
    return BrandAnswer(
        tenant=brand.tenant,
        title=brand.title,
        primary_color=brand.primary_color,
        accent_color=brand.accent_color,
        logo=f"/brand/{brand.tenant}/logo" if brand.has_logo else None,
    )


def _add_tenants(api: APIRouter, database: Database, clock: Clock, issuer: str | None) -> None:
    @api.get("/tenants")
    async def tenants(principal: Operator, after: After = "", limit: Limit = LIMIT) -> TenantPage:  # noqa: ARG001
        """Every tenant, by name, with the Sparkplug groups whose data are its. For who runs the cloud."""
        async with database.session() as session:
            rows = await session.fetch(
                "SELECT name AS tenant, created, coalesce((SELECT array_agg(group_name ORDER BY group_name) "
                "FROM sparkplug_group WHERE sparkplug_group.tenant_id = tenant.tenant_id), '{}') AS groups "
                "FROM tenant WHERE name > $1 ORDER BY name LIMIT $2",
                after,
                limit + 1,
            )
        shown, following = page(rows, limit, lambda row: str(row["tenant"]))
        return TenantPage(tenants=tuple(TenantAnswer.model_validate(dict(row)) for row in shown), next=following)

    @api.post("/tenants", status_code=201)
    async def add(principal: Operator, tenant: NewTenant, key: IdempotencyKey) -> MadeUser:
        """Make a tenant with its first admin, who sets a password by the link. For who runs the cloud."""
        by = by_of(principal, clock)
        secrets: list[str] = []
        async with database.transaction() as session:

            async def make() -> dict[str, str]:
                user_id, secret = await add_tenant(session, by, tenant.tenant, tenant.login, tenant.name)
                secrets.append(secret)
                return {"user": user_id, "login": tenant.login.strip().casefold()}

            made = await once(session, Asked(principal, "identity.tenants", key, tenant.model_dump(mode="json")), make)
        return MadeUser(**made, link=link(issuer, secrets[0]) if secrets and issuer is not None else None)

    @api.put("/tenants/{tenant}/groups/{group}", status_code=204)
    async def give(principal: Operator, tenant: TenantPath, group: GroupPath) -> None:
        """The data of a Sparkplug group that has none yet are the tenant's. For who runs the cloud."""
        async with database.transaction() as session:
            await give_group(session, by_of(principal, clock), tenant, group)
