"""``edge-agent scan``: which Modbus units are on a bus, and what they let be read; it only reads."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connectors.model.errors import DeviceUnavailable
from connectors.ports.unit_scan import FoundUnit, ScanFindings, ScanLimits
from edge_agent.cli.app import EXIT_INTERRUPTED, EXIT_PROBLEM, JsonOption, fail
from edge_agent.cli.json_output import print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

TABLES: Final = ("holding", "input", "coil", "discrete")
ALL_TABLES: Final = ",".join(TABLES)
TAGS_PER_RANGE_MAX: Final = 100
_USED_WRONGLY: Final = 2
_UNIT_ID_MAX: Final = 247
_ADDRESS_MAX: Final = 65_535

PlaceArgument = Annotated[
    str,
    typer.Argument(metavar="PLACE", help="modbus://host:502, rtu+tcp://host:4001 or serial:///dev/ttyUSB0"),
]
UnitsOption = Annotated[str, typer.Option("--units", "-u", help="Unit ids, e.g. 1-247 or 1,3,17-20")]
TablesOption = Annotated[str, typer.Option("--tables", "-t", help="Some of holding, input, coil, discrete")]
AddressesOption = Annotated[str, typer.Option("--addresses", "-a", help="From and to, counted from 0")]
StepOption = Annotated[
    int, typer.Option("--step", min=1, help="Where nothing can be read, try every so many addresses; 1 finds all")
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.01, help="Seconds that a unit has for an answer")]
PauseOption = Annotated[float, typer.Option("--pause", min=0, help="Seconds between two requests")]
BaudOption = Annotated[int | None, typer.Option("--baud", help="Of a serial port; 19200 unless said otherwise")]
ParityOption = Annotated[str | None, typer.Option("--parity", help="Of a serial port: even, odd or none")]
YamlOption = Annotated[
    str | None, typer.Option("--yaml", metavar="FILE", help="Write a device file with all of it; - to standard output")
]


def scan(
    place: PlaceArgument,
    units: UnitsOption = "1-20",
    tables: TablesOption = ALL_TABLES,
    addresses: AddressesOption = "0-9999",
    step: StepOption = 10,
    timeout_s: TimeoutOption = 0.5,
    pause_s: PauseOption = 0.0,
    baud: BaudOption = None,
    parity: ParityOption = None,
    yaml: YamlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for Modbus units and for what they let be read; --yaml makes a device file of it. It only reads."""
    from edge_agent.cli.terminal import print_screen
    from edge_agent.drivers import scan_modbus

    if yaml not in (None, "-") and Path(str(yaml)).exists():
        fail(f"{yaml} exists already, and may have been worked on; remove it, or write to another file", EXIT_PROBLEM)
    if place.startswith("tls://"):
        fail(
            "a device behind TLS asks for a certificate, which a scan does not have; describe it by its manual",
            _USED_WRONGLY,
        )
    limits = _limits(units, tables, addresses, step)
    settings: dict[str, Any] = {"endpoint": re.sub(r"^modbus://", "tcp://", place)}
    line = {key: value for key, value in (("baud", baud), ("parity", parity)) if value is not None}
    if line:
        settings["serial"] = line
    progress = _Progress()
    try:
        findings = asyncio.run(scan_modbus(settings, limits, progress.show, timeout_s, pause_s))
    except ValueError as exc:
        fail(_first_reason(exc), _USED_WRONGLY)
    except DeviceUnavailable as exc:
        fail(exc.reason, EXIT_PROBLEM)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        progress.clear()
    if as_json:
        print_json(findings_json(findings))
    elif yaml is not None and findings.units:
        _write(device_file(findings, settings, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"), yaml)
    else:
        print_screen(findings_screen(findings, limits))
    if not findings.units:
        raise typer.Exit(EXIT_PROBLEM)


class _Progress:
    """What is looked at now, in one line of a terminal, on standard error."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Instead of what stood there."""
        if self._is_shown:
            sys.stderr.write(f"\r{text:<40}")
            sys.stderr.flush()

    def clear(self) -> None:
        """The line is empty again."""
        if self._is_shown:
            sys.stderr.write("\r" + " " * 40 + "\r")
            sys.stderr.flush()


def _limits(units: str, tables: str, addresses: str, step: int) -> ScanLimits:
    unit_ids: list[int] = []
    for part in units.split(","):
        first, last = _from_to(part, "--units", 0, 255 if "-" not in part else _UNIT_ID_MAX)
        unit_ids += range(first, last + 1)
    chosen = tuple(part.strip() for part in tables.split(","))
    if unknown := [table for table in chosen if table not in TABLES]:
        fail(f"--tables: {unknown[0]!r} is no table; write some of {', '.join(TABLES)}", _USED_WRONGLY)
    first, last = _from_to(addresses, "--addresses", 0, _ADDRESS_MAX)
    return ScanLimits(tuple(dict.fromkeys(unit_ids)), chosen, first, last, step)


def _from_to(text: str, option: str, least: int, most: int) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
    first, last = (0, -1) if found is None else (int(found[1]), int(found[2] or found[1]))
    if least <= first <= last <= most:
        return first, last
    return fail(f"{option}: {text!r} is no range; write it as {least}-{most}, or a part of that", _USED_WRONGLY)


def _first_reason(exc: ValueError) -> str:
    errors: Any = getattr(exc, "errors", None)
    if errors is None:
        return str(exc)
    first = errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = str(first["msg"]).removeprefix("Value error, ")
    return reason if where in ("", "endpoint") else f"{where}: {reason}"


def findings_json(findings: ScanFindings) -> dict[str, Any]:
    """For programs."""
    units = [
        {
            "unit_id": unit.unit_id,
            "max_block": unit.registers_max,
            "ranges": [
                {"table": each.table, "first": each.first, "last": each.last, "values": list(each.values)}
                for each in unit.ranges
            ],
            "remarks": list(unit.remarks),
        }
        for unit in findings.units
    ]
    return {"units": units, "ignores_unit_ids": findings.ignores_ids}


def findings_screen(findings: ScanFindings, limits: ScanLimits) -> RenderableType:
    """For a person."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from edge_agent.cli.terminal import Sentence

    if not findings.units:
        ids = f"{limits.unit_ids[0]} to {limits.unit_ids[-1]}" if len(limits.unit_ids) > 1 else f"{limits.unit_ids[0]}"
        return Sentence(
            "",
            f"no unit with an id from {ids} answers; try others (--units 1-247), a longer --timeout, and on a serial "
            "line its speed and parity",
        )
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("unit", justify="right")
    table.add_column("table")
    table.add_column("from", justify="right")
    table.add_column("to", justify="right")
    table.add_column("first values", no_wrap=True, overflow="ellipsis")
    lines: list[RenderableType] = []
    for unit in findings.units:
        if not unit.ranges:
            table.add_row(str(unit.unit_id), Text("answers; nothing can be read", style="dim"), "", "", "")
        for each in unit.ranges:
            values = " ".join(str(value) for value in each.values)
            table.add_row(str(unit.unit_id), each.table, str(each.first), str(each.last), values)
        lines += [Sentence(f"unit {unit.unit_id}: ", remark) for remark in _remarks(unit)]
    if findings.ignores_ids:
        text = "every unit id was answered: this is one device that does not look at it; write any of them as unit_id"
        lines.append(Sentence("", text))
    return Group(table, *lines)


def _remarks(unit: FoundUnit) -> list[str]:
    longest = unit.registers_max
    remarks = [] if longest is None else [f"it answers reads of at most {longest} registers: max_block: {longest}"]
    return [*remarks, *unit.remarks]


def device_file(findings: ScanFindings, settings: dict[str, Any], when: str) -> str:
    """A device file to begin with: a tag for each place, as far as they are not too many."""
    lines = [
        f"# What answers at {settings['endpoint']}, as edge-agent scan found it at {when}.",
        "# Every register is shown as uint16: which of them belong together, and what they mean, says the manual.",
        "devices:",
    ]
    lines += [f"  # unit {unit.unit_id} answers, and nothing was found that can be read" for unit in _bare(findings)]
    for unit in (unit for unit in findings.units if unit.ranges):
        lines += [f"  - name: unit-{unit.unit_id}", "    driver: modbus", f"    endpoint: {settings['endpoint']}"]
        if "serial" in settings:
            line = ", ".join(f"{key}: {value}" for key, value in settings["serial"].items())
            lines.append(f"    serial: {{{line}}}")
        lines.append(f"    unit_id: {unit.unit_id}")
        if unit.registers_max is not None:
            lines.append(f"    max_block: {unit.registers_max}")
        lines += [f"    # {remark}" for remark in unit.remarks]
        lines += _tag_lines(unit)
    return "\n".join(lines) + "\n"


def _bare(findings: ScanFindings) -> list[FoundUnit]:
    return [unit for unit in findings.units if not unit.ranges]


def _tag_lines(unit: FoundUnit) -> Sequence[str]:
    lines = ["    tags:"]
    for each in unit.ranges:
        last = min(each.last, each.first + TAGS_PER_RANGE_MAX - 1)
        shown = range(each.first, last + 1)
        lines += [f"      - {{name: {each.table}/{address}, at: {each.table} {address}}}" for address in shown]
        if last < each.last:
            lines.append(f"      # {each.table} {last + 1} to {each.last} can be read too")
    return lines


def _write(text: str, where: str) -> None:
    if where == "-":
        typer.echo(text, nl=False)
        return
    from connectors.configuration.saying import say
    from edge_agent.cli.made_files import what_next, write_new

    write_new(Path(where), text)
    say(f"{where} is written; take out what is not needed, {what_next(where)}", err=True)
