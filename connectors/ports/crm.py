"""The port to a system for customer relations (HubSpot, or the one that Lineside brings for demonstration)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from connectors.ports.vendors import Headers


@dataclass(frozen=True, slots=True)
class CrmCustomer:
    """A customer. ``key`` is ours; empty of one that came from the CRM and that we do not know."""

    key: str
    name: str = ""
    email: str = ""
    phone: str = ""
    company: str = ""


@dataclass(frozen=True, slots=True)
class CrmDeal:
    """An order as a deal. ``key`` is the order, ``customer`` the CRM's id of whose it is; ``stage`` the CRM's word."""

    key: str
    name: str
    stage: str
    amount: Decimal
    currency: str
    customer: str = ""


@dataclass(frozen=True, slots=True)
class CrmInteraction:
    """Something that happened with a customer: ``key`` is ours, ``customer`` and ``deal`` the CRM's ids."""

    key: str
    text: str
    time: datetime
    customer: str = ""
    deal: str = ""


@dataclass(frozen=True, slots=True)
class CrmChange:
    """Something that changed in the CRM: one of the three, with the CRM's ``id`` of it."""

    id: str
    changed: datetime
    of: CrmCustomer | CrmDeal | CrmInteraction


class Crm(Protocol):
    """Every coroutine raises ``VendorUnavailable``, ``CallUncertain``, ``CallRefused`` or ``AccessRefused``.

    ``put_customer`` and ``put_deal`` are known by their keys and may be repeated. ``add_interaction`` looks for its own
    key first, as far as the CRM has it by then.
    """

    @property
    def name(self) -> str:
        """Such as ``hubspot``."""
        ...

    async def put_customer(self, customer: CrmCustomer) -> str:
        """Have the CRM know ``customer``; its id there. What is empty stays there as it is."""
        ...

    async def put_deal(self, deal: CrmDeal) -> str:
        """Have the CRM know ``deal``; its id there."""
        ...

    async def add_interaction(self, interaction: CrmInteraction) -> str:
        """Note ``interaction`` there; its id."""
        ...

    async def changes(self, since: datetime) -> Sequence[CrmChange]:
        """What has changed there since, some thousand at most, of each kind the oldest first.

        Whoever asks again begins at the newest ``changed`` that it got, and knows some of it already: nothing that was
        changed before that is missing, of any kind.
        """
        ...

    def news(self, method: str, url: str, body: bytes, headers: Headers, now_s: float) -> Sequence[str]:
        """The ids of a webhook's events: something has changed, ask for it. Raises ``WebhookRefused``."""
        ...

    async def close(self) -> None:
        """Let connections go. Never raises."""
        ...
