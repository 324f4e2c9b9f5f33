"""``cloud-ingest ledger`` and ``dead-letters`` as people use them, with their exit codes."""

from __future__ import annotations

import getpass
import json
import time
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from connectors.model.datatypes import DataType
from connectors.postgres.database import open_database
from connectors.sparkplug.delivery import format_epoch
from tests.played_agent import PlayedAgent, Sample
from tests.system.cloud_process import Cloud, eventually, line

NOW_NS = time.time_ns()


@pytest.mark.slow
async def test_what_is_missing_is_closed_or_stored_after_all_and_then_nothing_is_missing(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str
) -> None:
    cloud, agent = Cloud(tmp_path, mosquitto.url, database_dsn), PlayedAgent()
    process = cloud.process()
    rule = "ALTER TABLE sample ADD CONSTRAINT sensible CHECK (value_double < 100)"
    try:
        cloud.wait_ready(process)
        await _do(database_dsn, rule)
        async with line(mosquitto.url) as connection:
            wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE})]
            values = (1.0, 200.0, 3.0, 300.0)
            wires += [agent.samples("press", [Sample("force", NOW_NS + n * 1000, v)]) for n, v in enumerate(values)]
            await connection.deliver(agent, *wires, first=1)
            await eventually(lambda: cloud.metric("lineside_historian_dead_letters_total") == 2)

        def said(*words: str, code: int = 0) -> str:
            done = cloud.command(*words)
            assert done.returncode == code, done.stdout + done.stderr
            return done.stdout + done.stderr

        assert "missing 2" in said("ledger", code=1)
        letters = json.loads(said("dead-letters", "list", "--json"))
        assert [letter["batch"] for letter in letters] == [4, 6]
        one, two = (str(letter["number"]) for letter in letters)
        assert "sensible" in said("dead-letters", "show", one)
        exported = [json.loads(line) for line in said("dead-letters", "export").splitlines()]
        assert [letter["number"] for letter in exported] == [int(one), int(two)]
        assert exported[0]["payload"]

        assert "cannot be stored: " in said("dead-letters", "replay", one, code=1)
        await _do(database_dsn, "ALTER TABLE sample DROP CONSTRAINT sensible")
        assert said("dead-letters", "replay", one) == f"{one}: stored, with 1 samples\n"
        assert "has been closed before" in said("dead-letters", "replay", one)
        assert "missing 1" in said("ledger", code=1)

        epoch = format_epoch(agent.epoch)
        assert "not missing" in said(
            "ledger", "close", "plant/line-1", epoch, "--batches", "1", "--reason", "x", code=1
        )
        closed = said("ledger", "close", "plant/line-1", epoch, "--batches", "6", "--reason", "a broken sensor")
        assert closed == f"closed batches 6 of epoch {epoch} of plant/line-1\n"
        assert "nothing to close" in said("ledger", "close", "plant/line-1", epoch, "--reason", "again")
        shown = said("ledger")
        assert "missing 0" in shown
        assert f"closed   6 of {epoch} by {getpass.getuser()} at " in shown
        assert "a broken sensor" in shown
        assert "has been closed before" in said("dead-letters", "close", two, "--reason", "again")
        said("dead-letters", "close", "99", "--reason", "no such", code=1)
        said("ledger", "close", "plant/line-1", "xyz", "--reason", "x", code=2)
        said("ledger", "close", "plant/line-1", epoch, "--reason", "  ", code=2)

        (entry,) = cloud.get("/api/v1/ledger").json()
        assert (entry["missing"], entry["closed"], entry["closings"][0]["reason"]) == (0, 1, "a broken sensor")
        page = cloud.get("/api/v1/dead-letters", closed="true").json()
        assert [(one["batch"], one["closed_reason"]) for one in page["dead_letters"]] == [
            (4, "replayed"),
            (6, "a broken sensor"),
        ]
        export = tmp_path / "export.jsonl"
        export.write_text("".join(json.dumps(record) + "\n" for record in _export(epoch)))
        verified = said("ledger", "verify", str(export), code=1)
        assert "missing: plant/line-1 press force at " in verified
        assert "samples 2, gaps 0, batches 2, missing 1, different 0" in verified
        export.write_text("noise\n")
        assert f"{export}: line 1 is not of an exported outbox" in said("ledger", "verify", str(export), code=1)
        assert "No such file" in said("ledger", "verify", str(tmp_path / "nowhere"), code=1)
    finally:
        process.kill()


def _export(epoch: str) -> list[dict[str, Any]]:
    """Two of the batches, of which the second was closed and never stored."""
    sample = {"record": "sample", "agent": "plant/line-1", "device": "press", "tag": "force", "type": "Double",
              "quality_code": "0x00000000", "epoch": epoch, "index": 0}  # fmt: skip
    return [
        {"record": "export", "format": 1, "agent": "plant/line-1"},
        {**sample, "batch": 3, "value": 1.0, "time_ns": NOW_NS},
        {**sample, "batch": 6, "value": 300.0, "time_ns": NOW_NS + 3000},
        {"record": "end"},
    ]


async def _do(dsn: str, statement: str) -> None:
    database = await open_database(dsn, connections_max=1, application_name="tests")
    try:
        async with database.session() as session:
            await session.execute(statement)
    finally:
        await database.close()
