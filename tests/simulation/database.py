"""PostgreSQL as the port shows it: transactions that commit or do not, an answer that is lost, a lock, an outage.

Transactions that write come one after the other, as if each had waited for the rows of the one before; who only reads
sees what is committed. Both are among the things that PostgreSQL does with READ COMMITTED.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from connectors.model.errors import DatabaseUnavailable
from connectors.ports.clock import Clock
from tests.simulation import (  # noqa: F401  they register themselves
    statements_of_agents,
    statements_of_commands,
    statements_of_delivery,
)
from tests.simulation.event_log import dead
from tests.simulation.process import Process
from tests.simulation.registry import Answer, run_copy, run_statement
from tests.simulation.tables import Row, Tables
from tests.simulation.trace import Trace

_NOTIFIES: Final = "SELECT pg_notify("


@dataclass(slots=True)
class DatabaseFaults:
    """How likely a statement finds the connection lost, and a commit happens and nobody hears of it."""

    fails: float = 0.0
    answer_lost: float = 0.0
    takes_s_max: float = 0.003


@dataclass(frozen=True, slots=True)
class Said:
    """A statement, or a COPY into ``table``, that has been carried out, when, and what the answer was."""

    now_s: float
    sql: str
    args: Sequence[Any]
    answer: Answer
    table: str = ""


Heard = Callable[[Sequence[Said]], None]


class DatabaseServer:
    """The one server: its tables, who writes, and who holds which lock."""

    def __init__(self, trace: Trace, draw: random.Random, clock: Clock) -> None:
        self.tables = Tables()
        self.faults = DatabaseFaults()
        self.is_up = True
        self.interruptions = 0
        self.writing = asyncio.Lock()
        self.heard: Heard = lambda said: None
        """Is told of all that was committed or read, in an order in which PostgreSQL gives the same answers."""
        self.locks: dict[str, _HeldLock] = {}
        self.wakeups: list[_Wakeup] = []
        self.draw = draw
        self.clock = clock
        self.trace = trace

    def stop(self) -> None:
        """The server dies; what was not committed is gone, and every lock is free."""
        self.is_up = False
        self.interruptions += 1
        for lock in list(self.locks.values()):
            lock.release()
        for wakeup in self.wakeups:
            wakeup.notified()
        self.trace.note("is away", who="database")

    def start(self) -> None:
        self.is_up = True
        self.trace.note("is there", who="database")

    def now_s(self) -> float:
        return self.clock.now_ns() / 1e9


class _Session:
    """See ``Session``. ``own`` is what a transaction works on."""

    def __init__(self, server: DatabaseServer, process: Process, own: Tables | None) -> None:
        self._server = server
        self._process = process
        self._own = own
        self._interruptions = server.interruptions
        self.said: list[Said] = []
        """What its transaction has said until now."""

    async def execute(self, sql: str, *args: Any) -> int:
        """See ``Session``."""
        answer = await self._run(sql, args)
        return answer if isinstance(answer, int) else len(answer)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """See ``Session``."""
        for row in rows:
            await self._run(sql, row)

    async def fetch(self, sql: str, *args: Any) -> Sequence[Row]:
        """See ``Session``."""
        answer = await self._run(sql, args)
        assert not isinstance(answer, int)
        return answer

    async def copy(self, table: str, columns: Sequence[str], data: bytes) -> int:
        """See ``Session``."""
        await self.on_the_way()
        assert self._own is not None
        run_copy(self._own, table, columns, data)
        self.said.append(Said(self._server.now_s(), ", ".join(columns), (data,), 0, table))
        return 0

    async def on_the_way(self) -> None:
        """To the server and back. Raises ``DatabaseUnavailable``."""
        server = self._server
        if not self._process.touch("store"):
            await dead()
        await asyncio.sleep(server.draw.uniform(0.0002, server.faults.takes_s_max))
        self.check()
        if server.faults.fails and server.draw.random() < server.faults.fails:
            raise DatabaseUnavailable("the connection to the database was lost")

    def check(self) -> None:
        """Raises ``DatabaseUnavailable`` when the server is not the one that was connected to."""
        if not self._server.is_up or self._server.interruptions != self._interruptions:
            raise DatabaseUnavailable("the connection to the database was lost")

    async def _run(self, sql: str, args: Sequence[Any]) -> Answer:
        await self.on_the_way()
        if self._own is not None:
            answer = run_statement(self._own, sql, args, self._server.now_s())
            self.said.append(Said(self._server.now_s(), sql, args, answer))
            return answer
        if sql.startswith("SELECT"):
            return self._run_alone(sql, args)
        async with self._server.writing:
            self.check()
            if _NOTIFIES not in sql:
                return self._run_alone(sql, args)
            if not self._process.touch("store"):
                await dead()
            answer = self._run_alone(sql, args)
            self._server.trace.note("commits", _said(self._server.tables))
            await self.committed([Said(self._server.now_s(), sql, args, answer)] if answer else [])
            return answer

    async def committed(self, said: Sequence[Said]) -> None:
        """Wake who waits for what was ``said``, unless the process ends with it. The answer may be lost."""
        server = self._server
        if any(_NOTIFIES in each.sql for each in said):
            for wakeup in server.wakeups:
                wakeup.notified()
        if not self._process.touch("store"):
            await dead()
        if server.faults.answer_lost and server.draw.random() < server.faults.answer_lost:
            raise DatabaseUnavailable("the answer to a commit was lost")

    def _run_alone(self, sql: str, args: Sequence[Any]) -> Answer:
        now_s = self._server.now_s()
        answer = run_statement(self._server.tables, sql, args, now_s)
        self._server.heard([Said(now_s, sql, args, answer)])
        return answer


class _HeldLock:
    """See ``HeldLock``."""

    def __init__(self, server: DatabaseServer, name: str, *, held: bool) -> None:
        self._server = server
        self._name = name
        self.held = held
        self._ended = asyncio.Event()
        if not held:
            self._ended.set()

    async def lost(self) -> None:
        """See ``HeldLock``."""
        await self._ended.wait()
        await asyncio.sleep(self._server.draw.uniform(0, 2.0))  # a heartbeat that is not answered

    def release(self) -> None:
        """The server gives the lock to whoever asks next."""
        if self.held:
            self.held = False
            self._server.locks.pop(self._name)
            self._ended.set()


class _Wakeup:
    """See ``Wakeup``."""

    def __init__(self, server: DatabaseServer, process: Process) -> None:
        self._server = server
        self._process = process
        self._interruptions = server.interruptions
        self._event = asyncio.Event()

    def notified(self) -> None:
        """Something was committed that says so, or the connection is lost."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """See ``Wakeup``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        if not self._process.alive:
            await dead()
        self._event.clear()
        if not self._server.is_up or self._server.interruptions != self._interruptions:
            raise DatabaseUnavailable("the connection to the database was lost")


class SimulatedDatabase:
    """See ``Database``: the connections of one life of a process."""

    def __init__(self, server: DatabaseServer, process: Process) -> None:
        self._server = server
        self._process = process

    @asynccontextmanager
    async def session(self, tenant_id: int | None = None) -> AsyncIterator[_Session]:
        """See ``Database``."""
        assert tenant_id in (None, 1), "the simulation has one tenant"
        yield await self._connected(None)

    @asynccontextmanager
    async def transaction(self, tenant_id: int | None = None) -> AsyncIterator[_Session]:
        """See ``Database``."""
        assert tenant_id is None, "the simulation has one tenant"
        server = self._server
        async with server.writing:
            own = server.tables.copy()
            session = await self._connected(own)
            yield session
            await session.on_the_way()
            if not self._process.touch("store"):
                await dead()
            session.check()
            server.tables = own
            server.heard(session.said)
            server.trace.note("commits", _said(own))
            await session.committed(session.said)

    @asynccontextmanager
    async def held_lock(self, name: str) -> AsyncIterator[_HeldLock]:
        """See ``Database``."""
        server = self._server
        await self._connected(None)
        if not self._process.alive:
            await dead()
        lock = _HeldLock(server, name, held=name not in server.locks)
        if lock.held:
            server.locks[name] = lock
            self._process.when_cut(self._later(lock.release))
        try:
            yield lock
        finally:
            if self._process.alive:
                lock.release()

    @asynccontextmanager
    async def notified(self, channel: str) -> AsyncIterator[_Wakeup]:
        """See ``Database``; there is one channel."""
        await self._connected(None)
        wakeup = _Wakeup(self._server, self._process)
        self._server.wakeups.append(wakeup)
        try:
            yield wakeup
        finally:
            self._server.wakeups.remove(wakeup)

    async def close(self) -> None:
        """See ``Database``."""

    async def _connected(self, own: Tables | None) -> _Session:
        if not self._process.alive:
            await dead()
        session = _Session(self._server, self._process, own)
        await asyncio.sleep(self._server.draw.uniform(0.0002, self._server.faults.takes_s_max))
        session.check()
        return session

    def _later(self, release: Callable[[], None]) -> Callable[[], None]:
        """The server hears of a client's end after a while."""
        return lambda: asyncio.get_running_loop().call_later(self._server.draw.uniform(0, 5.0), release) and None


def _said(tables: Tables) -> str:
    places = " ".join(f"{row['partition']}:{row['next_offset']}" for row in tables.places.values())
    return f"at {places}, ledger {sum(row['revision'] for row in tables.ledger.values())}"
