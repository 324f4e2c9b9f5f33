"""Times as the API has them, nanoseconds of Unix time, and as the database has them. Exact: no float is in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.span import SPAN_UNLESS_SAID

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def ns_of(time: datetime) -> int:
    """The nanoseconds of ``time``; within those of int64 (1677 to 2262), where it is not, the nearest."""
    ns = (time - EPOCH) // _MICROSECOND * 1000
    return min(max(ns, -(1 << 63)), (1 << 63) - 1)


def time_of(ns: int) -> datetime:
    """The first time, by microseconds, that is not before ``ns``: so ``from <= time < to`` means the same in both."""
    return EPOCH + -(-ns // 1000) * _MICROSECOND


def asked_span(from_ns: int | None, to_ns: int | None, span_max: timedelta | None = None) -> tuple[datetime, datetime]:
    """From when to when: up to now, and an hour long, unless said otherwise. Raises ``RequestRefused``."""
    stop = datetime.now(UTC) if to_ns is None else time_of(to_ns)
    start = stop - SPAN_UNLESS_SAID if from_ns is None else time_of(from_ns)
    if start > stop:
        raise RequestRefused(Why.INVALID, "span_reversed", "from_ns is later than to_ns")
    if span_max is not None and stop - start > span_max:
        why = f"from_ns and to_ns are more than {span_max.days} days apart: ask for less at a time"
        raise RequestRefused(Why.INVALID, "span_too_long", why)
    return start, stop
