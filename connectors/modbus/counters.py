"""What happens on the connections of a Modbus driver, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ModbusCounters:
    """Counted since the driver was made."""

    connects: int = 0
    requests: int = 0
    exception_replies: int = 0
    late_replies: int = 0
    """Replies that belonged to no request, or to one that had been given up."""
    time_outs: int = 0
    invalid_replies: int = 0
    missed_cycles: int = 0
    late_polls: int = 0
    """Polls that came so late that a gap was declared."""
