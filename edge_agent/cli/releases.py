"""``edge-agent releases``: which release of the software runs on this box, and what became of the last one tried."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import typer

from connectors.configuration.saying import say
from edge_agent.cli.app import DEFAULT_CONFIG, EXIT_PROBLEM, ConfigOption, JsonOption, print_problems
from edge_agent.cli.json_output import print_json


def releases(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Say which releases are on this box, which one counts, and what became of the last order to go to another."""
    from connectors.model.errors import ConfigInvalid
    from edge_agent.config.places import releases_path
    from edge_agent.releases.layout import ReleaseFolder

    try:
        folder = ReleaseFolder(releases_path(config))
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc
    state, installed = folder.state(), folder.installed()
    if as_json:
        print_json({**asdict(state), "runs": state.runs, "installed": installed})
        return
    say(f"runs: {state.runs or 'the base installation'}{' (on trial)' if state.trial else ''}")
    if state.trial is not None:
        say(f"counts until that has proved itself: {state.current or 'the base installation'}")
    if state.previous:
        say(f"before: {state.previous}")
    for name in installed:
        say(f"  {name}")
    outcome = state.outcome
    if outcome is not None:
        when = datetime.fromtimestamp(outcome.time_ms / 1000, UTC).isoformat(timespec="seconds")
        said = "taken" if outcome.succeeded else f"left again: {outcome.reason}"
        say(f"last order ({outcome.order}), {when}: {outcome.to} was {said}")
