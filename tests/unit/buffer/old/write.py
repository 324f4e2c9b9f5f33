"""Writes a small outbox with the code of whatever version of Lineside is on the path.

``old/v1.sqlite`` to ``v3.sqlite`` were made by it with the code of dd52873, ba188ca and 16ddefc, and stay as they are:

    git worktree add ../old ba188ca && (cd ../old && PYTHONPATH=. python …/tests/unit/buffer/old/write.py v2.sqlite)
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName, TagName, TagType
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.rows import NewBatch, OpenGap

PRESS, OVEN = DeviceName("press"), DeviceName("oven")
NOW_NS = 1_795_000_000_000_000_000
BATCHES, SAMPLES = 12, 10


def write(path: Path) -> None:
    """Two devices, twelve batches of ten samples; one is acknowledged, one refused, a gap is open."""
    outbox = Outbox(path, "full", now_ms=NOW_NS // 1_000_000)
    rows = []
    for number in range(BATCHES):
        device = (PRESS, OVEN)[number % 2]
        tags = [TagType(0, TagName("force"), DataType.DOUBLE, "kN"), TagType(1, TagName("state"), DataType.STRING)]
        definition, _ = outbox.define(device, tags, NOW_NS // 1_000_000)
        alias = {metric.name: metric.alias for metric in definition.metrics}
        times = NOW_NS + number * 1_000_000_000 + np.arange(SAMPLES) * 100_000
        force = np.arange(SAMPLES) * 0.5 + number
        texts = np.array([f"{number}é"] * 2, object)
        parts = (
            SampleBatch(DataType.DOUBLE, np.full(SAMPLES, alias["force"], np.int32), times, force),
            SampleBatch(DataType.STRING, np.full(2, alias["state"], np.int32), times[:2], texts),
        )
        rows += outbox.commit(Commit([NewBatch(device, definition.hash, parts)], now_ns=NOW_NS + number))
    work = Commit(now_ns=NOW_NS + BATCHES)
    work.acknowledged[outbox.epoch] = BatchRanges([(rows[0].number, rows[0].number)])
    work.refused.append((outbox.epoch, rows[5].number, "too large"))
    work.opened_gaps.append(OpenGap(OVEN, "device_unavailable", NOW_NS, "the cable is out"))
    outbox.commit(work)
    outbox.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
