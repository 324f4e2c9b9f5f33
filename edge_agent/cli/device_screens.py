"""The devices of a line on the status screen: one row each, and below them what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from connectors.configuration.setting_names import counted
from edge_agent.cli.terminal import Sentence
from edge_agent.cli.words import duration, quality_text, shortened

PROBLEMS_MAX: Final = 10
"""So many problems of a device are shown; ``edge-agent tags`` lists all of them."""
WIDE_COLUMNS: Final = 110
"""From this width on endpoints have a column; below they stand under their devices, while those are few."""
ENDPOINTS_NARROW_MAX: Final = 8
NAME_COLUMNS_MIN: Final = 8
ENDPOINT_COLUMNS_MAX: Final = 44


class DevicesTable:
    """One row a device; as much of it as there is room for."""

    def __init__(self, devices: Sequence[dict[str, Any]]) -> None:
        self._devices = devices

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        wide = options.max_width >= WIDE_COLUMNS
        rows = [(Text(f"{one['device']} ({one['driver']})"), *_cells(one, wide=wide)) for one in self._devices]
        headings = ["device", *(heading for heading, _ in _COLUMNS), *(["endpoint"] if wide else [])]
        columns = zip(headings, *([cell.plain for cell in row] for row in rows), strict=True)
        widths = [max(map(cell_len, column)) for column in columns]
        widths[0] = max(NAME_COLUMNS_MIN, min(widths[0], options.max_width - sum(widths[1:]) - 2 * (len(widths) - 1)))
        head = [Text(heading, "dim") for heading in headings]
        if wide or len(self._devices) > ENDPOINTS_NARROW_MAX:
            yield _table(widths, [head, *rows])
            return
        yield _table(widths, [head])
        for device, row in zip(self._devices, rows, strict=True):
            yield _table(widths, [row])
            if device.get("endpoint"):
                yield Text(f"  {device['endpoint']}", "dim", overflow="fold")


def _table(widths: Sequence[int], rows: Sequence[Sequence[Text]]) -> Table:
    """Rows under others of the same ``widths``: what stands between two tables is as wide as the screen."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    justified = ("left", *(justify for _, justify in _COLUMNS), "left")
    for width, justify in zip(widths, justified, strict=False):
        table.add_column(width=width, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    return table


_COLUMNS: Final = (
    ("state", "left"),
    ("tags", "right"),
    ("bad", "right"),
    ("samples/s", "right"),
    ("last", "right"),
    ("back", "right"),
)
"""``last``: how old the newest sample is; ``back``: how often it has come back since the start of the agent."""


def _cells(device: dict[str, Any], *, wide: bool) -> list[Text]:
    """What stands under ``_COLUMNS``, and where there is room for it the endpoint."""
    online, bad, last_s = device["online"], device["bad"], device.get("last_sample_s")
    state = Text("online", "green") if online else Text("offline", "bold red")
    if online and device.get("online_s") is not None:
        state.append(f" {duration(device['online_s'])}", "dim")
    reconnects = device.get("reconnects", 0)
    return [
        state,
        Text(str(device["tags"])),
        Text(str(bad) if online else "-", "bold red" if online and bad else "dim"),
        Text(f"{device['samples_per_s']:,.1f}"),
        Text("-" if last_s is None else _age(last_s), "" if online else "dim"),
        Text(str(reconnects) if reconnects else "-", "yellow" if reconnects else "dim"),
        *([Text(shortened(str(device.get("endpoint", "")), ENDPOINT_COLUMNS_MAX), "dim")] if wide else []),
    ]


def _age(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def device_lines(device: dict[str, Any]) -> Iterator[RenderableType]:
    """Why a device is away, or what is wrong with its tags."""
    name = device["device"]
    if not device["online"]:
        own = device["reason"].startswith(f"{name}: ")
        yield Sentence("" if own else f"{name}: ", device["reason"], "red", indent=2)
        return
    reached = device.get("reached_at", "")
    if reached and reached != device["endpoint"]:
        yield Sentence(f"{name}: ", f"reached at {reached}, instead of {device['endpoint']}", "yellow", indent=2)
    if device["unborn"]:
        yield Sentence(f"{name}: ", f"NOTHING OF IT IS SENT: {device['unborn']}", "bold red", indent=2)
    problems = device["problems"]
    for item in problems[:PROBLEMS_MAX]:
        yield Sentence(f"{name}: ", f"{item['tag']}: {item['reason']}", "yellow", indent=2)
    if len(problems) > PROBLEMS_MAX:
        more = f"{counted(len(problems) - PROBLEMS_MAX, 'more tag')} with a problem; edge-agent tags -d {name}"
        yield Sentence(f"{name}: ", more, "yellow", indent=2)
    for found in device["not_good"]:
        quality = f"{counted(found['tags'], 'tag')} with quality {quality_text(found['quality'], found['code'])}"
        yield Sentence(f"{name}: ", quality + _named(found, name), "yellow", indent=2)
    empty = device.get("without_value")
    if empty and empty["tags"]:
        text = f"{counted(empty['tags'], 'tag')} without any value so far"
        yield Sentence(f"{name}: ", text + _named(empty, name), "yellow", indent=2)


def _named(found: dict[str, Any], device: str) -> str:
    """The first tags by name, and where the others stand."""
    names = found.get("names", ())
    more = found["tags"] - len(names)
    said = f": {', '.join(names)}" if names else ""
    return said + (f"{' and more' if names else ''}; edge-agent tags -d {device}" if more > 0 else "")
