"""What people do at the box: over the real socket, with the name of the Unix user, and in the same journal."""

from __future__ import annotations

import asyncio
import getpass
import io
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from connectors.commands.audit_chain import entry_of, problems
from connectors.commands.states import CommandState
from edge_agent.cli import app as cli
from edge_agent.cli import audit, operate
from edge_agent.cli.command_screens import command_screen, commands_table, end_sentence
from edge_agent.cli.terminal import console
from edge_agent.commands.operators import NotPossible
from edge_agent.local_api.command_calls import CommandCalls
from edge_agent.local_api.command_status import commands_status, lock_of
from edge_agent.local_api.protocol import CallFailed, call
from edge_agent.local_api.server import LocalApi
from tests.unit.commands.played_line import Line, running, until
from tests.virtual_time import virtual_time

ME = getpass.getuser()
RUNNER = CliRunner()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, for the socket in it."""
    with tempfile.TemporaryDirectory(prefix="op") as made:
        yield Path(made)


@asynccontextmanager
async def served(line: Line, folder: Path) -> AsyncIterator[Path]:
    """Its calls at a socket, in real time."""
    socket = folder / "agent.sock"
    task = asyncio.create_task(LocalApi(socket, 0o600, CommandCalls(line.commands).handlers).run())
    try:
        async with running(line):
            while not socket.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            yield socket
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_local_write_is_journalled_with_the_unix_user_and_told_to_the_cloud(folder: Path) -> None:
    line = Line(folder)
    async with served(line, folder) as socket:
        answer = await call(socket, "write", device="press", tag="speed", text="7", reason="it is too slow")
        assert (answer["state"], answer["actor"], answer["source"], answer["after"]) == ("succeeded", ME, "local", 7)
        assert line.press.writes == [("speed", 7)]
        shown = await call(socket, "command", id=answer["id"])
        assert [step["state"] for step in shown["steps"] if step["step"]] == ["received", "executing", "succeeded"]
        assert shown["steps"][0]["actor"] == ME
        assert (await line.done(answer["id"])).state is CommandState.SUCCEEDED
        (listed,) = await call(socket, "commands")
        assert listed["reason"] == "it is too slow"


async def test_a_local_write_passes_the_same_checks_but_needs_no_cloud(folder: Path) -> None:
    line = Line(folder)
    async with served(line, folder) as socket:
        for text, code in (("251", "out_of_limits"), ("-1", "wrong_type")):
            answer = await call(socket, "write", device="press", tag="speed", text=text, reason="a test")
            assert (answer["state"], answer["code"]) == ("refused", code)
        with pytest.raises(CallFailed, match="'fast' is no whole number, and the tag is a UInt16"):
            await call(socket, "write", device="press", tag="speed", text="fast", reason="a test")
        with pytest.raises(CallFailed, match="press has no tag 'sped'"):
            await call(socket, "write", device="press", tag="sped", text="1", reason="a test")
        with pytest.raises(CallFailed, match="needs a reason"):
            await call(socket, "write", device="press", tag="speed", value=1, reason=" ")
        answer = await call(socket, "lock", line="press", reason="hands in the press")
        assert answer["actor"] == ME
        answer = await call(socket, "write", device="press", tag="speed", value=7, reason="a test")
        assert (answer["code"], answer["detail"]) == ("locked", f"{ME} has locked press: hands in the press")
    assert line.press.writes == []


async def test_who_asks_cannot_say_who_he_is(folder: Path) -> None:
    line = Line(folder)
    async with served(line, folder) as socket:
        answer = await call(socket, "lock", line="press", reason="a test", actor="somebody", caller="somebody")
        assert answer["actor"] == ME


@virtual_time
async def test_a_second_person_approves_and_not_the_one_who_has_asked(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        operators = line.commands.operators
        answer = await operators.write("press", "shared", 7, "a test", "carla")
        assert answer["waits_for_approval"]
        with pytest.raises(NotPossible, match="somebody else has to agree"):
            await operators.approve(answer["id"], "carla")
        assert line.press.writes == []
        await operators.approve(answer["id"], "dora")
        assert (await line.done(answer["id"])).state is CommandState.SUCCEEDED
        assert (await operators.show(answer["id"]))["approvers"] == ["dora"]
        with pytest.raises(NotPossible, match="it is succeeded already"):
            await operators.approve(answer["id"], "emil")
    assert line.press.writes == [("shared", 7)]


@virtual_time
async def test_an_approval_of_a_command_that_waits_survives_a_restart(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        envelope = line.send(line.envelope("shared", 7))
        await until(lambda: line.states(envelope.id) == ["received", "received"])
        number = line.journal.journal.commands(1)[0].number
        line.journal.journal.approve(number, "dora", line.now_ms())
    async with running(Line(tmp_path, line.press, start=2)) as again:
        assert (await again.done(envelope.id)).state is CommandState.SUCCEEDED


@virtual_time
async def test_the_cloud_may_command_after_what_was_done_at_the_box(tmp_path: Path) -> None:
    """Its next command names the number that the journal has now."""
    async with running(Line(tmp_path)) as line:
        await line.commands.operators.write("press", "speed", 7, "a test", "carla")
        facts = line.journal.journal.facts()
        envelope = line.send(line.envelope("speed", 8, journal=facts.journal, number=facts.number))
        assert (await line.done(envelope.id)).state is CommandState.SUCCEEDED
    assert line.press.writes == [("speed", 7), ("speed", 8)]


@virtual_time
async def test_an_approval_that_nothing_waits_for_is_not_kept_for_later(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.write_s = 5.0
        envelope = line.send(line.envelope("speed", 7))
        await until(lambda: "executing" in line.states(envelope.id))
        with pytest.raises(NotPossible, match="does not wait for an approval"):
            await line.commands.operators.approve(envelope.id, "dora")
        number = line.journal.journal.commands(1)[0].number
        assert line.journal.journal.approvers(number) == ()


async def test_a_tag_that_has_to_be_armed_is_armed_and_then_written_at_the_box_once(folder: Path) -> None:
    line = Line(folder)
    async with served(line, folder) as socket:
        write = {"device": "press", "tag": "armed", "text": "7", "reason": "a test"}
        refused = await call(socket, "write", **write)
        assert (refused["state"], refused["code"]) == ("refused", "not_armed")
        arming = await call(socket, "write", **write, arm=True)
        assert arming["state"] == "succeeded"
        assert end_sentence(arming) == (
            f"press/armed is armed: do it within 30 s with the same value and --armed {arming['id']}"
        )
        assert line.press.writes == []
        other = await call(socket, "write", **{**write, "text": "8"}, armed=arming["id"])
        assert (other["state"], other["code"]) == ("refused", "not_armed")
        done = await call(socket, "write", **write, armed=arming["id"])
        assert done["state"] == "succeeded"
        again = await call(socket, "write", **write, armed=arming["id"])
        assert (again["state"], again["code"]) == ("refused", "not_armed"), "it arms once"
        with pytest.raises(CallFailed, match="not the id of a command"):
            await call(socket, "write", **write, armed="the last one")
        with pytest.raises(CallFailed, match="do not go together"):
            await call(socket, "write", **write, armed=arming["id"], arm=True)
    assert line.press.writes == [("armed", 7)]


@virtual_time
async def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        operators = line.commands.operators
        for work, said in (
            (operators.lock("oven", "a test", "carla"), "there is no line 'oven'; lines are agent, press"),
            (operators.lock("press", "", "carla"), "a lock needs a reason"),
            (operators.unlock("press", "carla"), "press is not locked"),
            (operators.show("x"), "the journal has no command 'x'"),
        ):
            with pytest.raises(NotPossible, match=said):
                await work
        line.journal.is_full = True
        with pytest.raises(Exception, match="cannot be written"):
            await operators.lock("press", "a test", "carla")
        assert operators.locks == {}, "nobody believes in a lock that a restart would forget"
        line.journal.is_full = False


@virtual_time
async def test_status_and_watch_show_locks(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        await line.commands.operators.lock("agent", "maintenance", "carla")
        status = commands_status(line.commands)
        assert status is not None
        assert [(lock["line"], lock["actor"], lock["reason"]) for lock in status["locks"]] == [
            ("agent", "carla", "maintenance")
        ]
        assert (status["clock_known"], status["trusted_keys"], status["remote"], status["problem"]) == (
            True,
            1,
            True,
            "",
        )
        assert lock_of(line.commands, "press") == "carla: maintenance"
        assert lock_of(None, "press") == ""


@virtual_time
async def test_the_screens_say_what_was_asked_and_what_came_of_it(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        operators = line.commands.operators
        done = await operators.write("press", "speed", 7, "a test", "carla")
        refused = await operators.write("press", "speed", 999, "a test", "carla")
        assert end_sentence(done) == "press/speed: done, and holds 7"
        assert end_sentence(refused) == (
            "press/speed: refused. The value is outside of what the engineer allows for this tag: press/speed takes 0 "
            "to 250, and not 999"
        )
        screen = console()
        with screen.capture() as captured:
            screen.print(commands_table(await operators.list(10)))
            screen.print(command_screen(await operators.show(done["id"])))
        text = captured.get()
        for said in (done["id"], ":= 7", ":= 999", "refused (out_of_limits)", "carla (local): a test", "writing"):
            assert said in text


@pytest.mark.parametrize("columns", [80, 140])
def test_of_a_list_of_commands_nothing_is_cut_at_any_width(columns: int) -> None:
    asked_for = {
        "received_ms": 1_000, "id": "01M8MWHAQEF0K08PA29PW77QZQ", "target": "press/ram/setpoint", "state": "refused",
        "code": "out_of_limits", "issuer": "anna.berg@plant-7.example", "action": {"do": "write", "value": 58.5},
    }  # fmt: skip
    out = io.StringIO()
    Console(file=out, width=columns, highlight=False).print(commands_table([asked_for]))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    words = " ".join(out.getvalue().split())
    for said in ("1970-01-01", "00:00:01.000", asked_for["id"], "press/ram/setpoint", ":= 58.5", "(out_of_limits)"):
        assert said in words
    assert "…" not in words


def test_the_audit_log_is_verified_and_exported_and_a_changed_entry_is_found(tmp_path: Path) -> None:
    @virtual_time
    async def scene() -> None:
        async with running(Line(tmp_path)) as line:
            await line.commands.operators.write("press", "speed", 7, "a test", "carla")
            await line.commands.operators.lock("press", "a test", "carla")

    scene()
    journal = ["--journal", str(tmp_path / "commands.db")]
    verified = RUNNER.invoke(audit.app, ["verify", "--json", *journal])
    assert (verified.exit_code, json.loads(verified.stdout)["valid"]) == (0, True)
    exported = RUNNER.invoke(audit.app, ["export", *journal])
    entries = [entry_of(json.loads(line)) for line in exported.stdout.splitlines()]
    assert [entry.action for entry in entries] == ["received", "executing", "writing", "succeeded", "lock"]
    assert list(problems(entries)) == []
    import sqlite3

    for change, said in (
        ("UPDATE audit SET actor='nobody' WHERE number=1", "entry 1 was changed"),
        ("DELETE FROM audit WHERE number=5", "the log ends with entry 4, and had 5"),
        ("DELETE FROM audit WHERE number=3", "3 to 3 are missing"),
        ("UPDATE audit SET details='{' WHERE number=2", "entry 2 was changed"),
    ):
        with sqlite3.connect(tmp_path / "commands.db") as connection:
            connection.execute(change)
        connection.close()
        found = RUNNER.invoke(audit.app, ["verify", *journal])
        assert found.exit_code == 1
        assert said in found.stderr


def test_the_commands_speak_to_the_agent(folder: Path) -> None:
    operate.add_to(cli.app)
    said: list[tuple[int, Any]] = []

    async def scene() -> None:
        line = Line(folder)
        async with served(line, folder) as socket:
            for words in (
                ["lock", "press", "--reason", "a test", "--json"],
                ["unlock", "press"],
                ["command", "press/start", "-a", "recipe=12", "--reason", "a test"],
                ["commands", "list", "--json"],
                ["commands", "approve", "nothing"],
            ):
                found = await asyncio.to_thread(RUNNER.invoke, cli.app, [*words, "--socket", str(socket)])
                said.append((found.exit_code, found.output.splitlines()[-1]))  # before it, the log of the agent

    asyncio.run(scene())
    assert [code for code, _ in said] == [0, 0, 1, 0, 1]
    assert json.loads(said[0][1])["actor"] == ME
    assert said[1][1] == "press is unlocked"
    assert said[2][1].startswith("press/start(): refused. The value is outside")
    assert len(json.loads(said[3][1])) == 1
    assert said[4][1].startswith("the journal has no command 'nothing'")
