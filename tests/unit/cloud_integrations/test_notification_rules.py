"""Which event is told to whom, when, and in which words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cloud_ingest.notifications.rules import (
    GATHER_S,
    WEBHOOK_LONGEST_S,
    Item,
    QuietTimes,
    Rule,
    after_delivery,
    after_quiet,
    due,
    sentence,
    wants,
    words,
)

NOON = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
LONG_AGO = datetime.min.replace(tzinfo=UTC)
ALARM = "lineside.lines.alarm-raised.v1"


def rule(**more: Any) -> Rule:
    return Rule.model_validate({"events": [ALARM], "channel": "chat:ops", **more})


def alarm(**more: Any) -> Item:
    return Item(ALARM, "plant-7/press", "2026-11-29T12:00:00Z", {"site": "plant-7", "line": "press", **more})


@pytest.mark.parametrize(
    ("chosen", "data", "is_told"),
    [
        ({}, {}, True),
        ({"events": ["lineside.lines.*"]}, {}, True),
        ({"events": ["lineside.orders.*"]}, {}, False),
        ({"site": "plant-7"}, {"site": "plant-7"}, True),
        ({"site": "plant-7"}, {"site": "plant-8"}, False),
        ({"site": "plant-7", "line": "press"}, {"site": "plant-7", "line": "oven"}, False),
        ({"priority_min": 3}, {"priority": 3}, True),
        ({"priority_min": 3}, {"priority": "2"}, False),
        ({"priority_min": 3}, {}, False),
    ],
)
def test_a_rule_chooses_events_by_type_place_and_priority(
    chosen: dict[str, Any], data: dict[str, Any], is_told: bool
) -> None:
    assert wants(rule(**chosen), ALARM, data) is is_told


def test_a_flood_is_one_message_as_the_next_one_is_held() -> None:
    chosen = rule(throttle_s=300)
    first, held = due(chosen, NOON, LONG_AGO)
    assert first == NOON + timedelta(seconds=GATHER_S)
    second, _ = due(chosen, first + timedelta(seconds=1), held)
    assert second == held == first + timedelta(seconds=300)


def test_a_digest_gathers() -> None:
    assert due(rule(digest_s=900), NOON, LONG_AGO)[0] == NOON + timedelta(minutes=15)


@pytest.mark.parametrize(
    ("hour", "minute", "expected"),
    [
        (21, 59, datetime(2026, 11, 29, 20, 59, tzinfo=UTC)),
        (22, 0, datetime(2026, 11, 30, 5, 0, tzinfo=UTC)),
        (23, 30, datetime(2026, 11, 30, 5, 0, tzinfo=UTC)),
        (3, 0, datetime(2026, 11, 29, 5, 0, tzinfo=UTC)),
        (6, 0, datetime(2026, 11, 29, 5, 0, tzinfo=UTC)),
    ],
)
def test_quiet_times_go_over_midnight_by_the_plant_s_own_clock(hour: int, minute: int, expected: datetime) -> None:
    quiet = QuietTimes(begin="22:00", end="06:00", zone="Europe/Berlin")
    when = datetime(2026, 11, 29, hour - 1, minute, tzinfo=UTC)  # Berlin is an hour ahead in winter
    assert after_quiet(quiet, when) == expected


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)), st.integers(0, 1439), st.integers(0, 1439))
def test_a_message_never_leaves_in_quiet_times_and_never_a_day_late(when: datetime, begin: int, end: int) -> None:
    times = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in (begin, end)]
    quiet = QuietTimes(begin=times[0], end=times[1])
    leaves = after_quiet(quiet, when.replace(tzinfo=UTC))
    assert timedelta(0) <= leaves - when.replace(tzinfo=UTC) <= timedelta(days=1)
    assert after_quiet(quiet, leaves) == leaves


def test_an_event_is_a_sentence_and_its_text_does_nothing_in_html() -> None:
    item = alarm(text="<script>alert(1)</script> {site.__class__} hot")
    assert sentence(item) == "Alarm on plant-7/press: <script>alert(1)</script> {site.__class__} hot"
    said = words(rule(), "night", [item, item], 25)
    assert said.subject.endswith("(and 24 more)")
    assert "… and 23 more" in said.text
    assert "<script>" not in said.html
    assert "&lt;script&gt;" in said.html


def test_a_subject_of_one_s_own_has_the_event_s_fields_and_nothing_else() -> None:
    said = words(rule(subject="[{site}] {text} {nothing} {"), "night", [alarm(text="hot")], 1)
    assert said.subject == "[plant-7] hot {"


def test_an_event_that_nobody_has_words_for_is_told_by_its_name() -> None:
    item = Item("lineside.orders.return-requested.v1", "A-1", "t", {"reason": "broken"})
    assert sentence(item) == "A-1: return requested broken"


@pytest.mark.parametrize(
    "wrong",
    [
        {"channel": "email"},
        {"recipients": ["a@b.example"]},
        {"channel": "email", "recipients": ["a@b.example, c@d.example"]},
        {"channel": "email", "recipients": ["a@b.example\nBcc: x@y.example"]},
        {"quiet": {"begin": "22:00", "end": "06:00", "zone": "../../etc/passwd"}},
        {"quiet": {"begin": "24:00", "end": "06:00"}},
        {"channel": "pigeon"},
    ],
)
def test_a_rule_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rule(**wrong)


@given(st.integers(1, 100), st.floats(0, 1))
def test_an_endpoint_is_tried_less_and_less_often_and_switched_off_in_the_end(tries: int, jitter: float) -> None:
    assert 0 < after_delivery(tries, 60.0, 3600.0, jitter).wait_s <= WEBHOOK_LONGEST_S
    assert after_delivery(tries, 3600.0, 3600.0, jitter).state == "disabled"


def test_an_endpoint_that_takes_nothing_is_left_alone_longer_and_longer_however_much_waits_for_it() -> None:
    now_s, posts = 0.0, 0
    while (after := after_delivery(1, now_s, 86_400.0, 0.0)).state == "waiting":  # each time another delivery
        now_s, posts = now_s + after.wait_s, posts + 1
    assert now_s >= 86_400
    assert posts < 50
