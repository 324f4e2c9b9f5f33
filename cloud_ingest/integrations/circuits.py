"""The circuit breakers of accounts at vendors, as the table has them for all processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloud_ingest.integrations.calls import Call, time_of
from cloud_ingest.integrations.rules import Circuit, Failure, after_call, tried_one
from cloud_ingest.observability.integration_events import CircuitClosed, CircuitOpened
from connectors.observability.events import emit
from connectors.ports.database import Session

_READ: Final = "SELECT failures, openings, open_until FROM integration_circuit WHERE port = $1 AND account = $2"
_READ_LOCKED: Final = _READ + " FOR UPDATE"


@dataclass(frozen=True, slots=True)
class Line:
    """The way to a vendor by one account: what fails on one says nothing of another."""

    port: str
    account: str = ""

    def __str__(self) -> str:
        """As events and obstacles name it."""
        return f"{self.port} of {self.account}" if self.account else self.port


def line_of(call: Call) -> Line:
    """The way that ``call`` goes."""
    return Line(call.port, call.account)


async def read_circuit(session: Session, line: Line, *, lock: bool = False) -> Circuit:
    """The circuit of ``line`` as it stands; with ``lock``, until the end of the transaction."""
    rows = await session.fetch(_READ_LOCKED if lock else _READ, line.port, line.account)
    if not rows:
        return Circuit()
    (row,) = rows
    until = row["open_until"]
    return Circuit(row["failures"], row["openings"], None if until is None else round(until.timestamp() * 1e6) * 1000)


async def note_trial(session: Session, line: Line, circuit: Circuit, now_ns: int, within_s: float) -> None:
    """One call is about to find out whether the vendor is back."""
    await _write(session, line, tried_one(circuit, now_ns, within_s), "one call tries whether it is back", now_ns)


async def note_call(session: Session, line: Line, failure: Failure | None, reason: str, now_ns: int) -> None:
    """Write down how a call went."""
    known = await read_circuit(session, line)
    if known == Circuit() and failure in (None, Failure.REFUSED):
        return  # all is well, as it was: nobody waits for anybody's lock
    known = await read_circuit(session, line, lock=True)
    later = after_call(known, failure, now_ns)
    await _write(session, line, later, reason, now_ns)
    if later.openings > known.openings and later.open_until_ns is not None:
        emit(CircuitOpened(str(line), reason, round((later.open_until_ns - now_ns) / 1e9, 1)))
    elif known.openings and not later.openings:
        emit(CircuitClosed(str(line)))


async def _write(session: Session, line: Line, circuit: Circuit, reason: str, now_ns: int) -> None:
    await session.execute(
        "INSERT INTO integration_circuit (port, account, tenant_id, failures, openings, open_until, reason, changed) "
        "VALUES ($1, $7, coalesce((SELECT tenant_id FROM tenant WHERE name = $7), 1), $2, $3, $4, $5, $6) "
        "ON CONFLICT (account, port) DO UPDATE SET failures = excluded.failures, "
        "openings = excluded.openings, open_until = excluded.open_until, reason = excluded.reason, "
        "changed = excluded.changed",
        line.port,
        circuit.failures,
        circuit.openings,
        None if circuit.open_until_ns is None else time_of(circuit.open_until_ns),
        reason,
        time_of(now_ns),
        line.account,
    )
