"""Outboxes that older versions of Lineside really wrote (``old/write.py``) go on where they were."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connectors.model.datatypes import DataType
from connectors.model.tags import DeviceName, TagName, TagType
from connectors.sparkplug.definition import read_definition
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer import schema
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.reading import read_batches, read_status
from edge_agent.buffer.rows import Kind, StoredBatch
from edge_agent.buffer.schema import SCHEMA_VERSION, lenient_text
from edge_agent.cli import buffer
from tests.unit.buffer.old.write import BATCHES, NOW_NS, OVEN, SAMPLES

OLD = Path(__file__).with_name("old")
VERSIONS = [1, 2, 3]
WAITING = [number for number in range(BATCHES) if number not in (0, 5)]
"""Which of the batches that were written still wait: one was acknowledged, and one refused."""


@pytest.fixture(params=VERSIONS, ids=lambda version: f"version {version}")
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copy(OLD / f"v{request.param}.sqlite", tmp_path / "outbox.db")
    return tmp_path / "outbox.db"


def opened(path: Path) -> Outbox:
    return Outbox(path, "normal", now_ms=NOW_NS // 1_000_000 + 60_000)


def check(outbox: Outbox) -> list[StoredBatch]:
    """Everything that waited is there, readable, with its number and epoch; the rows."""
    rows = read_batches(outbox._connection, 0, 1000, 1 << 30)
    assert not any(row.unreadable for row in rows)
    old = [row for row in rows if row.epoch != outbox.epoch]
    assert len({row.epoch for row in old}) == 1
    samples = [row for row in old if row.kind is Kind.SAMPLES]
    assert [[part.value.tolist() for part in row.parts] for row in samples] == [
        [[at * 0.5 + number for at in range(SAMPLES)], [f"{number}é"] * 2] for number in WAITING
    ]
    assert [row.device for row in samples] == [("press", "oven")[number % 2] for number in WAITING]
    definitions = [read_definition(row.record) for row in old if row.kind is Kind.DEFINITION]
    assert {(each.device, tuple(metric.name for metric in each.metrics)) for each in definitions} == {
        ("press", ("force", "state")), ("oven", ("force", "state")),
    }  # fmt: skip
    (refused,) = [json.loads(row.record) for row in old if row.kind is Kind.GAP]
    assert (refused["device"], refused["reason"], refused["count"]) == ("oven", "refused", SAMPLES + 2)
    assert {device: gap.detail for device, gap in outbox.open_gaps().items()} == {OVEN: "the cable is out"}
    assert outbox._connection.execute("SELECT count(*) FROM refused").fetchone() == (1,)
    start = next(json.loads(row.record) for row in rows if row.epoch == outbox.epoch)
    assert start["earlier"] == [{"epoch": format_epoch(old[0].epoch), "first": 1, "last": BATCHES + 4}]
    status = read_status(outbox._connection, outbox.path, outbox.epoch)
    assert (status.batches, status.samples) == (len(rows), len(WAITING) * (SAMPLES + 2))
    return rows


def test_all_that_waited_is_delivered_decoded_and_the_numbers_go_on(path: Path) -> None:
    outbox = opened(path)
    assert outbox.opening.salvaged is None
    rows = check(outbox)
    assert next(row.number for row in rows if row.epoch == outbox.epoch) == BATCHES + 5
    known = outbox.define(DeviceName("press"), [TagType(0, TagName("force"), DataType.DOUBLE, "kN")], 0)[0]
    old = next(read_definition(row.record) for row in rows if row.kind is Kind.DEFINITION and row.device == "press")
    aliases = {metric.name: metric.alias for metric in old.metrics}
    assert known.metrics[0].alias == aliases["force"], "an alias belongs to its tag for ever"
    assert outbox._connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    outbox.close()


def test_it_is_exported_after_the_first_start_of_this_version(path: Path) -> None:
    said = CliRunner().invoke(buffer.app, ["export", "--outbox", str(path)])
    assert said.exit_code == 1
    assert "written by another version of Lineside" in said.output
    opened(path).close()
    said = CliRunner().invoke(buffer.app, ["export", "--outbox", str(path)])
    assert said.exit_code == 0, said.output
    records: list[dict[str, Any]] = [json.loads(line) for line in said.stdout.splitlines()]
    values = [record["value"] for record in records if record["record"] == "sample" and record["tag"] == "force"]
    assert values[: len(WAITING) * SAMPLES] == [at * 0.5 + number for number in WAITING for at in range(SAMPLES)]


def test_it_is_salvaged_where_its_first_page_is_destroyed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[20] ^= 0x55
    path.write_bytes(data)
    outbox = opened(path)
    assert outbox.opening.salvaged is not None
    rows = read_batches(outbox._connection, 0, 1000, 1 << 30)
    samples = [row for row in rows if row.kind is Kind.SAMPLES]
    assert [row.parts[0].value[0] for row in samples] == [float(number) for number in WAITING]
    assert outbox._connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    outbox.close()


@pytest.mark.parametrize("reached", range(1, SCHEMA_VERSION + 1))
def test_an_agent_that_was_killed_between_two_migrations_goes_on_with_the_next(path: Path, reached: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = lenient_text
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number in range(version, reached):
        connection.executescript(schema._script(number))
    connection.close()
    outbox = opened(path)
    assert outbox.opening.salvaged is None
    check(outbox)
    outbox.close()


def test_a_migration_that_is_cut_off_anywhere_leaves_the_version_before(path: Path) -> None:
    """Each is one transaction: only a whole one is seen."""
    connection = sqlite3.connect(path, isolation_level=None)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number in range(version, SCHEMA_VERSION):
        script = schema._script(number)
        connection.executescript(script.removesuffix("COMMIT;"))
        connection.execute("ROLLBACK")
    assert connection.execute("PRAGMA user_version").fetchone() == (version,)
    connection.close()
    outbox = opened(path)
    check(outbox)
    outbox.close()
