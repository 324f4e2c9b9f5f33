"""Batches that were on the disk and are gone: which numbers, of which time, and the gap records that say so.

What is not known to be there counts as gone. Some of it may have been acknowledged before; what arrived beats what was
given up, so a record may name too much, and never too little.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.tags import DeviceName
from connectors.sparkplug.delivery import format_epoch, parse_epoch
from edge_agent.buffer.high_water import EpochBegun
from edge_agent.buffer.rows import Gap, GapReason

LOSSES_IN_META: Final = "losses"
RANGES_MAX: Final = 200
"""So many ranges of numbers are in one record at most, so that each fits a message."""

MARGIN_MS: Final = 60_000
"""Samples are older than the commit that stores them: by a commit interval, which is a minute at most."""


@dataclass(slots=True)
class Losses:
    """What an outbox has lost. ``states``: also what it knew of its devices, such as gaps that were open."""

    gone: dict[Epoch, BatchRanges] = field(default_factory=dict)
    first_ms: int = 0
    last_ms: int = 0
    detail: str = ""
    devices: tuple[str, ...] = ()
    states: bool = False

    def __bool__(self) -> bool:
        return bool(self.gone) or self.states

    @property
    def count(self) -> int:
        """How many numbers are named."""
        return sum(len(ranges) for ranges in self.gone.values())

    def gaps(self) -> Iterator[Gap]:
        """The records: one a device; further ones where the numbers need more than one."""
        named = list(_named(self.gone))
        devices = [DeviceName(device) for device in self.devices] or [DeviceName("")]
        count = max(len(devices), len(named)) if self else 0
        first_ms, last_ms = sorted((self.first_ms, self.last_ms))  # a clock may have been set back since
        for index in range(count):
            epoch, batches = named[index] if index < len(named) else (None, ())
            yield Gap(
                devices[min(index, len(devices) - 1)],
                GapReason.OUTBOX_DAMAGED,
                (first_ms - MARGIN_MS) * 1_000_000 if first_ms > MARGIN_MS else 0,
                last_ms * 1_000_000,
                detail=self.detail,
                epoch=epoch,
                batches=batches,
            )


def spread(ranges: Iterable[tuple[int, int]], epochs: Sequence[EpochBegun]) -> dict[Epoch, BatchRanges]:
    """Numbers by the start that gave them; ``epochs`` in the order of their numbers. What is before all is left out."""
    found: dict[Epoch, BatchRanges] = {}
    ends = [epoch.first - 1 for epoch in epochs[1:]]
    for first, last in ranges:
        for index, epoch in enumerate(epochs):
            begin = max(first, epoch.first)
            end = min(last, ends[index]) if index < len(ends) else last
            if begin <= end:
                found.setdefault(epoch.epoch, BatchRanges()).add(begin, end)
    return found


def known_epochs(connection: sqlite3.Connection) -> list[EpochBegun]:
    """The starts that the outbox knows, in the order of their numbers."""
    rows = connection.execute("SELECT epoch, first_batch, started_ms FROM epoch ORDER BY first_batch, started_ms")
    return [EpochBegun(Epoch(epoch), first, started_ms) for epoch, first, started_ms in rows]


def known_devices(connection: sqlite3.Connection) -> tuple[str, ...]:
    """The devices that the outbox has heard of."""
    rows = connection.execute("SELECT device FROM device_state UNION SELECT device FROM definition ORDER BY 1")
    return tuple(row[0] for row in rows)


def around(connection: sqlite3.Connection, number: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """A row that is damaged: the numbers that it may have had, and when (ms) it may have been committed.

    Rows are in the order of their numbers also where one is damaged; so it had one of those between its neighbours.
    """
    before = connection.execute(
        "SELECT batch, created_ms FROM outbox WHERE batch<? ORDER BY batch DESC LIMIT 1", (number,)
    ).fetchone()
    after = connection.execute(
        "SELECT batch, created_ms FROM outbox WHERE batch>? ORDER BY batch LIMIT 1", (number,)
    ).fetchone()
    if before is None:
        before = connection.execute("SELECT min(first_batch) - 1, min(started_ms) FROM epoch").fetchone()
    low = number if before[0] is None else min(number, before[0] + 1)
    high, until_ms = (number, None) if after is None else (max(number, after[0] - 1), after[1])
    times_ms = [time_ms if type(time_ms) is int else 0 for time_ms in (before[1], until_ms)]  # they may be damaged too
    return (low, high), (times_ms[0], times_ms[1] or times_ms[0])


def write_losses(connection: sqlite3.Connection, losses: Losses) -> None:
    """Keep ``losses`` in the outbox until its next epoch begins and declares them; within a transaction or not."""
    document = {
        "gone": {format_epoch(epoch): list(ranges) for epoch, ranges in losses.gone.items()},
        "first_ms": losses.first_ms,
        "last_ms": losses.last_ms,
        "detail": losses.detail,
        "devices": losses.devices,
        "states": losses.states,
    }
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?,?)", (LOSSES_IN_META, json.dumps(document)))


def take_losses(connection: sqlite3.Connection) -> Losses:
    """What ``write_losses`` has left; it is gone from the outbox with the transaction that calls this."""
    row = connection.execute("DELETE FROM meta WHERE key=? RETURNING value", (LOSSES_IN_META,)).fetchone()
    if row is None:
        return Losses()
    try:
        document: dict[str, Any] = json.loads(row[0])
        gone = {parse_epoch(epoch): BatchRanges(map(tuple, ranges)) for epoch, ranges in document["gone"].items()}
        return Losses(
            gone,
            document["first_ms"],
            document["last_ms"],
            document["detail"],
            tuple(document["devices"]),
            document["states"],
        )
    except (ValueError, KeyError, TypeError, AttributeError):  # damaged too: nobody knows what was lost
        return Losses(detail="what an earlier damage has taken is not known", states=True)


def _named(gone: dict[Epoch, BatchRanges]) -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
    for epoch, ranges in gone.items():
        every = tuple(ranges)
        for at in range(0, len(every), RANGES_MAX):
            yield format_epoch(epoch), every[at : at + RANGES_MAX]
