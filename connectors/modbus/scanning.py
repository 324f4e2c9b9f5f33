"""Looking for units on a bus that nobody has described yet, and for what they let be read. It only reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from connectors.modbus.addresses import Table
from connectors.modbus.breaker import Standing
from connectors.modbus.bus import ModbusBus
from connectors.modbus.bus_unit import Job
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.endpoint import Route
from connectors.modbus.exception_codes import UNIT_ABSENT
from connectors.modbus.plan import BITS_PER_REGISTER, Block
from connectors.modbus.readable_ranges import SILENT, Ask, RangeSearch
from connectors.modbus.request_queue import Priority, RequestQueue
from connectors.modbus.scan import Scan
from connectors.ports.clock import Clock
from connectors.ports.unit_scan import FoundUnit, ReadableRange, ScanFindings, ScanLimits

REGISTERS_MAX: Final = 125
SHOWN_MAX: Final = 8
IDS_FOR_A_VERDICT: Final = 3
UNANSWERED_MAX: Final = 32
"""Most ids are of no unit: that they are silent is no reason to connect anew, where a gateway may take none so soon."""
BUSY: Final = 6
BUSY_S: Final = 0.2
TABLES: Final[tuple[Table, ...]] = ("holding", "input", "coil", "discrete")

Told = Callable[[str], None]
"""Is told what is looked at now, for a person who waits."""


class _Scanner:
    """A unit of the bus that asks in the name of all of them."""

    def __init__(self, bus: ModbusBus, timeout_s: float, pause_s: float) -> None:
        self.name = bus.place
        self.queue: RequestQueue[Job] = RequestQueue()
        self.counters = ModbusCounters()
        self.link_wanted = asyncio.Event()
        self.timeout_s, self.pause_s, self.in_flight_max = timeout_s, pause_s, 1
        self.has_answered = self.is_in_doubt = self.is_passed_over = False
        self.standing, self.unanswered_max = Standing.ANSWERS, UNANSWERED_MAX
        self.due_s: dict[float, float] = {}
        self._bus = bus

    def answer_came(self, code: int) -> str:  # noqa: ARG002  no unit is ever left alone
        """See ``BusUnit``."""
        return ""

    def no_answer_came(self, why: str) -> str:  # noqa: ARG002  no unit is ever left alone
        """See ``BusUnit``."""
        return ""

    async def read(self, unit_id: int, table: Table, address: int, count: int) -> tuple[int, bytes]:
        """0 and the data, or the exception code, or ``SILENT``. Raises ``DeviceUnavailable``: no connection."""
        scan = Scan([Block(table, address, count, ())], unit_id)
        for attempt in range(2):
            await self._bus.ensure_connection(self)
            scan.begin(Priority.POLL, 1)
            self._bus.submit(self, scan)
            assert scan.done is not None  # noqa: S101  the bus has just made it
            await scan.done
            if scan.codes[0] == BUSY and not attempt:
                await asyncio.sleep(BUSY_S)
                continue
            break
        if scan.failure is not None:
            return SILENT, b""
        return scan.codes[0], scan.data(0)


@asynccontextmanager
async def _scanner(route: Route, timeout_s: float, pause_s: float, clock: Clock) -> AsyncIterator[_Scanner]:
    bus = ModbusBus(route, clock)
    scanner = _Scanner(bus, timeout_s, max(pause_s, route.gap_s))
    bus.join(scanner)
    try:
        yield scanner
    finally:
        await bus.leave(scanner, "the scan has ended")


async def scan_bus(
    route: Route, limits: ScanLimits, clock: Clock, told: Told, *, timeout_s: float = 0.5, pause_s: float = 0.0
) -> ScanFindings:
    """What answers on the bus. Raises ``DeviceUnavailable`` with what to check when nothing can be reached there."""
    async with _scanner(route, timeout_s, pause_s, clock) as scanner:
        present = await _present(scanner, limits.unit_ids, told)
        is_network = route.endpoint.kind in ("tcp", "tls")
        ignores_ids = is_network and len(present) == len(limits.unit_ids) >= IDS_FOR_A_VERDICT
        units = [
            await _looked_into(scanner, unit_id, limits, told) for unit_id in present[: 1 if ignores_ids else None]
        ]
    return ScanFindings(tuple(units), ignores_ids)


async def _present(scanner: _Scanner, unit_ids: tuple[int, ...], told: Told) -> list[int]:
    """The units that answer anything. Other tables than holding are asked for only where none answers for that."""
    for table in ("holding", "input", "coil"):
        present = []
        for unit_id in unit_ids:
            told(f"unit {unit_id}")
            code, _ = await scanner.read(unit_id, table, 0, 1)
            if code != SILENT and code not in UNIT_ABSENT:
                present.append(unit_id)
        if present:
            return present
    return []


async def _looked_into(scanner: _Scanner, unit_id: int, limits: ScanLimits, told: Told) -> FoundUnit:
    ranges: list[ReadableRange] = []
    remarks: list[str] = []
    registers_max = REGISTERS_MAX
    for table in TABLES:
        if table not in limits.tables:
            continue
        is_bits = table in ("coil", "discrete")
        search = RangeSearch(
            _asking(scanner, unit_id, table, told),
            limits.first,
            limits.last,
            limits.step,
            registers_max * (BITS_PER_REGISTER if is_bits else 1),
        )
        for first, last in await search.run():
            ranges.append(await _with_values(scanner, unit_id, table, first, last))
        if not is_bits:
            registers_max = min(registers_max, search.count_max)
        if search.left_at is not None:
            remarks.append(
                f"{table} {search.left_at} and what follows was not looked at: the unit gives no answer for addresses "
                "that it does not have; look for them with --addresses"
            )
    return FoundUnit(unit_id, tuple(ranges), None if registers_max == REGISTERS_MAX else registers_max, tuple(remarks))


def _asking(scanner: _Scanner, unit_id: int, table: Table, told: Told) -> Ask:
    async def ask(address: int, count: int) -> int:
        told(f"unit {unit_id}, {table} {address}")
        return (await scanner.read(unit_id, table, address, count))[0]

    return ask


async def _with_values(scanner: _Scanner, unit_id: int, table: Table, first: int, last: int) -> ReadableRange:
    count = min(SHOWN_MAX, last - first + 1)
    code, data = await scanner.read(unit_id, table, first, count)
    if code:
        return ReadableRange(table, first, last)
    if table in ("coil", "discrete"):
        values = [data[at // 8] >> at % 8 & 1 for at in range(count)]
    else:
        values = [int.from_bytes(data[at * 2 : at * 2 + 2], "big") for at in range(count)]
    return ReadableRange(table, first, last, tuple(values))
