"""A device at work, with its outbox on disk, and its server behind a wire that can be cut."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from connectors.model.errors import DeviceUnavailable
from connectors.model.report_by_exception import ReportRule
from connectors.opcua.driver import OpcUaDriver
from connectors.opcua.settings import OpcUaDevice
from connectors.ports.clock import SystemClock
from connectors.ports.device import Continuation
from connectors.ports.settings import AgentPlace
from connectors.trust import FOLDER
from connectors.trust.store import TrustStore
from edge_agent.buffer.rows import Kind
from tests.contract.cut_wire import CutWire
from tests.contract.opcua_acquisition import Recorder, device, until
from tests.servers.node_opcua import NodeOpcUaServer
from tests.servers.opcua import OpcUaServer
from tests.unit.acquisition.device_at_work import Bench, running

AGENT = "plant/line-3"
AnyServer: TypeAlias = NodeOpcUaServer | OpcUaServer


class Line:
    """``async with line.read(…)``: variables of a server are read, in one tag each, and stored."""

    def __init__(self, server: AnyServer, folder: Path, names: tuple[str, ...] = ("force",)) -> None:
        """``folder``: with the data of the agent, its key among them."""
        self.server, self.folder, self.names = server, folder, names
        self.wire = CutWire(server.port)
        self.set_ns: dict[str, dict[float, int]] = {name: {0.0: 0} for name in names}
        self.continuations: list[tuple[Continuation, str]] = []
        self.catches_up = 0
        self.has_history = False
        self.bench: Bench
        self.driver: OpcUaDriver

    @asynccontextmanager
    async def read(self, queue_size: int = 100, poll: dict[str, str] | None = None, **more: Any) -> AsyncIterator[None]:
        """The device at work, as the agent has it, through the wire; the first values are here.

        ``poll``: the variables that are polled, each with its interval.
        """
        self.add()
        async with self.wire:
            if "security" in more:
                await self._accept()
            polled = poll or {}
            tags: list[dict[str, Any] | str] = [
                {"at": self.node(name)} | ({"poll": polled[name]} if name in polled else {"queue_size": queue_size})
                for name in self.names
            ]
            made = self._placed(device(self.wire.endpoint, tags, **{"silence": "3s", **more}))
            self.driver = OpcUaDriver(made, SystemClock())
            rules = dict.fromkeys(range(len(tags)), ReportRule(always=True))
            outbox = self.folder / f"outbox-{time.monotonic_ns()}"
            outbox.mkdir()
            self.bench = Bench(
                outbox, self.driver, rules, tags=[f"t{at}" for at in range(len(tags))], clock=SystemClock()
            )
            self._listen()
            async with running(self.bench):
                await self.has(0.0)
                yield
                self.stored = self.samples()
                self.gaps = self.bench.gaps

    def add(self) -> None:
        """Add the variables to the server, with the value 0."""
        for name in self.names:
            if isinstance(self.server, NodeOpcUaServer):
                self.server.add(self.node(name), "Double", 0.0, **({"historized": True} if self.has_history else {}))
            else:
                self.server.add(name, "Double", 0.0)

    def node(self, name: str) -> str:
        return f"ns={2 if isinstance(self.server, NodeOpcUaServer) else 1};s={name}"

    async def set(self, value: float, name: str = "force", held_s: float = 0.0) -> None:
        """Give a variable a value, of now, for so long at least: so that it is sampled."""
        time_ns = time.time_ns() // 1_000_000 * 1_000_000
        self.set_ns[name][value] = time_ns
        if isinstance(self.server, NodeOpcUaServer):
            await self.server.set_for(self.node(name), "Double", value, held_s, time_ms=time_ns // 1_000_000)
        else:
            await self.server.write_for(name, "Double", value, held_s, time_ns=time_ns)

    async def count(self, first: int, last: int, pause_s: float = 0.1, name: str = "force") -> None:
        """Give a variable one value after the other."""
        for value in range(first, last + 1):
            await self.set(float(value), name, pause_s)

    async def has(self, value: float, name: str = "force") -> None:
        """Wait until this is the newest value that is stored."""
        await until(lambda: self.samples(name)[-1:] and self.samples(name)[-1][1] == value)

    def samples(self, name: str = "force") -> list[tuple[int, float]]:
        """(source time, value) of each sample of a variable that is in the outbox, in its order."""
        alias = self.bench.device.alias_of(self.names.index(name))
        return [
            (time_ns, value)
            for row in self.bench.rows
            if row.kind is Kind.SAMPLES
            for part in row.parts
            for tag, time_ns, value, _quality in part.rows()
            if tag == alias
        ]

    @property
    def how(self) -> list[str]:
        return [how for how, _ in self.continuations]

    def assert_each_came_once(self, last: int) -> None:
        """All values up to ``last`` were stored once, in their order, with their times, and nothing is missing."""
        assert [value for _, value in self.stored] == [float(value) for value in range(last + 1)]
        assert [time_ns for time_ns, _ in self.stored[1:]] == list(self.set_ns["force"].values())[1:]
        assert self.gaps == []

    def _listen(self) -> None:
        acquisition = self.bench.device
        continued, caught_up = acquisition.continued, acquisition.caught_up

        def hear(how: Continuation, detail: str) -> None:
            self.continuations.append((how, detail))
            continued(how, detail)

        def hear_caught_up() -> None:
            self.catches_up += 1
            caught_up()

        acquisition.continued, acquisition.caught_up = hear, hear_caught_up  # type: ignore[method-assign]

    async def _accept(self) -> None:
        made = self._placed(device(self.wire.endpoint, [{"at": "i=2258"}], insecure=False))
        with pytest.raises(DeviceUnavailable) as caught:
            await OpcUaDriver(made, SystemClock()).acquire(Recorder())
        TrustStore(self.folder / FOLDER).accept(caught.value.reason.rsplit(" ", 1)[1])

    def _placed(self, settings: OpcUaDevice) -> OpcUaDevice:
        return settings.placed(AgentPlace(AGENT, self.folder))
