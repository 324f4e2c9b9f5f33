"""The formats of ``edge-agent buffer export``: what an outbox holds is in each of them what it was, in a whole file."""

from __future__ import annotations

import csv
import math
import stat
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from filled_outbox import NOW_NS, OVEN, PRESS, FilledOutbox, lines, of
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.model.datatypes import DataType, ValueFamily, family_of
from connectors.model.quality import code_of, name_of
from connectors.model.samples import SampleBatch
from edge_agent.buffer.rows import Gap, StoredBatch
from edge_agent.buffer.sealing import Sealing
from tests.drawn_batches import batches

KEY = bytes(range(32))
TIME = "2026-11-18T11:06:40.000000000Z"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[FilledOutbox]:
    filled = FilledOutbox(tmp_path)
    yield filled
    filled.close()


def expected(parts: list[SampleBatch]) -> list[tuple[Any, ...]]:
    """Type, time, value (``None`` where it is missing) and quality of each sample."""
    return [(part.datatype, time_ns, value, quality) for part in parts for _tag, time_ns, value, quality in part.rows()]


def same(found: Any, value: Any) -> bool:
    return found == value or (isinstance(value, float) and math.isnan(value) and math.isnan(found))


@settings(max_examples=max(3, settings.default.max_examples // 4))  # each is three exports of a whole outbox
@given(drawn=st.lists(batches(tags=st.just(0)), min_size=1, max_size=3), is_sealed=st.booleans())
def test_whatever_an_outbox_holds_is_in_each_format_what_it_was(drawn: list[SampleBatch], is_sealed: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        box = FilledOutbox(folder, Sealing(KEY) if is_sealed else Sealing())
        definition = box.define(PRESS, {datatype.label: datatype for datatype in DataType})
        alias = {metric.datatype: metric.alias for metric in definition.metrics}
        parts = [part.with_tags(np.full(len(part), alias[part.datatype], np.int32)) for part in drawn]
        row = box.commit(PRESS, definition, parts)
        box.close()
        (folder / "key").write_bytes(b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
        for suffix in ("jsonl", "csv", "parquet"):
            words = ["-o", str(folder / f"found.{suffix}"), "--key-file", str(folder / "key")]
            assert box.run("export", *words).exit_code == 0
        wanted = expected(parts)
        _check_lines(wanted, row, lines((folder / "found.jsonl").read_text()))
        with (folder / "found.csv").open(newline="", encoding="utf-8") as file:
            _check_csv(wanted, list(csv.DictReader(file)))
        _check_parquet(wanted, pq.read_table(folder / "found.parquet"))


def _check_lines(wanted: list[tuple[Any, ...]], row: StoredBatch, found: list[dict[str, Any]]) -> None:
    samples = of(found, "sample")
    assert [sample["index"] for sample in samples] == list(range(row.sample_count))
    assert len(samples) == len(wanted)
    for sample, (datatype, time_ns, value, quality) in zip(samples, wanted, strict=True):
        read: Any = sample["value"]
        if isinstance(value, float):
            read = float(read)
        elif isinstance(value, bytes):
            read = b64decode(read)
        assert same(read, value)
        assert type(read) is type(value)
        assert (sample["tag"], sample["type"]) == (datatype.label, datatype.label)
        assert sample["time_ns"] == time_ns
        assert (sample["quality"], sample["quality_code"]) == (name_of(quality), code_of(quality))


def _check_csv(wanted: list[tuple[Any, ...]], found: list[dict[str, str]]) -> None:
    assert len(found) == len(wanted)
    for sample, (datatype, time_ns, value, quality) in zip(found, wanted, strict=True):
        text = sample["value"]
        if value is None:
            assert text == ""
        elif isinstance(value, bool):
            assert text == ("true" if value else "false")
        elif isinstance(value, bytes):
            assert b64decode(text) == value
        else:
            assert same(type(value)(text), value)
        assert (int(sample["time_ns"]), sample["quality"], sample["tag"]) == (time_ns, name_of(quality), datatype.label)


_COLUMN = {
    ValueFamily.FLOAT: "value_double", ValueFamily.INT: "value_int", ValueFamily.UINT: "value_int",
    ValueFamily.BOOL: "value_bool", ValueFamily.TEXT: "value_text", ValueFamily.BYTES: "value_bytes",
}  # fmt: skip


def _check_parquet(wanted: list[tuple[Any, ...]], found: Any) -> None:
    columns = {name: found[name] for name in found.column_names}
    times = columns["time"].cast("int64").to_pylist()
    assert times == [time_ns for _, time_ns, _, _ in wanted]
    values = {name: columns[name].to_pylist() for name in set(_COLUMN.values())}
    for at, (datatype, _time_ns, value, quality) in enumerate(wanted):
        column = _COLUMN[family_of(datatype)]
        if isinstance(value, int) and value >= 1 << 63:
            column, value = "value_text", str(value)
        assert same(values[column][at], value)
        assert all(values[name][at] is None for name in values if name != column), "one column has the value"
        assert columns["quality_code"][at].as_py() == code_of(quality)
        assert (columns["type"][at].as_py(), columns["index"][at].as_py()) == (datatype.label, at)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_gaps_get_a_file_of_their_own_where_samples_are_a_table(box: FilledOutbox, suffix: str, tmp_path: Path) -> None:
    box.refuse(box.put(PRESS, [1.0, 2.0]))
    box.declare(Gap(PRESS, "thinned", NOW_NS, NOW_NS + 5, 7, ("force", "state")))
    box.open_gap(OVEN)
    said = box.run("export", "-o", str(tmp_path / f"found.{suffix}"), "--agent", "plant/line")
    assert said.exit_code == 0
    assert said.stderr == f"{tmp_path}/found.{suffix}: 0 samples in 0 batches, and 3 gaps\n"
    path = tmp_path / f"found.gaps.{suffix}"
    if suffix == "csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
        assert (rows[0]["explains_batches"], rows[1]["tags"]) == ("[[3,3]]", '["force","state"]')
        assert (rows[0]["first"], rows[0]["first_ns"], rows[2]["last"]) == (TIME, str(NOW_NS), "")
    else:
        table = pq.read_table(path)
        rows = table.drop(["first", "last"]).to_pylist()
        assert (rows[0]["explains_batches"], rows[1]["tags"]) == ([[3, 3]], ["force", "state"])
        assert table["first"].cast("int64").to_pylist() == [NOW_NS] * 3
    assert [(row["record"], row["device"], row["reason"], row["agent"]) for row in rows] == [
        ("gap", "press", "refused", "plant/line"),
        ("gap", "press", "thinned", "plant/line"),
        ("open_gap", "oven", "device_unavailable", "plant/line"),
    ]


def test_csv_into_a_pipe_says_that_it_leaves_gaps_out(box: FilledOutbox) -> None:
    box.put(PRESS, [1.0])
    box.open_gap(OVEN)
    said = box.run("export", "--format", "csv")
    assert said.exit_code == 0
    assert said.stdout.splitlines()[0].startswith("agent,device,tag,time,time_ns,type,value,")
    assert said.stderr == "1 gap is left out: --output writes a second file for them\n"


def test_parquet_without_its_package_is_one_clear_sentence(
    box: FilledOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.put(PRESS, [1.0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "edge_agent.cli.export_parquet", raising=False)
    said = box.run("export", "-o", str(tmp_path / "found.parquet"))
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr == (
        "Parquet needs the package pyarrow: pip install 'lineside[parquet]', or write JSON Lines or CSV\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir() if "found" in path.name) == []


def test_parquet_goes_to_no_pipe(box: FilledOutbox) -> None:
    box.put(PRESS, [1.0])
    said = box.run("export", "-f", "parquet")
    assert (said.exit_code, said.stderr) == (2, "Parquet is written to a file: name one with --output\n")


def test_a_file_is_there_as_a_whole_or_not_at_all(
    box: FilledOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_agent.cli.export_lines import LinesWriter

    box.put(PRESS, [1.0])
    target = tmp_path / "found.jsonl"
    target.write_text("what was there before")

    def breaks(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(LinesWriter, "end", breaks)
        said = box.run("export", "-o", str(target))
    assert (said.exit_code, said.stderr) == (1, f"{target} cannot be written: No space left on device\n")
    assert target.read_text() == "what was there before"
    assert box.run("export", "-o", str(target)).exit_code == 0
    assert lines(target.read_text())[-1]["record"] == "end"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600, "it may hold what the disk does not show"
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_a_folder_that_is_not_there_is_named(box: FilledOutbox, tmp_path: Path) -> None:
    box.put(PRESS, [1.0])
    said = box.run("export", "-o", str(tmp_path / "nowhere" / "found.csv"))
    assert said.exit_code == 1
    assert said.stderr == f"{tmp_path}/nowhere/found.csv cannot be written: No such file or directory\n"
