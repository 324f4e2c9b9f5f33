"""Which table a sample goes to: the partition of its day, or the default one for any other time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_ingest.historian.partitions import DAY_US, DEFAULT_TABLE, Partitions, day_of, table_of
from cloud_ingest.historian.sample_rows import SampleRows
from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch

TODAY = 20_780
NS_PER_DAY = DAY_US * 1000
TIMES_NS = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.builds(
        lambda day, ns: (TODAY + day) * NS_PER_DAY + ns,
        st.integers(-3, 3),
        st.sampled_from([0, 1, 999, NS_PER_DAY - 1, NS_PER_DAY // 2]),
    ),
)


class FixedClock:
    def now_ns(self) -> int:
        return TODAY * NS_PER_DAY + 3_600 * 10**9

    def monotonic_s(self) -> float:
        return 0.0


class Untouched:
    """A database that must not be asked."""


def partitions(days: set[int], retention_days: int = 400) -> Partitions:
    nothing: Any = Untouched()
    made = Partitions(nothing, FixedClock(), retention_days)
    made._days = days
    return made


def rows_of(times_ns: list[int]) -> SampleRows:
    count = len(times_ns)
    batch = SampleBatch(
        DataType.INT64, np.arange(count, dtype=np.int32), np.array(times_ns, np.int64), np.arange(count, dtype=np.int64)
    )
    return SampleRows.of(1, batch)


@settings(deadline=None)
@given(st.lists(st.lists(TIMES_NS, min_size=1, max_size=8), max_size=4), st.sets(st.integers(TODAY - 3, TODAY + 3)))
def test_every_sample_goes_to_the_table_of_its_day_once(parts: list[list[int]], days: set[int]) -> None:
    found = partitions(days).split([rows_of(times) for times in parts])
    where: dict[tuple[int, int], int] = {}
    for table, pieces in found.items():
        for piece in pieces:
            assert len(piece.batch) > 0
            for time_us, time_ns in zip(piece.time_us.tolist(), piece.batch.time_ns.tolist(), strict=True):
                day = time_us // DAY_US
                assert time_us == time_ns // 1000
                assert table == (table_of(day) if day in days else DEFAULT_TABLE)
                where[time_ns, time_us] = where.get((time_ns, time_us), 0) + 1
    assert sum(where.values()) == sum(map(len, parts))
    assert {time_ns for time_ns, _ in where} == {time for times in parts for time in times}


async def test_nothing_is_made_for_times_that_have_a_table_or_get_none() -> None:
    known = {TODAY - 1, TODAY, TODAY + 1}
    outside = [-(1 << 63), 0, (TODAY - 401) * NS_PER_DAY, (TODAY + 2) * NS_PER_DAY, (1 << 63) - 1]
    inside = [(TODAY - 1) * NS_PER_DAY, (TODAY + 2) * NS_PER_DAY - 1]
    await partitions(known).ensure([rows_of(outside), rows_of(inside), rows_of(outside + inside)])


@pytest.mark.parametrize("day", [-400, -1, 1])
async def test_a_day_within_retention_and_up_to_tomorrow_is_asked_for(day: int) -> None:
    with pytest.raises(AttributeError, match="transaction"):
        await partitions({TODAY}).ensure([rows_of([(TODAY + day) * NS_PER_DAY])])


@given(st.integers(-106_752, 106_752))
def test_a_partition_is_named_after_its_day(day: int) -> None:
    """Source times are nanoseconds in 64 bits: 1677 to 2262."""
    table = table_of(day)
    assert day_of(table) == day
    assert table == "sample_" + datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y%m%d")
