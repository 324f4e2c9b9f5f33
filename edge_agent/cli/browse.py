"""``edge-agent browse``: what an OPC UA server has, as a tree, as JSON, or as a device file to begin with."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connectors.model.errors import ConfigInvalid, DeviceUnavailable
from edge_agent.cli.app import (
    DEFAULT_CONFIG,
    EXIT_INTERRUPTED,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    fail,
    print_problems,
)
from edge_agent.cli.json_output import print_json

if TYPE_CHECKING:
    from connectors.ports.survey import SurveyedNode, SurveyedVariable
    from edge_agent.drivers import OpcUaBrowse, OpcUaDevice

OBJECTS: Final = "/Objects"
SERVER: Final = "Server"
"""What every server has below Objects: its own state, in hundreds of variables."""
_OF_TAGS: Final = frozenset(("tags", "browse", "derived", "commands"))
PASSWORD_VARIABLE: Final = "LINESIDE_PASSWORD"  # noqa: S105  its name
DEPTH: Final = 20
VARIABLES_MAX: Final = 5000
_USED_WRONGLY: Final = 2
_NAME_MAX: Final = 255
_LIKE_AN_ADDRESS: Final = re.compile(r"[\w.-]+:\d{2,5}(/\S*)?")
"""Of what a browse rule calls its tags."""

PlaceArgument = Annotated[
    str, typer.Argument(metavar="PLACE", help="opc.tcp://host:port, or the name of a device in the agent's file")
]
UnderOption = Annotated[str, typer.Option("--under", "-u", help="Begin at this node id or browse path")]
MatchOption = Annotated[
    list[str] | None, typer.Option("--match", "-m", help="Only paths like this, e.g. 'Ram/*' or '**/Force'; repeatable")
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option("--exclude", "-x", help="Not this path and what is below it; repeatable")
]
DepthOption = Annotated[int | None, typer.Option("--depth", min=1, max=50, help=f"So many levels; {DEPTH} unless said")]
MaxOption = Annotated[
    int | None, typer.Option("--max", min=1, max=50_000, help=f"So many variables; {VARIABLES_MAX} unless said")
]
PropertiesOption = Annotated[bool, typer.Option("--properties", help="Properties too, such as EURange")]
UserOption = Annotated[
    str | None, typer.Option("--user", help=f"Log in; the password is asked for, or ${PASSWORD_VARIABLE}")
]
SecureOption = Annotated[
    bool | None,
    typer.Option(
        "--secure/--insecure",
        help="Signed and encrypted, with a server that 'edge-agent trust' knows; usual where somebody logs in",
    ),
]
YamlOption = Annotated[
    str | None, typer.Option("--yaml", metavar="FILE", help="Write a device file with all of it; - to standard output")
]
RuleOption = Annotated[bool, typer.Option("--rule", help="With --yaml: one browse rule instead of a tag each")]
NameOption = Annotated[str, typer.Option("--name", help="What the device is called in a device file")]
TreeOption = Annotated[
    bool, typer.Option("--tree", help="Print the whole tree, as into a pipe; so do --match, --exclude, --depth, --max")
]


def browse(
    place: PlaceArgument,
    under: UnderOption = OBJECTS,
    match: MatchOption = None,
    exclude: ExcludeOption = None,
    depth: DepthOption = None,
    most: MaxOption = None,
    properties: PropertiesOption = False,
    user: UserOption = None,
    secure: SecureOption = None,
    yaml: YamlOption = None,
    as_rule: RuleOption = False,
    name: NameOption = "device",
    as_tree: TreeOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Look through an OPC UA server at a terminal, or print its variables; either makes a device file of them."""
    from edge_agent.cli.browse_screen import SurveyTree, device_file, survey_json
    from edge_agent.cli.live_terminal import is_interactive
    from edge_agent.cli.terminal import print_screen, without_logs
    from edge_agent.drivers import survey_opcua

    if as_rule and yaml is None:
        fail("--rule says how --yaml writes the tags; add --yaml FILE", _USED_WRONGLY)
    if yaml not in (None, "-") and Path(str(yaml)).exists():
        fail(f"{yaml} exists already, and may have been worked on; remove it, or write to another file", EXIT_PROBLEM)
    words: dict[str, Any] = {"under": under, "match": tuple(match or ["**"]), "properties": properties}
    words |= {"depth": depth or DEPTH, "max": most or VARIABLES_MAX}
    words["exclude"] = tuple(exclude or ([SERVER] if under == OBJECTS else []))
    secured = user is not None if secure is None else secure
    device, rule, connects = _settings(place, user, name, words, config, secure=secured)
    is_narrowed = any((match, exclude, depth, most))
    try:
        if not (as_tree or as_json or yaml or is_narrowed) and is_interactive():
            asyncio.run(_look(device, rule, connects))
            return
        with without_logs():
            survey = asyncio.run(survey_opcua(device, rule))
    except DeviceUnavailable as exc:
        fail(str(exc).removeprefix(f"{device.name}: "), EXIT_PROBLEM)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json(survey_json(survey))
    elif yaml is None:
        print_screen(SurveyTree(survey))
    else:
        heading = f"{len(survey.variables)} variables below {under}, as edge-agent browse found them at {_now()}"
        rules = [_rule_text(words)] if as_rule else []
        listed = replace(survey, variables=(), left_out=0) if as_rule else survey
        _write(device_file(listed, heading, connects, rules), yaml, len(survey.variables))


async def _look(device: OpcUaDevice, rule: OpcUaBrowse, connects: Sequence[str]) -> None:
    """The tree at a terminal, until somebody leaves. Raises ``DeviceUnavailable``."""
    from edge_agent.cli.browse_live import browse_live
    from edge_agent.drivers import live_survey_opcua

    def text(variables: Sequence[SurveyedVariable], folders: Sequence[SurveyedNode]) -> str:
        return marked_file(device, rule, variables, folders, connects)

    place = f"{device.endpoint}  {rule.under}"
    await browse_live(live_survey_opcua(device, rule), place, f"{device.name.replace('/', '-')}.yaml", text)


def marked_file(
    device: OpcUaDevice,
    rule: OpcUaBrowse,
    variables: Sequence[SurveyedVariable],
    folders: Sequence[SurveyedNode],
    connects: Sequence[str],
) -> str:
    """A device file with a tag for each variable, and a browse rule for each folder, whose tags are named alike.

    ``connects`` are its lines that say how to connect.
    """
    from connectors.ports.survey import Survey
    from edge_agent.cli.browse_screen import device_file, quoted

    rules = []
    for folder in folders:
        name = "/".join(folder.path).replace("{", "(").replace("}", ")") + "/{path}"
        parts = [f"under: {quoted(folder.at)}", f"name: {quoted(name if len(name) <= _NAME_MAX else '{path}')}"]
        rules.append(f"{{{', '.join([*parts, *(['properties: true'] if rule.properties else [])])}}}")
    heading = f"Marked below {rule.under} in edge-agent browse at {_now()}"
    return device_file(Survey(device.endpoint, rule.under, tuple(variables)), heading, connects, rules)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _settings(
    place: str, user: str | None, name: str, rule: dict[str, Any], config: Path, *, secure: bool
) -> tuple[OpcUaDevice, OpcUaBrowse, list[str]]:
    """How to connect, what to look for, and how a device file says the first; ends the command with what is wrong."""
    from pydantic import ValidationError

    from connectors.ports.secrets import SOURCE_IN_CONTEXT, SecretSource
    from edge_agent.drivers import OpcUaBrowse, OpcUaDevice

    try:
        browse_rule = OpcUaBrowse.model_validate(rule)
        if _LIKE_AN_ADDRESS.fullmatch(place):
            fail(f"{place!r} is no device and no server; write opc.tcp://{place}", _USED_WRONGLY)
        if "://" not in place:
            device = _named_device(place, config)
            return device, browse_rule, written_lines(config, place)
        security: dict[str, Any] = {}
        if user is not None:
            security = {"user": user, "password": f"${{env:{PASSWORD_VARIABLE}}}"}
        entry = {"name": name, "driver": "opcua", "endpoint": place, "insecure": not secure, "security": security}
        context = {SOURCE_IN_CONTEXT: SecretSource({PASSWORD_VARIABLE: _password(user)} if user else {}, Path())}
        device = OpcUaDevice.model_validate({**entry, "browse": [rule]}, context=context)
        return _placed(device, config), browse_rule, entry_lines(device)
    except ValidationError as exc:
        reason = str(exc.errors(include_url=False, include_input=False)[0]["msg"]).removeprefix("Value error, ")
        fail(reason, _USED_WRONGLY)


def _placed(device: OpcUaDevice, config: Path) -> OpcUaDevice:
    """``device`` with the trust list of the agent, where there is one: a password is encrypted for who is accepted."""
    from connectors.ports.settings import AgentPlace
    from edge_agent.config.places import agent_name, data_dir

    if not config.exists():
        return device
    try:
        return device.placed(AgentPlace(agent_name(config), data_dir(config)))
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc


def _named_device(place: str, config: Path) -> OpcUaDevice:
    from edge_agent.config.load import load_config
    from edge_agent.drivers import OpcUaDevice, known_drivers

    try:
        settings = load_config(config, known_drivers())
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc
    known = {device.name: device for device in settings.devices if isinstance(device, OpcUaDevice)}
    if place not in known:
        names = ", ".join(sorted(known)) or "none"
        fail(f"{config} has no OPC UA device {place!r}; it has {names}. Or name a server: opc.tcp://host:4840", 2)
    return known[place]


def _password(user: str) -> str:
    found = os.environ.get(PASSWORD_VARIABLE)
    if found:
        return found
    if not sys.stdin.isatty():
        fail(f"there is nobody to ask for the password of {user!r}; set {PASSWORD_VARIABLE}", _USED_WRONGLY)
    return str(typer.prompt(f"Password of {user}", hide_input=True))


def entry_lines(device: OpcUaDevice) -> list[str]:
    """The lines of a device file that say how to connect."""
    from edge_agent.cli.browse_screen import quoted

    lines = [f"name: {quoted(device.name)}", "driver: opcua", f"endpoint: {quoted(device.endpoint)}"]
    if device.is_insecure:
        lines.append("insecure: true  # neither signed nor encrypted: anybody on the network can read and change it")
    if device.security.user is not None:
        lines.append(f'security: {{user: {quoted(device.security.user)}, password: "${{env:{PASSWORD_VARIABLE}}}"}}')
    return lines


def written_lines(config: Path, name: str) -> list[str]:
    """All that a device of the agent's file, which is valid, says but for its tags: secrets by reference."""
    from edge_agent.config.load import load_entries
    from edge_agent.drivers import known_drivers
    from edge_agent.tag_lists.device_entries import flow

    entry = next(entry for entry in load_entries(config, known_drivers()) if entry["name"] == name)
    return [f"{key}: {flow(value)}" for key, value in entry.items() if key not in _OF_TAGS]


def _rule_text(words: dict[str, Any]) -> str:
    from edge_agent.cli.browse_screen import quoted

    parts = [f"under: {quoted(words['under'])}"]
    lists = {key: words[key] for key in ("match", "exclude") if words[key] not in ((), ("**",))}
    parts += [f"{key}: [{', '.join(map(quoted, patterns))}]" for key, patterns in lists.items()]
    defaults = {"depth": 20, "max": 5000, "properties": False}
    parts += [f"{key}: {str(words[key]).lower()}" for key, usual in defaults.items() if words[key] != usual]
    return f"{{{', '.join(parts)}}}"


def _write(text: str, where: str | None, count: int) -> None:
    from connectors.configuration.setting_names import counted

    if where in (None, "-"):
        typer.echo(text, nl=False)
        return
    from connectors.configuration.saying import say
    from edge_agent.cli.made_files import what_next, write_new

    path = Path(str(where))
    write_new(path, text)
    say(f"{path}: {counted(count, 'variable')}; take out what is not needed, {what_next(path)}", err=True)
