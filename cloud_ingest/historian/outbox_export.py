"""An exported outbox (``edge-agent buffer export``, JSON Lines) as rows that are to be compared with what is stored.

The fields are those of docs/reference/outbox-export.md.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cloud_ingest.historian.sample_rows import BIGINT_MAX, HEADER, POSTGRES_EPOCH_US, TRAILER, storable_text
from connectors.model.datatypes import DataType, ValueFamily, family_of
from connectors.model.delivery import EPOCH_MAX, BatchRanges, Epoch
from connectors.model.errors import LinesideError
from connectors.sparkplug.delivery import parse_epoch

FORMAT_MAX: Final = 1
COLUMNS: Final = (
    "tag_id", "time", "quality", "value_double", "value_int", "value_bool", "value_text", "value_bytes", "epoch",
    "batch",
)  # fmt: skip
_LABELS: Final = {datatype.label: datatype for datatype in DataType}
_PLACES: Final = {
    ValueFamily.FLOAT: 0, ValueFamily.INT: 1, ValueFamily.UINT: 1, ValueFamily.BOOL: 2, ValueFamily.TEXT: 3,
    ValueFamily.BYTES: 4,
}  # fmt: skip
_NULL: Final = struct.pack(">i", -1)


class ExportUnreadable(LinesideError):
    """A file is no export, or not all of one: the caller names the file and stops."""


class TagName(NamedTuple):
    """A tag as an export names it."""

    agent: str
    device: str
    tag: str


@dataclass(frozen=True, slots=True)
class ExportedSample:
    """One sample. ``value`` is in one of five places, as table ``sample`` has them; all empty: there is none."""

    tag: TagName
    time_us: int
    quality: int
    values: tuple[float | None, int | None, bool | None, str | None, bytes | None]
    epoch: Epoch
    batch: int


@dataclass(frozen=True, slots=True)
class ExportedGap:
    """One gap record that has its own batch."""

    agent: str
    device: str
    reason: str
    first_us: int
    last_us: int
    epoch: Epoch
    batch: int


ExportedRecord = ExportedSample | ExportedGap


@dataclass(slots=True)
class Contents:
    """What was read so far of one or more exports, besides samples and gaps."""

    batches: dict[tuple[str, Epoch], BatchRanges] = field(default_factory=dict)
    samples: int = 0
    gaps: int = 0
    unnamed: int = 0
    """Samples whose tag the agent itself could not name."""
    unreadable: int = 0
    """Batches that the agent itself could not read."""


def read_export(lines: Iterable[str], contents: Contents, agent: str | None) -> Iterator[ExportedRecord]:
    """The samples and gaps in ``lines``. ``agent`` (group/name) stands in where the export does not say whose it is.

    Raises ``ExportUnreadable``.
    """
    has_begun = has_ended = False
    number = 0
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            kind = record["record"]
            if not has_begun:
                _check_head(record)
                has_begun = True
                continue
            has_ended = kind == "end"
            if "batch" in record:
                found = _batch_record(record, kind, contents, agent)
                if found is not None:
                    yield found
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as exc:
            raise ExportUnreadable(f"line {number} is not of an exported outbox: {exc}") from exc
    if not has_ended:
        raise ExportUnreadable(f"the export ends after line {number} without its last record: it is not complete")


def _check_head(record: dict[str, Any]) -> None:
    if record["record"] != "export":
        raise ValueError("the first record is not 'export'")
    if record["format"] > FORMAT_MAX:
        raise ValueError(f"format {record['format']} is newer than this version knows")


def _batch_record(record: dict[str, Any], kind: str, contents: Contents, agent: str | None) -> ExportedRecord | None:
    name = agent or record["agent"]
    if not name:
        raise ValueError("it does not say whose outbox it is; name it with --agent")
    epoch, batch = parse_epoch(record["epoch"]), int(record["batch"])
    if not 0 < epoch <= EPOCH_MAX or not 0 < batch < EPOCH_MAX:
        raise ValueError(f"there is no batch {batch} of epoch {record['epoch']}")
    contents.batches.setdefault((name, epoch), BatchRanges()).add(batch)
    if kind == "sample":
        contents.samples += 1
        if record["tag"] is None:
            contents.unnamed += 1
            return None
        return _sample(record, name, epoch, batch)
    if kind == "gap":
        contents.gaps += 1
        first_us, last_us = int(record["first_ns"]) // 1000, int(record["last_ns"]) // 1000
        return ExportedGap(name, record["device"], record["reason"], first_us, last_us, epoch, batch)
    contents.unreadable += kind == "unreadable"
    return None


def _sample(record: dict[str, Any], agent: str, epoch: Epoch, batch: int) -> ExportedSample:
    quality = int(record["quality_code"], 16) >> 16
    tag = TagName(agent, record["device"], record["tag"])
    return ExportedSample(tag, int(record["time_ns"]) // 1000, quality, _values(record), epoch, batch)


def _values(record: dict[str, Any]) -> Any:
    """The value in its column, as the historian stores it."""
    places: list[Any] = [None] * 5
    value = record["value"]
    if value is None:
        return tuple(places)
    family = family_of(_LABELS[record["type"]])
    if family is ValueFamily.UINT and int(value) > BIGINT_MAX:
        places[_PLACES[ValueFamily.TEXT]] = str(int(value))
        return tuple(places)
    kinds: dict[ValueFamily, Any] = {
        ValueFamily.FLOAT: float, ValueFamily.INT: int, ValueFamily.UINT: int, ValueFamily.BOOL: bool,
        ValueFamily.TEXT: storable_text, ValueFamily.BYTES: b64decode,
    }  # fmt: skip
    places[_PLACES[family]] = kinds[family](value)
    return tuple(places)


def copy_rows(rows: Iterable[tuple[int, ExportedSample]]) -> bytes:
    """A whole binary COPY stream of samples, each with the id of its tag, in the order of ``COLUMNS``."""
    pieces = [HEADER]
    for tag_id, row in rows:
        pieces.append(
            struct.pack(">hiiiqii", len(COLUMNS), 4, tag_id, 8, row.time_us - POSTGRES_EPOCH_US, 4, row.quality)
        )
        number, integer, flag, text, data = row.values
        pieces.append(_NULL if number is None else struct.pack(">id", 8, number))
        pieces.append(_NULL if integer is None else struct.pack(">iq", 8, integer))
        pieces.append(_NULL if flag is None else struct.pack(">i?", 1, flag))
        encoded = None if text is None else text.encode("utf-8", "replace")
        pieces += [_NULL] if encoded is None else [struct.pack(">i", len(encoded)), encoded]
        pieces += [_NULL] if data is None else [struct.pack(">i", len(data)), data]
        pieces.append(struct.pack(">iqiq", 8, row.epoch, 8, row.batch))
    return b"".join([*pieces, TRAILER])
