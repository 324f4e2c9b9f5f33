"""The table of complaints names tests that exist: a test that goes, or gets another name, is missed there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "complaints.md"


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_each_of_the_fifteen_complaints_names_tests() -> None:
    assert [row[0] for row in rows()] == [str(number) for number in range(1, 16)]
    assert all(len(row) == 4 for row in rows())
    assert [row[0] for row in rows() if len(re.findall(r"`tests/[^`]+`", row[3])) < 2] == []


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 30
    missing = [f"{file}::{test}" for file, test in named if test not in functions_of(ROOT / file)]
    assert missing == []


def functions_of(file: Path) -> set[str]:
    if not file.exists():
        return set()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, functions)}
