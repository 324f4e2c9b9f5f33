"""Control charts: limits by the moving range, and the Western Electric rules point by point."""

from __future__ import annotations

import math
import statistics

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.analytics.charts import Proportion, Rule, limits_of, p_chart, signals

BEYOND, TWO, FOUR, EIGHT = Rule.BEYOND_THREE, Rule.TWO_OF_THREE, Rule.FOUR_OF_FIVE, Rule.EIGHT_ON_ONE_SIDE


def test_limits_are_of_the_mean_moving_range() -> None:
    limits = limits_of([10, 12, 11, 13, 10, 12, 11, 13])
    assert limits is not None
    assert limits.center == 11.5
    assert math.isclose(limits.sigma, statistics.mean([2, 1, 2, 3, 2, 1, 2]) / 1.128)
    assert limits_of([1, 2, 3]) is None


def test_each_rule_is_seen_at_the_point_that_breaks_it() -> None:
    assert signals([0.0, 3.1, 0.0]) == [(), (BEYOND,), ()]
    assert signals([2.1, 0.0, 2.2]) == [(), (), (TWO,)]
    assert signals([2.1, 0.0, -2.2]) == [(), (), ()], "both on one side"
    assert signals([1.1, 1.2, -0.5, 1.3, 1.4]) == [(), (), (), (), (FOUR,)]
    assert signals([0.1] * 7 + [0.2]) == [()] * 7 + [(EIGHT,)]
    assert signals([-0.1] * 8)[-1] == (EIGHT,)
    assert signals([0.1] * 7 + [0.0] + [0.1]) == [()] * 9, "a point on the line is on neither side"


def test_a_point_that_is_back_is_no_signal() -> None:
    assert signals([2.1, 2.2, 0.5])[-1] == ()


def test_limits_of_shares_are_wider_for_fewer_pieces() -> None:
    chart = p_chart([Proportion(5, 100)] * 7 + [Proportion(1, 4), Proportion(0, 0)])
    assert chart is not None
    center, sigmas = chart
    assert math.isclose(center, 36 / 704)
    assert math.isclose(sigmas[0], math.sqrt(center * (1 - center) / 100))
    assert sigmas[7] > sigmas[0]
    assert sigmas[8] == 0.0
    assert p_chart([Proportion(5, 100)] * 7) is None


@given(st.lists(st.floats(-5, 5), max_size=40))
def test_the_other_side_up_has_the_same_signals(distances: list[float]) -> None:
    assert signals([-one for one in distances]) == signals(distances)
