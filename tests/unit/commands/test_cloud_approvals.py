"""What the device file wants approved can be approved in the cloud, by somebody else than the issuer, in time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connectors.commands.refusals import Refusal
from connectors.commands.signing import SigningKey
from connectors.commands.states import CommandState
from edge_agent.commands.telling import NOTE_S
from tests.unit.commands.played_line import Line, running, until
from tests.virtual_time import virtual_time


async def waiting(line: Line) -> str:
    """A command that waits for approval, and that the cloud has heard of that."""
    id_ = line.send(line.envelope("shared", 7)).id
    await until(lambda: any(each.id == id_ and each.code is Refusal.NOT_APPROVED for each in line.reports))
    report = line.reports[-1]
    assert (report.state, report.step) == (CommandState.RECEIVED, 2)
    return id_


@virtual_time
async def test_a_command_that_waits_says_so_and_is_done_when_the_cloud_says_that_somebody_agrees(
    tmp_path: Path,
) -> None:
    line = Line(tmp_path)
    async with running(line):
        id_ = await waiting(line)
        assert line.press.writes == []
        line.agree(id_)
        line.agree(id_)  # it is sent until the cloud hears what became of it
        report = await line.done(id_)
        assert (report.state, report.code) == (CommandState.SUCCEEDED, None)
        shown = await line.commands.operators.show(id_)
        assert shown["approvers"] == ["berta"]
    assert line.press.writes == [("shared", 7)]


@virtual_time
@pytest.mark.parametrize("wrong", ["issuer", "agent", "key", "command"])
async def test_an_approval_by_the_issuer_for_another_agent_or_by_another_key_counts_for_nothing(
    tmp_path: Path, wrong: str
) -> None:
    line = Line(tmp_path)
    async with running(line):
        id_ = await waiting(line)
        match wrong:
            case "issuer":
                line.agree(id_, "anna")
            case "agent":
                line.agree(id_, agent="plant/other")
            case "key":
                line.agree(id_, key=SigningKey.generate())
            case _:
                line.agree("01ARZ3NDEKTSV4RRFFQ69G5FAV")
        report = await line.done(id_)
        assert (report.state, report.code) == (CommandState.REFUSED, Refusal.NOT_APPROVED)
        assert (await line.commands.operators.show(id_))["approvers"] == []
    assert line.press.writes == []


@virtual_time
async def test_the_cloud_cannot_approve_what_somebody_at_the_box_has_asked_for(tmp_path: Path) -> None:
    line = Line(tmp_path)
    async with running(line):
        answer = await line.commands.operators.write("press", "shared", 7, "a test", "carla")
        line.agree(answer["id"])
        report = await line.done(answer["id"], 400)
        assert (report.state, report.code) == (CommandState.REFUSED, Refusal.NOT_APPROVED)
    assert line.press.writes == []


@virtual_time
async def test_an_approval_does_not_outlast_the_time_of_its_command(tmp_path: Path) -> None:
    line = Line(tmp_path)
    async with running(line):
        id_ = await waiting(line)
        report = await line.done(id_)
        line.agree(id_)
        await until(lambda: len(line.hellos) > 1)
        assert report.state is CommandState.REFUSED
    assert line.press.writes == []


@virtual_time
async def test_waiting_and_an_approval_survive_a_restart_and_waiting_is_said_once(tmp_path: Path) -> None:
    line = Line(tmp_path)
    async with running(line):
        id_ = await waiting(line)
        await asyncio.sleep(2 * NOTE_S)  # that it is told is in the journal
    later = Line(tmp_path, line.press, start=2)
    async with running(later):
        await until(lambda: later.commands.executor.waits_for_approval(id_))
        assert later.states(id_) == []
    last = Line(tmp_path, line.press, start=3)
    last.agree(id_)  # before the agent has come to the command again
    async with running(last):
        assert (await last.done(id_)).state is CommandState.SUCCEEDED
    assert line.press.writes == [("shared", 7)]
