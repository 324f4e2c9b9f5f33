"""Scaled values are the numbers that a person works out on paper, and go back to the raw ones."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from connectors.model.datatypes import DataType
from connectors.model.raw_values import raw_number
from connectors.model.scaling import Ratio, ratio_of

WRITTEN = st.decimals(-10_000, 10_000, places=5).map(str)


@given(st.integers(-(2**31), 2**32), WRITTEN, WRITTEN)
@example(28, "0.1", "0")
@example(65_535, "-0.001", "-273.15")
@example(7, "1e-7", "0.1")
@example(3, "1e12", "0.5")
def test_a_scaled_value_is_the_double_next_to_what_paper_says(raw: int, scale: str, offset: str) -> None:
    assume(float(scale))
    ratio = ratio_of(float(scale), float(offset))
    assume(abs(raw * int(ratio.factor)) + abs(int(ratio.addend)) <= 2**53)
    assert ratio.scaled(raw) == float(raw * Fraction(scale) + Fraction(offset))


@pytest.mark.parametrize(
    ("raw", "scale", "offset", "shown"),
    [
        (28, 0.1, 0, "2.8"),
        (3, 0.1, 0, "0.3"),
        (1005, 0.001, 0, "1.005"),
        (321, 0.1, -40, "-7.9"),
        (-1, 0.1, 0.1, "0.0"),
        (0, -0.1, 0, "0.0"),
        (28.0, 0.1, 0, "2.8"),
        (123_456_789, 0.01, 0, "1234567.89"),
    ],
)
def test_what_is_shown_has_no_digits_that_nobody_wrote(raw: float, scale: float, offset: float, shown: str) -> None:
    assert repr(ratio_of(scale, offset).scaled(raw)) == shown


@pytest.mark.parametrize(
    ("scale", "offset"), [(1 / 3, 0.0), (0.1, 1 / 3), (1e300, 0.5), (1e-30, 0.0), (5e-324, 1.7e308), (0.1, 1e16)]
)
def test_numbers_that_no_person_wrote_or_that_are_not_exact_stay_as_they_are(scale: float, offset: float) -> None:
    assert ratio_of(scale, offset) == Ratio(scale, offset, 1.0)


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.sampled_from([0.1, 0.01, -0.001, 2.5, 0.00048829615, 1 / 3]),
    st.sampled_from([0.0, -40.0, 273.15]),
)
def test_what_was_read_is_written_as_it_was(raw: int, scale: float, offset: float) -> None:
    value = ratio_of(scale, offset).scaled(raw)
    assert raw_number(value, DataType.INT32, scale=scale, offset=offset) == raw
    assert raw_number(np.float64(value), DataType.INT32, scale=scale, offset=offset) == raw


def test_a_float_is_written_as_the_number_that_stands_there() -> None:
    assert raw_number(2.8, DataType.DOUBLE, scale=0.1) == 28.0
    assert raw_number(0.3, DataType.DOUBLE, scale=0.1) == 3.0
