"""The ``cloud-ingest`` command.

Exit codes: 0 done; 1 something is wrong (an invalid configuration, batches missing from the ledger); 2 the command was
used wrongly; 3 the database cannot be reached, or does not let us in.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Collection, Coroutine
from datetime import datetime
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
PIPE_COLUMNS: Final = 4096
"""Into a pipe or a file every row is one line, whatever width the terminal has."""

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

    wanted = _roles(roles)
    settings = _load(config, wanted)
    configure_logs(settings.observability.log_level, settings.observability.log_format)
    try:
        asyncio.run(run_cloud(settings, wanted))
    except LinesideError as exc:
        _fail(str(exc), EXIT_PROBLEM)


@app.command()
def check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check the configuration and say everything that is wrong with it."""
    from cloud_ingest.config import ROLES

    _load(config, ROLES)
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
    begin: Annotated[
        str | None,
        typer.Option("--from", help="With a time zone, as 2026-11-22T08:00:00Z; an hour before --to unless said"),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="With a time zone; now unless said")] = None,
    bucket: Annotated[str | None, typer.Option(help="Gather samples in intervals, such as 1m")] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=1_000_000, help="At most so many, the oldest first")
    ] = 100,
    as_json: JsonOption = False,
) -> None:
    """Print samples of a tag, or its intervals, the oldest first; times are in UTC."""
    from cloud_ingest.cli.screens import exact_time, more_follow, samples_screen
    from cloud_ingest.gateway import queries
    from cloud_ingest.gateway.span import QuestionInvalid, asked_bucket, asked_span

    try:
        start, stop = asked_span(_time(begin), _time(end))
        bucket_s = None if bucket is None else asked_bucket(bucket)
    except QuestionInvalid as exc:
        raise typer.BadParameter(str(exc)) from exc

    async def ask(database: Database) -> tuple[list[dict[str, Any]], datetime | None]:
        try:
            await queries.find_tag(database, tag_id=tag_id, agent=None, device="", name=None)
        except queries.NotFound as exc:
            _fail(f"{exc}; `cloud-ingest tags` lists the tags with their ids", EXIT_PROBLEM)
        if bucket_s is None:
            return await queries.samples(database, tag_id, start, stop, count)
        return await queries.buckets(database, tag_id, start, stop, bucket_s, count)

    rows, following = _ask(config, ask)
    if as_json:
        _print_json(rows)
    elif rows:
        _print(samples_screen(rows))
    else:
        typer.echo(f"no samples from {exact_time(start)} to {exact_time(stop)}; --from and --to choose another time")
    if following is not None:  # where programs read standard output, it is not for them
        typer.echo(more_follow(len(rows), following, gathered=bucket is not None), err=as_json)


def _load(path: Path, roles: Collection[Role] = ()) -> CloudConfig:
    """The configuration, with the files that ``roles`` and every command need."""
    from cloud_ingest.config import check_files, load_cloud_config

    try:
        config = load_cloud_config(path)
        check_files(path, config, roles)
        return config
    except ConfigInvalid as exc:
        for problem in exc.problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(EXIT_PROBLEM) from exc


def _ask(config: Path, question: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """The answer to one question to the database of ``config``."""
    from cloud_ingest.gateway.queries import NOT_MIGRATED, UNDEFINED_TABLE
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
        _fail(NOT_MIGRATED if exc.sqlstate == UNDEFINED_TABLE else str(exc), EXIT_PROBLEM)
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


def _time(text: str | None) -> datetime | None:
    """The time that ``text`` says; one without a zone is refused, as by the API."""
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is not a time; write it as 2026-11-22T08:00:00Z") from exc
    if when.tzinfo is None:
        plain = when.isoformat()
        raise typer.BadParameter(f"{text!r} has no time zone; write {plain}Z for UTC, or a zone such as {plain}+01:00")
    return when


def _print(screen: Any) -> None:
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(screen)


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
