"""What is exported of an outbox, as Parquet: needs the extra ``parquet`` (pyarrow)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.model.datatypes import ValueFamily, family_of
from connectors.model.quality import code_of, name_of
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.selection import NamedSamples
from edge_agent.cli.export_lines import GAP_RECORDS

ROW_GROUP: Final = 100_000
_TIME: Final = pa.timestamp("ns", tz="UTC")
_WORD: Final = pa.dictionary(pa.int32(), pa.string())
_VALUES: Final = {
    "value_double": pa.float64(), "value_int": pa.int64(), "value_bool": pa.bool_(), "value_text": pa.string(),
    "value_bytes": pa.binary(),
}  # fmt: skip
"""The columns that the historian has in PostgreSQL."""

_COLUMN: Final = {
    ValueFamily.FLOAT: "value_double", ValueFamily.INT: "value_int", ValueFamily.UINT: "value_int",
    ValueFamily.BOOL: "value_bool", ValueFamily.TEXT: "value_text", ValueFamily.BYTES: "value_bytes",
}  # fmt: skip
_SAMPLES: Final = pa.schema(
    {"agent": _WORD, "device": _WORD, "tag": _WORD, "time": _TIME, "type": _WORD, **_VALUES, "quality": _WORD,
     "quality_code": _WORD, "epoch": _WORD, "batch": pa.int64(), "index": pa.int32()}
)  # fmt: skip
_GAPS: Final = pa.schema(
    {"record": _WORD, "agent": _WORD, "device": _WORD, "reason": _WORD, "first": _TIME, "last": _TIME,
     "count": pa.int64(), "tags": pa.list_(pa.string()), "detail": pa.string(), "explains_epoch": _WORD,
     "explains_batches": pa.list_(pa.list_(pa.int64())), "epoch": _WORD, "batch": pa.int64()}
)  # fmt: skip


class ParquetWriter:
    """Samples in one file, gaps in another."""

    def __init__(self, samples: Path, gaps: Path) -> None:
        self._paths = (samples, gaps)
        self._agent: str | None = None
        self._tables: list[pa.RecordBatch] = []
        self._rows = 0
        self._gap_rows: list[dict[str, Any]] = []
        self._writer: Any = None

    def begin(self, head: dict[str, Any]) -> None:
        """See ``ExportWriter``."""
        self._agent = head["agent"]
        self._schema = _SAMPLES.with_metadata({"lineside": json.dumps(head)})
        self._writer = pq.ParquetWriter(self._paths[0], self._schema, compression="zstd")

    def samples(self, samples: NamedSamples) -> None:
        """See ``ExportWriter``."""
        part, count = samples.part, len(samples.part)
        qualities = part.qualities()
        known = {code: (name_of(code), code_of(code)) for code in np.unique(qualities).tolist()}
        said = [known[code] for code in qualities.tolist()]
        columns: dict[str, Any] = {
            "agent": _same(self._agent, count),
            "device": _same(samples.batch.device, count),
            "tag": pa.array(samples.tags, pa.string()).dictionary_encode(),
            "time": pa.array(part.time_ns, pa.int64()).cast(_TIME),
            "type": _same(samples.datatype.label, count),
            "quality": pa.array([name for name, _ in said], pa.string()).dictionary_encode(),
            "quality_code": pa.array([code for _, code in said], pa.string()).dictionary_encode(),
            "epoch": _same(format_epoch(samples.batch.epoch), count),
            "batch": pa.array(np.full(count, samples.batch.number), pa.int64()),
            "index": pa.array(samples.index, pa.int32()),
            **_values(samples),
        }
        arrays = [
            columns[name] if name in columns else pa.nulls(count, _SAMPLES.field(name).type) for name in _SAMPLES.names
        ]
        self._tables.append(pa.record_batch(arrays, schema=self._schema))
        self._rows += count
        if self._rows >= ROW_GROUP:
            self._flush()

    def record(self, record: dict[str, Any]) -> None:
        """See ``ExportWriter``."""
        if record["record"] in GAP_RECORDS:
            times = {"first": record.get("first_ns"), "last": record.get("last_ns")}
            self._gap_rows.append({"agent": self._agent, **record, **times})

    def end(self, counts: dict[str, int]) -> None:  # noqa: ARG002  the footer of the file has them
        """See ``ExportWriter``."""
        self._flush()
        self._writer.close()
        columns = [pa.array([row.get(field.name) for row in self._gap_rows], _plain(field.type)) for field in _GAPS]
        arrays = [column.cast(field.type) for column, field in zip(columns, _GAPS, strict=True)]
        pq.write_table(pa.table(arrays, schema=_GAPS.with_metadata(self._schema.metadata)), self._paths[1])

    def _flush(self) -> None:
        if self._tables:
            self._writer.write_table(pa.Table.from_batches(self._tables).unify_dictionaries())
        self._tables, self._rows = [], 0


def _same(text: str | None, count: int) -> Any:
    """One text for all rows."""
    if text is None:
        return pa.nulls(count, _WORD)
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text], pa.string()))


def _values(samples: NamedSamples) -> dict[str, Any]:
    column = _COLUMN[family_of(samples.datatype)]
    values = samples.values()
    if family_of(samples.datatype) is ValueFamily.UINT and any(v is not None and v >= 1 << 63 for v in values):
        small = [None if v is None or v >= 1 << 63 else v for v in values]
        big = [str(v) if v is not None and v >= 1 << 63 else None for v in values]
        return {column: pa.array(small, pa.int64()), "value_text": pa.array(big, pa.string())}
    return {column: pa.array(values, _VALUES[column])}


def _plain(type_: Any) -> Any:
    """A type that an array can be made of."""
    return pa.int64() if type_ == _TIME else pa.string() if type_ == _WORD else type_
