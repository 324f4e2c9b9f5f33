"""Which time is asked for: the same rules for the API and for ``cloud-ingest query``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from connectors.ports.settings import parse_duration

SPAN_UNLESS_SAID: Final = timedelta(hours=1)
BUCKET_S_MIN: Final = 0.001
BUCKET_S_MAX: Final = 10_000 * 86_400.0


class QuestionInvalid(ValueError):
    """A question that cannot be understood, in a sentence."""


def asked_span(begin: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """From when to when: up to now, and an hour long, unless said otherwise. Raises ``QuestionInvalid``.

    A time without a zone is refused. It could be that of the plant, of the person who asks, or UTC, and a wrong guess
    would give an answer that looks right.
    """
    stop = end or datetime.now(UTC)
    if stop.tzinfo is None or (begin is not None and begin.tzinfo is None):
        raise QuestionInvalid("'from' and 'to' need a time zone, such as 2026-11-22T08:00:00Z")
    try:
        start = begin or stop - SPAN_UNLESS_SAID
    except OverflowError as exc:
        raise QuestionInvalid("'to' is too early") from exc
    try:
        start, stop = start.astimezone(UTC), stop.astimezone(UTC)
    except OverflowError as exc:
        raise QuestionInvalid("'from' or 'to' is beyond the calendar, which goes from year 1 to 9999 in UTC") from exc
    if start > stop:
        raise QuestionInvalid("'from' is later than 'to'")
    return start, stop


def asked_bucket(text: str) -> float:
    """The seconds in an interval such as ``1m``. Raises ``QuestionInvalid``."""
    try:
        bucket_s = parse_duration(text)
    except ValueError as exc:
        raise QuestionInvalid(f"bucket: {exc}") from exc
    if not BUCKET_S_MIN <= bucket_s <= BUCKET_S_MAX:
        raise QuestionInvalid(f"bucket: {text} is not between 1ms and {BUCKET_S_MAX / 86_400:g}d")
    return bucket_s
