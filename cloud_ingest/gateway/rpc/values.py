"""Values of tags and commands as messages, one by one and in columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from typing import Any, Final, Literal, assert_never

from cloud_ingest.gateway.rpc.instants import ns_of
from connectors.lineside_api.v1.data_pb2 import IntervalColumns, Sample, SampleColumns, Value
from connectors.model.status_names import STATUS_NAMES
from connectors.ports.database import Row

INT64_MAX: Final = (1 << 63) - 1
Kind = Literal["double", "int", "bool", "text", "bytes"]
_KINDS: Final[tuple[Kind, ...]] = ("double", "int", "bool", "text", "bytes")
_ABSENT: Final[dict[Kind, Any]] = {"double": 0.0, "int": 0, "bool": False, "text": "", "bytes": b""}
_SAMPLE_BYTES: Final = 16
_QUALITIES: Final = {name: quality for quality, name in STATUS_NAMES.items()}


def value_message(value: Any) -> Value | None:
    """``value`` as it is told; ``None`` for none, and for what has no message of its own."""
    match value:
        case bool():
            return Value(bool_value=value)
        case int():
            return Value(int_value=value) if value <= INT64_MAX else Value(uint_value=value)
        case float():
            return Value(double_value=value)
        case str():
            return Value(text_value=value)
        case bytes():
            return Value(bytes_value=value)
        case _:
            return None


def plain_value(message: Value) -> Any:
    """What ``message`` says; ``None`` when it says nothing."""
    which = message.WhichOneof("kind")
    return None if which is None else getattr(message, which)


def live_sample(told: Mapping[str, Any], type_: str) -> Sample:
    """A value of a tag of this type, as clients of ``/live`` are told of it."""
    time_ns = ns_of(datetime.fromisoformat(told["time"]))
    value = value_message(typed(told["value"], type_))
    return Sample(tag_id=told["id"], time_ns=time_ns, value=value, quality=quality_of(told["quality"]))


def typed(value: Any, type_: str) -> Any:
    """What JSON has no word for, out of the text that stands for it: infinity, no number, bytes."""
    if not isinstance(value, str):
        return value
    if type_ in ("Float", "Double") and value in ("inf", "-inf", "nan"):
        return float(value)
    if type_ in ("Bytes", "File"):
        with suppress(ValueError):  # it had another type then
            return bytes.fromhex(value)
    return value


def quality_of(name: str) -> int:
    """The quality that ``model.quality.name_of`` calls so."""
    known = _QUALITIES.get(name)
    return int(name.rpartition("0x")[2][:4], 16) if known is None else known


def interval_columns(rows: Sequence[Mapping[str, Any]]) -> IntervalColumns:
    """Intervals as ``historian.intervals`` has them; where a figure is absent there, it is no number here."""
    columns = IntervalColumns(time_ns=[ns_of(row["time"]) for row in rows])
    columns.count.extend(row["count"] for row in rows)
    columns.good.extend(row["good"] for row in rows)
    for name in ("mean", "min", "max", "first", "last"):
        getattr(columns, name).extend(math.nan if row[name] is None else row[name] for row in rows)
    return columns


def columns_of(rows: Sequence[Row], bytes_max: int | None = None) -> Iterator[tuple[SampleColumns, int]]:
    """``rows`` in columns, and how many of them: a message for each run of one type, none much above ``bytes_max``.

    What has no value stands with its neighbours.
    """
    kinds = _kinds(rows)
    for kind, run in groupby(range(len(rows)), key=lambda at: kinds[at]):
        chosen = [rows[at] for at in run]
        for part in _pieces(chosen, kind, bytes_max):
            yield _columns(part, kind), len(part)


def _kinds(rows: Sequence[Row]) -> list[Kind]:
    found: list[Kind | None] = [
        next((kind for kind in _KINDS if row[f"value_{kind}"] is not None), None) for row in rows
    ]
    current: Kind = next((kind for kind in found if kind is not None), "double")
    kinds: list[Kind] = []
    for kind in found:
        current = kind or current
        kinds.append(current)
    return kinds


def _pieces(rows: list[Row], kind: Kind, bytes_max: int | None) -> Iterator[list[Row]]:
    if bytes_max is None or kind not in ("text", "bytes"):
        yield rows
        return
    piece: list[Row] = []
    size_bytes = 0
    for row in rows:
        size_bytes += _SAMPLE_BYTES + len(row[f"value_{kind}"] or "")
        piece.append(row)
        if size_bytes >= bytes_max:
            yield piece
            piece, size_bytes = [], 0
    if piece:
        yield piece


def _columns(rows: Sequence[Row], kind: Kind) -> SampleColumns:
    values = [row[f"value_{kind}"] for row in rows]
    columns = SampleColumns(time_ns=[ns_of(row["time"]) for row in rows])
    if any(row["quality"] for row in rows):
        columns.quality.extend(row["quality"] for row in rows)
    if None in values:
        columns.missing.extend(value is None for value in values)
        values = [_ABSENT[kind] if value is None else value for value in values]
    match kind:
        case "double":
            columns.double_values.extend(values)
        case "int":
            columns.int_values.extend(values)
        case "bool":
            columns.bool_values.extend(values)
        case "text":
            columns.text_values.extend(values)
        case "bytes":
            columns.bytes_values.extend(values)
        case _:
            assert_never(kind)
    return columns
