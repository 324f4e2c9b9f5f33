"""The ``cloud-ingest`` command.

Exit codes: 0 done; 1 something is wrong (an invalid configuration, batches missing from the ledger); 2 the command was
used wrongly; 3 the database cannot be reached.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar, get_args

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import typer

from connectors.model.errors import ConfigInvalid, DatabaseUnavailable, LinesideError, StatementRefused
from connectors.observability.version import lineside_version

if TYPE_CHECKING:
    from cloud_ingest.config import CloudConfig, Role
    from connectors.ports.database import Database

T = TypeVar("T")

EXIT_PROBLEM: Final = 1
EXIT_UNREACHABLE: Final = 3
DEFAULT_CONFIG: Final = Path("/etc/lineside/cloud.yaml")

app = typer.Typer(
    name="cloud-ingest",
    help="Lineside in the cloud: takes what the agents send, stores it once, answers questions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="LINESIDE_CLOUD_CONFIG", help="The YAML file of the cloud side")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs")]
AgentOption = Annotated[str | None, typer.Option("--agent", "-a", help="Only this agent, as group/name")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    if version:
        typer.echo(f"lineside {lineside_version()}")
        raise typer.Exit


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    roles: Annotated[str, typer.Option(help="Which roles, separated by commas")] = "ingest,historian,gateway",
) -> None:
    """Run roles in the foreground, until told to stop (SIGTERM, Ctrl-C). Each role can be a process of its own."""
    from cloud_ingest.main import run_cloud
    from connectors.observability.logs import configure_logs

    settings = _load(config)
    configure_logs(settings.observability.log_level, settings.observability.log_format)
    try:
        asyncio.run(run_cloud(settings, _roles(roles)))
    except LinesideError as exc:
        _fail(str(exc), EXIT_PROBLEM)


@app.command()
def check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check the configuration and say everything that is wrong with it."""
    _load(config)
    typer.echo(f"{config}: valid")


@app.command()
def migrate(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Bring the tables up to date. 'run' does it, too."""
    from cloud_ingest.store.migrate import migrate as apply

    names = [f"{migration.number:04d}_{migration.name}" for migration in _ask(config, apply)]
    if as_json:
        _print_json({"applied": names})
    else:
        typer.echo(f"applied {', '.join(names)}" if names else "nothing to do: the database is up to date")


@app.command()
def ledger(config: ConfigOption = DEFAULT_CONFIG, agent: AgentOption = None, as_json: JsonOption = False) -> None:
    """Show the delivery ledger. Exit code 1 when a batch is missing that nothing explains."""
    from cloud_ingest.cli.screens import ledger_screen
    from cloud_ingest.gateway import queries

    rows = _ask(config, lambda database: queries.ledger(database, agent))
    if agent is not None and not rows:
        _fail(
            f"no agent {agent} has delivered anything; `cloud-ingest agents` lists those that are known", EXIT_PROBLEM
        )
    unassigned = _ask(config, queries.unassigned_dead_letters)
    if as_json:
        _print_json({"agents": rows, "unassigned_dead_letters": unassigned})
    else:
        _print(ledger_screen(rows, unassigned))
    if any(row["missing"] for row in rows):
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def agents(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List every agent and node that was ever seen."""
    from cloud_ingest.cli.screens import agents_screen
    from cloud_ingest.gateway import queries

    rows = _ask(config, queries.agents)
    if as_json:
        _print_json(rows)
    else:
        _print(agents_screen(rows))


@app.command()
def tags(
    config: ConfigOption = DEFAULT_CONFIG,
    agent: AgentOption = None,
    device: Annotated[str | None, typer.Option("--device", "-d", help="Only this device")] = None,
    search: Annotated[str | None, typer.Option("--search", "-s", help="Part of the name, in any case")] = None,
    as_json: JsonOption = False,
) -> None:
    """List tags with their ids, types and units."""
    from cloud_ingest.cli.screens import tags_screen
    from cloud_ingest.gateway import queries

    choice = queries.TagChoice(agent, device, search, 0, 1_000_000)
    rows = _ask(config, lambda database: queries.tags(database, choice))
    if as_json:
        _print_json(rows)
    else:
        _print(tags_screen(rows))


@app.command()
def query(
    tag_id: Annotated[
        int, typer.Argument(min=1, max=(1 << 31) - 1, help="Id of the tag, as 'cloud-ingest tags' lists it")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    begin: Annotated[str | None, typer.Option("--from", help="ISO 8601; an hour ago unless said otherwise")] = None,
    end: Annotated[str | None, typer.Option("--to", help="ISO 8601; now unless said otherwise")] = None,
    bucket: Annotated[str | None, typer.Option(help="Gather samples in intervals, such as 1m")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1_000_000, help="At most so many")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Print samples of a tag, or its intervals."""
    from cloud_ingest.cli.screens import samples_screen
    from cloud_ingest.gateway import queries
    from connectors.ports.settings import parse_duration

    stop = _time(end) if end else datetime.now(UTC)
    start = _time(begin) if begin else stop - timedelta(hours=1)

    async def ask(database: Database) -> list[dict[str, Any]]:
        await queries.find_tag(database, tag_id=tag_id, agent=None, device="", name=None)
        if bucket is None:
            return (await queries.samples(database, tag_id, start, stop, count))[0]
        return (await queries.buckets(database, tag_id, start, stop, parse_duration(bucket), count))[0]

    try:
        rows = _ask(config, ask)
    except ValueError as exc:
        _fail(str(exc), EXIT_PROBLEM)
    if as_json:
        _print_json(rows)
    else:
        _print(samples_screen(rows))


def _load(path: Path) -> CloudConfig:
    from cloud_ingest.config import load_cloud_config

    try:
        return load_cloud_config(path)
    except ConfigInvalid as exc:
        for problem in exc.problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(EXIT_PROBLEM) from exc


def _ask(config: Path, question: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """The answer to one question to the database of ``config``."""
    from cloud_ingest.main import opened_database

    settings = _load(config)

    async def work() -> T:
        async with opened_database(settings) as database:
            return await question(database)

    try:
        return asyncio.run(work())
    except DatabaseUnavailable as exc:
        _fail(str(exc), EXIT_UNREACHABLE)
    except StatementRefused as exc:
        hint = "; has 'cloud-ingest migrate' been run?" if exc.sqlstate == "42P01" else ""
        _fail(f"{exc}{hint}", EXIT_PROBLEM)
    except LinesideError as exc:
        _fail(str(exc), EXIT_PROBLEM)


def _roles(text: str) -> list[Role]:
    from cloud_ingest.config import Role

    known: tuple[Role, ...] = get_args(Role)
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in wanted if part not in known]
    if unknown or not wanted:
        raise typer.BadParameter(f"unknown roles: {', '.join(unknown) or '(none)'}; known are {', '.join(known)}")
    return [role for role in known if role in wanted]


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is not a time; write it as 2026-11-22T08:00:00Z") from exc
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _print(screen: Any) -> None:
    from rich.console import Console

    Console(highlight=False).print(screen)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False, default=_json, indent=2 if sys.stdout.isatty() else None))


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)


def main() -> None:
    """Entry point of the console script."""
    app()
