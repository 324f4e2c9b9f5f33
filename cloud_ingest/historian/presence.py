"""Which agents and devices are online, by the births and deaths in the log (Sparkplug 3.0, 6.4.15 to 6.4.26).

A death is a will that the broker keeps for a connection: one that comes late, after the agent has been born again on
another connection, is recognised by its bdSeq and says nothing.
"""

from __future__ import annotations

from cloud_ingest.historian.work import KnownAgent, Work
from connectors.model.errors import PayloadInvalid
from connectors.ports.database import Database
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.birth import BD_SEQ
from connectors.sparkplug.bulk_decode import TIME_MS_LIMIT
from connectors.sparkplug.node_session import payload_of
from connectors.sparkplug.topics import Topic, Verb

VERSION_METRIC = "Properties/Version"
VERSION_CHARS_MAX = 100


class Presence:
    """The births and deaths of the agents of one partition, in the order of the log."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bd_seq: dict[KnownAgent, int | None] = {}

    def forget(self) -> None:
        """A transaction failed: what was learned from its records is learned again."""
        self._bd_seq.clear()

    async def receive(self, work: Work, agent: KnownAgent, topic: Topic, payload: bytes, received_ms: int) -> None:
        """Take a birth or death of an agent of acknowledged delivery into ``work``; its values come as samples.

        Raises ``PayloadInvalid`` when it is not a Sparkplug payload, and ``DatabaseUnavailable``.
        """
        if topic.verb is Verb.DBIRTH:
            work.devices[agent, topic.device] = (True, received_ms)
            return
        if topic.verb is Verb.DDEATH:
            work.devices[agent, topic.device] = (False, death_ms(payload, received_ms))
            return
        message = payload_of(payload)
        if topic.verb is Verb.NBIRTH:
            self._born(work, agent, message, received_ms)
        elif topic.verb is Verb.NDEATH:
            await self._died(work, agent, message, received_ms)
        else:
            raise PayloadInvalid(f"a {topic.verb.value} with batch number 0, which only births have")

    def _born(self, work: Work, agent: KnownAgent, message: pb.Payload, received_ms: int) -> None:
        work.all_devices_gone(agent, received_ms)
        change = work.change(agent, received_ms)
        change.online = True
        bd_seq = bd_seq_of(message)
        if bd_seq is not None:
            change.bd_seq = bd_seq
            self._bd_seq[agent] = bd_seq
        version = next((metric.string_value for metric in message.metrics if metric.name == VERSION_METRIC), None)
        if version is not None:
            change.version = version[:VERSION_CHARS_MAX]

    async def _died(self, work: Work, agent: KnownAgent, message: pb.Payload, received_ms: int) -> None:
        if agent not in self._bd_seq:
            self._bd_seq[agent] = await self._last_birth(agent)
        born, death = self._bd_seq[agent], bd_seq_of(message)
        if born is not None and death is not None and death != born:
            return
        work.all_devices_gone(agent, received_ms)
        work.change(agent, received_ms).online = False

    async def _last_birth(self, agent: KnownAgent) -> int | None:
        async with self._database.session() as session:
            rows = await session.fetch("SELECT bd_seq FROM agent WHERE agent_id = $1", agent.agent_id)
        bd_seq: int | None = rows[0]["bd_seq"] if rows else None
        return bd_seq


def death_ms(payload: bytes, received_ms: int) -> int:
    """Since when a device is dead: its DDEATH says it (6.4.25), else the time at which that came.

    Raises ``PayloadInvalid`` when the bytes are no payload.
    """
    told_ms = int(payload_of(payload).timestamp)
    return told_ms if 0 < told_ms < TIME_MS_LIMIT else received_ms


def bd_seq_of(message: pb.Payload) -> int | None:
    """The bdSeq in a birth or death, which says which death belongs to which birth."""
    return next((int(metric.long_value) for metric in message.metrics if metric.name == BD_SEQ), None)
