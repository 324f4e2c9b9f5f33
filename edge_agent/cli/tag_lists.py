"""``edge-agent import-tags`` and ``export-tags``: tags to and from spreadsheets and engineering tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from connectors.configuration.saying import say
from connectors.configuration.setting_names import counted
from connectors.model.errors import ConfigInvalid
from edge_agent.cli.app import DEFAULT_CONFIG, EXIT_PROBLEM, EXIT_USAGE, ConfigOption, JsonOption, fail, print_problems
from edge_agent.cli.init import DRIVER_OF, FORMS
from edge_agent.cli.json_output import print_json
from edge_agent.tag_lists.formats import BYTES_MAX, Format, read_list
from edge_agent.tag_lists.imported import Imported, ListUnreadable, Refused, Row, Wanted

REFUSED_SHOWN_MAX: Final = 1000


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("import-tags")(import_tags)
    app.command("export-tags")(export_tags)


def export_tags(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="FILE.csv, or FILE.xlsx")],
    config: ConfigOption = DEFAULT_CONFIG,
    device: Annotated[list[str] | None, typer.Option("--device", "-d", help="Only these devices")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the tags of the configuration to a table, one column a setting, as templates and defaults make them."""
    from edge_agent.config.load import load_entries
    from edge_agent.drivers import known_drivers
    from edge_agent.tag_lists.own_columns import own_table
    from edge_agent.tag_lists.tables import write_table

    if path.suffix.lower() not in (".csv", ".xlsx"):
        fail(f"{path}: write the name of a .csv or .xlsx file", EXIT_USAGE)
    if path.exists() and not force:
        fail(f"{path} is there already; --force replaces it", EXIT_PROBLEM)
    try:
        entries = load_entries(config, known_drivers())
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc
    known = [entry["name"] for entry in entries]
    if unknown := sorted(set(device or ()) - set(known)):
        fail(f"there is no device {unknown[0]!r}; there are: {', '.join(known) or 'none'}", EXIT_PROBLEM)
    chosen = [entry for entry in entries if not device or entry["name"] in device]
    headings, rows = own_table(chosen)
    try:
        write_table(path, headings, rows)
    except ListUnreadable as exc:
        fail(str(exc), EXIT_PROBLEM)
    except OSError as exc:
        fail(f"{path} cannot be written: {exc.strerror}", EXIT_PROBLEM)
    if as_json:
        print_json({"file": str(path), "devices": [entry["name"] for entry in chosen], "tags": len(rows)})
    else:
        say(f"{path}: {counted(len(rows), 'tag')} of {counted(len(chosen), 'device')}")


def import_tags(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, XLSX, L5X, NodeSet2 XML, XML or .db of TIA")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Device file; else standard output")] = None,
    format_: Annotated[Format | None, typer.Option("--format", help="Else recognised by what is in it")] = None,
    device: Annotated[str, typer.Option("--device", "-d", help="Its name, where the list has none")] = "device",
    endpoint: Annotated[str, typer.Option(help="opc.tcp://host:4840 or tcp://host:502")] = "",
    like: Annotated[
        Path | None, typer.Option(metavar="AGENT.YAML", help="All else of a device of that name is taken from there")
    ] = None,
    node: Annotated[str, typer.Option(help="How node ids are made, such as 'ns=2;s=[PLC]{tag}'")] = "",
    array_max: Annotated[
        int,
        typer.Option(min=0, max=10_000, help="Elements of an array that become a tag each (L5X, structures in .db)"),
    ] = 0,
    insecure: Annotated[bool, typer.Option("--insecure", help="OPC UA neither signed nor encrypted")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a device file of a list of tags: of Lineside's own, Kepware, TIA Portal, Rockwell L5X or OPC UA NodeSet2.

    What cannot be a tag is listed row by row, with the reason; then the exit code is 1, and the rest is written all the
    same.
    """
    if output is not None and output.exists() and not force:
        fail(f"{output} is there already, and may have been worked on; --force replaces it", EXIT_PROBLEM)
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as exc:
        fail(f"{path} cannot be read: {exc.strerror}", EXIT_PROBLEM)
    known = _known(like)
    if not endpoint and not known:
        fail("write --endpoint opc.tcp://… or tcp://…, or --like AGENT.YAML with such a device", EXIT_USAGE)
    driver = _driver(endpoint) if endpoint else str(known.get(device, {}).get("driver", "opcua"))
    try:
        kind, found = read_list(data, format_, Wanted(driver, node, array_max))
    except ListUnreadable as exc:
        fail(f"{path}: {exc}", EXIT_PROBLEM)
    new = {"driver": driver, "endpoint": endpoint} | ({"insecure": True} if insecure and driver == "opcua" else {})
    made = _devices(found, device, new if endpoint else None, known)
    tags = sum(len(rows) for _, rows in made)
    _write(path, kind, made, output, as_json=as_json)
    if as_json:
        refused = [{"place": one.place, "tag": one.name, "reason": one.reason} for one in found.refused]
        devices = [{**entry, "tags": [row.settings for row in rows]} for entry, rows in made]
        print_json({"format": kind.value, "devices": devices, "refused": refused, "notes": found.notes})
    else:
        _say(path, kind, tags, found)
    if found.refused or not tags:
        raise typer.Exit(EXIT_PROBLEM)


def _known(like: Path | None) -> dict[str, dict[str, Any]]:
    """By name the devices of another configuration, without their tags."""
    if like is None:
        return {}
    from edge_agent.config.load import load_entries
    from edge_agent.drivers import known_drivers

    try:
        entries = load_entries(like, known_drivers())
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc
    return {entry["name"]: {key: value for key, value in entry.items() if key != "tags"} for entry in entries}


def _driver(endpoint: str) -> str:
    driver = DRIVER_OF.get(endpoint.partition("://")[0])
    if driver is None:
        fail(f"{endpoint!r} is no endpoint: write {FORMS}", EXIT_USAGE)
    return driver


def _devices(
    found: Imported, device: str, new: dict[str, Any] | None, known: dict[str, dict[str, Any]]
) -> list[tuple[dict[str, Any], list[Row]]]:
    """The devices with their tags; those that are not ``known`` are made like ``new``."""
    from edge_agent.drivers import known_drivers
    from edge_agent.tag_lists.device_entries import checked, device_problems

    rows: dict[str, list[Row]] = {}
    for row in found.rows:
        rows.setdefault(row.device or device, []).append(row)
    made: list[tuple[dict[str, Any], list[Row]]] = []
    drivers = known_drivers()
    for name, own in rows.items():
        entry = known.get(name)
        if entry is None:
            if new is None:
                reason = f"--like has no device {name!r}"
                found.refused += [Refused(row.place, str(row.settings.get("name", "")), reason) for row in own]
                continue
            entry = {"name": name, **new}
        model = drivers[entry["driver"]].settings
        good = checked(own, entry, model, found)
        if good and (problems := device_problems(entry, good, model)):
            fail(f"device {name!r}: {problems[0]}", EXIT_PROBLEM)
        if good:
            made.append((entry, good))
    return made


def _write(
    path: Path, kind: Format, made: list[tuple[dict[str, Any], list[Row]]], output: Path | None, *, as_json: bool
) -> None:
    from edge_agent.tag_lists.device_entries import device_file

    text = device_file(
        [(entry, [row.settings for row in rows]) for entry, rows in made],
        f"Made by edge-agent import-tags of {path.name} ({kind.value}). Take it into the agent's file with 'include'.",
    )
    if output is None:
        if made and not as_json:
            sys.stdout.write(text)
        return
    if made:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as exc:
            fail(f"{output} cannot be written: {exc.strerror}", EXIT_PROBLEM)


def _say(path: Path, kind: Format, tags: int, found: Imported) -> None:
    for one in found.refused[:REFUSED_SHOWN_MAX]:
        say(f"{path}, {one.place}: {one.name or 'a row'}: {one.reason}", err=True)
    if (more := len(found.refused) - REFUSED_SHOWN_MAX) > 0:
        say(f"… and {more:,} more; --json lists all", err=True)
    for note in found.notes:
        say(note, err=True)
    say(f"{path} ({kind.value}): {counted(tags, 'tag')}, {len(found.refused):,} not imported", err=True)
