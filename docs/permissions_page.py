"""``reference/permissions.md``: every route of the real gateway, and which role may ask it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry

from cloud_ingest.access.permissions import OPEN, PERMISSIONS, Permission, Role
from cloud_ingest.config import CloudConfig
from cloud_ingest.gateway.route_table import PUBLIC, RouteNeeds, routes_of
from cloud_ingest.gateway.rpc.method_table import METHODS, RpcMethod
from cloud_ingest.observability.obstacles import Obstacles
from cloud_ingest.platform import make_gateway

PERMISSIONS_PAGE: Final = Path(__file__).parent / "reference" / "permissions.md"
_HEAD: Final = """\
# Who may ask what

Made from the routes, from the table of gRPC's methods and from `cloud_ingest/access/permissions.py` by `make
generated`; tests ask every route and every method with every role.

A role holds everywhere, at one site, or on one line; "yes" means: where it holds. A customer sees and places their own
orders only. "Open": who shows no token may ask, where [`gateway.login`](api.md#who-asks) leaves that open. What is for
the agent itself (`POST /api/v1/commands`, `SendCommand`; [actions](commands-api.md#for-the-agent-itself)) needs
`agents:configure`.
"""


def whole_gateway() -> list[RouteNeeds]:
    """The routes of the gateway with all parts; nothing of it is run."""
    config = CloudConfig.model_validate(
        {"ingest": {"brokers": ["mqtt://127.0.0.1"], "insecure": True}, "database": {"insecure": True}}
    )
    nothing: Any = None
    return routes_of(make_gateway(config, nothing, CollectorRegistry(), Obstacles()))


def page() -> str:
    """The page, as Markdown."""
    roles = list(Role)
    names = " | ".join(role.value for role in roles)
    lines = "---|" * (len(roles) + 4)
    parts = [_HEAD, f"\n## Routes\n\n| method | route | needs | open | {names} |\n|{lines}\n"]
    parts += [_row(route, roles) for route in whole_gateway()]
    parts += [f"\n## gRPC\n\n| method | needs | open | {names} |\n|{'---|' * (len(roles) + 3)}\n"]
    parts += [_rpc_row(method, roles) for method in METHODS]
    parts += [f"\n## Permissions\n\n| permission | open | {names} |\n|{'---|' * (len(roles) + 2)}\n"]
    parts += [
        f"| `{permission.value}` | {_yes(permission in OPEN)} | "
        + " | ".join(_yes(permission in PERMISSIONS[role]) for role in roles)
        + " |\n"
        for permission in Permission
    ]
    parts += ["\n## Routes for everybody\n\n| route | why |\n|---|---|\n"]
    parts += [f"| `{path}` | {why} |\n" for path, why in sorted(PUBLIC.items())]
    return "".join(parts)


def _row(route: RouteNeeds, roles: list[Role]) -> str:
    needs = ", ".join(f"`{permission.value}`" for permission in route.permissions) or "nothing"
    allowed = " | ".join(_yes(route.allows(role)) for role in roles)
    return f"| {route.method} | `{route.path}` | {needs} | {_yes(route.is_open)} | {allowed} |\n"


def _rpc_row(method: RpcMethod, roles: list[Role]) -> str:
    allowed = " | ".join(_yes(method.permission in PERMISSIONS[role]) for role in roles)
    return f"| `{method.path}` | `{method.permission.value}` | {_yes(method.permission in OPEN)} | {allowed} |\n"


def _yes(allowed: bool) -> str:
    return "yes" if allowed else ""
