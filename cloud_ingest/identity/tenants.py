"""Tenants: made by who runs the cloud; which Sparkplug groups' data are theirs."""

from __future__ import annotations

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from cloud_ingest.identity import people
from cloud_ingest.identity.people import By, Person
from connectors.ports.database import Session


async def tenant_id_of(session: Session, tenant: str) -> int:
    """The id of a tenant by its name. Raises ``RequestRefused``."""
    rows = await session.fetch("SELECT tenant_id FROM tenant WHERE name = $1", tenant)
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_tenant", f"there is no tenant {tenant[:100]!r}")
    return int(rows[0]["tenant_id"])


async def add_tenant(session: Session, by: By, tenant: str, login: str, name: str) -> tuple[str, str]:
    """A tenant with its first admin: the admin's id, and the secret of their link. Audit entries are written.

    In a transaction with the rights of the tables' owner: no tenant makes another one.
    """
    made = await session.fetch(
        "INSERT INTO tenant (name) VALUES ($1) ON CONFLICT (name) DO NOTHING RETURNING tenant_id", tenant
    )
    if not made:
        raise RequestRefused(Why.CONFLICT, "tenant_taken", f"there is a tenant {tenant!r} already")
    tenant_id = int(made[0]["tenant_id"])
    await session.execute("INSERT INTO command_audit_head (tenant_id) VALUES ($1)", tenant_id)
    within = By(tenant_id, by.actor, by.now_ms)
    user_id, secret, deed = await people.add_user(session, within, login, Person(name, (Grant(Role.ADMIN),)))
    await audit.tell(session, audit.TENANT, by.deed("tenant created", tenant))
    await audit.tell(session, tenant_id, deed)
    return user_id, secret


async def give_group(session: Session, by: By, tenant: str, group: str) -> None:
    """The data of a Sparkplug group that nobody has seen yet are the tenant's. The audit entry is written.

    Raises ``RequestRefused`` for one that has data: these would have to move, and what was booked by them.
    """
    tenant_id = await tenant_id_of(session, tenant)
    await session.execute(
        "INSERT INTO sparkplug_group (group_name, tenant_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", group, tenant_id
    )
    (row,) = await session.fetch("SELECT tenant_id FROM sparkplug_group WHERE group_name = $1 FOR UPDATE", group)
    if row["tenant_id"] == tenant_id:
        await audit.tell(session, audit.TENANT, by.deed("group given", group, tenant=tenant))
        return
    if await session.fetch(
        "SELECT FROM agent WHERE group_name = $1 "
        "UNION ALL SELECT FROM agent_key WHERE split_part(agent, '/', 1) = $1 LIMIT 1",
        group,
    ):
        why = f"agents of the group {group!r} have delivered or were enrolled for another tenant, whose they stay"
        raise RequestRefused(Why.CONFLICT, "group_in_use", why)
    await session.execute("UPDATE sparkplug_group SET tenant_id = $2 WHERE group_name = $1", group, tenant_id)
    await audit.tell(session, audit.TENANT, by.deed("group given", group, tenant=tenant))
