"""Refusals by what the agent's file and its operators allow, and by what the line does now: nothing is written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from connectors.commands.envelope import RunCommand, WriteTag
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from connectors.model.quality import BAD
from edge_agent.commands.executor import Switches
from tests.unit.commands.played_line import Line, running
from tests.unit.commands.refusal_steps import refused
from tests.virtual_time import virtual_time

OTHER_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.mark.parametrize(
    ("switches", "code"),
    [(Switches(remote_commands=False), Refusal.REMOTE_OFF), (Switches(commissioning=True), Refusal.COMMISSIONING)],
)
def test_what_is_switched_off_for_the_whole_agent(tmp_path: Path, switches: Switches, code: Refusal) -> None:
    @virtual_time
    async def scene() -> None:
        async with running(Line(tmp_path, switches=switches)) as line:
            assert (await refused(line, line.envelope())).code is code

    scene()


@pytest.mark.parametrize("locked", ["press", "agent"])
def test_a_line_that_an_operator_has_locked(tmp_path: Path, locked: str) -> None:
    @virtual_time
    async def scene() -> None:
        async with running(Line(tmp_path)) as line:
            await line.commands.operators.lock(locked, "hands in the press", "carla")
            report = await refused(line, line.envelope())
            assert report.code is Refusal.LOCKED
            assert report.detail == f"carla has locked {locked}: hands in the press"
            await line.commands.operators.unlock(locked, "carla")
            assert (await line.done(line.send(line.envelope()).id)).state is CommandState.SUCCEEDED

    scene()


@virtual_time
async def test_a_lock_reaches_commands_that_wait_already(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.write_s = 1.0
        line.send(line.envelope("speed", 1))
        waiting = line.send(line.envelope("speed", 2))
        await asyncio.sleep(0.5)
        await line.commands.operators.lock("press", "hands in the press", "carla")
        assert (await line.done(waiting.id)).code is Refusal.LOCKED
    assert line.press.writes == [("speed", 1)]


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (WriteTag(device="oven", tag="speed", value=1), Refusal.UNKNOWN_TARGET),
        (WriteTag(device="press", tag="sped", value=1), Refusal.UNKNOWN_TARGET),
        (RunCommand(device="press", command="stop"), Refusal.UNKNOWN_TARGET),
        (WriteTag(device="press", tag="state", value=1), Refusal.NOT_WRITABLE),
        (WriteTag(device="press", tag="speed", value=True), Refusal.WRONG_TYPE),
        (WriteTag(device="press", tag="speed", value=1.0), Refusal.WRONG_TYPE),
        (WriteTag(device="press", tag="speed", value="1"), Refusal.WRONG_TYPE),
        (WriteTag(device="press", tag="speed", value=70_000), Refusal.WRONG_TYPE),
        (WriteTag(device="press", tag="lamp", value=1), Refusal.WRONG_TYPE),
        (WriteTag(device="press", tag="level", value=True), Refusal.WRONG_TYPE),
        (RunCommand(device="press", command="start"), Refusal.WRONG_TYPE),
        (RunCommand(device="press", command="start", arguments={"recipe": "3"}), Refusal.WRONG_TYPE),
        (RunCommand(device="press", command="start", arguments={"recipe": 3, "more": 1}), Refusal.WRONG_TYPE),
        (WriteTag(device="press", tag="speed", value=251), Refusal.OUT_OF_LIMITS),
        (WriteTag(device="press", tag="level", value=-0.1), Refusal.OUT_OF_LIMITS),
        (WriteTag(device="press", tag="go", value=False), Refusal.OUT_OF_LIMITS),
        (RunCommand(device="press", command="start", arguments={"recipe": 10}), Refusal.OUT_OF_LIMITS),
        (WriteTag(device="press", tag="armed", value=1), Refusal.NOT_ARMED),
        (WriteTag(device="press", tag="guarded", value=1), Refusal.INTERLOCKED),
    ],
)
def test_what_the_device_file_does_not_allow(tmp_path: Path, action: Any, code: Refusal) -> None:
    @virtual_time
    async def scene() -> None:
        async with running(Line(tmp_path)) as line:
            sent = action.device if action.device == "press" else "oven"
            report = await refused(line, line.envelope(action=action), device=sent)
            assert report.code is code, report
            assert report.detail

    scene()


@virtual_time
async def test_a_tag_of_a_safety_function(tmp_path: Path) -> None:
    tags = ({"name": "state", "at": "holding 0"}, {"name": "stop", "at": "coil 9", "safety": True})
    async with running(Line(tmp_path, device={"tags": tags, "commands": {}})) as line:
        assert (await refused(line, line.envelope("stop", True))).code is Refusal.NOT_WRITABLE


@virtual_time
async def test_a_tag_that_was_written_too_recently_also_before_a_restart(tmp_path: Path) -> None:
    line = Line(tmp_path)
    async with running(line):
        await line.done(line.send(line.envelope("slow", 7)).id)
        assert (await line.done(line.send(line.envelope("slow", 8)).id)).code is Refusal.TOO_OFTEN
    async with running(Line(tmp_path, line.press, start=2)) as again:
        assert (await again.done(again.send(again.envelope("slow", 8)).id)).code is Refusal.TOO_OFTEN
        await asyncio.sleep(60.0)
        assert (await again.done(again.send(again.envelope("slow", 9)).id)).state is CommandState.SUCCEEDED
    assert line.press.writes == [("slow", 7), ("slow", 9)]


@virtual_time
async def test_a_command_to_which_nobody_else_agrees(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        report = await refused(line, line.envelope("shared", 7, approvers=("anna",)))
        assert report.code is Refusal.NOT_APPROVED


@virtual_time
async def test_a_command_to_which_somebody_has_agreed_in_the_cloud(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        envelope = line.send(line.envelope("shared", 7, approvers=("berta",)))
        assert (await line.done(envelope.id)).state is CommandState.SUCCEEDED


@virtual_time
async def test_arming_is_for_one_command_of_the_same_content_and_for_a_time(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        arm = line.send(line.envelope("armed", 7, stage="arm"))
        assert (await line.done(arm.id)).state is CommandState.SUCCEEDED
        assert line.press.writes == []
        other = line.send(line.envelope("armed", 8, armed=arm.id))
        assert (await line.done(other.id)).code is Refusal.NOT_ARMED
        unknown = line.send(line.envelope("armed", 7, armed=OTHER_ID))
        assert (await line.done(unknown.id)).code is Refusal.NOT_ARMED
        right = line.send(line.envelope("armed", 7, armed=arm.id))
        assert (await line.done(right.id)).state is CommandState.SUCCEEDED
        again = line.send(line.envelope("armed", 7, armed=arm.id))
        assert (await line.done(again.id)).code is Refusal.NOT_ARMED
        late = line.send(line.envelope("armed", 7, stage="arm"))
        await line.done(late.id)
        await asyncio.sleep(31.0)
        assert (await line.done(line.send(line.envelope("armed", 7, armed=late.id)).id)).code is Refusal.NOT_ARMED
    assert line.press.writes == [("armed", 7)]


@virtual_time
async def test_an_interlock_with_a_value_that_is_not_good(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.holds["state"] = 1
        line.press.quality = BAD
        report = await refused(line, line.envelope("guarded", 7))
        assert report.code is Refusal.INTERLOCKED
        assert "quality Bad" in report.detail
        line.press.quality = 0
        assert (await line.done(line.send(line.envelope("guarded", 7)).id)).state is CommandState.SUCCEEDED


@pytest.mark.parametrize(
    "precondition",
    ["press/state == 1", "press/nothing == 1", "press/state ==", "press/state == go", "1 / press/state > 0"],
)
def test_a_precondition_that_does_not_hold_or_cannot_be_told(tmp_path: Path, precondition: str) -> None:
    @virtual_time
    async def scene() -> None:
        async with running(Line(tmp_path)) as line:
            report = await refused(line, line.envelope(precondition=precondition))
            assert report.code is Refusal.PRECONDITION

    scene()


@virtual_time
async def test_a_device_that_is_away(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.is_away = True
        assert (await refused(line, line.envelope())).code is Refusal.DEVICE_UNAVAILABLE


def test_every_refusal_has_a_test() -> None:
    here = Path(__file__).parent
    tests = [*here.glob("test_*refusals.py"), *(here.parent / "releases").glob("test_*.py")]
    text = "".join(path.read_text() for path in tests)
    assert [code.name for code in Refusal if f"Refusal.{code.name}" not in text] == []
