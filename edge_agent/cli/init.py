"""``edge-agent init``: a first configuration that is valid and explains itself; by options, or by asking."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Set
from functools import partial
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from connectors.configuration.saying import broken, say
from connectors.model.errors import ConfigInvalid, Problem
from edge_agent.cli.app import EXIT_PROBLEM, EXIT_USAGE, JsonOption, fail
from edge_agent.cli.json_output import print_json

SCHEMA_NAME: Final = "agent.schema.json"
DRIVER_OF: Final = {"opc.tcp": "opcua", "tcp": "modbus", "tls": "modbus", "rtu+tcp": "modbus", "serial": "modbus"}
"""The driver for an address, by its scheme."""
_ERROR: Final = "Error: "
"""What Typer writes before what is wrong with an answer."""
FORMS: Final = "opc.tcp://host:4840, tcp://host:502, tls://host, rtu+tcp://host:4001 or serial:///dev/ttyUSB0"


class NewDevice(NamedTuple):
    """A device of the first configuration."""

    name: str
    driver: str
    endpoint: str
    insecure: bool


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
    as_json: JsonOption = False,
) -> None:
    """Write a first configuration, with comments, and its JSON Schema for editors beside it.

    On a terminal what no option says is asked for.
    """
    if path.exists() and not force:
        fail(f"{path} is there already; --force replaces it, another name keeps it", EXIT_PROBLEM)
    asks = sys.stdin.isatty() and not as_json
    missing = [option for option, value in (("--group", group), ("--name", name), ("--broker", broker)) if not value]
    if missing and not asks:
        fail(f"nobody can be asked here: write {', '.join(missing)}", EXIT_USAGE)
    group = group or _asked("Group, usually the plant", "plant-7", partial(_check_agent, "group"))
    name = name or _asked("Name of this agent, usually the line", "line-3", partial(_check_agent, "name"))
    plain = insecure
    broker = broker or _asked("Broker", "mqtts://broker.example:8883", _check_broker)
    if broker.startswith("mqtt://") and not plain and asks:
        plain = typer.confirm("mqtt:// is not encrypted. Allow it all the same?", default=False)
    devices = [_device(entry, insecure=insecure) for entry in device or ()]
    if device is None and asks:
        devices = _asked_devices(insecure=insecure)
    _write(path, first_configuration(path.name, group, name, broker, devices, data_dir, plain=plain))
    if as_json:
        print_json(
            {"file": str(path), "schema": str(path.parent / SCHEMA_NAME), "devices": [one.name for one in devices]}
        )
        return
    say(f"{path} is written and valid; {path.parent / SCHEMA_NAME} is for editors.")
    say(f"Next: edge-agent check --online -c {path}")


def _asked(question: str, default: str, check: Callable[[str], str]) -> str:
    """What a person answers, asked for again until ``check`` finds nothing wrong with it."""

    def checked(answer: str) -> str:
        if wrong := check(answer):
            raise typer.BadParameter(broken(f"{_ERROR}{wrong}").removeprefix(_ERROR))
        return answer

    return str(typer.prompt(question, default=default, value_proc=checked, show_default=bool(default)))


def _asked_devices(*, insecure: bool) -> list[NewDevice]:
    found: list[NewDevice] = []
    question = "Device, such as opc.tcp://10.0.0.4:4840 or tcp://10.0.0.5:502 (empty: no more)"
    while entry := _asked(question, "", lambda text: _check_entry(text, {device.name for device in found})):
        names = {device.name for device in found}
        name, url = _named(entry)
        if not name:
            name = _asked("Its name", f"device-{len(found) + 1}", lambda name: _check_name(name, names))  # noqa: B023
        driver = DRIVER_OF[url.partition("://")[0]]
        plain = insecure
        if driver == "opcua" and not insecure:
            plain = not typer.confirm("Is its session to be signed and encrypted? (no: it offers none)", default=True)
        found.append(NewDevice(name, driver, url, plain))
    return found


def _device(entry: str, *, insecure: bool) -> NewDevice:
    name, _, url = entry.partition("=")
    driver = DRIVER_OF.get(url.partition("://")[0])
    if not name or driver is None:
        fail(f"{entry!r} is no device: write NAME=ADDRESS, and for that {FORMS}", EXIT_USAGE)
    return NewDevice(name, driver, url, insecure)


def _check_agent(key: str, text: str) -> str:
    return _wrong({"group": "g", "name": "n", key: text}, "mqtts://host", [])


def _check_broker(url: str) -> str:
    return _wrong(_ANY_AGENT, url, [])


def _named(entry: str) -> tuple[str, str]:
    """The name, if one stands before the address as with --device, and the address."""
    name, sign, url = entry.partition("=")
    return (name, url) if sign and "://" not in name else ("", entry)


def _check_entry(entry: str, others: Set[str]) -> str:
    name, url = _named(entry)
    return _check_endpoint(url) or (_check_name(name, others) if name else "")


def _check_endpoint(url: str) -> str:
    driver = DRIVER_OF.get(url.partition("://")[0])
    if url and driver is None:
        return f"{url!r} is no address of a device: write {FORMS}, or nothing to go on"
    return _wrong(_ANY_AGENT, "mqtts://host", [NewDevice("device", str(driver), url, True)] if url else [])


def _check_name(name: str, others: Set[str]) -> str:
    if name in others:
        return f"another device is called {name!r}"
    return _wrong(_ANY_AGENT, "mqtts://host", [NewDevice(name, "modbus", "tcp://host", False)])


_ANY_AGENT: Final = {"group": "g", "name": "n"}


def _wrong(agent: Mapping[str, str], broker: str, devices: list[NewDevice]) -> str:
    """What is wrong with a configuration of this, for a person; empty when nothing is."""
    from edge_agent.config.load import load_config
    from edge_agent.drivers import known_drivers

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.yaml"
        text = first_configuration(path.name, agent["group"], agent["name"], broker, devices, path.parent, plain=True)
        path.write_text(text, encoding="utf-8")
        try:
            load_config(path, known_drivers())
        except ConfigInvalid as exc:
            return " ".join(_plainly(problem) for problem in exc.problems)
    return ""


def _plainly(problem: Problem) -> str:
    """Without the place in a file that nobody has."""
    return f"{problem.message} {problem.suggestion}".strip()


def first_configuration(
    file: str, group: str, name: str, broker: str, devices: list[NewDevice], data_dir: Path, *, plain: bool
) -> str:
    """The text of ``file``; ``plain``: a broker without TLS is allowed."""
    lines = [
        _HEAD.format(
            schema=SCHEMA_NAME,
            file=file,
            group=_quoted(group),
            name=_quoted(name),
            data_dir=_quoted(str(data_dir)),
        )
    ]
    allowed = "\n  insecure: true             # the broker is not encrypted: anybody on the network can read and change"
    lines.append(_UPLINK.format(broker=_quoted(broker), insecure=allowed if plain and "mqtts" not in broker else ""))
    lines.append("devices:" if devices else "devices: []\n" + _EXAMPLE)
    for device in devices:
        template = _OPCUA if device.driver == "opcua" else _MODBUS
        lines.append(
            template.format(
                name=_quoted(device.name),
                url=_quoted(device.endpoint),
                insecure="\n    insecure: true           # neither signed nor encrypted" if device.insecure else "",
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
        for problem in exc.problems:
            say(_plainly(problem), err=True)
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
# Check it:              edge-agent check -c {file}
# Read each tag once:    edge-agent check --online -c {file}
# Run it:                edge-agent run -c {file}
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
