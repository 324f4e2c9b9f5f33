"""The role ``commands`` between a real PostgreSQL and a real event log, and an agent that is played."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from cloud_ingest.commands import questions
from cloud_ingest.commands.command_request import CommandRequest
from cloud_ingest.commands.reports import ReportProjector
from cloud_ingest.commands.requests import Requests
from cloud_ingest.event_log.topics import COMMANDS, REPORTS, raw_record, topic_specs
from cloud_ingest.historian.identities import Identities, TagKey
from cloud_ingest.store.migrate import migrate
from connectors.commands.reports import CommandReport
from connectors.commands.signing import SigningKey, TrustedKeys
from connectors.commands.states import CommandState
from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName
from connectors.ports.clock import SystemClock
from connectors.ports.event_log import EventLog, LogRecord
from connectors.postgres.database import PostgresDatabase, open_database
from tests.contract.historian_steps import RawLog
from tests.played_agent import PlayedAgent, Wire

TENANT: Final = 1
JOURNAL: Final = "ab" * 16
SETPOINT: Final = {"do": "write", "device": "press", "tag": "setpoint", "value": 120.0}


class SetClock:
    """A clock that is ``ahead_ms`` of this machine's."""

    def __init__(self) -> None:
        self.ahead_ms = 0
        self._system = SystemClock()

    def now_ns(self) -> int:
        return self._system.now_ns() + self.ahead_ms * 1_000_000

    def monotonic_s(self) -> float:
        return self._system.monotonic_s()

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000


class Office:
    """The cloud's side of commands, part by part, on a database with one agent that is born."""

    def __init__(self, database: PostgresDatabase, dsn: str) -> None:
        self.database, self.dsn = database, dsn
        self.clock = SetClock()
        self.requests = Requests(database, self.clock)
        self.key = SigningKey.generate()
        self.keys = TrustedKeys({self.key.key_id: self.key.public_jwk()})
        self.agent = PlayedAgent()
        self._steps: dict[str, int] = {}
        self._number = 0

    async def prepare(self, name: AgentName | None = None, *, acknowledges: bool = True, online: bool = True) -> None:
        """An agent with a tag ``press/setpoint``; it has said hello long ago."""
        identities = Identities(self.database)
        known = await identities.agent(name or self.agent.name)
        await identities.tags(known, [TagKey("press", "setpoint", DataType.DOUBLE)])
        async with self.database.session() as session:
            await session.execute(
                "UPDATE agent SET online = $2, acknowledges = $3, online_changed = now() - interval '1 hour' "
                "WHERE agent_id = $1",
                known.agent_id,
                online,
                acknowledges,
            )

    async def ask(self, key: str = "k", *, issuer: str = "anna", **more: Any) -> str:
        """Ask for a command: its id."""
        request = self.request(**more)
        return (await self.requests.take(request, tenant_id=TENANT, issuer=issuer, key=key)).command

    def request(self, **more: Any) -> CommandRequest:
        return CommandRequest.model_validate({"agent": str(self.agent.name), "action": SETPOINT, **more})

    async def state(self, command: str) -> str:
        return str((await questions.command(self.database, command))["state"])

    async def states(self, command: str) -> list[str]:
        """Every state that it has come into; what came late is left out."""
        found = await questions.command(self.database, command)
        return [state["state"] for state in found["states"] if not state["late"]]

    async def make(self, command: str, state: CommandState) -> None:
        """Have the command be ``state`` as if that had come about."""
        async with self.database.session() as session:
            await session.execute("UPDATE command SET state = $2 WHERE command_id = $1", command, state.value)

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        async with self.database.session() as session:
            return list(await session.fetch(sql, *args))

    def report(self, command: str, state: CommandState, *, agent: PlayedAgent | None = None, **more: Any) -> Wire:
        """The agent's next report of ``command``."""
        step = self._steps[command] = self._steps.get(command, 0) + 1
        given = {"id": command, "journal": JOURNAL, "number": 1, "step": step, "state": state, "actor": "line-1",
                 "time_ms": time.time_ns() // 1_000_000, **more}  # fmt: skip
        return (agent or self.agent).report(CommandReport.model_validate(given))


@asynccontextmanager
async def office(dsn: str) -> AsyncIterator[Office]:
    database = await open_database(dsn, connections_max=8, application_name="tests")
    try:
        await migrate(database)
        made = Office(database, dsn)
        await made.prepare()
        async with database.session() as session:
            await session.execute(
                "INSERT INTO signing_key (key_id, tenant_id, public_key, created_by) VALUES ($1, 1, '{}', 'test')",
                made.key.key_id,
            )
        yield made
    finally:
        await database.close()


def log_record(wire: Wire, offset: int, received_ms: int | None = None) -> LogRecord:
    """A record as a reader of the reports topic gets it."""
    now_ms = time.time_ns() // 1_000_000 if received_ms is None else received_ms
    parts = wire.topic.split("/")
    made = raw_record(f"{parts[1]}/{parts[3]}", wire.topic, wire.payload, now_ms)
    return LogRecord(offset, made.key, made.value, made.time_ms, made.headers)


class Reading:
    """A projector that is handed records as if a log had them, one after the other."""

    def __init__(self, here: Office, log: Any = None) -> None:
        self.projector = ReportProjector(here.database, log, "identity", 0)
        self._here = here
        self._next = 0

    async def take(self, *wires: Wire) -> None:
        await self.take_records(self.records(*wires))

    def records(self, *wires: Wire) -> list[LogRecord]:
        made = [log_record(wire, self._next + number) for number, wire in enumerate(wires)]
        self._next += len(made)
        return made

    async def take_records(self, records: Sequence[LogRecord]) -> None:
        if records[0].offset == 0:
            await self.projector._place.read()
        await self.projector.take(records)


@asynccontextmanager
async def reports_log(raw_log: RawLog) -> AsyncIterator[EventLog]:
    """The log with the topics of commands, empty."""
    await raw_log.clear()
    log = await raw_log.open()
    try:
        topics = topic_specs(2, 7 * 86_400)
        for topic in (REPORTS, COMMANDS):
            await log.ensure(topics[topic])
        yield log
    finally:
        await log.close()
