"""What lines count, as inventory reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.inventory.items import Item
from cloud_ingest.inventory.ledger import Cause
from cloud_ingest.inventory.rules import ZERO, Boms, rounded

BY: Final = "lineside"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Count:
    """What a line has made since it was last said; below zero: what it takes back."""

    tenant_id: int
    number: int
    site: str
    line: str
    product: str
    work_order: str
    good: Decimal
    reject: Decimal
    happened: datetime

    @property
    def cause(self) -> Cause:
        """Of what is booked for it."""
        return Cause(
            BY,
            self.happened,
            work_order=self.work_order,
            product=self.product,
            site=self.site,
            line=self.line,
            event_number=self.number,
        )


def read_count(event: ReadEvent) -> Count | None:
    """The count in an event; ``None`` when it has no product. Raises ``ValueError`` when it cannot be understood.

    What is good in a step that is not the last of its routing goes on to the next step: it is booked when the last one
    has made it. What is rejected there never gets so far, and is booked at once.
    """
    data: Mapping[str, Any] = event.data
    if not data.get("product"):
        return None
    try:
        good, reject = rounded(Decimal(str(data["good"]))), rounded(Decimal(str(data["reject"])))
        happened = _EPOCH + timedelta(microseconds=int(data["end_ns"]) // 1000)
        place = str(data["site"]), str(data["line"])
        if not data.get("is_last", True):
            good = ZERO
    except (KeyError, InvalidOperation, OverflowError, TypeError) as exc:
        raise ValueError(f"not a count of a line: {type(exc).__name__}: {exc}") from exc
    work_order = str(data.get("work_order") or "")
    return Count(event.tenant_id, event.number, *place, str(data["product"]), work_order, good, reject, happened)


@dataclass(frozen=True, slots=True)
class Made:
    """A count with all that booking it needs: its items are locked."""

    count: Count
    items: Mapping[str, Item]
    boms: Boms
    phantoms: frozenset[str]
    components_at: str
    products_to: str


def lot_origin(count: Count) -> str:
    """The lot that is made: that of the work order, or of the line on that day (UTC); serial numbers begin with it."""
    return count.work_order or f"{count.site}.{count.line}.{count.happened:%Y%m%d}"
