"""The event log in memory, and what a real one does besides: it is away, fails, its answer or its end is lost."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from cloud_ingest.event_log.topics import RAW
from connectors.model.errors import EventLogUnavailable
from connectors.ports.event_log import LogRecord, Position, Record, TopicSpec, TopicState
from connectors.ports.memory_event_log import MemoryEventLog, MemoryLogServer, MemoryReader
from tests.simulation.process import Process
from tests.simulation.trace import Trace

RECORD_BYTES_MAX: Final = 4096


@dataclass(slots=True)
class LogFaults:
    """How likely an append fails, and how: nothing is in the log, all is and nobody knows, or it comes later."""

    fails: float = 0.0
    answer_lost: float = 0.0
    late: float = 0.0
    takes_s_max: float = 0.02


class LogServer(MemoryLogServer):
    """The topics. ``survives_power_loss``: what was appended is never lost again."""

    def __init__(self, trace: Trace, draw: random.Random, *, survives_power_loss: bool) -> None:
        super().__init__()
        self.faults = LogFaults()
        self.survives_power_loss = survives_power_loss
        self.draw = draw
        self.interruptions = 0
        self._absences = 0
        self._trace = trace

    def go_away(self) -> None:
        """Nobody reaches it; whoever waits for records hears of it."""
        self._absences += 1
        self.available = False
        self.interruptions += 1
        self._trace.note("is away", who="log")
        self.announce()

    def come_back(self) -> None:
        """One reason less to be away."""
        self._absences -= 1
        self.available = self._absences == 0
        self._trace.note("is there" if self.available else "stays away", who="log")
        self.announce()

    def mend(self) -> None:
        """It is there, whatever was."""
        while not self.available:
            self.come_back()

    def lose_end(self, part: float) -> None:
        """Some of the newest records of each partition, which no disk had yet, are gone; only while it is away."""
        assert not self.survives_power_loss
        assert not self.available
        for number, partition in enumerate(self.topics[RAW].partitions if RAW in self.topics else ()):
            count = round(part * min(20, len(partition.records)))
            if count:
                self._trace.note("loses", count, "records of", number, who="log")
                del partition.records[-count:]
                partition.next_offset -= count


class _Reader(MemoryReader):
    """An interruption is never passed over, as the port's adapters have it."""

    def __init__(self, server: LogServer, topic: str, partition: int, offset: int) -> None:
        super().__init__(server, topic, partition, offset)
        self._log = server
        self._interruptions = server.interruptions

    async def read(self, wait_s: float, bytes_max: int) -> Sequence[LogRecord]:
        """See ``PartitionReader``."""
        records = await super().read(wait_s, bytes_max)
        if self._log.interruptions != self._interruptions:
            self._interruptions = self._log.interruptions
            raise EventLogUnavailable("the reading was interrupted")
        return records


class SimulatedLog(MemoryEventLog):
    """The log as one life of a process sees it."""

    def __init__(self, server: LogServer, process: Process, trace: Trace) -> None:
        super().__init__(server, record_bytes_max=RECORD_BYTES_MAX)
        self._log = server
        self._process = process
        self._trace = trace

    async def ensure(self, topic: TopicSpec) -> TopicState:
        """See ``EventLog``."""
        await self._asked()
        state = await super().ensure(topic)
        identity = f"identity of {topic.name}"
        return replace(state, identity=identity, survives_power_loss=self._log.survives_power_loss)

    async def append(self, topic: str, records: Sequence[Record]) -> Sequence[Position]:
        """See ``EventLog``."""
        faults, draw = self._log.faults, self._log.draw
        await self._asked()
        await asyncio.sleep(draw.uniform(0.001, faults.takes_s_max))
        chance = draw.random() - faults.fails
        if chance < 0:
            raise EventLogUnavailable("the append failed")
        if chance < faults.late:
            nobody = contextvars.Context()
            asyncio.get_running_loop().call_later(
                draw.uniform(0.1, 3.0), self._append_late, topic, records, context=nobody
            )
            raise EventLogUnavailable("the append took too long")
        interruptions = self._log.interruptions
        self._log.topic(topic)
        positions = await self._append_now(topic, records)
        await asyncio.sleep(draw.uniform(0.001, faults.takes_s_max))
        if not self._process.touch("store"):
            await dead()
        if chance < faults.late + faults.answer_lost or self._log.interruptions != interruptions:
            raise EventLogUnavailable("the answer to an append was lost")
        return positions

    async def _append_now(self, topic: str, records: Sequence[Record]) -> Sequence[Position]:
        if not self._process.touch("store"):
            await dead()
        positions = await super().append(topic, records)
        self._trace.note(
            "appends", len(records), "to", topic, *(f"{p.partition}:{p.next_offset}" for p in positions[-1:])
        )
        return positions

    def _append_late(self, topic: str, records: Sequence[Record]) -> None:
        """The broker of the log had the records all the time."""
        if not self._log.available or any(len(record.value) > RECORD_BYTES_MAX for record in records):
            return
        asyncio.get_running_loop().create_task(self._append_after_all(topic, records), name="late append")

    async def _append_after_all(self, topic: str, records: Sequence[Record]) -> None:
        await super().append(topic, records)
        self._trace.note("appends late", len(records), "to", topic, who="log")

    @asynccontextmanager
    async def reader(self, topic: str, partition: int, offset: int) -> AsyncIterator[MemoryReader]:
        """See ``EventLog``."""
        await self._asked()
        self._log.topic(topic)
        yield _Reader(self._log, topic, partition, offset)

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See ``EventLog``."""
        await self._asked()
        return await super().end_offsets(topic)

    async def _asked(self) -> None:
        if not self._process.touch("store"):
            await dead()
        await asyncio.sleep(self._log.draw.uniform(0.0005, 0.005))


async def dead() -> None:
    """Nothing that a dead process waits for comes; it is cancelled here."""
    await asyncio.get_running_loop().create_future()
