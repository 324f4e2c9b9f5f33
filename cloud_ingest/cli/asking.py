"""What every command does alike: read the configuration, ask the database, print, and fail with a sentence.

Exit codes: 0 done; 1 something is wrong; 2 the command was used wrongly; 3 the database cannot be reached, or does not
let us in.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import sys
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TextIO, TypeVar

import typer

from connectors.configuration.saying import say
from connectors.model.errors import ConfigInvalid, DatabaseUnavailable, LinesideError, StatementRefused

if TYPE_CHECKING:
    from cloud_ingest.config import CloudConfig, Role
    from connectors.ports.database import Database

T = TypeVar("T")

EXIT_PROBLEM: Final = 1
EXIT_UNREACHABLE: Final = 3
DEFAULT_CONFIG: Final = Path("/etc/lineside/cloud.yaml")
PIPE_COLUMNS: Final = 4096
"""Into a pipe or a file every row is one line, whatever width the terminal has."""
REASON_CHARS_MAX: Final = 2000

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", "-c", envvar="LINESIDE_CLOUD_CONFIG", help="The YAML file of the cloud side", readable=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs")]
AgentOption = Annotated[str | None, typer.Option("--agent", "-a", help="Only this agent, as group/name")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="A file; else standard output", readable=False)
]
TenantOption = Annotated[str, typer.Option("--tenant", help="Of which tenant")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why it is lost; kept for ever")]


def load(path: Path, roles: Collection[Role] = (), *, unseen: Callable[[str], None] | None = None) -> CloudConfig:
    """The configuration, with the files that ``roles`` and every command need; ``unseen``: ``load_cloud_config``."""
    from cloud_ingest.config import check_files, load_cloud_config

    try:
        config = load_cloud_config(path, unseen=unseen)
        check_files(path, config, roles)
        return config
    except ConfigInvalid as exc:
        for problem in exc.problems:
            say(str(problem), indent=2, err=True)
        raise typer.Exit(EXIT_PROBLEM) from exc


def ask(config: Path, question: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """The answer to one question to the database of ``config``."""
    from cloud_ingest.gateway.queries import NOT_MIGRATED, OUTDATED, UNDEFINED_COLUMN, UNDEFINED_TABLE
    from cloud_ingest.opened import opened_database

    settings = load(config)

    async def work() -> T:
        async with opened_database(settings) as database:
            return await question(database)

    try:
        return asyncio.run(work())
    except DatabaseUnavailable as exc:
        fail(str(exc), EXIT_UNREACHABLE)
    except StatementRefused as exc:
        known = {UNDEFINED_TABLE: NOT_MIGRATED, UNDEFINED_COLUMN: OUTDATED}
        fail(known.get(exc.sqlstate, str(exc)), EXIT_PROBLEM)
    except LinesideError as exc:
        fail(str(exc), EXIT_PROBLEM)


def ask_of(config: Path, tenant: str, question: Callable[[Database, int], Coroutine[Any, Any, T]]) -> T:
    """The answer to one question about what the tenant with that name has, to the database of ``config``."""
    from cloud_ingest.identity.tenants import tenant_id_of

    async def work(database: Database) -> T:
        async with database.session() as session:
            tenant_id = await tenant_id_of(session, tenant)
        return await question(database, tenant_id)

    return ask(config, work)


def show(screen: Any) -> None:
    """Print a table or text for a person."""
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(screen)


def print_json(document: Any) -> None:
    """Print ``document`` for a program: indented on a terminal, else one line."""
    typer.echo(json.dumps(document, ensure_ascii=False, default=as_text, indent=2 if sys.stdout.isatty() else None))


def write_lines(config: Path, output: Path | None, rows: Callable[[Database], AsyncIterator[dict[str, Any]]]) -> None:
    """Write what ``rows`` finds in the database as JSON Lines, to a file or to standard output."""

    async def write(database: Database, file: TextIO) -> int:
        count = 0
        async for row in rows(database):
            file.write(json.dumps(row, ensure_ascii=False, default=as_text) + "\n")
            count += 1
        return count

    if output is None:
        ask(config, lambda database: write(database, sys.stdout))
        return
    try:
        with output.open("w", encoding="utf-8") as file:
            count = ask(config, lambda database: write(database, file))
    except OSError as exc:
        fail(f"{output} cannot be written: {exc.strerror}", EXIT_PROBLEM)
    typer.echo(f"{count} written to {output}")


def as_text(value: Any) -> str:
    """How JSON says what it has no type for: times as ISO 8601."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong and end with exit code ``code``."""
    say(message, err=True)
    raise typer.Exit(code)


def asked_reason(text: str) -> str:
    """The reason that a person gives for a decision that is kept."""
    reason = "".join(char if char.isprintable() else " " for char in text).strip()
    if not reason or len(reason) > REASON_CHARS_MAX:
        raise typer.BadParameter(f"--reason: say in 1 to {REASON_CHARS_MAX} characters why")
    return reason


def user() -> str:
    """Who runs the command: the user of the operating system; and who that is behind sudo."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER", "") if os.getuid() == 0 else ""
    return f"{behind} as {name}" if behind and behind != name else name
