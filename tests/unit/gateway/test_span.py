"""Which time is asked for: what is refused, and what is meant unless it is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from cloud_ingest.access.span import QuestionInvalid, asked_bucket, asked_span

EIGHT = datetime(2026, 11, 22, 8, tzinfo=UTC)


def test_an_hour_is_meant_unless_it_is_said() -> None:
    assert asked_span(None, EIGHT) == (EIGHT - timedelta(hours=1), EIGHT)
    before = datetime.now(UTC)
    start, stop = asked_span(None, None)
    assert before <= stop <= datetime.now(UTC)
    assert stop - start == timedelta(hours=1)


def test_any_zone_will_do() -> None:
    there = datetime(2026, 11, 22, 9, tzinfo=timezone(timedelta(hours=1)))
    assert asked_span(there, EIGHT) == (EIGHT, EIGHT)


@pytest.mark.parametrize(
    ("begin", "end", "why"),
    [
        (EIGHT.replace(tzinfo=None), EIGHT, "need a time zone"),
        (None, EIGHT.replace(tzinfo=None), "need a time zone"),
        (EIGHT + timedelta(seconds=1), EIGHT, "'from' is later than 'to'"),
        (None, datetime(1, 1, 1, tzinfo=UTC), "'to' is too early"),
    ],
)
def test_a_span_that_cannot_be_meant_is_refused(begin: datetime | None, end: datetime, why: str) -> None:
    with pytest.raises(QuestionInvalid, match=why):
        asked_span(begin, end)


@pytest.mark.parametrize("text", ["soon", "60", "0s", "99999999d"])
def test_an_interval_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(QuestionInvalid, match="bucket: "):
        asked_bucket(text)
    assert asked_bucket("5m") == 300.0
