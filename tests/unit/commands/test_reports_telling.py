"""What the cloud is told of commands, when, and what is told again after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from edge_agent.commands.telling import GATHER_S, NOTE_S
from tests.unit.commands.played_line import Line, running, until
from tests.virtual_time import virtual_time


class Counted:
    """Counts the reports of each commit of the outbox."""

    def __init__(self, line: Line) -> None:
        self.sizes: list[int] = []
        self._tell = line.records.tell
        line.records.tell = self.tell  # type: ignore[method-assign]

    async def tell(self, records: Sequence[bytes]) -> None:
        await self._tell(records)
        self.sizes.append(sum(b'"hello"' not in record for record in records))


@virtual_time
async def test_a_quick_command_is_told_in_one_commit(tmp_path: Path) -> None:
    line = Line(tmp_path)
    told = Counted(line)
    async with running(line):
        line.press.write_s = GATHER_S / 2
        envelope = line.send(line.envelope("speed", 7))
        await line.done(envelope.id)
    assert [size for size in told.sizes if size] == [3]


@virtual_time
async def test_of_a_slow_command_the_cloud_hears_before_it_ends(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.write_s = 5.0
        began_s = line.clock.monotonic_s()
        envelope = line.send(line.envelope("speed", 7))
        await until(lambda: line.states(envelope.id))
        assert line.clock.monotonic_s() - began_s < 2 * GATHER_S
        assert line.states(envelope.id) == ["received", "executing"]
        await line.done(envelope.id)
    assert line.states(envelope.id) == ["received", "executing", "succeeded"]


@virtual_time
async def test_a_refusal_is_told_without_waiting_for_anything(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        began_s = line.clock.monotonic_s()
        envelope = line.send(line.envelope("speed", 7, expires_ms=line.now_ms()))
        report = await line.done(envelope.id)
        assert line.clock.monotonic_s() - began_s < GATHER_S
    assert report.state.value == "expired"


@virtual_time
async def test_what_was_told_and_not_noted_is_told_again_as_the_same_and_what_was_noted_is_not(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        noted = line.send(line.envelope("speed", 7))
        await line.done(noted.id)
        await asyncio.sleep(2 * NOTE_S)
        envelope = line.send(line.envelope("speed", 8))
        await line.done(envelope.id)
        first = [(each.id, each.journal, each.step, each.state) for each in line.reports if each.id == envelope.id]
    async with running(Line(tmp_path, line.press, start=2)) as again:
        await until(lambda: again.states(envelope.id))
        await asyncio.sleep(2 * NOTE_S)
    assert [(each.id, each.journal, each.step, each.state) for each in again.reports] == first
    assert line.press.writes == [("speed", 7), ("speed", 8)]


@virtual_time
async def test_many_commands_are_each_told_once(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        envelopes = []
        for value in range(150):  # more steps than may be told and not noted
            envelopes.append(line.send(line.envelope("speed", value)))
            await line.done(envelopes[-1].id)
        await asyncio.sleep(2 * NOTE_S)
        told = [(each.id, each.step) for each in line.reports]
        assert line.journal.journal.untold(10) == []
    assert sorted(told) == sorted((envelope.id, step) for envelope in envelopes for step in (1, 2, 3))
