"""Scale and offset as the decimal numbers that a device file has: ``raw * scale + offset``, rounded once.

A tenth is no number of a computer, and 28 times the one that is next to it is 2.8000000000000003. As whole numbers,
``(28 * 1 + 0) / 10``, only the division rounds, and correctly (IEEE 754-2019, 4.3): the result is the double next to
the exact one, 2.8, while ``raw * factor + addend`` is exact, which it is up to 2**53.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final

DIGITS_MAX: Final = 15
"""So many significant digits a double keeps (DBL_DIG of C11, 5.2.4.2.2): what was written is known."""
_EXACT_MAX: Final = 2**53


@dataclass(frozen=True, slots=True)
class Ratio:
    """Scale and offset as ``(raw * factor + addend) / divisor``: whole numbers, where these are exact."""

    factor: float
    addend: float
    divisor: float

    def scaled(self, raw: float) -> float:
        """``raw`` in engineering units: the same, to the last bit, as the three columns make of it in NumPy."""
        return (float(raw) * self.factor + self.addend) / self.divisor

    def raw_of(self, value: int | float) -> Fraction:
        """The number that is scaled to ``value``, taken as the decimal number that it is shown as; exact."""
        shown = Fraction(float.__repr__(value)) if isinstance(value, float) else Fraction(value)
        return (shown * Fraction(self.divisor) - Fraction(self.addend)) / Fraction(self.factor)


@lru_cache(1024)  # thousands of tags have the same few
def ratio_of(scale: float, offset: float) -> Ratio:
    """Scale and offset, both finite and ``scale`` not 0, in the least whole numbers.

    What has more than ``DIGITS_MAX`` digits was computed somewhere, and what is very large or small has no such numbers
    that are exact: both stay as they are, with the divisor 1.
    """
    written = [Decimal(repr(number)) for number in (scale, offset)]
    if all(len(number.normalize().as_tuple().digits) <= DIGITS_MAX for number in written):
        factor, addend = (Fraction(number) for number in written)
        divisor = math.lcm(factor.denominator, addend.denominator)
        whole = [int(factor * divisor), int(addend * divisor), divisor]
        if all(abs(number) <= _EXACT_MAX for number in whole):
            return Ratio(*map(float, whole))
    return Ratio(scale, offset, 1.0)
