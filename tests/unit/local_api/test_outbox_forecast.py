"""How long until the outbox is full or drained is the present rate carried on, and nothing is said without one."""

from __future__ import annotations

import pytest

from edge_agent.local_api.forecast import SPAN_S_MAX, STEP_S, Forecast, OutboxForecast


def observed(seconds: int, *, used: int = 0, waiting: int = 0, grows: int = 0, more: int = 0) -> OutboxForecast:
    forecast = OutboxForecast()
    for at in range(0, seconds + 1, 2):
        forecast.observe(at, used_bytes=used + at * grows, waiting=waiting + at * more, is_delivering=False)
    return forecast


def test_an_outage_says_when_samples_give_way() -> None:
    found = observed(60, used=1_000, grows=100, more=5).at(room_bytes=360_000)
    assert (found.full_s, found.drained_s, found.measured_s) == (3600.0, None, 60.0)
    assert (found.bytes_per_s, found.waiting_per_s) == (100.0, 5.0)


def test_catching_up_says_when_it_is_done() -> None:
    found = observed(60, used=10_000_000, waiting=1_000, grows=-100, more=-10).at(room_bytes=1)
    assert (found.full_s, found.drained_s) == (None, 40.0)


def test_nothing_waiting_is_drained_now() -> None:
    assert observed(30, used=5_000).at(room_bytes=9_000) == Forecast(30.0, None, 0.0)


def test_a_rate_of_a_few_seconds_says_nothing_yet() -> None:
    assert observed(8, grows=1_000_000).at(room_bytes=1) == Forecast(0.0)
    assert OutboxForecast().at(room_bytes=1) == Forecast(0.0)


def test_a_full_outbox_is_full_now_and_not_in_the_past() -> None:
    assert observed(20, grows=1).at(room_bytes=-5).full_s == 0.0


def test_what_takes_longer_than_ten_years_does_not_happen_at_this_rate() -> None:
    assert observed(20, grows=1).at(room_bytes=10**12).full_s is None


def test_what_was_before_the_uplink_came_or_went_says_nothing() -> None:
    forecast = observed(100, used=0, grows=1000, more=100)
    for at in range(102, 114, 2):
        forecast.observe(at, used_bytes=0, waiting=12_000 - 100 * at, is_delivering=True)
    found = forecast.at(room_bytes=1_000_000)
    assert (found.measured_s, found.full_s) == (10.0, None)
    assert found.drained_s == pytest.approx((12_000 - 11_200) / 100)


def test_no_more_than_the_last_minutes_are_kept() -> None:
    assert observed(10_000, grows=1).at(room_bytes=1).measured_s == SPAN_S_MAX
    assert len(observed(10_000)._looks) == SPAN_S_MAX / STEP_S + 1
