"""An enrolled agent signs what it tells of commands with its own key; what it could not sign before is told anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.commands.refusals import Refusal
from connectors.commands.reports import CommandReport, Hello, read_record
from connectors.commands.sealed import JWS_KINDS
from connectors.commands.signing import SignatureRefused, SigningKey, TrustedKeys
from connectors.commands.states import CommandState
from connectors.commands.ulid import new_ulid
from connectors.configuration.durable_files import write_new_file
from edge_agent.commands.own_key import KEY_FILE, OwnKey
from edge_agent.commands.telling import NOTE_S
from tests.unit.commands.played_line import Line, running, until
from tests.virtual_time import virtual_time

OWN = SigningKey.generate()


def enrolled(folder: Path, key: SigningKey = OWN) -> None:
    """As an enrolment leaves the folder."""
    path = folder / KEY_FILE
    path.unlink(missing_ok=True)
    write_new_file(path, json.dumps(key.to_jwk()).encode(), mode=0o600)


def check_all_signed(line: Line, key: SigningKey, first: int = 0) -> None:
    keys = TrustedKeys({key.key_id: key.public_jwk()})
    pairs = list(zip(line.records.said, line.records.signed, strict=True))[first:]
    assert pairs
    for said, signed in pairs:
        kind = Hello if isinstance(said, Hello) else CommandReport
        assert read_record(kind, keys.verify(JWS_KINDS[said.kind], signed)) == said


def inside(record: bytes) -> CommandReport | Hello:
    document = json.loads(record)
    payload = TrustedKeys({OWN.key_id: OWN.public_jwk()}).verify(JWS_KINDS[document["kind"]], document["signed"])
    return read_record(Hello if document["kind"] == "hello" else CommandReport, payload)


@virtual_time
async def test_every_report_and_hello_is_signed_with_the_key_of_the_enrolment(tmp_path: Path) -> None:
    enrolled(tmp_path)
    line = Line(tmp_path)
    async with running(line):
        report = await line.done(line.send(line.envelope()).id)
        await until(lambda: len(line.hellos) > 1)
    check_all_signed(line, OWN)
    assert report.start == f"{1:016x}"
    assert [hello.count for hello in line.hellos] == list(range(1, len(line.hellos) + 1))
    with pytest.raises(SignatureRefused) as refused:
        TrustedKeys({OWN.key_id: OWN.public_jwk()}).verify("lineside-hello", line.records.signed[-1] + "A")
    assert refused.value.code is Refusal.BAD_SIGNATURE


@virtual_time
async def test_an_agent_that_was_never_enrolled_signs_nothing(tmp_path: Path) -> None:
    line = Line(tmp_path)
    async with running(line):
        await line.done(line.send(line.envelope()).id)
    assert set(line.records.signed) == {""}


@virtual_time
async def test_with_a_new_key_while_it_runs_the_agent_tells_its_steps_again_signed_and_once(tmp_path: Path) -> None:
    line = Line(tmp_path)
    async with running(line):
        id_ = line.send(line.envelope()).id
        await line.done(id_)
        before = len(line.records.said)
        enrolled(tmp_path)
        await until(lambda: len(line.records.said) >= before + 4)  # a hello, and three steps
        check_all_signed(line, OWN, first=before)
        again = [each for each in line.records.said[before:] if isinstance(each, CommandReport)]
        assert [each.step for each in again] == [1, 2, 3]
        await asyncio.sleep(2 * NOTE_S)  # that they are told is in the journal
    later = Line(tmp_path, line.press, start=2)
    async with running(later):
        await until(lambda: len(later.hellos) > 1)
        assert later.reports == [], "they were told with this key"


@virtual_time
async def test_with_a_key_that_others_may_read_nothing_is_told_status_says_so_and_chmod_mends_it(
    tmp_path: Path,
) -> None:
    enrolled(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o644)
    line = Line(tmp_path)
    async with running(line, knows_time=False):
        await asyncio.sleep(30.0)
        assert "chmod 600" in line.commands.own_key_problem
        assert line.records.said == []
        (tmp_path / KEY_FILE).chmod(0o600)
        await until(lambda: line.hellos)
        assert not line.commands.own_key_problem
    check_all_signed(line, OWN)


@virtual_time
async def test_reports_that_are_on_their_way_while_the_key_changes_are_told_again_signed(tmp_path: Path) -> None:
    line = Line(tmp_path)
    go, tell = asyncio.Event(), line.records.tell

    async def slowly(records: Sequence[bytes]) -> None:
        if b'"kind":"report"' in records[0]:
            await go.wait()
        await tell(records)

    async with running(line):
        line.records.tell = slowly  # type: ignore[method-assign]
        id_ = line.send(line.envelope()).id
        await until(lambda: line.press.writes)
        enrolled(tmp_path)
        await until(lambda: line.commands.own_key)
        await asyncio.sleep(1.0)
        go.set()
        await until(lambda: len(line.reports) == 6)
        await asyncio.sleep(2 * NOTE_S)
        assert line.states(id_) == ["received", "executing", "succeeded"] * 2
        assert line.journal.journal.untold(10) == []
    check_all_signed(line, OWN, first=len(line.records.said) - 3)


@virtual_time
async def test_a_key_that_comes_while_the_journal_cannot_be_written_is_noted_when_it_can(tmp_path: Path) -> None:
    line = Line(tmp_path)
    async with running(line):
        await line.done(line.send(line.envelope()).id)
        await asyncio.sleep(2 * NOTE_S)
        line.journal.is_full = True
        enrolled(tmp_path)
        await until(lambda: line.commands.own_key)
        await asyncio.sleep(60.0)
        assert len(line.reports) == 3
        line.journal.is_full = False
        await until(lambda: len(line.reports) == 6)
    check_all_signed(line, OWN, first=len(line.records.said) - 3)


@virtual_time
async def test_what_is_done_while_the_key_is_unusable_is_told_signed_when_it_is_usable_again(tmp_path: Path) -> None:
    enrolled(tmp_path)
    line = Line(tmp_path)
    async with running(line):
        await line.done(line.send(line.envelope()).id)
        await asyncio.sleep(2 * NOTE_S)
        (tmp_path / KEY_FILE).chmod(0o644)
        await until(lambda: line.commands.own_key_problem)
        before = len(line.records.said)
        answer = await line.commands.operators.write("press", "speed", 8, "too slow", "carla")
        await until(lambda: ("speed", 8) in line.press.writes)
        not_taken = line.send(line.envelope("speed", 9))
        await asyncio.sleep(700.0)  # more than two hellos
        assert len(line.records.said) == before
        assert line.journal.journal.command(not_taken.id) is None, "the cloud could not hear what became of it"
        (tmp_path / KEY_FILE).chmod(0o600)
        await line.done(answer["id"])
        await until(lambda: len(line.records.said) >= before + 4)
        told = [each for each in line.reports if each.id == answer["id"]]
        assert [each.step for each in told] == [1, 2, 3]
        assert all(said in told for said in line.reports[3:]), "nothing else is told once more"
    check_all_signed(line, OWN)
    assert line.press.writes == [("speed", 7), ("speed", 8)]


@virtual_time
async def test_what_was_told_while_the_key_was_gone_is_told_again_signed_when_it_is_back(tmp_path: Path) -> None:
    enrolled(tmp_path)
    async with running(Line(tmp_path)) as line:
        id_ = line.send(line.envelope()).id
        await line.done(id_)
        (tmp_path / KEY_FILE).unlink()
        await until(lambda: not line.commands.own_key)
        answer = await line.commands.operators.write("press", "speed", 8, "too slow", "carla")
        await line.done(answer["id"])
        assert not line.records.signed[-1]
        await asyncio.sleep(2 * NOTE_S)
        before = len(line.records.said)
        enrolled(tmp_path)
        await until(lambda: len(line.records.said) >= before + 7)
        check_all_signed(line, OWN, first=before)
        again = [each for each in line.records.said[before:] if isinstance(each, CommandReport)]
        assert [(each.id, each.step) for each in again] == [
            (each, step) for each in (id_, answer["id"]) for step in (1, 2, 3)
        ]


@virtual_time
async def test_a_report_says_where_the_command_came_from_and_what_it_does(tmp_path: Path) -> None:
    line = Line(tmp_path, device={"plain_commands": "allow"})
    async with running(line):
        asked = line.send(line.envelope("speed", 7))
        await line.done(asked.id)
        first, *others = [each for each in line.reports if each.id == asked.id]
        assert (first.source, first.action, first.issuer) == ("cloud", asked.action.model_dump(), "anna")
        assert [(each.source, each.action) for each in others] == [("cloud", None)] * 2, "the cloud knows it"
        answer = await line.commands.operators.write("press", "speed", 8, "too slow", "carla")
        assert (await line.done(answer["id"])).state is CommandState.SUCCEEDED
        local = [each for each in line.reports if each.id == answer["id"]]
        assert {(each.source, each.issuer, each.reason) for each in local} == {("local", "carla", "too slow")}
        assert all(each.action == {"do": "write", "device": "press", "tag": "speed", "value": 8} for each in local)


@virtual_time
async def test_a_hello_says_why_a_line_is_locked_and_what_its_audit_log_is_now(tmp_path: Path) -> None:
    line = Line(tmp_path)
    async with running(line):
        await line.commands.operators.lock("press", "cleaning", "carla")
        await until(lambda: line.hellos[-1].locks)
        hello = line.hellos[-1]
        (lock,) = hello.held
        assert (lock.line, lock.reason, lock.actor) == ("press", "cleaning", "carla")
        assert lock.since_ms <= line.now_ms()
        assert (hello.audit_base, hello.audit_base_hash) == (0, "")
        line.tell_time(audit=hello.audit_number)
        await line.commands.operators.unlock("press", "carla")
        await until(lambda: line.hellos[-1].audit_base == hello.audit_number)
        assert line.hellos[-1].audit_base_hash == hello.audit_hash
        assert line.hellos[-1].audit_number > hello.audit_number


@virtual_time
async def test_however_long_a_text_a_tag_holds_what_becomes_of_the_command_is_told_with_its_beginning(
    tmp_path: Path,
) -> None:
    enrolled(tmp_path)
    async with running(Line(tmp_path)) as line:
        line.press.holds["speed"] = "\x01\ud83d" * 100_000
        report = await line.done(line.send(line.envelope()).id)
        assert isinstance(report.before, str)
        assert report.before.startswith("\x01\ufffd\x01\ufffd")
        assert report.before.endswith("… (and 192,000 more characters)")
        assert report.after == 7
    check_all_signed(line, OWN)


def test_what_is_too_long_to_be_signed_is_told_without_its_largest_parts(tmp_path: Path) -> None:
    enrolled(tmp_path)
    own = OwnKey(tmp_path / KEY_FILE)
    assert own.look()
    given = {"id": new_ulid(1), "journal": "ab" * 16, "number": 1, "step": 1, "state": "succeeded", "time_ms": 1,
             "actor": "agent", "detail": "done"}  # fmt: skip
    report = CommandReport.model_validate({**given, "before": "x" * 200_000, "action": {"do": "write"}})
    assert inside(own.sealed(report)) == CommandReport.model_validate(given)
    said = {"nonce": "0" * 32, "journal": "ab" * 16, "number": 1, "start": f"{1:016x}"}
    lock = {"reason": "\x01" * 1000, "actor": "carla", "since_ms": 1}
    lines = [f"line-{number}" for number in range(100)]
    hello = Hello.model_validate({**said, "locks": lines, "held": [{"line": line, **lock} for line in lines]})
    assert inside(own.sealed(hello)) == Hello.model_validate({**said, "locks": lines})
