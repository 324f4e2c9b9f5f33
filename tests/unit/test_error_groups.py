"""Errors of tasks that ended together are told as one, on every Python that Lineside runs on."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.model.error_groups import first_of, leaves
from connectors.model.errors import BrokerUnavailable, DatabaseUnavailable

ROOT = Path(__file__).parents[2]
_EXCEPT_STAR = re.compile(r"except\s*\*")


async def _raise(error: Exception) -> None:
    raise error


async def _together(*errors: Exception) -> None:
    async with first_of(BrokerUnavailable, DatabaseUnavailable), asyncio.TaskGroup() as tasks:
        for error in errors:
            tasks.create_task(_raise(error))


def test_the_first_of_several_expected_errors_is_told() -> None:
    errors = [DatabaseUnavailable("away"), BrokerUnavailable("gone")]
    with pytest.raises(DatabaseUnavailable, match="away"):
        asyncio.run(_together(*errors))


def test_a_defect_beside_an_expected_error_is_not_hidden_by_it() -> None:
    with pytest.raises(ExceptionGroup) as told:
        asyncio.run(_together(BrokerUnavailable("gone"), ZeroDivisionError("a defect")))
    assert [type(one) for one in leaves(told.value)] == [BrokerUnavailable, ZeroDivisionError]


def test_an_error_that_is_in_no_group_is_told_as_it_is() -> None:
    async def fail() -> None:
        async with first_of(BrokerUnavailable):
            raise DatabaseUnavailable("away")

    with pytest.raises(DatabaseUnavailable, match="away"):
        asyncio.run(fail())


def test_errors_in_groups_within_groups_are_found_in_their_order() -> None:
    first, second, third = ValueError(1), ValueError(2), ValueError(3)
    group = ExceptionGroup("", [ExceptionGroup("", [first, second]), third])
    assert leaves(group) == [first, second, third]
    assert leaves(first) == [first]


def _what_can_raise_in_except_star() -> Iterator[str]:
    for package in ("edge_agent", "cloud_ingest", "connectors"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text()
            for tried in ast.walk(ast.parse(text if _EXCEPT_STAR.search(text) else "")):
                if isinstance(tried, ast.TryStar):
                    for found in (node for handler in tried.handlers for node in ast.walk(handler)):
                        if isinstance(found, ast.Raise | ast.Await):  # who is stopped while it waits raises that
                            yield f"{path.relative_to(ROOT)}:{found.lineno}"


def test_nothing_is_raised_or_waited_for_within_except_star_which_older_pythons_wrap_in_a_group() -> None:
    assert list(_what_can_raise_in_except_star()) == []
