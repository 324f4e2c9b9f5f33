"""What a benchmark found: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. ``goal`` is what it should reach at least (``at_least``) or at most, or ``None`` for information."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = True

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; ``None`` without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def machine() -> str:
    """What the benchmark ran on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor() or platform.machine(),
    )
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    system = f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {memory_gb:.0f} GB, {system}"


def report(name: str, figures: list[Figure]) -> None:
    """Print the table and write ``benchmarks/results/NAME.json``."""
    table = Table("figure", "value", "unit", "goal", "holds", title=name, title_justify="left")
    for figure in figures:
        bound = "" if figure.goal is None else f"{'>=' if figure.at_least else '<='} {figure.goal:,g}"
        holds = {None: "", True: "yes", False: "NO"}[figure.holds]
        table.add_row(figure.name, f"{figure.value:,.3g}" if figure.value < 100 else f"{figure.value:,.0f}",
                      figure.unit, bound, holds)  # fmt: skip
    Console(width=120, highlight=False).print(table)
    RESULTS.mkdir(exist_ok=True)
    document = {
        "name": name,
        "machine": machine(),
        "figures": [
            {key: value for key, value in asdict(figure).items() if key != "at_least"} | {"holds": figure.holds}
            for figure in figures
        ],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
