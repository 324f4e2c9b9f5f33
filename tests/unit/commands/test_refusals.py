"""Refusals of what comes: by whom, when, how often, and what the journal says. The device is not written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.commands.refusals import Refusal
from connectors.commands.signing import SigningKey
from connectors.commands.states import CommandState
from connectors.sparkplug.device_command import CommandReceived, PlainMetric
from edge_agent.commands.executor import HELD_MAX
from tests.unit.commands.played_line import KEY, TOPIC, Line, running, until
from tests.unit.commands.refusal_steps import audit_details, refused
from tests.virtual_time import virtual_time

OTHER_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


async def not_taken(line: Line, code: Refusal) -> None:
    """What has just been sent is none of the cloud's commands for this agent: audited, and nothing else."""
    await until(lambda: [details for details in audit_details(line) if details.get("code") == code])
    await asyncio.sleep(1.0)
    assert line.press.writes == []
    assert line.reports == [], "its id may be that of another command, so nothing is said of it"
    assert line.journal.journal.commands(10) == []


def changed(jws: str) -> str:
    head, body, signature = jws.split(".")
    return f"{head}.{body[:-2]}{'AA' if body[-2:] != 'AA' else 'BB'}.{signature}"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda line: "x" * 70_000, Refusal.OVERSIZED),
        (lambda line: "no.jws", Refusal.MALFORMED),
        (lambda line: KEY.sign("lineside-time", line.envelope().to_json()), Refusal.MALFORMED),
        (lambda line: KEY.sign("lineside-command", b'{"value": NaN}'), Refusal.MALFORMED),
        (lambda line: KEY.sign("lineside-command", line.envelope().to_json()[:-20] + b"}"), Refusal.MALFORMED),
        (lambda line: changed(KEY.sign("lineside-command", line.envelope().to_json())), Refusal.BAD_SIGNATURE),
        (lambda line: SigningKey.generate().sign("lineside-command", line.envelope().to_json()), Refusal.UNKNOWN_KEY),
        (lambda line: KEY.sign("lineside-command", line.envelope(agent="plant/b").to_json()), Refusal.WRONG_AGENT),
    ],
)
def test_what_is_not_the_clouds_command_for_this_agent_is_noted_and_nothing_else(
    tmp_path: Path, make: Callable[[Line], str], code: Refusal
) -> None:
    @virtual_time
    async def scene() -> None:
        async with running(Line(tmp_path)) as line:
            jws = make(line)
            oversized = len(jws) if len(jws) > 65_536 else 0
            line.commands.received(CommandReceived(TOPIC, "press", (), "" if oversized else jws, oversized))
            await not_taken(line, code)

    scene()


@virtual_time
async def test_a_value_that_is_no_number_does_not_pass_as_an_envelope(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        text = line.envelope("level", 1.5).to_json().replace(b"1.5", b"NaN")
        line.commands.received(CommandReceived(TOPIC, "press", (), KEY.sign("lineside-command", text)))
        await not_taken(line, Refusal.MALFORMED)


@virtual_time
async def test_a_flood_of_strangers_leaves_few_lines_in_the_audit_log(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        for _ in range(1000):
            line.commands.received(CommandReceived(TOPIC, "press", (), "no.jws"))
        await asyncio.sleep(10.0)
        assert len(audit_details(line)) == 60


@pytest.mark.parametrize(
    "plain",
    [
        (PlainMetric("speed", 8),),
        (PlainMetric("slow", 7),),
        (PlainMetric("speed", None),),
        (PlainMetric("speed", True),),
        (PlainMetric("speed", 7), PlainMetric("slow", 7)),
    ],
)
def test_a_plain_metric_that_says_something_else(tmp_path: Path, plain: tuple[PlainMetric, ...]) -> None:
    @virtual_time
    async def scene() -> None:
        async with running(Line(tmp_path)) as line:
            assert (await refused(line, line.envelope("speed", 7), plain=plain)).code is Refusal.PLAIN_DIFFERS

    scene()


@virtual_time
async def test_an_envelope_on_the_topic_of_another_device(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        assert (await refused(line, line.envelope(), device="oven")).code is Refusal.PLAIN_DIFFERS


@virtual_time
async def test_a_plain_metric_that_says_the_same_passes(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        first = line.send(line.envelope("speed", 7), plain=(PlainMetric("speed", 7),))
        second = line.send(line.envelope("level", 2.7), plain=(PlainMetric("level", 2.700000047683716),))
        assert (await line.done(first.id)).state is CommandState.SUCCEEDED
        assert (await line.done(second.id)).state is CommandState.SUCCEEDED


@virtual_time
async def test_a_plain_command_without_envelope(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.commands.received(CommandReceived(TOPIC, "press", (PlainMetric("speed", 7),), ""))
        await not_taken(line, Refusal.PLAIN_NOT_ALLOWED)


@virtual_time
async def test_a_plain_command_where_the_device_file_allows_it_passes_the_other_checks(tmp_path: Path) -> None:
    async with running(Line(tmp_path, device={"plain_commands": "allow"}), knows_time=False) as line:
        line.commands.received(
            CommandReceived(TOPIC, "press", (PlainMetric("speed", 7), PlainMetric("speed", 999)), "")
        )
        await until(lambda: len(line.journal.journal.commands(10)) == 2)
        await asyncio.sleep(1.0)
        found = {command.envelope.action.value: command for command in line.journal.journal.commands(10)}  # type: ignore[union-attr]
        assert (found[7].state, found[7].source) == (CommandState.SUCCEEDED, "plain")
        assert found[999].code is Refusal.OUT_OF_LIMITS
    assert line.press.writes == [("speed", 7)]


@virtual_time
async def test_plain_commands_are_bounded_as_anybody_can_send_them(tmp_path: Path) -> None:
    async with running(Line(tmp_path, device={"plain_commands": "allow"}), knows_time=False) as line:
        for _ in range(500):
            line.commands.received(CommandReceived(TOPIC, "press", (PlainMetric("speed", 7),), ""))
        await asyncio.sleep(20.0)
        assert len(line.journal.journal.commands(1000)) == 120
        await asyncio.sleep(60.0)
        line.commands.received(CommandReceived(TOPIC, "press", (PlainMetric("speed", 8),), ""))
        await until(lambda: line.press.holds["speed"] == 8)


@virtual_time
async def test_a_clock_that_is_not_known(tmp_path: Path) -> None:
    async with running(Line(tmp_path), knows_time=False) as line:
        assert (await refused(line, line.envelope())).code is Refusal.CLOCK_UNKNOWN


@virtual_time
async def test_a_clock_that_is_known_too_badly(tmp_path: Path) -> None:
    async with running(Line(tmp_path), knows_time=False) as line:
        await until(lambda: line.hellos)
        line.commands.is_connected = lambda: False
        await asyncio.sleep(4.5)
        line.tell_time()
        await asyncio.sleep(0.1)
        report = await refused(line, line.envelope())
        assert report.code is Refusal.CLOCK_UNKNOWN
        assert "2.2 s" in report.detail or "2.3 s" in report.detail, report.detail


@virtual_time
async def test_a_time_that_somebody_else_has_signed_is_none(tmp_path: Path) -> None:
    async with running(Line(tmp_path), knows_time=False) as line:
        await until(lambda: line.hellos)
        line.tell_time(key=SigningKey.generate())
        assert (await refused(line, line.envelope())).code is Refusal.CLOCK_UNKNOWN


@virtual_time
async def test_a_command_whose_time_is_up(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        report = await refused(line, line.envelope(expires_ms=line.now_ms() - 1))
        assert (report.state, report.code) == (CommandState.EXPIRED, Refusal.EXPIRED)


@virtual_time
async def test_the_time_of_the_cloud_decides_and_not_that_of_the_box(tmp_path: Path) -> None:
    async with running(Line(tmp_path), knows_time=False) as line:
        await until(lambda: line.hellos)
        line.tell_time(ahead_ms=3_600_000)
        await until(lambda: line.commands.is_clock_known)
        report = await refused(line, line.envelope())
        assert report.code is Refusal.EXPIRED
        allowed = line.send(line.envelope(expires_ms=line.now_ms() + 3_700_000))
        assert (await line.done(allowed.id)).state is CommandState.SUCCEEDED


@virtual_time
async def test_a_command_whose_time_is_up_when_its_turn_comes(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.write_s = 10.0
        line.send(line.envelope("speed", 1))
        late = line.send(line.envelope("speed", 2, expires_ms=line.now_ms() + 5_000))
        report = await line.done(late.id)
        assert (report.state, report.code) == (CommandState.EXPIRED, Refusal.EXPIRED)
    assert line.press.writes == [("speed", 1)]


@virtual_time
async def test_an_id_that_was_used_for_something_else(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        first = line.send(line.envelope("speed", 7))
        await line.done(first.id)
        before = len(line.reports)
        line.send(line.envelope("speed", 8, id=first.id))
        await until(lambda: [each for each in audit_details(line) if each.get("code") == Refusal.REPLAYED])
        await asyncio.sleep(1.0)
        assert len(line.reports) == before, "nothing is said that could be taken for the first one"
    assert line.press.writes == [("speed", 7)]


@pytest.mark.parametrize("known", [{"journal": "0" * 31 + "1"}, {"number": 17}])
def test_a_journal_that_the_cloud_knows_otherwise(tmp_path: Path, known: dict[str, Any]) -> None:
    @virtual_time
    async def scene() -> None:
        async with running(Line(tmp_path)) as line:
            report = await refused(line, line.envelope(**known))
            assert report.code is Refusal.JOURNAL_MISMATCH
            assert report.state is CommandState.UNKNOWN, "it may have been done before the disk was restored"

    scene()


@virtual_time
async def test_a_thousand_at_once_of_which_a_bounded_number_is_done_and_the_rest_refused(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.write_s = 0.05
        envelopes = [line.send(line.envelope("speed", number % 250)) for number in range(1000)]
        ended = [await line.done(envelope.id) for envelope in envelopes]
        done = [each for each in ended if each.state is CommandState.SUCCEEDED]
        turned_away = [each for each in ended if each.code is Refusal.TOO_MANY]
        assert len(done) + len(turned_away) == 1000
        assert HELD_MAX <= len(done) < 1000
        assert len(line.press.writes) == len(done)
        assert all(line.journal.journal.command(envelope.id) is not None for envelope in envelopes)


@virtual_time
async def test_a_journal_on_a_full_disk(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.journal.is_full = True
        envelope = line.send(line.envelope())
        report = await line.done(envelope.id)
        assert (report.state, report.code, report.number) == (CommandState.REFUSED, Refusal.JOURNAL_UNAVAILABLE, 0)
        line.journal.is_full = False
        for _ in range(3):
            line.send(envelope)
            await asyncio.sleep(2.0)
        assert line.press.writes == [], "it was refused, and stays refused"
        command = line.journal.journal.command(envelope.id)
        assert command is not None
        assert command.code is Refusal.JOURNAL_UNAVAILABLE
        assert (await line.done(line.send(line.envelope()).id)).state is CommandState.SUCCEEDED


@virtual_time
async def test_a_full_disk_makes_no_refusal_of_what_another_journal_may_have_done(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.journal.is_full = True
        envelope = line.send(line.envelope(number=17))
        await asyncio.sleep(5.0)
        assert line.states(envelope.id) == []
        line.journal.is_full = False
        line.send(envelope)
        assert (await line.done(envelope.id)).state is CommandState.UNKNOWN


@virtual_time
async def test_a_disk_that_is_full_when_the_write_is_about_to_begin(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        envelope = line.envelope()
        read = line.press.read

        async def fill_and_read(tag: Any) -> Any:
            line.journal.is_full = True
            return await read(tag)

        line.press.read = fill_and_read  # type: ignore[method-assign]
        line.send(envelope)
        await until(lambda: line.commands.executor.blocked_reason)
        line.press.read = read  # type: ignore[method-assign]
        line.journal.is_full = False
        report = await line.done(envelope.id)
        assert (report.state, report.code) == (CommandState.REFUSED, Refusal.JOURNAL_UNAVAILABLE)
    assert line.press.writes == []
