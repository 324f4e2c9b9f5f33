"""The device driver for Modbus units reached by TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import NoReturn

from connectors.modbus.connection import ModbusConnection
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.session import ModbusSession
from connectors.modbus.settings import ModbusDevice
from connectors.model.errors import DeviceUnavailable, LinesideError
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition


class ModbusDriver:
    """Polls one Modbus unit; see ``DeviceDriver``.

    Delivery: every value that was polled is handed over, changed or not; what the unit held between two polls
    nobody saw. The source time of a sample is the agent's time at which the reply arrived, as a unit has no clock to
    ask. A poll that cannot be made in time is skipped and counted in ``counters``; where tags are not read for longer
    than ``late_after_s`` of their interval although the unit is there, that is reported with ``polled_late``.
    """

    def __init__(self, settings: ModbusDevice, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.counters = ModbusCounters()

    @property
    def lag_s_max(self) -> float:
        """See ``DeviceDriver``; the longest time between two polls of a tag."""
        return self._settings.lag_s_max

    def counts(self) -> Mapping[str, int]:
        """See ``DeviceDriver``; the names are those of ``ModbusCounters``."""
        return asdict(self.counters)

    async def acquire(self, acquisition: Acquisition) -> None:
        """See ``DeviceDriver``."""
        connection = ModbusConnection(self._settings, self._clock, self.counters)
        session = ModbusSession(self._settings, self._clock, connection, acquisition, self.counters)
        try:
            await self._run(connection, session)
        except DeviceUnavailable as exc:
            raise DeviceUnavailable(f"{self._settings.name}: {exc.reason}", exc.retry_after_s) from exc
        finally:
            await connection.close()

    async def _run(self, connection: ModbusConnection, session: ModbusSession) -> None:
        try:
            await connection.open()
            async with asyncio.TaskGroup() as tasks:
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
