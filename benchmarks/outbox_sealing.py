"""``outbox-sealing``: what encryption at rest costs in CPU time, for a commit of 1,000 samples and for reading it back.

One device with 100 tags of doubles, in turns plain and encrypted so that both meet the same machine. The disk is told
to keep every commit (``durability: full``); the time that the disk itself takes is no CPU time, and not counted.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.report import Figure, report
from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName, TagName, TagType
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.reading import read_batches
from edge_agent.buffer.rows import NewBatch
from edge_agent.buffer.schema import open_reader
from edge_agent.buffer.sealing import PLAIN, SEALED_BYTES, Sealing

SAMPLES: Final = 1000
TAGS: Final = 100
COMMITS: Final = 400
ROUNDS: Final = 9
GOAL_RATIO: Final = 1.1


def main() -> None:
    """Measure commits and reads in turns, and report the medians."""
    committed: dict[str, list[float]] = {"plain": [], "encrypted": []}
    read: dict[str, list[float]] = {"plain": [], "encrypted": []}
    for _ in range(ROUNDS):
        for name, sealing in (("plain", PLAIN), ("encrypted", Sealing(os.urandom(32)))):
            with tempfile.TemporaryDirectory() as folder:
                commit_us, read_us = measure(Path(folder) / "outbox.db", sealing)
            committed[name].append(commit_us)
            read[name].append(read_us)
    commit_us = {name: statistics.median(values) for name, values in committed.items()}
    read_us = {name: statistics.median(values) for name, values in read.items()}
    figures = [Figure(f"commit of {SAMPLES:,} samples, {name}", commit_us[name], "µs CPU") for name in commit_us]
    ratio = commit_us["encrypted"] / commit_us["plain"]
    figures.append(Figure("encrypted to plain, commit", ratio, "ratio", GOAL_RATIO, at_least=False))
    figures += [Figure(f"read back and decoded, {name}", read_us[name], "µs CPU") for name in read_us]
    figures.append(Figure("bytes more a row", SEALED_BYTES, "B"))
    report("outbox-sealing", figures)


def measure(path: Path, sealing: Sealing) -> tuple[float, float]:
    """Microseconds of CPU time of one commit, and of reading its row back."""
    outbox = Outbox(path, "full", now_ms=time.time_ns() // 1_000_000, sealing=sealing)
    types = [TagType(index, TagName(f"tag {index}"), DataType.DOUBLE) for index in range(TAGS)]
    definition, _ = outbox.define(DeviceName("press"), types, 0)
    alias = np.resize(np.array([metric.alias for metric in definition.metrics], np.int32), SAMPLES)
    now_ns = time.time_ns()
    part = SampleBatch(
        DataType.DOUBLE, alias, now_ns + np.arange(SAMPLES) * 100_000, np.random.default_rng(1).random(SAMPLES)
    )
    work = [
        Commit([NewBatch(DeviceName("press"), definition.hash, (part,))], now_ns=now_ns + n) for n in range(COMMITS)
    ]
    begun = time.process_time()
    for each in work:
        outbox.commit(each)
    commit_us = (time.process_time() - begun) / COMMITS * 1e6
    outbox.close()
    reader = open_reader(path)
    begun = time.process_time()
    after = count = 0
    while rows := read_batches(reader, after, 64, 1 << 22, sealing=sealing):
        after, count = rows[-1].number, count + len(rows)
    read_us = (time.process_time() - begun) / count * 1e6
    reader.close()
    return commit_us, read_us


if __name__ == "__main__":
    main()
