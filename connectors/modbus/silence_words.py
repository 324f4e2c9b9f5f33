"""What is said of a unit that does not answer: what came instead, and what to check."""

from __future__ import annotations

from connectors.configuration.setting_names import listed
from connectors.modbus.bus_unit import BusUnit


def silence(unit: BusUnit, *, came_late: bool, strange: str, has_answered: bool, in_flight_max: int) -> str:
    """Why a request of ``unit`` counts as unanswered, in a sentence.

    ``came_late``: replies came that nobody waited for; ``strange``: bytes that are none; ``has_answered``: whether
    anything was ever read of the unit, so that address, port and unit id are right.
    """
    reason = f"no answer within {unit.timeout_s:g} s"
    if came_late:
        return f"{reason}, but replies to requests that nobody made"
    if strange:
        return (
            f"{reason}, but bytes that are no reply to it ({strange}); check the speed, the parity and the ends of "
            "the line, and that there is no other master on it"
        )
    checks = [] if has_answered else ["unit_id", "that the unit is switched on"]
    checks.append("that no other program keeps it busy")
    if in_flight_max > 1:
        checks.append(f"that it takes {in_flight_max} requests at once")
    return f"{reason}; check {listed(checks, 'and')}"
