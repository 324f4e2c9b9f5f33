"""An outbox with known content, and the commands of ``edge-agent buffer`` run on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceDefinition, DeviceName, TagName, TagType
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.rows import Gap, GapReason, NewBatch, OpenGap, StoredBatch
from edge_agent.buffer.sealing import PLAIN, Sealing
from edge_agent.cli import buffer

PRESS, OVEN = DeviceName("press"), DeviceName("oven")
NOW_NS = 1_795_000_000_000_000_000
"""2026-11-18T11:06:40Z."""
SECOND_NS = 1_000_000_000


class FilledOutbox:
    """The outbox of an agent that is stopped, unless ``keep_open``."""

    def __init__(self, folder: Path, sealing: Sealing = PLAIN) -> None:
        self.path = folder / "outbox.db"
        self.sealing = sealing
        self._outbox: Outbox | None = None

    @property
    def outbox(self) -> Outbox:
        """Opened when it is first needed: a start of the agent."""
        if self._outbox is None:
            self._outbox = Outbox(self.path, "normal", now_ms=NOW_NS // 1_000_000, sealing=self.sealing)
        return self._outbox

    def close(self) -> None:
        """The agent stops."""
        if self._outbox is not None:
            self._outbox.close()
        self._outbox = None

    def define(self, device: DeviceName, types: dict[str, DataType]) -> DeviceDefinition:
        tags = [TagType(at, TagName(name), type_, "kN") for at, (name, type_) in enumerate(types.items())]
        return self.outbox.define(device, tags, NOW_NS // 1_000_000)[0]

    def commit(self, device: DeviceName, definition: DeviceDefinition, parts: Sequence[SampleBatch]) -> StoredBatch:
        work = Commit([NewBatch(device, definition.hash, tuple(parts))], now_ns=NOW_NS)
        return self.outbox.commit(work)[-1]

    def put(self, device: DeviceName, values: Sequence[float], *, tag: str = "force", at_s: float = 0.0) -> StoredBatch:
        """Values of one tag, a second apart from ``at_s`` on."""
        definition = self.define(device, {tag: DataType.DOUBLE})
        alias = np.full(len(values), definition.metrics[0].alias, np.int32)
        times = NOW_NS + round(at_s * 1e9) + np.arange(len(values)) * SECOND_NS
        return self.commit(device, definition, [SampleBatch(DataType.DOUBLE, alias, times, np.array(values))])

    def refuse(self, batch: StoredBatch, reason: str = "too large") -> None:
        self.outbox.commit(Commit(refused=[(batch.epoch, batch.number, reason)], now_ns=NOW_NS))

    def acknowledge(self, *batches: StoredBatch) -> None:
        acknowledged = {batch.epoch: BatchRanges() for batch in batches}
        for batch in batches:
            acknowledged[batch.epoch].add(batch.number)
        self.outbox.commit(Commit(acknowledged=acknowledged, now_ns=NOW_NS))

    def open_gap(self, device: DeviceName, detail: str = "it was switched off") -> None:
        gap = OpenGap(device, GapReason.DEVICE_UNAVAILABLE, NOW_NS, detail)
        self.outbox.commit(Commit(opened_gaps=[gap], now_ns=NOW_NS))

    def declare(self, gap: Gap) -> None:
        self.outbox.commit(Commit(declared_gaps=[gap], now_ns=NOW_NS))

    def run(self, *words: str) -> Any:
        """``edge-agent buffer …``."""
        return CliRunner().invoke(buffer.app, [*words, "--outbox", str(self.path)])

    def export(self, *words: str) -> list[dict[str, Any]]:
        """The lines of an export that is complete."""
        said = self.run("export", *words)
        assert (said.exit_code, said.stderr) == (0, ""), said.output
        return lines(said.stdout)


def lines(text: str) -> list[dict[str, Any]]:
    """JSON Lines; a line ends with a line break, and with nothing else that Python takes for one."""
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def of(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record["record"] == kind]
