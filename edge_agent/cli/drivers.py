"""``edge-agent drivers``: the drivers that device files can name, where they come from, and which cannot be used."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.console import Group
from rich.table import Table

from edge_agent.cli.app import EXIT_PROBLEM, JsonOption
from edge_agent.cli.json_output import print_json
from edge_agent.cli.terminal import Sentence, print_screen


def drivers(as_json: JsonOption = False) -> None:
    """List the drivers, those of packages of others too. Exit code 1 when one of them cannot be used."""
    from edge_agent.drivers import known_drivers

    offers = known_drivers().offers
    if as_json:
        print_json({"drivers": [asdict(offer) for offer in offers]})
    else:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("driver", "package", ""):
            table.add_column(heading)
        for offer in offers:
            table.add_row(offer.name, offer.package, "NOT USED" if offer.problem else "")
        problems = dict.fromkeys(offer.problem for offer in offers if offer.problem)
        print_screen(Group(table, *(Sentence("", problem, "red") for problem in problems)))
    if any(offer.problem for offer in offers):
        raise typer.Exit(EXIT_PROBLEM)
