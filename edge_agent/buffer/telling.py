"""What was given up or not taken, summed up on disk until gap records tell of it.

A sum is written in the transaction that gives something up, so nothing is undeclared whenever the agent dies. Records
are made of it later: they never give way, and one record a device for every step would fill an outbox that nobody
empties. So at most one generation of them waits in the outbox at a time; what is given up meanwhile is summed up.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.giving_up import GivingUp, Loss
from edge_agent.buffer.losses import RANGES_MAX
from edge_agent.buffer.rows import Gap
from edge_agent.buffer.sealing import PLAIN, Sealing, alias_place

QUIET_S: Final = 1.0
TELL_EVERY_S: Final = 600.0
"""It is told when nothing more was lost for a second, and while that goes on, every ten minutes."""

NOT_TAKEN: Final = "there was no room, and what comes last gives way (when_full: drop_newest)"


class Telling:
    """When the sums of one open outbox become gap records; within its transactions. Times are monotonic."""

    def __init__(self, connection: sqlite3.Connection, sealing: Sealing = PLAIN) -> None:
        self._connection = connection
        self._sealing = sealing
        self._lost_s = self._told_s = float("-inf")
        self._since_s: float | None = None
        self._waiting: tuple[int, int] | None = None

    def lost(self, now_s: float) -> None:
        """Something was given up, or not taken."""
        self._lost_s = now_s
        self._since_s = now_s if self._since_s is None else self._since_s

    def due(self, now_s: float) -> list[Gap]:
        """The gap records of all sums if it is time for them; ``told`` is called with the numbers that they get."""
        lasts_s = now_s - max(self._told_s, self._since_s or self._told_s)
        if now_s - self._lost_s < QUIET_S and lasts_s < TELL_EVERY_S:
            return []
        if not self.is_owed():
            return []
        self._told_s, self._since_s = now_s, None
        return take_sums(self._connection, self._sealing)

    def is_owed(self) -> bool:
        """Whether there are sums that records are to be made of, as soon as it is time for them."""
        return has_sums(self._connection) and not self._still_waits()

    def told(self, first: int, last: int) -> None:
        """The records have these numbers: no others are made while one of them waits."""
        if last >= first:
            self._waiting = (first, last)

    def _still_waits(self) -> bool:
        if self._waiting is None:
            return False
        query = "SELECT 1 FROM outbox WHERE lane<2 AND batch BETWEEN ? AND ? LIMIT 1"
        if self._connection.execute(query, self._waiting).fetchone() is not None:
            return True
        self._waiting = None
        return False


def has_sums(connection: sqlite3.Connection) -> bool:
    """Whether anything is to be told."""
    query = "SELECT EXISTS (SELECT 1 FROM given_up) OR EXISTS (SELECT 1 FROM not_taken)"
    return bool(connection.execute(query).fetchone()[0])


def take_sums(connection: sqlite3.Connection, sealing: Sealing = PLAIN) -> list[Gap]:
    """The gap records of all sums, which are gone with the transaction that calls this."""
    return [*_told_given_up(connection, sealing), *_told_not_taken(connection, sealing)]


def sum_up(connection: sqlite3.Connection, giving_up: GivingUp) -> None:
    """Add what a transaction has given up to the sums."""
    reason = giving_up.reason
    for (epoch, device), loss in giving_up.losses.items():
        if loss.is_empty:
            continue
        found = connection.execute(
            "SELECT first_ns, last_ns, sample_count, aliases FROM given_up WHERE epoch=? AND device=? AND reason=?",
            (epoch, device, reason),
        ).fetchone()
        every = loss if found is None else _loss(*found).with_(loss)
        connection.execute(
            "INSERT OR REPLACE INTO given_up VALUES (?,?,?,?,?,?,?,?)",
            (epoch, device, reason, giving_up.detail, every.first_ns, every.last_ns, every.count, _aliases(every)),
        )
    for epoch, ranges in giving_up.batches.items():
        for first, last in ranges:
            _add_range(connection, epoch, reason, first, last)


def note_not_taken(
    connection: sqlite3.Connection, device: DeviceName, parts: Sequence[SampleBatch], reason: str, now_ms: int
) -> None:
    """Samples that came while there was no room: they have no number."""
    loss = Loss()
    for part in parts:
        loss.add(part.time_ns, part.tag)
    if loss.is_empty:
        return
    query = "SELECT first_ns, last_ns, sample_count, aliases FROM not_taken WHERE device=? AND reason=?"
    found = connection.execute(query, (device, reason)).fetchone()
    every = loss if found is None else _loss(*found).with_(loss)
    connection.execute(
        "INSERT OR REPLACE INTO not_taken VALUES (?,?,?,?,?,?,?)",
        (device, reason, every.first_ns, every.last_ns, every.count, _aliases(every), now_ms),
    )
    connection.execute(  # it has been heard: the next start declares its absence, though nothing of it was ever stored
        "UPDATE device_state SET last_source_ns=?, last_commit_ns=? WHERE device=? AND last_source_ns IS NULL",
        (loss.first_ns, now_ms * 1_000_000, device),
    )


def tag_names(
    connection: sqlite3.Connection, aliases: Iterable[int] | None, sealing: Sealing = PLAIN
) -> tuple[str, ...] | None:
    """The names of these aliases, in order; ``None`` stands for any tag."""
    if aliases is None:
        return None
    wanted = sorted(aliases)
    marks = ",".join("?" * len(wanted))
    rows = connection.execute(f"SELECT alias, name FROM alias WHERE alias IN ({marks})", wanted)  # noqa: S608
    try:
        names = {sealing.open_text(name, alias_place(alias)) for alias, name in rows}
    except PayloadInvalid:
        return None
    return tuple(sorted(names)) or None


def _told_given_up(connection: sqlite3.Connection, sealing: Sealing) -> Iterator[Gap]:
    """One record a start, device and reason; the numbers stand in the first ones, further ones follow where needed."""
    numbers: dict[tuple[Epoch, str], BatchRanges] = {}
    for epoch, reason, first, last in connection.execute(
        "DELETE FROM given_up_batches RETURNING epoch, reason, first, last"
    ).fetchall():
        numbers.setdefault((epoch, reason), BatchRanges()).add(first, last)
    rows = connection.execute(
        "DELETE FROM given_up RETURNING epoch, device, reason, detail, first_ns, last_ns, sample_count, aliases"
    ).fetchall()
    for epoch, device, reason, detail, first_ns, last_ns, count, aliases in rows:
        every = tuple(numbers.pop((epoch, reason), ()))
        batches, rest = every[:RANGES_MAX], every[RANGES_MAX:]
        tags = tag_names(connection, None if aliases is None else json.loads(aliases), sealing)
        told = format_epoch(epoch) if batches else None
        yield Gap(DeviceName(device), reason, first_ns, last_ns, count, tags, detail, told, batches)
        for at in range(0, len(rest), RANGES_MAX):
            more = rest[at : at + RANGES_MAX]
            yield Gap(DeviceName(device), reason, first_ns, last_ns, 0, tags, detail, format_epoch(epoch), more)


def _told_not_taken(connection: sqlite3.Connection, sealing: Sealing) -> Iterator[Gap]:
    rows = connection.execute(
        "DELETE FROM not_taken RETURNING device, reason, first_ns, last_ns, sample_count, aliases"
    ).fetchall()
    for device, reason, first_ns, last_ns, count, aliases in rows:
        tags = tag_names(connection, None if aliases is None else json.loads(aliases), sealing)
        yield Gap(DeviceName(device), reason, first_ns, last_ns, count, tags, NOT_TAKEN)


def _add_range(connection: sqlite3.Connection, epoch: Epoch, reason: str, first: int, last: int) -> None:
    """Add numbers to those of the same start and reason; what touches becomes one range, so that few are kept."""
    query = (
        "SELECT first, last FROM given_up_batches WHERE epoch=? AND reason=? AND first<=? ORDER BY first DESC LIMIT 1"
    )
    before = connection.execute(query, (epoch, reason, last + 1)).fetchone()
    while before is not None and before[1] >= first - 1:
        connection.execute(
            "DELETE FROM given_up_batches WHERE epoch=? AND reason=? AND first=?", (epoch, reason, before[0])
        )
        first, last = min(first, before[0]), max(last, before[1])
        before = connection.execute(query, (epoch, reason, last + 1)).fetchone()
    connection.execute("INSERT INTO given_up_batches VALUES (?,?,?,?)", (epoch, reason, first, last))


def _loss(first_ns: int, last_ns: int, count: int, aliases: str | None) -> Loss:
    return Loss(first_ns, last_ns, count, None if aliases is None else set(json.loads(aliases)))


def _aliases(loss: Loss) -> str | None:
    return None if loss.aliases is None else json.dumps(sorted(loss.aliases))
