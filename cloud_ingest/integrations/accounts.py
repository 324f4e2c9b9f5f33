"""Whose account at a vendor is used: a tenant's own, where the settings name one, or else the one of all.

An account is known by the name of the tenant that has it, and the one of all by an empty name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from connectors.ports.crm import Crm
from connectors.ports.database import Session
from connectors.ports.payments import PaymentGateway
from connectors.ports.shipping import Shipping

OF_ALL: Final = ""


@dataclass(frozen=True, slots=True)
class Vendors:
    """The vendors that settings name, for all or for one tenant."""

    payments: PaymentGateway | None = None
    shipping: Shipping | None = None
    crm: Crm | None = None

    def has(self, port: str) -> bool:
        """Whether one of them is behind ``port``."""
        return getattr(self, port) is not None


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose payments, shipments and customers an account can tell of: never those of a tenant with another one."""

    account: str = OF_ALL
    others: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, list[str]]:
        """For ``reached``."""
        return self.account, list(self.others)


EVERYBODY: Final = Reach()
"""Where no tenant has an account of its own."""


def reached(first: int) -> str:
    """An SQL condition on the table ``tenant``; its parameters ``$first`` and the next one are ``Reach.arguments``."""
    return f"(tenant.name = ${first} OR (${first} = '' AND tenant.name <> ALL(${first + 1}::text[])))"


class Accounts:
    """``shared`` is of all; ``own`` are those of tenants, by their names."""

    def __init__(self, shared: Vendors, own: Mapping[str, Vendors] | None = None) -> None:
        self.shared = shared
        self.own = own or {}

    async def of(self, session: Session, tenant_id: int) -> Vendors:
        """The vendors that a tenant uses."""
        if not self.own:
            return self.shared
        mine = self.own.get(await tenant_name(session, tenant_id), Vendors())
        return Vendors(
            mine.payments or self.shared.payments, mine.shipping or self.shared.shipping, mine.crm or self.shared.crm
        )

    def at(self, account: str) -> Vendors:
        """The vendors at which ``account`` is one; none where nobody has such an account."""
        return self.shared if account == OF_ALL else self.own.get(account, Vendors())

    def reach(self, account: str, port: str) -> Reach:
        """Whom ``account`` can tell of."""
        return Reach(account, () if account else self.with_own(port))

    def with_own(self, port: str) -> tuple[str, ...]:
        """The tenants with an account of their own at a vendor."""
        return tuple(sorted(name for name, vendors in self.own.items() if vendors.has(port)))


async def tenant_name(session: Session, tenant_id: int) -> str:
    """The name of a tenant that exists."""
    (row,) = await session.fetch("SELECT name FROM tenant WHERE tenant_id = $1", tenant_id)
    return str(row["name"])


async def account_tenant(session: Session, account: str) -> int | None:
    """The tenant that has ``account``, ``None`` before it is there; the first one, who runs it all, has that of all."""
    if account == OF_ALL:
        return 1
    rows = await session.fetch("SELECT tenant_id FROM tenant WHERE name = $1", account)
    return int(rows[0]["tenant_id"]) if rows else None
