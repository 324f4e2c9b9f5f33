"""How a statement of ingest and historian finds what it does to the tables in memory.

Statements are told apart by their beginning; columns are read from their text, so that a column more or another order
changes nothing. A new one is a function with ``@statement("how it begins")`` in ``statements_of_agents`` or
``statements_of_delivery``; a COPY into a table of which nothing depends here is named in ``COPIES_IGNORED``. Whether
PostgreSQL makes the same of all of them is what tests/contract/test_simulated_database.py asks a real one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from cloud_ingest.historian.sample_rows import COLUMNS
from tests.simulation.tables import Row, Tables

COPIES_IGNORED: Final[frozenset[str]] = frozenset()
"""Tables of which nothing here depends: what is copied there is dropped."""

Answer = int | list[Row]
Statement = Callable[[Tables, str, Sequence[Any], float], Answer]
STATEMENTS: dict[str, Statement] = {}


class UnknownStatement(Exception):
    """The product says something to the database that is not simulated."""


def run_statement(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    """Rows, or how many rows were touched."""
    return _statement(sql)(tables, sql, args, now_s)


def run_copy(tables: Tables, table: str, columns: Sequence[str], data: bytes) -> None:
    """Take a COPY stream. A table that is no part of ``sample`` has to be known here."""
    if table in COPIES_IGNORED:
        return
    if not table.startswith("sample_") or tuple(columns) != COLUMNS:
        raise UnknownStatement(f"the simulated database knows no COPY {table} ({', '.join(columns)})")
    tables.copies.append(data)


@lru_cache(maxsize=1024)
def _statement(sql: str) -> Statement:
    found = [statement for beginning, statement in STATEMENTS.items() if sql.startswith(beginning)]
    if len(found) != 1:
        raise UnknownStatement(f"the simulated database knows {len(found)} statements that begin like: {sql[:80]}")
    return found[0]


def statement(beginning: str) -> Callable[[Statement], Statement]:
    """What the statement does that begins so."""

    def registered(function: Statement) -> Statement:
        STATEMENTS[beginning] = function
        return function

    return registered


@lru_cache(maxsize=1024)
def _inserted(sql: str) -> list[tuple[str, int]]:
    """(column, index of its argument) of an ``INSERT … (columns) VALUES (expressions)``."""
    found = re.match(r"INSERT INTO \w+ \(([^)]*)\) VALUES \((.*?)\)(?: ON CONFLICT.*)?$", sql, re.DOTALL)
    assert found is not None, sql
    columns = [column.strip() for column in found[1].split(",")]
    places = [int(place) - 1 for place in re.findall(r"\$(\d+)", found[2])]
    if len(places) < len(columns):  # a constant at the end
        columns = columns[: len(places)]
    return list(zip(columns, places, strict=True))


def row_of(sql: str, args: Sequence[Any]) -> Row:
    return {column: args[place] for column, place in _inserted(sql)}


@lru_cache(maxsize=1024)
def _given(sql: str) -> list[str]:
    found = re.search(r"AS given \(([^)]*)\)", sql)
    assert found is not None, sql
    return [column.strip() for column in found[1].split(",")]


def rows_of(sql: str, columns: Sequence[Sequence[Any]]) -> list[Row]:
    """The rows of an ``unnest(…) AS given (columns)``."""
    names = _given(sql)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def seconds(time_ms: int | None) -> float | None:
    return None if time_ms is None else time_ms / 1000


def insert_new(table: dict[Any, Row], key: Any, row: Row) -> int:
    """``ON CONFLICT DO NOTHING``."""
    if key in table:
        return 0
    table[key] = row
    return 1
