"""The programs of the cloud: one life of an ingest or a historian, as ``cloud_ingest.main`` has them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cloud_ingest.commands.dispatcher import Dispatcher, DispatcherOptions
from cloud_ingest.commands.keys import write_key
from cloud_ingest.commands.role import Commands
from cloud_ingest.event_log.topics import topic_specs
from cloud_ingest.historian.historian import Historian
from cloud_ingest.ingest.bridge import Bridge, BridgeOptions
from connectors.ports.clock import Clock
from tests.simulation.broker import Broker, SimulatedSession
from tests.simulation.commanded import KEY, Order
from tests.simulation.database import DatabaseServer, SimulatedDatabase
from tests.simulation.event_log import LogServer, SimulatedLog
from tests.simulation.people import Gateway
from tests.simulation.plan import Plan
from tests.simulation.process import Process
from tests.simulation.trace import Trace

HOST: Final = "lineside"
RETENTION_DAYS: Final = 400
WAITING_MAX: Final = 2000
MESSAGE_BYTES_MAX: Final = 6000


class Cloud:
    """What the programs of the cloud share: broker, log and database."""

    def __init__(
        self,
        plan: Plan,
        *,
        broker: Broker,
        log: LogServer,
        database: DatabaseServer,
        clock: Clock,
        trace: Trace,
        draw: random.Random,
        violated: Callable[[str], None],
        orders: Sequence[Order],
        folder: Path,
    ) -> None:
        """``orders`` is what people ask for; ``folder`` is for the key that commands are signed with."""
        self._plan = plan
        self._broker = broker
        self._log = log
        self._database = database
        self._clock = clock
        self._trace = trace
        self._draw = draw
        self._violated = violated
        self._topics = topic_specs(plan.partitions, 7 * 86_400.0)
        self._bridges: dict[Process, Bridge] = {}
        self._orders = orders
        self._signing_key = folder / "signing.jwk"
        if orders:
            write_key(self._signing_key, KEY)

    async def ingest(self, process: Process) -> None:
        """One life of an ingest."""
        plan = self._plan
        options = BridgeOptions(HOST, ("mqtt://broker:1883",), "auto", plan.ack_interval_s, plan.pending_bytes_max)
        session = SimulatedSession(self._broker, process, self._trace, self._draw)
        log, database = SimulatedLog(self._log, process, self._trace), SimulatedDatabase(self._database, process)
        sharing: SimulatedSession | None = None
        if plan.shares:
            sharing = SimulatedSession(self._broker, process, self._trace, self._draw, f"{process.name}-share")
        bridge = Bridge(options, session, log, database, self._clock, self._topics, sharing)
        self._bridges[process] = bridge
        process.when_cut(lambda: self._bridges.pop(process, None) and None)
        await bridge.run()

    async def historian(self, process: Process) -> None:
        """One life of a historian."""
        historian = Historian(
            SimulatedDatabase(self._database, process),
            SimulatedLog(self._log, process, self._trace),
            self._clock,
            topics=self._topics,
            retention_days=RETENTION_DAYS,
            publish_samples=self._plan.publishes_samples,
        )
        await historian.run()

    async def commands(self, process: Process) -> None:
        """One life of the role that sends commands and takes what agents report of them."""
        database = SimulatedDatabase(self._database, process)
        session = SimulatedSession(self._broker, process, self._trace, self._draw)
        options = DispatcherOptions(("mqtt://broker:1883",), HOST, self._signing_key)
        dispatcher = Dispatcher(database, session, self._clock, options)
        log = SimulatedLog(self._log, process, self._trace)
        await Commands(database, log, self._clock, self._topics, dispatcher).run()

    async def gateway(self, process: Process) -> None:
        """One life of the program that people ask for commands."""
        await Gateway(self._database, process, self._clock, self._orders).run()

    def look(self) -> None:
        """No queue is longer than it may be."""
        for process, bridge in self._bridges.items():
            size_max = 2 * self._plan.pending_bytes_max + MESSAGE_BYTES_MAX
            if bridge._intake.pending.size_bytes > size_max:
                self._violated(
                    f"{process.name}: {bridge._intake.pending.size_bytes} bytes pending; the bound is {size_max}"
                )
            waiting = sum(len(queue) for queue in bridge._intake.acknowledging._waiting.values())
            if waiting > WAITING_MAX:
                self._violated(f"{process.name}: {waiting} batches wait for the historian; the bound is {WAITING_MAX}")
