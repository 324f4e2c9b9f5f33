"""``edge-agent init``: a first configuration that is valid and explains itself; by options, or by asking."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from connectors.model.errors import ConfigInvalid
from edge_agent.cli.app import EXIT_PROBLEM, fail, print_problems

SCHEMA_NAME: Final = "agent.schema.json"
EXIT_USAGE: Final = 2
_SCHEMES: Final = {"opc.tcp": "opcua", "tcp": "modbus"}

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file that is made")]


def init(
    path: FileArgument = Path("agent.yaml"),
    group: Annotated[str | None, typer.Option(help="Sparkplug group, usually the plant, such as plant-7")] = None,
    name: Annotated[str | None, typer.Option(help="Name of this agent in the group, such as line-3")] = None,
    broker: Annotated[str | None, typer.Option(help="Such as mqtts://broker.example:8883")] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help="Such as press=opc.tcp://10.0.0.4:4840 or oven=tcp://10.0.0.5:502"),
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Folder of the outbox and the command journal")] = Path(
        "/var/lib/lineside"
    ),
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow what is not encrypted, for a first try")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there")] = False,
) -> None:
    """Write a first configuration, with comments, and its JSON Schema for editors beside it.

    On a terminal what no option says is asked for.
    """
    if path.exists() and not force:
        fail(f"{path} is there already; --force replaces it, another name keeps it", EXIT_PROBLEM)
    asks = sys.stdin.isatty()
    missing = [option for option, value in (("--group", group), ("--name", name), ("--broker", broker)) if not value]
    if missing and not asks:
        fail(f"nobody can be asked here: write {', '.join(missing)}", EXIT_USAGE)
    group = group or typer.prompt("Group, usually the plant", default="plant-7")
    name = name or typer.prompt("Name of this agent, usually the line", default="line-3")
    broker = broker or typer.prompt("Broker", default="mqtts://broker.example:8883")
    if device is None and asks:
        device = _asked_devices()
    devices = [_device(entry) for entry in device or ()]
    plain = broker.startswith("mqtt://")
    if plain and not insecure and asks:
        insecure = typer.confirm("mqtt:// is not encrypted. Allow it all the same?", default=False)
    text = first_configuration(group, name, broker, devices, data_dir, insecure=insecure)
    _write(path, text)
    typer.echo(f"{path} is written and valid; {path.parent / SCHEMA_NAME} is for editors.")
    typer.echo(f"Next: edge-agent check --online -c {path}")


def _asked_devices() -> list[str]:
    found: list[str] = []
    while url := typer.prompt(
        "Device, such as opc.tcp://10.0.0.4:4840 or tcp://10.0.0.5:502 (empty: no more)", default="", show_default=False
    ):
        found.append(f"{typer.prompt('Its name', default=f'device-{len(found) + 1}')}={url}")
    return found


def _device(entry: str) -> tuple[str, str, str]:
    """(name, driver, endpoint)."""
    name, _, url = entry.partition("=")
    driver = _SCHEMES.get(url.partition("://")[0])
    if not name or driver is None:
        fail(f"{entry!r} is no device: write NAME=opc.tcp://host:4840 or NAME=tcp://host:502", EXIT_USAGE)
    return name, driver, url


def first_configuration(
    group: str, name: str, broker: str, devices: list[tuple[str, str, str]], data_dir: Path, *, insecure: bool
) -> str:
    """The text of the file."""
    lines = [
        _HEAD.format(schema=SCHEMA_NAME, group=_quoted(group), name=_quoted(name), data_dir=_quoted(str(data_dir)))
    ]
    allowed = "\n  insecure: true             # the broker is not encrypted: anybody on the network can read and change"
    lines.append(_UPLINK.format(broker=_quoted(broker), insecure=allowed if insecure and "mqtts" not in broker else ""))
    lines.append("devices:" if devices else "devices: []\n" + _EXAMPLE)
    for device, driver, url in devices:
        template = _OPCUA if driver == "opcua" else _MODBUS
        lines.append(
            template.format(
                name=_quoted(device),
                url=_quoted(url),
                insecure="\n    insecure: true           # neither signed nor encrypted" if insecure else "",
            )
        )
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """As YAML takes it whatever is in it: a JSON text is one."""
    return json.dumps(text, ensure_ascii=False)


def _write(path: Path, text: str) -> None:
    """Check ``text``, then write it and the schema; what is wrong ends the command, and leaves nothing."""
    from edge_agent.config.load import load_config
    from edge_agent.config.schema import schema_text
    from edge_agent.drivers import known_drivers

    drivers, draft = known_drivers(), path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        try:
            load_config(draft, drivers)
            (path.parent / SCHEMA_NAME).write_text(schema_text(drivers), encoding="utf-8")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except ConfigInvalid as exc:
        print_problems(exc)
        fail("nothing is written: give other answers", EXIT_PROBLEM)
    except OSError as exc:
        fail(f"{path} cannot be written: {exc.strerror}", EXIT_PROBLEM)


def schema(
    path: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Where to; else to standard output")] = None,
) -> None:
    """Write the JSON Schema of the configuration, by which editors complete keys and mark mistakes."""
    from edge_agent.config.schema import schema_text
    from edge_agent.drivers import known_drivers

    text = schema_text(known_drivers())
    if path is None:
        typer.echo(text, nl=False)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        fail(f"{path} cannot be written: {exc.strerror}", EXIT_PROBLEM)


_HEAD: Final = """\
# yaml-language-server: $schema=./{schema}
#
# Check it:              edge-agent check
# Read each tag once:    edge-agent check --online
# Run it:                edge-agent run
#
# Quantities have their unit: 100ms, 5s, 2m, 1h, 7d; 256KiB, 2GB.
# Relative file names start from the folder of this file.

agent:
  group: {group}
  name: {name}
  data_dir: {data_dir}
  commissioning: true          # nothing is written to any device; false when the line is handed over
"""
_UPLINK: Final = """\
uplink:
  brokers: [{broker}]          # tried in this order{insecure}
  # user: line-3
  # password: ${{file:broker-password}}      # or ${{credential:broker}} under systemd, or ${{env:BROKER_PASSWORD}}
  # ca_file: plant-ca.pem                   # the authority that signed the broker's certificate
"""
_EXAMPLE: Final = """\
#  - name: press
#    driver: opcua
#    endpoint: opc.tcp://10.0.0.4:4840
#    tags:
#      - {name: ram/force, at: "nsu=http://acme.example/press;s=Ram.Force", unit: kN}
#  - name: oven
#    driver: modbus
#    endpoint: tcp://10.0.0.5:502
#    tags:
#      - {name: zone1/temperature, at: holding 100, type: int16, scale: 0.1, unit: °C}"""
_OPCUA: Final = """\
  - name: {name}
    driver: opcua
    endpoint: {url}{insecure}
    publishing: 500ms          # how often the server sends what has changed
    tags:
      # The clock of the server, which every server has: replace it by tags of yours, by node id or browse path.
      - {{name: clock, at: i=2258}}
      # - {{name: ram/force, at: "nsu=http://acme.example/press;s=Ram.Force", unit: kN, deadband: 0.5}}"""
_MODBUS: Final = """\
  - name: {name}
    driver: modbus
    endpoint: {url}
    unit_id: 1
    poll: 1s
    tags:
      # An example: replace it by what the manual of the device says. Addresses count from 0, as on the wire.
      - {{name: first, at: holding 0, type: uint16}}
      # - {{name: zone1/temperature, at: holding 100, type: int16, scale: 0.1, unit: °C}}"""
