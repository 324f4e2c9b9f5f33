"""Records of what was given up stay small enough to travel, however scattered the numbers are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.tags import DeviceName
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.giving_up import GivingUp
from edge_agent.buffer.losses import RANGES_MAX
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.telling import sum_up, take_sums


def test_scattered_numbers_are_named_in_several_records_and_samples_are_counted_once(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", "normal", now_ms=1)
    connection = outbox._connection
    giving_up = GivingUp(connection, "outbox_full", "why")
    epoch = Epoch(7)
    for device in (DeviceName("press"), DeviceName("oven")):
        giving_up.loss(epoch, device).add(np.arange(5), np.zeros(5, np.int32))
    numbers = range(1, 5 * RANGES_MAX, 2)
    for number in numbers:
        giving_up.remove(number, epoch)
    sum_up(connection, giving_up)
    gaps = take_sums(connection)
    assert take_sums(connection) == []
    outbox.close()
    assert all(len(gap.batches) <= RANGES_MAX for gap in gaps)
    named = BatchRanges(span for gap in gaps for span in gap.batches)
    assert list(named) == [(number, number) for number in numbers]
    assert {gap.epoch for gap in gaps if gap.batches} == {format_epoch(epoch)}
    assert sorted((gap.device, gap.count) for gap in gaps if gap.count) == [("oven", 5), ("press", 5)]
