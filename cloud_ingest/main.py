"""The composition root of the cloud side: the one place that knows every part, and the order in which they start.

A role is loaded where it is made: a process has nothing of other roles in its memory, and starts without them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import secrets
import signal
import socket
import traceback
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cloud_ingest.config import NEED_LOG, PLATFORM, CloudConfig, HistorianSettings, IngestSettings, Role
from cloud_ingest.documents import kept_logs
from cloud_ingest.event_log.lent_log import Lending
from cloud_ingest.event_log.topics import topic_specs
from cloud_ingest.observability.events import (
    CloudStarted,
    CloudStopped,
    CloudStopping,
    Fault,
    Migrated,
    StoreReached,
    StoreWaiting,
    TimescaleFound,
)
from cloud_ingest.observability.metrics import REGISTRY
from cloud_ingest.observability.obstacles import OBSTACLES, START
from cloud_ingest.observability.steadiness import steadily
from cloud_ingest.opened import connect_event_log, unconnected_database
from cloud_ingest.store.migrate import migrate
from cloud_ingest.store.processes import Facts, ProcessBook
from cloud_ingest.store.timescale import use_timescaledb
from connectors.model.back_off import BackOff
from connectors.model.error_groups import first_of
from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, LinesideError
from connectors.observability.events import emit
from connectors.observability.version import lineside_version
from connectors.ports.clock import SystemClock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, TopicSpec
from connectors.stopping import GRACE, Tasks, not_silently

if TYPE_CHECKING:
    from cloud_ingest.historian.upkeep.task import Upkeep
    from cloud_ingest.platform import Part, Work
    from connectors.mqtt.session import MqttOptions

GOODBYE_S_MAX: Final = 10.0
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
DAY_S: Final = 86_400
T = TypeVar("T")


def run_program(work: Coroutine[Any, Any, None], roles: Sequence[Role]) -> None:
    """Run ``work`` of a process that has these ``roles``, in an event loop of its own."""
    with asyncio.Runner(loop_factory=_loop_factory(roles)) as runner:
        runner.run(work)


def _loop_factory(roles: Sequence[Role]) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop: uvloop, in which a request costs less, where this process serves and does nothing else.

    With the log and the broker it is asyncio's own, on which all faults are tried; and where there is no uvloop.
    """
    if not NEED_LOG.isdisjoint(roles):
        return None
    try:
        import uvloop
    except ImportError:  # it has to be built where there is no wheel for the machine
        return None
    return uvloop.new_event_loop


async def run_cloud(config: CloudConfig, roles: Sequence[Role]) -> None:
    """Run ``roles`` until SIGTERM or SIGINT. A database or log that is not there yet is waited for.

    Raises ``MigrationInvalid`` when the database does not fit this version, and ``PortUnavailable`` when the port of
    the gateway or the metrics is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _request_stop, stop, number)
    starting = asyncio.create_task(_start(config, roles, stop), name="roles")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    GRACE.begin()
    starting.cancel()
    _, stuck = await asyncio.wait([starting], timeout=GOODBYE_S_MAX)
    if stuck:
        names = sorted({task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()})
        emit(Fault("stop", f"it has not ended within {GOODBYE_S_MAX:g} s: {', '.join(names)}", ""))
    emit(CloudStopped())
    if not starting.cancelled() and starting.done() and (error := starting.exception()) is not None:
        raise error


async def _start(config: CloudConfig, roles: Sequence[Role], stop: asyncio.Event) -> None:
    log_kind = "postgresql" if config.event_log.kafka is None else "kafka"
    emit(CloudStarted(",".join(roles), lineside_version(), log_kind))
    async with contextlib.AsyncExitStack() as stack:
        listening = await _listen(config, roles)
        if listening is not None:
            stack.callback(listening.close)
        is_gateway_alone = NEED_LOG.isdisjoint(roles)  # what stores waits for no connection that reads have
        database = await unconnected_database(config, serves=is_gateway_alone)
        stack.push_async_callback(database.close)
        lending = None if NEED_LOG.isdisjoint(roles) else Lending()
        async with first_of(LinesideError), Tasks() as tasks:
            tasks.create_task(stop.wait(), name="stop")  # whoever waits for that, cancels all of them
            if listening is not None:  # at once: it says that the database is away, as long as it is
                open_log = functools.partial(connect_event_log, config, database) if lending is None else lending.open
                _start_gateway(tasks, listening, database, config, open_log)
            gc.freeze()  # what was loaded so far stays: the collector need not look at it, now or later
            gc.enable()
            if applied := await _reached(lambda: migrate(database)):
                emit(Migrated(", ".join(f"{migration.number:04d}_{migration.name}" for migration in applied)))
            timescale = await _reached(lambda: use_timescaledb(database))
            if timescale.is_used or timescale.reason:
                emit(TimescaleFound(timescale.is_used, timescale.reason))
            facts: list[Facts] = []
            book = ProcessBook(database, roles, OBSTACLES.all, facts)
            stack.push_async_callback(book.leave)
            tasks.create_task(_supervised("status", book.say_forever), name="status")
            name, keep, _ = kept_logs(config, database)
            tasks.create_task(_supervised(name, keep), name=name)
            if "historian" in roles:
                upkeep = _upkeep(config.historian, database)
                tasks.create_task(_supervised("upkeep", upkeep.run), name="upkeep")
            if lending is not None:
                log = await _reached(lambda: connect_event_log(config, database))
                stack.push_async_callback(log.close)
                lending.has(log)
                for name, work, told in _log_parts(config, roles, database, log):
                    facts.append(told)
                    tasks.create_task(_supervised(name, work), name=name)
            gc.collect()
            gc.freeze()


async def _listen(config: CloudConfig, roles: Sequence[Role]) -> socket.socket | None:
    """The gateway's socket, if this process has that role; else metrics and readiness are served, if they shall be.

    Raises ``PortUnavailable``: what the configuration says cannot be, and a process that served nobody would be worse
    than one that its service manager shows as failed.
    """
    from cloud_ingest.gateway.listening import listen

    if "gateway" in roles:
        if config.grpc is not None:
            (await listen("grpc", config.grpc.host, config.grpc.port)).close()  # gRPC takes it itself; see below
        return await listen("gateway", config.gateway.host, config.gateway.port)
    metrics = config.observability.metrics
    if metrics is not None:
        from cloud_ingest.observability.serving import serve_operations

        (await listen("metrics", metrics.host, metrics.port)).close()  # it is free, and if not, the reason is said
        serve_operations(metrics.host, metrics.port, REGISTRY, OBSTACLES)
    return None


def _start_gateway(
    tasks: Tasks,
    listening: socket.socket,
    database: Database,
    config: CloudConfig,
    open_log: Callable[[], Coroutine[Any, Any, EventLog]],
) -> None:
    from cloud_ingest.gateway.server import serve
    from cloud_ingest.platform import grpc_work, make_gateway

    app = make_gateway(config, database, open_log=open_log)
    work = functools.partial(serve, listening, app, config.gateway.proxies)
    tasks.create_task(_supervised("gateway", work), name="gateway")
    tasks.create_task(_supervised("tokens", app.state.held_tokens.hear_forever), name="tokens")
    if config.grpc is not None:
        tasks.create_task(_supervised("grpc", grpc_work(config, config.grpc, database, app)), name="grpc")


def _log_parts(config: CloudConfig, roles: Sequence[Role], database: Database, log: EventLog) -> list[Part]:
    topics = topic_specs(config.event_log.partitions, config.event_log.retention_s)
    parts: list[Part] = []
    if "ingest" in roles:
        parts.append(_ingest(config, database, log, topics))
    if "historian" in roles:
        parts.append(_historian(config, roles, database, log, topics))
    if "commands" in roles:
        parts.append(_commands(config, database, log, topics))
    if not PLATFORM.isdisjoint(roles):
        from cloud_ingest.platform import PlatformContext, platform_parts

        parts += platform_parts(PlatformContext(config, frozenset(roles), database, log, SystemClock(), topics))
    return parts


def _ingest(config: CloudConfig, database: Database, log: EventLog, topics: dict[str, TopicSpec]) -> Part:
    from cloud_ingest.ingest.bridge import Bridge, BridgeOptions
    from connectors.mqtt.session import MqttSession

    ingest = config.ingest
    options = BridgeOptions(
        ingest.host, ingest.brokers, ingest.acknowledge, ingest.ack_interval_s, ingest.pending_bytes_max
    )
    session = MqttSession(_mqtt_options(ingest))
    sharing = MqttSession(_mqtt_options(ingest, "-share")) if ingest.share else None
    bridge = Bridge(options, session, log, database, SystemClock(), topics, sharing)
    return ("ingest", bridge.run, bridge.facts)


def _historian(
    config: CloudConfig, roles: Sequence[Role], database: Database, log: EventLog, topics: dict[str, TopicSpec]
) -> Part:
    from cloud_ingest.historian.historian import Historian

    historian = Historian(
        database,
        log,
        SystemClock(),
        topics=topics,
        retention_days=int(config.historian.retention_s // DAY_S),
        publish_samples=_publishes_samples(config, roles),
        reorder_s=config.historian.reorder_timeout_s,
    )
    return ("historian", historian.run, historian.facts)


def _commands(config: CloudConfig, database: Database, log: EventLog, topics: dict[str, TopicSpec]) -> Part:
    from cloud_ingest.commands.dispatcher import Dispatcher, DispatcherOptions
    from cloud_ingest.commands.requests import Requests
    from cloud_ingest.commands.role import Commands
    from cloud_ingest.releases.rollouts import Rollouts
    from connectors.mqtt.session import MqttSession

    clock = SystemClock()
    dispatcher: Dispatcher | None = None
    if config.commands.signing_key is not None:
        options = DispatcherOptions(config.ingest.brokers, config.ingest.host, config.commands.signing_key)
        session = MqttSession(_mqtt_options(config.ingest, client_id=config.commands.client_id))
        dispatcher = Dispatcher(database, session, clock, options)
    rollouts = Rollouts(database, clock, Requests(database, clock, config.commands.approve))
    commands = Commands(database, log, clock, topics, dispatcher, rollouts.run)
    return ("commands", commands.run, commands.facts)


def _upkeep(historian: HistorianSettings, database: Database) -> Upkeep:
    from cloud_ingest.historian.upkeep.retention import Retention
    from cloud_ingest.historian.upkeep.task import Upkeep, UpkeepOptions

    retention = Retention(
        samples=timedelta(seconds=historian.retention_s),
        minutes=timedelta(seconds=historian.minute_retention_s),
        hours=timedelta(seconds=historian.hour_retention_s),
        gaps=timedelta(seconds=historian.gap_retention_s),
        dead_letters=timedelta(seconds=historian.dead_letter_retention_s),
    )
    return Upkeep(database, SystemClock(), UpkeepOptions(retention, timedelta(seconds=historian.pack_after_s)))


def _publishes_samples(config: CloudConfig, roles: Sequence[Role]) -> bool:
    said = config.historian.publish_samples
    return "lines" in roles if said is None else said


async def _reached(connect: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What ``connect`` gives, tried until it is there."""
    back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
    while True:
        try:
            reached = await connect()
        except (DatabaseUnavailable, EventLogUnavailable) as exc:
            wait_s = back_off.next_s()
            emit(StoreWaiting(START, str(exc), round(wait_s, 1)))
        else:
            if OBSTACLES.reason(START):
                emit(StoreReached(START))
            return reached
        await asyncio.sleep(wait_s)


async def _supervised(name: str, work: Work) -> None:
    """Run a role for as long as the program lives; a defect in it is logged, counted, and the role started again."""
    back_off = BackOff(1.0, 60.0)
    while True:
        try:
            async with steadily(name, back_off):
                await not_silently(work())
        except Exception as exc:  # the other roles go on
            emit(Fault(name, f"{type(exc).__name__}: {exc}", traceback.format_exc()))
        await asyncio.sleep(back_off.next_s())


def _request_stop(stop: asyncio.Event, number: signal.Signals) -> None:
    emit(CloudStopping(number.name))
    stop.set()


def _mqtt_options(ingest: IngestSettings, kind: str = "", *, client_id: str = "") -> MqttOptions:
    from connectors.mqtt.session import MqttOptions

    return MqttOptions(
        client_id=f"{client_id or ingest.client_id}{kind}-{secrets.token_hex(4)}",
        user=ingest.user or "",
        password="" if ingest.password is None else ingest.password.get_secret_value(),
        ca_file=ingest.ca_file,
        cert_file=ingest.cert_file,
        key_file=ingest.key_file,
        keep_alive_s=ingest.keep_alive_s,
        version=ingest.mqtt_version,
    )
