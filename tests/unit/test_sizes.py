"""Files fit into a head and functions on a screen: at most 400 lines and 70 (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "cloud_ingest", "connectors", "deploy", "docs", "edge_agent", "tests")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70


def sources() -> Iterator[Path]:
    """What people write here, without what is made from a protobuf file."""
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if not path.name.endswith(("_pb2.py", "_pb2_grpc.py")):
                yield path


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    paths = [*sources(), *(ROOT / "tests").rglob("*.c")]
    assert len(paths) > 200
    lines = {named(path): len(path.read_text().splitlines()) for path in paths}
    assert {name: count for name, count in lines.items() if count > FILE_LINES_MAX} == {}


def test_no_function_of_the_product_is_longer_than_seventy_lines() -> None:
    long: dict[str, int] = {}
    for path in sources():
        text = path.read_text()
        if path.is_relative_to(ROOT / "tests") or len(text.splitlines()) <= FUNCTION_LINES_MAX:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > FUNCTION_LINES_MAX:
                    long[f"{named(path)}:{node.name}"] = count
    assert long == {}
