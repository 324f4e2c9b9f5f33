"""What gives way while an outbox is opened, for what, and how often."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from connectors.model.errors import OutboxDamaged, OutboxUnavailable
from edge_agent.buffer import outbox as outbox_module
from edge_agent.buffer.damage import is_full, outbox_error
from edge_agent.buffer.outbox import OPENINGS_MAX, Outbox
from edge_agent.buffer.set_aside import KEPT_MAX

NOW_MS = 1_795_000_000_000


def error_of(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as planted")
    error.sqlite_errorcode = code
    return error


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "outbox.db"
    Outbox(path, "full", now_ms=NOW_MS).close()
    return path


@pytest.fixture
def copies(path: Path) -> list[Path]:
    """Files that were set aside, as many as are ever kept."""
    found = [path.with_name(f"{path.name}.damaged-2026010{number}T000000Z") for number in range(1, KEPT_MAX + 1)]
    for each in found:
        each.write_bytes(b"damaged")
    return found


class Failing:
    """In place of the beginning of an epoch: fails with ``error``, ``times`` times or for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception, times: int = 1 << 30) -> None:
        self.count = 0
        self._error = error
        self._left = times
        begin_epoch = outbox_module.begin_epoch

        def begin(*args: object) -> bytes:
            self.count += 1
            if self._left:
                self._left -= 1
                raise self._error
            return begin_epoch(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(outbox_module, "begin_epoch", begin)


def test_a_file_in_which_no_epoch_can_begin_is_salvaged_once_and_no_copy_gives_way(
    path: Path, copies: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch, sqlite3.IntegrityError("UNIQUE constraint failed: epoch.epoch"))
    with pytest.raises(OutboxDamaged, match="UNIQUE constraint failed"):
        Outbox(path, "full", now_ms=NOW_MS)
    assert failing.count == 2, "as it was, and after the salvage"
    assert len(list(path.parent.glob(f"{path.name}.damaged-*Z"))) == KEPT_MAX


def test_a_full_disk_takes_what_was_set_aside_and_no_more_than_is_needed(
    path: Path, copies: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    Failing(monkeypatch, error_of(sqlite3.SQLITE_FULL), times=2)
    Outbox(path, "full", now_ms=NOW_MS).close()
    assert [each.exists() for each in copies] == [False, False, True]


def test_a_disk_that_stays_full_is_tried_as_often_as_something_gives_way(
    path: Path, copies: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch, error_of(sqlite3.SQLITE_FULL))
    with pytest.raises(OutboxUnavailable):
        Outbox(path, "full", now_ms=NOW_MS)
    assert failing.count == KEPT_MAX + 1


def test_however_much_gives_way_the_tries_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(monkeypatch, error_of(sqlite3.SQLITE_FULL))
    monkeypatch.setattr("edge_agent.buffer.outbox_file.OutboxFile.make_way", lambda self: True)
    with pytest.raises(OutboxUnavailable):
        Outbox(path, "full", now_ms=NOW_MS)
    assert failing.count == OPENINGS_MAX


def test_what_was_set_aside_stays_when_the_disk_fails_in_another_way(
    path: Path, copies: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch, error_of(sqlite3.SQLITE_IOERR_WRITE))
    with pytest.raises(OutboxUnavailable):
        Outbox(path, "full", now_ms=NOW_MS)
    assert (failing.count, all(each.exists() for each in copies)) == (1, True)


def test_an_error_says_whether_the_disk_is_full() -> None:
    no_room, no_quota = OSError(errno.ENOSPC, ""), OSError(errno.EDQUOT, "")
    assert is_full(no_room)
    assert is_full(no_quota)
    assert is_full(error_of(sqlite3.SQLITE_IOERR_SHMSIZE))
    assert not is_full(OSError(errno.EIO, ""))
    assert not is_full(error_of(sqlite3.SQLITE_CANTOPEN))
    assert not is_full(OutboxUnavailable("of no other error"))
    damaged = outbox_error(error_of(sqlite3.SQLITE_CORRUPT), None, "read")
    damaged.__cause__ = no_room
    assert not is_full(damaged)
