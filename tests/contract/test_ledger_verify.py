"""An exported outbox of a real agent against what the historian has stored: equal, or every difference is told."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from cloud_ingest.historian import verifying
from cloud_ingest.historian.outbox_export import Contents, ExportUnreadable, read_export
from cloud_ingest.historian.verifying import Verdict, verify
from connectors.model.datatypes import DataType, ValueFamily, family_of
from connectors.model.delivery import AgentName
from connectors.model.samples import batch_of_rows
from connectors.model.tags import DeviceName, TagName, TagType
from connectors.sparkplug.delivery import data_message
from connectors.sparkplug.topics import Topic, Verb
from edge_agent.buffer.contents import OutboxContents
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.rows import Gap, GapReason, Kind, NewBatch, StoredBatch
from edge_agent.buffer.selection import Selection
from edge_agent.cli.export_lines import LinesWriter
from edge_agent.cli.export_records import Exporter
from edge_agent.uplink.messages import record_message, samples_message
from tests.contract.historian_steps import Plant, RawLogOnPostgres, plant
from tests.played_agent import Wire

NOW_NS = time.time_ns()
PRESS = DeviceName("press")
AGENT = AgentName("plant", "line-1")
VALUES: dict[ValueFamily, list[Any]] = {
    ValueFamily.FLOAT: [0.1, -1.5, float("inf"), float("-inf"), float("nan")],
    ValueFamily.INT: [0, -1, 100],
    ValueFamily.UINT: [0, 255],
    ValueFamily.BOOL: [True, False],
    ValueFamily.TEXT: ["", 'a "quote"\n\0 Grüße', "x" * 3000],
    ValueFamily.BYTES: [b"", b"\0\xff"],
}
EXTREMES: dict[DataType, list[Any]] = {
    DataType.UINT64: [(1 << 63) - 1, (1 << 64) - 1],
    DataType.INT64: [(1 << 63) - 1, -(1 << 63)],
}


class Outboxed:
    """The outbox of an agent with samples of every kind, its export, and its messages."""

    def __init__(self, folder: Path) -> None:
        outbox = Outbox(folder / "outbox.db", "normal", now_ms=NOW_NS // 1_000_000)
        types = [TagType(at, TagName(kind.label), kind, "kN") for at, kind in enumerate(DataType)]
        definition, _ = outbox.define(PRESS, types, NOW_NS // 1_000_000)
        at_ns = NOW_NS
        for metric in definition.metrics:
            rows = []
            for value in [*VALUES[family_of(metric.datatype)], *EXTREMES.get(metric.datatype, [])]:
                at_ns += 12_345_678
                rows += [(metric.alias, at_ns, value, 0), (metric.alias, at_ns + 1000, value, 0x4090)]
            rows.append((metric.alias, at_ns + 2000, None, 0x80AB))
            part = batch_of_rows(metric.datatype, rows)
            outbox.commit(Commit([NewBatch(PRESS, definition.hash, (part,))], now_ns=NOW_NS))
        gap = Gap(PRESS, GapReason.DEVICE_UNAVAILABLE, NOW_NS, NOW_NS + 5_000, detail="unplugged")
        outbox.commit(Commit(declared_gaps=[gap], now_ns=NOW_NS))
        outbox.close()
        self.text = self._export(folder / "outbox.db")
        with_path = OutboxContents(folder / "outbox.db")
        self.wires = [self._wire(batch) for batch in with_path.batches()]
        with_path.close()

    def _export(self, path: Path) -> str:
        out, contents = io.StringIO(), OutboxContents(path)
        Exporter(contents, LinesWriter(out), Selection()).waiting(str(AGENT), lambda: None)
        contents.close()
        return out.getvalue()

    def _wire(self, batch: StoredBatch) -> Wire:
        is_samples = batch.kind is Kind.SAMPLES
        delivery, metrics = samples_message(batch, historical=False) if is_samples else (record_message(batch), b"")
        topic = Topic(AGENT, Verb.DDATA if is_samples else Verb.NDATA, batch.device if is_samples else "")
        payload = data_message(
            publish_ms=NOW_NS // 1_000_000, seq=0, delivery=delivery, metrics=metrics, ticks=delivery.ticks
        )
        return Wire(str(topic), payload)


@pytest.fixture(scope="module")
def outboxed(tmp_path_factory: pytest.TempPathFactory) -> Outboxed:
    return Outboxed(tmp_path_factory.mktemp("agent"))


async def verified(made: Plant, text: str, *, lines_max: int = 100) -> Verdict:
    contents = Contents()
    records = read_export(io.StringIO(text), contents, None)
    return await verify(made.database, records, contents, lines_max=lines_max)


def found(verdict: Verdict) -> dict[str, int]:
    names = ("missing", "different", "doubled", "extra", "missing_gaps", "not_arrived")
    return {name: number for name in names if (number := getattr(verdict, name))}


async def test_what_an_agent_has_exported_is_what_is_stored(database_dsn: str, outboxed: Outboxed) -> None:
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(*outboxed.wires)
        assert await made.reasons() == []
        verdict = await verified(made, outboxed.text)
        assert (found(verdict), verdict.lines, verdict.is_equal) == ({}, [], True)
        (row,) = await made.fetch("SELECT count(*) AS n FROM sample")
        assert (verdict.contents.samples, verdict.contents.gaps) == (row["n"], 1)


async def test_nothing_of_an_export_is_there_before_it_arrives(database_dsn: str, outboxed: Outboxed) -> None:
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        verdict = await verified(made, outboxed.text, lines_max=5)
        batches = sum(len(ranges) for ranges in verdict.contents.batches.values())
        assert found(verdict) == {"missing": verdict.contents.samples, "missing_gaps": 1, "not_arrived": batches}
        assert len(verdict.lines) == 3 + 2
        assert verdict.lines[0].startswith("not arrived: batches 1-")
        await made.project(*outboxed.wires[:-2], outboxed.wires[-1])
        verdict = await verified(made, outboxed.text)
        assert set(found(verdict)) == {"missing", "not_arrived"}
        assert verdict.not_arrived == 1


async def test_every_kind_of_difference_is_told_with_tag_time_and_batch(database_dsn: str, outboxed: Outboxed) -> None:
    tag = "tag_id = (SELECT tag_id FROM tag WHERE name = 'Int32')"
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(*outboxed.wires)
        times = [row["time"] for row in await made.fetch(f"SELECT time FROM sample WHERE {tag} ORDER BY time")]
        await made.fetch(f"DELETE FROM sample WHERE {tag} AND time = $1 RETURNING 1", times[0])
        await made.fetch(f"UPDATE sample SET value_int = 7 WHERE {tag} AND time = $1 RETURNING 1", times[1])
        await made.fetch(f"INSERT INTO sample SELECT * FROM sample WHERE {tag} AND time = $1 RETURNING 1", times[2])
        await made.fetch(
            "INSERT INTO sample (time, tag_id, tenant_id, quality, value_int) SELECT time, tag_id, tenant_id, 5, 1 "
            f"FROM sample WHERE {tag} AND time = $1 RETURNING 1",
            times[3],
        )
        await made.fetch(f"UPDATE sample SET quality = 0 WHERE {tag} AND time = $1 RETURNING 1", times[-1])
        verdict = await verified(made, outboxed.text)
    assert found(verdict) == {"missing": 1, "different": 2, "doubled": 1, "extra": 1}
    said = sorted(line.partition(":")[0] for line in verdict.lines)
    assert said == ["different", "different", "doubled", "extra", "missing"]
    missing = next(line for line in verdict.lines if line.startswith("missing"))
    assert f"plant/line-1 press Int32 at {times[0].isoformat()}, batch " in missing
    assert missing.endswith("exported 0 Good (1×), stored nothing")
    doubled = next(line for line in verdict.lines if line.startswith("doubled"))
    assert doubled.endswith("exported -1 Good (1×), stored -1 Good (2×)")


async def test_a_gap_that_is_not_stored_is_told(database_dsn: str, outboxed: Outboxed) -> None:
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(*outboxed.wires)
        await made.fetch("DELETE FROM gap RETURNING 1")
        verdict = await verified(made, outboxed.text)
    assert found(verdict) == {"missing_gaps": 1}
    assert verdict.lines[0].startswith("missing: the gap device_unavailable of plant/line-1 press (batch ")


async def test_a_file_that_is_no_export_or_not_all_of_one_is_refused(outboxed: Outboxed) -> None:
    def read(text: str) -> list[Any]:
        return list(read_export(io.StringIO(text), Contents(), None))

    lines = outboxed.text.splitlines(keepends=True)
    with pytest.raises(ExportUnreadable, match=r"ends after line \d+ without its last record"):
        read("".join(lines[:-1]))
    with pytest.raises(ExportUnreadable, match="line 1 is not of an exported outbox: the first record is not 'export'"):
        read("".join(lines[1:]))
    head = json.loads(lines[0])
    with pytest.raises(ExportUnreadable, match="format 99 is newer"):
        read(json.dumps({**head, "format": 99}) + "\n" + "".join(lines[1:]))
    with pytest.raises(ExportUnreadable, match="line 2 is not"):
        read(lines[0] + "noise\n")
    with pytest.raises(ExportUnreadable, match="without its last record"):
        read("")


async def test_the_memory_that_a_comparison_takes_does_not_grow_with_the_export(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million lines would be no different from these: at most a chunk of them is held at any time."""
    head = json.dumps({"record": "export", "format": 1, "agent": "plant/line-1", "what": "waiting"})
    held = most = 0

    def lines() -> Any:
        nonlocal held, most
        yield head
        for number in range(3 * verifying.CHUNK_ROWS):
            held += 1
            most = max(most, held)
            yield json.dumps({
                "record": "sample", "agent": "plant/line-1", "device": "press", "tag": "force",
                "time_ns": NOW_NS + number * 1000, "type": "Double", "value": 1.5, "quality_code": "0x00000000",
                "epoch": "00000000000000aa", "batch": 1 + number // 1000, "index": number % 1000,
            })  # fmt: skip
        yield json.dumps({"record": "end"})

    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        contents = Contents()
        records = read_export(lines(), contents, None)
        real_copy = verifying.copy_rows

        def copy_rows(rows: Any) -> bytes:
            nonlocal held
            taken = list(rows)
            held -= len(taken)
            return real_copy(taken)

        monkeypatch.setattr(verifying, "copy_rows", copy_rows)
        verdict = await verify(made.database, records, contents, lines_max=3)
    assert verdict.missing == 3 * verifying.CHUNK_ROWS
    assert most == verifying.CHUNK_ROWS
    assert len(verdict.lines) == 3
