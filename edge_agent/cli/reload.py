"""``edge-agent reload``: the running agent uses its files as they are now; what has not changed in them goes on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from connectors.configuration.saying import say
from connectors.configuration.setting_names import counted
from edge_agent.cli.app import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    SocketOption,
    ask,
    socket_of,
)
from edge_agent.cli.json_output import print_json

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would change")]
HOW = {
    "added": "added: {said}",
    "removed": "removed: {said}",
    "changed": "connected anew: {said}",
    "adjusted": "goes on with other settings: {said}",
}


def reload(
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Use the agent's files as they are now, without a restart; nothing happens unless they are valid."""
    answer = ask(socket_of(config, socket), "reload", dry_run=dry_run)
    if as_json:
        print_json(answer)
    else:
        for line in lines(answer):
            say(line, indent=2, err=bool(answer["reasons"]))
    if answer["reasons"]:
        raise typer.Exit(EXIT_PROBLEM)


def lines(answer: dict[str, Any]) -> list[str]:
    """What a reload has come to, for a person."""
    if answer["reasons"]:
        said = counted(len(answer["reasons"]), "problem") if not answer["passes"] else "not reloaded"
        return [*answer["reasons"], f"{said}; the agent goes on with what it had"]
    found = [f"{change['device']}: {HOW[change['how']].format(said=change['said'])}" for change in answer["devices"]]
    found += [f"{setting}: in effect" for setting in answer["settings"]]
    found += [f"{setting}: takes effect with the next restart of the agent" for setting in answer["restart"]]
    if not found:
        found = ["nothing has changed"]
    if answer["dry_run"]:
        return [*found, "nothing was done (--dry-run)"]
    return [*found, f"in use after {answer['seconds']:.2f} s"]
