"""The commands that need no running agent, and what ``watch`` writes into a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connectors.model.datatypes import DataType
from connectors.model.tags import DeviceName, TagName, TagType
from edge_agent.cli import app as commands
from edge_agent.cli import buffer
from edge_agent.cli.watching import watch_forever
from edge_agent.local_api.protocol import AgentNotRunning
from edge_agent.local_api.server import LocalApi
from tests.inline_outbox import InlineWriter
from tests.virtual_time import START_NS

RUNNER = CliRunner()
CONFIG = "agent: {group: a, name: b}\nuplink: {brokers: [mqtts://b]}\ndevices:\n"
OVEN = "  - {name: oven, driver: modbus, endpoint: tcp://o, tags: [{name: x, at: coil 1}]}\n"


def check(folder: Path, text: str, *words: str) -> tuple[int, str, str]:
    (folder / "agent.yaml").write_text(text)
    said = RUNNER.invoke(commands.app, ["check", "-c", str(folder / "agent.yaml"), *words])
    return said.exit_code, said.stdout.replace(f"{folder}/", ""), said.stderr.replace(f"{folder}/", "")


def test_check_counts_in_singular_and_plural(tmp_path: Path) -> None:
    assert check(tmp_path, CONFIG + OVEN) == (0, "agent.yaml: valid, 1 device with 1 tag\n", "")
    two = CONFIG + OVEN + OVEN.replace("oven", "dryer")
    assert check(tmp_path, two) == (0, "agent.yaml: valid, 2 devices with 2 tags\n", "")
    assert check(tmp_path, CONFIG.replace("[mqtts", "[mqtt") + OVEN)[2].endswith("\n1 problem\n")


def test_check_looks_at_the_files_that_are_named(tmp_path: Path) -> None:
    text = CONFIG.replace("uplink: {", "uplink: {ca_file: plant-ca.pem, ") + OVEN
    code, out, err = check(tmp_path, text)
    assert (code, out) == (1, "")
    assert err.startswith(
        "agent.yaml:2:19: 'ca_file' of 'uplink': the file 'plant-ca.pem' cannot be read: No such file or directory."
    )
    code, out, _ = check(tmp_path, text, "--json")
    problem = json.loads(out)["problems"][0]
    assert (code, problem["line"], problem["column"]) == (1, 2, 19)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Path]:
    """An outbox with two batches: the start of its agent, and the definition of a device."""
    writer = InlineWriter(tmp_path)
    types = [TagType(0, TagName("force"), DataType.DOUBLE)]
    writer.outbox.define(DeviceName("press"), types, START_NS // 1_000_000)
    yield tmp_path / "outbox.db"
    writer.outbox.close()


def look(outbox: Path, *words: str) -> str:
    said = RUNNER.invoke(buffer.app, [*words, "--outbox", str(outbox)])
    assert (said.exit_code, said.stderr) == (0, ""), said.output
    return said.stdout


def test_the_buffer_tells_what_waits_apart_from_what_its_files_take(outbox: Path) -> None:
    document = json.loads(look(outbox, "status", "--json"))
    wal = outbox.with_name("outbox.db-wal")
    assert (document["database_bytes"], document["wal_bytes"]) == (outbox.stat().st_size, wal.stat().st_size)
    assert sum(row["bytes"] for row in document["waiting"]) < document["wal_bytes"]
    people = look(outbox, "status")
    assert "files: database " in people
    assert "write-ahead log " in people


def test_times_in_the_buffer_say_that_they_are_utc(outbox: Path) -> None:
    with contextlib.closing(sqlite3.connect(outbox)) as connection, connection:
        connection.execute("INSERT INTO gap (device, reason, first_ns, detail) VALUES ('press', 'clock_set', 0, '')")
    status, batches = look(outbox, "status"), look(outbox, "list")
    assert "oldest (UTC)" in status
    assert "press: gap open since 1970-01-01 00:00:00.000 UTC: clock set" in status
    assert "committed (UTC)" in batches


def test_the_list_says_how_many_batches_it_leaves_out(outbox: Path) -> None:
    assert "more batch" not in look(outbox, "list")
    assert look(outbox, "list", "--count", "1").splitlines()[-1] == "… 1 more batch: --count shows more"


class Watched:
    """An agent whose one tag changes once."""

    async def watch(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        self.args = dict(args)
        yield [{"tag": "force", "value": 1.5}]
        yield []
        yield [{"tag": "force", "value": 2.5}]


async def test_into_a_pipe_watch_writes_a_line_of_json_a_change_and_says_when_the_agent_stops(
    capsys: pytest.CaptureFixture[str],
) -> None:
    agent = Watched()
    with tempfile.TemporaryDirectory(prefix="cli") as folder:
        path = Path(folder) / "agent.sock"
        serving = asyncio.create_task(LocalApi(path, 0o600, {"watch": agent.watch}).run())
        while not await asyncio.to_thread(path.exists):  # noqa: ASYNC110  it is a file that is waited for
            await asyncio.sleep(0.005)
        watching = asyncio.create_task(watch_forever(path, "press", "for", 0.5, as_json=False))
        lines: list[str] = []
        while len(lines) < 2:
            assert not watching.done(), watching.exception()
            lines += capsys.readouterr().out.splitlines()
            await asyncio.sleep(0.005)
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        with pytest.raises(AgentNotRunning, match="closed the connection; has it stopped"):
            await asyncio.wait_for(watching, 5.0)
    assert [json.loads(line)["value"] for line in lines] == [1.5, 2.5]
    assert agent.args == {"device": "press", "search": "for", "interval_s": 0.5}


def test_the_help_of_watch_says_what_a_pipe_gets() -> None:
    said = RUNNER.invoke(commands.whole_app(), ["watch", "--help"], env={"COLUMNS": "200"})
    assert "into a pipe or file: one line of JSON a change" in " ".join(said.stdout.split())
