"""``cloud-ingest reports`` on a real database: what there is, what was made, sent again, given up and tried again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from cloud_ingest.cli.app import app
from cloud_ingest.event_log.topics import ANALYTICS_EVENTS
from connectors.ports.vendors import CallRefused
from tests.contract.test_mails import TODAY, made_report, planner, post_room
from tests.contract.test_notify_adapters import Mailbox

Run = Callable[..., tuple[int, str]]
NOBODY: Final = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
def run(database_dsn: str, tmp_path: Path) -> Run:
    """One command of ``cloud-ingest reports``: its exit code, and what it says."""
    at = urlsplit(database_dsn)
    config, password = tmp_path / "cloud.yaml", tmp_path / "password"
    password.write_text(at.password or "", encoding="utf-8")
    password.chmod(0o600)
    config.write_text(
        "ingest: {brokers: [mqtt://127.0.0.1], insecure: true}\n"
        f"database: {{host: {at.hostname}, port: {at.port}, name: {at.path[1:]}, user: {at.username}, insecure: true, "
        f"password: '${{file:{password}}}'}}\n",
        encoding="utf-8",
    )

    def run(*words: str) -> tuple[int, str]:
        ended = CliRunner().invoke(app, ["reports", *words, "-c", str(config)])
        return ended.exit_code, ended.output

    return run


async def test_reports_are_listed_sent_again_and_mails_that_were_given_up_are_tried_again(
    database_dsn: str, run: Run
) -> None:
    async with post_room(database_dsn, Mailbox()) as (here, room), planner(here.database) as client:

        async def says(*words: str) -> tuple[int, str]:
            return await asyncio.to_thread(run, *words)

        async def mails(*words: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = json.loads((await says("mails", *words, "--json"))[1])
            return found

        report, day = await made_report(here.database, client), TODAY.isoformat()
        code, screen = await says("list")
        assert code == 0
        for said in (report, "Line 3, every day", "all sites", "shift@plant.example, head@plant.example"):
            assert said in screen
        code, screen = await says("made", report)
        assert (code, day in screen) == (0, True)
        (made,) = json.loads((await says("made", report, "--json"))[1])
        assert (made["edition"], made["formats"]) == (1, ["csv", "html", "pdf", "xlsx"])

        room.trouble = [CallRefused("550 there is no such mailbox")]
        await room.hear(ANALYTICS_EVENTS)
        await room.pass_s(1)
        code, screen = await says("mails")
        assert (code, "550 there is no such mailbox" in screen) == (1, True), "one was given up"
        assert (await says("mails", "--state", "sent"))[0] == 0
        (dead,) = await mails("--state", "dead")
        code, said = await says("retry", dead["id"])
        assert (code, said) == (0, f"{dead['id']}: the mail to {dead['recipient']} is tried again\n")
        code, said = await says("send", report, day, "--to", "boss@plant.example")
        assert (code, f"{report} of {day} is sent to boss@plant.example" in said) == (0, True), said
        await room.hear(ANALYTICS_EVENTS)
        await room.pass_s(1)
        assert sorted((mail["recipient"], mail["state"]) for mail in await mails()) == [
            (f"{who}@plant.example", "sent") for who in ("boss", "head", "shift")
        ]
        code, said = await says("retry", dead["id"])
        assert code == 1, "who has it does not get it again by mistake"


def test_what_is_not_there_is_said_in_a_sentence(run: Run) -> None:
    for words in (("made", NOBODY), ("send", NOBODY, TODAY.isoformat()), ("retry", NOBODY)):
        code, said = run(*words)
        assert (code, NOBODY in said) == (1, True), said
        assert "Traceback" not in said
    assert run("send", NOBODY, "yesterday")[0] == 2
