"""The tables of PostgreSQL in memory, as far as ingest and historian know them, and what the ledger says of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from cloud_ingest.historian.ledger_book import parse_multirange
from cloud_ingest.historian.sample_rows import HEADER, POSTGRES_EPOCH_US, TRAILER
from connectors.model.delivery import BatchRanges

Row = dict[str, Any]


class Sample(NamedTuple):
    """A row of table ``sample``."""

    time_us: int
    tag_id: int
    tenant_id: int
    quality: int
    value: Any


@dataclass(slots=True)
class Tables:
    """All that is committed, or, inside of a transaction, all that will be. Rows are never changed, only replaced."""

    groups: dict[str, Row] = field(default_factory=dict)
    agents: dict[int, Row] = field(default_factory=dict)
    devices: dict[tuple[int, str], Row] = field(default_factory=dict)
    tags: dict[tuple[int, str, str], Row] = field(default_factory=dict)
    definitions: dict[tuple[int, str], Row] = field(default_factory=dict)
    born: dict[tuple[int, str], str] = field(default_factory=dict)
    births: dict[tuple[int, str], bytes] = field(default_factory=dict)
    ledger: dict[tuple[int, int], Row] = field(default_factory=dict)
    gaps: list[Row] = field(default_factory=list)
    letters: list[Row] = field(default_factory=list)
    parked: dict[tuple[int, int, int], Row] = field(default_factory=dict)
    places: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    days: dict[str, None] = field(default_factory=dict)
    copies: list[bytes] = field(default_factory=list)
    """COPY streams of samples, as they came."""
    signing_keys: dict[str, Row] = field(default_factory=dict)
    commands: dict[str, Row] = field(default_factory=dict)
    command_states: list[Row] = field(default_factory=list)
    command_journals: dict[int, Row] = field(default_factory=dict)
    command_starts: dict[tuple[int, str, str], Row] = field(default_factory=dict)
    agent_audit_heads: dict[int, dict[int, str]] = field(default_factory=dict)
    time_requests: dict[int, Row] = field(default_factory=dict)
    command_audit: list[Row] = field(default_factory=list)
    command_relay: dict[int, int] = field(default_factory=lambda: {1: 0})
    """By tenant, the last state that is published."""

    def copy(self) -> Tables:
        """For a transaction."""
        twin = Tables()
        for each in fields(self):
            setattr(twin, each.name, getattr(self, each.name).copy())
        return twin

    def samples(self) -> Iterator[Sample]:
        """Every row of ``sample``."""
        for data in self.copies:
            yield from read_copy(data)

    def missing(self, agent_id: int, epoch: int) -> tuple[set[int], set[int]]:
        """What view ``ledger_state`` says of an epoch: the batches that are missing, and those that were given up."""
        row = self.ledger[agent_id, epoch]
        arrived = numbers(parse_multirange(row["arrived"]))
        first = min(arrived, default=None) if row["first_batch"] is None else row["first_batch"]
        numbered: set[int] = set()
        if first is not None:
            numbered = set(range(first, max(row["last_batch"] or 0, max(arrived, default=0)) + 1))
        letters = [row for row in self.letters if (row["agent_id"], row["epoch"]) == (agent_id, epoch)]
        explained: set[int] = set()
        for gap in self.gaps:
            if gap["agent_id"] == agent_id and gap["epoch"] == epoch:
                explained |= named_batches(gap)
        return (numbered | {row["batch"] for row in letters}) - explained - arrived, explained - arrived


def numbers(ranges: BatchRanges) -> set[int]:
    """A set of batch numbers, one by one."""
    return {number for first, last in ranges for number in range(first, last + 1)}


def named_batches(gap: Row) -> set[int]:
    """The batches that a gap explains."""
    if gap.get("batches") is not None:
        return numbers(parse_multirange(gap["batches"]))
    return set() if gap.get("batch") is None else {gap["batch"]}


def read_copy(data: bytes) -> Iterator[Sample]:
    """The rows of a binary COPY stream of ``sample_rows.COLUMNS``."""
    assert data.startswith(HEADER)
    assert data.endswith(TRAILER)
    at, end = len(HEADER), len(data) - len(TRAILER)
    while at < end:
        at += 2
        columns: list[bytes | None] = []
        for _ in range(9):
            (size,) = struct.unpack_from(">i", data, at)
            at += 4
            columns.append(None if size < 0 else data[at : at + size])
            at += max(0, size)
        time, tag, tenant, quality, *values = columns
        time_us = int.from_bytes(time or b"", signed=True) + POSTGRES_EPOCH_US
        value: Any = next((_value(index, each) for index, each in enumerate(values) if each is not None), None)
        yield Sample(time_us, _number(tag), _number(tenant), _number(quality), value)


def _number(data: bytes | None) -> int:
    return int.from_bytes(data or b"", signed=True)


def _value(column: int, data: bytes) -> Any:
    match column:
        case 0:
            return struct.unpack(">d", data)[0]
        case 1:
            return int.from_bytes(data, signed=True)
        case 2:
            return bool(data[0])
        case 3:
            return data.decode()
        case _:
            return data
