"""What can be allowed, and which role has it: the one table by which every route is opened or closed.

Roles follow the people of a plant (ISA-95 part 1, section 5: who plans, who runs, who keeps it up). A role says what
somebody may do, its scope (``principal.Grant``) where.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Permission(StrEnum):
    """What a route needs. The values stand in tokens as scopes (RFC 6749, section 3.3), and stay as they are."""

    DATA_READ = "data:read"
    """Agents, tags, samples, the ledger."""
    COMMANDS_READ = "commands:read"
    COMMANDS_SEND = "commands:send"
    COMMANDS_APPROVE = "commands:approve"
    AGENTS_CONFIGURE = "agents:configure"
    """Device files, releases, enrolment."""
    LINES_READ = "lines:read"
    LINES_MODEL = "lines:model"
    """Sites, areas, lines, cells; which tags mean what; shifts; reason codes."""
    STOPS_CLASSIFY = "stops:classify"
    ALARMS_HANDLE = "alarms:handle"
    WORK_ORDERS_READ = "work-orders:read"
    WORK_ORDERS_PLAN = "work-orders:plan"
    WORK_ORDERS_RUN = "work-orders:run"
    CATALOG_READ = "catalog:read"
    CATALOG_EDIT = "catalog:edit"
    ORDERS_READ = "orders:read"
    """Of a customer: their own alone."""
    ORDERS_PLACE = "orders:place"
    ORDERS_MANAGE = "orders:manage"
    INVENTORY_READ = "inventory:read"
    INVENTORY_BOOK = "inventory:book"
    INVENTORY_EDIT = "inventory:edit"
    """Items, locations, bills of material, reorder points."""
    ANALYTICS_READ = "analytics:read"
    REPORTS_EDIT = "reports:edit"
    LOGS_READ = "logs:read"
    LOGS_WRITE = "logs:write"
    """To bring log lines of agents and machines."""
    WEBHOOKS_EDIT = "webhooks:edit"
    INTEGRATIONS_EDIT = "integrations:edit"
    IDENTITY_MANAGE = "identity:manage"
    AUDIT_READ = "audit:read"
    ACCOUNT_OWN = "account:own"
    """One's own account: password and sessions."""


class Role(StrEnum):
    """Of people and programs."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    """An operator who agrees to what others ask for."""
    ENGINEER = "engineer"
    PLANNER = "planner"
    ADMIN = "admin"
    CUSTOMER = "customer"


_SEE: Final = frozenset(
    {
        Permission.DATA_READ,
        Permission.COMMANDS_READ,
        Permission.LINES_READ,
        Permission.WORK_ORDERS_READ,
        Permission.CATALOG_READ,
        Permission.ORDERS_READ,
        Permission.INVENTORY_READ,
        Permission.ANALYTICS_READ,
        Permission.ACCOUNT_OWN,
    }
)
OPEN: Final = _SEE - {Permission.COMMANDS_READ, Permission.ACCOUNT_OWN}
"""What who shows no token may see, where the gateway is open: commands tell who did what, and need a name."""
_RUN: Final = _SEE | {
    Permission.COMMANDS_SEND,
    Permission.STOPS_CLASSIFY,
    Permission.ALARMS_HANDLE,
    Permission.WORK_ORDERS_RUN,
    Permission.INVENTORY_BOOK,
    Permission.LOGS_READ,
}
PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: _SEE,
    Role.OPERATOR: _RUN,
    Role.APPROVER: _RUN | {Permission.COMMANDS_APPROVE},
    Role.ENGINEER: _RUN
    | {
        Permission.AGENTS_CONFIGURE,
        Permission.LINES_MODEL,
        Permission.CATALOG_EDIT,
        Permission.INVENTORY_EDIT,
        Permission.LOGS_WRITE,
    },
    Role.PLANNER: _SEE
    | {
        Permission.WORK_ORDERS_PLAN,
        Permission.CATALOG_EDIT,
        Permission.ORDERS_PLACE,
        Permission.ORDERS_MANAGE,
        Permission.INVENTORY_BOOK,
        Permission.INVENTORY_EDIT,
        Permission.REPORTS_EDIT,
        Permission.STOPS_CLASSIFY,
    },
    Role.ADMIN: frozenset(Permission),
    Role.CUSTOMER: frozenset(
        {Permission.CATALOG_READ, Permission.ORDERS_READ, Permission.ORDERS_PLACE, Permission.ACCOUNT_OWN}
    ),
}
