"""The journal on its own: what is on disk, what a full disk does, and what is kept beside it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from connectors.commands.envelope import Envelope, WriteTag
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from connectors.commands.ulid import new_ulid
from edge_agent.commands.journal import Journal
from edge_agent.commands.journal_file import JournalTooNew, JournalUnavailable
from edge_agent.commands.journal_reading import StateGoesBack
from edge_agent.commands.journal_rows import Intake
from edge_agent.commands.journal_thread import JournalThread
from edge_agent.commands.pinned_keys import KeysUnreadable, read_pinned_keys, write_pinned_keys
from edge_agent.commands.turned_away import SLOTS, TurnedAway
from tests.unit.commands.played_line import KEY

NOW_MS = 1_795_000_000_000


def envelope(value: int = 1, **more: Any) -> Envelope:
    found: dict[str, Any] = {
        "id": new_ulid(NOW_MS), "agent": "plant/line", "action": WriteTag(device="press", tag="speed", value=value),
        "issuer": "anna", "issued_ms": NOW_MS, "expires_ms": NOW_MS + 60_000, **more,
    }  # fmt: skip
    return Envelope(**found)


def opened(path: Path, start: int = 1) -> Journal:
    return Journal(path / "commands.db", start=f"{start:016x}", now_ms=NOW_MS)


def take(journal: Journal, *envelopes: Envelope) -> list[int]:
    taken = journal.take([Intake(each, "cloud", "anna") for each in envelopes], NOW_MS)
    return [each.command.number for each in taken]


def filled(journal: Journal) -> tuple[Envelope, str]:
    """Take commands until the disk is full: the one that found no room, and what was said of it."""
    for _ in range(1000):
        last = envelope(reason="x" * 900)
        try:
            take(journal, last)
        except JournalUnavailable as exc:
            return last, str(exc)
    raise AssertionError("it never got full")


def test_what_is_committed_survives_and_the_file_is_synchronous(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    assert journal._opened().execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    assert journal._opened().execute("PRAGMA journal_mode").fetchone() == ("wal",)
    (number,) = take(journal, envelope())
    journal.writing(number, NOW_MS, before=5, detail="speed := 1")
    other = sqlite3.connect(tmp_path / "commands.db")  # as a process that starts after a kill would see it
    assert other.execute("SELECT state, writes, before FROM command").fetchall() == [("executing", 1, "5")]
    other.close()
    journal.close()


def test_a_state_never_goes_back_and_nothing_is_begun_after_an_end(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    (number,) = take(journal, envelope())
    journal.step(number, CommandState.SUCCEEDED, NOW_MS)
    for state in CommandState:
        with pytest.raises(StateGoesBack):
            journal.step(number, state, NOW_MS)
    with pytest.raises(StateGoesBack):
        journal.writing(number, NOW_MS, before=5, detail="speed := 1")
    (unknown,) = take(journal, envelope())
    journal.step(unknown, CommandState.UNKNOWN, NOW_MS)
    with pytest.raises(StateGoesBack):
        journal.writing(unknown, NOW_MS, before=5, detail="speed := 1")
    journal.step(unknown, CommandState.SUCCEEDED, NOW_MS)
    journal.close()


def test_a_disk_that_is_really_full_leaves_what_was_there_and_takes_more_when_there_is_room(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    take(journal, envelope())
    connection = journal._opened()
    connection.execute(f"PRAGMA max_page_count={connection.execute('PRAGMA page_count').fetchone()[0]}")
    refused, said = filled(journal)
    assert "database or disk is full" in said
    assert journal.command(refused.id) is None
    assert journal.turn_away([refused], 0.0) == [refused.id], "for that there is room"
    journal.close()
    again = opened(tmp_path, 2)
    (taken,) = again.take([Intake(refused, "cloud", "anna")], NOW_MS)
    assert (taken.is_new, taken.command.code) == (True, Refusal.JOURNAL_UNAVAILABLE), "also after a crash"
    again.close()


def test_ids_that_were_turned_away_are_bounded_and_leave_when_they_have_expired(tmp_path: Path) -> None:
    path = tmp_path / "turned-away"
    turned = TurnedAway(path)
    size = path.stat().st_size
    many = [envelope(expires_ms=NOW_MS) for _ in range(SLOTS)]
    assert len(turned.add(many, 0.0)) == SLOTS
    later = envelope()
    assert turned.add([later], 0.0) == [], "what cannot be kept is not called refused"
    assert turned.add([later], NOW_MS + 1.0) == [later.id]
    turned.close()
    assert path.stat().st_size == size
    again = TurnedAway(path)
    assert later.id in again
    again.remove([later.id])
    again.close()
    assert later.id not in TurnedAway(path)


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / "commands.db") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(JournalTooNew, match="newer Lineside"):
        opened(tmp_path)


async def test_the_thread_opens_the_file_when_the_disk_lets_it(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    thread = JournalThread(folder / "commands.db", "1" * 16, lambda: NOW_MS)
    with pytest.raises(JournalUnavailable):
        await thread.call(lambda journal: journal.facts())
    await asyncio.to_thread(folder.mkdir)
    facts = await thread.call(lambda journal: journal.facts())
    assert (facts.number, facts.start, facts.previous) == (0, "1" * 16, "")
    await thread.close()


def test_trusted_keys_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "trusted-keys.json"
    assert len(read_pinned_keys(path)) == 0
    write_pinned_keys(path, {KEY.key_id: KEY.public_jwk()})
    assert KEY.key_id in read_pinned_keys(path)
    for text in ("", "[]", '{"keys": 3}', '{"keys": {"a": {"kty": "OKP"}}}', '{"keys": {"a": 1}}', "x" * 300_000):
        path.write_text(text)
        with pytest.raises(KeysUnreadable, match=r"trusted-keys\.json cannot be used"):
            read_pinned_keys(path)
    with pytest.raises(ValueError, match="not what its id says"):
        write_pinned_keys(path, {"another": KEY.public_jwk()})


def test_commands_that_ended_long_ago_leave_when_there_are_very_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.commands.journal_file.COMMANDS_KEPT_MAX", 5)
    journal = opened(tmp_path)
    numbers = take(journal, *[envelope() for _ in range(20)])
    for number in numbers[1:]:
        journal.step(number, CommandState.SUCCEEDED, NOW_MS)
    journal.close()
    soon = Journal(tmp_path / "commands.db", start="2" * 16, now_ms=NOW_MS + 3_600_000)
    assert len(soon.commands(100)) == 20, "what may come again is kept"
    soon.close()
    late = Journal(tmp_path / "commands.db", start="3" * 16, now_ms=NOW_MS + 100_000_000)
    assert [command.number for command in late.commands(100)] == [*reversed(numbers[-5:]), numbers[0]]
    assert take(late, envelope()) == [21], "a number is given once"
    late.close()
