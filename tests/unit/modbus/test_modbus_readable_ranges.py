"""All that can be read is found, whatever a unit refuses and however long its reads may be, with few reads."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from connectors.modbus.readable_ranges import SILENT, SILENT_MAX, RangeSearch

LAST = 299


class Table:
    """Some addresses can be read, with reads that are not too long; others get ``code``."""

    def __init__(self, readable: set[int], code: int = 2, longest: int = 125) -> None:
        self._readable, self._code, self._longest = readable, code, longest
        self.reads: list[tuple[int, int]] = []

    async def ask(self, at: int, count: int) -> int:
        self.reads.append((at, count))
        if count > self._longest:
            return 3
        return 0 if all(each in self._readable for each in range(at, at + count)) else self._code


def found(table: Table, *, step: int = 1, last: int = LAST) -> tuple[list[tuple[int, int]], RangeSearch]:
    search = RangeSearch(table.ask, 0, last, step, 125)
    return asyncio.run(search.run()), search


def ranges_of(addresses: set[int]) -> list[tuple[int, int]]:
    firsts = sorted(each for each in addresses if each - 1 not in addresses)
    lasts = sorted(each for each in addresses if each + 1 not in addresses)
    return list(zip(firsts, lasts, strict=True))


@given(
    st.sets(st.integers(0, LAST)) | st.lists(st.tuples(st.integers(0, LAST), st.integers(1, 90)), max_size=4),
    st.integers(1, 125),
)
def test_every_address_that_can_be_read_is_found_when_each_is_tried(
    drawn: set[int] | list[tuple[int, int]], longest: int
) -> None:
    if isinstance(drawn, list):
        drawn = {at for first, count in drawn for at in range(first, min(LAST + 1, first + count))}
    found_ranges, search = found(Table(drawn, longest=longest))
    assert found_ranges == ranges_of(drawn)
    assert search.left_at is None


def test_a_range_is_found_whole_though_only_some_addresses_are_tried() -> None:
    table = Table(set(range(95, 160)) | {200})
    assert found(table, step=10)[0] == [(95, 159), (200, 200)]
    assert len(table.reads) < 60


def test_a_unit_that_answers_short_reads_only_is_asked_no_longer_ones_once_that_is_known() -> None:
    table = Table(set(range(LAST + 1)), longest=32)
    ranges, search = found(table)
    assert (ranges, search.count_max) == ([(0, LAST)], 32)
    assert len(table.reads) < 30


def test_a_table_that_the_unit_does_not_have_costs_one_read() -> None:
    table = Table(set(), code=1)
    assert found(table)[0] == []
    assert table.reads == [(0, 1)]


def test_a_unit_that_gives_no_answer_for_what_it_has_not_is_not_waited_for_for_ever() -> None:
    table = Table({0, 1}, code=SILENT)
    ranges, search = found(table, step=10)
    assert ranges == [(0, 1)]
    assert search.left_at is not None
    assert len(table.reads) <= 10 + SILENT_MAX
