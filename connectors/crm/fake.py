"""Customer relations that are built in: for the demonstration, and for tests of what a CRM remembers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from connectors.ports.clock import Clock
from connectors.ports.crm import CrmChange, CrmCustomer, CrmDeal, CrmInteraction
from connectors.ports.vendors import Headers, VendorMemory, WebhookRefused

_INDEX: Final = "crm"


class FakeCrm:
    """See ``Crm``. ``edit`` is what a person does in it."""

    name = "fake"

    def __init__(self, memory: VendorMemory, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock

    async def put_customer(self, customer: CrmCustomer) -> str:
        """See ``Crm``."""
        said = {"name": customer.name, "email": customer.email, "phone": customer.phone, "company": customer.company}
        return await self.edit("customer", customer.key, {name: value for name, value in said.items() if value})

    async def put_deal(self, deal: CrmDeal) -> str:
        """See ``Crm``."""
        said = {"name": deal.name, "stage": deal.stage, "amount": str(deal.amount), "currency": deal.currency}
        return await self.edit("deal", deal.key, {**said, "customer": deal.customer})

    async def add_interaction(self, interaction: CrmInteraction) -> str:
        """See ``Crm``."""
        said = {"text": interaction.text, "customer": interaction.customer, "deal": interaction.deal}
        return await self.edit("interaction", interaction.key, said)

    async def edit(self, kind: str, key: str, said: dict[str, str]) -> str:
        """Change one thing in it; its id."""
        now_ns = self._clock.now_ns()
        made = f"{kind}_{hashlib.sha256(key.encode()).hexdigest()[:12]}"

        def put(known: dict[str, Any] | None) -> dict[str, Any]:
            book = known or {}
            old = book.get(made, {})
            if {**old, **said} == old:
                return book
            return {**book, made: {**old, **said, "kind": kind, "key": key, "changed_ns": now_ns}}

        await self._memory.change(_INDEX, put)
        return made

    async def changes(self, since: datetime) -> Sequence[CrmChange]:
        """See ``Crm``."""
        book = await self._memory.get(_INDEX) or {}
        found = []
        for made, one in book.items():
            changed = datetime.fromtimestamp(one["changed_ns"] / 1e9, UTC)
            if changed >= since:
                found.append(CrmChange(made, changed, _content(one, changed)))
        return sorted(found, key=lambda change: change.changed)

    def news(self, method: str, url: str, body: bytes, headers: Headers, now_s: float) -> Sequence[str]:  # noqa: ARG002
        """See ``Crm``: it sends no webhooks."""
        raise WebhookRefused("the built-in CRM sends no webhooks")

    async def close(self) -> None:
        """See ``Crm``."""


def _content(one: dict[str, Any], changed: datetime) -> CrmCustomer | CrmDeal | CrmInteraction:
    match one["kind"]:
        case "customer":
            more = {name: one.get(name, "") for name in ("name", "email", "phone", "company")}
            return CrmCustomer(one["key"], **more)
        case "deal":
            amount = Decimal(one.get("amount") or 0)
            return CrmDeal(one["key"], one.get("name", ""), one.get("stage", ""), amount, one.get("currency", ""))
        case _:
            return CrmInteraction(one["key"], one.get("text", ""), changed, one.get("customer", ""))
