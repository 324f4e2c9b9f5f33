"""A clock that differs from the host's is told once, and again when it changes or is right."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from edge_agent.observability.metrics import CLOCK_ERROR_SECONDS
from edge_agent.uplink.host_clock import LOOKS, HostClock

NOW_MS = 1_795_000_000_000


def told(clock: HostClock, error_ms: int, times: int = LOOKS) -> list[str]:
    with capture_logs() as lines:
        for _ in range(times):
            clock.heard(NOW_MS - error_ms, NOW_MS)
    return [line["event"] for line in lines]


def test_a_difference_is_told_once_and_when_it_is_gone() -> None:
    clock = HostClock()
    assert told(clock, 300) == []
    assert clock.error_s == pytest.approx(0.3)
    assert told(clock, -3_600_000) == ["clock_differs"]
    assert clock.error_s == -3600.0
    assert CLOCK_ERROR_SECONDS._value.get() == -3600.0
    assert told(clock, -3_600_500) == [], "it is the same"
    assert told(clock, 7_200_000) == ["clock_differs"]
    assert told(clock, 0) == ["clock_agrees"]


def test_one_acknowledgement_that_was_held_up_says_nothing_of_the_clock() -> None:
    clock = HostClock()
    assert told(clock, 100) == []
    assert told(clock, 60_000, times=LOOKS - 1) == []
    assert clock.error_s == pytest.approx(0.1)


def test_too_few_acknowledgements_and_those_without_a_time_say_nothing() -> None:
    clock = HostClock()
    clock.heard(0, NOW_MS)
    assert told(clock, 9000, times=LOOKS - 1) == []
    assert clock.error_s is None
