"""The ``edge-agent`` command. Its exit codes are ``EXIT_CODES``, for every command alike."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import sys
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads would cost memory and do nothing here

import typer

from connectors.model.errors import AlreadyRunning, ConfigInvalid, LinesideError, OutboxTooNew
from connectors.observability.version import lineside_version
from edge_agent.cli.completing import device_names
from edge_agent.cli.json_output import print_json

T = TypeVar("T")

EXIT_PROBLEM: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_RUNNING: Final = 3
EXIT_CANNOT_START: Final = 4
EXIT_INTERRUPTED: Final = 130
EXIT_CODES: Final = {
    0: "done, and nothing is wrong",
    EXIT_PROBLEM: "something is wrong or was not done: an invalid file, a device that is away, a refused write",
    EXIT_USAGE: "the command was used wrongly",
    EXIT_NOT_RUNNING: "no agent answers",
    EXIT_CANNOT_START: "another agent runs already, or a newer version has written its outbox",
    EXIT_INTERRUPTED: "Ctrl-C has ended it before it was done",
}
DEFAULT_CONFIG: Final = Path("/etc/lineside/agent.yaml")

app = typer.Typer(
    name="edge-agent",
    help="Lineside beside the line: reads the machines, keeps what they say, delivers it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    epilog="Exit codes: " + "; ".join(f"{code} {what}" for code, what in EXIT_CODES.items()) + ".",
)

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="LINESIDE_CONFIG", help="The agent's YAML file", readable=False)
]
SocketOption = Annotated[
    Path | None,
    typer.Option(
        "--socket",
        envvar="LINESIDE_SOCKET",
        help="Socket of the agent; otherwise taken from its file",
        readable=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", "-d", help="Only this device", autocompletion=device_names)
]
SearchOption = Annotated[str, typer.Option("--search", "-s", help="Only tags with this in their names, in any case")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    if version:
        typer.echo(f"lineside {lineside_version()}")
        raise typer.Exit


@app.command()
def run(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run the agent in the foreground, until it is told to stop (SIGTERM, Ctrl-C)."""
    gc.disable()  # a start makes a million objects that all stay; the agent turns it on when it has started
    from connectors.observability.logs import configure_logs
    from connectors.ports.clock import SystemClock
    from edge_agent.buffer.folder_lock import is_held
    from edge_agent.config.device_files import DeviceFiles
    from edge_agent.config.in_use import ConfigInUse
    from edge_agent.config.starting import load_for_start
    from edge_agent.drivers import known_drivers
    from edge_agent.lives import run_agent

    drivers = known_drivers()
    try:
        loaded, notes = load_for_start(config, drivers, is_held)
        settings = loaded.config
        configure_logs(settings.observability.log_level, settings.observability.log_format)
        for note in notes:
            typer.echo(note, err=True)
        files = DeviceFiles(config, settings.agent.data_dir, drivers, include=settings.include)
        in_use = ConfigInUse(config, drivers, loaded, SystemClock())
        begins_anew = asyncio.run(_until_stopped(run_agent(settings, drivers, files=files, in_use=in_use)))
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc
    except (AlreadyRunning, OutboxTooNew) as exc:
        fail(str(exc), EXIT_CANNOT_START)
    if begins_anew:
        _begin_anew()


async def _until_stopped(running: Coroutine[Any, Any, bool]) -> bool:
    """Run the agent: whether it is to begin anew. When it is not, its process ends soon, whatever a thread does."""
    from connectors.stopping import THREADS_S_MAX, end_within

    begins_anew = await running
    if not begins_anew:
        end_within(THREADS_S_MAX)
    return begins_anew


def _begin_anew() -> NoReturn:
    """Begin this program anew in the same process: whoever has started it sees no end, and nothing of it is left."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  this program again


@app.command()
def launch(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run the agent of the newest release, and go to other releases and back; else like 'run', also for systemd."""
    from edge_agent.config.places import releases_path

    try:
        folder = releases_path(config).absolute()
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc
    launcher = [sys.executable, "-m", "edge_agent.releases.launcher", "--releases", str(folder)]
    os.execv(sys.executable, [*launcher, "--", "run", "--config", str(config)])  # noqa: S606  it stays, and is small


@app.command()
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    online: Annotated[bool, typer.Option("--online", help="Reach each device, and read each tag once")] = False,
    device: DeviceOption = None,
    timeout: Annotated[float, typer.Option(min=1, max=3600, help="With --online: seconds for each device")] = 30.0,
    anyway: Annotated[bool, typer.Option("--anyway", help="With --online: also while the agent runs")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration and the files that it names; say all that is wrong, with file, line and column.

    With --online each device is reached, too, and each tag read once. Exit code 1 when anything is wrong with one.
    """
    if not online and (device is not None or anyway):
        fail("--device and --anyway go with --online: files are checked as a whole", EXIT_USAGE)
    gc.disable()  # half of the time of ten thousand tags, none of which is garbage before the end
    from connectors.configuration.setting_names import counted
    from edge_agent.config.load import load_config
    from edge_agent.drivers import known_drivers

    drivers, unseen = known_drivers(), set[str]()
    note = None if online else unseen.add
    try:
        settings = load_config(config, drivers, files_checked=True, unseen=note)
    except ConfigInvalid as exc:
        if as_json:
            problems = [
                {"file": p.where, "line": p.line, "column": p.column, "message": p.message, "suggestion": p.suggestion}
                for p in exc.problems
            ]
            print_json({"valid": False, "problems": problems})
        else:
            print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc
    if online:
        from edge_agent.cli.online_check import check_online
        from edge_agent.config.load import places_of_tags

        gc.enable()
        check_online(
            settings,
            drivers,
            device,
            timeout,
            anyway=anyway,
            as_json=as_json,
            places=lambda: places_of_tags(config, drivers),
        )
        return
    tags = sum(len(device.tags) + len(device.derived) for device in settings.devices)
    if as_json:
        found = {"valid": True, "problems": [], "devices": len(settings.devices), "tags": tags}
        print_json({**found, "unseen_credentials": sorted(unseen)})
    else:
        typer.echo(f"{config}: valid, {counted(len(settings.devices), 'device')} with {counted(tags, 'tag')}")
        if unseen:
            say_unseen(sorted(unseen))


def say_unseen(names: Iterable[str]) -> None:
    """Say which credentials were not looked at, as systemd gives them to the service alone."""
    from connectors.configuration.saying import say
    from connectors.configuration.setting_names import listed

    say(f"not looked at, as systemd gives them to the service alone: {listed(map(repr, names), 'and')}")


def ask(socket: Path, name: str, **args: Any) -> Any:
    """The answer of the agent at ``socket``; ends the command with a sentence when there is none."""
    from edge_agent.local_api.protocol import call

    return run_until_done(call(socket, name, **args))


def run_until_done(work: Coroutine[Any, Any, T]) -> T:
    """Do ``work``; ends the command with a sentence when no agent answers, or it cannot do what was asked."""
    from edge_agent.local_api.protocol import AgentNotRunning

    try:
        return asyncio.run(work)
    except AgentNotRunning as exc:
        fail(str(exc), EXIT_NOT_RUNNING)
    except LinesideError as exc:
        fail(str(exc), EXIT_PROBLEM)


def socket_of(config: Path, socket: Path | None) -> Path:
    """The socket that was named, or the one that the agent's file says; a file that is not valid will do."""
    from edge_agent.config.places import socket_path

    if socket is not None:
        return socket
    try:
        return socket_path(config)
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc


def print_problems(error: ConfigInvalid) -> None:
    """Say all that is wrong with a configuration, with how much that is."""
    from connectors.configuration.saying import say
    from connectors.configuration.setting_names import counted

    for problem in error.problems:
        say(str(problem), indent=2, err=True)
    typer.echo(counted(len(error.problems), "problem"), err=True)
    if not DEFAULT_CONFIG.exists() and any(problem.where == str(DEFAULT_CONFIG) for problem in error.problems):
        typer.echo(_where_else(), err=True)


def _where_else() -> str:
    """What to do where nobody has named a file, and there is none in its usual place."""
    here = Path("agent.yaml")
    if here.exists():
        return f"{here} is in this folder: add -c {here}, or set LINESIDE_CONFIG={here}"
    return "Name the agent's file with -c FILE or LINESIDE_CONFIG, or begin one: edge-agent init"


def fail(message: str, code: int) -> NoReturn:
    """End the command with a sentence."""
    from connectors.configuration.saying import say

    say(message, err=True)
    raise typer.Exit(code)


@functools.cache
def whole_app() -> typer.Typer:
    """``app`` with the commands of the other modules of this package, which import this one."""
    from edge_agent.cli import (
        audit,
        browse,
        buffer,
        device_files,
        doctor,
        drivers,
        enrol,
        following,
        init,
        looking,
        operate,
        releases,
        reload,
        scan,
        simulate,
        single_tags,
        tag_lists,
        trust,
    )

    for part in (looking, single_tags, following, operate, tag_lists):
        part.add_to(app)
    app.add_typer(buffer.app, name="buffer")
    app.add_typer(audit.app, name="audit")
    app.add_typer(device_files.app, name="config")
    app.add_typer(trust.app, name="trust")
    app.command()(doctor.doctor)
    app.command()(browse.browse)
    app.command()(scan.scan)
    app.command()(simulate.simulate)
    app.command()(init.init)
    app.command()(init.schema)
    app.command()(drivers.drivers)
    app.command()(enrol.enrol)
    app.command()(releases.releases)
    app.command()(reload.reload)
    return app


def main() -> None:
    """Entry point of the console script. An agent that runs for years has no screens in its memory."""
    if sys.argv[1:2] in (["run"], ["launch"]) and "--help" not in sys.argv:
        app()
    else:
        from connectors.configuration.command_help import without_flag_types

        try:
            without_flag_types(typer.main.get_command(whole_app()))()
        except PermissionError as exc:  # of a file that belongs to the agent's user, wherever a command looks
            from connectors.configuration.saying import say

            say(f"{exc.filename}: {exc.strerror}; run the command as the agent's user, or as root", err=True)
            sys.exit(EXIT_PROBLEM)
