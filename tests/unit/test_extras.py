"""What is installed on the box beside the line has nothing of the cloud side in it, nor has the cloud a driver."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def closure(name: str, extra: str) -> set[str]:
    """Every package that ``name[extra]`` brings along here, by the metadata of those that are installed."""
    found: set[str] = set()
    waiting = [(name, extra)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        package, wanted = waiting.pop()
        if (package, wanted) in seen:
            continue
        seen.add((package, wanted))
        try:
            lines = requires(package) or []
        except PackageNotFoundError:
            continue  # for another platform or Python: a marker that this one does not meet names it
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": wanted}):
                below = canonicalize_name(requirement.name)
                found.add(below)
                waiting += [(below, more) for more in ("", *requirement.extras)]
    return found


@pytest.mark.parametrize(
    ("extra", "there", "not_there"),
    [
        ("edge", {"asyncua", "paho-mqtt"}, {"asyncpg", "aiokafka", "fastapi", "uvicorn", "httpx", "starlette"}),
        ("cloud", {"asyncpg", "aiokafka", "fastapi"}, {"asyncua", "pymodbus"}),
    ],
)
def test_an_extra_brings_what_its_program_needs_and_nothing_of_the_other(
    extra: str, there: set[str], not_there: set[str]
) -> None:
    found = closure("lineside", extra)
    assert there <= found
    assert found & not_there == set()


def test_no_lock_file_names_a_place_to_fetch_from() -> None:
    locks = [ROOT / "constraints.txt", *sorted((ROOT / "tests" / "servers").glob("*/package-lock.json"))]
    assert len(locks) == 5
    assert [lock.name for lock in locks if "://" in lock.read_text()] == []
