"""One start of an outbox on the disk that this program is run on: what came of it, as a line of JSON.

``python -m tests.system.outbox_start PATH COMMITS``: opens it, commits so many batches of 8,000 bytes, and closes it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from connectors.model.datatypes import DataType
from connectors.model.errors import OutboxUnavailable
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName, TagName, TagType
from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.reading import read_batches
from edge_agent.buffer.rows import Kind, NewBatch

PRESS = DeviceName("press")
NOW_NS = 1_795_000_000_000_000_000
BOUNDS = OutboxBounds(bytes_max=64_000_000, free_disk_bytes_min=1_000_000, ballast_bytes=4_000_000)
SAMPLES = 500


def main(path: Path, commits: int) -> None:
    """See the module."""
    try:
        outbox = Outbox(path, "full", now_ms=NOW_NS // 1_000_000, bounds=BOUNDS)
    except OutboxUnavailable as exc:
        print(json.dumps({"error": str(exc)}))
        return
    stored = 0
    definition, _ = outbox.define(PRESS, [TagType(0, TagName("force"), DataType.DOUBLE)], 0)
    for number in range(commits):
        alias = np.full(SAMPLES, definition.metrics[0].alias, np.int32)
        part = SampleBatch(DataType.DOUBLE, alias, NOW_NS + np.arange(SAMPLES), np.random.default_rng().random(SAMPLES))
        work = Commit([NewBatch(PRESS, definition.hash, (part,))], now_ns=NOW_NS, now_s=number * 2.0)
        stored += sum(row.sample_count for row in outbox.commit(work))
    rows = read_batches(outbox._connection, 0, 1 << 40, 1 << 60)
    numbers = {int(row.number) for row in rows}
    for row in rows:
        if row.kind is Kind.GAP:
            for first, last in json.loads(row.record)["batches"]:
                numbers |= set(range(first, last + 1))
    for first, last in outbox._connection.execute("SELECT first, last FROM given_up_batches"):
        numbers |= set(range(first, last + 1))
    salvaged = outbox.opening.salvaged is not None
    unexplained = sorted(set(range(1, max(numbers) + 1)) - numbers)
    print(json.dumps({"stored": stored, "salvaged": salvaged, "batches": len(rows), "unexplained": unexplained}))
    outbox.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
