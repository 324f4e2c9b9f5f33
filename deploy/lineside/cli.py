"""The ``lineside`` command: a complete plant on one machine, to look at and to try things on; and releases, made.

Exit codes: 0 done; 1 something is wrong (a process ended, or something is missing from the ledger); 2 the command was
used wrongly; 4 a demo runs already in this folder, or the folder cannot be used; 130 stopped before it was running.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Coroutine
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.observability.version import lineside_version
from lineside import release_cli

app = typer.Typer(
    name="lineside",
    help="A complete plant on this machine: machines, agent, broker, cloud side and database.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
machine = typer.Typer(help="Run one simulated machine, until SIGTERM.", no_args_is_help=True)
app.add_typer(machine, name="machine")
app.add_typer(release_cli.app, name="release")

PortOption = Annotated[int, typer.Option("--port", min=1, max=65_535, help="Port of 127.0.0.1 to listen on")]
SeedOption = Annotated[int | None, typer.Option(help="The same seed gives the same course of events")]
MemoryOption = Annotated[Path | None, typer.Option(help="File that keeps the counters over a restart")]


class BrokerChoice(Enum):
    """Which MQTT broker the demo starts."""

    AUTO = "auto"
    MOSQUITTO = "mosquitto"
    IOTCORE = "iotcore"


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    if version:
        typer.echo(f"lineside {lineside_version()}")
        raise typer.Exit


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds < math.inf:
        raise typer.BadParameter(f"{text!r} is not a number of seconds from 1 on; write 20, for example")
    return seconds


@app.command()
def demo(
    data: Annotated[Path, typer.Option(help="Folder of the plant: its data, configuration and logs")] = Path(".demo"),
    seconds: Annotated[
        float | None,
        typer.Option(
            parser=_seconds, envvar="DEMO_SECONDS", help="Stop by itself after so long, and say what was delivered"
        ),
    ] = None,
    broker: Annotated[
        BrokerChoice, typer.Option(envvar="DEMO_BROKER", help="auto: Mosquitto if it is installed, else iotcore")
    ] = BrokerChoice.AUTO,
) -> None:
    """Run a press, an oven, an agent, a broker, PostgreSQL and the cloud side, and show what they do."""
    try:
        from lineside.demo.run import run_demo

        code = run_demo(data, seconds, broker.value)
    except ModuleNotFoundError as exc:
        typer.echo(
            f"the demo needs the package {exc.name!r}, which is not installed; install Lineside with its extra 'demo': "
            "pip install -c constraints.txt '.[demo]'",
            err=True,
        )
        raise typer.Exit(1) from exc
    raise typer.Exit(code)


@machine.command()
def press(port: PortOption, seed: SeedOption = None, memory: MemoryOption = None) -> None:
    """A servo press behind an OPC UA server."""
    from lineside.machines.press_server import run_press

    _run(run_press(port, seed=_seed(seed), memory=memory))


@machine.command()
def oven(port: PortOption, seed: SeedOption = None, memory: MemoryOption = None) -> None:
    """A conveyor oven behind a Modbus/TCP unit."""
    from lineside.machines.oven_server import run_oven

    _run(run_oven(port, seed=_seed(seed), memory=memory))


def _seed(seed: int | None) -> int:
    return random.SystemRandom().randrange(1 << 32) if seed is None else seed


def _run(work: Coroutine[Any, Any, None]) -> None:
    from connectors.observability.logs import configure_logs

    configure_logs("info", "console")
    try:
        asyncio.run(work)
    except OSError as exc:
        typer.echo(f"the machine cannot start: {exc.strerror or exc}", err=True)
        raise typer.Exit(1) from exc


def main() -> None:
    """Entry point of the console script."""
    app()
