"""A disk that fails in the middle of a commit: the file is opened anew, and what is in it counts."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outbox_model import stored

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.model.errors import OutboxDamaged, OutboxUnavailable
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceName, TagName, TagType
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.rows import Kind, NewBatch, OpenGap, StoredBatch
from edge_agent.buffer.schema import PAGE_BYTES
from edge_agent.buffer.writer import Damage, OutboxReader, OutboxWriter, check_beside

PRESS = DeviceName("press")
FORCE = TagType(0, TagName("force"), DataType.DOUBLE)
NOW_NS = 1_795_000_000_000_000_000


class FailingConnection:
    """A connection whose next statement ``fails_at`` ends in an error of the disk, before or after it was done."""

    def __init__(self, real: sqlite3.Connection, fails_at: str, *, is_done: bool, code: int) -> None:
        self._real = real
        self._fails_at = fails_at
        self._is_done = is_done
        self._code = code

    def execute(self, statement: str, *bound: Any) -> sqlite3.Cursor:
        if statement.startswith(self._fails_at):
            if self._is_done:
                self._real.execute(statement, *bound)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self._code
            raise error
        return self._real.execute(statement, *bound)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def fail(outbox: Outbox, at: str = "COMMIT", *, is_done: bool = False, code: int = sqlite3.SQLITE_IOERR_FSYNC) -> None:
    """The next commit fails, and closing the connection leaves what was not done undone."""
    outbox._connection = FailingConnection(outbox._connection, at, is_done=is_done, code=code)  # type: ignore[assignment]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    opened = Outbox(path, "full", now_ms=NOW_NS // 1_000_000)
    opened.hash = opened.define(PRESS, [FORCE], NOW_NS // 1_000_000)[0].hash  # type: ignore[attr-defined]
    yield opened
    opened.close()


def batch(outbox: Outbox, value: float) -> NewBatch:
    part = SampleBatch(DataType.DOUBLE, np.full(2, 1 << 14, np.int32), NOW_NS + np.arange(2), np.full(2, value))
    return NewBatch(PRESS, DefinitionHash(outbox.hash), (part,))  # type: ignore[attr-defined]


def commit(outbox: Outbox, value: float) -> list[StoredBatch]:
    return outbox.commit(Commit([batch(outbox, value)], now_ns=NOW_NS))


def values(path: Path) -> list[float]:
    """The first value of every batch of samples, in order."""
    return [row[8][0][0][2] if False else _value(row) for row in stored(path) if row[2] is Kind.SAMPLES]


def _value(row: tuple[Any, ...]) -> float:
    (part,) = row[8]
    return float(part[1][0][2]) if isinstance(part, tuple) else float(part[0][2])
