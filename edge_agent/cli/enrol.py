"""``edge-agent enrol``: have this agent and the cloud know each other. It works while the agent runs, or is down."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from connectors.configuration.saying import say
from edge_agent.cli.app import DEFAULT_CONFIG, EXIT_PROBLEM, ConfigOption, JsonOption, fail, print_problems
from edge_agent.cli.json_output import print_json

TOKEN_BYTES_MAX: Final = 10_000
STDIN: Final = Path("-")


def enrol(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of the cloud's gateway, such as https://cloud.example")],
    config: ConfigOption = DEFAULT_CONFIG,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="The file that holds the one-time token; - is the input")
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", help="The token itself: others on this box can read it meanwhile")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="Certificates of the authority of the cloud, PEM; else the system's")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take http, too: anybody on the way can interfere")] = (
        False
    ),
    as_json: JsonOption = False,
) -> None:
    """Have this agent trust the cloud's keys, by a token of 'cloud-ingest enrol'; without option it is asked for.

    A running agent takes commands of the cloud within ten seconds.
    """
    from connectors.model.errors import ConfigInvalid
    from edge_agent.commands import enrolling
    from edge_agent.config.places import agent_name, data_dir, trusted_keys_path

    try:
        agent, folder, keys_file = agent_name(config), data_dir(config), trusted_keys_path(config)
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc
    if not agent:
        fail(f"{config}: 'agent' has no group or name, and a token is for an agent of one name", EXIT_PROBLEM)
    try:
        place = enrolling.place_of(url, insecure=insecure)
        enrolled = enrolling.enrol(
            place, _token(token, token_file), agent=agent, data_dir=folder, keys_file=keys_file, ca_file=ca
        )
    except enrolling.EnrolmentFailed as exc:
        fail(str(exc), EXIT_PROBLEM)
    if as_json:
        print_json({"agent": agent, "key": enrolled.key_id, "trusted": list(enrolled.trusted)})
        return
    keys = " and ".join(enrolled.trusted)
    plural = "keys" if len(enrolled.trusted) > 1 else "key"
    say(
        f"{agent} is enrolled with its key {enrolled.key_id}, and does from now on what is signed with the cloud's "
        f"{plural} {keys}: compare with 'cloud-ingest keys list'"
    )


def _token(token: str | None, token_file: Path | None) -> str:
    if token is not None and token_file is not None:
        raise typer.BadParameter("name the token once: --token or --token-file")
    if token is not None:
        say("the token could be read by others on this box; --token-file keeps it from them", err=True)
        return token.strip()
    if token_file is None:
        if sys.stdin.isatty():
            return str(typer.prompt("token", hide_input=True)).strip()
        token_file = STDIN
    try:
        if token_file == STDIN:
            return sys.stdin.read(TOKEN_BYTES_MAX).strip()
        with token_file.open(encoding="utf-8") as file:
            return file.read(TOKEN_BYTES_MAX).strip()
    except OSError as exc:
        fail(f"the token in {token_file} cannot be read: {exc.strerror}", EXIT_PROBLEM)
    except UnicodeDecodeError:
        fail(f"there is no token in {token_file}", EXIT_PROBLEM)
