"""Values of wanted tags from the raw log, as soon as it has them: before the historian has stored them.

Batches that agents number are read (docs/protocol/delivery.md); they name their definition, so each can be read by
itself. What it does not find (other nodes, batches whose definition has not come) is in the tables a little later. It
is beside them, never instead: whoever reads the log from its end on may miss something whenever it begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cloud_ingest.event_log.topics import RAW
from cloud_ingest.gateway.live import feeds
from cloud_ingest.gateway.live.newest import NewestValues, is_tellable
from cloud_ingest.historian.decoding import decode_batches
from cloud_ingest.historian.identities import DefinitionTags
from cloud_ingest.historian.incoming import Incoming, read_incoming
from cloud_ingest.historian.sample_rows import BIGINT_MAX, storable_text
from connectors.model.back_off import BackOff
from connectors.model.delivery import AgentName
from connectors.model.error_groups import first_of
from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, PayloadInvalid, StatementRefused
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceDefinition
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, LogRecord, PartitionReader
from connectors.sparkplug.definition import read_definition
from connectors.sparkplug.delivery import DEFINITION_BODY
from connectors.stopping import Tasks

OpenLog = Callable[[], Awaitable[EventLog]]
READ_WAIT_S: Final = 1.0
READ_BYTES_MAX: Final = 512 * 1024
FULL_READS_MAX: Final = 8
"""After so many reads one after the other that were as large as they may be, it is behind, and goes on at the end."""
QUIET_S_MAX: Final = 30.0
"""When nothing came for so long, it begins anew: the topic may be another one."""
RETRY_S: Final = 1.0
RETRY_LONGEST_S: Final = 30.0
DEFINITIONS_MAX: Final = 5000
"""When more are met, all are looked up anew."""
_AWAY: Final = (EventLogUnavailable, DatabaseUnavailable, StatementRefused)


@dataclass(slots=True)
class _Definition:
    """How batches of a device are read, and which of its aliases are wanted tags as of ``version``."""

    tags: DefinitionTags
    first_alias: int
    tag_ids: NDArray[np.int32]
    version: int = -1

    @classmethod
    def of(cls, definition: DeviceDefinition) -> _Definition:
        aliases = [metric.alias for metric in definition.metrics]
        first = min(aliases, default=0)
        return cls(DefinitionTags(definition, {}), first, np.zeros(max(aliases, default=first) - first + 1, np.int32))

    def refresh(self, wanted: dict[str, int], version: int) -> None:
        if self.version != version:
            self.version = version
            self.tag_ids[:] = 0
            for alias, name in self.tags.names.items():
                self.tag_ids[alias - self.first_alias] = wanted.get(name, 0)


class RawValues:
    """See the module."""

    def __init__(self, database: Database, newest: NewestValues) -> None:
        self._database = database
        self._newest = newest
        self._definitions: dict[tuple[str, str], _Definition] = {}
        self._asked_s: dict[tuple[str, str], float] = {}
        self._partitions = self._readers = 0

    @property
    def is_reading(self) -> bool:
        """Whether it follows every partition of the log."""
        return 0 < self._partitions == self._readers

    async def run(self, open_log: OpenLog) -> None:
        """Follow the log until cancelled, from when the first tag is wanted. While it is away, nothing is read."""
        back_off = BackOff(RETRY_S, RETRY_LONGEST_S)
        while True:
            await self._newest.are_wanted.wait()
            try:
                log = await open_log()
                try:
                    await self._follow(log, back_off)
                finally:
                    await log.close()
            except _AWAY:  # the tables have it all
                await asyncio.sleep(back_off.next_s())

    async def _follow(self, log: EventLog, back_off: BackOff) -> None:
        partitions = await log.end_offsets(RAW)
        self._partitions = len(partitions)
        back_off.reset()
        async with first_of(*_AWAY), Tasks() as tasks:
            for partition in partitions:
                tasks.create_task(self._read_forever(log, partition), name=f"live raw {partition}")

    async def _read_forever(self, log: EventLog, partition: int) -> None:
        while True:
            offset = (await log.end_offsets(RAW)).get(partition, 0)
            async with log.reader(RAW, partition, offset) as reader:
                self._readers += 1
                try:
                    await self._read(reader)
                finally:
                    self._readers -= 1

    async def _read(self, reader: PartitionReader) -> None:
        """Read on, until it is better to begin at the end again."""
        full_reads, quiet_s = 0, 0.0
        while full_reads < FULL_READS_MAX and quiet_s < QUIET_S_MAX:
            records = await reader.read(READ_WAIT_S, READ_BYTES_MAX)
            quiet_s = 0.0 if records else quiet_s + READ_WAIT_S
            is_full = sum(len(record.value) for record in records) > READ_BYTES_MAX // 2
            full_reads = full_reads + 1 if is_full else 0
            await self.take(records)

    async def take(self, records: Sequence[LogRecord]) -> None:
        """Tell the values of wanted tags that are in ``records``. Raises ``DatabaseUnavailable``."""
        batches: dict[tuple[AgentName, str, str], list[Incoming]] = {}
        for record in records:
            if record.key not in self._newest.agents:
                continue
            incoming = read_incoming(record)
            if not isinstance(incoming, Incoming) or incoming.delivery is None or not incoming.delivery.batch:
                continue
            topic, delivery = incoming.topic, incoming.delivery
            if delivery.records:
                self._learn(topic.agent, delivery.records.get(DEFINITION_BODY))
            elif (str(topic.agent), topic.device) in self._newest.by_source:
                batches.setdefault((topic.agent, topic.device, delivery.definition), []).append(incoming)
        for (agent, device, hash_), messages in batches.items():
            known = await self._definition(agent, hash_)
            wanted = self._newest.by_source.get((str(agent), device))
            if known is not None and wanted is not None:
                known.refresh(wanted, self._newest.version)
                for batch in decode_batches(messages, known.tags).batches:
                    self._tell(known, batch)

    def _tell(self, known: _Definition, batch: SampleBatch) -> None:
        ids = known.tag_ids[batch.tag - known.first_alias]
        found = np.flatnonzero(ids)
        last: dict[int, tuple[int, int]] = {}
        time_us = batch.time_ns[found] // 1000
        for place, tag_id, at_us in zip(found.tolist(), ids[found].tolist(), time_us.tolist(), strict=True):
            if tag_id not in last or at_us >= last[tag_id][0]:
                last[tag_id] = (at_us, place)
        now_s, now_us = asyncio.get_running_loop().time(), time.time_ns() // 1000
        for tag_id, (at_us, place) in last.items():
            if is_tellable(at_us, now_us):
                quality = 0 if batch.quality is None else int(batch.quality[place])
                self._newest.put(tag_id, at_us, _value(batch, place), quality, now_s)

    def _learn(self, agent: AgentName, body: Any) -> None:
        if isinstance(body, bytes):
            try:
                definition = read_definition(body)
            except PayloadInvalid:
                return
            self._keep(agent, definition)

    async def _definition(self, agent: AgentName, hash_: str) -> _Definition | None:
        key = (str(agent), hash_)
        known = self._definitions.get(key)
        now_s = asyncio.get_running_loop().time()
        if known is not None or now_s < self._asked_s.get(key, 0.0) + RETRY_S:
            return known
        if len(self._asked_s) >= DEFINITIONS_MAX:
            self._asked_s.clear()
        self._asked_s[key] = now_s
        definition = await feeds.definition(self._database, agent, hash_)
        return None if definition is None else self._keep(agent, definition)

    def _keep(self, agent: AgentName, definition: DeviceDefinition) -> _Definition:
        if len(self._definitions) >= DEFINITIONS_MAX:
            self._definitions.clear()
        known = self._definitions[str(agent), definition.hash] = _Definition.of(definition)
        return known


def _value(batch: SampleBatch, place: int) -> bool | float | str | None:
    """A value as the tables would have it, and clients are told it."""
    if batch.null is not None and batch.null[place]:
        return None
    value: Any = batch.value[place]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return storable_text(value)
    return str(value) if type(value) is int and value > BIGINT_MAX else value
