"""The device driver for Modbus units reached by TCP."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict
from typing import NoReturn, TypeVar

from connectors.modbus.breaker import UnitBreaker
from connectors.modbus.buses import ModbusBuses
from connectors.modbus.command import Command
from connectors.modbus.connection import ModbusConnection
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.exception_codes import meaning_of
from connectors.modbus.plan import block_of, planned_tags
from connectors.modbus.request_queue import Priority
from connectors.modbus.scan import Scan
from connectors.modbus.session import ModbusSession
from connectors.modbus.settings import ModbusDevice
from connectors.modbus.writes import write_steps
from connectors.model.errors import DeviceUnavailable, LinesideError, WriteRefused, WriteUncertain
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, Reading, Value
from connectors.stopping import Tasks

T = TypeVar("T")


class ModbusDriver:
    """Polls one Modbus unit; see ``DeviceDriver``.

    Delivery: every value that was polled is handed over, changed or not; what the unit held between two polls
    nobody saw. The source time of a sample is the agent's time at which the reply arrived, as a unit has no clock to
    ask. A poll that cannot be made in time is skipped and counted in ``counters``; where tags are not read for longer
    than ``late_after_s`` of their interval although the unit is there, that is reported with ``polled_late``.

    Drivers that are given the same ``buses`` share one connection where their endpoint is the same, and take turns.
    """

    def __init__(self, settings: ModbusDevice, clock: Clock, buses: ModbusBuses | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._buses = buses or ModbusBuses()
        self._breaker = UnitBreaker(settings.retries, clock.monotonic_s)
        self._sessions = 0
        self.counters = ModbusCounters()
        self._tags = planned_tags(settings)
        self._at_work: tuple[ModbusConnection, ModbusSession] | None = None

    @property
    def lag_s_max(self) -> float:
        """See ``DeviceDriver``; the longest time between two polls of a tag."""
        return self._settings.lag_s_max

    def counts(self) -> Mapping[str, int]:
        """See ``DeviceDriver``; the names are those of ``ModbusCounters``."""
        return asdict(self.counters)

    async def acquire(self, acquisition: Acquisition) -> None:
        """See ``DeviceDriver``."""
        bus = self._buses.bus_of(self._settings, self._clock)
        connection = ModbusConnection(self._settings, self._clock, self.counters, bus, self._breaker)
        session = ModbusSession(
            self._settings, self._tags, self._clock, connection, acquisition, self.counters, self._sessions
        )
        self._sessions += 1
        self._at_work = connection, session
        try:
            await self._named(self._run(connection, session))
        finally:
            self._at_work = None
            await connection.close()

    async def write(self, tag: int, value: Value) -> None:
        """See ``DeviceDriver``.

        One bit of a register is changed by mask (function 22); where the unit does not know that, its register is read
        and written, with no request of this connection between: what others change meanwhile is lost then.
        """
        settings = self._settings
        command = Command(write_steps(self._tags[tag], value, settings.unit_id, settings.write_function))
        await self._named(self._connection().execute(command))

    async def read(self, tag: int) -> Reading:
        """See ``DeviceDriver``."""
        return await self._named(self._read(self._connection(), tag))

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:  # noqa: ARG002  there is none
        """See ``DeviceDriver``: a Modbus unit has no methods. Raises ``ValueError``."""
        raise ValueError(f"{method!r} cannot be called: a Modbus unit has no methods; write a coil or a register")

    async def _read(self, connection: ModbusConnection, tag: int) -> Reading:
        scan = Scan([block_of([self._tags[tag]])], self._settings.unit_id)
        await connection.run(scan, Priority.COMMAND)
        if scan.failure is not None:
            raise DeviceUnavailable(scan.failure.reason)
        rows = [row for batch in scan.batches() for row in batch.rows()]
        for _tag, time_ns, value, quality in rows:
            return Reading(value, quality, time_ns)
        return Reading(None, meaning_of(scan.codes[0]).quality, scan.arrived_ns[0])

    def _connection(self) -> ModbusConnection:
        if self._at_work is None or not self._at_work[1].is_online:
            raise DeviceUnavailable(f"{self._settings.name}: there is no connection to the unit")
        return self._at_work[0]

    async def _named(self, work: Awaitable[T]) -> T:
        """What comes of ``work``; its errors begin with the name of the device."""
        try:
            return await work
        except DeviceUnavailable as exc:
            raise DeviceUnavailable(f"{self._settings.name}: {exc.reason}", exc.retry_after_s) from exc
        except (WriteRefused, WriteUncertain) as exc:
            raise type(exc)(f"{self._settings.name}: {exc.reason}") from exc

    async def _run(self, connection: ModbusConnection, session: ModbusSession) -> None:
        try:
            await connection.open()
            async with Tasks() as tasks:
                tasks.create_task(connection.keep_open(), name=f"modbus {self._settings.name} connection")
                tasks.create_task(session.run(), name=f"modbus {self._settings.name} session")
        except BaseExceptionGroup as group:
            _raise_cause(group)


def _raise_cause(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """Raise the one error that ended the tasks; a group only when it holds what Lineside did not raise on purpose."""
    unexpected = group.subgroup(lambda exc: not isinstance(exc, LinesideError | BaseExceptionGroup))
    if unexpected is not None:
        raise group
    cause: BaseException = group
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    raise cause from None
