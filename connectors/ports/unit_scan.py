"""What a scan of a bus finds: which units answer, and where they have something to read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadableRange:
    """Addresses from ``first`` to ``last`` of a table, counted from 0, and what the first of them hold now."""

    table: str
    first: int
    last: int
    values: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundUnit:
    """A unit that answers. ``registers_max``: the largest read that it answers, where that is less than 125.

    ``remarks``: sentences on what could not be found out.
    """

    unit_id: int
    ranges: tuple[ReadableRange, ...] = ()
    registers_max: int | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """What to look for: unit ids, tables, addresses from ``first`` to ``last``.

    Of addresses that cannot be read only every ``step``-th is tried: what a unit has begins at round numbers as a rule.
    """

    unit_ids: tuple[int, ...]
    tables: tuple[str, ...] = ("holding", "input", "coil", "discrete")
    first: int = 0
    last: int = 9999
    step: int = 10


@dataclass(frozen=True, slots=True)
class ScanFindings:
    """``units`` by their ids. ``ignores_ids``: every id was answered, as by a single device that does not look at it.

    Then only the first one was looked into.
    """

    units: tuple[FoundUnit, ...]
    ignores_ids: bool = False
