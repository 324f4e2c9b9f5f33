"""How samples are gathered into intervals, as SQL: the same for rollups and for whoever counts samples themselves."""

from __future__ import annotations

from typing import Final

NUMBER_MAX: Final = "1e300"
"""Beyond it a sum could overflow, which PostgreSQL makes an error."""

COLUMNS: Final = "samples, good, numbers, total, low, high, first_time, first_value, last_time, last_value"
"""What an interval has, in the order of ``OF_SAMPLES`` and ``OF_INTERVALS``."""

NUMBERED: Final = (
    "quality >> 14 = 0 AS good, CASE WHEN quality >> 14 = 0 AND abs(coalesce(value_double, value_int::float8, "
    f"value_bool::int::float8)) < {NUMBER_MAX} THEN coalesce(value_double, value_int::float8, value_bool::int::float8) "
    "END AS number"
)
"""Two columns of a sample: whether it is good, and its number, if it is a good and finite one."""

OF_SAMPLES: Final = (
    "count(*) AS samples, count(*) FILTER (WHERE good) AS good, count(number) AS numbers, sum(number) AS total, "
    "min(number) AS low, max(number) AS high, "
    "min(time) FILTER (WHERE number IS NOT NULL) AS first_time, "
    "(array_agg(number ORDER BY time) FILTER (WHERE number IS NOT NULL))[1] AS first_value, "
    "max(time) FILTER (WHERE number IS NOT NULL) AS last_time, "
    "(array_agg(number ORDER BY time DESC) FILTER (WHERE number IS NOT NULL))[1] AS last_value"
)
"""The columns of an interval from rows with ``time`` and ``NUMBERED``."""

OF_INTERVALS: Final = (
    "sum(samples)::bigint AS samples, sum(good)::bigint AS good, sum(numbers)::bigint AS numbers, "
    "sum(total) AS total, min(low) AS low, max(high) AS high, min(first_time) AS first_time, "
    "(array_agg(first_value ORDER BY first_time) FILTER (WHERE first_time IS NOT NULL))[1] AS first_value, "
    "max(last_time) AS last_time, "
    "(array_agg(last_value ORDER BY last_time DESC) FILTER (WHERE last_time IS NOT NULL))[1] AS last_value"
)
"""The columns of an interval from those of its parts."""
