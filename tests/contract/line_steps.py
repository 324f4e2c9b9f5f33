"""A plant with a line on a real PostgreSQL and a real event log: samples go in, and what the line tells comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.event_log.consuming import PartitionConsumer
from cloud_ingest.event_log.topics import LINE_EVENTS, SAMPLES
from cloud_ingest.historian.samples_pb2 import SampleBatch
from cloud_ingest.lines import equipment
from cloud_ingest.lines.equipment import EquipmentKey
from cloud_ingest.lines.events import COUNTED
from cloud_ingest.lines.folding import fold_line
from cloud_ingest.lines.model import MODELS, EquipmentKind
from cloud_ingest.lines.role import Lines
from cloud_ingest.lines.signal_samples import SignalSamples
from cloud_ingest.store.migrate import migrate
from connectors.model.datatypes import DataType
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, LogRecord, Record, TopicSpec
from connectors.postgres.database import open_database

S: Final = 1_000_000_000
T0: Final = 1_790_000_040 * S
AGENT: Final = "plant-7/line-1"
TOPIC: Final = TopicSpec(SAMPLES, 2)
Sample = tuple[float, str, Any]
"""Seconds since ``T0``, tag, value; ``None`` for a bad one."""
FAULTED: Final = {"state": "faulted", "reason": "jam"}
LINE: Final[dict[str, Any]] = {
    "area": "hall",
    "signals": {
        "state": {"tag": f"{AGENT}/press/state", "map": {"1": "running", "2": "stopped", "3": FAULTED}},
        "good": {"tag": f"{AGENT}/press/good", "modulus": "16bit", "rate_max": 20},
        "reject": {"tag": f"{AGENT}/press/reject", "modulus": "16bit", "rate_max": 20},
    },
    "micro_stop": "10s",
}  # fmt: skip
PARTS: Final[Sequence[tuple[EquipmentKind, str, dict[str, Any]]]] = (
    ("site", "berlin", {"name": "Berlin", "time_zone": "Europe/Berlin"}),
    ("area", "hall", {}),
    ("reason", "mechanical", {"kind": "unplanned"}),
    ("reason", "jam", {"parent": "mechanical"}),
    ("reason", "cleaning", {"kind": "planned"}),
    ("line", "press-1", LINE),
)


class SetClock:
    """A clock that stands until it is set."""

    def __init__(self, now_ns: int = T0) -> None:
        self.now = now_ns

    def now_ns(self) -> int:
        return self.now

    def monotonic_s(self) -> float:
        return self.now / S


@dataclass
class Plant:
    """The line press-1 at berlin; samples are handed to its projection as if a log had them, or by a log."""

    database: Database
    log: EventLog | None = None
    clock: SetClock = field(default_factory=SetClock)
    tenant: int = 1
    _offset: int = 0
    _batch: int = 0
    _reader: PartitionConsumer | None = None

    async def describe(self, **changes: Any) -> None:
        """Make the plant, or change its line."""
        async with tenant_transaction(self.database, self.tenant) as session:
            for kind, code, model in PARTS:
                told = {**model, **changes} if kind == "line" else model
                key = EquipmentKey("berlin", kind, code)
                await equipment.put(session, self.tenant, key, MODELS[kind].model_validate(told), "anna")

    async def take(self, *samples: Sample, at_s: float | None = None) -> None:
        """Samples of one batch arrive, and are folded, at ``at_s`` (when they are taken, unless said)."""
        await self.store(*samples)
        await self.fold(max([one[0] for one in samples]) if at_s is None else at_s)

    async def store(self, *samples: Sample, agent: str = AGENT) -> None:
        """Samples of one batch arrive."""
        await self.store_records([self.record(*samples, agent=agent)])

    async def store_records(self, records: Sequence[Record]) -> None:
        made = [LogRecord(self._offset + at, one.key, one.value, one.time_ms) for at, one in enumerate(records)]
        self._offset += len(made)
        if self._reader is None:
            log: Any = None
            self._reader = PartitionConsumer(self.database, log, SignalSamples(TOPIC).projection, "identity", 0)
            await self._reader._place.read()
        await self._reader.take(made)

    def record(self, *samples: Sample, agent: str = AGENT) -> Record:
        """A batch as the historian publishes it."""
        self._batch += 1
        group, name = agent.split("/")
        batch = SampleBatch(group=group, agent=name, device="press", epoch=7, batch=self._batch)
        for datatype, chosen in _by_type(samples).items():
            column = batch.columns.add(datatype=datatype)
            names = sorted({tag for _, tag, _ in chosen})
            column.tag_names.extend(names)
            for time_s, tag, value in chosen:
                column.tag.append(names.index(tag))
                column.time_ns.append(T0 + round(time_s * S))
                column.quality.append(0x8000 if value is None else 0)
                if datatype is DataType.STRING:
                    column.text_values.append(value)
                elif datatype is DataType.BOOLEAN:
                    column.bool_values.append(value)
                elif datatype is DataType.DOUBLE:
                    column.double_values.append(value)
                else:
                    column.uint_values.append(value or 0)
        received_ms = (T0 + round(max(one[0] for one in samples) * S)) // 1_000_000 + 50
        return Record(agent.encode(), batch.SerializeToString(), received_ms)

    async def fold(self, at_s: float) -> None:
        """Fold the line, at that time."""
        self.clock.now = T0 + round(at_s * S)
        (row,) = await self.fetch("SELECT line_id FROM production_line WHERE tenant_id = $1", self.tenant)
        async with unit_of_work(self.database) as work:
            assert await fold_line(work, row["line_id"], self.clock.now)

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        async with self.database.session() as session:
            return list(await session.fetch(sql, *args))

    async def events(self, kind: str = "") -> list[dict[str, Any]]:
        """What was told, oldest first; of one kind, such as ``counted``."""
        import json

        rows = await self.fetch("SELECT event FROM event_outbox WHERE topic = $1 ORDER BY number", LINE_EVENTS)
        told = [json.loads(row["event"]) for row in rows]
        return [one["data"] | {"kind_of": kind_of(one["type"])} for one in told if kind in ("", kind_of(one["type"]))]

    async def sums(self) -> tuple[Decimal, Decimal]:
        """Good and reject of all that was told as counted; the tables have to say the same."""
        told = [one for one in await self.events("counted") if one["kind_of"] == kind_of(COUNTED)]
        sums = (
            sum((Decimal(one["good"]) for one in told), Decimal(0)),
            sum((Decimal(one["reject"]) for one in told), Decimal(0)),
        )
        for table in ("production_line", "line_minute"):
            (row,) = await self.fetch(
                f"SELECT coalesce(sum(good), 0) AS good, coalesce(sum(reject), 0) AS reject FROM {table}"
            )
            assert (row["good"], row["reject"]) == sums, f"{table} differs from what was told"
        return sums

    async def states(self) -> list[tuple[str, float, float | None]]:
        rows = await self.fetch("SELECT * FROM line_state ORDER BY begin_ns")
        return [(row["state"], seconds(row["begin_ns"]) or 0.0, seconds(row["end_ns"])) for row in rows]

    async def stops(self) -> list[tuple[float, float | None, str, str | None]]:
        rows = await self.fetch("SELECT * FROM line_stop ORDER BY begin_ns")
        return [(seconds(row["begin_ns"]) or 0.0, seconds(row["end_ns"]), row["kind"], row["reason"]) for row in rows]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The role, on the log."""
        assert self.log is not None
        role = Lines(self.database, self.log, self.clock, TOPIC)
        task = asyncio.create_task(role.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def seconds(time_ns: int | None) -> float | None:
    return None if time_ns is None else (time_ns - T0) / S


def kind_of(type_: str) -> str:
    return type_.removeprefix("lineside.lines.").removesuffix(".v1")


def _by_type(samples: Sequence[Sample]) -> Mapping[DataType, list[Sample]]:
    found: dict[DataType, list[Sample]] = {}
    for sample in samples:
        match sample[2]:
            case bool():
                datatype = DataType.BOOLEAN
            case str():
                datatype = DataType.STRING
            case float():
                datatype = DataType.DOUBLE
            case _:
                datatype = DataType.UINT64
        found.setdefault(datatype, []).append(sample)
    return found


@asynccontextmanager
async def plant(dsn: str, log: EventLog | None = None) -> AsyncIterator[Plant]:
    database = await open_database(dsn, connections_max=12, application_name="tests")
    try:
        await migrate(database)
        async with database.session() as session:
            await session.execute("INSERT INTO sparkplug_group (group_name, tenant_id) VALUES ('plant-7', 1)")
        made = Plant(database, log)
        await made.describe()
        yield made
    finally:
        await database.close()


async def told_of(work: UnitOfWork) -> list[str]:
    """The kinds of events that ``work`` announces."""
    return [kind_of(event.type) for event in work.events]
