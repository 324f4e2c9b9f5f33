"""The ``cloud-ingest`` command.

Exit codes: 0 done; 1 something is wrong (an invalid configuration, batches missing from the ledger); 2 the command was
used wrongly; 3 the database cannot be reached, or does not let us in.
"""

from __future__ import annotations

import gc
import os
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import typer

from cloud_ingest.cli import (
    agent_commands,
    audit,
    commands,
    dead_letters,
    enrolment,
    event_letters,
    identity,
    integrations,
    inventory,
    keys,
    ledger,
    lines,
    orders,
    releases,
    reports,
    tokens,
    work_orders,
)
from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    AgentOption,
    ConfigOption,
    JsonOption,
    ask,
    fail,
    load,
    print_json,
    show,
)
from connectors.model.errors import LinesideError
from connectors.observability.version import lineside_version

if TYPE_CHECKING:
    from cloud_ingest.config import Role
    from cloud_ingest.store.timescale import Timescale
    from connectors.ports.database import Database

TAG_ID_MAX: Final = (1 << 31) - 1

app = typer.Typer(
    name="cloud-ingest",
    help="Lineside in the cloud: takes what the agents send, stores it once, answers questions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(ledger.app, name="ledger")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(event_letters.app, name="event-letters")
agent_commands.add_to(commands.app)
app.add_typer(commands.app, name="command")
app.add_typer(keys.app, name="keys")
app.add_typer(lines.app, name="lines")
app.add_typer(tokens.app, name="token")
app.add_typer(audit.app, name="audit")
app.add_typer(identity.app, name="identity")
app.add_typer(integrations.app, name="integrations")
app.add_typer(enrolment.agent_keys, name="agent-keys")
app.add_typer(releases.release, name="release")
app.add_typer(releases.rollout, name="rollout")
app.add_typer(inventory.app, name="inventory")
app.add_typer(orders.app, name="orders")
app.add_typer(reports.app, name="reports")
app.add_typer(work_orders.app, name="work-orders")
app.command()(enrolment.enrol)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    if version:
        typer.echo(f"lineside {lineside_version()}")
        raise typer.Exit


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    roles: Annotated[
        str, typer.Option(help="Which roles, separated by commas")
    ] = "ingest,historian,commands,lines,inventory,catalog,integrations,orders,analytics,gateway",
) -> None:
    """Run roles in the foreground, until told to stop (SIGTERM, Ctrl-C). Each role can be a process of its own."""
    gc.disable()  # a third of the start of a gateway, whose objects stay; it is on before anything is waited for
    from cloud_ingest.main import run_cloud, run_program
    from connectors.observability.logs import configure_logs
    from connectors.stopping import THREADS_S_MAX, end_within

    wanted = _roles(roles)
    settings = load(config, wanted)
    configure_logs(settings.observability.log_level, settings.observability.log_format)

    async def until_stopped() -> None:
        await run_cloud(settings, wanted)
        end_within(THREADS_S_MAX)

    try:
        run_program(until_stopped(), wanted)
    except LinesideError as exc:
        fail(str(exc), EXIT_PROBLEM)


@app.command()
def check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check the configuration and say everything that is wrong with it."""
    from cloud_ingest.config import ROLES
    from connectors.configuration.saying import say
    from connectors.configuration.setting_names import listed

    unseen: set[str] = set()
    load(config, ROLES, unseen=unseen.add)
    typer.echo(f"{config}: valid")
    if unseen:
        names = listed(map(repr, sorted(unseen)), "and")
        say(f"not looked at, as systemd gives them to the service alone: {names}")


@app.command()
def migrate(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Bring the tables up to date. 'run' does it, too."""
    from cloud_ingest.store.migrate import migrate as apply
    from cloud_ingest.store.timescale import use_timescaledb

    async def both(database: Database) -> tuple[list[str], Timescale]:
        names = [f"{migration.number:04d}_{migration.name}" for migration in await apply(database)]
        return names, await use_timescaledb(database)

    names, timescale = ask(config, both)
    if as_json:
        print_json({"applied": names, "timescaledb": timescale.is_used})
        return
    typer.echo(f"applied {', '.join(names)}" if names else "nothing to do: the database is up to date")
    if timescale.is_used or timescale.reason:
        typer.echo(timescale.reason or "TimescaleDB keeps the samples")


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the chain from broker to database, and the parts: what is slow or away. Exit code 1 when anything is."""
    from cloud_ingest.cli.screens import status_screen
    from cloud_ingest.gateway.status import status as status_of

    found = ask(config, status_of)
    if as_json:
        print_json(found)
    else:
        show(status_screen(found))
    if not found["ok"]:
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def agents(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List every agent and node that was ever seen."""
    from cloud_ingest.cli.screens import agents_screen
    from cloud_ingest.gateway import queries

    rows = ask(config, queries.agents)
    if as_json:
        print_json(rows)
    else:
        show(agents_screen(rows))


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
    rows = ask(config, lambda database: queries.tags(database, choice))
    if as_json:
        print_json(rows)
    else:
        show(tags_screen(rows))


@app.command()
def query(
    tag: Annotated[
        str,
        typer.Argument(metavar="TAG", help="plant-7/line-3/press/force, or the id that 'cloud-ingest tags' lists"),
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
    from cloud_ingest.access.span import QuestionInvalid, asked_bucket, asked_span
    from cloud_ingest.cli.screens import exact_time, more_follow, samples_screen
    from cloud_ingest.gateway import queries
    from cloud_ingest.historian import intervals

    wanted = _named_tag(tag)
    try:
        start, stop = asked_span(_time(begin), _time(end))
        bucket_s = None if bucket is None else asked_bucket(bucket)
    except QuestionInvalid as exc:
        raise typer.BadParameter(str(exc)) from exc

    async def answer(database: Database) -> tuple[list[dict[str, Any]], datetime | None]:
        try:
            tag_id = int((await queries.find_tag(database, **wanted))["tag_id"])
        except queries.NotFound as exc:
            fail(f"{exc}; `cloud-ingest tags` lists the tags with their ids", EXIT_PROBLEM)
        if bucket_s is None:
            return await queries.samples(database, tag_id, start, stop, count)
        return await intervals.buckets(database, tag_id, start, stop, bucket_s, count)

    rows, following = ask(config, answer)
    if as_json:
        print_json(rows)
    elif rows:
        show(samples_screen(rows))
    else:
        typer.echo(f"no samples from {exact_time(start)} to {exact_time(stop)}; --from and --to choose another time")
    if following is not None:  # where programs read standard output, it is not for them
        typer.echo(more_follow(len(rows), following, gathered=bucket is not None), err=as_json)


def _named_tag(text: str) -> dict[str, Any]:
    """How ``find_tag`` is asked for the tag that a person names: by its id, or by agent, device and name."""
    if text.isascii() and text.isdigit() and int(text) <= TAG_ID_MAX:
        return {"tag_id": int(text), "agent": None, "device": "", "name": None}
    parts = text.split("/", 3)
    if len(parts) < 4 or not parts[3]:
        raise typer.BadParameter(f"{text!r} is no tag: write GROUP/AGENT/DEVICE/TAG, or its id", param_hint="TAG")
    return {"tag_id": None, "agent": f"{parts[0]}/{parts[1]}", "device": parts[2], "name": parts[3]}


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


def main() -> None:
    """Entry point of the console script."""
    from connectors.configuration.command_help import without_flag_types

    without_flag_types(typer.main.get_command(app))()
