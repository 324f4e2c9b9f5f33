"""A product is made by the last step of its routing: what the steps before it count is not booked twice."""

from __future__ import annotations

from decimal import Decimal

from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.inventory.counts import read_count
from cloud_ingest.lines.events import Counted, LineKey, counted


def test_of_a_step_before_the_last_one_the_rejects_alone_are_booked() -> None:
    for is_last, good in ((True, 8), (False, 0)):
        told = counted(
            LineKey(1, "plant", "press"), Counted(0, 10**9, Decimal(8), Decimal(2), "P", "WO-1", False, is_last)
        )
        read = read_count(ReadEvent(1, told.type, 1, told.key, told.time_ns, told.data))
        assert read is not None
        assert (read.good, read.reject) == (Decimal(good), Decimal(2))
