"""What the catalog tells on ``lineside.catalog-events.v1``."""

from __future__ import annotations

from typing import Final, Literal

from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.event_log.topics import CATALOG_EVENTS

PRODUCT_CHANGED: Final = "lineside.catalog.product-changed.v1"


def product_changed(
    tenant_id: int, code: str, version: int, state: Literal["published", "withdrawn"], time_ns: int
) -> DomainEvent:
    """What is published of the product ``code`` is another than before, or nothing any more.

    It comes for a new version of the product, and for one of its routing. Who wants to know what it says now asks
    ``catalog.published.product``.
    """
    data = {"product": code, "version": version, "state": state}
    return DomainEvent(CATALOG_EVENTS, PRODUCT_CHANGED, tenant_id, code, time_ns, data)
