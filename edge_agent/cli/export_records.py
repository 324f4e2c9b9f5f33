"""An export of the outbox in its order: the head, the starts of the agent, every batch, open gaps, the end."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from connectors.model.delivery import EPOCH_MAX
from connectors.observability.version import lineside_version
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.contents import EpochFacts, OutboxContents, SetAside
from edge_agent.buffer.rows import Kind, StoredBatch
from edge_agent.buffer.selection import Selection, named_samples
from edge_agent.cli.export_lines import ExportWriter


class Exporter:
    """Writes one export; ``counts`` and ``problems`` (by how many batches) say what became of it."""

    def __init__(self, contents: OutboxContents, writer: ExportWriter, selection: Selection) -> None:
        self._contents = contents
        self._writer = writer
        self._selection = selection
        self.counts = {"batches": 0, "samples": 0, "gaps": 0, "open_gaps": 0, "unreadable": 0}
        self.problems: Counter[str] = Counter()

    def waiting(self, agent: str, advance: Callable[[], None]) -> None:
        """What waits for an acknowledgement. Raises ``OutboxUnavailable``, ``OSError``."""
        self._begin(agent, "waiting")
        for batch in self._contents.batches():
            self._batch(batch)
            advance()
        for gap in self._contents.open_gaps():
            if self._selection.takes_gap(gap):
                self._writer.record({"record": "open_gap", **_with_times(gap)})
                self.counts["open_gaps"] += 1
        self._writer.end(self.counts)

    def refused(self, agent: str) -> None:
        """The batches that were set aside. Raises ``OutboxUnavailable``, ``OSError``."""
        self._begin(agent, "refused")
        for item in self._contents.set_aside():
            if self._selection.takes_device(item.batch.device):
                self._writer.record(_set_aside_record(item))
                self._batch(item.batch)
        self._writer.end(self.counts)

    def _begin(self, agent: str, what: str) -> None:
        chosen = self._selection
        selection = {
            "devices": list(chosen.devices),
            "tags": list(chosen.tags),
            "from_ns": chosen.from_ns,
            "until_ns": chosen.until_ns,
        }
        self._writer.begin(
            {
                "agent": agent or None,
                "outbox": str(self._contents.path),
                "what": what,
                "exported": utc_ns(time.time_ns()),
                "lineside": lineside_version(),
                "last_batch": self._contents.last,
                "selection": None if chosen.is_everything else selection,
            }
        )
        for epoch in self._contents.epochs():
            self._writer.record(_epoch_record(epoch))

    def _batch(self, batch: StoredBatch) -> None:
        takes_device = self._selection.takes_device(batch.device)
        if batch.unreadable:
            if takes_device:
                self._unreadable(batch, batch.unreadable)
        elif batch.kind is Kind.SAMPLES:
            if takes_device:
                self._samples(batch)
        elif batch.kind is Kind.GAP:
            self._gap(batch)
        elif batch.kind is Kind.DEFINITION:
            if takes_device:
                named = {"device": batch.device, "definition": batch.definition}
                self._writer.record({"record": "definition", **named, **_own(batch)})
        elif batch.kind is Kind.COMMAND:
            self._writer.record({"record": "command", "said": batch.record.decode("utf-8", "replace"), **_own(batch)})
        else:
            self._writer.record({"record": "epoch_start", **_own(batch)})

    def _samples(self, batch: StoredBatch) -> None:
        found = list(named_samples(batch, self._contents.tags, self._selection))
        for samples in found:
            self.counts["samples"] += len(samples.part)
            self._writer.samples(samples)
        self.counts["batches"] += bool(found)

    def _gap(self, batch: StoredBatch) -> None:
        try:
            gap = json.loads(batch.record)
            chosen = self._selection.takes_gap(gap)
        except (ValueError, KeyError, TypeError):
            self._unreadable(batch, "the row is damaged: it is no gap record")
            return
        if chosen:
            explains = {"explains_epoch": gap.pop("epoch", None), "explains_batches": gap.pop("batches", [])}
            self._writer.record({"record": "gap", **_with_times(gap), **explains, **_own(batch)})
            self.counts["gaps"] += 1

    def _unreadable(self, batch: StoredBatch, reason: str) -> None:
        facts = {"device": batch.device, "kind": batch.kind.name.lower(), "count": batch.sample_count}
        own = _own(batch) if 0 < batch.epoch <= EPOCH_MAX else {"row": batch.number}  # damaged: it may be anything
        self._writer.record({"record": "unreadable", **facts, "reason": reason, **own})
        self.counts["unreadable"] += 1
        self.problems[reason] += 1


def utc_ns(time_ns: int) -> str | None:
    """A time as ISO 8601 has it, in UTC with nanoseconds; ``None`` for the one that NumPy cannot say."""
    text = str(np.datetime_as_string(np.int64(time_ns).view("datetime64[ns]")))
    return None if text == "NaT" else f"{text}Z"


def _utc_ms(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _own(batch: StoredBatch) -> dict[str, Any]:
    return {"epoch": format_epoch(batch.epoch), "batch": batch.number}


def _with_times(gap: dict[str, Any]) -> dict[str, Any]:
    """A gap with its times for people, too."""
    named = {"device": gap["device"], "reason": gap["reason"]}
    for key in ("first", "last"):
        if f"{key}_ns" in gap:
            named[key] = utc_ns(gap[f"{key}_ns"])
            named[f"{key}_ns"] = gap[f"{key}_ns"]
    return {**named, **gap}


def _epoch_record(epoch: EpochFacts) -> dict[str, Any]:
    return {
        "record": "epoch",
        "epoch": format_epoch(epoch.epoch),
        "first_batch": epoch.first,
        "last_batch": epoch.last,
        "started": _utc_ms(epoch.started_ms),
        "declared": epoch.declared,
    }


def _set_aside_record(item: SetAside) -> dict[str, Any]:
    facts = {"device": item.batch.device, "count": item.batch.sample_count, "reason": item.reason}
    return {"record": "refused", **facts, "refused": _utc_ms(item.refused_ms), **_own(item.batch)}
