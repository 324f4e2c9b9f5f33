"""Records of what was given up stay small enough to travel, however scattered the numbers are."""

from __future__ import annotations

import sqlite3

import numpy as np

from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.tags import DeviceName
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.giving_up import GivingUp
from edge_agent.buffer.losses import RANGES_MAX


def test_scattered_numbers_are_named_in_several_records_and_samples_are_counted_once() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE outbox (batch, epoch)")
    connection.execute("CREATE TABLE alias (alias, name)")
    giving_up = GivingUp(connection, "outbox_full", "why")
    epoch = Epoch(7)
    for device in (DeviceName("press"), DeviceName("oven")):
        giving_up.loss(epoch, device).add(np.arange(5), np.zeros(5, np.int32))
    numbers = range(1, 5 * RANGES_MAX, 2)
    for number in numbers:
        giving_up.remove(number, epoch)
    gaps = list(giving_up.gaps())
    assert all(len(gap.batches) <= RANGES_MAX for gap in gaps)
    named = BatchRanges(span for gap in gaps for span in gap.batches)
    assert list(named) == [(number, number) for number in numbers]
    assert {gap.epoch for gap in gaps if gap.batches} == {format_epoch(epoch)}
    assert [(gap.device, gap.count) for gap in gaps if gap.count is not None] == [("press", 5), ("oven", 5)]
