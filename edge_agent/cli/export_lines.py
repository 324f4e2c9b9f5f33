"""What is exported of an outbox, as JSON Lines and as CSV; docs/reference/outbox-export.md explains each field."""

from __future__ import annotations

import csv
import json
import math
from base64 import b64encode
from typing import Any, Final, Protocol, TextIO

from connectors.model.quality import code_of, name_of
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.selection import NamedSamples

FORMAT: Final = 1
"""Of the JSON Lines; a program that meets a higher one should not guess."""

SAMPLE_COLUMNS: Final = (
    "agent", "device", "tag", "time", "time_ns", "type", "value", "quality", "quality_code", "epoch", "batch", "index",
)  # fmt: skip
GAP_COLUMNS: Final = (
    "record", "agent", "device", "reason", "first", "first_ns", "last", "last_ns", "count", "tags", "detail",
    "explains_epoch", "explains_batches", "epoch", "batch",
)  # fmt: skip
GAP_RECORDS: Final = ("gap", "open_gap", "unreadable")
"""The records that stand beside the samples where those are a table of their own."""


class ExportWriter(Protocol):
    """Takes an export in its order: ``begin``, samples and other records, ``end``. Raises ``OSError``."""

    def begin(self, head: dict[str, Any]) -> None:
        """What this is an export of; ``head["agent"]`` may be ``None``."""
        ...

    def samples(self, samples: NamedSamples) -> None:
        """Samples of one batch."""
        ...

    def record(self, record: dict[str, Any]) -> None:
        """Anything else; ``record["record"]`` says what."""
        ...

    def end(self, counts: dict[str, int]) -> None:
        """All of it was written."""
        ...


class LinesWriter:
    """JSON Lines: one object a line, ``record`` first."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._agent: str | None = None
        self._qualities: dict[int, str] = {}

    def begin(self, head: dict[str, Any]) -> None:
        """See ``ExportWriter``."""
        self._agent = head["agent"]
        self._write({"record": "export", "format": FORMAT, **head})

    def samples(self, samples: NamedSamples) -> None:
        """See ``ExportWriter``. Lines are put together from pieces: an outbox may hold hundreds of millions."""
        batch = samples.batch
        heads: dict[tuple[str | None, int], str] = {}
        type_ = f'"type":"{samples.datatype.label}","value":'
        end = f'"epoch":"{format_epoch(batch.epoch)}","batch":{batch.number},"index":'
        columns = (
            samples.tags, samples.part.tag.tolist(), samples.times(), samples.part.time_ns.tolist(),
            samples.values(), samples.part.qualities().tolist(), samples.index.tolist(),
        )  # fmt: skip
        lines: list[str] = []
        for tag, alias, time, time_ns, value, quality, index in zip(*columns, strict=True):
            head = heads.get((tag, alias))
            if head is None:
                head = heads[tag, alias] = self._head(batch.device, tag, alias)
            said = self._qualities.get(quality)
            if said is None:
                said = self._qualities[quality] = _quality(quality)
            when = "null" if time is None else f'"{time}"'
            lines.append(
                f'{head},"time":{when},"time_ns":{time_ns},{type_}{_json_value(value)},{said},{end}{index}}}\n'
            )
        self._out.writelines(lines)

    def record(self, record: dict[str, Any]) -> None:
        """See ``ExportWriter``."""
        self._write({"record": record["record"], "agent": self._agent, **record})

    def end(self, counts: dict[str, int]) -> None:
        """See ``ExportWriter``."""
        self._write({"record": "end", **counts})

    def _head(self, device: str, tag: str | None, alias: int) -> str:
        fields: dict[str, Any] = {"record": "sample", "agent": self._agent, "device": device, "tag": tag}
        if tag is None:
            fields["alias"] = alias
        return _json(fields)[:-1]

    def _write(self, document: dict[str, Any]) -> None:
        self._out.write(_json(document) + "\n")


class CsvWriter:
    """CSV (RFC 4180, UTF-8, with a heading): samples in one file, gaps in another, where there is one for them."""

    def __init__(self, samples: TextIO, gaps: TextIO | None) -> None:
        self._samples = csv.writer(samples, lineterminator="\r\n")
        self._gaps = None if gaps is None else csv.writer(gaps, lineterminator="\r\n")
        self._agent = ""

    def begin(self, head: dict[str, Any]) -> None:
        """See ``ExportWriter``."""
        self._agent = head["agent"] or ""
        self._samples.writerow(SAMPLE_COLUMNS)
        if self._gaps is not None:
            self._gaps.writerow(GAP_COLUMNS)

    def samples(self, samples: NamedSamples) -> None:
        """See ``ExportWriter``."""
        batch, epoch, type_ = samples.batch, format_epoch(samples.batch.epoch), samples.datatype.label
        qualities = samples.part.qualities().tolist()
        said = {code: (name_of(code), code_of(code)) for code in set(qualities)}
        columns = (
            samples.tags, samples.times(), samples.part.time_ns.tolist(), samples.values(), qualities,
            samples.index.tolist(),
        )  # fmt: skip
        self._samples.writerows(
            (self._agent, batch.device, tag, time, time_ns, type_, csv_value(value), *said[quality], epoch,
             batch.number, index)
            for tag, time, time_ns, value, quality, index in zip(*columns, strict=True)
        )  # fmt: skip

    def record(self, record: dict[str, Any]) -> None:
        """See ``ExportWriter``."""
        if self._gaps is not None and record["record"] in GAP_RECORDS:
            fields = {"agent": self._agent, **record}
            self._gaps.writerow([_json(v) if isinstance(v := fields.get(c), list) else v for c in GAP_COLUMNS])

    def end(self, counts: dict[str, int]) -> None:
        """See ``ExportWriter``."""


def csv_value(value: Any) -> Any:
    """A value as CSV has it: numbers as JSON has them, bytes in base64, nothing for what is missing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    return b64encode(value).decode() if isinstance(value, bytes) else value


def json_ready(value: Any) -> Any:
    """A value as JSON has it: bytes in base64, and the numbers that JSON does not have as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return _number(value)
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _json_value(value: Any) -> str:
    if type(value) is float and math.isfinite(value):
        return repr(value)
    return str(value) if type(value) is int else _json(json_ready(value))


def _number(value: float) -> str:
    """With all its digits; what JSON has no number for is called ``NaN``, ``Infinity`` and ``-Infinity``."""
    return repr(value) if math.isfinite(value) else json.dumps(value)


def _quality(code: int) -> str:
    return f'"quality":{_json(name_of(code))},"quality_code":"{code_of(code)}"'


_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
